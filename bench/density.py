"""How dense: cores and whole chips, placed and routed with open tools."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import aerloom
from aerloom import Input, Network, Population, Projection
from aerloom.boards import report, tools
from aerloom.boards.board import Board
from aerloom.boards.catalogue import find
from aerloom.boards.estimate import suited
from aerloom.boards.synthesis import synthesise
from aerloom.boards.tailor import bare
from aerloom.hdl.chip import Chip
from aerloom.hdl.core import Core
from aerloom.host.compare import differing
from aerloom.models import golden
from aerloom.models.fabric import Fabric
from aerloom.models.quantize import quantize
from aerloom.sim.cycles import cycles

BOARD = "ulx3s-85f"
CORE = Fabric("core", lanes=16, update_lanes=1, weight_words=2048, rows=256, ahead=False, readable=False,
              parameter_rows=256, populations=4, projections=8, places=0, keys=16, currents=False, sum_bits=15,
              state_bits=16, spike_bits=1, refractory_bits=2)
TARGET = "180"  # MHz, for place and route
SEEDS = (1, 2, 3)  # of place and route: the fastest counts, all are told
FABRICS = {
    "8 bits, 16 lanes, readable, convolutions, synaptic filters": replace(CORE, readable=True, places=16, currents=True),
    "8 bits, 16 lanes, readable, convolutions": replace(CORE, readable=True, places=16),
    "8 bits, 16 lanes, readable": replace(CORE, readable=True),
    "8 bits, 16 lanes": CORE,
    "4 bits, 32 lanes": replace(CORE, lanes=32, weight_bits=4, rows=128, sum_bits=13),
    "2 bits, 64 lanes": replace(CORE, lanes=64, weight_bits=2, rows=64, sum_bits=11),
}
#: On boards: the same 16 lanes; and 8, with weights in single-port RAM, and neurons one after the other as there is no room
BESIDE = {
    "tang-nano-20k": CORE,
    "icebreaker": replace(CORE, lanes=8, pipelined=False, weight_words=16384, rows=32, parameter_rows=16,
                          populations=2, projections=4, keys=4, inputs=1, sum_bits=14, state_bits=12),
}
PINS = {"clk": 4, "rst": 25, "i": 26, "o": 27}  # of a Tang Nano 20K
#: Others, measured once with the same tools on the same device.
PEERS = {
    "tinyODIN 256×256": {"lut": 1114, "mhz": 46, "mops_per_klut": 21},
    "ODIN": {"lut": 13522, "mhz": 20, "mops_per_klut": 1},
    "uCaspian": {"lut": 2872, "mhz": 72, "mops_per_klut": 25},
}
#: The same, for the network of :func:`yardstick`.
YARDSTICK_PEERS = {
    "Spiker+": {"cycles per step": 103, "lut": 3844, "mhz": 73},
    "sc-neurocore, folded": {"cycles per step": 43, "lut": 12093, "mhz": None},
}


def density() -> Iterator[dict[str, Any]]:
    """A whole core of 4,096 neurons on an ECP5-85F, without pins: LUTs, Fmax, M synaptic operations/s per 1,000 LUT. Beside
    it, with three pins, on other devices."""
    out: dict[str, Any] = {}
    for name, fabric in (FABRICS | BESIDE).items():
        made = routed(Core(fabric, 0)) if name in FABRICS else pinned(Core(fabric, 0), name)
        mops = made["mhz"] * fabric.lanes
        out[name] = made | {"lanes": fabric.lanes, "mops": round(mops), "mops_per_klut": round(1000 * mops / made["lut"])}
        yield out | {"others": PEERS}


def yardstick() -> Iterator[dict[str, Any]]:
    """64-32-10 dense LIF of random weights (8 bits, membranes of 12), 50 steps of Bernoulli(0.3) input, on a whole chip
    that is made for it; and its spikes that are not golden's."""
    r = np.random.default_rng(0)
    exact = Network(
        (Input("in", (64,)),), (Population("hidden", (32,), decay_v=0.9), Population("out", (10,), decay_v=0.9)),
        (Projection("in", "hidden", r.normal(0, 0.25, (32, 64))), Projection("hidden", "out", r.normal(0, 0.35, (10, 32)))))
    net = quantize(exact, 8, state_bits=12).network
    spikes = (r.random((10, 50, 64)) < 0.3).astype(np.uint8)
    trace = golden.run(net, spikes)
    out: dict[str, Any] = {}
    for lanes, update in ((16, 2), (32, 1), (32, 2)):
        fabric, placement = bare(net, "yardstick", lanes=lanes, update_lanes=update)
        per_step = float(cycles(placement, trace)[-1, -1]) / 500
        with aerloom.connect("sim", fabric, quick=True) as device:
            device.load(net, watch=list(net.population))
            wrong = differing(device.run(spikes).spikes, trace)
        made = routed(Chip(fabric))
        out[f"{lanes} lanes, {update} updates"] = made | {
            "mismatches": wrong, "cycles per step": round(per_step, 1),
            "million steps per second": round(made["mhz"] / per_step, 2)}
        yield out | {"others": YARDSTICK_PEERS}


