"""What came of a build, in the terms of the source: from nextpnr's report and Yosys' netlist."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .board import Board, Family, Resources

__all__ = ["Report", "by_module", "critical_path", "fmax", "placed", "source", "used"]

#: From here on a name was given by a tool, to what it made of the wire before.
MADE = re.compile(r"(_(TRELLIS_|LUT[1-8]_|CCU2C|PFUMX|L6MUX21|SB_|MULT|DP16KD|PDPW16KD|DFF|ALU|MUX2_LUT|RAM16|DPR16|SDP)"
                  r"|\$(CCU2|nextpnr|PACKER|abc|auto)).*")
INSIDE = re.compile(r"(board\.)*(chip\.)?(machine\.)?(cluster\.)?(tree\.)?")  # what every name of a board begins with
LUTS = {"LUT4": 1, "SB_LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6, "ALU": 1, "RAM16SDP4": 4, "SB_CARRY": 0,
        "LUT1": 1, "LUT2": 1, "LUT3": 1, "LUT5": 1, "LUT6": 1}
BLOCKS = ("DP16KD", "PDPW16KD", "SB_RAM40_4K", "SDPB", "SDPX9B", "SP", "SPX9", "DPB", "DPX9B", "RAMB18E1", "RAMB36E1")


@dataclass(frozen=True)
class Report:
    """A build. Times are seconds, frequencies Hz."""

    board: str
    device: str
    fabric: dict[str, Any]
    clock: float  #: of the chip, as built
    baud: int
    fmax: float | None  #: None where only files for other tools were written
    used: Resources
    have: Resources
    path: list[dict[str, Any]] = field(default_factory=list)  #: the slowest: places in the source, ns of logic and of wires
    modules: dict[str, dict[str, int]] = field(default_factory=dict)  #: LUTs, flip-flops and blocks of RAM by module
    seconds: dict[str, float] = field(default_factory=dict)
    tools: list[str] = field(default_factory=list)
    bitstream: str = ""
    baked: str = ""  #: digest of what its memories hold from the start; empty where they hold nothing

    @property
    def slack(self) -> float | None:
        """ns to spare in a clock cycle."""
        return None if self.fmax is None else 1e9 / self.clock - 1e9 / self.fmax

    @property
    def synaptic_operations(self) -> float:
        """The most in a second."""
        return float(self.clock * self.fabric["lanes"] * self.fabric["cores"])

    def as_dict(self) -> dict[str, Any]:
        rate = self.synaptic_operations
        return dataclasses.asdict(self) | {"slack_ns": self.slack, "synaptic_operations_per_second": rate}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        names = {f.name for f in dataclasses.fields(cls)}
        kept: dict[str, Any] = {k: Resources(**v) if k in ("used", "have") else v for k, v in values.items() if k in names}
        return cls(**kept)


def source(name: str) -> str:
    """The wire of the source that a cell or net was made for."""
    return INSIDE.sub("", MADE.sub("", name), count=1).split("[")[0] or "top"


def fmax(report: Mapping[str, Any]) -> float:
    """Hz that the slowest clock reached."""
    return min(clock["achieved"] for clock in report["fmax"].values()) * 1e6


def used(report: Mapping[str, Any], netlist: Mapping[str, Any], family: Family) -> Resources:
    """What nextpnr counted; flip-flops as Yosys counted them where nextpnr counts cells that hold one."""
    counts = {name: sum(report["utilization"].get(cell, {"used": 0})["used"] for cell in cells)
              for name, cells in family.cells.items()}
    ff = sum(kinds["ff"] for kinds in by_module(netlist).values())
    return Resources(**({"lut": 0, "bram": 0} | counts | {"ff": counts.get("ff") or ff}))


def critical_path(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The slowest path from register to register, hops at one place of the source together."""
    paths = [p for p in report.get("critical_paths", ()) if "async" not in p["from"] + p["to"]]
    if not paths:
        return []
    out: list[dict[str, Any]] = []
    for hop in max(paths, key=lambda p: sum(h["delay"] for h in p["path"]))["path"]:
        at = source(hop["from" if hop["type"] in ("clk-to-q", "logic") else "to"]["cell"])
        if not out or out[-1]["at"] != at:
            out.append({"at": at, "logic": 0.0, "wires": 0.0, "hops": 0})
        out[-1]["wires" if hop["type"] == "routing" else "logic"] += hop["delay"]
        out[-1]["hops"] += hop["type"] == "logic"
    return [hop | {"logic": round(hop["logic"], 2), "wires": round(hop["wires"], 2)} for hop in out]


def by_module(netlist: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """LUTs, flip-flops and blocks of RAM of each module of the source, from Yosys' netlist, largest first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, cell in netlist["modules"]["top"]["cells"].items():
        kind, module = cell["type"], source(name).rpartition(".")[0] or "top"
        if kind in LUTS:
            counts[module]["lut"] += LUTS[kind]
        elif kind.startswith(("TRELLIS_FF", "SB_DFF", "DFF", "FD")):
            counts[module]["ff"] += 1
        elif kind in BLOCKS:
            counts[module]["bram"] += 1
    largest = sorted(counts, key=lambda name: -counts[name]["lut"])
    return {name: {kind: counts[name][kind] for kind in ("lut", "ff", "bram")} for name in largest}


def placed(netlist: Mapping[str, Any]) -> dict[str, list[tuple[int, int, int]]]:
    """Where the cells of each part of the design are: x, y and how many."""
    counts: dict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for name, cell in netlist["modules"]["top"]["cells"].items():
        if at := re.match(r"X(\d+)/?Y(\d+)/", cell.get("attributes", {}).get("NEXTPNR_BEL", "")):
            counts[part(source(name))][int(at[1]), int(at[2])] += 1
    return {name: [(x, y, n) for (x, y), n in sorted(c.items())] for name, c in sorted(counts.items())}


def part(name: str) -> str:
    """Which part of the design a wire belongs to."""
    for word, what in (("synapses", "synapses"), ("neurons", "neurons"), ("core_", "control"), ("router", "routers"),
                       ("port.", "link"), ("uart.", "link")):
        if word in name:
            return what
    return "chip"


def measured(board: Board, folder: Path) -> dict[str, Any]:
    """All that the files of a finished build say."""
    report, netlist, routed = (
        json.loads((folder / name).read_text()) for name in ("report.json", "top.json", "routed.json"))
    return {"fmax": fmax(report), "used": used(report, netlist, board.family), "path": critical_path(report),
            "modules": by_module(netlist), "placed": placed(routed)}
