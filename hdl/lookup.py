"""Packets of a key into the projections of a core that they concern."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, PACKET, Fabric, Kind, Space
from .shapes import PACKET_LAYOUT, PACKETS, WRITES, layout
from .table import Table

__all__ = ["INDEXING", "Lookup", "arrival", "indexing", "rest"]

#: The first fields of a row of PROJECTIONS: how the index of a spike is taken apart
INDEXING = ("slot", "tabled", "sources", "channel_bits", "column_bits", "y", "x", "c")


def indexing(fabric: Fabric) -> data.StructLayout:
    """These fields; the rest is read by :class:`aerloom.hdl.locate.Locate`, when the index is known."""
    row = layout(fabric.projection_record)
    return data.StructLayout({name: row[name].shape for name in INDEXING if name in row.members})


def rest(fabric: Fabric) -> int:
    """The chunk of a row of PROJECTIONS with which Locate's part begins."""
    return indexing(fabric).size // CHUNK


def arrival(fabric: Fabric) -> data.StructLayout:
    """A SPIKE or STEP that concerns a population by projection ``number``, or a CREDIT for the population ``home``."""
    return data.StructLayout(
        {
            "kind": PACKET.fields["kind"].width,
            "index": PACKET.fields["index"].width,
            "home": layout(fabric.key_record)["slot"].shape,
            "projection": indexing(fabric),
            "number": range(fabric.projections),
            "first": 1,  # of the projections that the packet concerns
        }
    )


class Lookup(wiring.Component):
    """One arrival for each projection that a packet's key has in this core.

    ::

        i ─► KEYS[key] ─► first, more ─► PROJECTIONS[first … first + more] ─► o

    Members
    -------
    i : packets
        SPIKE, STEP and CREDIT.
    o : stream of arrivals
        In order; one per clock, without a gap between packets. Latency 2; ``projection`` comes from a memory, late.
    write : stream of 16-bit writes
        For the table KEYS, and the first fields of PROJECTIONS.
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
        m.submodules.projections = projections = Table(
            Space.PROJECTIONS, indexing(fabric), fabric.projections, stored=self.stored,
            kind="wide" if fabric.places else "small"
        )
        for table in (keys, projections):
            wiring.connect(m, wiring.flipped(self.write), table.write)

        # k: the key's row is there; p: the projection's row is there
        k_valid, k_packet, k_done = Signal(), Signal(PACKET_LAYOUT), Signal.like(keys.data.more)
        is_credit, k_first, k_ends = Signal(), Signal(init=1), Signal()  # nothing is done yet; or all but one
        p_valid, p_packet, p_slot, p_first = Signal(), Signal(PACKET_LAYOUT), Signal.like(keys.data.slot), Signal()
        p_number = Signal.like(projections.address)
        k_last, k_moves = Signal(), Signal()
        some = Mux(is_credit, keys.data.home, keys.data.heard)
        m.d.comb += [
            k_moves.eq(k_valid & (~p_valid | self.o.ready)),
            k_last.eq(is_credit | Mux(k_first, ~keys.data.several, k_ends)),
            self.i.ready.eq(~k_valid | (k_moves & k_last)),
            self.stray.eq(k_moves & ~some & (fabric.cores > 1)),
            keys.address.eq(self.i.payload.key),
            keys.enable.eq(self.i.ready),
            projections.address.eq(keys.data.first + k_done),
            projections.enable.eq(k_moves),
        ]
        with m.If(self.o.ready):
            m.d.sync += p_valid.eq(0)
        with m.If(k_moves):
            m.d.sync += [p_valid.eq(some), p_packet.eq(k_packet), p_slot.eq(keys.data.slot), p_first.eq(k_first)]
            m.d.sync += [p_number.eq(projections.address), k_done.eq(Mux(k_last, 0, k_done + 1)), k_first.eq(k_last)]
            m.d.sync += k_ends.eq(k_done + 1 == keys.data.more)
        with m.If(self.i.ready):
            m.d.sync += [k_valid.eq(self.i.valid), k_packet.eq(self.i.payload)]
            m.d.sync += is_credit.eq(self.i.payload.kind == Kind.CREDIT)
        m.d.comb += [
            self.o.valid.eq(p_valid),
            self.o.payload.kind.eq(p_packet.kind),
            self.o.payload.index.eq(p_packet.index),
            self.o.payload.projection.eq(projections.data),
            self.o.payload.number.eq(p_number),
            self.o.payload.home.eq(p_slot),
            self.o.payload.first.eq(p_first),
        ]
        return m
