"""aerloom fit: on which chips and boards a network fits, what it takes of them, and how fast it would be."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from ...models import golden, zoo
from ...models.errors import AerloomError
from ...models.fabric import PRESETS
from ...models.fabrics import named
from ...models.floor import loads
from ...models.network import Network
from ...models.place import Placement, place
from ...models.text import counted
from ..dataset import spikes_of
from ..tools import tools
from .common import (
    RESOURCES,
    AsJson,
    Bits,
    Cores,
    Data,
    NetworkName,
    SampleFile,
    destination,
    get_integer,
    get_network,
    get_samples,
    show,
    table,
)

MEASURED = 20  # samples whose spikes stand for all


def fit(
    network: NetworkName,
    bits: Bits = 8,
    board: Annotated[str | None, typer.Option(
        help="On this board, with everything that is known of it; without it, a line for each board.")] = None,
    fabric: Annotated[list[str] | None, typer.Option(help="Only these Fabrics; with --board the one to build.")] = None,
    cores: Cores = None,
    floorplan: Annotated[Path | None, typer.Option(
        callback=destination, help="Draw there what each core of the first Fabric that fits holds and does.")] = None,
    data: Data = None,
    samples: SampleFile = None,
    as_json: AsJson = False,
) -> None:
    """Show on which chips and boards a network fits, what it takes of them, and what is missing where it does not."""
    exact = get_network(network)
    integer = get_integer(exact, bits)
    title = f"{network} in {integer.meta.get('weight_bits', bits)} bits"
    if board is not None:
        if floorplan is not None or cores is not None or len(fabric or ()) > 1:
            raise AerloomError("--board takes at most one --fabric, and neither --floorplan nor --cores")
        chosen = named(fabric[0]) if fabric else None
        found = tools("boards").fit(integer, board, chosen, _trace(exact, integer, data, samples))
        show(found, as_json, *_of_board(title, found))
        return
    answer, tables = _fabrics(title, integer, fabric or list(PRESETS), cores)
    if floorplan is not None:
        tables.append(_floorplans(answer, integer, exact, cores, data, samples, floorplan, network))
    elif fabric is None and cores is None and importlib.metadata.entry_points(group="aerloom.tools", name="boards"):
        trace = _trace(exact, integer, data, samples)
        answer["boards"] = {name: tools("boards").fit(integer, name, None, trace) for name in tools("boards").BOARDS}
        tables.append(_of_boards(title, answer["boards"]))
    show(answer, as_json, *tables)


# --- Fabrics


def _fabrics(title: str, integer: Network, names: list[str], cores: int | None) -> tuple[dict[str, Any], list[Table]]:
    rows = table(title, "Fabric", "lanes", "cores", "weight words", "rows", "fits")
    rows.columns[-1].justify = "left"
    answer: dict[str, Any] = {}
    for name in names:
        preset = named(name)
        try:
            placement = Placement(integer, preset, cores)
            why = "; ".join(map(str, placement.problems))
        except AerloomError as e:
            why = str(e)
        if why:
            answer[name] = {"fits": False, "why": why}
            rows.add_row(name, str(preset.lanes), str(preset.cores), "–", "–", f"no: {why}")
            continue
        answer[name] = use = {"fits": True, **_usage(placement)}
        taken = f"{max(use['weight_words']):,} of {preset.weight_words:,}", f"{max(use['rows'])} of {preset.rows}"
        rows.add_row(name, str(preset.lanes), str(preset.cores), *taken, "yes")
    return answer, [rows]


def _floorplans(answer: dict[str, Any], integer: Network, exact: Network, cores: int | None, data: Path | None,
                samples: Path | None, path: Path, network: str) -> Table:
    """Draw the first Fabric that fits, add its cores to the answer, and give them as a table."""
    fitting = [n for n in answer if answer[n]["fits"]]
    if not fitting:
        raise AerloomError("no floorplan: the network fits on none of these Fabrics")
    name = fitting[0]
    placement = place(integer, named(name), cores)
    plan, what = _floorplan(placement, exact, data, samples, path, f"{network} on Fabric {name}")
    answer[name] |= {"floorplan": str(path), "spikes": what, "cores": plan}
    busy = table(f"cores of Fabric {name}, spikes of {what}", "core", "rows", "words", "cycles a step", "most for")
    for record in plan:
        busy.add_row(str(record["core"]), f"{sum(record['rows'].values()):,}", f"{sum(record['words'].values()):,}",
                     f"{record['cycles']:,.0f}", record["bottleneck"])
    return busy


def _floorplan(placement: Placement, network: Network, data: Path | None, samples: Path | None, path: Path,
               title: str) -> tuple[list[dict[str, Any]], str]:
    """Draw it, and give each core's record and whose spikes its cycles are for."""
    from ..picture import floorplan

    spikes = _spikes(network, data, samples)
    what = f"the first {MEASURED} samples"
    if spikes is None:
        random, what = np.random.default_rng(0), "random inputs (1 in 10)"
        spikes = {i.name: random.random((4, 25, i.size)) < 0.1 for i in network.inputs}
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


