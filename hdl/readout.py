"""Where a chip counts the spikes of its output by itself."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..models.fabric import CHIP, CHUNK, Fabric, Kind, Space, Start
from .shapes import PACKET_LAYOUT, PACKETS, WRITES, layout

__all__ = ["Readout"]


class Readout(wiring.Component):
    """Counts the spikes of one population and keeps them; after each sample it answers which neuron had most.

    Spikes take two clocks; the answer comes two clocks for each of ``fabric.classes`` after the sample's last STEP, and
    packets wait meanwhile.

    Members
    -------
    i, o : packets
        To the host. Latency 0, one per clock; SPIKE and STEP of the output become a VALUE with the
        :attr:`~aerloom.models.fabric.Fabric.answer_record` of each sample.
    write : stream of 16-bit writes
        For the words of START.
    answered : Out
        An answer leaves.
    """

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS), "write": In(WRITES), "answered": Out(1)})

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        answer = Signal(layout(fabric.answer_record))  # with the best count so far
        m.submodules.counts = counts = Memory(shape=answer.spikes.shape(), depth=fabric.classes, init=[])
        write, read = counts.write_port(), counts.read_port()

        steps, left, output = Signal(CHUNK), Signal(CHUNK), Signal.like(self.i.payload.key)
        written = self.write.payload
        packet, neuron, due = self.i.payload, Signal(range(fabric.classes)), Signal()
        m.d.comb += [self.o.payload.eq(packet), read.addr.eq(neuron), write.addr.eq(neuron)]
        with m.FSM():
            with m.State("FETCH"):
                m.next = "WEIGH"
            with m.State("WEIGH"):  # and forget, also after a reset
                m.d.comb += write.en.eq(1)
                m.d.sync += neuron.eq(neuron + 1)
                with m.If(read.data > answer.spikes):
                    m.d.sync += [answer.spikes.eq(read.data), answer.winner.eq(neuron)]
                m.next = "FETCH"
                with m.If(neuron == fabric.classes - 1):
                    m.next = "COUNT"
                    with m.If(due):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(PACKET_LAYOUT.const({"kind": Kind.VALUE, "key": CHIP})),
                    self.o.payload.index.eq(answer),
                    self.answered.eq(self.o.ready),
                ]
                with m.If(self.o.ready):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += [due.eq(0), answer.eq(0), neuron.eq(0)]
                m.d.comb += read.addr.eq(packet.index)
                with m.If((packet.key != output) | ((packet.kind != Kind.SPIKE) & (packet.kind != Kind.STEP))):
                    m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
                with m.Else():
                    m.d.comb += self.i.ready.eq(1)
                    with m.If(self.i.valid & (packet.kind == Kind.SPIKE)):
                        m.d.sync += neuron.eq(packet.index)
                        m.next = "ADD"
                    with m.Elif(self.i.valid):
                        m.d.sync += left.eq(left - 1)
                        with m.If(left == 1):
                            m.d.sync += [left.eq(steps), due.eq(1)]
                            m.next = "FETCH"
            with m.State("ADD"):
                m.d.comb += [write.en.eq(1), write.data.eq(read.data + 1)]
                m.next = "COUNT"
        with m.If(self.write.valid & (written.place.space == Space.START)), m.Switch(written.place.address):
            with m.Case(Start.STEPS):
                m.d.sync += [steps.eq(written.data), left.eq(written.data)]
            with m.Case(Start.OUTPUT):
                m.d.sync += output.eq(written.data)
        return m
