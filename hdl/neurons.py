"""State and parameters of a core's neurons, ``update_lanes`` of them updated per clock."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Space
from .neuron import Neuron
from .shapes import PLACE_LAYOUT, READS, WRITES, layout
from .synapses import summed
from .table import Table
from .walk import update

__all__ = ["Neurons", "spiked"]


def spiked(fabric: Fabric) -> data.StructLayout:
    """The spikes of a group of neurons (zero for padding), and the update that made them."""
    return data.StructLayout(
        {
            "spikes": data.ArrayLayout(fabric.spike_bits, fabric.update_lanes),
            "clipped": fabric.update_lanes,
            "update": update(fabric),
        }
    )


class Neurons(wiring.Component):
    """Updates a group of neurons per clock.

    ::

        i.update ─► parameters, state ─►┐
        i.sums ─────────────────────────┴─► Neuron ─┬─► o                 for each of update_lanes
                                                    └─► state

    Members
    -------
    i : stream of sums
    o : stream of spikes
        Latency :attr:`latency`, one group per clock. A group comes back only after it left.
    write : stream of 16-bit writes
        For the parameters.
    read : stream of reads
        Of the state, answered on ``data``; taken when no update needs the memory.
    """

    latency = Neuron.latency + 1

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {
                "i": In(stream.Signature(summed(fabric), always_ready=True)),
                "o": Out(stream.Signature(spiked(fabric), always_ready=True)),
                "write": In(WRITES),
                "read": In(READS),
                "data": Out(CHUNK),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        update_in = self.i.payload.update
        asked = Signal(PLACE_LAYOUT)
        m.d.sync += asked.eq(self.read.payload)
        m.d.comb += self.read.ready.eq(~self.i.valid)
        valid, work = Signal(), Signal(summed(fabric))
        m.d.sync += [valid.eq(self.i.valid), work.eq(self.i.payload)]

        updates = work.update  # travels beside the neurons
        for n in range(Neuron.latency):
            later = Signal(update(fabric), name=f"update_{n}")
            m.d.sync += later.eq(updates)
            updates = later

        m.d.comb += self.o.payload.update.eq(updates)
        record = fabric.neuron_record
        for lane in range(fabric.update_lanes):
            m.submodules[f"neuron_{lane}"] = neuron = Neuron(fabric)
            m.submodules[f"parameters_{lane}"] = parameters = Table(
                Space.PARAMETERS, layout(record), fabric.parameter_rows, lane * record.chunks, self.stored
            )
            m.submodules[f"state_{lane}"] = state = Memory(
                shape=layout(fabric.state_record), depth=fabric.rows * fabric.groups, init=[]
            )
            read, write = state.read_port(), state.write_port()
            m.d.comb += [
                parameters.write.valid.eq(self.write.valid),
                parameters.write.payload.eq(self.write.payload),
                parameters.address.eq(update_in.parameter),
                read.addr.eq(Mux(self.i.valid, update_in.state, self.read.payload.address)),
                neuron.i.valid.eq(valid),
                neuron.i.payload.sum.eq(work.sums[lane]),
                neuron.i.payload.fresh.eq(work.update.fresh),
                neuron.i.payload.state.eq(read.data),
                neuron.i.payload.parameters.eq(parameters.data),
                write.addr.eq(updates.state),
                write.data.eq(neuron.o.payload.state),
                write.en.eq(neuron.o.valid),
            ]
            with m.If(updates.mask[lane]):
                m.d.comb += [
                    self.o.payload.spikes[lane].eq(neuron.o.payload.spikes),
                    self.o.payload.clipped[lane].eq(neuron.o.payload.clipped),
                ]
            for n in range(fabric.state_record.chunks):
                with m.If(asked.chunk == lane * fabric.state_record.chunks + n):
                    m.d.comb += self.data.eq(read.data.as_value()[CHUNK * n :])
        m.d.comb += self.o.valid.eq(neuron.o.valid)
        return m
