"""aerloom run, infer: your spikes through a network, and your images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from ...models import encode, golden
from ...models.errors import AerloomError
from ...models.fabrics import named
from ...models.files import read_arrays, write_arrays
from ...models.network import Network
from ...models.place import place
from ...models.text import counted, percent
from ..device import Device, connect
from .common import (
    AsJson,
    Bits,
    ChipName,
    Cores,
    Data,
    Images,
    NetworkName,
    SampleFile,
    Target,
    console,
    destination,
    get_integer,
    get_network,
    get_samples,
    progress,
    show,
    table,
)

SIMULATED = ("sim", "virtual")  # targets whose chip has the size that is asked for


def run(
    network: NetworkName,
    spikes: Annotated[Path, typer.Argument(
        metavar="SPIKES", help="`.npy` (batch, steps, neurons), or `.npz` with one array per input.")],
    output: Annotated[Path, typer.Option(
        "-o", "--output", callback=destination, help="`.npz` for the spikes of every watched population.")],
    on: Target = "sim",
    watch: Annotated[list[str] | None, typer.Option(help="Populations to record; the outputs by default.")] = None,
    bits: Bits = 8,
    fabric: ChipName = None,
    cores: Cores = None,
    inside: Annotated[bool, typer.Option(
        "--baked", help="The chip was built with the network inside: nothing is loaded, some of it is compared.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run spikes from a file through a network, and write the spikes that come out."""
    integer = get_integer(get_network(network), bits)
    events = read_arrays(spikes)
    sent = golden.check_spikes(integer, events)
    batch, steps, _ = next(iter(sent.values())).shape
    watched = [integer.find(name).name for name in watch or integer.outputs]
    answer: dict[str, Any] = {"samples": batch, "steps": steps, "output": str(output)}
    if on == "golden":
        if inside:
            raise AerloomError("--baked is for a chip that holds the network, and golden is none; leave it out")
        _fits(integer, fabric, cores)
        trace = golden.run(integer, sent)
        out = {name: trace.spikes[name] for name in watched}
        answer["synaptic_operations"] = trace.synaptic_operations
    else:
        with _chip(on, fabric, "medium", integer, cores) as device:
            (device.assume if inside else device.load)(integer, watch=watched, cores=cores)
            with progress("samples", batch) as report:
                result = device.run(sent, progress=report)
            out = result.spikes
            answer |= device.counters()
            answer["cycles_per_sample"] = result.cycles_per_sample
    answer["spikes"] = {name: int(a.sum()) for name, a in out.items()}
    write_arrays(output, out)
    rows = table(f"{counted(batch, 'sample')} of {counted(steps, 'step')}", "population", "spikes")
    for name, count in answer["spikes"].items():
        rows.add_row(name, f"{count:,}")
    show(answer, as_json, rows)


def infer(
    network: NetworkName,
    images: Images = 100,
    encoder: Annotated[str | None, typer.Option(
        help=f"How images become spikes: {', '.join(encode.CODES)}; by default as the network says.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of an image; by default as the network says.")] = None,
    seed: Annotated[int, typer.Option(help="Of the rate encoder.")] = 0,
    on: Target = "sim",
    bits: Bits = 8,
    fabric: ChipName = None,
    cores: Cores = None,
    data: Data = None,
    samples: SampleFile = None,
    as_json: AsJson = False,
) -> None:
    """Classify test images: a chip with encoder and readout takes an image and gives an answer."""
    exact = get_network(network)
    integer = get_integer(exact, bits)
    values, labels = get_samples(exact, data, images, samples)
    coding = exact.meta.get("encoding", {})
    if steps is None and (steps := coding.get("steps")) is None:
        raise AerloomError("the network does not say how many steps its samples have; give --steps")
    encoder = encoder or encode.code_of(exact)
    if encoder == "rate" and values.dtype.kind == "f":
        values = values * np.float32(coding.get("max_rate", 1.0))
    batch = encode.images(integer, values, steps, encoder, seed)
    answer: dict[str, Any] = {"images": len(batch), "steps": steps, "encoder": encoder}
    if on == "golden":
        _fits(integer, fabric, cores)
        found = golden.classes(integer, golden.run(integer, batch.spikes()))
    else:
        with _chip(on, fabric, "vision", integer, cores) as device:
            device.load(integer, cores=cores)
            down, up = device.sent, device.received
            with progress("images", len(batch)) as report:
                found = device.infer(images=values, encoder=encoder, steps=steps, seed=seed, progress=report)
            answer |= {"packets_down": device.sent - down, "packets_up": device.received - up}
    answer |= {"accuracy": float(np.mean(found == labels)), "classes": found.tolist()}
    rows = table(f"{network}: {counted(len(batch), 'image')} in {counted(steps, 'step')} by {encoder}", "", "")
    rows.show_header = False
    rows.add_row("accuracy", percent(answer["accuracy"]))
    for way in ("down", "up"):
        if (packets := answer.get(f"packets_{way}")) is not None:
            rows.add_row(f"packets {way} per image", f"{packets / len(batch):,.1f}")
    show(answer, as_json, rows)


def _chip(on: str, fabric: str | None, default: str, network: Network, cores: int | None) -> Device:
    """The chip at a target; where it is simulated, a network that does not fit on it is refused before it is built."""
    if on in SIMULATED:
        fabric = fabric or default
        place(network, named(fabric), cores)
    with console.status(f"connecting to {escape(on)} (a simulator is built, and cached for the next time)"):
        return connect(on, fabric)


def _fits(network: Network, fabric: str | None, cores: int | None) -> None:
    """What the size of a chip means to golden, which has none: a network that does not fit on it is refused."""
    if fabric is not None:
        place(network, named(fabric), cores)
    elif cores is not None:
        raise AerloomError("--cores are those of a chip; with --on golden, give its --fabric too")
