"""Weights and sums: ``lanes`` additions per clock, and no multiplier."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Space
from .shapes import ANSWERS, READS, WRITES, within
from .staged import Staged
from .sums import Deep, Shallow
from .walk import operation, update

__all__ = ["Slice", "Synapses", "summed", "widths"]

WIDE = 2  # chunks of weights that one memory gives: so many of the bits that a block of an ECP5's or a Gowin's RAM can


def summed(fabric: Fabric) -> data.StructLayout:
    """The sums of one group of neurons, and what its update needs."""
    return data.StructLayout(
        {"sums": data.ArrayLayout(signed(fabric.sum_bits), fabric.update_lanes), "update": update(fabric)}
    )


def widths(fabric: Fabric) -> list[int]:
    """The slices of a core's lanes: chunks of a word of weights in each."""
    return [min(WIDE, fabric.weight_chunks)] * -(-fabric.weight_chunks // WIDE)


class Slice(wiring.Component):
    """The lanes whose weights are ``chunks`` chunks of a word from ``first`` on.

    ::

        weights_at ─► weights ─► c ─► d ─► Sums

    The memory gives what it reads to plain registers, which can be those of a block of RAM itself.

    Members
    -------
    weights_at : In
        What stage a reads, or where a write goes, a clock after it came.
    c_clears : In
        The next weights that d adds are zero.
    row, c_last, c_second, d_row, d_store, d_clears, swept :
        Of :mod:`aerloom.hdl.sums`.
    weights : Out
        Weights, in stage c.
    write : stream of 16-bit writes
        Of weights.
    """

    def __init__(self, fabric: Fabric, first: int, chunks: int, stored: Stored = NOTHING):
        self.fabric, self.first, self.chunks, self.stored = fabric, first, chunks, stored
        self.sums = (Shallow if fabric.shallow else Deep)(fabric, min(fabric.lanes, chunks * CHUNK // fabric.weight_bits))
        passed = dict(self.sums.signature.members)
        super().__init__(
            passed | {
                "weights_at": In(range(fabric.weight_words)),
                "c_clears": In(1),
                "weights": Out(passed["weights"].shape),
                "write": In(WRITES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, sums, bits = self.fabric, self.sums, self.weights.as_value().shape().width
        known = self.stored.column(Space.WEIGHTS, self.first * CHUNK, bits)
        m.submodules.weights = memory = Memory(  # one address, so that it can be a RAM with one port
            shape=bits, depth=fabric.weight_words, init=known, attrs={} if known else {"loaded": 1}
        )
        load, fetch = memory.write_port(granularity=min(bits, CHUNK)), memory.read_port()
        stores = self.write.payload
        c_weights, d_weights = (Signal.like(self.weights, name=f"{stage}_weights", reset_less=True) for stage in "cd")
        m.d.comb += [load.addr.eq(self.weights_at), fetch.addr.eq(self.weights_at), self.weights.eq(c_weights)]
        m.d.sync += load.data.eq(stores.data.replicate(self.chunks))
        m.d.sync += [load.en[n].eq(self.write.valid & (stores.place.chunk == self.first + n)) for n in range(self.chunks)]
        m.d.sync += [c_weights.eq(fetch.data), d_weights.eq(Mux(self.c_clears, 0, c_weights))]

        m.submodules.sums = sums
        m.d.comb += [sums.weights.eq(d_weights), self.swept.eq(sums.swept)]
        steers = ("row", "c_last", "c_second", "d_row", "d_store", "d_clears")
        m.d.comb += [getattr(sums, name).eq(getattr(self, name)) for name in steers]
        return m


class Synapses(wiring.Component):
    """One row operation per clock on the sums of ``lanes`` neurons.

    Computes :func:`aerloom.models.golden.integrate`, spike by spike::

        i ─► Slices ─► swept row ─► select group ─► o
        updates ────────────────────────┘

    Sums cannot overflow: ``place`` proves it from the weights.

    Members
    -------
    i : stream of operations
    updates : stream of updates
        Of the row that was swept last; unless the Fabric is ``pipelined``, of the one that is swept in this clock.
        One per clock, in any order of rows; but a sweep comes third at the earliest behind what changed its row.
    o : stream of sums
        The sums of a group. Latency :meth:`latency`. Unless the Fabric is ``pipelined``, they
        and their update stay until the next, and an update has to stay for that latency.
    write : stream of 16-bit writes
        For the weights. What was to be added in the clock of such a write is not.
    read : stream of reads
        Of weights, taken where there was no operation a clock before; answered on ``data`` some clocks later.
    data : stream of 16-bit answers
        Zero while there is none.
    """

    @staticmethod
    def latency(fabric: Fabric) -> int:
        """Clocks from an update to its sums."""
        return 6 + fabric.pipelined

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {
                "i": In(stream.Signature(operation(fabric), always_ready=True)),
                "updates": In(stream.Signature(update(fabric), always_ready=True)),
                "o": Out(stream.Signature(summed(fabric), always_ready=True)),
                "write": In(WRITES),
                "read": In(READS),
                "data": Out(ANSWERS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, i, place = self.fabric, self.i.payload, self.read.payload

        def at(stage, name, value, shape=None, **kept):
            return Staged(m, name, stage, value, shape, **kept)

        # what is for the weights is chosen in stage 1; a, b, c and d are stages 2 to 5
        stores = at(0, "stores", self.i.valid & (i.add | i.clear), resets=True)
        clears = at(0, "clears", i.clear)
        row = at(0, "row", i.row)
        weights_at = at(0, "weights_at", i.weights)
        busy = at(0, "busy", self.i.valid, resets=True)
        asked = at(1, "asked", self.read.valid & ~busy[1], resets=True)  # a read waits until there is no operation
        m.d.comb += self.read.ready.eq(~busy[1])
        last, second = (stores[1 + n] & (row[1 + n] == row[1]) for n in (1, 2))  # its row, n operations ago
        second &= fabric.pipelined & ~last
        last, second = at(1, "last", last & ~clears[1]), at(1, "second", second & ~clears[1])
        reads = at(2, "reads", Mux(clears[2] | last[2] | second[2], fabric.sum_rows, row[2]))

        # writes come from far away
        here = self.write.valid & within(self.write.payload.place, Space.WEIGHTS, fabric.weight_words)
        loads, loaded = at(0, "loads", here, resets=True)[1], at(0, "loaded", self.write.payload)[1]
        where = at(1, "where", Mux(loads, loaded.place.address, Mux(asked[1], place.address, weights_at[1])))
        slices = []
        for n, wide in enumerate(widths(fabric)):
            m.submodules[f"slice_{n}"] = part = Slice(fabric, WIDE * n, wide, self.stored)
            m.d.comb += [
                part.weights_at.eq(where[2]),
                part.row.eq(reads[3 if fabric.pipelined else 4]),
                part.c_last.eq(last[4]),
                part.c_second.eq(second[4]),
                part.d_row.eq(row[5]),
                part.d_store.eq(stores[5]),
                part.c_clears.eq(clears[4]),
                part.d_clears.eq(clears[5]),
                part.write.valid.eq(loads),
                part.write.payload.eq(loaded),
            ]
            slices.append(part)
        sums = Cat(part.swept for part in slices)

        # the row that is swept, and of its groups the one that is due
        begin = 5
        due = at(0, "due", self.updates.valid, resets=True)
        most = None if fabric.pipelined else 0  # an update that stays needs no registers
        updates = {name: at(0, f"update_{name}", getattr(self.updates.payload, name), most=most)
                   for name in self.updates.payload.shape().members}
        if fabric.pipelined:  # it stays, as the lanes go on
            sweeps, swept = at(0, "sweeps", self.i.valid & i.sweep, resets=True), Signal.like(sums, reset_less=True)
            with m.If(sweeps[begin]):
                m.d.sync += swept.eq(sums)
            begin, sums = begin + 1, swept
        group, width = updates["state"][begin - 1][: exact_log2(fabric.groups)], fabric.update_lanes * fabric.sum_bits
        groups = [(at(begin - 1, f"group_{n}_waits", group != n)[begin], sums.word_select(n, width))
                  for n in range(fabric.groups)]
        m.d.sync += self.o.valid.eq(due[begin])
        m.d.comb += self.o.payload.sums.as_value().eq(~self._chosen(m, "group", groups, due[begin]))
        with m.If(due[begin] | fabric.pipelined):
            m.d.sync += [getattr(self.o.payload.update, name).eq(value[begin]) for name, value in updates.items()]

        # the weights that are asked for
        chunk = at(1, "chunk", place.chunk)
        weights = Cat(part.weights for part in slices)
        chunks = [(at(3, f"chunk_{n}_waits", ~asked[3] | (chunk[3] != n))[4],
                   weights.word_select(n, min(len(weights), CHUNK))) for n in range(fabric.weight_chunks)]
        m.d.sync += [self.data.valid.eq(asked[5]), self.data.payload.eq(self._chosen(m, "chunk", chunks))]
        return m

    def _chosen(self, m, name, values, when=1):
        """A clock later, of pairs (waits, value), the value that does not wait."""
        gated = [Mux(waits, 0, value) for waits, value in values]
        if self.fabric.pipelined:  # by registers that are reset while they wait: so the choice takes no tables but the last
            registers = [Signal.like(value, name=f"{name}_{n}", reset_less=True) for n, (_, value) in enumerate(values)]
            m.d.sync += [register.eq(value) for register, value in zip(registers, gated, strict=True)]
            return reduce(or_, registers)
        kept = Signal(gated[0].shape(), name=f"{name}_kept")
        with m.If(when):
            m.d.sync += kept.eq(reduce(or_, gated))
        return kept
