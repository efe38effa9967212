"""What a core sends: the spikes of its populations, and credits to their sources."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.contents import NOTHING, Stored
from ..models.fabric import Fabric, Kind, Space
from .ledger import among
from .neurons import spiked
from .shapes import PACKET_LAYOUT, PACKETS, WRITES, layout
from .table import Table

__all__ = ["Creditor", "Emit", "grant", "message"]


def message(fabric: Fabric) -> data.StructLayout:
    """Population ``slot``, known to others as ``key`` and with sums from ``row`` on, may send what it has.

    ``relay``: it has copies of spikes.
    """
    row = layout(fabric.population_record)
    return data.StructLayout(
        {"slot": layout(fabric.key_record)["slot"].shape} | {name: row[name].shape for name in ("key", "row", "relay")}
    )


def grant(fabric: Fabric) -> data.StructLayout:
    """The ``source_count`` keys in SOURCES from ``sources`` on get a CREDIT each."""
    row = layout(fabric.population_record)
    return data.StructLayout({name: row[name].shape for name in ("sources", "source_count")})


class Emit(wiring.Component):
    """Keeps the spikes of a sweep until the population may send them, then sends them and a STEP.

    ::

        i ─► groups with spikes ─► memory ─► word ─► lowest spike ─► o
                                   (a region per population; two where sources can be ahead)

    The last group of a sweep is kept whether it has spikes or not, and marked. A population has at most one step in a
    region, so a sweep never waits for what is being sent.

    Members
    -------
    i : stream of spikes
    jobs : stream of messages
        Whom to send for, after its sweep was reported on ``swept``.
    o : packets
        SPIKE, in the order of the sweep and once for each spike, without a gap between words; then STEP.
    begun, swept, sent : stream of slots
        The first group of a sweep came; all its spikes are kept; all of them, and the STEP, are sent.
    counts : Out
        A spike that is no copy leaves.
    """

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        slot = layout(fabric.key_record)["slot"].shape
        super().__init__(
            {
                "i": In(stream.Signature(spiked(fabric), always_ready=True)),
                "jobs": In(stream.Signature(message(fabric))),
                "o": Out(PACKETS),
                "begun": Out(stream.Signature(slot, always_ready=True)),
                "swept": Out(stream.Signature(slot, always_ready=True)),
                "sent": Out(stream.Signature(slot, always_ready=True)),
                "counts": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, lanes = self.fabric, self.fabric.update_lanes
        spikes_layout = data.ArrayLayout(fabric.spike_bits, lanes)
        state = self.i.payload.update.state
        depth = fabric.regions << len(state)
        word = data.StructLayout({"spikes": spikes_layout, "place": fabric.place_bits, "last": 1})
        m.submodules.memory = memory = Memory(shape=word, depth=depth, init=[], attrs={"small": 1})
        write, read = memory.write_port(), memory.read_port()

        def in_turn(name, slot, when):
            """The region of a population's step: the other one ``when`` there was one."""
            if fabric.regions == 1:
                return Const(0, 0)
            others = Signal(fabric.populations, name=name)
            m.d.sync += others.eq(others ^ among(fabric.populations, slot, when))
            return others.bit_select(slot, 1)

        # keep: groups with spikes and the last one, one after the other from the start of a region of the population
        update = self.i.payload.update
        kept = in_turn("kept", update.slot, self.swept.valid)
        keeps = self.i.payload.spikes.as_value().any() | update.last
        begins, behind = Signal(init=1), Signal(range(depth))  # a sweep; where it goes on
        m.d.comb += [
            write.en.eq(self.i.valid & keeps),
            write.addr.eq(Mux(begins, Cat(state, kept), behind)),
            write.data.spikes.eq(self.i.payload.spikes),
            write.data.place.eq(update.place),
            write.data.last.eq(update.last),
            self.begun.valid.eq(self.i.valid & begins),
            self.begun.payload.eq(update.slot),
            self.swept.valid.eq(self.i.valid & update.last),
            self.swept.payload.eq(update.slot),
        ]
        with m.If(self.i.valid):
            m.d.sync += [begins.eq(update.last), behind.eq(write.addr + keeps)]

        # send: words are read until the last one has come, and for nothing behind that
        busy, job, address = Signal(), Signal(message(fabric)), Signal.like(behind)
        there, ahead = Signal(), Signal()  # the memory's output, the register behind it: the next words
        following = Signal(word, reset_less=True)
        now, last = Signal(spikes_layout), Signal()  # spikes of a word still to send; no word follows
        place, rest = Signal(fabric.place_bits, reset_less=True), Signal(spikes_layout)  # spikes but for the lowest
        lane = Signal(range(lanes)) if lanes > 1 else Signal(1)
        take, pull, more = Signal(), Signal(), now.as_value().any()
        m.d.comb += [self.jobs.ready.eq(~busy), rest.eq(now)]
        first = self.jobs.payload.row << exact_log2(fabric.groups)
        begin = Cat(first[: len(state)], in_turn("sends", self.jobs.payload.slot, self.jobs.valid & ~busy))
        with m.If(self.jobs.valid & ~busy):
            m.d.sync += [busy.eq(1), job.eq(self.jobs.payload)]
        for n in reversed(range(lanes)):
            with m.If(now[n] != 0):
                m.d.comb += [lane.eq(n), rest.eq(now), rest[n].eq(now[n] - 1)]
        m.d.comb += [
            read.addr.eq(Mux(busy, address, begin)),
            take.eq(ahead & ~last & (~more | (self.o.ready & ~rest.as_value().any()))),
            pull.eq(there & (take | ~ahead)),
            read.en.eq(pull | ~there),
            self.o.valid.eq(more | last),
            self.o.payload.kind.eq(Mux(more, Kind.SPIKE, Kind.STEP)),
            self.o.payload.key.eq(job.key),
            self.o.payload.index.eq(Mux(more, place * lanes + lane, 0)),
            self.sent.valid.eq(last & ~more & self.o.ready),
            self.sent.payload.eq(job.slot),
            self.counts.eq(more & self.o.ready & ~job.relay),
        ]
        with m.If(more & self.o.ready):
            m.d.sync += now.eq(rest)
        with m.If(take):
            m.d.sync += [now.eq(following.spikes), place.eq(following.place), last.eq(following.last), ahead.eq(0)]
        with m.If(pull):
            m.d.sync += [following.eq(read.data), ahead.eq(1)]
        with m.If(read.en):
            m.d.sync += [there.eq(busy | self.jobs.valid), address.eq(read.addr + 1)]
        with m.If(self.sent.valid):
            m.d.sync += [busy.eq(0), last.eq(0), there.eq(0), ahead.eq(0)]
        return m


class Creditor(wiring.Component):
    """Sends a CREDIT to every source of a population.

    Members
    -------
    i : stream of grants
    o : packets
        One per clock.
    write : stream of 16-bit writes
        For the table SOURCES.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__({"i": In(stream.Signature(grant(fabric))), "o": Out(PACKETS), "write": In(WRITES)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sources = sources = Table(
            Space.SOURCES, layout(self.fabric.source_record), self.fabric.projections, stored=self.stored
        )
        wiring.connect(m, wiring.flipped(self.write), sources.write)
        address, left = Signal.like(sources.address), Signal.like(self.i.payload.source_count)
        moves = Signal()
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(left == 0),
            sources.address.eq(address),
            sources.enable.eq(moves),
            self.o.payload.eq(PACKET_LAYOUT.const({"kind": Kind.CREDIT})),
            self.o.payload.key.eq(sources.data.key),
        ]
        with m.If(moves):
            m.d.sync += self.o.valid.eq(left != 0)
            with m.If(left != 0):
                m.d.sync += [address.eq(address + 1), left.eq(left - 1)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [address.eq(self.i.payload.sources), left.eq(self.i.payload.source_count)]
        return m
