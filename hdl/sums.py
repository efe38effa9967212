"""Where the sums of a few lanes are kept, and one addition per clock in each."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..models.fabric import Fabric

__all__ = ["Deep", "Shallow"]


class Sums(wiring.Component):
    """The sums of ``lanes`` lanes.

    They are kept as their complement, of which a weight is taken away: so what has all bits set is a sum of nothing, and
    an adder's own tables choose between two sums of which one is nothing, or clear one.

    Members
    -------
    row : In
        What stage b reads, or stage c if there is no register behind the sums; behind the last there is a sum of nothing.
    c_last, c_second : In
        The next operation starts from what the last but none or the last but one has made.
    d_row, d_store, d_clears : In
        Where d stores, and whether it does; it starts from nothing.
    weights : In
        What d adds.
    swept : Out
        What is kept of sums, in stage d.
    """

    def __init__(self, fabric: Fabric, lanes: int):
        self.fabric = fabric
        super().__init__(
            {
                "row": In(range(fabric.sum_rows + 1)),
                "c_last": In(1),
                "c_second": In(1),
                "d_row": In(range(fabric.sum_rows)),
                "d_store": In(1),
                "d_clears": In(1),
                "weights": In(data.ArrayLayout(signed(fabric.weight_bits), lanes)),
                "swept": Out(data.ArrayLayout(signed(fabric.sum_bits), lanes)),
            }
        )

    def made(self, start):
        """What d makes of the complements that it starts from."""
        out = Signal(self.swept.shape(), name="made")
        return out, [out[n].eq(self.swept.shape()(start)[n] - weight) for n, weight in enumerate(self.weights)]


class Deep(Sums):
    """Many rows: in a block of RAM.

    ::

        row ─► memory ─┬─► d ──► (and) ─► (−) ┬─► memory[d_row]
                       └─► swept  ▲           ├─► last ─────────────┐
                                  │           └─► before ─► second ─┤
                                  └─────────────────────────────────┘

    What d starts from is in one of three places, and the others are sums of nothing: what is stored, what was made a clock
    ago (``last``) or two clocks ago (``second``). What d makes is stored in the same clock: what the third operation
    before it made is in the memory.

    The memory gives what it reads to a plain register, which can be that of a block of RAM itself. Unless the Fabric is
    ``pipelined``, it is read a clock later without a register, and nothing is second.
    """

    def elaborate(self, platform):
        m = Module()
        fabric, width = self.fabric, self.swept.as_value().shape().width
        depth = fabric.sum_rows + 1
        m.submodules.memory = memory = Memory(  # of few words: but LUTs are what is scarce
            shape=width, depth=depth, init=[(1 << width) - 1] * depth, attrs={"ram_style": "block"}
        )
        read, write = memory.read_port(), memory.write_port()
        d_sums, before = (Signal(width, name=name, reset_less=True) for name in ("d_sums", "before"))
        last, second = (Signal(width, name=name, init=-1, reset_less=True) for name in ("last", "second"))
        start = d_sums & last
        if fabric.pipelined:
            start &= second
        made, makes = self.made(start)
        m.d.comb += [
            *makes,
            read.addr.eq(self.row),
            write.addr.eq(self.d_row),
            write.data.eq(made),
            write.en.eq(self.d_store),
            self.swept.as_value().eq(d_sums),
        ]
        m.d.sync += last.eq(Mux(self.c_last, made, -1))
        if fabric.pipelined:
            m.d.sync += [d_sums.eq(read.data), before.eq(made), second.eq(Mux(self.c_second, before, -1))]
        else:
            m.d.comb += d_sums.eq(read.data)
        return m


class Shallow(Sums):
    """Few rows, or one: in small memories of look-up tables, or in registers. What is read, added to and stored in a clock
    is there in the next, so nothing is last or second."""

    def elaborate(self, platform):
        m = Module()
        width = self.swept.as_value().shape().width
        m.submodules.memory = memory = Memory(shape=width, depth=self.fabric.sum_rows, init=[])
        read, write = memory.read_port(domain="comb"), memory.write_port()
        made, makes = self.made(read.data | self.d_clears.replicate(width))
        m.d.comb += [
            *makes,
            read.addr.eq(self.d_row),
            write.addr.eq(self.d_row),
            write.data.eq(made),
            write.en.eq(self.d_store),
            self.swept.as_value().eq(read.data),
        ]
        return m
