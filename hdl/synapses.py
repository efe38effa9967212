"""Weights and sums: ``lanes`` additions per clock, and no multiplier."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Space
from .shapes import ANSWERS, READS, WRITES
from .staged import Staged
from .walk import operation, update

__all__ = ["Slice", "Synapses", "summed"]


def summed(fabric: Fabric) -> data.StructLayout:
    """The sums of one group of neurons, and what its update needs."""
    return data.StructLayout(
        {"sums": data.ArrayLayout(signed(fabric.sum_bits), fabric.update_lanes), "update": update(fabric)}
    )


class To(enum.Enum, shape=2):
    """What a weight is added to: the sum in memory, that made one clock or two clocks ago; or no weight, to zero."""

    MEMORY = 0
    LAST = 1
    BEFORE = 2
    ZERO = 3


class Slice(wiring.Component):
    """The lanes whose weights are one chunk of a word, one addition per clock in each.

    ::

        weights_at ─► weights ─► c ─────────────────────────► (+) ─┬─► sums[c_row]
        row ────────► sums ──┬─► c ─► (or what was made one or ─┘  │
                             │         two clocks ago, if the row  │
                             └─► swept is the same) ◄──────────────┘

    Memories are read in stage a, b takes what they give, c adds and stores.

    Members
    -------
    weights_at, row : In
        What stage a reads.
    c_to : In
        What c adds to.
    c_row, c_store : In
        Where c stores, and whether it does.
    swept, weights : Out
        What b took a clock ago.
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
                "c_to": In(To),
                "c_row": In(row),
                "c_store": In(1),
                "swept": Out(sums),
                "weights": Out(data.ArrayLayout(signed(fabric.weight_bits), self.lanes)),
                "write": In(WRITES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        bits = self.lanes * fabric.weight_bits
        m.submodules.weights = weights = Memory(
            shape=bits, depth=fabric.weight_words, init=self.stored.column(Space.WEIGHTS, self.chunk * CHUNK, bits)
        )
        m.submodules.sums = sums = Memory(
            shape=self.swept.shape(), depth=fabric.rows, init=[], attrs={"ram_style": "block"}  # LUTs are what is scarce
        )
        load, fetch = weights.write_port(), weights.read_port()
        read, write = sums.read_port(), sums.write_port()

        place = self.write.payload.place
        mine = (place.space == Space.WEIGHTS) & (place.chunk == self.chunk) & (place.address < fabric.weight_words)
        m.d.comb += [
            load.addr.eq(place.address),
            load.data.eq(self.write.payload.data),
            load.en.eq(self.write.valid & mine),
            fetch.addr.eq(self.weights_at),
            read.addr.eq(self.row),
            write.addr.eq(self.c_row),
            write.en.eq(self.c_store),
        ]
        # plain registers behind the memories, so that they can be those of a block of RAM itself
        b_sums, b_weights = Signal.like(self.swept, reset_less=True), Signal.like(self.weights, reset_less=True)
        m.d.sync += [b_sums.eq(read.data), b_weights.eq(fetch.data)]
        m.d.comb += [self.swept.eq(b_sums), self.weights.eq(b_weights)]
        for n in range(self.lanes):
            new = Signal(signed(fabric.sum_bits), name=f"new_{n}")
            last, before = (Signal.like(new, name=f"{name}_{n}", reset_less=True) for name in ("last", "before"))
            to = Signal.like(new, name=f"to_{n}")
            with m.Switch(self.c_to):
                with m.Case(To.MEMORY):
                    m.d.comb += to.eq(b_sums[n])
                with m.Case(To.LAST):
                    m.d.comb += to.eq(last)
                with m.Case(To.BEFORE):
                    m.d.comb += to.eq(before)
            m.d.comb += [new.eq(to + Mux(self.c_to == To.ZERO, 0, b_weights[n])), write.data[n].eq(new)]
            m.d.sync += [last.eq(new), before.eq(last)]
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
        The sums of a group, before they are cleared. Latency :attr:`latency`.
    write : stream of 16-bit writes
        For the weights.
    read : stream of reads
        Of weights, answered on ``data``; taken when there is no operation.
    data : stream of 16-bit answers
    """

    latency = 4

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

        def at(stage, name, value, shape=None, **resets):
            return Staged(m, name, stage, value, shape, **resets)

        # a, b and c are stages 1, 2 and 3
        stores = at(0, "stores", self.i.valid & (i.add | i.clear), resets=True)
        clears = at(0, "clears", i.clear)
        row = at(0, "row", i.row)
        weights_at = at(0, "weights_at", Mux(self.i.valid, i.weights, self.read.payload.address))
        again, before = (stores[1 + n] & (row[1 + n] == row[1]) for n in (1, 2))  # the row of so many operations ago
        memory = Mux(again, To.LAST, Mux(before, To.BEFORE, To.MEMORY))
        to = at(1, "to", Mux(clears[1], To.ZERO, memory), To)

        slices = []
        for n in range(fabric.weight_chunks):
            m.submodules[f"slice_{n}"] = part = Slice(fabric, n, self.stored)
            m.d.comb += [
                part.weights_at.eq(weights_at[1]),
                part.row.eq(row[1]),
                part.c_to.eq(to[3]),
                part.c_row.eq(row[3]),
                part.c_store.eq(stores[3]),
                part.write.valid.eq(self.write.valid),
                part.write.payload.eq(self.write.payload),
            ]
            slices.append(part)
        sums = [part.swept[n] for part in slices for n in range(part.lanes)]

        # the group that is swept
        sweeps = at(0, "sweeps", self.i.valid & i.sweep, resets=True)
        update_now = {name: at(0, f"update_{name}", getattr(i.update, name)) for name in i.update.shape().members}
        m.d.sync += self.o.valid.eq(sweeps[3])
        m.d.sync += [getattr(self.o.payload.update, name).eq(value[3]) for name, value in update_now.items()]
        with m.Switch(update_now["state"][3][: exact_log2(fabric.groups)]):
            for group in range(fabric.groups):
                with m.Case(group) if fabric.groups > 1 else m.Default():
                    for n in range(fabric.update_lanes):
                        m.d.sync += self.o.payload.sums[n].eq(sums[group * fabric.update_lanes + n])

        # the weights that are asked for
        asked = at(0, "asked", self.read.valid & self.read.ready, resets=True)
        chunk = at(0, "chunk", self.read.payload.chunk)
        m.d.sync += self.data.valid.eq(asked[3])
        with m.Switch(chunk[3]):
            for n, part in enumerate(slices):
                with m.Case(n):
                    m.d.sync += self.data.payload.eq(part.weights)
        return m
