"""How dense: a core by itself, placed and routed with open tools."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from amaranth.back import rtlil

from aerloom.boards import report, tools
from aerloom.boards.build import SCRIPT
from aerloom.boards.catalogue import find
from aerloom.hdl.core import Core
from aerloom.models.fabric import Fabric

BOARD = "ulx3s-85f"
CORE = Fabric("core", lanes=16, update_lanes=1, weight_words=2048, rows=256, parameter_rows=256, populations=4,
              projections=8, places=16, keys=16, sum_bits=16, state_bits=16, spike_bits=1, refractory_bits=2)
FABRICS = {
    "8 bits, 16 lanes": CORE,
    "4 bits, 32 lanes": replace(CORE, lanes=32, weight_bits=4, rows=128),
    "2 bits, 64 lanes": replace(CORE, lanes=64, weight_bits=2, rows=64),
}


def density() -> dict[str, Any]:
    """A whole core of 4,096 neurons on an ECP5-85F, without pins: LUTs, Fmax, M synaptic operations/s per 1,000 LUT."""
    return {name: routed(fabric) for name, fabric in FABRICS.items()}


def routed(fabric: Fabric) -> dict[str, Any]:
    """What place and route make of a core."""
    board = find(BOARD)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "top.il").write_text(rtlil.convert(Core(fabric, 0), emit_src=False))
        (work / "top.ys").write_text(SCRIPT + "\n".join([*board.family.synthesis, "write_json top.json"]))
        tools.run("yosys", ["-q", "top.ys"], work)
        size = next(option for option in board.options if option.endswith("k"))
        tools.run(board.family.route, [size, "--package", "CABGA381", "--speed", "6", "--out-of-context", "--json",
                                       "top.json", "--report", "report.json", "--freq", "200", "--timing-allow-fail",
                                       "-q"], work)
        netlist, said = (json.loads((work / name).read_text()) for name in ("top.json", "report.json"))
    used, mhz = report.used(said, netlist, board.family), report.fmax(said) / 1e6
    return {
        "lanes": fabric.lanes, "lut": used.lut, "ff": used.ff, "bram": used.bram, "dsp": used.dsp, "mhz": round(mhz, 1),
        "mops": round(mhz * fabric.lanes), "mops_per_klut": round(1000 * mhz * fabric.lanes / used.lut),
        "tools": [tools.version("yosys"), tools.version(board.family.route)],
    }
