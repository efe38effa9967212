"""Where the host's packets come in."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHIP, Fabric, Kind, Space
from .ledger import Ledger, among
from .shapes import PACKETS, WRITES, layout
from .table import Table

__all__ = ["Entrance"]


class Entrance(wiring.Component):
    """Lets the host's packets in, and its spikes no faster than their listeners take steps.

    The chip keeps the credits of the host's populations (keys below ``inputs``), so that the host just sends and feels
    back-pressure. A packet that means nothing here is dropped: behind this gate every key and node exists, and no router is
    asked for anything.

    Members
    -------
    i : packets
        From the host.
    o, own : packets
        For routers and cores; for the chip itself.
    credit : stream of keys
    write : stream of 16-bit writes
        For the table GATES.
    started, stray : Out
        A SPIKE or STEP passed; a packet was dropped.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {
                "i": In(PACKETS),
                "o": Out(PACKETS),
                "own": Out(PACKETS),
                "credit": In(stream.Signature(max(1, ceil_log2(fabric.inputs)), always_ready=True)),
                "write": In(WRITES),
                "started": Out(1),
                "stray": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        m.submodules.gates = gates = Table(Space.GATES, layout(fabric.gate_record), fabric.inputs, stored=self.stored)
        m.submodules.credits = credits = Ledger(fabric.inputs, fabric.token_bits)
        wiring.connect(m, wiring.flipped(self.write), gates.write)
        key = Signal(range(fabric.inputs + 1))
        known = Signal(fabric.inputs)  # inputs that the network has
        packet = self.i.payload
        m.d.comb += [self.o.payload.eq(packet), self.own.payload.eq(packet)]
        m.d.comb += [
            gates.address.eq(key),
            credits.paid.eq(among(fabric.inputs, self.credit.payload, self.credit.valid)),
        ]
        with m.FSM():
            with m.State("FETCH FIRST"):  # after a reset: what the very first step of each input waits for
                m.next = "FIRST"
            with m.State("FIRST"):
                m.d.comb += [credits.owed.eq(1 << key), credits.less.eq(gates.data.credits_first - 1)]
                m.d.sync += [key.eq(key + 1), known.bit_select(key, 1).eq(gates.data.known)]
                m.next = "FETCH FIRST"
                with m.If(key == fabric.inputs - 1):
                    m.next = "PASS"
            with m.State("PASS"):
                slot = packet.key[: len(self.credit.payload)]
                with m.Switch(packet.kind):
                    with m.Case(Kind.SPIKE, Kind.STEP):
                        with m.If((packet.key >= fabric.inputs) | ~known.bit_select(slot, 1)):
                            m.d.comb += [self.i.ready.eq(1), self.stray.eq(self.i.valid)]
                        with m.Elif(credits.free.bit_select(slot, 1)):
                            m.d.comb += [
                                self.o.valid.eq(self.i.valid),
                                self.i.ready.eq(self.o.ready),
                                self.started.eq(self.i.valid & self.o.ready),
                            ]
                            with m.If(self.started & (packet.kind == Kind.STEP)):
                                m.d.sync += key.eq(packet.key)
                                m.next = "FETCH STEP"
                    with m.Case(Kind.ADDRESS, Kind.WRITE, Kind.READ):
                        is_core, is_node = packet.key < fabric.cores, packet.key < fabric.cores + fabric.routers
                        with m.If(packet.key == CHIP):
                            m.d.comb += [self.own.valid.eq(self.i.valid), self.i.ready.eq(self.own.ready)]
                        with m.Elif(is_core | (is_node & (packet.kind != Kind.READ))):
                            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
                        with m.Else():
                            m.d.comb += [self.i.ready.eq(1), self.stray.eq(self.i.valid)]
                    with m.Default():
                        m.d.comb += [self.i.ready.eq(1), self.stray.eq(self.i.valid)]
            with m.State("FETCH STEP"):
                m.next = "OWE"
            with m.State("OWE"):
                m.d.comb += [credits.owed.eq(1 << key), credits.less.eq(gates.data.credits - 1)]
                m.next = "PASS"
        return m
