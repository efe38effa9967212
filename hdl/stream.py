"""Small components that streams of anything pass through."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Buffer", "Merge", "Queue", "Register"]


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
        spare = Signal.like(self.i.payload)
        full = Signal()  # an item was taken while `o` was stalled
        m.d.comb += self.i.ready.eq(~full)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += self.o.valid.eq(full | self.i.valid)
            with m.If(full | self.i.valid):
                m.d.sync += self.o.payload.eq(Mux(full, spare, self.i.payload))
            m.d.sync += full.eq(0)
        with m.Elif(self.i.valid & ~full):
            m.d.sync += [spare.eq(self.i.payload), full.eq(1)]
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


class Merge(wiring.Component):
    """Several streams into one, in turn: who was served last is last in line.

    Members
    -------
    i0, i1, … : streams of ``shape``
    o : stream of ``shape``
        The order within each input is kept. Latency 0, one item per clock.
    """

    def __init__(self, shape, inputs: int):
        self.inputs = inputs
        super().__init__(
            {f"i{n}": In(stream.Signature(shape)) for n in range(inputs)} | {"o": Out(stream.Signature(shape))}
        )

    def elaborate(self, platform):
        m = Module()
        inputs = [getattr(self, f"i{n}") for n in range(self.inputs)]
        last = Signal(ceil_log2(max(2, self.inputs)))  # served last, or being offered
        held = Signal()  # an offer must not change until it is taken
        grant = Signal.like(last)
        m.d.comb += grant.eq(last)
        with m.If(~held), m.Switch(last):
            for k in range(self.inputs):
                with m.Case(k):
                    # assigned from the last in line to the first: the later assignment wins
                    for n in [k, *reversed([(k + d) % self.inputs for d in range(1, self.inputs)])]:
                        with m.If(inputs[n].valid):
                            m.d.comb += grant.eq(n)
        with m.Switch(grant):
            for n, i in enumerate(inputs):
                with m.Case(n):
                    m.d.comb += [
                        self.o.valid.eq(i.valid),
                        self.o.payload.eq(i.payload),
                        i.ready.eq(self.o.ready),
                    ]
        m.d.sync += [last.eq(grant), held.eq(self.o.valid & ~self.o.ready)]
        return m
