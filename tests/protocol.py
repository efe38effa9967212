"""The protocol of tokens and credits as a state machine; :mod:`tests.formal.search` goes through everything it can do.

What a chip is loaded with is read from the very packets that load it. What it does with them is here once more, in the
words of the hardware and without its clock: any unit that can go on may be the next to do so, so that every order in which
arbiters, pipelines and a slow host let things happen is among those searched.

::

    host ─► Entrance ─► queue ─► Router ═╪═► queue ─► Walk ─► Ledgers ─► Schedule ─┬─► Emit ────┬─► queue ─► Router …
            (credits)                    └─► host     (one arrival at a time)      └─► Creditor ┘

======================  ===============================================================================
here                    hardware
======================  ===============================================================================
``credits``             ``left`` of the Ledgers of Entrance (keys of inputs) and of Schedule
``tokens``              ``left`` of Schedule's other Ledger
``unsent``, ``ready``   the Tallies of Schedule
``held``, ``grants``    Schedule in GRANT; what Creditor has still to send
``emit``                ``busy`` of Emit, and its message
``queues``, ``done``    Buffers; ``done`` of Fork at a router's, ``k_done`` of Lookup at a core's
``taken``               (none: steps taken, with which the search checks what arrives)
======================  ===============================================================================

A sweep and its grant are apart, as Schedule is; sending one spike stands for sending any number of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from aerloom.models.fabric import CHIP, PACKET, SPACE, Kind, Space, route_record
from aerloom.models.place import Placement

NOBODY = -1
#: What can be wrong with the protocol, for the search to find
BUGS = ("no first token", "credit for a token", "emit before credit", "deaf while sending", "wrong order")


class Trouble(Exception):
    """Something happened that must not."""


class State(NamedTuple):
    """All that the chip and its host remember. By key, but ``queues`` and ``done`` by queue, the last three by core."""

    at: int  # which input the host sends next, in its order
    spiked: bool  # it has sent a spike of it
    credits: tuple[int, ...]
    tokens: tuple[int, ...]
    unsent: tuple[int, ...]
    ready: tuple[int, ...]
    taken: tuple[int, ...]  # from the least of them on, so that there is no end to time
    queues: tuple[tuple[tuple[int, int, int], ...], ...]  # kind, key, step
    done: tuple[int, ...]
    emit: tuple[tuple[int, bool], ...]  # key, has sent a spike
    grants: tuple[tuple[int, ...], ...]
    held: tuple[int, ...]


def put(values: tuple[Any, ...], n: int, value: Any) -> tuple[Any, ...]:
    """The same, but for place ``n``."""
    return (*values[:n], value, *values[n + 1 :])


class Chip:
    """A chip with a network, and queues of ``depth`` packets; in front of cores of those more that the Fabric has."""

    def __init__(self, placement: Placement, depth: int, spikes: bool = True, bug: str = "") -> None:
        self.depth, self.bug, fabric = depth, bug, placement.fabric
        self.regions = fabric.regions
        self.longer = depth + (fabric.queue and fabric.queue + 1)
        memory = memories(placement)

        def table(node: int, space: Space, record: Any) -> list[dict[str, int]]:
            chunks, n = memory[node, space], record.chunks
            words = [chunks[i : i + n] for i in range(0, len(chunks), n)]
            return [record.unpack(sum(c << 16 * k for k, c in enumerate(word))) for word in words]

        gates = table(CHIP, Space.GATES, fabric.gate_record)
        self.order = [n for n, row in enumerate(gates) if row["known"]]
        self.silent = {p.key for p in placement.parts if not (spikes and p.size)}
        self.most = (1 << fabric.token_bits) - 2
        keys = range(len(placement.parts))
        self.core, self.into, self.out, self.sources = ({} for _ in range(4))  # by key
        self.links: list[dict[int, list[tuple[int, int, int]]]] = []  # by core: key → targets, late, ahead
        first_tokens, first_credits = [0] * len(keys), [0] * len(keys)
        for n in self.order:
            self.out[n], first_credits[n] = gates[n]["credits"], self._first(gates[n]["credits_first"])
        for c in range(fabric.cores):
            key_rows, rows, links, sources = (table(c, space, record) for space, record in (
                (Space.KEYS, fabric.key_record), (Space.POPULATIONS, fabric.population_record),
                (Space.PROJECTIONS, fabric.projection_record), (Space.SOURCES, fabric.source_record)))
            for key in keys:
                if key_rows[key]["home"]:
                    row = rows[key_rows[key]["slot"]]
                    self.core[key], self.into[key], self.out[key] = c, row["tokens"], row["credits"]
                    first_tokens[key], first_credits[key] = row["tokens_first"], self._first(row["credits_first"])
                    self.sources[key] = tuple(s["key"] for s in sources[row["sources"] :][: row["source_count"]])
                    if bug == "no first token":
                        first_tokens[key] = row["tokens"]
            home = {key_rows[key]["slot"]: key for key in keys if key_rows[key]["home"]}
            self.links.append({
                key: [(home[q["slot"]], q["late"], q.get("ahead", 0))
                      for q in links[row["first"] : row["first"] + row["heard"] * (row["more"] + 1)]]
                for key, row in zip(keys, key_rows, strict=False)
            })
        if bug == "wrong order":
            self.order.reverse()

        # queues: in front of each core, then of each router's ports; where a router's ports lead
        self.queue: dict[tuple[int, int], int] = {(c, 0): c for c in range(fabric.cores)}
        self.routers: list[tuple[int, int, list[dict[str, int]]]] = []  # queue, node, ROUTES
        self.leads: dict[tuple[int, int], int] = {}
        for router in fabric.tree():
            routes = table(router.node, Space.ROUTES, route_record(router.ports))
            for port in range(router.ports):
                q = self.queue[router.node, port] = len(self.queue)
                self.routers.append((q, router.node, routes))
        for router in fabric.tree():
            for port, branch in enumerate(router.branches, 1):
                first, last = branch.cores
                below = (first, 0) if last - first == 1 else (branch.routers[0], 0)
                self.leads[router.node, port] = self.queue[below]
                self.leads[below] = self.queue[router.node, port]
        self.root, cores, zeros = fabric.cores, fabric.cores, (0,) * len(keys)
        self.start = State(0, False, tuple(first_credits), tuple(first_tokens), zeros, zeros, zeros,
                           ((),) * len(self.queue), (0,) * len(self.queue), ((NOBODY, False),) * cores, ((),) * cores,
                           (NOBODY,) * cores)

    def _first(self, credits: int) -> int:
        """All bits set are one in advance."""
        return -1 if credits > self.most else credits

    # --- what may happen next; each is named by whoever takes a step, for the search, and by what happens, for its reader

    def moves(self, s: State, every: bool = True) -> Iterator[tuple[int, str, State]]:
        """Name of who takes a step, if anyone does, what happens, and what comes of it.

        Without ``every``, only one where there is one that moves a packet on, that nearest to its end first. Cores then
        take every packet at once, so such a move is never prevented; it prevents none, as all that it comes to is that
        somebody waits for one thing less; and it and any other lead to the same state in either order. So all states in
        which nothing can happen are found, among far fewer others.
        """
        if not every and (alone := self._alone(s)):
            yield alone
            return
        yield from self._host(s)
        for q, node, routes in self.routers:
            if s.queues[q]:
                yield from self._route(s, q, node, routes)
        for c in range(len(self.links)):
            if s.queues[c] and not (self.bug == "deaf while sending" and (s.emit[c][0] != NOBODY or s.grants[c])):
                yield self._take(s, c)
            yield from self._schedule(s, c)
            yield from self._send(s, c)

    def _alone(self, s: State) -> tuple[int, str, State] | None:
        cores = range(len(self.links))
        for c in cores:
            if s.queues[c] and self.bug != "deaf while sending":
                return self._take(s, c)
        for q, node, routes in self.routers:
            for move in self._route(s, q, node, routes) if s.queues[q] else ():
                return move
        for c in cores:
            for moves in (list(self._schedule(s, c)) if s.held[c] != NOBODY else [], list(self._send(s, c))):
                if len(moves) == 1:
                    return moves[0]
        host = list(self._host(s))
        return host[0] if len(host) == 1 else None

    def _host(self, s: State) -> Iterator[tuple[int, str, State]]:
        key, q = self.order[s.at], self.queue[self.root, 0]
        if s.credits[key] > 0 or len(s.queues[q]) == self.depth:
            return
        if not s.spiked and key not in self.silent:
            self._on_time(s, key, s.taken[key])
            yield NOBODY, f"host: spike of {key}", self._push(s, q, Kind.SPIKE, key, s.taken[key])._replace(spiked=True)
        after = self._push(s, q, Kind.STEP, key, s.taken[key])
        credits = self._add(s.credits, key, self.out[key])
        after = after._replace(at=(s.at + 1) % len(self.order), spiked=False, credits=credits)
        yield key, f"host: step of {key}", self._step(after, key)

    def _route(self, s: State, q: int, node: int, routes: list[dict[str, int]]) -> Iterator[tuple[int, str, State]]:
        kind, key, step = s.queues[q][0]
        row, ports = routes[key], 0
        ports = 1 << row["home"] if kind == Kind.CREDIT else row["listeners"]
        if not ports:
            raise Trouble(f"router {node} drops {Kind(kind).name} of {key}")
        for port in range(ports.bit_length()):
            if ports >> port & 1 and not s.done[q] >> port & 1:
                done = s.done[q] | 1 << port
                after = self._next(s, q, done, done == ports)
                if (node, port) == (self.root, 0):
                    if kind == Kind.CREDIT:
                        after = after._replace(credits=self._add(after.credits, key, -1))
                elif len(s.queues[to := self.leads[node, port]]) < (self.longer if to < self.root else self.depth):
                    after = self._push(after, to, kind, key, step)
                else:
                    continue
                yield NOBODY, f"router {node}: {Kind(kind).name} of {key} to port {port}", after

    def _take(self, s: State, c: int) -> tuple[int, str, State]:
        kind, key, step = s.queues[c][0]
        if kind == Kind.CREDIT:
            after = self._next(s, c, 0, True)._replace(credits=self._add(s.credits, key, -1))
            return NOBODY, f"core {c}: credit for {key}", after
        links = self.links[c][key]
        if not links:
            raise Trouble(f"core {c} has nothing to do with {key}")
        target, late, ahead = links[s.done[c]]
        if not 0 <= step + late - s.taken[target] <= ahead:
            raise Trouble(f"{Kind(kind).name} {step} of {key} is at {target} in step {s.taken[target]}, not {step + late}")
        after = self._next(s, c, s.done[c] + 1, s.done[c] + 1 == len(links))
        if kind == Kind.STEP:
            after = after._replace(tokens=self._add(s.tokens, target, -1))
            if self.bug == "credit for a token":
                after = after._replace(grants=put(s.grants, c, (*s.grants[c], key)))
        return NOBODY, f"core {c}: {Kind(kind).name} of {key} for {target}", after

    def _schedule(self, s: State, c: int) -> Iterator[tuple[int, str, State]]:
        if (held := s.held[c]) != NOBODY:
            if not s.grants[c]:
                after = s._replace(held=put(s.held, c, NOBODY), grants=put(s.grants, c, self.sources[held]))
                yield NOBODY, f"core {c}: grants of {held}", after
            return
        for key in (key for key, home in self.core.items() if home == c):
            if s.unsent[key] < self.regions and s.tokens[key] <= 0:
                after = s._replace(unsent=put(s.unsent, key, s.unsent[key] + 1), ready=put(s.ready, key, s.ready[key] + 1),
                                   tokens=self._add(s.tokens, key, self.into[key]))
                if self.bug != "credit for a token":
                    after = after._replace(held=put(s.held, c, key))
                yield key, f"core {c}: {key} takes a step", self._step(after, key)
            may = s.credits[key] <= 0 or self.bug == "emit before credit"
            if s.ready[key] and may and s.emit[c][0] == NOBODY:
                self._on_time(s, key, s.taken[key] - s.unsent[key])
                yield NOBODY, f"core {c}: {key} begins to send", s._replace(
                    ready=put(s.ready, key, s.ready[key] - 1), credits=self._add(s.credits, key, self.out[key]),
                    emit=put(s.emit, c, (key, False)))

    def _send(self, s: State, c: int) -> Iterator[tuple[int, str, State]]:
        q, (key, spiked), grants = self.leads[c, 0], s.emit[c], s.grants[c]
        if len(s.queues[q]) == self.depth:
            return
        if key != NOBODY:
            step = s.taken[key] - s.unsent[key]  # the first that is not sent
            if not spiked and key not in self.silent:
                after = self._push(s, q, Kind.SPIKE, key, step)
                yield NOBODY, f"core {c}: spike of {key}", after._replace(emit=put(s.emit, c, (key, True)))
            after = self._push(s, q, Kind.STEP, key, step)
            yield NOBODY, f"core {c}: end of step of {key}", after._replace(
                emit=put(s.emit, c, (NOBODY, False)), unsent=put(s.unsent, key, s.unsent[key] - 1))
        if grants:
            after = self._push(s, q, Kind.CREDIT, grants[0], 0)
            yield NOBODY, f"core {c}: credit to {grants[0]}", after._replace(grants=put(s.grants, c, grants[1:]))

    # --- and how

    def _push(self, s: State, q: int, kind: int, key: int, step: int) -> State:
        return s._replace(queues=put(s.queues, q, (*s.queues[q], (int(kind), key, step))))

    def _next(self, s: State, q: int, done: int, last: bool) -> State:
        """Part of the first packet of a queue is dealt with; with the ``last``, it leaves."""
        if not last:
            return s._replace(done=put(s.done, q, done))
        return s._replace(queues=put(s.queues, q, s.queues[q][1:]), done=put(s.done, q, 0))

    def _add(self, counts: tuple[int, ...], key: int, amount: int) -> tuple[int, ...]:
        if not -1 <= counts[key] + amount <= self.most:
            raise Trouble(f"a counter of {key} goes from {counts[key]} by {amount}")
        return put(counts, key, counts[key] + amount)

    def _on_time(self, s: State, key: int, step: int) -> None:
        """Nobody sends what a listener would take for an earlier step."""
        for links in self.links:
            for target, late, ahead in links[key]:
                if not 0 <= step + late - s.taken[target] <= ahead:
                    raise Trouble(f"{key} sends step {step} to {target}, now in step {s.taken[target]}, not {step + late}")

    def _step(self, s: State, key: int) -> State:
        """One step more is taken; where all have, time starts again."""
        taken = put(s.taken, key, s.taken[key] + 1)
        if min(taken) == 0:
            return s._replace(taken=taken)
        queues = tuple(tuple((k, key, t - (k != Kind.CREDIT)) for k, key, t in queue) for queue in s.queues)
        return s._replace(taken=tuple(t - 1 for t in taken), queues=queues)


def memories(placement: Placement) -> dict[tuple[int, Space], list[int]]:
    """What the tables of every node hold after loading, in chunks."""
    out: dict[tuple[int, Space], list[int]] = {}
    for words in (placement.image, placement.routes([p.source for p in placement.parts]), placement.samples(0)):
        for kind, key, index in ((p["kind"], p["key"], p["index"]) for p in map(PACKET.unpack, words.tolist())):
            if kind == Kind.ADDRESS:
                place = SPACE.unpack(index)
                here = out.setdefault((key, Space(place["space"])), [])
                if not place["address"]:
                    here.clear()
            elif kind == Kind.WRITE:
                here.append(index)
    return out
