"""aerloom explore: which chip for a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ...models import fabrics
from ...models.errors import AerloomError
from ...models.files import foldable, folder, write_whole
from ...models.text import counted, percent
from ..dataset import pieces
from ..explore import Point, Space, build, choose, front, networks, ordered, points
from ..jobs import Workers
from ..tools import tools
from .common import (
    AsJson,
    Data,
    ImageLimit,
    Jobs,
    NetworkName,
    SampleFile,
    Scheduler,
    bars,
    console,
    get_network,
    get_samples,
    numbers,
    progress,
    show,
    table,
)


def explore(
    network: NetworkName,
    board: Annotated[str, typer.Option(help="Name of a board: see `aerloom boards`.")] = "ulx3s-85f",
    lanes: Annotated[str, typer.Option(help="Lanes of a core to try, with commas between.")] = "4,8,16,32,64",
    cores: Annotated[str, typer.Option(help="Numbers of cores to try.")] = "1,2,4",
    update_lanes: Annotated[str, typer.Option(help="Neurons updated per clock to try.")] = "1,2,4",
    bits: Annotated[str, typer.Option(help="Bits of a weight to try.")] = "2,4,8",
    state_bits: Annotated[str, typer.Option(help="Bits of a membrane to try; 0: the fewest that no sample leaves.")] = "0",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the answer: explore.json, explore.png, "
                                         "and the choice: fabric.json and network.npz.")] = Path("explore"),
    choice: Annotated[str, typer.Option("--choose", help="What the chosen chip is best in: accuracy, latency, lut, or "
                                        "balance: latency × LUTs at nearly the best accuracy.")] = "balance",
    builds: Annotated[bool, typer.Option("--build", help="Build every chip of the front: minutes each. What is interrupted "
                                         "goes on where it was.")] = False,
    data: Data = None,
    samples: SampleFile = None,
    images: ImageLimit = 500,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Predict accuracy, latency and size of many chips for a network, and find those that none beats."""
    from ..picture import landscape

    space = Space(numbers("--lanes", lanes), numbers("--cores", cores), numbers("--update-lanes", update_lanes),
                  numbers("--bits", bits), numbers("--state-bits", state_bits))
    exact, workers = get_network(network), Workers(jobs, scheduler)
    ordered(choice), tools("boards").find(board)  # raise where there is no such thing, before anything is measured
    foldable(output)
    values, labels = get_samples(exact, data, images, samples)
    data_in_pieces = pieces(values, labels)
    with bars() as shown:
        tasks = {what: shown.add_task(what, total=None) for what in ("samples", "chips")}
        found = points(exact, board, space, data_in_pieces, workers,
                       lambda what, done, of: shown.update(tasks[what], completed=done, total=of))
    best = front(found)
    if not best:
        problems = sorted({problem for p in found for problem in p.problems}) or ["no network can be placed"]
        raise AerloomError(f"none of {counted(len(found), 'chip')} fits on {board}: {problems[0]}")

    def answer(best: Sequence[Point]) -> dict[str, Any]:
        folder(output)
        chosen = choose(front(best), choice)
        fabrics.write(chosen.fabric, output / "fabric.json")
        width = Space(bits=(chosen.bits,), state_bits=(chosen.state_bits,))
        next(iter(networks(exact, width, data_in_pieces[0].encoded(exact)[0]).values())).save(output / "network.npz")
        out = {"network": network, "board": board, "images": len(labels), "points": [p.as_dict() for p in found],
               "front": [p.as_dict() for p in best], "chosen": chosen.as_dict(),
               "fabric": str(output / "fabric.json"), "integer": str(output / "network.npz"),
               "picture": str(output / "explore.png")}
        write_whole(output / "explore.json", json.dumps(out, indent=1).encode())
        return out

    result = answer(best)
    if builds:
        current = list(best)
        with progress("chips built", len(best)) as report:
            def done(n: int, point: Point) -> None:
                current[n] = point
                report(sum(p.built or bool(p.problems) for p in current))
                if front(current):
                    answer(current)

            best = build(best, board, output, workers, done)
        result = answer(best)
    landscape(output / "explore.png", found, best, choose(front(best), choice), f"{network} on {board}")
    show(result, as_json, _table(network, board, found, best, result["chosen"]["fabric"]["name"]))
    if not as_json:
        command = f"aerloom sim {result['integer']} --fabric {result['fabric']}"
        console.print(f"The chosen chip: [bold]{command}[/]", highlight=False, soft_wrap=True)


def _table(network: str, board: str, found: Sequence[Point], best: Sequence[Point], chosen: str) -> Any:
    kind = "built" if any(p.built for p in best) else "predicted"
    rows = table(f"{network} on {board}: {len(best)} of {counted(len(found), 'chip')} that none beats ({kind})", "chip",
                 "accuracy", "cycles", "MHz", "latency", "LUTs", "block RAMs", "")
    rows.columns[0].no_wrap = True
    rows.caption = "chip: cores x lanes - neurons updated per clock, bits of weights (w) and of states (s)"
    rows.caption_justify = "left"
    for p in best:
        note = "chosen" if p.fabric.name == chosen else "; ".join(p.problems)[:40]
        rows.add_row(p.fabric.name, percent(p.accuracy), f"{p.cycles:,.0f}", f"{p.fmax / 1e6:.1f}",
                     f"{1e6 * p.latency:,.0f} µs", f"{p.lut:,}", f"{p.bram}", note)
    return rows
