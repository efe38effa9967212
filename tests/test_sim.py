"""The simulation engines: each gives what the streams of a design give, and all give the same."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from amaranth.hdl import Assert, Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, enum, fifo, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from aerloom.models.errors import AerloomError
from aerloom.sim import build, compiled
from aerloom.sim.engine import ENGINES, available, open_engine, run
from aerloom.sim.traffic import Stuck

# A component that is refused is never elaborated, and says so when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

STALLS = pytest.mark.parametrize("stall", [0.0, 0.5])


class Queue(wiring.Component):
    """A FIFO, for payloads of any width."""

    def __init__(self, shape, depth=4):
        self.shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFOBuffered(width=Shape.cast(self.shape).width, depth=self.depth)
        m.d.comb += [
            queue.w_en.eq(self.i.valid), queue.w_data.eq(self.i.p), self.i.ready.eq(queue.w_rdy),
            self.o.valid.eq(queue.r_rdy), Value.cast(self.o.p).eq(queue.r_data), queue.r_en.eq(self.o.ready),
        ]
        return m


class Sign(enum.Enum, shape=1):
    PLUS = 0
    MINUS = 1


class Narrow(wiring.Component):
    """A struct in, two signed words out: its first field as the sign says, then its second field."""

    i: In(stream.Signature(data.StructLayout({"sign": Sign, "first": 7, "second": signed(5)})))
    o: Out(stream.Signature(signed(8)))

    def elaborate(self, platform):
        m = Module()
        late = Signal()
        first = Mux(self.i.p.sign == Sign.MINUS, -self.i.p.first, self.i.p.first)
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.o.payload.eq(Mux(late, self.i.p.second, first)),
            self.i.ready.eq(self.o.ready & late),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += late.eq(~late)
        return m


class Crossing(wiring.Component):
    """Sums what it has been sent on `a`, counts what on `b`; `sum_out` answers `a`, `count_out` answers `b`."""

    a: In(stream.Signature(16))
    b: In(stream.Signature(1))
    sum_out: Out(stream.Signature(32))
    count_out: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        for i, o, step in ((self.a, self.sum_out, self.a.payload), (self.b, self.count_out, 1)):
            m.d.comb += i.ready.eq(~o.valid | o.ready)
            with m.If(i.ready):
                m.d.sync += o.valid.eq(i.valid)
            with m.If(i.ready & i.valid):
                m.d.sync += o.payload.eq(o.payload + step)
        return m


class Kinds(wiring.Component):
    """Answers a word of n with n marks, kind 1, and an end, kind 5. The kind is in bits 31 to 29."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(32))

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)
        busy = Signal()
        kind = Mux(left == 0, 5, 1)
        m.d.comb += [self.i.ready.eq(~busy), self.o.valid.eq(busy), self.o.payload.eq(Cat(left, kind << 21))]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [left.eq(self.i.payload), busy.eq(1)]
        with m.If(self.o.ready & busy):
            m.d.sync += [left.eq(left - 1), busy.eq(left != 0)]
        return m


