"""A core: several populations, their synapses and their neurons."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import CORE_COUNTERS, Fabric, Kind, Space
from .counters import Counters
from .emit import Creditor, Emit
from .locate import Direct, Tabled
from .lookup import Lookup
from .neurons import Neurons
from .schedule import Schedule
from .shapes import PACKET_LAYOUT, PACKETS
from .stream import Buffer, First, Hold
from .synapses import Synapses
from .table import Loader, Receiver
from .walk import Walk

__all__ = ["Core"]


class Core(wiring.Component):
    """Takes the packets of sources, sends those of its own populations.

    ::

        i ─┬─► Lookup ─► Locate ─► Walk ─► Synapses ─► Neurons ─► Emit ─────┐
           │                        ▲ │                           ▲ │        ├─► o
           │                   sweeps │ tokens, credits  messages │ │ swept  │
           │                        Schedule ─────────────────────┴─┴─► Creditor
           └─► Loader ─► tables, weights, parameters ────────────────────────┘

    Packets for populations are always taken in the end, whatever happens to what is sent: so cores cannot deadlock.

    Members
    -------
    i, o : packets
        SPIKE, STEP and CREDIT of any key; ADDRESS, WRITE and READ for this node.
    """

    def __init__(self, fabric: Fabric, node: int, stored: Stored = NOTHING):
        self.fabric, self.node, self.stored = fabric, node, stored
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS)})

    @staticmethod
    def pace(fabric: Fabric) -> int:
        """Clocks from one update of a sweep to the next."""
        return 1 if fabric.pipelined else max(Synapses.latency(fabric), Neurons.latency(fabric)) + 1

    def elaborate(self, platform):
        m = Module()
        fabric, stored = self.fabric, self.stored
        m.submodules.loader = loader = (Loader if fabric.readable else Receiver)(
            self.node,
            {space: fabric.chunks(space) for space in (
                Space.KEYS, Space.PROJECTIONS, Space.POPULATIONS, Space.SOURCES, *(space for space, _, _ in fabric.axes),
                Space.WEIGHTS, Space.PARAMETERS, Space.STATE, Space.COUNTERS)},
        )
        m.submodules.lookup = lookup = Lookup(fabric, stored)
        m.submodules.locate = locate = (Tabled if fabric.places else Direct)(fabric, stored)
        m.submodules.walk = walk = Walk(fabric, self.pace(fabric))
        m.submodules.synapses = synapses = Synapses(fabric, stored)
        m.submodules.neurons = neurons = Neurons(fabric, stored)
        m.submodules.emit = emit = Emit(fabric)
        m.submodules.schedule = schedule = Schedule(fabric, stored)
        m.submodules.creditor = creditor = Creditor(fabric, stored)
        m.submodules.exit = exit_ = First(PACKET_LAYOUT, 3)  # credits and messages end, so nobody waits for ever

        # packets in: to the tables, or to the populations
        entering = self.i
        if fabric.pipelined:
            m.submodules.entry = entry = Buffer(PACKET_LAYOUT)
            wiring.connect(m, wiring.flipped(self.i), entry.i)
            entering = entry.o
        of_node, settings = entering.payload.kind >= Kind.ADDRESS, loader.i
        if fabric.pipelined:
            m.submodules.settings = hold = Hold(PACKET_LAYOUT)
            wiring.connect(m, hold.o, loader.i)
            settings = hold.i
        m.d.comb += [
            settings.payload.eq(entering.payload),
            lookup.i.payload.eq(entering.payload),
            settings.valid.eq(entering.valid & of_node),
            lookup.i.valid.eq(entering.valid & ~of_node),
            entering.ready.eq(Mux(of_node, settings.ready, lookup.i.ready)),
        ]
        stores, stored = loader.write.valid, loader.write.payload
        if fabric.pipelined:  # a clock to reach every table
            stores, stored = Signal(), Signal.like(loader.write.payload, reset_less=True)
            m.d.sync += [stores.eq(loader.write.valid), stored.eq(loader.write.payload)]
        for taker in (lookup, locate, synapses, neurons, creditor, schedule):
            m.d.comb += [taker.write.valid.eq(stores), taker.write.payload.eq(stored)]

        # the path of a spike
        wiring.connect(m, lookup.o, locate.i)
        wiring.connect(m, locate.o, walk.i)
        wiring.connect(m, walk.o, synapses.i)
        wiring.connect(m, walk.updates, synapses.updates)
        wiring.connect(m, synapses.o, neurons.i)
        wiring.connect(m, neurons.o, emit.i)

        # steps
        wiring.connect(m, walk.token, schedule.token)
        wiring.connect(m, walk.credit, schedule.credit)
        wiring.connect(m, emit.begun, schedule.begun)
        wiring.connect(m, emit.swept, schedule.swept)
        wiring.connect(m, emit.sent, schedule.sent)
        wiring.connect(m, schedule.sweeps, walk.sweeps)
        wiring.connect(m, schedule.messages, emit.jobs)
        wiring.connect(m, schedule.grants, creditor.i)
        m.d.comb += locate.fresh.eq(schedule.fresh)

        # packets out
        wiring.connect(m, creditor.o, exit_.i0)
        wiring.connect(m, emit.o, exit_.i1)
        wiring.connect(m, loader.o, exit_.i2)
        wiring.connect(m, exit_.o, wiring.flipped(self.o))

        if fabric.readable:
            self._read(m, loader, stored.place)
        return m

    def _read(self, m, loader, asked):
        """Counts what happens, and answers what the core is ``asked``, a place: there a read waits."""
        walk, lookup, synapses, neurons, emit = (
            getattr(m.submodules, name) for name in ("walk", "lookup", "synapses", "neurons", "emit"))
        events = {
            "spikes_in": walk.taken,
            "spikes_out": emit.counts,
            "synaptic_operations": walk.operations,
            "adding_cycles": walk.o.valid & walk.o.payload.add,
            "stall_cycles": self.o.valid & ~self.o.ready,
            "saturations": Mux(neurons.o.valid, sum(neurons.o.payload.clipped), 0),
            "strays": walk.stray + lookup.stray,
            "sweeps": walk.sweeps.valid & walk.sweeps.ready,
        }
        counted = [Value.cast(events[name]) for name in CORE_COUNTERS]
        m.submodules.counters = counters = Counters([len(event) for event in counted])
        m.d.sync += [getattr(counters, f"event{n}").eq(event) for n, event in enumerate(counted)]

        # what is asked for
        m.d.comb += [place.read.payload.eq(asked) for place in (synapses, neurons, counters)]
        with m.Switch(asked.space):
            for space, place in ((Space.WEIGHTS, synapses), (Space.STATE, neurons), (None, counters)):
                with m.Case(space) if space else m.Default():
                    m.d.comb += [place.read.valid.eq(loader.read.valid), loader.read.ready.eq(place.read.ready)]
        own = Mux(asked.space == Space.STATE, neurons.data.payload, counters.data.payload)  # 0 for what is nowhere
        m.d.comb += [
            loader.data.valid.eq(synapses.data.valid | neurons.data.valid | counters.data.valid),
            loader.data.payload.eq(synapses.data.payload | own),
        ]
