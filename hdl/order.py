"""The receiving half of the chip's end of a link."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.frame import HEADER, MOST, NUMBER_BITS
from .frame import PIECES
from .shapes import PACKETS, layout

__all__ = ["HEADER_LAYOUT", "NEWS", "Order"]

HEADER_LAYOUT = layout(HEADER)

#: What a good frame says to the other direction: ``ours`` makes ``ack`` and ``again`` count, ``tell`` and ``greet`` ask for
#: an answer.
NEWS = data.StructLayout({"ours": 1, "ack": NUMBER_BITS, "again": 1, "tell": 1, "greet": 1})


class Order(wiring.Component):
    """Takes packets in order, and holds them for the chip: the receiving half of :class:`aerloom.models.port.Board`.

    ::

        pieces ─► memory, behind what was taken ─► o
             └──► header: session, number ─► does it count? ─► taken

    Members
    -------
    i : pieces
    o : packets
        Latency 1, one per clock.
    news : Out
        What the frame that ends in this clock says; zeros in every other.
    reject : Out
        For a clock: something is missing, and was not asked for yet.
    taken, limit : Out
        Numbers of the packets expected next, and of the first for which there is no room.
    session : Out
    restart : Out
        For a clock: a new session began. This component forgets the old one by itself.
    """

    def __init__(self, depth: int):
        self.depth = depth
        super().__init__(
            {"i": In(PIECES), "o": Out(PACKETS), "news": Out(NEWS), "reject": Out(1), "taken": Out(NUMBER_BITS),
             "limit": Out(NUMBER_BITS), "session": Out(HEADER.fields["session"].width), "restart": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        bits = exact_log2(self.depth)
        piece, valid = self.i.payload, self.i.valid
        words = Signal(range(MOST + 5))  # of this frame
        at = Signal(NUMBER_BITS)  # where its next packet would go
        given = Signal(NUMBER_BITS)  # packets that left the memory
        rejected = Signal()

        # the header, in two words
        head = Signal(HEADER_LAYOUT)
        seq, ack = Signal(NUMBER_BITS), Signal(NUMBER_BITS)
        half = piece.word
        m.d.comb += Value.cast(head)[:32].eq(half)
        count, again, ask, opens = (Signal.like(head[name]) for name in ("count", "again", "ask", "open"))
        session, fits = Signal.like(self.session), Signal()
        with m.If(valid & ~piece.end):
            with m.If(words != MOST + 4):  # one too many
                m.d.sync += words.eq(words + 1)
            with m.Switch(words):
                with m.Case(0):
                    m.d.sync += [seq.eq(head.seq), count.eq(head.count), again.eq(head.again), ask.eq(head.ask),
                                 opens.eq(head.open), session.eq(head.session), at.eq(self.taken), fits.eq(1)]
                with m.Case(1):
                    m.d.sync += ack.eq(half[:NUMBER_BITS])
                with m.Default():
                    with m.If((at - given)[bits]):  # no room; nor needs the CRC any, which comes last and is never taken
                        m.d.sync += fits.eq(fits & (words == count + 2))
                    with m.Else():
                        m.d.comb += write.en.eq(1)
                        m.d.sync += at.eq(at + 1)
        m.d.comb += [write.addr.eq(at), write.data.eq(half)]

        # does it count?
        good, ours, position = Signal(), Signal(), Signal(NUMBER_BITS)
        m.d.comb += [
            good.eq(valid & piece.end & piece.good & (words == count + 3)),
            ours.eq(session == self.session),
            position.eq(seq - self.taken),
        ]
        with m.If(valid & piece.end):
            m.d.sync += words.eq(0)
        m.d.comb += [self.news.ack.eq(ack), self.news.again.eq(again)]
        with m.If(good):
            m.d.comb += [
                self.news.ours.eq(ours & ~opens),
                self.news.greet.eq(opens),
                self.news.tell.eq(~ours | ask | (count != 0)),
                self.restart.eq(opens & ~ours),
            ]
            with m.If(self.news.ours):
                with m.If((position == 0) & (count != 0) & fits):
                    m.d.sync += [self.taken.eq(self.taken + count), rejected.eq(0)]
                with m.If((position != 0) & ~position[-1]):
                    m.d.comb += self.reject.eq(~rejected | ask)
        with m.Elif(valid & piece.end):
            m.d.comb += self.reject.eq(~rejected)
        with m.If(self.reject):
            m.d.sync += rejected.eq(1)

        # to the chip
        m.d.comb += [
            self.limit.eq(given + self.depth),
            read.addr.eq(given),
            read.en.eq(~self.o.valid | self.o.ready),
            Value.cast(self.o.payload).eq(read.data),
        ]
        with m.If(read.en):
            m.d.sync += self.o.valid.eq(given != self.taken)
            with m.If(given != self.taken):
                m.d.sync += given.eq(given + 1)
        with m.If(self.restart):
            m.d.sync += [self.session.eq(session), self.taken.eq(0), given.eq(0), self.o.valid.eq(0), rejected.eq(0)]
        return m
