"""``python -m aerloom.boards.calibrate``: measure the builds that predictions are made from. Takes an hour, or with
``--sizes``, which leaves out clocks, minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..models.contents import EMPTY
from ..models.fabric import Fabric
from . import catalogue, clocks, estimate, tools
from .board import Board, Resources
from .build import Job, once, prepare
from .report import by_module
from .synthesis import synthesise

NAMES = ("ulx3s-85f", "ice40-hx8k", "icebreaker", "tang-nano-20k")  # the largest of each family that has tools
AMBITION = 1.3  # the clock that is asked for, beside what was reached before: place and route try no harder than they must


def fabrics(board: str) -> list[Fabric]:
    """The board's own Fabric, and others that differ in what costs most."""
    own = catalogue.find(board).fabric
    if board in ("ice40-hx8k", "icebreaker"):
        return [own, replace(own, lanes=4, state_bits=14, sum_bits=14), replace(own, lanes=4, state_bits=17)]
    if board == "tang-nano-20k":
        return [own, catalogue.find("tang-nano-9k").fabric]
    return [Fabric.preset("tiny"), catalogue.find("ulx3s-25f").fabric, own]


def built(board: Board, fabric: Fabric) -> dict[str, Any]:
    """Of place and route."""
    setting = clocks.fastest(board, AMBITION * estimate.estimate(fabric, board.family).fmax)
    with tempfile.TemporaryDirectory() as work:
        made = once(Job(board, fabric, EMPTY, board.baud, 1), setting, Path(work), print)
    assert made.fmax is not None
    return {"used": dataclasses.asdict(made.used), "fmax": round(made.fmax), "clock": made.clock, "seconds": made.seconds,
            "tools": [tools.version(name) for name in ("yosys", board.family.route)]}


def synthesised(board: Board, fabric: Fabric) -> dict[str, Any]:
    """Of synthesis: sizes, and no clock."""
    job = Job(board, fabric, EMPTY, board.baud, 1)
    with tempfile.TemporaryDirectory() as out:
        folder = Path(out)
        (folder / "top.il").write_bytes(prepare(job, clocks.Setting(board.clock))["top.il"])
        netlist, seconds = synthesise(board.family, folder)
    parts = by_module(netlist).values()
    cells = Counter(cell["type"] for cell in netlist["modules"]["top"]["cells"].values())
    sizes = {kind: sum(part[kind] for part in parts) for kind in ("lut", "ff", "bram")}
    dsp = sum(n for kind, n in cells.items() if kind.startswith("MULT") or kind == "SB_MAC16")
    return {"used": dataclasses.asdict(Resources(**sizes, dsp=dsp)), "fmax": None, "clock": None,
            "seconds": {"synthesis": round(seconds, 1)}, "tools": [tools.version("yosys")], "note": "not placed"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", default=NAMES, help="boards to measure again; others are kept")
    parser.add_argument("--sizes", action="store_true", help="synthesis alone: exact for ECP5")
    options = parser.parse_args()
    for name in options.boards:
        board = catalogue.find(name)
        points: list[dict[str, Any]] = []
        for fabric in fabrics(name):
            measured = (synthesised if options.sizes else built)(board, fabric)
            print(f"{name} {fabric.name}: {measured}")
            points.append({"board": name, "fabric": dataclasses.asdict(fabric)} | measured)
            known = json.loads(estimate.POINTS.read_text()) if estimate.POINTS.exists() else {}
            estimate.POINTS.write_text(json.dumps(known | {board.family.name: points}, indent=1) + "\n")


if __name__ == "__main__":
    main()
