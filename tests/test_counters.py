"""Counters that share an adder, against sums."""

import random

import pytest
from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from aerloom.hdl.counters import Counters
from aerloom.hdl.shapes import ANSWERS, READS
from aerloom.models.fabric import COUNTER_BITS, Space
from aerloom.sim.engine import open_engine
from tests.wrap import Plain, many, talk

WIDTHS = [1, 3, 13, 1, 2]


class Clocked(wiring.Component):
    """Counters that see one item per clock."""

    i: In(stream.Signature(data.ArrayLayout(max(WIDTHS), len(WIDTHS)), always_ready=True))
    read: In(READS)
    data: Out(ANSWERS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.counters = counters = Counters(WIDTHS)
        wiring.connect(m, wiring.flipped(self.read), counters.read)
        wiring.connect(m, counters.data, wiring.flipped(self.data))
        m.d.comb += [getattr(counters, f"event{n}").eq(Mux(self.i.valid, self.i.payload[n], 0)) for n in range(len(WIDTHS))]
        return m


def read(simulation, n, space=Space.COUNTERS):
    asked = [{"space": space, "address": n, "chunk": chunk} for chunk in range(COUNTER_BITS // 16)]
    low, high = talk(simulation, {"read": asked}, {"data": 2})["data"]
    return low | high << 16


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_every_event_is_counted_once(engine, stall):
    r = random.Random(3)
    with open_engine(Plain(Clocked()), engine, stall=stall) as simulation:
        for _ in range(many(engine, 6)):
            talk(simulation, {"restart": [1]}, {}, drain=8)
            expected = [0] * len(WIDTHS)
            for _ in range(3):
                events = [[r.choice([0, 1, (1 << w) - 1]) for w in WIDTHS] for _ in range(r.randint(0, 3000))]
                talk(simulation, {"i": events}, {}, drain=20)
                expected = [total + sum(e[n] for e in events) for n, total in enumerate(expected)]
                assert [read(simulation, n) for n in range(len(WIDTHS))] == expected
            assert read(simulation, 0, Space.STATE) == read(simulation, len(WIDTHS)) == read(simulation, 1 << 14) == 0
