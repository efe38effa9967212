"""Bytes over two wires."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["BYTES", "Receive", "Send", "Uart"]

BYTES = stream.Signature(8)

LEAST = 4  # clocks in a bit: the receiver has to find its middle


class Send(wiring.Component):
    """A start bit, eight bits from the lowest on, a stop bit; ``divisor`` clocks each.

    Members
    -------
    i : bytes
    tx : Out, idle high
    """

    def __init__(self, divisor: int):
        self.divisor = divisor
        super().__init__({"i": In(BYTES), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        bits, left, clocks = Signal(9, init=-1), Signal(range(11)), Signal(range(self.divisor))
        m.d.comb += [self.tx.eq(bits[0]), self.i.ready.eq(left == 0)]
        with m.If(left == 0), m.If(self.i.valid):
            m.d.sync += [bits.eq(Cat(0, self.i.payload)), left.eq(10), clocks.eq(self.divisor - 1)]
        with m.Elif(clocks != 0):
            m.d.sync += clocks.eq(clocks - 1)
        with m.Else():
            m.d.sync += [bits.eq(Cat(bits[1:], 1)), left.eq(left - 1), clocks.eq(self.divisor - 1)]
        return m


class Receive(wiring.Component):
    """The inverse of :class:`Send`: waits for an edge, then looks in the middle of each bit.

    A start bit that is over by its middle was a glitch, and a byte whose stop bit is missing is dropped. Sender and
    receiver may differ by 4 % in speed.

    Members
    -------
    rx : In
        Of any clock.
    o : bytes
        Offered for one clock: who is not ready misses it.
    """

    def __init__(self, divisor: int):
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(BYTES)})

    def elaborate(self, platform):
        m = Module()
        rx, bits, left, clocks = Signal(init=1), Signal(9), Signal(range(11)), Signal(range(self.divisor))
        before = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)
        m.d.comb += self.o.payload.eq(bits[1:])
        m.d.sync += [self.o.valid.eq(0), before.eq(rx)]
        with m.If(left == 0), m.If(before & ~rx):
            m.d.sync += [left.eq(10), clocks.eq(self.divisor // 2 - 1)]
        with m.Elif(clocks != 0):
            m.d.sync += clocks.eq(clocks - 1)
        with m.Else():
            m.d.sync += [left.eq(left - 1), clocks.eq(self.divisor - 1), bits.eq(Cat(bits[1:], rx))]
            with m.If((left == 10) & rx):
                m.d.sync += left.eq(0)
            with m.If(left == 1):  # the stop bit; the byte is whole since the bit before
                m.d.sync += [bits.eq(bits), self.o.valid.eq(rx)]
        return m


class Uart(wiring.Component):
    """Bytes both ways, ``divisor`` clocks a bit.

    Members
    -------
    i, o : bytes
        To be sent, and received. A byte that is not taken at once is missed.
    rx, tx : pins
    """

    def __init__(self, divisor: int):
        if divisor < LEAST:
            raise ValueError(f"divisor must be at least {LEAST} clocks a bit, not {divisor!r}")
        self.divisor = divisor
        super().__init__({"i": In(BYTES), "o": Out(BYTES), "rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.send = send = Send(self.divisor)
        m.submodules.receive = receive = Receive(self.divisor)
        wiring.connect(m, wiring.flipped(self.i), send.i)
        wiring.connect(m, receive.o, wiring.flipped(self.o))
        m.d.comb += [self.tx.eq(send.tx), receive.rx.eq(self.rx)]
        return m
