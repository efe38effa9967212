"""What each of several parties still waits for: step tokens, or credits."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Ledger"]


class Ledger(wiring.Component):
    """One countdown for each slot.

    Members
    -------
    paid : stream of slots
        One token less to wait for.
    owed : stream of slot, amount, first
        So many more to wait for, or with all bits set one less; with ``first``, instead of the one that the slot waited for
        since the reset. What was paid before counts.
    free : Out, one bit for each slot
        It waits for nothing, or has one in advance. Meaningless before ``first``.
    """

    def __init__(self, slots: int, bits: int):
        self.slots, self.bits = slots, bits
        slot = max(1, ceil_log2(slots))
        super().__init__(
            {
                "paid": In(stream.Signature(slot, always_ready=True)),
                "owed": In(
                    stream.Signature(data.StructLayout({"slot": slot, "amount": bits, "first": 1}), always_ready=True)
                ),
                "free": Out(slots),
            }
        )

    def elaborate(self, platform):
        m = Module()
        owed = self.owed.payload
        both = self.paid.valid & (self.paid.payload == owed.slot)
        more = Signal(self.bits)  # what the slot that owes gets in all
        m.d.comb += more.eq(owed.amount - owed.first - both)
        for slot in range(self.slots):
            left, change = Signal(self.bits, init=1, name=f"left_{slot}"), Signal(self.bits, name=f"change_{slot}")
            with m.If(self.owed.valid & (owed.slot == slot)):
                m.d.comb += change.eq(more)
            with m.Elif(self.paid.valid & (self.paid.payload == slot)):
                m.d.comb += change.eq(-1)
            m.d.sync += left.eq(left + change)
            m.d.comb += self.free[slot].eq((left == 0) | left.all())
        return m
