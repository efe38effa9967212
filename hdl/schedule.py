"""When each population takes a step, and when it sends it."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Space
from .emit import grant, message
from .ledger import Ledger, Tally, among
from .shapes import WRITES, layout
from .table import Table
from .walk import SWEPT, sweep

__all__ = ["Schedule"]


class Schedule(wiring.Component):
    """Starts the sweep of a population that holds a token from every source, and lets it send what came of it when it
    holds a credit from every listener.

    ::

        token ──► Ledger ─► free ─┐                  ┌─► sweeps, grants
                                  ├─► POPULATIONS ───┤
        credit ─► Ledger ─► free ─┘     [slot]       └─► messages

    A population takes its next step when the message of the last one is sent or, where there is room for the spikes of
    two, that of the last but one, and the last sweep's first neurons are stored. A sweep and the grants that follow from it
    start together: the walk takes nothing that was sent for these grants before the sweep has read every sum, or keeps it
    apart.

    Members
    -------
    token, credit : stream of slots
    begun, swept, sent : stream of slots
        A sweep's first neurons are stored; its spikes are ready to send; they are sent.
    sweeps, grants, messages : streams
    fresh : Out, one bit for each slot
        The next step is the first of a sample.
    write : stream of 16-bit writes
        For the table POPULATIONS.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        slot = stream.Signature(layout(fabric.key_record)["slot"].shape, always_ready=True)
        super().__init__(
            {
                "token": In(slot),
                "credit": In(slot),
                "begun": In(slot),
                "swept": In(slot),
                "sent": In(slot),
                "sweeps": Out(stream.Signature(sweep(fabric))),
                "grants": Out(stream.Signature(grant(fabric))),
                "messages": Out(stream.Signature(message(fabric))),
                "fresh": Out(fabric.populations, init=-1),
                "write": In(WRITES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, slots = self.fabric, self.fabric.populations
        m.submodules.populations = populations = Table(
            Space.POPULATIONS, layout(fabric.population_record), slots, stored=self.stored, kind="wide"
        )
        m.submodules.tokens = tokens = Ledger(slots, fabric.token_bits)
        m.submodules.credits = credits = Ledger(slots, fabric.token_bits)
        m.submodules.steps = steps = Memory(  # of this sample, that were taken
            shape=CHUNK, depth=slots, init=[], attrs={"small": 1}
        )
        steps_read, steps_write = steps.read_port(), steps.write_port()
        wiring.connect(m, wiring.flipped(self.write), populations.write)
        slot = Signal.like(self.token.payload)

        m.submodules.unsent = unsent = Tally(slots, fabric.regions)  # steps that were begun and are not sent
        m.submodules.ready = ready = Tally(slots, fabric.regions)  # messages
        sweeps, sends = Signal(), Signal()
        m.d.comb += [
            unsent.more.eq(among(slots, slot, sweeps)),
            unsent.less.eq(among(slots, self.sent.payload, self.sent.valid)),
            ready.more.eq(among(slots, self.swept.payload, self.swept.valid)),
            ready.less.eq(among(slots, slot, sends)),
        ]
        free = ~unsent.full
        if fabric.regions > 1:
            begins = Signal(slots)
            m.d.sync += begins.eq(unsent.more | (begins & ~among(slots, self.begun.payload, self.begun.valid)))
            free &= ~begins

        row, rest = populations.data, steps_read.data
        if fabric.pipelined:  # plain registers, so that they can be those of blocks of RAM
            row, rest = Signal.like(row, name="row", reset_less=True), Signal(CHUNK, reset_less=True)
            m.d.sync += [row.eq(populations.data), rest.eq(steps_read.data)]
        m.d.comb += [populations.address.eq(slot), steps_read.addr.eq(slot), steps_write.addr.eq(slot)]
        owes, first = Signal(2), Signal()  # tokens, credits: so many more; so many for the first step
        for n, (ledger, paid, name) in enumerate(((tokens, self.token, "tokens"), (credits, self.credit, "credits"))):
            more = Mux(first, getattr(row, f"{name}_first"), getattr(row, name))
            pays, owing = among(slots, paid.payload, paid.valid), among(slots, slot, owes[n])
            # all a clock late, as the walk and the table are far away
            for register, value in ((ledger.paid, pays), (ledger.owed, owing), (ledger.less, more - 1)):
                late = Signal.like(register)
                m.d.sync += late.eq(value)
                m.d.comb += register.eq(late)
        m.d.comb += [
            self.sweeps.payload.slot.eq(slot),
            self.messages.payload.slot.eq(slot),
            self.messages.payload.key.eq(row.key),
            self.messages.payload.row.eq(row.row),
            self.messages.payload.relay.eq(row.relay),
            self.grants.payload.sources.eq(row.sources),
            self.grants.payload.source_count.eq(row.source_count),
        ]
        for name in SWEPT:
            if name in row.shape().members:
                m.d.comb += getattr(self.sweeps.payload, name).eq(getattr(row, name))

        m.d.sync += self.sweeps.payload.fresh.eq(self.fresh.bit_select(slot, 1))
        step = Signal(CHUNK + 1)  # of its sample, from one on
        left = step ^ row.steps
        taken = Signal(2)  # it was, so many clocks ago
        differs = Signal(-(-len(left) // 2))  # some bits of it, from those of the last
        m.d.sync += [differs.eq(Cat(left[n : n + 2].any() for n in range(0, len(left), 2))), taken.eq(Cat(sweeps, taken))]
        with m.If(taken[1]):
            m.d.sync += self.fresh.bit_select(slot, 1).eq(~differs.any())
        may_sweep, may_send = tokens.free & free, credits.free & ready.some
        with m.FSM():
            with m.State("READ FIRST"):
                m.next = "FETCH FIRST"
            with m.State("FETCH FIRST"):
                m.next = "FIRST"
            with m.State("FIRST"):  # after a reset, once for each slot: what its very first step waits for
                m.d.comb += [owes.eq(0b11), first.eq(1)]
                m.d.sync += slot.eq(slot + 1)
                m.next = "READ FIRST"
                with m.If(slot == slots - 1):
                    m.d.sync += slot.eq(0)
                    m.next = "SETTLE"
            with m.State("SETTLE"):  # what is owed is not in its ledger yet
                m.next = "CHOOSE"
            with m.State("CHOOSE"):  # sending first: others wait for it
                for n in reversed(range(slots)):
                    with m.If(may_sweep[n]):
                        m.d.sync += slot.eq(n)
                        m.next = "READ SWEEP"
                with m.If(self.messages.ready):
                    for n in reversed(range(slots)):
                        with m.If(may_send[n]):
                            m.d.sync += slot.eq(n)
                            m.next = "READ MESSAGE"
            with m.State("READ MESSAGE"):
                m.next = "FETCH MESSAGE"
            with m.State("FETCH MESSAGE"):
                m.next = "MESSAGE"
            with m.State("MESSAGE"):
                m.d.comb += self.messages.valid.eq(1)
                with m.If(self.messages.ready):
                    m.d.comb += [owes[1].eq(1), sends.eq(1)]
                    m.next = "SETTLE"
            with m.State("READ SWEEP"):
                m.next = "FETCH SWEEP"
            with m.State("FETCH SWEEP"):
                m.d.sync += self.sweeps.valid.eq(1)  # a register, as the walk decides by it what it takes
                m.next = "SWEEP"
            with m.State("SWEEP"), m.If(self.sweeps.ready):
                m.d.comb += [owes[0].eq(1), sweeps.eq(1)]
                m.d.sync += self.sweeps.valid.eq(0)
                m.d.sync += step.eq(Mux(self.sweeps.payload.fresh, 0, rest) + 1)
                m.next = "GRANT"
            with m.State("GRANT"):
                m.d.comb += [self.grants.valid.eq(1), steps_write.en.eq(1), steps_write.data.eq(step)]
                with m.If(self.grants.ready):
                    m.next = "CHOOSE"
        return m
