"""Weights and sums: ``lanes`` additions per clock, and no multiplier."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Space
from .shapes import READS, WRITES
from .walk import operation, update

__all__ = ["Lane", "Synapses", "summed"]


def summed(fabric: Fabric) -> data.StructLayout:
    """The sums of one group of neurons, and what its update needs."""
    return data.StructLayout(
        {"sums": data.ArrayLayout(signed(fabric.sum_bits), fabric.update_lanes), "update": update(fabric)}
    )


class Lane(wiring.Component):
    """One weight and one addition per clock: the neurons whose number in their row is ``lane``.

    ::

        address ─► weights ─────────► (+) ─┬─► sums[u_row], or 0 to clear it
        row ─────► sums ─►(or last)──┬──┘  │
                            └────────│─────┘ (same row again: the sum just made is not in memory yet)
                                     └─► sum

    Members
    -------
    address, row : In
        The weight and the sum that are needed in the next clock.
    u_row, u_store, u_clear, u_again : In
        In the next clock: store the new sum, or zero; the row is that of the clock before.
    sum : Out
        The sum before this clock's weight is added.
    weight : Out
    write : stream of 16-bit writes
    """

    def __init__(self, fabric: Fabric, lane: int, stored: Stored = NOTHING):
        self.fabric, self.lane, self.stored = fabric, lane, stored
        row = range(fabric.rows)
        super().__init__(
            {
                "address": In(range(fabric.weight_words)),
                "row": In(row),
                "u_row": In(row),
                "u_store": In(1),
                "u_clear": In(1),
                "u_again": In(1),
                "sum": Out(signed(fabric.sum_bits)),
                "weight": Out(signed(fabric.weight_bits)),
                "write": In(WRITES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        bits = fabric.weight_bits
        column = self.stored.column(Space.WEIGHTS, self.lane * bits, bits)
        known = [fabric.weight_record.unpack(word)["weight"] for word in column]
        m.submodules.weights = weights = Memory(shape=signed(bits), depth=fabric.weight_words, init=known)
        m.submodules.sums = sums = Memory(shape=signed(fabric.sum_bits), depth=fabric.rows, init=[])
        load, fetch = weights.write_port(), weights.read_port()
        read, write = sums.read_port(), sums.write_port()

        place, (chunk, bit) = self.write.payload.place, divmod(self.lane * bits, CHUNK)
        m.d.comb += [
            load.addr.eq(place.address),
            load.data.eq(self.write.payload.data[bit : bit + bits]),
            load.en.eq(
                self.write.valid
                & (place.space == Space.WEIGHTS)
                & (place.chunk == chunk)
                & (place.address < fabric.weight_words)
            ),
        ]
        last = Signal.like(self.sum)
        m.d.comb += [
            fetch.addr.eq(self.address),
            self.weight.eq(fetch.data),
            read.addr.eq(self.row),
            self.sum.eq(Mux(self.u_again, last, read.data)),
            write.addr.eq(self.u_row),
            write.data.eq(Mux(self.u_clear, 0, self.sum + self.weight)),
            write.en.eq(self.u_store),
        ]
        m.d.sync += last.eq(write.data)
        return m


class Synapses(wiring.Component):
    """One row operation per clock on the sums of ``lanes`` neurons.

    Computes :func:`aerloom.models.golden.integrate`, spike by spike::

        i ─► Lane × lanes ─► select group ─► o

    Sums cannot overflow: ``place`` proves it from the weights.

    Members
    -------
    i : stream of operations
        One per clock, in any order of rows.
    o : stream of sums
        The sums of a group, before they are cleared. Latency 2.
    write : stream of 16-bit writes
        For the weights.
    read : stream of reads
        Of weights, answered on ``data``; taken when no operation needs the memory.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {
                "i": In(stream.Signature(operation(fabric), always_ready=True)),
                "o": Out(stream.Signature(summed(fabric), always_ready=True)),
                "write": In(WRITES),
                "read": In(READS),
                "data": Out(CHUNK),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, i = self.fabric, self.i.payload
        u_valid, u, u_again = Signal(), Signal(operation(fabric)), Signal()  # weights and sums are there
        u_store = u_valid & (u.add | u.clear)
        m.d.sync += [u_valid.eq(self.i.valid), u.eq(i), u_again.eq(u_store & (u.row == i.row))]
        adds = self.i.valid & i.add
        m.d.comb += self.read.ready.eq(~adds)

        lanes = []
        for n in range(fabric.lanes):
            m.submodules[f"lane_{n}"] = lane = Lane(fabric, n, self.stored)
            m.d.comb += [
                lane.address.eq(Mux(adds, i.weights, self.read.payload.address)),
                lane.row.eq(i.row),
                lane.u_row.eq(u.row),
                lane.u_store.eq(u_store),
                lane.u_clear.eq(u.clear),
                lane.u_again.eq(u_again),
                lane.write.valid.eq(self.write.valid),
                lane.write.payload.eq(self.write.payload),
            ]
            lanes.append(lane)

        # the group that is swept
        m.d.sync += [self.o.valid.eq(u_valid & u.sweep), self.o.payload.update.eq(u.update)]
        with m.Switch(u.update.state[: exact_log2(fabric.groups)]):
            for group in range(fabric.groups):
                with m.Case(group) if fabric.groups > 1 else m.Default():
                    for n in range(fabric.update_lanes):
                        m.d.sync += self.o.payload.sums[n].eq(lanes[group * fabric.update_lanes + n].sum)

        # the weights that are asked for
        asked = Signal.like(self.read.payload.chunk)
        m.d.sync += asked.eq(self.read.payload.chunk)
        per_chunk = CHUNK // fabric.weight_bits
        with m.Switch(asked):
            for chunk in range(fabric.weight_chunks):
                with m.Case(chunk):
                    some = lanes[chunk * per_chunk : (chunk + 1) * per_chunk]
                    m.d.comb += self.data.eq(Cat(lane.weight for lane in some))
        return m
