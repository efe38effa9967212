"""Countdowns, against a few lines of Python."""

from amaranth.hdl import Module
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

    i: In(stream.Signature(data.StructLayout({"pays": 1, "paid": 2, "owes": 1, "owed": 2, "amount": BITS, "first": 1})))
    o: Out(stream.Signature(SLOTS, always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.submodules.ledger = ledger = Ledger(SLOTS, BITS)
        i, taken = self.i.payload, self.i.valid
        m.d.comb += [
            self.i.ready.eq(1),
            ledger.paid.valid.eq(taken & i.pays),
            ledger.paid.payload.eq(i.paid),
            ledger.owed.valid.eq(taken & i.owes),
            ledger.owed.payload.slot.eq(i.owed),
            ledger.owed.payload.amount.eq(i.amount),
            ledger.owed.payload.first.eq(i.first),
            self.o.payload.eq(ledger.free),
        ]
        m.d.sync += self.o.valid.eq(taken)
        return m


def free_after(events):
    """The bits of the slots that wait for nothing, or have one in advance, after each clock."""
    left, out = dict.fromkeys(range(SLOTS), 1), []
    for e in events:
        if e["owes"] and e["owed"] in left:
            left[e["owed"]] += e["amount"] - e["first"]
        if e["pays"] and e["paid"] in left:
            left[e["paid"]] -= 1
        out.append(sum((left[n] % 2**BITS in (0, 2**BITS - 1)) << n for n in left))
    return out


EVENTS = st.fixed_dictionaries(
    {name: st.integers(0, 1) for name in ("pays", "owes", "first")}
    | {name: st.integers(0, 3) for name in ("paid", "owed", "amount")}
)


def test_a_slot_is_free_when_all_it_owes_is_paid(engine):
    with open_engine(Plain(Clocked()), engine, stall=0.2) as simulation:

        @settings(max_examples=50, deadline=None)
        @given(st.lists(EVENTS, min_size=1, max_size=40))
        def check(events):
            talk(simulation, {"restart": [1]}, {})
            assert talk(simulation, {"i": events}, {"o": len(events)})["o"] == free_after(events)

        check()
