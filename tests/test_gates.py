# amaranth: UnusedElaboratable=no
# (netlists take the place of components)
"""Netlists: what synthesis, and place and route, make of a chip computes what golden does, bit for bit.

The cells are simulated by Yosys' own models; for blocks of RAM and multipliers of ECP5 and Gowin, which it has none for, by
those of ``cells/blocks.v``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import netlist
import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from gates import Gates
from netlist import need
from test_chip import check, dense, planes

from aerloom import Device, Fabric, Input, Network, Population, Projection, quantize, zoo
from aerloom.boards.board import Board
from aerloom.boards.catalogue import find
from aerloom.boards.tailor import grown
from aerloom.hdl.chip import Chip
from aerloom.host.link import KIND_SHIFT, REPLIES
from aerloom.models import golden
from aerloom.models.contents import EMPTY, Contents, baked
from aerloom.models.place import place
from aerloom.sim.build import design
from aerloom.sim.engine import run
from aerloom.sim.link import SimLink

TINY = Fabric.preset("tiny")
FAMILIES = {"ecp5": "ulx3s-25f", "ice40": "ice40-hx8k", "gowin": "tang-nano-20k"}
STEPS = 8

pytestmark = pytest.mark.full


@pytest.fixture
def gates(tmp_path: Path) -> Callable[..., Device]:
    """A device whose chip is a netlist."""

    def get(board: Board, fabric: Fabric, contents: Contents = EMPTY, routed: bool = False) -> Device:
        need("yosys", *([board.family.route] if routed else []))
        cells = netlist.synthesised(design(Chip(fabric, contents)), board.family, tmp_path, *["-nodsp"] * routed)
        if routed:
            cells = netlist.routed(board, tmp_path)
        made = netlist.modelled(cells, board.family, tmp_path)
        replies = sum(1 << int(kind) for kind in REPLIES)
        return Device(SimLink(fabric, Gates(Chip(fabric), made, counted={"o": (KIND_SHIFT, replies)})))

    return get


class Store(wiring.Component):
    """A memory with a multiplier behind it: what is written at an address and read at the next one."""

    def __init__(self, width: int, depth: int, granularity: int | None, init: list[int]):
        self.width, self.depth, self.granularity, self.init = width, depth, granularity, init
        parts = width // (granularity or width)
        word = data.StructLayout({"address": ceil_log2(depth), "data": width, "write": parts})
        super().__init__({"i": In(stream.Signature(word)), "o": Out(stream.Signature(width + 13))})

    def elaborate(self, platform: object) -> Module:
        m, i = Module(), self.i.payload
        m.submodules.memory = memory = Memory(shape=self.width, depth=self.depth, init=self.init)
        write, read = memory.write_port(granularity=self.granularity), memory.read_port()
        moves, there, factor = Signal(), Signal(), Signal(signed(13))
        m.d.comb += [
            moves.eq(~there | self.o.ready), self.i.ready.eq(moves), self.o.valid.eq(there),
            write.addr.eq(i.address + 1), write.data.eq(i.data), write.en.eq(Mux(moves & self.i.valid, i.write, 0)),
            read.addr.eq(i.address), read.en.eq(moves),
            self.o.payload.eq(read.data[: min(18, self.width)].as_signed() * factor ^ read.data),
        ]
        with m.If(moves):
            m.d.sync += [there.eq(self.i.valid), factor.eq(i.data)]
        return m


@pytest.mark.parametrize("width, depth, granularity, full", [
    (1, 16384, None, False), (2, 5000, None, True), (4, 3000, None, True), (8, 2048, None, True), (9, 1500, None, True),
    (16, 1024, 8, True), (18, 1024, 9, False), (36, 512, 9, True), (32, 512, 16, True), (40, 300, None, True),
    (12, 16, None, True)])
@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES)
def test_cells_are_modelled_as_they_work(tmp_path: Path, name: str, width: int, depth: int, granularity: int | None,
                                         full: bool) -> None:
    """Memories of every shape of a block of RAM, with what they begin with, and a multiplier; beside Amaranth's own."""
    need("yosys")
    r = np.random.default_rng(width)
    init = [int(v) for v in r.integers(0, 1 << min(width, 62), depth)] if full else []
    dut = Store(width, depth, granularity, init)
    words = [{"address": int(r.integers(0, 40)), "data": int(r.integers(0, 1 << min(width, 62))),
              "write": int(r.integers(0, 1 << width // (granularity or width)))} for _ in range(600)]
    expected = run(dut, {"i": words}, {"o": len(words)}, engine="amaranth", stall=0.2)["o"]
    family = find(name).family
    made = netlist.modelled(netlist.synthesised(design(dut), family, tmp_path), family, tmp_path)
    with Gates(dut, made, stall=0.2) as simulation:
        bits = [simulation.inputs[0].bits(word) for word in words]
        found = simulation.exchange({"i": bits}, {"o": len(words)})["o"]
    assert list(map(int, found)) == expected


class Late(wiring.Component):
    """A memory and a plain register behind it, in one pipe that stalls as a whole."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"i": In(stream.Signature(10)), "o": Out(stream.Signature(width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        r = np.random.default_rng(self.width)
        words = [int(n) for n in r.integers(0, 1 << self.width, 1024)]
        m.submodules.memory = memory = Memory(shape=self.width, depth=1024, init=words)
        write, read = memory.write_port(), memory.read_port()
        there, late, moves = Signal(), Signal(self.width, reset_less=True), Signal()
        m.d.comb += [moves.eq(~self.o.valid | self.o.ready), self.i.ready.eq(moves), read.addr.eq(self.i.payload),
                     read.en.eq(moves), write.addr.eq(self.i.payload + 5), write.data.eq(~self.i.payload),
                     write.en.eq(self.i.valid & moves), self.o.payload.eq(late)]
        with m.If(moves):
            m.d.sync += [there.eq(self.i.valid), self.o.valid.eq(there), late.eq(read.data)]
        return m


@pytest.mark.parametrize("width, routed", [(4, False), (16, False), (18, False), (18, True), (36, False)])
def test_registers_in_blocks_of_ram(tmp_path: Path, width: int, routed: bool) -> None:
    """Flip-flops that move into the blocks of an ECP5 leave everything as it was, after place and route too."""
    need("yosys", "nextpnr-ecp5")
    board, r = find("ulx3s-25f"), np.random.default_rng(1)
    family = board.family
    words = [int(n) for n in r.integers(0, 1024, 300)]
    expected = run(Late(width), {"i": words}, {"o": len(words)}, engine="amaranth", stall=0.3)["o"]
    cells = netlist.synthesised(design(Late(width)), family, tmp_path)
    blocks = [cell for cell in cells["modules"]["top"]["cells"].values() if cell["type"] == "DP16KD"]
    assert blocks and all("OUTREG" in (b["parameters"]["REGMODE_A"], b["parameters"]["REGMODE_B"]) for b in blocks)
    if routed:
        cells = netlist.routed(board, tmp_path)
    with Gates(Late(width), netlist.modelled(cells, family, tmp_path), stall=0.3) as simulation:
        assert list(map(int, simulation.exchange({"i": words}, {"o": len(words)})["o"])) == expected


class Times(wiring.Component):
    """Products of numbers and their neighbours, in registers all the way; of those that are odd nothing is left."""

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(16)), "o": Out(stream.Signature(32))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, odd = Signal(signed(16), reset_less=True), Signal(signed(16), reset_less=True), Signal()
        there = Signal(2)
        m.d.sync += [a.eq(self.i.payload.as_signed()), b.eq(a), odd.eq(self.i.payload[0])]
        m.d.sync += [there.eq(Cat(self.i.valid & self.i.ready, there))]
        m.d.sync += self.o.payload.eq(Mux(odd, 0, a * b))
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), self.o.valid.eq(there[1])]  # nobody stalls
        return m


@pytest.mark.parametrize("routed", [False, True])
def test_registers_in_multipliers(tmp_path: Path, routed: bool) -> None:
    """Flip-flops that move into a multiplier of an ECP5, before and behind it and with a reset, leave everything as it was;
    one to which others listen is there twice."""
    need("yosys", "nextpnr-ecp5")
    board, r = find("ulx3s-25f"), np.random.default_rng(1)
    given = [int(n) for n in r.integers(0, 1 << 16, 300)]
    expected = run(Times(), {"i": given}, {"o": len(given)}, engine="amaranth")["o"]
    cells = netlist.synthesised(design(Times()), board.family, tmp_path)
    (found,) = [cell for cell in cells["modules"]["top"]["cells"].values() if cell["type"] == "MULT18X18D"]
    assert {f"REG_{which}_CLK" for which in ("INPUTA", "INPUTB", "OUTPUT")} <= set(found["parameters"])
    assert found["connections"]["RST0"] != ["0"]
    if routed:
        cells = netlist.routed(board, tmp_path)
    with Gates(Times(), netlist.modelled(cells, board.family, tmp_path)) as simulation:
        assert list(simulation.exchange({"i": given}, {"o": len(given)})["o"]) == expected


def spikes(network: Network, samples: int = 2) -> dict[str, np.ndarray]:
    r = np.random.default_rng(2)
    return {i.name: (r.random((samples, STEPS, i.size)) < 0.4).astype(np.uint8) for i in network.inputs}


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES)
def test_netlist_of_a_small_chip(gates: Callable[..., Device], name: str) -> None:
    """Loaded and run: a recurrent network, then one with convolutions."""
    fabric = replace(TINY, rows=32, parameter_rows=128)
    with gates(find(name), fabric) as device:
        for network in (dense(1), planes(1)):
            check(device, network, spikes(network))


def test_netlist_of_a_real_networks_chip(gates: Callable[..., Device]) -> None:
    digits = quantize(zoo("digits"), 8).network
    fabric, _ = grown(digits, replace(TINY, lanes=8))
    with gates(find("ulx3s-25f"), fabric) as device:
        check(device, digits, spikes(digits))


def test_netlist_of_the_smallest_boards_chip(gates: Callable[..., Device]) -> None:
    """Without places, its neurons one after the other, its weights in a large memory with one port."""
    board, r = find("icebreaker"), np.random.default_rng(4)
    a, b, c = (r.integers(-7, 8, shape).astype(np.int8) for shape in ((17, 20), (17, 17), (6, 17)))
    network = Network(
        (Input("in", (20,)),),
        (Population("hidden", (17,), decay_v=3800, threshold=12), Population("out", (6,), threshold=r.integers(9, 20, 6))),
        (Projection("in", "hidden", a), Projection("hidden", "hidden", b, delay=1), Projection("hidden", "out", c)),
        state_bits=10)
    with gates(board, board.fabric) as device:
        check(device, network, spikes(network))


def test_netlist_of_a_baked_chip(gates: Callable[..., Device]) -> None:
    """What a bitstream says the memories begin with is the network."""
    network = dense(2)
    inside = baked(place(network, TINY), list(network.population), STEPS)
    with gates(find("ulx3s-25f"), TINY, inside) as device:
        device.assume(network, watch=list(network.population))
        found = device.run(spikes(network)).spikes
    trace = golden.run(network, spikes(network))
    for name in network.population:
        np.testing.assert_array_equal(found[name], trace.spikes[name])


def test_netlist_after_place_and_route(gates: Callable[..., Device]) -> None:
    """The smallest chip that runs a network, as nextpnr packed, placed and routed it."""
    network = dense(3)
    fabric, _ = grown(network, replace(find("ice40-hx8k").fabric, lanes=4))
    with gates(find("ulx3s-25f"), fabric, routed=True) as device:
        check(device, network, spikes(network))
