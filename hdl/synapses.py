"""Weights and sums: ``lanes`` additions per clock, and no multiplier."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.fabric import Fabric, Space
from .shapes import SPACE_LAYOUT, WRITES
from .table import Table
from .walk import operation, update

__all__ = ["Synapses", "summed"]


def summed(fabric: Fabric) -> data.StructLayout:
    """The sums of one group of neurons, and what its update needs."""
    return data.StructLayout(
        {"sums": data.ArrayLayout(signed(fabric.sum_bits), fabric.update_lanes), "update": update(fabric)}
    )


class Synapses(wiring.Component):
    """One row operation per clock on the sums.

    Computes :func:`aerloom.models.golden.integrate`, spike by spike::

        i.weights ─► weights ──────────► (+) ─┬─► sums[row], or 0 to clear it
        i.row ─────► sums ─►(or last)──┬──┘   │
                              └────────│──────┘ (same row again: the sum just made, not yet in memory)
                                       └─► select group ─► o

    Sums cannot overflow: ``place`` proves it from the weights.

    Members
    -------
    i : stream of operations
        One per clock, in any order of rows.
    o : stream of sums
        The sums of a group, before they are cleared. Latency 2.
    write : stream of 16-bit writes
        For the weights.
    read : stream of space and address
        A word of weights, on ``data`` in the clock after; taken when no operation needs the memory.
    """

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        super().__init__(
            {
                "i": In(stream.Signature(operation(fabric), always_ready=True)),
                "o": Out(stream.Signature(summed(fabric), always_ready=True)),
                "write": In(WRITES),
                "read": In(stream.Signature(SPACE_LAYOUT)),
                "data": Out(fabric.lanes * fabric.weight_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, i = self.fabric, self.i.payload
        row_shape = data.ArrayLayout(signed(fabric.sum_bits), fabric.lanes)
        m.submodules.weights = weights = Table(
            Space.WEIGHTS, data.ArrayLayout(signed(fabric.weight_bits), fabric.lanes), fabric.weight_words
        )
        m.submodules.sums = sums = Memory(shape=row_shape, depth=fabric.rows, init=[])
        wiring.connect(m, wiring.flipped(self.write), weights.write)
        read, write = sums.read_port(), sums.write_port()

        adds = self.i.valid & i.add
        m.d.comb += [
            self.read.ready.eq(~adds),
            weights.address.eq(Mux(adds, i.weights, self.read.payload.address)),
            weights.enable.eq(adds | self.read.valid),
            self.data.eq(Value.cast(weights.data)),
            read.addr.eq(i.row),
        ]

        # u: weights and sums are there
        u_valid, u = Signal(), Signal(operation(fabric))
        u_again = Signal()  # the row that was written in the clock before
        last = Signal(row_shape)
        current, after = Signal(row_shape), Signal(row_shape)
        m.d.sync += [u_valid.eq(self.i.valid), u.eq(i), u_again.eq(write.en & (u.row == i.row))]
        m.d.comb += [
            current.eq(Mux(u_again, last, read.data)),
            write.en.eq(u_valid & (u.add | u.clear)),
            write.addr.eq(u.row),
            write.data.eq(after),
        ]
        for lane in range(fabric.lanes):
            m.d.comb += after[lane].eq(Mux(u.clear, 0, current[lane] + weights.data[lane]))
        m.d.sync += last.eq(after)

        select = exact_log2(fabric.groups)
        chosen = Value.cast(current).word_select(u.update.state[:select], fabric.update_lanes * fabric.sum_bits)
        m.d.sync += [
            self.o.valid.eq(u_valid & u.sweep),
            Value.cast(self.o.payload.sums).eq(chosen),
            self.o.payload.update.eq(u.update),
        ]
        return m
