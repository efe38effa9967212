"""aerloom demo, aerloom sim: the chain from network to chip, with every link checked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ...models import golden, zoo
from ...models.errors import AerloomError
from ...models.fabrics import named
from ...models.network import Network
from ...models.place import place
from ...models.text import counted, percent
from ..compare import compare_all
from ..dataset import pieces
from ..device import connect
from ..jobs import Workers
from .common import (
    AsJson,
    Bits,
    Cores,
    Data,
    Engine,
    FabricName,
    Images,
    Jobs,
    NetworkName,
    SampleFile,
    Scheduler,
    console,
    destination,
    get_integer,
    get_network,
    get_samples,
    progress,
    show,
    table,
)

PIECE = 25  #: samples that a worker takes at a time


def demo(
    network: Annotated[str, typer.Option(help="Network of the zoo; those for MNIST need --data.")] = "digits",
    images: Images = 100,
    bits: Bits = 8,
    fabric: FabricName = "medium",
    cores: Cores = None,
    data: Data = None,
    engine: Engine = "compiled",
    picture: Annotated[Path, typer.Option(
        callback=destination, help="Where to draw the spikes of the first sample.")] = Path("demo.png"),
    as_json: AsJson = False,
) -> None:
    """From a trained network to spikes out of a cycle-accurate chip, on real images, with every link checked."""
    _verify(zoo.load(network), network, images, bits, fabric, cores, data, None, engine, Workers(), picture, as_json)


def sim(
    network: NetworkName,
    images: Images = 100,
    bits: Bits = 8,
    fabric: FabricName = "medium",
    cores: Cores = None,
    data: Data = None,
    samples: SampleFile = None,
    engine: Engine = "compiled",
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    picture: Annotated[Path | None, typer.Option(
        callback=destination, help="Draw the spikes of the first sample there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a network on its test data, and compare every spike and membrane with the golden model."""
    _verify(get_network(network), network, images, bits, fabric, cores, data, samples, engine, Workers(jobs, scheduler),
            picture, as_json)


def _verify(exact: Network, name: str, images: int, bits: int, fabric: str, cores: int | None, data: Path | None,
            samples: Path | None, engine: str, workers: Workers, picture: Path | None, as_json: bool) -> None:
    began = time.perf_counter()
    values, labels = get_samples(exact, data, images, samples)
    integer = get_integer(exact, bits)
    data_in_pieces = pieces(values, labels, max(1, min(PIECE, len(values) // 8)))
    place(integer, named(fabric), cores)  # says what does not fit before anything is built, and so what samples are not
    golden.check_spikes(integer, data_in_pieces[0].encoded(exact)[0])
    with console.status(f"building the simulator of Fabric {fabric} (cached for the next time)"):
        device = connect("sim", fabric, engine=engine)
    built = time.perf_counter() - began
    with device:
        with console.status("loading weights and tables over the chip's input"):
            placement = device.load(integer, watch=list(integer.population), cores=cores)
        with progress("samples on the chip", len(values)) as report:
            answer, first, cycles = compare_all(
                device, data_in_pieces, engine=engine, exact=None if exact.is_integer else exact, cores=cores,
                workers=workers, progress=report)
    if picture is not None:
        from ..picture import raster

        title = f"{name} on a chip of {counted(placement.fabric.lanes, 'lane')}"
        raster(picture, integer, first, values=values[0], label=int(labels[0]), title=title, cycles=cycles)
    seconds = time.perf_counter() - began
    fields = answer.to_dict() | {
        "network": name,
        "fabric": fabric,
        "cores": placement.used,
        "lanes": placement.fabric.lanes,
        "weight_bits": integer.meta.get("weight_bits", bits),
        "seconds": round(seconds, 2),
        "seconds_to_build": round(built, 2),
        "picture": None if picture is None else str(picture),
    }
    rows = table(f"{name} on Fabric {fabric}: {counted(answer.images, 'image')}", "", "")
    rows.show_header = False
    for what, value in (
        ("accuracy, floating point", percent(answer.accuracy("float"))),
        (f"accuracy, golden model ({fields['weight_bits']} bits)", percent(answer.accuracy("golden"))),
        ("accuracy, chip", percent(answer.accuracy("chip"))),
        ("mismatches of golden and chip", f"{answer.mismatches:,}"),
        ("clock cycles per inference", f"{answer.cycles_per_inference:,.0f}"),
        ("synaptic operations per inference", f"{answer.synaptic_ops_per_inference:,.0f}"),
        ("clock cycles in which lanes add", percent(answer.lane_utilisation)),
        *((f"spikes of {n} per inference", f"{v:,.0f}") for n, v in answer.spikes_per_inference.items()),
        ("wall time", f"{seconds:.1f} s, {built:.1f} s of it to build the chip"),
        *([("picture", str(picture))] if picture else []),
    ):
        rows.add_row(what, value)
    show(fields, as_json, rows)
    if answer.mismatches:
        raise AerloomError(f"golden and chip differ in {counted(answer.mismatches, 'place')}: this is a defect in aerloom")
