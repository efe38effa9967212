"""What each of several parties still waits for: step tokens, or credits."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Ledger", "among"]


def among(slots: int, slot, when):
    """One bit for each slot: that of ``slot``, ``when``. Slots are compared, as a shift by one that means nothing yet would
    spoil all bits in a simulator that knows of unknown ones."""
    return Cat(when & (slot == n) for n in range(slots))


class Ledger(wiring.Component):
    """One countdown for each slot, in one chain of carries.

    Members
    -------
    paid : In, one bit for each slot
        It has one token less to wait for. What was paid before it had to wait counts.
    owed : In, one bit for each slot
        It has to wait for more: for ``less`` + 1, modulo all that the counter holds.
    less : In
    free : Out, one bit for each slot
        It waits for nothing, or has one in advance: a clock later.
    """

    def __init__(self, slots: int, bits: int):
        self.slots, self.bits = slots, bits
        super().__init__({"paid": In(slots), "owed": In(slots), "less": In(bits), "free": Out(slots, init=-1)})

    def elaborate(self, platform):
        m = Module()
        for slot in range(self.slots):
            left, total = Signal(self.bits, name=f"left_{slot}"), Signal(self.bits, name=f"total_{slot}")
            change = self.less | (~self.owed[slot]).replicate(self.bits)  # one more is carried in, unless one is paid
            m.d.comb += total.eq((Cat(1, left) + Cat(~self.paid[slot], change))[1:])
            m.d.sync += [left.eq(total), self.free[slot].eq((total == 0) | total.all())]
        return m
