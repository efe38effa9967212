"""State and parameters of a core's neurons, ``update_lanes`` of them updated per clock."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Space
from .neuron import Neuron, needed
from .shapes import ANSWERS, READS, WRITES
from .staged import Staged
from .synapses import summed
from .table import Table
from .walk import update

__all__ = ["Neurons", "fetched", "kept", "late", "spiked"]

DEEP = 1024  # words: a block of an ECP5's RAM, or of a Gowin's, with more of them is narrower than a membrane


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
        Unless the Fabric is ``pipelined``, they and their update stay until their spikes have come out.
    o : stream of spikes
        One group per clock. A group comes back only after it left.
    write : stream of 16-bit writes
        For the parameters.
    read : stream of reads
        Of the state, answered on ``data``; taken when no update needs the memory.
    data : stream of 16-bit answers
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {
                "i": In(stream.Signature(summed(fabric), always_ready=True)),
                "o": Out(stream.Signature(spiked(fabric), always_ready=True)),
                "write": In(WRITES),
                "read": In(READS),
                "data": Out(ANSWERS),
            }
        )

    @staticmethod
    def latency(fabric: Fabric) -> int:
        """Clocks from i to o."""
        return Neurons.fetching(fabric) + Neuron.latency(fabric)

    @staticmethod
    def fetching(fabric: Fabric) -> int:
        """Clocks from i until a neuron has its state."""
        return 1 + fabric.pipelined

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        due = self.i.payload.update
        busy = Signal()  # with a group that stays until it has fired
        if not fabric.pipelined:
            m.d.sync += busy.eq((busy | self.i.valid) & ~self.o.valid)
        m.d.comb += self.read.ready.eq(~(self.i.valid | busy))
        reads = Mux(self.i.valid | busy, due.state, self.read.payload.address) if fabric.readable else due.state

        def given(name, value, stage=0):
            """``value``, that comes in at ``stage``."""
            return Staged(m, name, stage, value, most=None if fabric.pipelined else 0)

        valid, sums = Staged(m, "valid", 0, self.i.valid, resets=True), given("sums", self.i.payload.sums)
        # travels beside the neurons
        updates = {name: given(f"update_{name}", getattr(due, name)) for name in due.shape().members}
        asked = Staged(m, "asked", 0, self.read.valid & self.read.ready, resets=True)
        chunk = Staged(m, "chunk", 0, self.read.payload.chunk)

        begin, end = self.fetching(fabric), self.latency(fabric)
        m.d.comb += [getattr(self.o.payload.update, name).eq(value[end]) for name, value in updates.items()]
        m.d.sync += self.data.valid.eq(asked[begin])
        for lane in range(fabric.update_lanes):
            m.submodules[f"neuron_{lane}"] = neuron = Neuron(fabric)
            m.d.comb += neuron.parameters.as_value().eq(self._parameters(m, lane, updates["parameter"], given))
            now = self._state(m, lane, reads, updates["state"][end], neuron.o)
            m.d.comb += [
                neuron.i.valid.eq(valid[begin]),
                neuron.i.payload.sum.eq(sums[begin][lane]),
                neuron.i.payload.fresh.eq(updates["fresh"][begin]),
                neuron.i.payload.state.as_value().eq(now),
            ]
            with m.If(updates["mask"][end][lane]):
                m.d.comb += [
                    self.o.payload.spikes[lane].eq(neuron.o.payload.spikes),
                    self.o.payload.clipped[lane].eq(neuron.o.payload.clipped),
                ]
            for n in range(fabric.state_record.chunks):
                with m.If(chunk[begin] == lane * fabric.state_record.chunks + n):
                    m.d.sync += self.data.payload.eq(now[CHUNK * n :])
        m.d.comb += self.o.valid.eq(neuron.o.valid)
        return m

    def _state(self, m, lane, reads, writes, fired):
        """The state of a lane's neuron at ``reads``; what it ``fired`` with goes to ``writes``."""
        fabric, word, kind = self.fabric, [], late(self.fabric)
        for bits in kept(fabric):
            m.submodules[f"state_{lane}_{bits.start}"] = state = Memory(
                shape=len(bits), depth=fabric.rows * fabric.groups, init=[], attrs={kind: 1} if kind else {}
            )
            read, write = state.read_port(), state.write_port()
            m.d.comb += [
                read.addr.eq(reads),
                write.addr.eq(writes),
                write.data.eq(fired.payload.state.as_value()[bits.start : bits.stop]),
                write.en.eq(fired.valid),
            ]
            word.append(read.data)
        if not fabric.pipelined:
            return Cat(word)
        # plain registers behind the memories, so that they can be those of a block of RAM itself
        now = Signal(fabric.state_record.width, name=f"now_{lane}", reset_less=True)
        m.d.sync += now.eq(Cat(word))
        return now

    def _parameters(self, m, lane, address, given):
        """The parameters of a lane, each when its neuron needs it: so they wait in their memory and not in registers."""
        record, word = self.fabric.neuron_record, []
        due = needs(self.fabric)
        for stage, bits in fetched(self.fabric):
            begin = max(0, stage - 1) if self.fabric.pipelined else stage  # later ones come through another register
            m.submodules[f"parameters_{lane}_{stage}"] = table = Table(
                Space.PARAMETERS, len(bits), self.fabric.parameter_rows, lane * record.chunks + bits.start // CHUNK,
                self.stored, kind=late(self.fabric)
            )
            m.d.comb += [
                table.write.valid.eq(self.write.valid),
                table.write.payload.eq(self.write.payload),
                table.address.eq(address[begin]),
            ]
            # where it waits, for a register at least, as the first can be that of a block of RAM itself
            waits = given(f"waits_{lane}_{stage}", table.data, begin + 1 - self.fetching(self.fabric))
            word += [waits[due[n]][n - bits.start] for n in bits]
        return Cat(word)


def kept(fabric: Fabric) -> list[range]:
    """The memories that hold a lane's state: the bits of the record. Where they are deep each field has its own, as one
    would be several blocks of RAM with a choice behind them."""
    record = fabric.state_record
    if fabric.rows * fabric.groups <= DEEP:
        return [range(record.width)]
    return [range(record.offsets[name], record.offsets[name] + field.width) for name, field in record.fields.items()]


def late(fabric: Fabric) -> str:
    """The kind of a neuron's memories: with registers behind them, or any."""
    return "neuron" if fabric.pipelined else ""


def needs(fabric: Fabric) -> list[int]:
    """The stage of a neuron's update at which it needs each bit of its parameters."""
    stages, fields = needed(fabric), fabric.neuron_record.fields
    return [stages[name] for name, field in fields.items() for _ in range(field.width)]


def fetched(fabric: Fabric) -> list[tuple[int, range]]:
    """The memories that hold a lane's parameters: the stage at which each is read, and its bits of the record. What stays
    until its neuron has fired is in one of them, which takes the fewest blocks of RAM."""
    width, due = fabric.neuron_record.width, needs(fabric)
    first = [n for n in range(0, width, CHUNK) if n == 0 or (fabric.pipelined and due[n] != due[n - CHUNK])]
    return [(due[n], range(n, end)) for n, end in pairwise([*first, width])]