class Pinned(wiring.Component):
    """A component behind three pins: registers shift what comes in past its inputs, and one keeps its outputs' parity."""

    def __init__(self, component: wiring.Component):
        self.component = component
        super().__init__({"i": In(1), "o": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.component = component = self.component
        ports = [(member.flow, Value.cast(value)) for _, member, value in component.signature.flatten(component)]
        inputs, outputs = (Cat(value for flow, value in ports if flow is way) for way in (In, Out))
        came, leaves = Signal(len(inputs)), Signal(len(outputs))
        m.d.sync += [came.eq(Cat(self.i, came)), leaves.eq(outputs), self.o.eq(leaves.xor())]
        m.d.comb += inputs.eq(came)
        return m


def pinned(core: Core, name: str) -> dict[str, Any]:
    """What place and route make of a core on a board, behind three of its pins: the fastest of :data:`SEEDS`."""
    board = suited(find(name), core.fabric)
    where = ("--vopt", "cst=top.cst") if board.family.constraints == "cst" else ()  # others choose pins themselves
    return placed(Pinned(core), board, [*board.options, *board.family.placing, *where, "--freq", "50"])


def routed(component: wiring.Component) -> dict[str, Any]:
    """What place and route make of a component of an ECP5-85F of speed 6, without pins: the fastest of :data:`SEEDS`."""
    board = find(BOARD)
    return placed(component, board, [*board.options, *board.family.placing, "--out-of-context", "--freq", TARGET])


def placed(component: wiring.Component, board: Board, options: list[str]) -> dict[str, Any]:
    """What place and route make of a component: the fastest of :data:`SEEDS`."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "top.il").write_text(rtlil.convert(component, emit_src=False))
        (work / "top.cst").write_text("".join(f'IO_LOC "{port}" {pin};\n' for port, pin in PINS.items()))
        netlist, _ = synthesise(board.family, work)
        found: dict[int, Any] = {}
        for seed in SEEDS:
            tools.run(board.family.route, [*options, "--json", "top.json", "--report", "report.json", "--seed", str(seed),
                                           "--timing-allow-fail", "-q"], work)
            found[seed] = json.loads((work / "report.json").read_text())
    mhz = {seed: round(report.fmax(said) / 1e6, 1) for seed, said in found.items()}
    said = found[max(mhz, key=mhz.__getitem__)]
    used = report.used(said, netlist, board.family)
    return {"lut": used.lut, "ff": used.ff, "bram": used.bram, "dsp": used.dsp, "mhz": max(mhz.values()),
            "mhz of seeds": list(mhz.values()),
            "tools": [tools.version("yosys"), tools.version(board.family.route)]}
