"""What each of several parties still waits for, step tokens or credits; and what it has under way."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Ledger", "Tally", "among"]


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


class Tally(wiring.Component):
    """Counts to 1 or 2, one for each slot.

    Members
    -------
    more, less : In, one bit for each slot
        One more, unless there are as many as can be; one less, unless there is none. Both change nothing.
    some, full : Out, one bit for each slot
        There is one at least; there are as many as can be.
    """

    def __init__(self, slots: int, most: int):
        if most not in (1, 2):
            raise ValueError(f"most must be 1 or 2, not {most!r}")
        self.most = most
        super().__init__({"more": In(slots), "less": In(slots), "some": Out(slots), "full": Out(slots)})

    def elaborate(self, platform):
        m = Module()
        if self.most == 1:
            m.d.sync += self.some.eq(self.more | (self.some & ~self.less))
            m.d.comb += self.full.eq(self.some)
            return m
        changes = self.more ^ self.less
        m.d.sync += [
            self.some.eq((changes & (self.more | self.full)) | (~changes & self.some)),
            self.full.eq((changes & self.more & self.some) | (~changes & self.full)),
        ]
        return m
