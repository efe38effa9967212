"""aerloom boards, aerloom build, aerloom flash: networks on real boards."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ...models.contents import EMPTY, baked
from ...models.errors import AerloomError
from ...models.fabric import PRESETS, Fabric
from ...models.fabrics import named, write
from ...models.place import place
from ..tools import tools
from .common import RESOURCES, AsJson, Bits, Engine, NetworkName, console, get_integer, get_network, show, table

BoardName = Annotated[str, typer.Option("--board", help="Name of a board: see `aerloom boards`.")]


def boards(as_json: AsJson = False) -> None:
    """List the boards, and what the chip that is built for each by default can hold."""
    rows = table("boards, and what fits on each at once", "board", "lanes", "neurons", "8-bit weights", "or 4-bit", "MHz",
                 "")
    rows.columns[0].no_wrap, rows.columns[-1].justify = True, "left"
    answer = tools("boards").listing()
    for b in answer:
        remark = "" if b["fits"] else "no room yet"
        lanes = f"{b['cores']} × {b['lanes']}" if b["cores"] > 1 else str(b["lanes"])
        rows.add_row(b["board"], lanes, f"{b['neurons']:,}", f"{b['synapses_8']:,}", f"{b['synapses_4']:,}",
                     f"{b['fmax'] / 1e6:.0f}", remark if b["bitstream"] else "Vivado")
    show({"boards": answer}, as_json, rows)


def build(
    network: NetworkName,
    board: BoardName,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the bitstream, its report and its logs.")],
    bits: Bits = 8,
    fabric: Annotated[str | None, typer.Option(
        help="Size of the chip: a preset, or a JSON file; by default the board's own, made larger where the network needs "
             "it.")] = None,
    clock: Annotated[float | None, typer.Option(min=1, help="MHz; by default as fast as timing allows.")] = None,
    baud: Annotated[int | None, typer.Option(min=1, help="Of the serial line, bits per second.")] = None,
    seed: Annotated[int, typer.Option(help="Of placement: another one may be a little faster or slower.")] = 1,
    bake: Annotated[bool, typer.Option("--bake", help="With the network inside, for a board that nobody loads.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a bitstream whose chip takes the network, and any other one that fits it."""
    own = tools("boards")
    integer = get_integer(get_network(network), bits)
    found = own.fit(integer, board, named(fabric) if fabric else None)
    if not found["fits"]:
        raise AerloomError(f"{network} does not fit on {board}: {'; '.join(found['problems'])}")
    chip = Fabric(**found["fabric"])
    steps = integer.meta.get("encoding", {}).get("steps", 0)
    contents = baked(place(integer, chip), steps=steps) if bake else EMPTY
    with _steps(f"{chip.name} for {board}") as told:
        made = own.build(board, chip, output, clock=clock and clock * 1e6, baud=baud, seed=seed, contents=contents,
                         told=told)
    write(chip, output / "fabric.json")
    if made["fmax"] is not None:
        from ..picture import utilisation

        utilisation(output / "utilisation.png", made, json.loads((output / "floor.json").read_text()))
    show(made | {"output": str(output)}, as_json, *_tables(made, output))
    if not as_json and made["bitstream"]:
        line = own.flash_board(board, output / made["bitstream"], only_tell=True)
        console.print(f"Load it with: [bold]aerloom flash {output} --board {board}[/] ({escape(' '.join(line))})")


