"""The chip's end of the link to the host."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models.frame import NUMBER_BITS
from .frame import Deframe, Enframe
from .keep import Keep
from .order import Order
from .shapes import PACKET_LAYOUT, PACKETS
from .stream import Register
from .uart import BYTES

__all__ = ["Port"]


class Port(wiring.Component):
    """Packets for a chip, over a line of bytes that may lose and change them.

    Computes :class:`aerloom.models.port.Board`::

        rx ─► Deframe ─► Order ─► Register ─► o ─► chip
                           │
        tx ◄─ Enframe ◄─ Register ◄─ Keep ◄── i ◄─ chip

    Parameters
    ----------
    depth : int
        Packets of memory each way, a power of two, at least 64.
    timeout : int
        Clocks after which what the host does not acknowledge is sent again: more than a frame takes, and the host.

    Members
    -------
    rx, tx : bytes
        From and to the line; ``rx`` is always ready.
    i, o : packets
        From and to the chip. Nothing is taken from it before the first session.
    restart : Out
        For a clock, at the beginning of a session: resets the chip.
    """

    def __init__(self, depth: int = 256, timeout: int = 1 << 20):
        if depth < 64 or depth & depth - 1 or depth > 1 << NUMBER_BITS - 3:
            raise ValueError(f"depth must be a power of two from 64 to {1 << NUMBER_BITS - 3}, not {depth!r}")
        self.depth, self.timeout = depth, timeout
        super().__init__({"rx": In(BYTES), "tx": Out(BYTES), "i": In(PACKETS), "o": Out(PACKETS), "restart": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.deframe = deframe = Deframe()
        m.submodules.order = order = Order(self.depth)
        m.submodules.keep = keep = Keep(self.depth, self.timeout)
        m.submodules.enframe = enframe = Enframe()
        wiring.connect(m, wiring.flipped(self.rx), deframe.i)
        wiring.connect(m, deframe.o, order.i)
        # what memories hold is late in its clock, and rare
        came, leaves = Register(PACKET_LAYOUT), Register(keep.o.payload.shape())
        m.submodules.came, m.submodules.leaves = ResetInserter(order.restart)(came), leaves
        wiring.connect(m, order.o, came.i)
        wiring.connect(m, came.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), keep.i)
        wiring.connect(m, keep.o, leaves.i)
        wiring.connect(m, leaves.o, enframe.i)
        wiring.connect(m, enframe.o, wiring.flipped(self.tx))
        m.d.sync += self.restart.eq(order.restart)
        for name in ("news", "reject", "taken", "limit", "session", "restart"):  # all of one clock
            m.d.sync += getattr(keep, name).eq(getattr(order, name))
        return m
