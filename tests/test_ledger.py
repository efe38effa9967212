"""Countdowns, against a few lines of Python."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom.hdl.ledger import Ledger
from aerloom.sim.engine import open_engine
from tests.wrap import Plain, talk

SLOTS, BITS = 3, 2


class Clocked(wiring.Component):
    """A Ledger that sees one item per clock, and says what is free after each."""

    i: In(stream.Signature(data.StructLayout({"paid": SLOTS, "owed": SLOTS, "less": BITS})))
    o: Out(stream.Signature(SLOTS, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.submodules.ledger = ledger = Ledger(SLOTS, BITS)
        i, taken = self.i.payload, self.i.valid
        m.d.comb += [
            self.i.ready.eq(1),
            ledger.paid.eq(Mux(taken, i.paid, 0)),
            ledger.owed.eq(Mux(taken, i.owed, 0)),
            ledger.less.eq(i.less),
            self.o.payload.eq(ledger.free),
        ]
        m.d.sync += self.o.valid.eq(taken)
        return m


def free_after(events):
    """The bits of the slots that wait for nothing, or have one in advance, after each clock."""
    left, out = [0] * SLOTS, []
    for e in events:
        for n in range(SLOTS):
            left[n] += (e["less"] + 1) * (e["owed"] >> n & 1) - (e["paid"] >> n & 1)
        out.append(sum((left[n] % 2**BITS in (0, 2**BITS - 1)) << n for n in range(SLOTS)))
    return out


EVENTS = st.fixed_dictionaries({"paid": st.integers(0, 2**SLOTS - 1), "owed": st.integers(0, 2**SLOTS - 1),
                                "less": st.integers(0, 2**BITS - 1)})


def test_a_slot_is_free_when_all_it_owes_is_paid(engine):
    with open_engine(Plain(Clocked()), engine, stall=0.2) as simulation:

        @settings(max_examples=50, deadline=None)
        @given(st.lists(EVENTS, min_size=1, max_size=40))
        def check(events):
            talk(simulation, {"restart": [1]}, {})
            assert talk(simulation, {"i": events}, {"o": len(events)})["o"] == free_after(events)

        check()