def virtual(
    target: Annotated[str, typer.Argument(
        metavar="BOARD", help="A board, a Fabric's preset, or a Fabric in JSON, as `aerloom build` writes one.")],
    bake: Annotated[str | None, typer.Option(metavar="NETWORK", help="A network that is inside from the start.")] = None,
    bits: Bits = 8,
    uart: Annotated[bool, typer.Option("--uart", help="Simulate every bit on the wire, 30 times slower.")] = False,
    engine: Engine = "compiled",
) -> None:
    """Simulate a board behind a pseudo-terminal, and print its path: `aerloom run --on PATH`. Ends with Ctrl-C."""
    listed = {b["board"]: b["sizes"] for b in tools("boards").listing()}
    if target not in (*listed, *PRESETS) and not target.endswith(".json"):
        raise AerloomError(f"no board and no Fabric is called {target!r}; aerloom boards lists the boards")
    chosen = Fabric(**listed[target]) if target in listed else named(target)
    options = ["--fabric", json.dumps(dataclasses.asdict(chosen)), "--engine", engine, *(["--uart"] if uart else [])]
    with tempfile.TemporaryDirectory() as folder:
        if bake is not None:
            get_integer(get_network(bake), bits).save(inside := Path(folder) / "network.npz")
            options += ["--bake", str(inside)]
        command = [sys.executable, "-m", "aerloom.sim.virtual", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        with suppress(KeyboardInterrupt):
            with console.status(f"building the simulator of {escape(target)} (cached for the next time)"):
                path = process.stdout.readline()
            print(path, end="", flush=True)
        while True:
            with suppress(KeyboardInterrupt):  # it gets Ctrl-C too, and ends in its own way
                raise typer.Exit(process.wait())


def flash(
    path: Annotated[Path, typer.Argument(
        metavar="PATH", help="What `aerloom build` wrote: its folder, or the bitstream in it.")],
    board: Annotated[str | None, typer.Option(help="By default the one that it was built for.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load a bitstream into a board, through openFPGALoader or the board's own loader."""
    folder = path if path.is_dir() else path.parent
    try:
        made = json.loads((folder / "aerloom.json").read_text())
    except (OSError, ValueError):
        made = {}
    if not path.exists():
        raise AerloomError(f"{path}: there is no such file or folder")
    if not (board := board or made.get("board")):
        raise AerloomError(f"{path} does not say which board it is for; tell it with --board")
    bitstream = path / made.get("bitstream", "bitstream") if path.is_dir() else path
    line = tools("boards").flash_board(board, bitstream)
    show({"board": board, "command": line}, as_json)
    if not as_json:
        console.print(f"{board} runs {bitstream.name} ({escape(' '.join(line))})")


@contextmanager
def _steps(title: str) -> Iterator[Any]:
    """A line on stderr that says what is being done, and for how long."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as lines:
        task = lines.add_task(title)

        yield lambda step: lines.update(task, description=f"{title}: {step}")


def _tables(made: dict[str, Any], output: Path) -> Iterator[Any]:
    title = f"{made['fabric']['name']} on {made['board']} ({made['device']})"
    rows = table(title, "", "used" if made["fmax"] else "predicted", "of", "%")
    for name, text in RESOURCES.items():
        if have := made["have"][name]:
            used = made["used"][name]
            rows.add_row(text, f"{used:,}", f"{have:,}", f"{100 * used / have:.0f}")
    rows.add_section()
    rows.add_row("clock", f"{made['clock'] / 1e6:.4g} MHz", "", "")
    if made["fmax"]:
        rows.add_row("timing allows", f"{made['fmax'] / 1e6:.4g} MHz", "", f"{made['slack_ns']:.1f} ns to spare")
    rows.add_row("synaptic operations", f"{made['synaptic_operations_per_second'] / 1e6:,.0f} M/s at most", "", "")
    if made["baked"]:
        rows.add_row("holds", "the network, from the start", "", "")
    rows.add_row("serial line", f"{made['baud']:,} baud", "", "")
    rows.add_row("files", str(output), "", "")
    yield rows
    if made["path"]:
        path = table("slowest path", "at", "ns of logic", "ns of wires")
        for hop in made["path"]:
            path.add_row(hop["at"], f"{hop['logic']:.2f}", f"{hop['wires']:.2f}")
        yield path
        parts = table("where the LUTs are", "module", "LUTs", "flip-flops", "block RAMs")
        for name, count in list(made["modules"].items())[:12]:
            parts.add_row(name, f"{count['lut']:,}", f"{count['ff']:,}", str(count["bram"]))
        yield parts
