"""The control of a chip, clock by clock, without any of its data: who waits for whom, and for how long.

Each function here computes what one component of :mod:`aerloom.hdl` does in a clock with the valid and ready signals of its
streams. Weights, sums and membranes are not there: which spikes there are is known beforehand. Two-register buffers
(:class:`aerloom.hdl.stream.Buffer`) stand between components, so that within a clock their order does not matter; what
crosses them is a packet in one integer. Compiled by numba where it is installed, and in one file because of that: what it
compiled and keeps, callees inside, it compiles again when this file changes, and not when another does.
"""

from __future__ import annotations

from typing import Any

from ..models.fabric import Kind
from ..models.fast import compiled

SPIKE, STEP, CREDIT = int(Kind.SPIKE), int(Kind.STEP), int(Kind.CREDIT)
KEY, INDEX = 3, 13  #: first bits of a packet's key and index
KEYS = (1 << INDEX - KEY) - 1
STALE, SLOT, WORDS = 3, 4, 16  #: first bits of a visit's fields; its lowest bits are the kind
#: states of Schedule
READ_FIRST, FETCH_FIRST, FIRST, CHOOSE = range(4)
READ_MESSAGE, FETCH_MESSAGE, MESSAGE, READ_SWEEP, FETCH_SWEEP, SWEEP, GRANT, SETTLE = range(4, 12)
FETCH_GATE, FIRST_STEP, FETCH_STEP, OWE, PASS = range(5)  #: states of Entrance
UP, CORE = -1, -2  #: where a router's port leads, if not to another router: to the host; CORE − n: to core n
FOREVER = 1 << 60


@compiled
def turn(offers: int, last: int, held: int, inputs: int) -> int:
    """Computes :class:`aerloom.hdl.stream.Merge`: whose turn it is, of those whose bit is set in ``offers``."""
    if not held:
        for d in range(1, inputs):
            n = last + d - inputs if last + d >= inputs else last + d
            if offers >> n & 1:
                return n
    return last


@compiled
def buffers(b: Any) -> int:
    """The clock edge of all buffers; how many packets moved."""
    moved = 0
    for n in range(len(b.valid)):
        moved += (b.came[n] != 0 and not b.full[n]) or (b.goes[n] and b.valid[n])
        if not b.valid[n] or b.goes[n]:
            if b.full[n]:
                b.data[n], b.valid[n] = b.spare[n], 1
            else:
                b.data[n], b.valid[n] = b.came[n], b.came[n] != 0
            b.full[n] = 0
        elif b.came[n] and not b.full[n]:
            b.spare[n], b.full[n] = b.came[n], 1
        b.came[n] = b.goes[n] = 0
    return moved


@compiled
def enter(p: Any, b: Any) -> None:
    """The first half of all routers, :class:`aerloom.hdl.router.Route`: packets go on into the Buffer behind it, and those
    that wait at the exits of cores come in."""
    for n in range(len(p.ports)):
        for i in range(p.ports[n]):
            at, source = p.into[n, i], p.hears[n, i]
            behind = at + p.into.size
            if b.valid[at] and not b.full[behind]:
                b.came[behind], b.goes[at] = b.data[at], 1
            if source >= 0 and b.valid[source] and (not b.valid[at] or b.goes[at]):
                b.came[at], b.goes[source] = b.data[source], 1


@compiled
def route(n: int, p: Any, b: Any, s: Any, r: Any) -> int:
    """Computes the second half of :class:`aerloom.hdl.router.Router`, from the Buffers on; whether a packet leaves."""
    ports, left = p.ports[n], 0
    wants = 0  # three bits of ports for each input
    for i in range(ports):
        at = p.into[n, i] + p.into.size
        if b.valid[at]:
            key = b.data[at] >> KEY & KEYS
            mask = 1 << p.way_home[n, key] if b.data[at] & 7 == CREDIT else p.listeners[n, key]
            if ports == 2 and i == 0:  # Descent
                mask = 0b10
            wants |= (mask & ~r.done[n, i]) << 3 * i
    for o in range(ports):
        offers = 0
        for i in range(ports):
            offers |= (wants >> 3 * i + o & 1) << i
        who = turn(offers, r.last[n, o], r.held[n, o], ports)
        to, valid = p.out[n, o], offers >> who & 1
        if to <= CORE:
            free = s.takes[CORE - to] != 0
        elif to == UP:  # to where the host takes one in every clock
            free = True
        else:
            free = not b.valid[to] or b.goes[to] != 0
        if valid and free:
            packet = b.data[p.into[n, who] + p.into.size]
            if to <= CORE:
                arrive(CORE - to, p, b, s, packet)
            else:  # the last one is the host's
                b.came[to] = packet
            wants &= ~(1 << 3 * who + o)
            r.done[n, who] |= 1 << o
            left = 1
        r.held[n, o], r.last[n, o] = valid and not free, who
    for i in range(ports):
        at = p.into[n, i] + p.into.size
        if b.valid[at] and not wants >> 3 * i & 7:  # every port has it
            b.goes[at], r.done[n, i], left = 1, 0, 1
    return left


