"""The sending half of the chip's end of a link."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.frame import FORMAT, HEADER, MOST, NUMBER_BITS
from ..models.port import UNDER_WAY
from .frame import WORDS
from .order import HEADER_LAYOUT, NEWS
from .shapes import PACKETS

__all__ = ["Keep"]


class Keep(wiring.Component):
    """Sends packets, and keeps them to send them again: the sending half of :class:`aerloom.models.port.Board`.

    ::

        i ─► memory ─┬─► o
        header ──────┘

    A frame takes what is there when the line is free: a packet alone leaves at once, and while it does others gather.

    Members
    -------
    i : packets
    o : words
    news, reject, taken, limit, session, restart
        As :class:`Order` has them.
    """

    def __init__(self, depth: int, timeout: int):
        self.depth, self.timeout = depth, timeout
        super().__init__(
            {"i": In(PACKETS), "o": Out(WORDS), "news": In(NEWS), "reject": In(1), "taken": In(NUMBER_BITS),
             "limit": In(NUMBER_BITS), "session": In(HEADER.fields["session"].width), "restart": In(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=32, depth=self.depth, init=[])
        write, read = memory.write_port(), memory.read_port()
        bits = exact_log2(self.depth)
        put, sent, acked = Signal(NUMBER_BITS), Signal(NUMBER_BITS), Signal(NUMBER_BITS)

        # from the chip
        m.d.comb += [
            self.i.ready.eq(~(put - acked)[bits]),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(put),
            write.data.eq(Value.cast(self.i.payload)),
        ]
        with m.If(write.en):
            m.d.sync += put.eq(put + 1)

        # what there is to say
        tells, greets, again = Signal(), Signal(), Signal()
        told = Signal(NUMBER_BITS)  # the limit that the host knows; it hears of every quarter of the memory
        quarter = slice(bits - 2, bits + 1)
        waiting, count = Signal(NUMBER_BITS), Signal(HEADER.fields["count"].width)
        most = Signal.like(count, init=MOST)  # on a bad line short frames arrive sooner
        m.d.comb += waiting.eq(put - sent)
        moves, settled = Signal(), Signal()  # what the count depends on moves; did not move a clock ago
        m.d.sync += [settled.eq(~moves), count.eq(Mux(waiting >= most, most, waiting))]
        with m.If(greets | (self.session == 0) | (sent - acked >= UNDER_WAY * most)):
            m.d.sync += count.eq(0)

        # a frame: two words of header, then packets or, in a greeting, the one word of FORMAT
        header, greeting = Signal(HEADER_LAYOUT), Signal()
        at, left, there, begins, o = Signal(bits), Signal.like(count), Signal(), Signal(), self.o
        m.d.comb += [
            header.count.eq(Mux(greeting, 1, left)),
            header.open.eq(greeting),
            header.limit.eq(told),
            read.addr.eq(at),
        ]
        said = {name: Signal.like(header[name]) for name in ("seq", "again", "session", "ack")}
        m.d.comb += [header[name].eq(value) for name, value in said.items()]
        with m.FSM():
            with m.State("IDLE"):
                news_of_room = (self.session != 0) & (told[quarter] != self.limit[quarter])
                m.d.comb += begins.eq(settled & (tells | greets | news_of_room | (count != 0)))
                with m.If(begins):
                    m.d.sync += [at.eq(sent), left.eq(count), greeting.eq(greets), told.eq(self.limit)]
                    # of one moment, or a frame begun in an old session could pass for one of the new
                    m.d.sync += [said[name].eq(value) for name, value in (
                        ("seq", sent), ("again", again), ("session", self.session), ("ack", self.taken))]
                    m.d.sync += [tells.eq(0), greets.eq(0), again.eq(0), sent.eq(sent + count)]
                    m.next = "SEQ"
            with m.State("SEQ"):
                m.d.comb += [o.valid.eq(1), o.payload.word.eq(Value.cast(header)[:32])]
                with m.If(o.ready):
                    m.next = "ACK"
            with m.State("ACK"):
                m.d.comb += [o.valid.eq(1), o.payload.word.eq(Value.cast(header)[32:])]
                m.d.comb += o.payload.last.eq((left == 0) & ~greeting)
                with m.If(o.ready):
                    m.d.sync += there.eq(0)
                    m.next = "PACKETS"
                    with m.If(greeting):
                        m.next = "FORMAT"
                    with m.Elif(left == 0):
                        m.next = "IDLE"
            with m.State("FORMAT"):
                m.d.comb += [o.valid.eq(1), o.payload.word.eq(FORMAT), o.payload.last.eq(1)]
                with m.If(o.ready):
                    m.next = "IDLE"
            with m.State("PACKETS"):
                m.d.comb += [o.valid.eq(there), o.payload.word.eq(read.data), o.payload.last.eq(left == 0)]
                m.d.comb += read.en.eq(~there | o.ready)
                with m.If(read.en):
                    m.d.sync += [there.eq(left != 0), at.eq(at + 1), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.next = "IDLE"

        # what the host says. Written after the frames, as it may go back in the clock in which one begins
        clocks, late = Signal(range(self.timeout + 1)), Signal()
        new, skipped, forward = Signal(NUMBER_BITS), Signal(NUMBER_BITS), Signal()
        m.d.comb += [
            late.eq(clocks == self.timeout),
            new.eq(self.news.ack - acked),
            skipped.eq(self.news.ack - sent),
            forward.eq(self.news.ours & (new != 0) & ~new[-1]),
        ]
        with m.If(forward):
            m.d.sync += [acked.eq(self.news.ack), most.eq(most + (most != MOST))]
        with m.If(late | (self.news.ours & self.news.again)):
            m.d.sync += [sent.eq(Mux(forward, self.news.ack, acked)), most.eq(most >> 1 | 1)]
        with m.Elif(forward & (skipped != 0) & ~skipped[-1]):  # sent again for nothing: it had arrived
            m.d.sync += sent.eq(self.news.ack)
        with m.If(self.news.tell | self.reject):
            m.d.sync += tells.eq(1)
        with m.If(self.news.greet):
            m.d.sync += greets.eq(1)
        with m.If(self.reject):
            m.d.sync += again.eq(1)
        m.d.sync += clocks.eq(clocks + 1)
        with m.If((sent == acked) | forward | late | (begins & (count != 0))):
            m.d.sync += clocks.eq(0)
        m.d.comb += moves.eq(begins | forward | late | self.news.ours | self.news.greet | self.restart)
        with m.If(self.restart):
            m.d.sync += [put.eq(0), sent.eq(0), acked.eq(0), clocks.eq(0), again.eq(0), most.eq(MOST)]
        return m
