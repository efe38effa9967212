"""aerloom fit, aerloom run: does a network fit on a chip, and your spikes through it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ...models import golden
from ...models.errors import AerloomError
from ...models.fabric import PRESETS, Fabric
from ...models.network import write_whole
from ...models.place import Placement, place
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


def fit(
    network: NetworkName,
    bits: Bits = 8,
    fabric: Annotated[list[str] | None, typer.Option(help="Only these Fabrics.")] = None,
    cores: Cores = None,
    as_json: AsJson = False,
) -> None:
    """Show on which chips a network fits, what it takes of them, and what is missing where it does not."""
    integer = get_integer(get_network(network), bits)
    rows = table(f"{network} in {bits} bits", "Fabric", "lanes", "cores", "weight words", "rows", "fits")
    answer: dict[str, Any] = {}
    for name in fabric or list(PRESETS):
        preset = Fabric.preset(name)
        try:
            answer[name] = {"fits": True, **_usage(place(integer, preset, cores))}
            use = answer[name]
            taken = f"{max(use['weight_words']):,} of {preset.weight_words:,}", f"{max(use['rows'])} of {preset.rows}"
            rows.add_row(name, str(preset.lanes), str(preset.cores), *taken, "yes")
        except AerloomError as e:
            answer[name] = {"fits": False, "why": str(e)}
            rows.add_row(name, str(preset.lanes), str(preset.cores), "–", "–", f"no: {e}")
    show(answer, as_json, rows)


def _usage(placement: Placement) -> dict[str, Any]:
    return {
        "weight_words": [core.words for core in placement.cores],
        "rows": [core.rows for core in placement.cores],
        "parameter_rows": [core.parameter_rows for core in placement.cores],
        "packets_to_load": len(placement.image),
        "parts": [dataclasses.asdict(part) for part in placement.parts],
    }


def run(
    network: NetworkName,
    spikes: Annotated[Path, typer.Argument(help="`.npy` (batch, steps, neurons), or `.npz` with one array per input.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="`.npz` for the spikes of every watched population.")],
    on: Annotated[str, typer.Option(help="Where: golden, or a target of connect such as sim.")] = "sim",
    watch: Annotated[list[str] | None, typer.Option(help="Populations to record; the outputs by default.")] = None,
    bits: Bits = 8,
    fabric: FabricName = "medium",
    cores: Cores = None,
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
            device.load(integer, watch=watched, cores=cores)
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
