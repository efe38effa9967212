"""Memories that the host fills through packets, and the units that take those packets."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Kind, Space
from ..models.words import READ_BITS
from .shapes import ANSWERS, PACKET_LAYOUT, PACKETS, READS, SPACE_LAYOUT, WRITES, within
from .staged import Staged

__all__ = ["Loader", "Receiver", "Table", "Writer"]


class Table(wiring.Component):
    """A memory of ``depth`` words of ``shape``: in the words of ``space``, the chunks from ``first`` on. It begins with
    what is ``stored`` there.

    ``kind``: synthesis is told that it may have few words with a register behind them, and that they are "wide", of many
    bits, "small", or of a "neuron"; a family that has blocks of RAM to spare uses those.

    Members
    -------
    write : stream of 16-bit writes
        Those for other places have no effect.
    address, enable : In
        The word to read in this clock; without ``enable``, ``data`` keeps its value.
    data : Out
        The word asked for in the clock before.
    """

    def __init__(self, space: Space, shape, depth: int, first: int = 0, stored: Stored = NOTHING, *,
                 kind: str = ""):
        self.space, self.depth, self.first, self.stored, self.kind = space, depth, first, stored, kind
        self.chunks = -(-Shape.cast(shape).width // CHUNK)
        super().__init__(
            {
                "write": In(WRITES),
                "address": In(max(1, ceil_log2(depth))),
                "enable": In(1, init=1),
                "data": Out(shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = CHUNK * self.chunks
        known = self.stored.column(self.space, CHUNK * self.first, bits)
        attributes = {self.kind: 1} if self.kind else {}
        m.submodules.memory = memory = Memory(shape=bits, depth=self.depth, init=known, attrs=attributes)
        write, read = memory.write_port(granularity=CHUNK), memory.read_port()
        # two clocks late, as it comes from far away; tables side by side share what they keep, and a reset stops nothing
        stores, place = self.write, self.write.payload.place
        here = Staged(m, "here", 0, stores.valid & within(place, self.space, self.depth))
        chunk = Staged(m, "chunk", 0, place.chunk)
        chunks = Staged(m, "chunks", 1, Cat(here[1] & (chunk[1] == self.first + n) for n in range(self.chunks)))
        m.d.comb += [
            write.en.eq(chunks[2]),
            write.addr.eq(Staged(m, "word", 0, place.address)[2]),
            write.data.eq(Staged(m, "data", 0, stores.payload.data)[2].replicate(self.chunks)),
            read.addr.eq(self.address),
            read.en.eq(self.enable),
            Value.cast(self.data).eq(read.data),
        ]
        return m


class Writer(wiring.Component):
    """Takes the ADDRESS and WRITE packets of one node, each at once; others do nothing.

    WRITE goes on where the last one stopped: chunk after chunk, then word after word.

    Parameters
    ----------
    chunks : dict of :class:`Space` to int
        16-bit chunks in a word of each space that the node has.

    Members
    -------
    i : packets
    write : stream of 16-bit writes
        Its place stays while there is none.
    skip : In
        Goes on by a chunk that is not written.
    """

    def __init__(self, chunks: dict[Space, int]):
        self.chunks = chunks
        super().__init__({"i": In(PACKETS), "write": Out(WRITES), "skip": In(1)})

    def elaborate(self, platform):
        m = Module()
        place = Signal(SPACE_LAYOUT)
        chunk = Signal(range(max(2, *self.chunks.values())))
        at_first = self.chunks.get(Space(0), 1)
        before = Signal.like(chunk, init=max(0, at_first - 2))  # behind it comes the last of a word there
        alone = Signal(init=at_first == 1)  # words there have but one
        ends = Signal(init=at_first == 1)  # this is the last
        at = self.write.payload.place
        m.d.comb += [
            self.i.ready.eq(1),
            self.write.valid.eq(self.i.valid & (self.i.payload.kind == Kind.WRITE)),
            self.write.payload.data.eq(self.i.payload.index),
            at.address.eq(place.address),
            at.space.eq(place.space),
            at.chunk.eq(chunk),
        ]
        with m.If(self.write.valid | self.skip):
            m.d.sync += [chunk.eq(chunk + 1), ends.eq(chunk == before)]
            with m.If(ends):
                m.d.sync += [chunk.eq(0), ends.eq(alone), place.address.eq(place.address + 1)]
        with m.If(self.i.valid & (self.i.payload.kind == Kind.ADDRESS)):
            m.d.sync += [place.eq(self.i.payload.index), chunk.eq(0), alone.eq(1), ends.eq(1)]
            with m.Switch(SPACE_LAYOUT(self.i.payload.index).space):
                for space, chunks in self.chunks.items():
                    with m.Case(space):
                        m.d.sync += [before.eq(max(0, chunks - 2)), alone.eq(chunks == 1), ends.eq(chunks == 1)]
        return m


class Loader(wiring.Component):
    """Takes the ADDRESS, WRITE and READ packets of one node; what a :class:`Writer` does, and answers.

    READ goes on like WRITE.

    Parameters
    ----------
    node : int
        Key of the VALUE packets sent.
    chunks : dict of :class:`Space` to int
        16-bit chunks in a word of each space that the node has.

    Members
    -------
    i, o : packets
        Packets for this node; VALUE packets, one for each 16 bits that a READ asks for.
    write : stream of 16-bit writes
    read : stream of reads
        The place stays until it is answered.
    data : stream of 16-bit answers
        Before the next read.
    """

    def __init__(self, node: int, chunks: dict[Space, int]):
        self.node, self.chunks = node, chunks
        super().__init__(
            {
                "i": In(PACKETS),
                "o": Out(PACKETS),
                "write": Out(WRITES),
                "read": Out(READS),
                "data": In(ANSWERS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = Writer(self.chunks)
        wiring.connect(m, writer.write, wiring.flipped(self.write))
        left = Signal(READ_BITS)  # values of a READ still to send
        idle, asks, answering = Signal(init=1), Signal(), Signal()  # the next is asked for; its answer is under way
        m.d.comb += [
            answering.eq(~idle & ~asks),
            self.i.ready.eq(idle),
            writer.i.valid.eq(self.i.valid & idle),
            writer.i.payload.eq(self.i.payload),
            writer.skip.eq(self.data.valid),
            self.read.valid.eq(asks),
            self.read.payload.eq(writer.write.payload.place),
        ]
        with m.If(self.i.valid & idle & (self.i.payload.kind == Kind.READ)):
            asked = self.i.payload.index[:READ_BITS]
            m.d.sync += [left.eq(asked), idle.eq(asked == 0), asks.eq(asked != 0)]

        held, there = Signal(CHUNK), Signal()
        with m.If(self.read.valid & self.read.ready):
            m.d.sync += asks.eq(0)
        with m.If(self.data.valid):
            m.d.sync += [left.eq(left - 1), held.eq(self.data.payload), there.eq(1)]
        m.d.comb += [
            self.o.valid.eq(there),
            self.o.payload.eq(PACKET_LAYOUT.const({"kind": Kind.VALUE, "key": self.node})),
            self.o.payload.index.eq(held),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [there.eq(0), idle.eq(left == 0), asks.eq(left != 0)]
        return m


class Receiver(wiring.Component):
    """Takes the ADDRESS, WRITE and READ packets of one node that cannot be read; what a :class:`Writer` does, and a sign
    that it is done: one VALUE for each READ, which says nothing else.

    Parameters
    ----------
    node : int
        Key of the VALUE packets sent.
    chunks : dict of :class:`Space` to int
        16-bit chunks in a word of each space that the node has.

    Members
    -------
    i, o : packets
    write : stream of 16-bit writes
    """

    def __init__(self, node: int, chunks: dict[Space, int]):
        self.node, self.chunks = node, chunks
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS), "write": Out(WRITES)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.writer = writer = Writer(self.chunks)
        wiring.connect(m, writer.write, wiring.flipped(self.write))
        m.d.comb += [
            self.i.ready.eq(~self.o.valid),
            writer.i.valid.eq(self.i.valid & self.i.ready),
            writer.i.payload.eq(self.i.payload),
            self.o.payload.eq(PACKET_LAYOUT.const({"kind": Kind.VALUE, "key": self.node})),
        ]
        m.d.sync += self.o.valid.eq(
            Mux(self.o.valid, ~self.o.ready, self.i.valid & (self.i.payload.kind == Kind.READ)))
        return m
