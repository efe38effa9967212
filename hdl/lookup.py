"""Packets of a key into the projections of a core that they concern."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import PACKET, Fabric, Kind, Space
from .shapes import PACKET_LAYOUT, PACKETS, WRITES, layout
from .table import Table

__all__ = ["Lookup", "arrival"]

def arrival(fabric: Fabric) -> data.StructLayout:
    """A SPIKE or STEP that concerns a population by projection ``number``, or a CREDIT for the population ``home``."""
    return data.StructLayout(
        {
            "kind": 2,  # below ADDRESS
            "index": PACKET.fields["index"].width,
            "home": layout(fabric.key_record)["slot"].shape,
            "number": range(fabric.projections),
            "first": 1,  # of the projections that the packet concerns
        }
    )


class Lookup(wiring.Component):
    """One arrival for each projection that a packet's key has in this core.

    ::

        i ─► KEYS[key] ─► first … first + more ─► o

    Members
    -------
    i : packets
        SPIKE, STEP and CREDIT.
    o : stream of arrivals
        In order; one per clock, without a gap between packets. Latency 1; from a memory, so late.
    write : stream of 16-bit writes
        For the table KEYS.
    stray : Out
        A packet whose key means nothing here was dropped in this clock; one core alone hears what concerns nobody.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {"i": In(PACKETS), "o": Out(stream.Signature(arrival(fabric))), "write": In(WRITES), "stray": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        m.submodules.keys = keys = Table(Space.KEYS, layout(fabric.key_record), fabric.keys, stored=self.stored)
        wiring.connect(m, wiring.flipped(self.write), keys.write)

        valid, packet, done = Signal(), Signal(PACKET_LAYOUT), Signal.like(keys.data.more)  # the key's row is there
        is_credit, first, ends = Signal(), Signal(init=1), Signal()  # nothing is done yet; or all but one
        some, last, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            some.eq(Mux(is_credit, keys.data.home, keys.data.heard)),
            last.eq(is_credit | Mux(first, ~keys.data.several, ends)),
            moves.eq(valid & (self.o.ready | ~some)),
            self.i.ready.eq(~valid | (moves & last)),
            self.stray.eq(moves & ~some & (fabric.cores > 1)),
            keys.address.eq(self.i.payload.key),
            keys.enable.eq(self.i.ready),
            self.o.valid.eq(valid & some),
            self.o.payload.kind.eq(packet.kind),
            self.o.payload.index.eq(packet.index),
            self.o.payload.number.eq(keys.data.first + done),
            self.o.payload.home.eq(keys.data.slot),
            self.o.payload.first.eq(first),
        ]
        with m.If(moves):
            m.d.sync += [done.eq(Mux(last, 0, done + 1)), first.eq(last), ends.eq(done + 1 == keys.data.more)]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), packet.eq(self.i.payload)]
            m.d.sync += is_credit.eq(self.i.payload.kind == Kind.CREDIT)
        return m