@compiled
def arrive(c: int, p: Any, b: Any, s: Any, packet: int) -> None:
    """A packet that a router has for a core."""
    if p.sizes[6]:
        end, room = s.queue_at[c] + s.queued[c], s.waiting.shape[1]
        s.waiting[c, end if end < room else end - room] = packet
        s.queued[c] += 1
    else:
        hand(c, p, b, s, packet)


@compiled
def hand(c: int, p: Any, b: Any, s: Any, packet: int) -> None:
    """A packet for the Buffer at a core's entry or, where there is none, for Lookup."""
    if p.sizes[8]:
        b.came[p.entry[c]] = packet
    else:
        s.key[c] = packet


@compiled
def queue(c: int, p: Any, b: Any, s: Any) -> int:
    """Computes :class:`aerloom.hdl.stream.Queue`, where there is one in front of a core; whether a packet moves. After
    :func:`core`: ``s.takes`` says whether the core takes one, and from here on whether the queue does."""
    if not p.sizes[6]:
        return False
    free, moves = s.takes[c], s.offered[c] and s.takes[c]
    reads = s.queued[c] != 0 and (free or not s.offered[c])
    s.takes[c] = s.queued[c] != s.waiting.shape[1]
    if moves:
        hand(c, p, b, s, s.offered[c])
        s.offered[c] = 0
    if reads:
        s.offered[c] = s.waiting[c, s.queue_at[c]]
        s.queue_at[c] = s.queue_at[c] + 1 if s.queue_at[c] + 1 < s.waiting.shape[1] else 0
        s.queued[c] -= 1
    return reads or moves


@compiled
def walk(c: int, p: Any, s: Any, visit: int) -> int:
    """Computes :class:`aerloom.hdl.walk.Walk`; 1 if the visit is taken in this clock, and 2 more if a sweep begins."""
    if s.clearing[c]:
        s.clearing[c] -= 1
        return 0
    begins = 2 if not s.sweeping[c] and s.state[c] == SWEEP and not s.walked[c] else 0
    if s.sweeping[c]:
        held = not aside(c, p, s, visit)
        if s.waits[c]:
            s.waits[c] -= 1
        else:
            slot = s.swept_slot[c]
            if s.sweeping[c] == p.groups[c, slot]:
                s.begun[c, (s.at[c] - 1) % s.begun.shape[1]] = slot + 1
                s.flying[c] += 1
            s.sweeping[c] -= 1
            if not s.sweeping[c]:
                at = (s.at[c] - 1 - p.tail[c, slot]) % s.under_way.shape[1]
                s.under_way[c, at] = slot + 1
                s.flying[c] += 1
        if held:
            return 0
    if not visit:
        return begins
    kind = visit & 7
    if kind == STEP and p.ahead[c, visit >> SLOT & 0xFFF]:
        s.coming[c, visit >> SLOT & 0xFFF] ^= 1
    if kind == SPIKE and visit >> WORDS:
        s.adding[c] += 1 - (visit >> STALE & 1)
        s.walked[c] += 1
        if s.walked[c] < visit >> WORDS:
            return begins
        s.walked[c] = 0
    return begins | 1


@compiled
def aside(c: int, p: Any, s: Any, visit: int) -> bool:
    """Whether a visit may go on while a sweep is under way: its sums are others, and the sweep has no use for them now."""
    if not visit:
        return False
    pace, groups, slot, swept = p.sizes[9], p.sizes[10], visit >> SLOT & 0xFFF, s.swept_slot[c]
    gone = 0 if s.waits[c] else p.groups[c, swept] - s.sweeping[c]  # clocks of the sweep
    if pace == 1:
        row, clock = divmod(gone, max(groups, 2))
        works, read = clock < 2, clock > 0 and row == (p.groups[c, swept] - 1) // max(groups, 2)
    else:
        group, clock = divmod(gone, pace)
        ends = (group + 1) % groups == 0 or s.sweeping[c] == 1
        works, read = clock == 0 or (ends and clock == pace - 1), False
    if works and not s.waits[c]:
        return False
    return read or slot != swept or s.coming[c, slot] != s.goes[c]


