"""Where a chip makes spikes of images by itself."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.encode import fires, is_due, next_draw
from ..models.fabric import CHUNK, Fabric, Kind, Space, Start
from .shapes import PACKET_LAYOUT, PACKETS, WRITES, layout
from .table import Table

__all__ = ["Encoder"]


class Encoder(wiring.Component):
    """Sends images as a host would send their spikes, in its place.

    Computes :func:`aerloom.models.encode.Images.spikes`::

                i ───────────────────────────────────────────────┐
                                                                 ├─► o
        IMAGE ─► pixel ─► fires, or is due? ─► index ─► SPIKE ───┤
                          ▲                  └─► of the last ─► STEP
                  draw, or range of the step

    A pixel takes a clock, and one more for its spike; a pixel that does not spike passes by a spike that waits.

    Members
    -------
    i, o : packets
        From the host, and to the gate. Latency 0, one per clock; but while an image is being sent the host waits.
    write : stream of 16-bit writes
        For IMAGE, the rows of GATES and the words of START. A WRITE to GO sends the image.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS), "write": In(WRITES)})

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        m.submodules.image = image = Table(Space.IMAGE, CHUNK, fabric.pixels // 2)
        m.submodules.rows = rows = Table(
            Space.GATES, layout(fabric.scan_record), fabric.inputs, fabric.gate_record.chunks, self.stored
        )
        for table in (image, rows):
            m.d.comb += [table.write.valid.eq(self.write.valid), table.write.payload.eq(self.write.payload)]
        row = rows.data

        # what the host says
        steps, ranges, draw = Signal(CHUNK), Signal.like(image.address), Signal(32)
        written, go = self.write.payload, Signal()
        with m.If(self.write.valid & (written.place.space == Space.START)), m.Switch(written.place.address):
            with m.Case(Start.STEPS):
                m.d.sync += steps.eq(written.data)
            with m.Case(Start.RANGES):
                m.d.sync += ranges.eq(written.data)
            with m.Case(Start.DRAW):
                m.d.sync += draw[:CHUNK].eq(written.data)
            with m.Case(Start.GO):
                m.d.sync += draw[CHUNK:].eq(written.data)
                m.d.comb += go.eq(1)

        # a pixel, behind it the one that the memory shows, and the one after that
        after = Signal(range(fabric.pixels))
        odd, moves = Signal(), Signal()
        pixel = Signal(CHUNK // 2)
        m.d.comb += [image.address.eq(after[1:]), image.enable.eq(moves)]
        with m.If(moves):
            m.d.sync += [pixel.eq(image.data.word_select(odd, CHUNK // 2)), odd.eq(after[0]), after.eq(after + 1)]
        low, high, spikes = Signal(CHUNK // 2), Signal(CHUNK // 2), Signal()
        m.d.comb += spikes.eq(Mux(ranges.any(), is_due(pixel, low, high), fires(pixel, draw)))

        # its place in its population
        key = Signal(range(fabric.inputs))
        left, column, line = Signal.like(row.pixels), Signal.like(row.columns), Signal.like(row.lines)
        index, gap = Signal.like(row.step), Signal.like(row.step)
        m.d.comb += [rows.address.eq(key), gap.eq(row.step)]
        with m.If(column == 1):
            m.d.comb += gap.eq(Mux(line == 1, row.step_plane, row.step_line))

        waits, spike = Signal(), Signal.like(index)  # a spike waits to leave
        own = Signal(PACKET_LAYOUT)
        m.d.comb += [own.kind.eq(Mux(waits, Kind.SPIKE, Kind.STEP)), own.key.eq(key), own.index.eq(spike)]
        m.d.comb += self.o.payload.eq(own)
        with m.If(waits):
            m.d.comb += self.o.valid.eq(1)
            with m.If(self.o.ready):
                m.d.sync += waits.eq(0)

        left_steps, range_at = Signal.like(steps), Signal.like(ranges)
        with m.FSM():
            with m.State("PASS"):
                m.d.comb += [
                    self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)
                ]
                m.d.sync += [left_steps.eq(steps), range_at.eq(ranges)]
                with m.If(go):
                    m.next = "FETCH RANGE"
            with m.State("FETCH RANGE"):
                m.d.comb += [image.address.eq(range_at), image.enable.eq(1)]
                m.d.sync += [range_at.eq(range_at + 1), after.eq(0), key.eq(0)]
                m.next = "RANGE"
            with m.State("RANGE"):  # and the first pixel is fetched
                m.d.comb += moves.eq(1)
                m.d.sync += [low.eq(image.data[:8]), high.eq(image.data[8:])]
                m.next = "FIRST"
            with m.State("FIRST"):
                m.d.comb += moves.eq(1)
                m.next = "FETCH ROW"
            with m.State("FETCH ROW"):
                m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [left.eq(row.pixels), column.eq(row.columns), line.eq(row.lines), index.eq(0)]
                m.next = "NEXT"
                with m.If(row.known):
                    m.next = "PIXELS"
            with m.State("PIXELS"):
                with m.If(left != 0):
                    m.d.comb += moves.eq(~waits | ~spikes)
                with m.Elif(~waits):
                    m.d.comb += self.o.valid.eq(1)  # STEP
                    with m.If(self.o.ready):
                        m.next = "NEXT"
                with m.If(moves):
                    m.d.sync += [
                        draw.eq(next_draw(draw)), left.eq(left - 1), index.eq(index + gap), column.eq(column - 1)
                    ]
                    with m.If(column == 1):
                        m.d.sync += [column.eq(row.columns), line.eq(Mux(line == 1, row.lines, line - 1))]
                    with m.If(spikes):
                        m.d.sync += [waits.eq(1), spike.eq(index)]
            with m.State("NEXT"):
                m.d.sync += key.eq(key + 1)
                m.next = "FETCH ROW"
                with m.If(key == fabric.inputs - 1):
                    m.d.sync += left_steps.eq(left_steps - 1)
                    m.next = "FETCH RANGE"
                    with m.If(left_steps == 1):
                        m.next = "PASS"
        return m
