"""What is proven of streams, routers, ledgers and the gate.

Each function puts a block, or a mutant of it, among neighbours that may do anything their contract allows. Packets carry
in their index where they come from and a number (mod 4 or 8, more than a block holds): what comes out must count on.
Assertions about inner signals are the invariants that an induction needs; they are proven with the rest.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal, Value, signed

from aerloom.hdl.gate import Entrance
from aerloom.hdl.ledger import Ledger
from aerloom.hdl.router import Fork, Route, Router, routed
from aerloom.hdl.stream import Buffer, First, Hold, Merge, Queue
from aerloom.models.fabric import Fabric, Kind

from .tools import Harness, Rows, using

__all__ = ["buffer", "entrance", "first", "flow", "fork", "hold", "ledger", "merge", "queue", "route", "router"]

TOY = Fabric(
    "toy", cores=2, lanes=2, update_lanes=1, weight_bits=1, weight_words=2, rows=2, parameter_rows=2, populations=2,
    projections=3, places=1, keys=3, inputs=2, sum_bits=2, state_bits=2, spike_bits=1, refractory_bits=1,
)  # fmt: skip
ROOT = TOY.tree()[0]


def buffer(block=Buffer) -> Harness:
    """Nothing is lost, repeated or overtaken; offers are kept."""
    h = Harness(block(4))
    i, o, full = h.dut.i, h.dut.o, ~h.inner["room"]
    h.obeys(i)
    h.keeps(o)
    sent, seen = h.count(i.valid & i.ready, 2), h.count(o.valid & o.ready, 2)
    h.assume(i.payload[:2] == sent)
    h.check(~o.valid | (o.payload[:2] == seen))
    h.check(~full | (o.valid & (h.inner["spare"][:2] == (seen + 1)[:2])))
    h.check((seen + o.valid + full)[:2] == sent)
    h.check((sent - seen)[:2] != 3)
    return h


def hold(block=Hold) -> Harness:
    """Nothing is lost, repeated or overtaken; offers are kept."""
    h = Harness(block(4))
    i, o = h.dut.i, h.dut.o
    h.obeys(i)
    h.keeps(o)
    sent, seen = h.count(i.valid & i.ready, 2), h.count(o.valid & o.ready, 2)
    h.assume(i.payload[:2] == sent)
    h.check(~o.valid | (o.payload[:2] == seen))
    h.check((seen + o.valid)[:2] == sent)
    return h


def queue(block=Queue) -> Harness:
    """Nothing is lost, repeated or overtaken; offers are kept."""
    h = Harness(block(3, 4))
    i, o = h.dut.i, h.dut.o
    h.obeys(i)
    h.keeps(o)
    sent, seen = h.count(i.valid & i.ready, 3), h.count(o.valid & o.ready, 3)
    h.assume(i.payload == sent)
    h.check(~o.valid | (o.payload == seen))
    h.check((sent - seen)[:3] <= 5)
    return h


def merge(block=Merge, inputs: int = 3) -> Harness:
    """What goes out comes in, at the same time and from one place; offers are kept; others go first once at most."""
    h = Harness(block(4, inputs))
    ins, o = [getattr(h.dut, f"i{n}") for n in range(inputs)], h.dut.o
    front = h.inner["front"]
    h.obeys(*ins)
    h.keeps(o)
    moves = [i.valid & i.ready for i in ins]
    h.check(sum(moves) == (o.valid & o.ready))
    h.check(o.valid == Cat(i.valid for i in ins).any())
    for n, (i, moved) in enumerate(zip(ins, moves, strict=True)):
        h.check(~moved | (i.payload == o.payload))
        others = Signal(3)
        with h.m.If(~i.valid | moved):
            h.m.d.sync += others.eq(0)
        with h.m.Elif(o.valid & o.ready):
            h.m.d.sync += others.eq(others + 1)
        before = Signal(3)  # it in the line
        with h.m.Switch(front):
            for k in range(inputs):
                with h.m.Case(1 << k):
                    h.m.d.comb += before.eq((n - k) % inputs)
        h.check(others < inputs)
        h.check(~i.valid | (others + before < inputs))
    h.check(sum(front[n] for n in range(inputs)) == 1)
    return h


def first(block=First, inputs: int = 3) -> Harness:
    """What goes out came in a clock before, and nothing where there was something before it; offers are kept."""
    h = Harness(block(4, inputs))
    ins, o = [getattr(h.dut, f"i{n}") for n in range(inputs)], h.dut.o
    h.obeys(*ins)
    h.keeps(o)
    moves, waits = [i.valid & i.ready for i in ins], o.valid & ~o.ready
    h.check(sum(moves) == Cat(i.valid for i in ins).any() & ~waits)
    for n, (i, moved) in enumerate(zip(ins, moves, strict=True)):
        h.check(~moved | ~Cat(other.valid for other in ins[:n]).any())
        h.check(~h.past(moved) | (o.valid & (o.payload == h.past(i.payload))))
    h.check(o.valid == (h.past(sum(moves) != 0) | h.past(waits)))
    return h


def fork(block=Fork, ports: int = 3) -> Harness:
    """Every port gets its packet once; offers are kept; a packet that all can take passes at once."""
    h = Harness(block(ports + 1, range(ports)))  # of another port it knows nothing
    i, outs, m = h.dut.i, [getattr(h.dut, f"o{n}") for n in range(ports)], h.m
    h.obeys(i)
    h.keeps(*outs)
    moves = i.valid & i.ready
    for n, o in enumerate(outs):
        took, has = o.valid & o.ready, Signal(name=f"has_{n}")  # it has the packet already
        m.d.sync += has.eq((has | took) & ~moves)
        h.check(~o.valid | (i.valid & i.payload.ports[n] & ~has & (o.payload == i.payload.packet)))
        h.check(~moves | (i.payload.ports[n] == (has | took)))
        h.check(has == h.inner["done"][n])
        h.check(~has | (i.valid & i.payload.ports[n]))
    h.check(~Cat(o.ready for o in outs).all() | i.ready)
    return h


def ways(packet, row, above: bool) -> Value:
    """The ports that a packet leaves the root by, from the contract of :class:`Route`; the last one is the root itself."""
    spread = (packet.kind == Kind.SPIKE) | (packet.kind == Kind.STEP)
    by_node = Cat(0, packet.key == 0, packet.key == 1, packet.key == ROOT.node)
    return Mux(spread, row.listeners, Mux(packet.kind == Kind.CREDIT, (1 << row.home)[:4], by_node if above else 1))[:4]


def known(h: Harness, packet, rows) -> None:
    """Assume that keys exist: the gate sees to it."""
    h.assume(packet.key < TOY.keys)
    for row in rows:
        h.assume(row.home < ROOT.ports)


def route(block=Route, above: bool = True) -> Harness:
    """Every packet leaves once, in order, by the ports that its key or node means; offers are kept."""
    h = Harness(using(block, Table=Rows)(TOY, ROOT, above))
    i, o, rows = h.dut.i, h.dut.o, Rows.made[0].rows
    known(h, i.payload, rows)
    h.obeys(i)
    h.keeps(o)
    sent, seen = h.count(i.valid & i.ready, 2), h.count(o.valid & o.ready, 2)
    h.assume(i.payload.index[:2] == sent)
    packet = o.payload.packet
    h.check(~o.valid | ((packet.index[:2] == seen) & (packet.key < TOY.keys)))
    h.check((seen + o.valid)[:2] == sent)
    h.check(~o.valid | (o.payload.ports == ways(packet, rows[packet.key], above)))
    return h


def router(block=Router, route=Route, watched: int = 2) -> Harness:
    """Of the packets from each port to port ``watched`` none is lost, repeated or overtaken, and no other comes there."""
    h = Harness(using(block, Route=using(route, Table=Rows))(TOY, ROOT))
    ins, outs = ([getattr(h.dut, f"{side}{n}") for n in range(ROOT.ports)] for side in "io")
    h.obeys(*ins)
    h.keeps(*outs)
    o, inner = outs[watched], h.inner
    merges = [f"merge_{n}" for n in range(ROOT.ports)]
    h.check(Cat(sum(inner[f"{name}.front"]) == 1 for name in merges).all())
    h.check(~o.valid | (o.payload.index[:2] != 3))
    for n, i in enumerate(ins):
        rows = Rows.made[n].rows
        known(h, i.payload, rows)
        h.assume(i.payload.index[:2] == n)
        there_is = (n > 0) | (watched > 0)  # nothing that came down goes up
        meant = ways(i.payload, rows[i.payload.key], n == 0)[watched] & there_is
        sent = h.count(i.valid & i.ready & meant, 3)
        leaves = o.valid & (o.payload.index[:2] == n)
        seen = h.count(leaves & o.ready, 3)
        h.assume(~meant | (i.payload.index[2:5] == sent))
        h.check(~leaves | (o.payload.index[2:5] == seen))
        full, done = ~inner[f"buffer_{n}.room"], inner[f"fork_{n}.done"]
        number = seen
        places = [(inner[f"{place}.{what}"], there) for place, what, there in (  # the first to leave comes first
            (f"buffer_{n}", "o__payload", inner[f"buffer_{n}.o__valid"]), (f"buffer_{n}", "spare", full),
            (f"route_{n}", "o__payload", inner[f"route_{n}.o__valid"]))]
        for k, (payload, there) in enumerate(places):
            it = routed(ROOT.ports + 1)(payload)
            has = done[watched - (n == 0)] if there_is else 0
            packet, waits = it.packet, there & it.ports[watched] & there_is & (~has if k == 0 else 1)
            h.check(~waits | (packet.index[2:5] == number[:3]))
            h.check(~there | ((packet.index[:2] == n) & (packet.key < TOY.keys)))
            h.check(~there | (it.ports == ways(packet, rows[packet.key], n == 0)))
            number = number + waits
        h.check(number[:3] == sent)
        h.check(~full | places[0][1])
        h.check((done == 0) | places[0][1])
    return h


def flow(block=Router, route=Route) -> Harness:
    """While those behind take what they get, a packet waits for one from each other port at most."""
    h = Harness(using(block, Route=using(route, Table=Rows))(TOY, ROOT))
    ins, outs = ([getattr(h.dut, f"{side}{n}") for n in range(ROOT.ports)] for side in "io")
    for n, (i, o) in enumerate(zip(ins, outs, strict=True)):
        h.obeys(i)
        h.assume(o.ready)
        known(h, i.payload, Rows.made[n].rows)
        waits = Signal(4)
        h.m.d.sync += waits.eq(Mux(i.valid & ~i.ready, waits + 1, 0))
        h.check(waits < ROOT.ports)
    return h


def ledger(block=Ledger, slots: int = 2, bits: int = 3) -> Harness:
    """A slot is free when what it owes is paid, or one more, as long as it owes less than the counter holds."""
    h = Harness(block(slots, bits))
    for slot in range(slots):
        paid, owed, begun = h.dut.paid[slot], h.dut.owed[slot], Signal(name=f"begun_{slot}")
        h.m.d.sync += begun.eq(begun | owed)
        due = Signal(8, name=f"due_{slot}")  # signed, as it may be paid before
        h.m.d.sync += due.eq(due + Mux(owed, h.dut.less + 1, 0) - paid)
        h.assume(begun | (due == 0) | (due >= 0xF9))
        h.assume(~begun | (due < (1 << bits) - 1) | (due == 0xFF))
        h.check(~begun | (h.dut.free[slot] == ((due == 0) | (due == 0xFF))))
        h.check(h.inner[f"left_{slot}"] == due[:bits])
    return h


def balance(h, more, first, paid):
    """What a slot waits for, where it waits for ``more`` than for its ``first`` step; -1 where one is paid in advance, and
    nobody pays two."""
    due = Signal(signed(9), name=f"{more.name}_due")
    h.m.d.comb += due.eq(more.as_signed() + Mux(first.all(), -1, first))
    h.assume(~paid | (due >= 0))
    return due


def entrance(block=Entrance) -> Harness:
    """A packet goes one way or is told to be a stray; SPIKE and STEP pass when every credit of the step is paid."""
    h = Harness(using(block, Table=Rows)(TOY))
    i, o, own, rows, inner = h.dut.i, h.dut.o, h.dut.own, Rows.made[0].rows, h.inner
    state, key = inner["fsm_state"], inner["key"]
    _, first, passing, fetch_step, owe = range(5)  # in the order in which `elaborate` mentions them
    h.obeys(i)
    h.keeps(o, own)
    went = [s.valid & s.ready for s in (o, own)]
    h.check(sum(went) + h.dut.stray == (i.valid & i.ready))
    for s in (o, own):
        h.check(~s.valid | (s.payload == i.payload))
    packet, passes = o.payload, (o.payload.kind == Kind.SPIKE) | (o.payload.kind == Kind.STEP)
    h.check(h.dut.started == (o.valid & o.ready & passes))
    h.check(state <= owe)
    for n in range(TOY.inputs):
        row = rows[n]
        paid = h.dut.credit.valid & (h.dut.credit.payload == n)
        step = o.valid & o.ready & (packet.kind == Kind.STEP) & (packet.key == n)
        more = Signal(8, name=f"more_{n}")
        h.m.d.sync += more.eq(more + Mux(step, row.credits, 0) - paid)
        due = balance(h, more, row.credits_first, paid)
        h.assume(~row.credits.all())
        h.check(~(o.valid & passes & (packet.key == n)) | (row.known & (due <= 0)))
        begun = (state >= passing) | (key > n)
        pending = ((state == fetch_step) | (state == owe)) & (key == n)
        left = inner[f"credits.left_{n}"]
        owes = Mux(begun, left + Mux(pending, row.credits, 0), left + row.credits_first)
        h.check(owes[: len(left)] == due[: len(left)])
        h.check(inner["credits.free"][n] == ((left == 0) | left.all()))
        h.check(due < (1 << TOY.token_bits) - 1)
        h.check(~begun | (inner["known"][n] == row.known))
    h.check(~(o.valid & passes) | (packet.key < TOY.inputs))
    h.check((state < passing) | (key <= TOY.inputs))
    h.check(((state != owe) & (state != first)) | (Value.cast(Rows.made[0].data) == Value.cast(rows[key])))
    h.check((state >= passing) | (key < TOY.inputs))
    return h
