"""Where the blocks of RAM of an ECP5's synapses go.

nextpnr puts blocks of RAM wherever there is room, often rows away from the adders that they feed, and then 3 ns of wire
each way make the longest path of a core. This pass over Yosys' netlist puts the blocks of a slice of lanes
(:class:`aerloom.hdl.synapses.Slice`) side by side, its sums in the middle, and slice beside slice in the middle of the
die; nextpnr finds a place for all else around them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

__all__ = ["DIES", "Die", "arrange"]

PITCH = 9 / 4  # columns from one block to the next
ROWS = 1.5  # as much worse is a way up than one to the side: cores of 16 lanes are fastest in one row, of 64 in two
SLICE = re.compile(r"(.*\bslice_(\d+))\.(sums|weights)\b.*")


@dataclass(frozen=True)
class Die:
    """The blocks of RAM of a die: ``rows`` of them, the ones in the middle first, with so many groups of four to the
    ``left`` and to the ``right`` of its centre."""

    rows: tuple[int, ...]
    left: int
    right: int

    def row(self, y: int) -> list[str]:
        """The places in a row, as nextpnr names them."""
        return [f"X{9 * group + 4 + 2 * n + 2 * (group >= self.left)}/Y{y}/EBR{n}"
                for group in range(self.left + self.right) for n in range(4)]


#: As nextpnr places as many blocks as there are.
DIES = {"25": Die((25, 37), 3, 4), "45": Die((34, 58, 10), 4, 5), "85": Die((46, 70, 22, 82), 7, 6)}


def arrange(netlist: dict[str, Any], die: Die) -> int:
    """Change the netlist (as Yosys' ``write_json`` has it, flat); returns the number of blocks that have a place now: those
    of all slices, or of none where they do not fit."""
    cells = netlist["modules"]["top"]["cells"]
    slices: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"sums": [], "weights": []})
    for name in sorted(cells):
        if cells[name]["type"] == "DP16KD" and (found := SLICE.match(name)):
            slices[found[1]][found[3]].append(name)
    strips = []
    for name in sorted(slices, key=lambda name: [int(n) for n in re.findall(r"\d+", name)]):
        weights, half = slices[name]["weights"], len(slices[name]["weights"]) // 2
        strips.append([*weights[:half], *slices[name]["sums"], *weights[half:]])
    ways = []
    for count in range(1, len(die.rows) + 1):  # lines of about the same length
        ends = [len(strips) * n // count for n in range(count + 1)]
        lines = [[name for strip in strips[a:b] for name in strip] for a, b in pairwise(ends)]
        if (longest := max(map(len, lines))) <= len(die.row(0)):
            rows = die.rows[:count]
            ways.append((longest * PITCH + ROWS * (max(rows) - min(rows)), lines))
    if not ways:
        return 0
    for line, y in zip(min(ways, key=itemgetter(0))[1], die.rows, strict=False):
        places = die.row(y)
        first = (len(places) - len(line)) // 2
        for name, place in zip(line, places[first:], strict=False):
            cells[name].setdefault("attributes", {})["BEL"] = place
    return sum(map(len, strips))