class Rippling(wiring.Component):
    """Gives the parity of each group of lower bits. No register, no clock, and each bit needs the one below it."""

    i: In(stream.Signature(12))
    o: Out(stream.Signature(12))

    def elaborate(self, platform):
        m = Module()
        parity = Signal(12)
        m.d.comb += parity[0].eq(self.i.payload[0])
        m.d.comb += [parity[n].eq(parity[n - 1] ^ self.i.payload[n]) for n in range(1, 12)]
        m.d.comb += [self.o.payload.eq(parity), self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        return m


class Registered(wiring.Component):
    """The same with registers behind it."""

    i: In(stream.Signature(12))
    o: Out(stream.Signature(12))

    def elaborate(self, platform):
        m = Module()
        m.submodules.rippling, m.submodules.queue = rippling, queue = Rippling(), Queue(12)
        wiring.connect(m, wiring.flipped(self.i), rippling.i)
        wiring.connect(m, rippling.o, queue.i)
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        return m


class Lookup(wiring.Component):
    """Reads a table of three rows, at whatever address there is, and checks what it is sent."""

    i: In(stream.Signature(2))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Memory(shape=unsigned(8), depth=3, init=[10, 20, 30])
        port = table.read_port()
        ready = ~self.o.valid | self.o.ready
        m.d.comb += [port.addr.eq(self.i.payload), port.en.eq(ready), self.i.ready.eq(ready)]
        m.d.comb += self.o.payload.eq(port.data)
        with m.If(ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        m.d.sync += Assert(~self.i.valid | (self.i.payload != 2), "two is forbidden")
        return m


class Deaf(wiring.Component):
    """Accepts three words and no more, answers none."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        heard = Signal(2)
        m.d.comb += self.i.ready.eq(heard != 3)
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += heard.eq(heard + 1)
        return m


def numbers(count, bits, seed=1):
    r = random.Random(seed)
    return [r.getrandbits(bits) for _ in range(count)]


@pytest.mark.every_engine
@STALLS
@pytest.mark.parametrize("bits", [9, 32, 300])
def test_a_queue_keeps_every_word_in_order(engine, stall, bits):
    words = numbers(60, bits)
    assert run(Queue(bits), {"i": words}, {"o": 60}, engine=engine, stall=stall, seed=3, drain=20) == {"o": words}


@pytest.mark.every_engine
@STALLS
def test_structs_enums_and_signed_payloads(engine, stall):
    sent = [{"sign": Sign.MINUS, "first": 100, "second": -16}, {"sign": Sign.PLUS, "first": 100, "second": 15}]
    assert run(Narrow(), {"i": sent}, {"o": 4}, engine=engine, stall=stall) == {"o": [-100, -16, 100, 15]}


@STALLS
def test_structs_come_back_as_structs(engine, stall):
    shape = data.StructLayout({"sign": Sign, "level": signed(40)})
    [word] = run(Queue(shape), {"i": [{"sign": Sign.MINUS, "level": -3}]}, {"o": 1}, engine=engine, stall=stall)["o"]
    assert (word.sign, word.level) == (Sign.MINUS, -3)


@STALLS
def test_a_simulation_goes_on_where_it_stopped(engine, stall):
    with open_engine(Crossing(), engine, stall=stall, seed=2) as simulation:
        first = simulation.exchange({"a": [1, 2, 3], "b": [0]}, {"sum_out": 3, "count_out": 1})
        cycles = simulation.cycles
        time.sleep(0.01)
        assert simulation.exchange({}, {})["sum_out"].tolist() == []
        assert simulation.cycles == cycles
        second = simulation.exchange({"a": [4]}, {"sum_out": 1}, drain=5)
        assert simulation.cycles > cycles + 5
    assert (first["sum_out"].tolist(), first["count_out"].tolist()) == ([1, 3, 6], [1])
    assert (second["sum_out"].tolist(), second["count_out"].tolist()) == ([10], [])


@STALLS
def test_only_words_of_the_counted_kinds_are_replies(engine, stall):
    with open_engine(Kinds(), engine, counted={"o": (29, 1 << 5)}, stall=stall) as simulation:
        words = simulation.exchange({"i": [2, 0, 1]}, {"o": 3}, drain=10)["o"]
        assert [word >> 29 for word in words.tolist()] == [1, 1, 5, 5, 1, 5]
        assert len(simulation.exchange({"i": [7]}, {"o": 1})["o"]) == 8


@STALLS
@pytest.mark.parametrize("component", [Rippling, Registered])
def test_bits_that_depend_on_each_other_settle(engine, stall, component):
    words = numbers(50, 12)
    expected = [sum((bin(word & (2 << n) - 1).count("1") & 1) << n for n in range(12)) for word in words]
    assert run(component(), {"i": words}, {"o": 50}, engine=engine, stall=stall) == {"o": expected}


@STALLS
def test_a_stuck_design_is_reported(engine, stall):
    with open_engine(Deaf(), engine, stall=stall, budget=50) as simulation:
        with pytest.raises(Stuck, match="for 50 cycles: i still has 2 words to send, o still owes 1 word"):
            simulation.exchange({"i": range(5)}, {"o": 1})
        assert simulation.cycles < 80
        with pytest.raises(AerloomError, match="open a new one"):
            simulation.exchange({}, {})


@STALLS
def test_addresses_out_of_range_and_failed_assertions(engine, stall):
    with open_engine(Lookup(), engine, stall=stall) as simulation:
        assert simulation.exchange({"i": [0, 3, 1]}, {"o": 3})["o"].tolist() == [10, 0, 20]
        with pytest.raises(AssertionError, match="two is forbidden"):
            simulation.exchange({"i": [2]}, {"o": 1})


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.9])
def test_all_engines_agree_cycle_by_cycle(stall):
    runs = []
    send, expect = {"a": numbers(40, 16), "b": [1] * 25}, {"sum_out": 40, "count_out": 25}
    for name in ENGINES:
        if not available(name):
            with open_engine(Crossing(), name, stall=stall, seed=11) as simulation:
                words = simulation.exchange(send, expect, drain=3)
                runs.append(({port: w.tolist() for port, w in words.items()}, simulation.cycles))
    assert len(runs) > 1 and runs == [runs[0]] * len(runs)


def test_arrays_go_in_and_come_out(engine):
    words = np.arange(200, dtype=np.uint32)
    with open_engine(Queue(32), engine, stall=0.2) as simulation:
        given = simulation.exchange({"i": words}, {"o": len(words)})["o"]
    assert given.dtype == np.uint32
    np.testing.assert_array_equal(given, words)


@pytest.mark.parametrize("send, expect, message", [
    ({"i": [512]}, {}, "words for i must be"),
    ({"i": [-1]}, {}, "words for i must be"),
    ({"i": [0.5]}, {}, "words for i must be"),
    ({"x": [1]}, {}, "no input stream 'x'"),
    ({}, {"i": 1}, "no output stream 'i'"),
])
def test_what_cannot_be_sent_is_refused_and_the_simulation_lives(engine, send, expect, message):
    with open_engine(Queue(9), engine) as simulation:
        with pytest.raises(AerloomError, match=message):
            simulation.exchange(send, expect)
        assert simulation.exchange({"i": [511]}, {"o": 1})["o"].tolist() == [511]


@pytest.mark.parametrize("shape, value", [(signed(8), 128), (unsigned(8), 256), (unsigned(8), -1)])
def test_numbers_out_of_range_are_refused(shape, value):
    with pytest.raises(AerloomError, match="a word for i must fit"):
        run(Queue(shape), {"i": [value]}, {"o": 1})


def test_only_streams_can_be_driven():
    class Plain(wiring.Component):
        i: In(8)

    with pytest.raises(AerloomError, match="i of Plain is none"):
        open_engine(Plain(), "amaranth")
    with pytest.raises(AerloomError, match="there are: amaranth, compiled, cocotb, icarus"):
        open_engine(Plain(), "verilog")


# The compiled engine alone


needs_compiler = pytest.mark.skipif(available("compiled") is not None, reason="no C++ compiler")


@needs_compiler
def test_two_simulations_of_one_library_do_not_meet():
    with open_engine(Crossing(), "compiled") as one, open_engine(Crossing(), "compiled") as two:
        assert one.exchange({"a": [5, 6]}, {"sum_out": 2})["sum_out"].tolist() == [5, 11]
        assert two.exchange({"a": [1]}, {"sum_out": 1})["sum_out"].tolist() == [1]
        one.close()
        assert two.exchange({"a": [1]}, {"sum_out": 1})["sum_out"].tolist() == [2]


@needs_compiler
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_million_words(stall):
    words = np.random.default_rng(1).integers(0, 2**32, 1_000_000, dtype=np.uint32)
    seen = []
    with open_engine(Queue(32), "compiled", stall=stall) as simulation:
        simulation.progress = seen.append
        np.testing.assert_array_equal(simulation.exchange({"i": words}, {"o": len(words)})["o"], words)
    assert seen == sorted(seen) and seen[-1] == len(words) and len(seen) > 10


@needs_compiler
def test_a_cached_design_is_not_built_again(tmp_path, monkeypatch):
    def count():
        with open_engine(Queue(7), "compiled", cache=tmp_path) as simulation:
            return simulation.exchange({"i": [1, 2]}, {"o": 2})["o"].tolist()

    assert count() == [1, 2]
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: pytest.fail("something was run"))
    assert count() == [1, 2]


@needs_compiler
def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(AerloomError, match=f"cache folder {file / 'cache'} is not writable"):
        open_engine(Queue(7), "compiled", cache=file / "cache")


@needs_compiler
def test_a_failed_build_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "FLAGS", ["-no-such-flag"])
    with pytest.raises(AerloomError, match="no-such-flag"):
        open_engine(Queue(7), "compiled", cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    assert available("compiled") == build.NO_COMPILER
    with pytest.raises(AerloomError, match="no C\\+\\+ compiler found: install g"):
        open_engine(Queue(7), "compiled")


# The engines in processes of their own


@pytest.mark.parametrize("name", ["cocotb", "icarus"])
def test_a_dead_simulator_is_reported(name):
    if reason := available(name):
        pytest.skip(reason)
    with open_engine(Crossing(), name) as simulation:
        simulation.exchange({"a": [5]}, {"sum_out": 1})
        os.kill(simulation._process.pid, 9)
        with pytest.raises(AerloomError, match="the simulator ended early"):
            simulation.exchange({"a": [5]}, {"sum_out": 1})


@pytest.mark.skipif(available("icarus") is not None, reason="no Icarus Verilog")
def test_a_simulator_ends_with_its_parent():
    parent = ("import os, sys; from tests.test_sim import Crossing; from aerloom.sim.engine import open_engine\n"
              "e = open_engine(Crossing(), 'icarus'); e.exchange({'a': [1]}, {'sum_out': 1})\n"
              "print(e._process.pid, flush=True); os._exit(0)")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    result = subprocess.run([sys.executable, "-c", parent], cwd=root, capture_output=True, text=True, check=True)
    child = int(result.stdout)
    for _ in range(100):
        if not os.path.exists(f"/proc/{child}/exe"):
            return
        time.sleep(0.1)
    pytest.fail(f"the simulator {child} lives on")
