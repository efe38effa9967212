"""aerloom run: your spikes through a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ...models import golden
from ...models.errors import AerloomError
from ...models.network import write_whole
from ..device import connect
from .common import (
    AsJson,
    Bits,
    Cores,
    FabricName,
    NetworkName,
    get_integer,
    get_network,
    progress,
    read_arrays,
    show,
    table,
)


def run(
    network: NetworkName,
    spikes: Annotated[Path, typer.Argument(help="`.npy` (batch, steps, neurons), or `.npz` with one array per input.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="`.npz` for the spikes of every watched population.")],
    on: Annotated[str, typer.Option(help="Where: golden, or a target of connect such as sim.")] = "sim",
    watch: Annotated[list[str] | None, typer.Option(help="Populations to record; the outputs by default.")] = None,
    bits: Bits = 8,
    fabric: FabricName = "medium",
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
    watched = list(watch or integer.outputs)
    answer: dict[str, Any] = {"samples": batch, "steps": steps, "output": str(output)}
    if on == "golden":
        trace = golden.run(integer, sent)
        if unknown := set(watched) - set(integer.population):
            raise AerloomError(f"{sorted(unknown)[0]!r} is not a population")
        out = {name: trace.spikes[name] for name in watched}
        answer["synaptic_operations"] = trace.synaptic_operations
    else:
        with connect(on, fabric) as device:
            (device.assume if inside else device.load)(integer, watch=watched, cores=cores)
            with progress("samples", batch) as report:
                result = device.run(sent, progress=report)
            out = result.spikes
            answer |= device.counters()
            answer["cycles_per_sample"] = result.cycles_per_sample
    answer["spikes"] = {name: int(a.sum()) for name, a in out.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **out)  # type: ignore[arg-type]
    write_whole(output, buffer.getvalue())
    rows = table(f"{batch} samples of {steps} steps", "population", "spikes")
    for name, count in answer["spikes"].items():
        rows.add_row(name, f"{count:,}")
    show(answer, as_json, rows)