@compiled
def lookup(c: int, p: Any, b: Any, s: Any, ready: int) -> int:
    """Computes :class:`aerloom.hdl.lookup.Lookup`; the visit that it finds and is ``ready`` for, or 0."""
    packet, visit = s.key[c], 0
    key, is_credit = packet >> KEY & KEYS, packet & 7 == CREDIT
    some = p.home[c, key] >= 0 if is_credit else p.projections[c, key] > 0
    moves = packet != 0 and (ready or not some)
    last = is_credit or not some or s.done[c] + 1 == p.projections[c, key]
    if moves:
        if some:
            visit = (CREDIT | p.home[c, key] << SLOT if is_credit
                     else visit_of(c, p, s, packet, p.first[c, key] + s.done[c]))
        s.done[c] = 0 if last else s.done[c] + 1
    at, takes = p.entry[c], packet == 0 or (moves and last)
    s.takes[c] = not b.full[at] if p.sizes[8] else takes
    if takes:
        b.goes[at] = 1
        s.key[c] = b.data[at] if b.valid[at] else 0
    return int(visit)


@compiled
def visit_of(c: int, p: Any, s: Any, packet: int, at: int) -> int:
    """Computes :class:`aerloom.hdl.locate.Locate` for a spike or a step, and projection ``at``."""
    kind, slot = packet & 7, p.target[c, at]
    words = p.words[p.costs[c, at] + (packet >> INDEX)] if kind == SPIKE else 0
    return int(kind | (p.late[c, at] & s.fresh[c, slot]) << STALE | slot << SLOT | words << WORDS)


@compiled
def schedule(c: int, p: Any, e: Any, s: Any, sweeps: int, jobs_ready: int, grants_ready: int) -> int:
    """Computes :class:`aerloom.hdl.schedule.Schedule`, but for what comes in; 1 if it starts a message, 2 for grants."""
    slots, state, slot = p.sizes[0], s.state[c], s.slot[c]
    if state in (READ_FIRST, FETCH_FIRST, READ_MESSAGE, FETCH_MESSAGE, READ_SWEEP, FETCH_SWEEP):
        s.state[c] += 1
    elif state == FIRST:
        s.tokens[c, slot] += p.tokens_first[c, slot] - 1
        s.credits[c, slot] += p.credits_first[c, slot] - 1
        s.slot[c] = slot + 1 if slot + 1 < slots else 0
        s.state[c] = READ_FIRST if slot + 1 < slots else CHOOSE
    elif state == CHOOSE:
        for n in range(slots):
            if jobs_ready and s.credits[c, n] <= 0 and s.ready[c, n]:
                s.slot[c], s.state[c] = n, READ_MESSAGE
                return 0
        for n in range(slots):
            if s.tokens[c, n] <= 0 and s.settled[c, n] and s.unsent[c, n] < p.sizes[11]:
                s.slot[c], s.state[c] = n, READ_SWEEP
                return 0
    elif state == MESSAGE:
        if jobs_ready:
            s.credits[c, slot] += p.credits[c, slot]
            s.ready[c, slot] -= 1
            s.state[c] = SETTLE
            return 1
    elif state == SWEEP:
        if sweeps:
            s.tokens[c, slot] += p.tokens[c, slot]
            s.taken[c, slot] += 1
            over = s.taken[c, slot] == e.steps[0]
            if over:
                s.taken[c, slot] = 0
            s.fresh[c, slot] = over
            s.unsent[c, slot] += 1
            s.settled[c, slot] = 0
            s.goes[c] = s.going[c, slot]
            s.going[c, slot] ^= p.ahead[c, slot]
            s.sweeping[c], s.swept_slot[c], s.waits[c] = p.groups[c, slot], slot, p.sizes[4]
            s.state[c] = GRANT
    elif state == SETTLE:
        s.state[c] = CHOOSE
    elif grants_ready:
        s.state[c] = CHOOSE
        return 2
    return 0


