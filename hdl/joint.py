"""The two ends of a link between chips: they keep apart what was sent before and after a fresh start."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models.fabric import Kind
from .shapes import PACKET_LAYOUT, PACKETS

__all__ = ["Lower", "Upper"]

EPOCH_BITS = 8  # more marks than a link holds packets


class Upper(wiring.Component):
    """The end at the chip nearer to the host: announces every reset of its own to the other chip.

    After a reset a mark goes out first, a packet of kind NONE, and what comes in is dropped until the mark has come back:
    it was sent before the other chip heard of the reset.

    Members
    -------
    i, o : packets
        From and to this chip's routers. Latency 0.
    tx, rx : packets
        To and from the other chip.
    """

    def __init__(self):
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS), "tx": Out(PACKETS), "rx": In(PACKETS)})

    def elaborate(self, platform):
        m = Module()
        epoch = Signal(EPOCH_BITS, reset_less=True)  # tells the marks of resets that follow each other quickly
        marked, heard = Signal(), Signal()
        packet, is_mark = self.rx.payload, self.rx.payload.kind == Kind.NONE
        with m.If(marked):
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.tx))
        with m.Else():
            m.d.comb += [
                self.tx.valid.eq(1),
                self.tx.payload.eq(PACKET_LAYOUT.const({"kind": Kind.NONE})),
                self.tx.payload.index.eq((epoch + 1)[:EPOCH_BITS]),
            ]
            with m.If(self.tx.ready):
                m.d.sync += [marked.eq(1), epoch.eq(epoch + 1)]
        with m.If(marked & self.rx.valid & is_mark & (packet.index == epoch)):
            m.d.sync += heard.eq(1)
        m.d.comb += [
            self.o.payload.eq(packet),
            self.o.valid.eq(self.rx.valid & heard & ~is_mark),
            self.rx.ready.eq(self.o.ready | ~heard | is_mark),
        ]
        return m


class Lower(wiring.Component):
    """The end at the chip further from the host: starts afresh at every mark, and sends it back.

    Members
    -------
    rx, tx : packets
        From and to the other chip.
    o, i : packets
        To and from this chip's routers and cores. Latency 0.
    resets : Out
        For a clock: resets them; they must offer nothing of before from the next one on.
    """

    def __init__(self):
        super().__init__(
            {"rx": In(PACKETS), "tx": Out(PACKETS), "i": In(PACKETS), "o": Out(PACKETS), "resets": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        mark, answers = Signal(PACKET_LAYOUT), Signal()
        is_mark = self.rx.payload.kind == Kind.NONE
        m.d.comb += [
            self.o.payload.eq(self.rx.payload),
            self.o.valid.eq(self.rx.valid & ~is_mark & ~self.resets),
            self.rx.ready.eq((is_mark & ~answers) | (~is_mark & self.o.ready & ~self.resets)),
        ]
        m.d.sync += self.resets.eq(0)
        with m.If(self.rx.valid & is_mark & ~answers):
            m.d.sync += [self.resets.eq(1), answers.eq(1), mark.eq(self.rx.payload)]
        with m.If(answers):
            m.d.comb += [self.tx.valid.eq(1), self.tx.payload.eq(mark)]
            with m.If(self.tx.ready):
                m.d.sync += answers.eq(0)
        with m.Else():
            wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.tx))
        return m
