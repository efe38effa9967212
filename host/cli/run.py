"""aerloom fit, aerloom run: does a network fit on a chip, and your spikes through it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ...models import golden, zoo
from ...models.errors import AerloomError
from ...models.fabric import PRESETS, Fabric
from ...models.floor import loads
from ...models.network import Network, write_whole
from ...models.place import Placement, place
from ..device import connect
from .common import (
    AsJson,
    Bits,
    Cores,
    Data,
    FabricName,
    NetworkName,
    SampleFile,
    get_integer,
    get_network,
    get_samples,
    progress,
    read_arrays,
    show,
    spikes_of,
    table,
)


def fit(
    network: NetworkName,
    bits: Bits = 8,
    fabric: Annotated[list[str] | None, typer.Option(help="Only these Fabrics.")] = None,
    cores: Cores = None,
    floorplan: Annotated[Path | None, typer.Option(
        help="Draw there what each core of the first Fabric that fits holds and does.")] = None,
    data: Data = None,
    samples: SampleFile = None,
    as_json: AsJson = False,
) -> None:
    """Show on which chips a network fits, what it takes of them, and what is missing where it does not."""
    exact = get_network(network)
    integer = get_integer(exact, bits)
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
    tables = [rows]
    if floorplan is not None:
        fitting = [n for n in answer if answer[n]["fits"]]
        if not fitting:
            raise AerloomError("no floorplan: the network fits on none of these Fabrics")
        name = fitting[0]
        placement = place(integer, Fabric.preset(name), cores)
        plan, what = _floorplan(placement, exact, data, samples, floorplan, f"{network} on Fabric {name}")
        answer[name] |= {"floorplan": str(floorplan), "spikes": what, "cores": plan}
        busy = table(f"cores of Fabric {name}, spikes of {what}", "core", "rows", "words", "cycles a step", "most for")
        for record in plan:
            busy.add_row(str(record["core"]), f"{sum(record['rows'].values()):,}", f"{sum(record['words'].values()):,}",
                         f"{record['cycles']:,.0f}", record["bottleneck"])
        tables.append(busy)
    show(answer, as_json, *tables)


def _floorplan(placement: Placement, network: Network, data: Path | None, samples: Path | None, path: Path,
               title: str) -> tuple[list[dict[str, Any]], str]:
    """Draw it, and give each core's record and whose spikes its cycles are for."""
    from ..picture import floorplan

    name = network.meta.get("name")
    if samples is None and (name not in zoo.NAMES or (name == "mnist" and data is None)):
        random, what = np.random.default_rng(0), "random inputs (1 in 10)"
        spikes: Any = {i.name: random.random((4, 25, i.size)) < 0.1 for i in network.inputs}
    else:
        what = "the first 20 samples"
        spikes = spikes_of(network, get_samples(network, data, 20, samples)[0])
    cores = loads(placement, golden.run(placement.network, spikes))
    floorplan(path, placement, cores, title)
    records = []
    for core in cores:
        work = core.adding | {f"updates of {k}": v for k, v in core.sweeping.items()}
        records.append(dataclasses.asdict(core) | {"cycles": core.cycles, "bottleneck": max(work, key=lambda k: work[k])})
    return records, what


def _usage(placement: Placement) -> dict[str, Any]:
    return {
        "weight_words": [core.words for core in placement.cores],
        "rows": [core.rows for core in placement.cores],
        "parameter_rows": [core.parameter_rows for core in placement.cores],
        "packets_to_load": len(placement.image),
        "parts": [{"source": part.source, "key": part.key, "core": part.core, "neurons": part.size, "row": part.row,
                   "rows": part.rows} for part in placement.parts],
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