@compiled
def emit(c: int, p: Any, e: Any, s: Any, taken: int, job: int) -> int:
    """Computes the sending half of :class:`aerloom.hdl.emit.Emit`; a slot + 1 if all of its message is sent, else −1 if
    it reads on."""
    more, there, ahead = s.more[c], s.there[c], s.ahead[c]
    take = ahead and not s.final[c] and (more == 0 or (taken and more == 1))
    pull = there and (take or not ahead)
    if more and taken:
        s.more[c] -= 1
        s.next_spike[c] += 1
    elif taken:
        s.busy[c] = s.final[c] = s.there[c] = s.ahead[c] = 0
        return int(s.sender[c] + 1)
    if take:
        s.more[c] = e.sizes[s.next_group[c]]
        s.next_group[c] += 1
        s.final[c] = s.next_group[c] == s.end[c]
    s.ahead[c] = pull or (ahead and not take)
    if job >= 0:
        part, step = p.part[c, job], s.step[c, job]
        s.busy[c], s.sender[c], s.there[c] = 1, job, 1
        s.next_group[c], s.next_spike[c] = e.group[part, step], e.spike[part, step]
        s.end[c] = e.group[part, step + 1]
        s.step[c, job] += 1
    return -1 if take or pull else 0


@compiled
def creditor(c: int, p: Any, s: Any, taken: int, slot: int) -> int:
    """Computes :class:`aerloom.hdl.emit.Creditor`; whether it has a new credit. ``slot``: whose sources are to have some,
    or −1."""
    more = False
    if not s.grant[c] or taken:
        s.grant[c] = 0
        more = s.granting[c] != 0
        if more:
            s.grant[c] = CREDIT | p.grants[c, s.granted[c]] << KEY
            s.granted[c] += 1
            s.granting[c] -= 1
    if slot >= 0:
        s.granted[c], s.granting[c] = p.sources[c, slot], p.source_count[c, slot]
    return more


@compiled
def core(c: int, p: Any, e: Any, b: Any, s: Any) -> int:
    """Computes :class:`aerloom.hdl.core.Core`; whether anything happens but rows that are counted."""
    # what leaves: Emit, Creditor, First
    more = s.more[c]
    sends = more != 0 or s.final[c] != 0
    credits = s.grant[c] != 0
    at = p.exit[c]
    free = not b.valid[at] or b.goes[at] != 0
    if (sends or credits) and free:
        key = p.key[c, s.sender[c]] << KEY
        b.came[at] = (s.grant[c] if credits else
                      SPIKE | key | e.indices[s.next_spike[c]] << INDEX if more else STEP | key)

    # what comes in: from the walk back to the entry
    visit, slot = s.arrived[c], s.slot[c]
    cleared = s.clearing[c] == 1
    walks = walk(c, p, s, visit)
    taken, tabled, room = not visit or walks & 1, p.sizes[12], s.spare[c] == 0
    moves, came = room if tabled else taken, s.visits[c, s.head[c]]
    happens = cleared or s.flying[c] != 0 or walks & 1 != 0
    packet = s.key[c]
    found = lookup(c, p, b, s, room)
    if tabled:  # the Buffer is behind the tables
        entering = found
        if taken:
            s.arrived[c], s.spare[c] = came if moves else s.spare[c], 0
        elif room:
            s.spare[c] = came
    else:
        entering = s.found[c]
        if moves:
            s.arrived[c] = came
        if moves or not entering:
            s.found[c], s.spare[c] = found if room else s.spare[c], 0
        elif room:
            s.spare[c] = found
    if moves:
        happens |= s.filled[c] != 0 or entering != 0
        s.visits[c, s.head[c]] = entering
        s.filled[c] += (1 if entering else 0) - (1 if came else 0)
        s.head[c] = s.head[c] + 1 if s.head[c] + 1 < s.visits.shape[1] else 0
    happens |= found != 0 or s.key[c] != packet

    # steps
    state = s.state[c]
    jobs_ready, grants_ready = not s.busy[c], s.granting[c] == 0
    started = schedule(c, p, e, s, walks & 2, jobs_ready, grants_ready)
    sent = emit(c, p, e, s, sends and free and not credits, slot if started == 1 else -1)
    happens |= creditor(c, p, s, credits and free, slot if started == 2 else -1)
    happens |= sent != 0 or state != s.state[c] or s.paid[c] != 0
    into = s.paid[c] >> SLOT & 0xFFF  # a clock late
    if s.paid[c] & 7 == STEP:
        s.tokens[c, into] -= 1
    elif s.paid[c] & 7 == CREDIT:
        s.credits[c, into] -= 1
    s.paid[c] = visit if walks & 1 and visit & 7 != SPIKE else 0
    swept = s.under_way[c, s.at[c]]
    if swept:
        s.ready[c, swept - 1] += 1
        s.under_way[c, s.at[c]] = 0
        s.flying[c] -= 1
    begun = s.begun[c, s.at[c]]
    if begun:
        s.settled[c, begun - 1] = 1
        s.begun[c, s.at[c]] = 0
        s.flying[c] -= 1
    s.at[c] = s.at[c] + 1 if s.at[c] + 1 < s.under_way.shape[1] else 0
    if sent > 0:
        s.unsent[c, sent - 1] -= 1
    return happens


