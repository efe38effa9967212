"""``python -m aerloom.boards.calibrate``: measure the builds that predictions are made from. Takes an hour."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from ..models.fabric import Fabric
from . import catalogue, clocks, estimate
from .build import build

NAMES = ("ulx3s-85f", "ice40-hx8k", "tang-nano-20k")  # the largest of each family that has tools


def fabrics(board: str) -> list[Fabric]:
    """The board's own Fabric, and others that differ in what costs most."""
    own = catalogue.find(board).fabric
    if board == "ice40-hx8k":
        return [own, replace(own, state_bits=10, sum_bits=10)]
    if board == "tang-nano-20k":
        return [own, catalogue.find("tang-nano-9k").fabric]
    half = catalogue.find("ulx3s-25f").fabric
    return [replace(half, lanes=8, update_lanes=1), Fabric.preset("tiny"), half, own]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", default=NAMES, help="boards to measure again; others are kept")
    for name in parser.parse_args().boards:
        board = catalogue.find(name)
        points: list[dict[str, object]] = []
        for fabric in fabrics(name):
            # a clock that is met at once: what timing allows is measured whatever the clock
            clock = clocks.fastest(board, 0.7 * estimate.estimate(fabric, board.family).fmax).frequency
            with tempfile.TemporaryDirectory() as out:
                made = build(board, fabric, Path(out), clock=clock, told=print)
            assert made.fmax is not None
            print(f"{name} {fabric.name}: {made.used}, {made.fmax / 1e6:.1f} MHz, {made.seconds}")
            points.append({
                "board": name, "fabric": dataclasses.asdict(fabric), "used": dataclasses.asdict(made.used),
                "fmax": round(made.fmax), "clock": made.clock, "seconds": made.seconds, "tools": made.tools})
            known = json.loads(estimate.POINTS.read_text()) if estimate.POINTS.exists() else {}
            estimate.POINTS.write_text(json.dumps(known | {board.family.name: points}, indent=1) + "\n")


if __name__ == "__main__":
    main()
