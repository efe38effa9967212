"""Weights and sums: ``lanes`` additions per clock, and no multiplier."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Space
from .shapes import ANSWERS, READS, WRITES
from .staged import Staged
from .walk import operation, update

__all__ = ["Choice", "Slice", "Synapses", "summed"]


def summed(fabric: Fabric) -> data.StructLayout:
    """The sums of one group of neurons, and what its update needs."""
    return data.StructLayout(
        {"sums": data.ArrayLayout(signed(fabric.sum_bits), fabric.update_lanes), "update": update(fabric)}
    )


class Past(enum.Enum, shape=2):
    """What an addition starts from, unless that is what the operation before it made: nothing, the sum that is stored, or
    what the operation before that made."""

    NOTHING = 0
    STORED = 1
    SECOND = 2


class Choice(wiring.Component):
    """A past sum.

    A component of its own, so that synthesis for ECP5 leaves the last choice to the adder's own tables.
    """

    def __init__(self, shape):
        super().__init__({"which": In(Past), "stored": In(shape), "second": In(shape), "o": Out(shape)})

    def elaborate(self, platform):
        m = Module()
        with m.Switch(self.which):
            for past, value in ((Past.NOTHING, 0), (Past.STORED, self.stored), (Past.SECOND, self.second)):
                with m.Case(past):
                    m.d.comb += Value.cast(self.o).eq(Value.cast(value))
        return m


class Slice(wiring.Component):
    """The lanes whose weights are one chunk of a word, one addition per clock in each.

    ::

        weights_at ─► weights ─► c ─► d ───────────────────► (+) ─┬─► sums[d_row]
        row ───────────────────► sums ─┬─► d ─► Choice ─► (or) ─┘ └─► last ─► second
                                       │          ▲        ▲            │       │
                                       └─► swept  └────────┴────────────┴───────┘

    Memories give what they read to plain registers, which can be those of a block of RAM itself: weights to c, and then d;
    sums to d. What d adds is stored in the same clock, so what the third operation before it made is in the memory. Unless
    the Fabric is ``pipelined``, sums are read a clock later and without a register, and there is no second.

    Members
    -------
    weights_at : In
        What stage a reads, or where a write for the weights goes, a clock after it came.
    row : In
        What stage b reads, or stage c if there is no register behind the sums.
    d_past, d_last : In
        What d adds to: a past sum, or the one that was made a clock ago.
    d_row, d_store : In
        Where d stores, and whether it does.
    c_clears : In
        The next weights that d adds are zero.
    swept : Out
        Sums, in stage d.
    weights : Out
        Weights, in stage c.
    write : stream of 16-bit writes
    """

    def __init__(self, fabric: Fabric, chunk: int, stored: Stored = NOTHING):
        self.fabric, self.chunk, self.stored = fabric, chunk, stored
        self.lanes = min(fabric.lanes, CHUNK // fabric.weight_bits)
        row, sums = range(fabric.rows), data.ArrayLayout(signed(fabric.sum_bits), self.lanes)
        super().__init__(
            {
                "weights_at": In(range(fabric.weight_words)),
                "row": In(row),
                "d_past": In(Past),
                "d_last": In(1),
                "d_row": In(row),
                "d_store": In(1),
                "c_clears": In(1),
                "swept": Out(sums),
                "weights": Out(data.ArrayLayout(signed(fabric.weight_bits), self.lanes)),
                "write": In(WRITES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        bits = self.lanes * fabric.weight_bits
        known = self.stored.column(Space.WEIGHTS, self.chunk * CHUNK, bits)
        m.submodules.weights = weights = Memory(  # one address, so that it can be a RAM with one port
            shape=bits, depth=fabric.weight_words, init=known, attrs={} if known else {"loaded": 1}
        )
        m.submodules.sums = sums = Memory(
            shape=self.swept.shape(), depth=fabric.rows, init=[], attrs={"ram_style": "block"}  # LUTs are what is scarce
        )
        load, fetch = weights.write_port(), weights.read_port()
        read, write = sums.read_port(), sums.write_port()

        place = self.write.payload.place
        mine = (place.space == Space.WEIGHTS) & (place.chunk == self.chunk) & (place.address < fabric.weight_words)
        c_weights, d_weights = (Signal.like(self.weights, name=f"{stage}_weights", reset_less=True) for stage in "cd")
        d_sums, last = (Signal.like(self.swept, name=name, reset_less=True) for name in ("d_sums", "last"))
        made = Signal.like(self.swept)
        m.submodules.choice = choice = Choice(self.swept.shape())
        m.d.comb += [
            load.addr.eq(self.weights_at),
            fetch.addr.eq(self.weights_at),
            read.addr.eq(self.row),
            write.addr.eq(self.d_row),
            write.data.eq(made),
            write.en.eq(self.d_store),
            self.weights.eq(c_weights),
            self.swept.eq(d_sums),
            choice.which.eq(self.d_past),
            choice.stored.eq(d_sums),
        ]
        m.d.sync += [load.data.eq(self.write.payload.data), load.en.eq(self.write.valid & mine)]
        m.d.sync += [c_weights.eq(fetch.data), d_weights.eq(c_weights), last.eq(made)]
        if fabric.pipelined:
            m.d.sync += [d_sums.eq(read.data), choice.second.eq(last)]
        else:
            m.d.comb += d_sums.eq(read.data)
        m.d.comb += [made[n].eq(Mux(self.d_last, last[n], choice.o[n]) + d_weights[n]) for n in range(self.lanes)]
        with m.If(self.c_clears):
            m.d.sync += d_weights.eq(0)
        return m


class Synapses(wiring.Component):
    """One row operation per clock on the sums of ``lanes`` neurons.

    Computes :func:`aerloom.models.golden.integrate`, spike by spike::

        i ─► Slices ─► select group ─► o

    Sums cannot overflow: ``place`` proves it from the weights.

    Members
    -------
    i : stream of operations
        One per clock, in any order of rows; but a sweep comes third at the earliest behind what changed its row.
    o : stream of sums
        The sums of a group, before they are cleared. Latency :attr:`latency`. Unless the Fabric is ``pipelined``, they
        and their update stay until the next, and ``i.update`` has to stay for that latency.
    write : stream of 16-bit writes
        For the weights. What is added in the second clock after a write is undefined.
    read : stream of reads
        Of weights, answered on ``data``; taken when there is no operation.
    data : stream of 16-bit answers
    """

    latency = 6

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {
                "i": In(stream.Signature(operation(fabric), always_ready=True)),
                "o": Out(stream.Signature(summed(fabric), always_ready=True)),
                "write": In(WRITES),
                "read": In(READS),
                "data": Out(ANSWERS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, i = self.fabric, self.i.payload
        m.d.comb += self.read.ready.eq(~self.i.valid)

        def at(stage, name, value, shape=None, **kept):
            return Staged(m, name, stage, value, shape, **kept)

        # what is for the weights is chosen in stage 1; a, b, c and d are stages 2 to 5
        stores = at(0, "stores", self.i.valid & (i.add | i.clear), resets=True)
        clears = at(0, "clears", i.clear)
        row = at(0, "row", i.row)
        weights_at = at(0, "weights_at", i.weights)
        asked = at(0, "asked", self.read.valid & self.read.ready, resets=True)
        read_at = at(0, "read_at", self.read.payload.address)
        last, second = (stores[1 + n] & (row[1 + n] == row[1]) for n in (1, 2))  # its row, n operations ago
        last = at(1, "last", last & ~clears[1])
        past = Mux(second, Past.SECOND, Past.STORED) if fabric.pipelined else Past.STORED
        past = at(1, "past", Mux(clears[1], Past.NOTHING, past), Past)

        loads, loaded = at(0, "loads", self.write.valid, resets=True), at(0, "loaded", self.write.payload)
        where = at(1, "where", Mux(loads[1], loaded[1].place.address, Mux(asked[1], read_at[1], weights_at[1])))
        slices = []
        for n in range(fabric.weight_chunks):
            m.submodules[f"slice_{n}"] = part = Slice(fabric, n, self.stored)
            m.d.comb += [
                part.weights_at.eq(where[2]),
                part.row.eq(row[3 if fabric.pipelined else 4]),
                part.d_past.eq(past[5]),
                part.d_last.eq(last[5]),
                part.d_row.eq(row[5]),
                part.d_store.eq(stores[5]),
                part.c_clears.eq(clears[4]),
                part.write.valid.eq(loads[1]),
                part.write.payload.eq(loaded[1]),
            ]
            slices.append(part)
        sums = [part.swept[n] for part in slices for n in range(part.lanes)]

        # the group that is swept
        sweeps = at(0, "sweeps", self.i.valid & i.sweep, resets=True)
        most = None if fabric.pipelined else 0  # an update that stays needs no registers
        fields = i.update.shape().members
        update_now = {name: at(0, f"update_{name}", getattr(i.update, name), most=most) for name in fields}
        group = update_now["state"][4][: exact_log2(fabric.groups)]
        chosen = [Mux(at(4, f"chosen_{n}", group == n)[5], Cat(sums[n * fabric.update_lanes :][: fabric.update_lanes]), 0)
                  for n in range(fabric.groups)]
        m.d.sync += self.o.valid.eq(sweeps[5])
        with m.If(sweeps[5] | fabric.pipelined):
            m.d.sync += self.o.payload.sums.as_value().eq(reduce(or_, chosen))
            m.d.sync += [getattr(self.o.payload.update, name).eq(value[5]) for name, value in update_now.items()]

        # the weights that are asked for: one of each two slices, then one of those, as they come from far away
        chunk = at(0, "chunk", self.read.payload.chunk)
        words = [part.weights.as_value() for part in slices]
        pairs = [at(4, f"pair_{n}", Mux(chunk[4][0], words[-1 if n + 1 == len(words) else n + 1], words[n]))
                 for n in range(0, len(words), 2)]
        m.d.sync += self.data.valid.eq(asked[5])
        with m.Switch(chunk[5][1:]):
            for n, pair in enumerate(pairs):
                with m.Case(n):
                    m.d.sync += self.data.payload.eq(pair[5])
        return m