@compiled
def counting(c: int, p: Any, s: Any) -> int:
    """For how many clocks a core that only counts rows goes on with that; more than a run has if it does not count."""
    if s.clearing[c]:
        return int(s.clearing[c])
    if s.sweeping[c]:
        if s.arrived[c]:
            return 0
        return int(s.waits[c] if s.waits[c] else s.sweeping[c] - 1)
    if s.walked[c]:
        return int((s.arrived[c] >> WORDS) - s.walked[c] - 1)
    return FOREVER


@compiled
def count(c: int, s: Any, clocks: int) -> None:
    """So many clocks of that."""
    if s.clearing[c]:
        s.clearing[c] -= clocks
    elif s.sweeping[c]:
        if s.waits[c]:
            s.waits[c] -= clocks
        else:
            s.sweeping[c] -= clocks
    elif s.walked[c]:
        s.walked[c] += clocks
        s.adding[c] += clocks * (1 - (s.arrived[c] >> STALE & 1))


@compiled
def run(p: Any, e: Any, b: Any, s: Any, r: Any, gate: Any, ends: Any, watched: int) -> int:
    """From a reset until the host has heard ``watched`` STEPs: ``ends`` (keys, steps) takes their stamps. Returns the
    clock cycles, or −1 if nothing can happen any more before that.

    ``gate`` (I + K) is for :class:`aerloom.hdl.gate.Entrance`: what inputs wait for, 1 each before; then STEPs heard, 0.
    """
    inputs, direct = p.sizes[1], p.ports[0] == 2  # one core hears the host at once
    root = p.into[0, 0] + (p.into.size if direct else 0)
    state, at, sent, now, heard = FETCH_GATE, 0, 0, 0, 0
    told = p.sizes[5]  # packets of the host's that come before its spikes
    while heard < watched:
        enter(p, b)
        # Entrance
        packet = e.host[sent] if state == PASS and not told and sent < len(e.host) else 0
        key = packet >> KEY & KEYS
        if gate[key] > 0:
            packet = 0
        if direct:
            b.valid[root], b.data[root] = packet != 0, packet
        elif not b.valid[root] or b.goes[root]:
            b.came[root] = packet

        happens = state != PASS or told > 0
        for c in range(len(p.entry)):
            happens |= core(c, p, e, b, s) != 0
            happens |= queue(c, p, b, s) != 0
        for n in range(len(p.ports)):
            happens |= route(n, p, b, s, r) != 0

        entered = packet != 0 and (b.goes[root] if direct else b.came[root]) != 0
        if state == FETCH_GATE:
            state = FIRST_STEP
        elif state == FIRST_STEP:
            gate[at] += p.gates[at, 1] - 1
            at += 1
            state = FETCH_GATE if at < inputs else PASS
        elif state == FETCH_STEP:
            state = OWE
        elif state == OWE:
            gate[at] += p.gates[at, 0]
            state = PASS
        elif told:
            told -= 1
        elif entered and packet & 7 == STEP:
            at, state = key, FETCH_STEP
        if entered:
            sent += 1
            happens = True

        # what comes out: credits for the host's populations, and packets for the host
        packet, b.came[UP] = b.came[UP], 0
        key = packet >> KEY & KEYS
        if packet & 7 == CREDIT:
            gate[key] -= 1
        elif packet & 7 == STEP:
            ends[key, gate[inputs + key]] = now
            gate[inputs + key] += 1
            heard += 1
        if now or entered:
            now += 1

        happens |= buffers(b) != 0
        if not happens:  # nor will anything until a core has counted its rows
            clocks = FOREVER
            for c in range(len(p.entry)):
                clocks = min(clocks, counting(c, p, s))
            if clocks == FOREVER:
                return -1
            for c in range(len(p.entry)):
                count(c, s, clocks)
            if now:
                now += clocks
    return now
