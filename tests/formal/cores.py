"""What is proven of the parts of a core that take packets, steps and credits; see :mod:`tests.formal.blocks`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from amaranth.hdl import Array, Cat, Mux, Signal, Value

from aerloom.hdl.emit import Creditor, Emit
from aerloom.hdl.locate import Direct, Tabled, short, visit
from aerloom.hdl.lookup import Lookup
from aerloom.hdl.schedule import Schedule
from aerloom.hdl.table import Loader, Receiver
from aerloom.models.fabric import Kind, Space
from aerloom.models.words import READ_BITS

from .blocks import TOY, balance
from .tools import Harness, Rows, using

__all__ = ["creditor", "direct", "emit", "loader", "lookup", "receiver", "schedule", "tabled"]


def creditor(block=Creditor) -> Harness:
    """As many CREDITs as were granted, each for a row of its own, in order; offers are kept."""
    h = Harness(using(block, Table=Rows)(TOY))
    i, o, rows, left, address = h.dut.i, h.dut.o, Rows.made[0].rows, h.inner["left"], h.inner["address"]
    h.obeys(i)
    h.keeps(o)
    h.assume(i.payload.sources + i.payload.source_count <= TOY.projections)
    granted = Signal(8)
    h.m.d.sync += granted.eq(granted + Mux(i.valid & i.ready, i.payload.source_count, 0))
    sent = h.count(o.valid & o.ready, 8)
    h.check((sent + o.valid + left)[:8] == granted)
    at = Signal.like(address)  # the row that was read last
    with h.m.If((~o.valid | o.ready) & (left != 0)):
        h.m.d.sync += at.eq(address)
        h.check(address < TOY.projections)
    h.check(~o.valid | ((o.payload.kind == Kind.CREDIT) & (o.payload.key == rows[at].key)))
    h.check((address + left <= TOY.projections) | (left == 0))
    return h


def lookup(block=Lookup) -> Harness:
    """Every packet becomes the arrivals that its key has, in order and none missing; offers are kept."""
    h = Harness(using(block, Table=Rows)(TOY))
    i, o, m = h.dut.i, h.dut.o, h.m
    (keys,) = (made.rows for made in Rows.made)
    h.obeys(i)
    h.keeps(o)
    for row in keys:
        h.assume((row.first + row.more < TOY.projections) & row.heard & row.home & (row.several == (row.more != 0)))
    h.assume((i.payload.key < TOY.keys) & (i.payload.kind >= Kind.SPIKE) & (i.payload.kind <= Kind.CREDIT))
    h.assume(i.payload.index[:2] == h.count(i.valid & i.ready, 2))
    taken, done = Array(Signal.like(Value.cast(i.payload), name=f"taken_{n}") for n in range(4)), Signal(2)
    with m.If(i.valid & i.ready):
        m.d.sync += taken[i.payload.index[:2]].eq(i.payload)
    now = Signal(2)  # the packet whose arrivals come
    packet = type(i.payload)(i.payload.shape(), taken[now])
    row, p = keys[packet.key[:2]], o.payload
    is_credit = packet.kind == Kind.CREDIT
    h.check(~o.valid | (p.index == packet.index) & (p.kind == packet.kind) & (p.first == (done == 0)))
    h.check(~(o.valid & is_credit) | (p.home == row.slot))
    h.check(~(o.valid & ~is_credit) | (p.number == (row.first + done)[:2]))
    with m.If(o.valid & o.ready):
        m.d.sync += done.eq(done + 1)
        with m.If(is_credit | (done == row.more)):
            m.d.sync += [done.eq(0), now.eq(now + 1)]
    h.check(~h.dut.stray)
    return h


def direct(block=Direct) -> Harness:
    """Visits come in the order of their arrivals, none missing; offers are kept."""
    fabric = replace(TOY, places=0)
    h = Harness(using(block, Table=Rows)(fabric))
    arrivals = [of_arrival(short(fabric)(h.inner[f"entry.{name}"])) for name in ("o__payload", "spare")]
    return in_order(h, [(h.dut.o.valid, of_visit(h.dut.o.payload)), *staged(h, "rt"), *buffered(h, "entry", arrivals)])


def tabled(block=Tabled) -> Harness:
    """Visits come in the order of their arrivals, none missing; offers are kept."""
    h = Harness(using(block, Table=Rows)(TOY))
    visits = [of_visit(visit(TOY)(h.inner[f"exit.{name}"])) for name in ("o__payload", "spare")]
    return in_order(h, [*buffered(h, "exit", visits), *staged(h, "srtgfep")])


def of_arrival(arrival) -> Callable[[Value], Value]:
    """Whether it is that of a number, which is kept in its kind and whether it is first."""
    return lambda number: Cat(arrival.kind, arrival.first) == number


def of_visit(v) -> Callable[[Value], Value]:
    """Whether it can be: a visit tells steps and credits."""
    return lambda number: (Cat(v.step, v.credit, v.first)
                           == Cat(number[:2] == Kind.STEP, number[:2] == Kind.CREDIT, number[2]))


def staged(h: Harness, names: str) -> list:
    """Stages: whether there is anything, and whether it is of a number."""
    def number(name: str) -> Callable[[Value], Value]:
        return lambda number: Cat(h.inner[f"{name}_kind"], h.inner[f"{name}_first"]) == number

    return [(h.inner[f"{name}_valid"], number(name)) for name in names]


def buffered(h: Harness, name: str, items: list) -> list:
    """The same of the two registers of a Buffer."""
    there = h.inner[f"{name}.o__valid"], ~h.inner[f"{name}.room"]
    h.check(~there[1] | there[0])
    return list(zip(there, items, strict=True))


def in_order(h: Harness, stages: list) -> Harness:
    """Arrivals are numbered; so are all stages, the last one first, and nothing is missing."""
    i, o = h.dut.i, h.dut.o
    h.obeys(i)
    h.keeps(o)
    sent, older = h.count(i.valid & i.ready, 3), h.count(o.valid & o.ready, 3)
    h.assume(Cat(i.payload.kind, i.payload.first) == sent)
    for there, agrees in stages:
        h.check(~there | agrees(older[:3]))
        older = older + there
    h.check(older[:3] == sent)
    return h


def loader(block=Loader) -> Harness:
    """A READ is answered by as many VALUEs as it asks for, each after the answer to its read; offers are kept."""
    h = Harness(block(3, {Space.STATE: 2}))
    i, o, left, answering = h.dut.i, h.dut.o, h.inner["left"], h.inner["answering"]
    h.obeys(i)
    h.keeps(o)
    asked = Signal(20)
    h.m.d.sync += asked.eq(asked + Mux(i.valid & i.ready & (i.payload.kind == Kind.READ), i.payload.index[:READ_BITS], 0))
    h.check((h.count(o.valid & o.ready, 20) + left + h.inner["there"])[:20] == asked)
    h.check(~o.valid | (o.payload.kind == Kind.VALUE) & (o.payload.key == 3))
    reads, data, waits = h.dut.read, h.dut.data, Signal()
    with h.m.If(data.valid):
        h.m.d.sync += waits.eq(0)
    with h.m.If(reads.valid & reads.ready):
        h.m.d.sync += waits.eq(1)
    h.assume(~data.valid | waits)
    h.check(answering == (waits | h.inner["there"]))
    h.check(i.ready == ((left == 0) & ~answering))
    h.check(h.dut.read.valid == ((left != 0) & ~answering))
    h.check(~waits | (left != 0))
    h.check(~(waits & h.inner["there"]))
    return h


def receiver(block=Receiver) -> Harness:
    """One VALUE for each READ; offers are kept."""
    h = Harness(block(3, {Space.STATE: 2}))
    i, o = h.dut.i, h.dut.o
    h.obeys(i)
    h.keeps(o)
    reads = h.count(i.valid & i.ready & (i.payload.kind == Kind.READ), 8)
    h.check((h.count(o.valid & o.ready, 8) + o.valid)[:8] == reads)
    h.check(~o.valid | (o.payload.kind == Kind.VALUE) & (o.payload.key == 3))
    return h


def schedule(block=Schedule) -> Harness:
    """A step needs its tokens, the last one stored and room for its spikes, a message a step and its credits; a grant
    follows each step."""
    h = Harness(using(block, Table=Rows)(TOY))
    dut, m, rows = h.dut, h.m, Rows.made[0].rows
    h.keeps(dut.sweeps, dut.grants, dut.messages)
    fires = [s.valid & s.ready for s in (dut.sweeps, dut.messages, dut.grants)]
    state, slot, inner, most = h.inner["fsm_state"], h.inner["slot"], h.inner, TOY.regions
    # in the order in which `elaborate` mentions them
    (read_first, fetch_first, first, settle, choose, read_sweep, read_message, fetch_message, message, fetch_sweep, sweep,
     grant) = range(12)

    def at(*states):
        return sum(state == n for n in states) != 0

    h.check(dut.sweeps.valid == at(sweep))
    swept_next, sent_next = at(read_sweep, fetch_sweep, sweep), at(read_message, fetch_message, message)
    fetches = at(fetch_first, fetch_message, fetch_sweep)
    h.check(~fetches | (Value.cast(Rows.made[0].data) == Value.cast(rows[slot])))
    h.check(~at(choose, read_sweep, fetch_sweep, sweep) | ~inner["taken"][0])  # what is fresh does not change in these
    h.check(~at(read_sweep, fetch_sweep, sweep) | (inner["taken"] == 0))
    h.check(~at(sweep) | (dut.sweeps.payload.fresh == dut.fresh.bit_select(slot, 1)))
    h.check(fetches | at(read_first, settle, choose, read_message, read_sweep) | (inner["row"] == Value.cast(rows[slot])))
    for n in range(TOY.populations):
        row = rows[n]
        begins, flying, ready, sending = (
            Signal(2, name=f"{name}_{n}") for name in ("begins", "flying", "ready", "sending"))
        unsent = flying + ready + sending
        begun, swept, sent = (s.valid & (s.payload == n) for s in (dut.begun, dut.swept, dut.sent))
        sweeps, sends = fires[0] & (dut.sweeps.payload.slot == n), fires[1] & (dut.messages.payload.slot == n)
        h.assume(~begun | (begins == 1))
        h.assume(~swept | (flying + begun > begins))
        h.assume(~sent | (sending != 0))
        h.check(~sweeps | ((unsent < most) & (begins == 0)))
        h.check(~sends | (ready != 0))
        m.d.sync += [begins.eq(begins + sweeps - begun), flying.eq(flying + sweeps - swept),
                     ready.eq(ready + swept - sends), sending.eq(sending + sends - sent)]
        h.check((begins <= 1) & (begins <= flying) & (unsent <= most))
        chosen, over = slot == n, (state >= settle) | (slot > n)
        for tally, count in (("unsent", unsent), ("ready", ready)):
            h.check((inner[f"{tally}.some"][n] == (count != 0)) & (inner[f"{tally}.full"][n] == (count == most)))
        h.check(inner["begins"][n] == (begins != 0))
        h.check(~(swept_next & chosen) | ((unsent < most) & (begins == 0)))
        h.check(~(sent_next & chosen) | (ready != 0))
        for name, paid, taken, next_, what, at_first in (
            ("tokens", dut.token, sweeps, swept_next, row.tokens, row.tokens_first),
            ("credits", dut.credit, sends, sent_next, row.credits, row.credits_first),
        ):
            pays = paid.valid & (paid.payload == n)
            more = Signal(8, name=f"{name}_{n}_more")
            m.d.sync += more.eq(more + Mux(taken, what, 0) - pays)
            due = balance(h, more, at_first, pays)
            h.assume(~what.all())
            h.check(~taken | (due <= 0))
            h.check(due < (1 << TOY.token_bits) - 1)
            h.check(~(next_ & chosen) | (due <= 0))
            # the ledger hears of it a clock late
            at_start = h.past((state == first) & chosen)
            owes = h.past(Mux(taken, what, 0)) + Mux(at_start, at_first, 0)
            left = inner[f"{name}.left_{n}"]
            knows, bits = left - h.past(pays) + owes, len(left)
            h.check(Mux(over, knows, knows + at_first)[:bits] == due[:bits])
            h.check(inner[f"{name}.free"][n] == ((left == 0) | left.all()))
            h.check(over | (unsent == 0))
    h.check(slot < TOY.populations)
    owed = Signal(2)
    m.d.sync += owed.eq(owed + fires[0] - fires[2])
    h.check(owed == (state == grant))
    h.check((owed <= 1) & (~fires[2] | (owed == 1)))
    return h


def emit(block=Emit) -> Harness:
    """What a sweep keeps is sent once, in order, before the STEP that ends it, and so are sweeps; offers are kept."""
    h = Harness(block(TOY))
    i, jobs, o, m = h.dut.i, h.dut.jobs, h.dut.o, h.m
    update, spikes = i.payload.update, i.payload.spikes.as_value()
    h.obeys(jobs)
    h.keeps(o)
    # one row of two groups of one neuron for each slot
    group, sweeping = Signal(1), Signal()
    m.d.sync += [group.eq(group + i.valid), sweeping.eq(i.valid & ~update.last)]
    slot = h.past(update.slot)
    h.assume((update.last == group) & (update.place == group))
    h.assume(~sweeping | (i.valid & (update.slot == slot)))
    h.assume(update.state == Cat(group, update.slot))
    h.assume((jobs.payload.row == jobs.payload.slot) & (jobs.payload.key == jobs.payload.slot))
    for n in range(TOY.populations):
        kept = Array(Signal(2, name=f"kept_{n}_{k}") for k in range(TOY.regions))  # of steps, in turn
        writes, reads = (Signal(range(TOY.regions), name=f"{name}_{n}") for name in ("writes", "reads"))
        ready, sending = Signal(2, name=f"ready_{n}"), Signal(name=f"sending_{n}")
        mine, job = i.valid & (update.slot == n), jobs.valid & (jobs.payload.slot == n)
        out = o.valid & o.ready & (o.payload.key == n)
        step = out & (o.payload.kind == Kind.STEP)
        begun, swept, sent = (s.valid & (s.payload == n) for s in (h.dut.begun, h.dut.swept, h.dut.sent))
        h.assume(~mine | (ready + sending < TOY.regions))
        h.assume(~job | (ready != 0))
        h.check(begun == (mine & ~group))
        h.check(swept == (mine & update.last))
        with m.If(mine):
            m.d.sync += kept[writes].bit_select(group, 1).eq(spikes != 0)
        with m.If(swept):
            m.d.sync += writes.eq(Mux(writes == TOY.regions - 1, 0, writes + 1))
        taken = job & jobs.ready
        m.d.sync += [ready.eq(ready + swept - taken), sending.eq((sending | taken) & ~sent)]
        with m.If(out):
            at, left = o.payload.index[0], kept[reads]
            m.d.sync += kept[reads].bit_select(at, 1).eq(0)
            h.check(sending & (o.payload.index < 2))
            h.check(Mux(step, left == 0, (o.payload.kind == Kind.SPIKE) & left.bit_select(at, 1) & ~(at & left[0])))
        h.check(sent == step)
        with m.If(sent):
            m.d.sync += reads.eq(Mux(reads == TOY.regions - 1, 0, reads + 1))
    return h
