# amaranth: UnusedElaboratable=no
# (components that are built to see them refuse)
"""Bytes over two wires, and over a bus: the components against lines that do what lines do."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from aerloom import Device, Fabric
from aerloom.hdl.board import FifoBoard
from aerloom.hdl.parallel import ParallelFifo
from aerloom.hdl.uart import BYTES, Receive, Send, Uart
from aerloom.models import golden
from aerloom.models.contents import baked
from aerloom.models.place import place
from aerloom.sim.engine import open_engine
from tests.lines import EngineBoard, LocalLine, session
from tests.test_chip import dense
from tests.wrap import many


class Ends(wiring.Component):
    """Two Uarts, joined; their clocks differ by as much as their divisors."""

    i: In(BYTES)
    o: Out(BYTES)
    back: In(BYTES)
    there: Out(BYTES)

    def __init__(self, one, other):
        self.one, self.other = Uart(one), Uart(other)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.one, m.submodules.other = one, other = self.one, self.other
        m.d.comb += [one.rx.eq(other.tx), other.rx.eq(one.tx)]
        wiring.connect(m, wiring.flipped(self.i), one.i)
        wiring.connect(m, other.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.back), other.i)
        wiring.connect(m, one.o, wiring.flipped(self.there))
        return m


@pytest.mark.parametrize("divisors", [(4, 4), (5, 5), (50, 52), (52, 50)])
def test_uart_both_ways(engine, divisors):
    r = np.random.default_rng(1)
    one, other = (r.integers(0, 256, many(engine, 100)) for _ in range(2))
    with open_engine(Ends(*divisors), engine) as simulation:
        out = simulation.exchange({"i": one, "back": other}, {"o": len(one), "there": len(other)}, drain=2000)
    np.testing.assert_array_equal(out["o"], one)
    np.testing.assert_array_equal(out["there"], other)


def test_a_byte_takes_ten_bits_and_a_clock():
    with open_engine(Ends(5, 5), "compiled") as simulation:
        simulation.exchange({"i": [0x55] * 100}, {"o": 100})
    assert simulation.cycles == pytest.approx(100 * 51, abs=20)


class Wire(wiring.Component):
    """A Receive whose wire is a stream of levels, a clock each; and the levels of a Send."""

    levels: In(stream.Signature(1))
    o: Out(BYTES)
    i: In(BYTES)
    sent: Out(stream.Signature(1))

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receive = receive = Receive(self.divisor)
        m.submodules.send = send = Send(self.divisor)
        wire = Signal(init=1)
        with m.If(self.levels.valid):
            m.d.sync += wire.eq(self.levels.payload)
        m.d.comb += [self.levels.ready.eq(1), receive.rx.eq(wire)]
        wiring.connect(m, receive.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), send.i)
        m.d.comb += [self.sent.valid.eq(1), self.sent.payload.eq(send.tx)]
        return m


def levels(byte, clocks, stop=1):
    """The wire while a byte passes, with bits of `clocks` clocks, on average."""
    bits = [0, *(byte >> n & 1 for n in range(8)), stop]
    edges = [round(n * clocks) for n in range(11)]
    return [bit for bit, a, b in zip(bits, edges, edges[1:], strict=False) for _ in range(b - a)]


@pytest.mark.parametrize("clocks", [9.7, 10.0, 10.3])
def test_every_byte_at_a_speed_that_is_a_little_off(clocks):
    wire = [1] * 5 + [level for byte in range(256) for level in levels(byte, clocks)] + [1] * 9
    with open_engine(Wire(10), "compiled") as simulation:
        out = simulation.exchange({"levels": wire}, {}, drain=30)["o"]
    assert out.tolist() == list(range(256))


def test_glitches_and_bytes_without_a_stop_bit_are_no_bytes(engine):
    idle = [1] * 30
    wire = [*idle, 0, 0, *idle, *levels(0x5A, 10, stop=0), *idle, *levels(0x5A, 10), *idle, *[0] * 150, *idle,
            *levels(7, 10), *idle]
    with open_engine(Wire(10), engine) as simulation:
        out = simulation.exchange({"levels": wire}, {}, drain=30)["o"]
    assert out.tolist() == [0x5A, 7]


def test_what_is_sent_looks_as_it_should():
    with open_engine(Wire(6), "compiled") as simulation:
        out = simulation.exchange({"i": [0x53, 0x00]}, {}, drain=200)["sent"].tolist()
    start = out.index(0)
    assert out[start : start + 121] == [*levels(0x53, 6), 1, *levels(0, 6)]
    assert set(out[:start] + out[start + 121 :]) == {1}


def test_refuses_speeds_at_which_it_cannot_work():
    with pytest.raises(ValueError, match="divisor must be at least 4 clocks a bit, not 3"):
        Uart(3)
    with pytest.raises(ValueError, match="strobe must be at least 3 clocks"):
        ParallelFifo(2)


class Chip245(wiring.Component):
    """The other end of a ParallelFifo's pins: a chip with FIFOs whose flags go away after each strobe, if only for a while.

    The chip takes the bus at the beginning of a write strobe, drives it in a read strobe alone, and answers a strobe
    without its flag, or two drivers on the bus, by the byte 0xEE where a byte should be.
    """

    back: In(BYTES)  # the host's
    there: Out(BYTES)

    def __init__(self, dut):
        self.dut = dut
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        dut = self.dut
        rd, wr = Signal(init=1), Signal(init=1)  # as they were
        m.d.sync += [rd.eq(dut.rd_n), wr.eq(dut.wr_n)]
        pause = Signal(2)  # both flags are high for some clocks after a strobe
        with m.If(pause != 0):
            m.d.sync += pause.eq(pause - 1)
        with m.If((dut.rd_n & ~rd) | (dut.wr_n & ~wr)):
            m.d.sync += pause.eq(2)
        m.d.comb += [
            dut.rxf_n.eq(~self.back.valid | (pause != 0)),
            dut.data_i.eq(0xEE),
            self.back.ready.eq(dut.rd_n & ~rd),
            dut.txe_n.eq(self.there.valid | (pause != 0)),
        ]
        with m.If(~dut.rd_n & ~rd & ~dut.data_oe & self.back.valid):
            m.d.comb += dut.data_i.eq(self.back.payload)
        with m.If(self.there.ready):
            m.d.sync += self.there.valid.eq(0)
        with m.If(~dut.wr_n & wr):
            bus = Signal(8)
            m.d.comb += bus.eq(0xEE)
            with m.If(dut.data_oe & ~self.there.valid):
                m.d.comb += bus.eq(dut.data_o)
            m.d.sync += [self.there.valid.eq(1), self.there.payload.eq(bus)]
        return m


class Fifo245(wiring.Component):
    """A ParallelFifo and its chip."""

    i: In(BYTES)  # the board's
    o: Out(BYTES)
    back: In(BYTES)  # the host's
    there: Out(BYTES)

    def __init__(self, strobe):
        self.dut = ParallelFifo(strobe)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        m.submodules.chip = chip = Chip245(self.dut)
        m.submodules.memory = Memory(shape=8, depth=2, init=[])  # a domain where nothing else would need one
        wiring.connect(m, wiring.flipped(self.i), self.dut.i)
        wiring.connect(m, self.dut.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.back), chip.back)
        wiring.connect(m, chip.there, wiring.flipped(self.there))
        return m


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("strobe", [3, 5])
def test_parallel_fifo_both_ways(engine, strobe, stall):
    r = np.random.default_rng(2)
    one, other = (r.integers(0, 256, many(engine, 600)) for _ in range(2))
    with open_engine(Fifo245(strobe), engine, stall=stall, seed=3) as simulation:
        out = simulation.exchange({"i": one, "back": other}, {"there": len(one), "o": len(other)}, drain=100)
    np.testing.assert_array_equal(out["there"], one)
    np.testing.assert_array_equal(out["o"], other)


class Board245(wiring.Component):
    """A whole board, its FT245, and nothing else between them and the host."""

    rx: In(BYTES)
    tx: Out(BYTES)

    def __init__(self, fabric, contents):
        self.board = FifoBoard(fabric, strobe=3, timeout=1 << 16, contents=contents)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = self.board
        m.submodules.chip = chip = Chip245(self.board)
        wiring.connect(m, wiring.flipped(self.rx), chip.back)
        wiring.connect(m, chip.there, wiring.flipped(self.tx))
        return m


def test_a_whole_board_behind_a_parallel_fifo():
    """Asked and run by the host's own session, with the network inside: golden."""
    network, tiny = dense(8), Fabric.preset("tiny")
    spikes = (np.random.default_rng(5).random((1, 6, 20)) < 0.4).astype(np.uint8)
    inside = baked(place(network, tiny), list(network.population))
    board = EngineBoard(open_engine(Board245(tiny, inside), "amaranth"))
    with Device(session(LocalLine(board), interval=0.5)) as device:
        device.assume(network, watch=list(network.population))
        run, trace = device.run(spikes), golden.run(network, spikes)
        np.testing.assert_array_equal(device.peek("out"), trace.state["out"].v[-1])
    for name in network.population:
        np.testing.assert_array_equal(run.spikes[name], trace.spikes[name])
