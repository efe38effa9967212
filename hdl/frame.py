"""Between bytes on a line and the words of a frame; see :mod:`aerloom.models.frame` for the format."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import crc, data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models import frame
from ..models.frame import ESCAPE, FLAG, FLIP
from .uart import BYTES

__all__ = ["CRC", "PIECES", "WORDS", "Deframe", "Enframe"]

CRC = crc.Algorithm(**frame.CRC)(data_width=8)

#: Words of frames to be sent, ``last`` with the last one.
WORDS = stream.Signature(data.StructLayout({"word": 32, "last": 1}))

#: What is received: words, the CRC's among them, and after each frame an ``end`` that says if it was ``good``.
PIECES = stream.Signature(data.StructLayout({"word": 32, "end": 1, "good": 1}), always_ready=True)


class Enframe(wiring.Component):
    """Computes :func:`aerloom.models.frame.encode`.

    ::

        i ─► shift register ─┬─────► escape ─► o
                             └─ CRC ──┘

    Members
    -------
    i : words
    o : bytes
        One per clock and another clock for each word, without what is escaped.
    """

    def __init__(self):
        super().__init__({"i": In(WORDS), "o": Out(BYTES)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = check = CRC.create()
        rest, left = Signal(32), Signal(range(5))  # bytes of a word still to be sent
        flag, escaped = Signal(), Signal()
        byte = rest[:8]
        special = ((byte == FLAG) | (byte == ESCAPE)) & ~escaped
        m.d.comb += [
            self.o.valid.eq((left != 0) | flag),
            self.o.payload.eq(Mux(flag, FLAG, Mux(special, ESCAPE, byte ^ Mux(escaped, FLIP, 0)))),
            check.data.eq(byte),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += escaped.eq(special & ~flag)
            with m.If(flag):
                m.d.comb += check.start.eq(1)
                m.d.sync += flag.eq(0)
            with m.Elif(~special):
                m.d.comb += check.valid.eq(1)
                m.d.sync += [rest.eq(rest >> 8), left.eq(left - 1)]
        with m.FSM():
            with m.State("WORDS"):
                m.d.comb += self.i.ready.eq((left == 0) & ~flag)
                with m.If(self.i.valid & self.i.ready):
                    m.d.sync += [rest.eq(self.i.payload.word), left.eq(4)]
                    with m.If(self.i.payload.last):
                        m.next = "CRC"
            with m.State("CRC"), m.If(left == 0):
                m.d.sync += [rest.eq(check.crc), left.eq(4)]
                m.next = "FLAG"
            with m.State("FLAG"), m.If(left == 0):
                m.d.sync += flag.eq(1)
                m.next = "WORDS"
        return m


class Deframe(wiring.Component):
    """Computes :func:`aerloom.models.frame.decode`, but for the count.

    Members
    -------
    i : bytes
        Taken always, one per clock.
    o : pieces
        A word of the frame, or its end, the clock after its last byte.
    """

    def __init__(self):
        super().__init__({"i": In(BYTES), "o": Out(PIECES)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = check = CRC.create()
        bytes_, some, escaped = Signal(2), Signal(), Signal()  # of a word; any of this frame; is the next one
        o, byte = self.o.payload, self.i.payload
        is_flag, is_escape = byte == FLAG, byte == ESCAPE
        m.d.comb += [self.i.ready.eq(1), check.data.eq(byte ^ Mux(escaped, FLIP, 0))]
        m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid):
            m.d.sync += [some.eq(~is_flag), escaped.eq(is_escape & ~escaped), o.end.eq(is_flag)]
            with m.If(is_flag):
                m.d.comb += check.start.eq(1)
                m.d.sync += [o.good.eq(check.match_detected & (bytes_ == 0) & ~escaped), self.o.valid.eq(some)]
                m.d.sync += [bytes_.eq(0), escaped.eq(0)]
            with m.Elif(~is_escape | escaped):
                m.d.comb += check.valid.eq(1)
                m.d.sync += [o.word.eq(Cat(o.word[8:], check.data)), bytes_.eq(bytes_ + 1), self.o.valid.eq(bytes_ == 3)]
        return m
