"""Packets over a few wires: the way between two chips on a board, or two boards with one clock."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from ..models.fabric import PACKET
from .shapes import PACKETS

__all__ = ["Receiver", "Sender", "Wires"]


class Sender(wiring.Component):
    """Sends packets in pieces of ``width`` bits, the lowest first, as long as the receiver has room.

    The wires may be of any length and take any number of clocks, the same for all; they must not lose anything. For a
    packet in every ``32 / width`` clocks the receiver needs room for those that fit into the way there and back.

    Parameters
    ----------
    width : int
        Wires, a divisor of 32.
    room : int
        Packets that the receiver holds.

    Members
    -------
    i : packets
    data, strobe : Out
        A piece, and whether there is one in this clock.
    credit : In
        The receiver gave away a packet.
    """

    def __init__(self, width: int, room: int):
        self.width, self.room, self.pieces = width, room, PACKET.width // width
        super().__init__({"i": In(PACKETS), "data": Out(width), "strobe": Out(1), "credit": In(1)})

    def elaborate(self, platform):
        m = Module()
        rest, left = Signal(PACKET.width), Signal(range(self.pieces + 1))
        free = Signal(range(self.room + 1), init=self.room)
        m.d.comb += self.i.ready.eq((left <= 1) & (free != 0))
        m.d.comb += [self.strobe.eq(left != 0), self.data.eq(rest)]
        takes = self.i.valid & self.i.ready
        m.d.sync += free.eq(free - takes + self.credit)
        with m.If(takes):
            m.d.sync += [rest.eq(Value.cast(self.i.payload)), left.eq(self.pieces)]
        with m.Elif(left != 0):
            m.d.sync += [rest.eq(rest >> self.width), left.eq(left - 1)]
        return m


class Receiver(wiring.Component):
    """The other end of :class:`Sender`, with the same parameters.

    Members
    -------
    data, strobe : In
    credit : Out
    o : packets
    """

    def __init__(self, width: int, room: int):
        self.width, self.room, self.pieces = width, room, PACKET.width // width
        super().__init__({"data": In(width), "strobe": In(1), "credit": Out(1), "o": Out(PACKETS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.held = held = fifo.SyncFIFOBuffered(width=PACKET.width, depth=self.room)
        some, count = Signal(PACKET.width), Signal(range(self.pieces))
        whole = (self.data << PACKET.width - self.width) | (some >> self.width)
        m.d.comb += [
            held.w_data.eq(whole),
            held.w_en.eq(self.strobe & (count == self.pieces - 1)),  # there is room: the sender counts
            Value.cast(self.o.payload).eq(held.r_data),
            self.o.valid.eq(held.r_rdy),
            held.r_en.eq(self.o.ready),
            self.credit.eq(self.o.valid & self.o.ready),
        ]
        with m.If(self.strobe):
            m.d.sync += [some.eq(whole), count.eq(count + 1)]
            with m.If(count == self.pieces - 1):
                m.d.sync += count.eq(0)
        return m


class Wires(wiring.Component):
    """Packets from chip to chip over ``width`` wires that are ``latency`` clocks long.

    Members
    -------
    i, o : packets
    """

    def __init__(self, width: int = 8, latency: int = 3, room: int = 8):
        self.width, self.latency, self.room = width, latency, room
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = Sender(self.width, self.room)
        m.submodules.receiver = receiver = Receiver(self.width, self.room)

        def wire(a, b):
            for _ in range(self.latency):
                a, before = Signal.like(a), a
                m.d.sync += a.eq(before)
            m.d.comb += b.eq(a)

        wiring.connect(m, wiring.flipped(self.i), sender.i)
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        wire(sender.data, receiver.data)
        wire(sender.strobe, receiver.strobe)
        wire(receiver.credit, sender.credit)
        return m
