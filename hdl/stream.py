"""Small components that streams of anything pass through."""

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Buffer", "First", "Hold", "Merge", "Queue", "Register"]


class Buffer(wiring.Component):
    """Two registers that cut every combinational path of a stream and cost no throughput.

    Members
    -------
    i, o : streams of ``shape``
        Latency 1, one item per clock.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        item, spare = (Signal.like(self.i.payload, name=name, reset_less=True) for name in ("item", "spare"))
        room = Signal(init=1)  # no item was taken while `o` was stalled
        m.d.comb += [self.i.ready.eq(room), self.o.payload.eq(item)]
        moves = ~self.o.valid | self.o.ready
        m.d.sync += room.eq(moves | (room & ~self.i.valid))
        # payloads are kept whether they are valid or not, as that is known late
        with m.If(moves):
            m.d.sync += [self.o.valid.eq(~room | self.i.valid), item.eq(Mux(room, self.i.payload, spare))]
        with m.If(room):
            m.d.sync += spare.eq(self.i.payload)
        return m


class Hold(wiring.Component):
    """One register that costs no throughput: ``i`` is ready with ``o``.

    Members
    -------
    i, o : streams of ``shape``
        Latency 1, one item per clock.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        item = Signal.like(self.i.payload, reset_less=True)
        m.d.comb += [self.i.ready.eq(~self.o.valid | self.o.ready), self.o.payload.eq(item)]
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), item.eq(self.i.payload)]
        return m


class Joining(wiring.Component):
    """Streams ``i0``, ``i1``, … of ``shape`` into one, ``o``."""

    def __init__(self, shape, inputs: int):
        super().__init__(
            {f"i{n}": In(stream.Signature(shape)) for n in range(inputs)} | {"o": Out(stream.Signature(shape))}
        )
        self.inputs = [getattr(self, f"i{n}") for n in range(inputs)]


class First(Joining):
    """Several streams into one register: the first of them that has anything goes first, and one that never ends would keep
    the others waiting.

    Members
    -------
    i0, i1, … : streams of ``shape``
    o : stream of ``shape``
        The order within each input is kept. Latency 1, one item per clock.
    """

    def elaborate(self, platform):
        m = Module()
        room, item = Signal(), Signal.like(self.o.payload, reset_less=True)
        m.d.comb += [room.eq(~self.o.valid | self.o.ready), self.o.payload.eq(item)]
        some = 0
        for i in self.inputs:
            m.d.comb += i.ready.eq(room & ~some)
            some = some | i.valid
        with m.If(room):
            m.d.sync += [self.o.valid.eq(some), item.eq(self.inputs[-1].payload)]
            for i in reversed(self.inputs):
                with m.If(i.valid):
                    m.d.sync += item.eq(i.payload)
        return m


class Register(wiring.Component):
    """One register that cuts every combinational path of a stream.

    Members
    -------
    i, o : streams of ``shape``
        Latency 1, one item per two clocks.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(self.i.payload)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


class Queue(wiring.Component):
    """A memory of ``depth`` items that wait, and one more behind it.

    Members
    -------
    i, o : streams of ``shape``
        In order, one item per clock; latency 2.
    """

    def __init__(self, shape, depth: int):
        self.shape, self.depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = fifo.SyncFIFOBuffered(width=Shape.cast(self.shape).width, depth=self.depth + 1)
        m.d.comb += [
            memory.w_en.eq(self.i.valid),
            memory.w_data.eq(self.i.payload),
            self.i.ready.eq(memory.w_rdy),
            self.o.valid.eq(memory.r_rdy),
            Value.cast(self.o.payload).eq(memory.r_data),
            memory.r_en.eq(self.o.ready),
        ]
        return m


class Merge(Joining):
    """Several streams into one, in turn: who was served last is last in line.

    Members
    -------
    i0, i1, … : streams of ``shape``
    o : stream of ``shape``
        The order within each input is kept. Latency 0, one item per clock.
    """

    def elaborate(self, platform):
        m = Module()
        inputs, count = self.inputs, len(self.inputs)
        front = Signal(count, init=1)  # with whom the line begins: an offer must not change until it is taken
        for n, i in enumerate(inputs):
            # known before it wants to be served itself
            before = Cat(other.valid & front[f] for k, other in enumerate(inputs) for f in range(count)
                         if (k - f) % count < (n - f) % count).any()
            m.d.comb += i.ready.eq(self.o.ready & ~before)
            with m.If(i.valid & ~before):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(i.payload)]
                m.d.sync += front.eq(Mux(self.o.ready, 1 << (n + 1) % count, 1 << n))
        return m
