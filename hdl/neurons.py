"""State and parameters of a core's neurons, ``update_lanes`` of them updated per clock."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..models.fabric import Fabric, Space
from .neuron import Neuron
from .shapes import SPACE_LAYOUT, WRITES, layout
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

        i.update ─► parameters, state ─► Neuron × update_lanes ─┬─► o
        i.sums ──────────────────────────┘                      └─► state

    Members
    -------
    i : stream of sums
    o : stream of spikes
        Latency :attr:`latency`, one group per clock. A group comes back only after it left.
    write : stream of 16-bit writes
        For the parameters.
    read : stream of space and address
        The state of a group, on ``data`` in the clock after; taken when no update needs the memory.
    """

    latency = Neuron.latency + 1

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        super().__init__(
            {
                "i": In(stream.Signature(summed(fabric), always_ready=True)),
                "o": Out(stream.Signature(spiked(fabric), always_ready=True)),
                "write": In(WRITES),
                "read": In(stream.Signature(SPACE_LAYOUT)),
                "data": Out(fabric.update_lanes * fabric.state_record.width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        lanes = fabric.update_lanes
        m.submodules.parameters = parameters = Table(
            Space.PARAMETERS, data.ArrayLayout(layout(fabric.neuron_record), lanes), fabric.parameter_rows
        )
        m.submodules.state = state = Memory(
            shape=data.ArrayLayout(layout(fabric.state_record), lanes), depth=fabric.rows * fabric.groups, init=[]
        )
        wiring.connect(m, wiring.flipped(self.write), parameters.write)
        read, write = state.read_port(), state.write_port()

        m.d.comb += [
            self.read.ready.eq(~self.i.valid),
            read.addr.eq(Mux(self.i.valid, self.i.payload.update.state, self.read.payload.address)),
            self.data.eq(Value.cast(read.data)),
            parameters.address.eq(self.i.payload.update.parameter),
        ]
        valid, work = Signal(), Signal(summed(fabric))
        m.d.sync += [valid.eq(self.i.valid), work.eq(self.i.payload)]

        updates = work.update  # travels beside the neurons
        for n in range(Neuron.latency):
            later = Signal(update(fabric), name=f"update_{n}")
            m.d.sync += later.eq(updates)
            updates = later

        m.d.comb += [self.o.payload.update.eq(updates), write.addr.eq(updates.state)]
        for lane in range(lanes):
            m.submodules[f"neuron_{lane}"] = neuron = Neuron(fabric)
            m.d.comb += [
                neuron.i.valid.eq(valid),
                neuron.i.payload.sum.eq(work.sums[lane]),
                neuron.i.payload.fresh.eq(work.update.fresh),
                neuron.i.payload.state.eq(read.data[lane]),
                neuron.i.payload.parameters.eq(parameters.data[lane]),
                write.data[lane].eq(neuron.o.payload.state),
            ]
            with m.If(updates.mask[lane]):
                m.d.comb += [
                    self.o.payload.spikes[lane].eq(neuron.o.payload.spikes),
                    self.o.payload.clipped[lane].eq(neuron.o.payload.clipped),
                ]
        m.d.comb += [self.o.valid.eq(neuron.o.valid), write.en.eq(neuron.o.valid)]
        return m