# --- boards


def _of_board(title: str, found: dict[str, Any]) -> list[Table]:
    fabric, error = found["fabric"], f"± {100 * found['lut_error']:.0f} %"
    rows = table(f"{title} on {found['board']}: {'fits' if found['fits'] else 'does not fit'}", "", "takes", "of", "%")
    rows.add_row("Fabric", fabric["name"], "", "")
    rows.add_row("lanes", f"{fabric['cores']} × {fabric['lanes']}", "", "")
    for name, (taken, there) in found["memory"].items():
        rows.add_row(name.replace("_", " "), f"{taken:,}", f"{there:,}", f"{100 * taken / there:.0f}")
    rows.add_section()
    for name, text in RESOURCES.items():
        if have := found["have"][name]:
            used = found["used"][name]
            rows.add_row(f"{text}, predicted {error if name == 'lut' else ''}".rstrip(), f"{used:,}", f"{have:,}",
                         f"{100 * used / have:.0f}")
    rows.add_section()
    rows.add_row(f"clock, predicted ± {100 * found['fmax_error']:.0f} %", f"{found['clock'] / 1e6:.4g} MHz", "", "")
    rows.add_row(f"cycles of {counted(found['steps'], 'step')}", f"{found['cycles']:,.0f}", "", "")
    rows.add_row("serial line", f"{found['baud']:,} baud", "", "")
    link = found["traffic"]
    rows.add_row(f"packets of {'an image' if link['images'] else 'its spikes'} down, and up",
                 f"{link['down']:,.0f}", f"{link['up']:,.0f}", "")
    rows.add_row("latency, with the link", f"{1e3 * found['latency']:.3g} ms", "", "")
    rows.add_row(f"inferences/s, as the {found['bound']} allows", f"{found['per_second']:,.0f}", "", "")
    if link["images"]:
        rows.add_row("the same, where the host sends spikes", f"{found['of_spikes']:,.0f}", "", "")
    rows.add_row("spikes", "5 % of neurons assumed" if found["assumed"] else f"of {MEASURED} samples", "", "")
    if found["fits"]:
        return [rows]
    why = Table("what is missing, and what to change", title_justify="left")
    for problem in found["problems"]:
        why.add_row(problem)
    return [rows, why]


def _of_boards(title: str, answer: dict[str, dict[str, Any]]) -> Table:
    columns = ("board", "lanes × bits", "LUT", "BRAM", "MHz", "link", "ms", "per s", "fits")
    rows = table(f"{title} on boards, as predicted; --board BOARD tells more", *columns)
    rows.columns[0].no_wrap, rows.columns[-1].justify = True, "left"
    for name, found in answer.items():
        fabric, used, have = found["fabric"], found["used"], found["have"]
        takes = "images" if found["traffic"]["images"] else "spikes"
        speed = (f"{found['clock'] / 1e6:.0f}", takes, f"{1e3 * found['latency']:.3g}", f"{found['per_second']:,.0f}")
        rows.add_row(name, f"{fabric['cores'] * fabric['lanes']} × {fabric['weight_bits']}",
                     *(f"{100 * used[k] / have[k]:.0f} %" for k in ("lut", "bram")),
                     *(speed if found["fits"] else ("–",) * len(speed)),
                     "yes" if found["fits"] else f"no: {', '.join(p.partition(':')[0] for p in found['problems'])}")
    return rows


# --- spikes


def _trace(exact: Network, integer: Network, data: Path | None, samples: Path | None) -> golden.Trace | None:
    """What the network does with its first samples, where they are known."""
    spikes = _spikes(exact, data, samples)
    return None if spikes is None else golden.run(integer, spikes)


def _spikes(network: Network, data: Path | None, samples: Path | None) -> Any:
    """Those of the first samples; None where there are no samples."""
    if samples is None and not zoo.has_samples(network, data):
        return None
    return spikes_of(network, get_samples(network, data, MEASURED, samples)[0])
