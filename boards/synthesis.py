"""From a design to a netlist of a family's cells: the same way for bitstreams, for figures and for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..models.errors import AerloomError
from . import tools
from .board import Family

__all__ = ["synthesise"]

#: Amaranth promises that a read of the word that is being written gives the old one, and blocks of RAM do not: so Yosys
#: adds registers and comparators to every memory. No such read matters to a chip (tests/test_build_board.py tries it), so
#: it may give anything.
SCRIPT = "read_rtlil top.il\nsetparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i\n"


def synthesise(family: Family, folder: Path, *options: str) -> tuple[dict[str, Any], float]:
    """The netlist of the design in ``folder``/top.il, and the seconds that Yosys took; it is left in top.json.

    ``options`` are added to the family's own. Raises :class:`AerloomError` where Yosys is missing or fails.
    """
    lines = [" ".join((line, *options)) if line.startswith("synth") else line for line in family.commands]
    ways = [lines]
    if family.tidies:
        ways.append([part for line in lines for part in tidied(line, family.tidies)])
    for way in ways:
        (folder / "top.ys").write_text(SCRIPT + "\n".join([*way, "write_json top.json"]))
        try:
            seconds = tools.run("yosys", ["-q", "-l", "synthesis.log", "top.ys"], folder)
            break
        except AerloomError:
            if way is ways[-1]:
                raise
    netlist: dict[str, Any] = json.loads((folder / "top.json").read_text())
    if family.refine:
        family.refine(netlist)
        (folder / "top.json").write_text(json.dumps(netlist))
    return netlist, seconds


def tidied(line: str, stage: str) -> tuple[str, ...]:
    """A command of Yosys; one for a family stops before this stage for the design to be tidied."""
    if not line.startswith("synth"):
        return (line,)
    return f"{line} -run begin:{stage}", "opt_clean -purge", "opt -full", f"{line} -run {stage}:"
