"""Placement: which core computes which neurons, and every table and weight that makes it do so.

Populations are cut by rows of ``lanes`` neurons, evenly over the cores; each part becomes a source of its own with its
own key. No bit of the result depends on the cut: sums are exact (the proof is made here, from the weights), so the order
in which spikes arrive cannot matter.
"""

from __future__ import annotations

import graphlib
import itertools
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .fabric import CHIP, CHUNK, PACKET, PRESETS, SPACE, Fabric, Kind, Record, Space, route_record
from .network import DECAY_ONE, Network, Population, Projection

Words = NDArray[np.uint32]

#: Population that ticks on the host's side for those that no input reaches within a step
CLOCK = "clock"


@dataclass(frozen=True)
class Part:
    """Neurons ``first`` … ``first + size − 1`` of a source, in one core or (``core`` None) on the host's side."""

    source: str
    key: int
    first: int
    size: int
    core: int | None = None
    slot: int = 0
    row: int = 0
    rows: int = 0


@dataclass(frozen=True)
class Link:
    """Spikes of one part for another: the weights that ``projection`` has between them (None: STEPs alone)."""

    source: Part
    target: Part
    projection: Projection | None
    weights: int = 0  #: address of the first word

    @property
    def late(self) -> bool:
        """The spikes count in the step after the one they were sent in."""
        return self.projection is not None and self.projection.delay == 1


@dataclass
class Core:
    """What one core holds."""

    parts: list[Part] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    rows: int = 0
    words: int = 0
    parameter_rows: int = 0


@dataclass(frozen=True)
class Problem:
    """Something that does not fit: what, how much there is and how much is needed."""

    what: str
    size: str  #: field of the Fabric
    need: int
    have: int

    def __str__(self) -> str:
        return f"{self.what} needs {self.size} {self.need}, and the Fabric has {self.have}"


class Placement:
    """A network on a Fabric; :func:`place` makes it, and refuses one with problems.

    Attributes
    ----------
    problems : list of :class:`Problem`
        What does not fit.
    parts : list of :class:`Part`
        Sources in the order of their keys: inputs first, in the order in which the host sends them within a step.
    cores : list of :class:`Core`
    """

    def __init__(self, network: Network, fabric: Fabric, cores: int | None = None) -> None:
        self.network, self.fabric = network, fabric
        self.used = cores or fabric.cores
        self.problems: list[Problem] = []
        self.parts: list[Part] = []
        self.cores = [Core() for _ in range(fabric.cores)]
        self._check()
        self._cut()
        self._join()
        self._check_cores()

    # --- does it fit?

    def _need(self, what: str, size: str, need: int, have: int | None = None) -> None:
        have = getattr(self.fabric, size) if have is None else have
        if need > have:
            self.problems.append(Problem(what, size, need, have))

    def _check(self) -> None:
        """What does not depend on the cut."""
        network, fabric = self.network, self.fabric
        if not network.is_integer:
            raise AerloomError("hardware computes in integers: quantize the network before it is placed")
        if not 1 <= self.used <= fabric.cores:
            raise AerloomError(f"Fabric {fabric.name} has {fabric.cores} cores; {self.used} cannot be used")
        self._need("the network", "state_bits", network.state_bits)
        for p in network.populations:
            if p.spiking:
                self._need(f"{p.name}: {p.max_spikes} spikes per step", "spike_bits", p.max_spikes.bit_length())
            self._need(f"{p.name}: {p.refractory} refractory steps", "refractory_bits", p.refractory.bit_length())
        for q in network.projections:
            if q.window or q.pool:
                raise AerloomError(f"{q}: convolution and pooling are not possible in hardware yet; golden runs them")
            bits = signed_bits(int(q.weights.min()), int(q.weights.max()))
            self._need(f"{q}: weights", "weight_bits", bits)
            if q.delay > 1:
                raise AerloomError(f"{q}: delay {q.delay} is not possible in hardware yet; 0 and 1 are")
        for p in network.populations:
            low, high = sum_range(network, p)
            self._need(f"{p.name}: its largest sum of weights", "sum_bits", signed_bits(low, high))

    def _check_cores(self) -> None:
        self._need("the network", "keys", len(self.parts))
        self._need("the network", "inputs", sum(p.core is None for p in self.parts))
        for n, core in enumerate(self.cores):
            self._need(f"core {n}", "populations", len(core.parts))
            self._need(f"core {n}", "projections", len(core.links))
            self._need(f"core {n}", "rows", core.rows)
            self._need(f"core {n}", "weight_words", core.words)
            self._need(f"core {n}", "parameter_rows", core.parameter_rows)

    # --- what goes where

    def _cut(self) -> None:
        """Parts with their keys and places."""
        network, fabric = self.network, self.fabric
        sizes = {i.name: i.size for i in network.inputs} | {CLOCK: 0}
        for name in host_order(network):
            self.parts.append(Part(name, len(self.parts), 0, sizes[name]))
        for p in network.populations:
            rows = -(-p.size // fabric.lanes)
            cuts = [rows * n // self.used for n in range(self.used + 1)]
            shares = [b - a for a, b in itertools.pairwise(cuts) if b > a]
            if len(shares) == self.used:
                homes: Iterable[int] = range(self.used)
            else:  # less than a row for each core: where there is most room
                homes = sorted(range(self.used), key=lambda n: self.cores[n].rows)[: len(shares)]
            first = 0
            for share, home in zip(shares, homes, strict=True):
                core = self.cores[home]
                size = min(share * fabric.lanes, p.size - first)
                self.parts.append(
                    Part(p.name, len(self.parts), first, size, home, len(core.parts), core.rows, share)
                )
                core.parts.append(self.parts[-1])
                core.rows += share
                core.parameter_rows += self.parameter_rows(self.parts[-1])
                first += size

    def _join(self) -> None:
        """Links, and the words of their weights."""
        clocked = unpaced(self.network)
        for source in self.parts:
            for core in self.cores:
                for target in core.parts:
                    if source.source == CLOCK and source.core is None and target.source in clocked:
                        core.links.append(Link(source, target, None))
                    for q in self.network.projections:
                        if (q.source, q.target) == (source.source, target.source):
                            core.links.append(Link(source, target, q, core.words))
                            core.words += source.size * target.rows

    def parameter_rows(self, part: Part) -> int:
        """Rows of PARAMETERS that a part takes: one, unless its neurons differ."""
        return -(-part.size // self.fabric.update_lanes) if differs(self.network.population[part.source]) else 1

    def listeners(self, part: Part) -> list[Link]:
        """The links that start at a part."""
        return [link for core in self.cores for link in core.links if link.source == part]

    # --- the image

    @cached_property
    def image(self) -> Words:
        """Packets that load the network: tables, weights and parameters."""
        return np.concatenate([self._stored(n) for n in range(len(self.cores))] + [self._gates()])

    def start(self, steps: int) -> Words:
        """Packets that start afresh, with samples of ``steps`` steps (0: one that never ends)."""
        tables = [
            store(n, Space.POPULATIONS, 0, self.fabric.population_record, self._populations(core, steps))
            for n, core in enumerate(self.cores)
        ]
        go = [address(CHIP, Space.START), packet(Kind.WRITE, CHIP, 0)]
        return np.concatenate([*tables, np.array(go, np.uint32)])

    def routes(self, watched: Collection[str]) -> Words:
        """Packets that set up the routers, so that the host hears the populations named."""
        out = []
        for router in self.fabric.tree():
            record = route_record(router.ports)
            first, last = router.branches[0].cores[0], router.branches[-1].cores[1]

            def inside(core: int | None, first: int = first, last: int = last) -> bool:
                return core is not None and first <= core < last

            rows = []
            for part in self.parts:
                heard = {link.target.core for link in self.listeners(part)}
                if part.core is not None and part.source in watched:
                    heard.add(None)
                ports = set()
                for core in heard:
                    if inside(core):
                        # below another router of the source's own side, that router has seen to it
                        own_side = inside(part.core) and router.port(core) == router.port(part.core)
                        if not own_side or (core == part.core and self._is_leaf(router, core)):
                            ports.add(router.port(core))
                    elif inside(part.core):
                        ports.add(0)
                rows.append(record.pack(listeners=sum(1 << p for p in ports), home=router.port(part.core)))
            rows += [0] * (self.fabric.keys - len(rows))
            out.append(store(router.node, Space.ROUTES, 0, record, rows))
        return np.concatenate(out)

    @staticmethod
    def _is_leaf(router: Any, core: int | None) -> bool:
        """Whether the port to ``core`` leads to the core itself."""
        a, b = router.branches[router.port(core) - 1].cores
        return bool(b - a == 1)

    def _gates(self) -> Words:
        rows = []
        for part in self.parts:
            if part.core is None:
                links = self.listeners(part)
                rows.append(
                    self.fabric.gate_record.pack(
                        known=1, credits=len(links), credits_first=sum(link.late for link in links)
                    )
                )
        rows += [0] * (self.fabric.inputs - len(rows))
        return store(CHIP, Space.GATES, 0, self.fabric.gate_record, rows)

    def _stored(self, n: int) -> Words:
        """Everything in core ``n`` that does not depend on the run."""
        core, fabric = self.cores[n], self.fabric
        keys: list[int] = []
        links: list[int] = []
        sources: list[int] = []
        for part in self.parts:
            mine = [link for link in core.links if link.source == part]
            home = part in core.parts
            keys.append(
                fabric.key_record.pack(
                    first=len(links) if mine else 0, count=len(mine), home=int(home), slot=part.slot if home else 0
                )
            )
            links += [self._link(link) for link in mine]
        keys += [0] * (fabric.keys - len(keys))  # no trace of an earlier network
        for part in core.parts:
            sources += [fabric.source_record.pack(key=k.source.key) for k in core.links if k.target == part]
        out = [
            store(n, Space.KEYS, 0, fabric.key_record, keys),
            store(n, Space.PROJECTIONS, 0, fabric.projection_record, links),
            store(n, Space.SOURCES, 0, fabric.source_record, sources),
        ]
        row = 0
        for part in core.parts:
            out.append(self._parameters(part, row))
            row += self.parameter_rows(part)
        out += [self._weights(link) for link in core.links if link.projection is not None]
        return np.concatenate(out)

    def _link(self, link: Link) -> int:
        weighted = link.projection is not None
        word: int = self.fabric.projection_record.pack(
            weights=link.weights,
            stride=link.source.size,
            row=link.target.row,
            rows=link.target.rows if weighted else 0,
            fanout=link.target.size if weighted else 0,
            slot=link.target.slot,
            late=int(link.late),
        )
        return word

    def _populations(self, core: Core, steps: int) -> list[int]:
        record, rows = self.fabric.population_record, []
        source = parameter = 0
        for part in core.parts:
            into = [link for link in core.links if link.target == part]
            out = self.listeners(part)
            rows.append(
                record.pack(
                    key=part.key,
                    row=part.row,
                    neurons=part.size,
                    parameters=parameter,
                    each=int(differs(self.network.population[part.source])),
                    tokens=len(into),
                    tokens_first=sum(not link.late for link in into),
                    credits=len(out),
                    credits_first=sum(link.late for link in out),
                    sources=source,
                    source_count=len(into),
                    steps=steps,
                )
            )
            source += len(into)
            parameter += self.parameter_rows(part)
        # a slot without a population waits for a token that nobody sends
        return rows + [record.pack(tokens_first=1)] * (self.fabric.populations - len(rows))

    def _parameters(self, part: Part, row: int) -> Words:
        fabric, p = self.fabric, self.network.population[part.source]
        lanes = fabric.update_lanes
        words = [
            fabric.neuron_record.pack(**neuron_values(self.network, p, min(neuron, p.size - 1)))
            for neuron in range(part.first, part.first + self.parameter_rows(part) * lanes)
        ]
        return store_chunks(part.core or 0, Space.PARAMETERS, row, split(words, fabric.neuron_record.chunks))

    def _weights(self, link: Link) -> Words:
        assert link.projection is not None
        s, t, lanes, bits = link.source, link.target, self.fabric.lanes, self.fabric.weight_bits
        weights = np.zeros((t.rows * lanes, s.size), np.int64)
        weights[: t.size] = dense(link.projection)[t.first : t.first + t.size, s.first : s.first + s.size]
        # one word for each (row, source neuron), lane 0 lowest
        words = weights.reshape(t.rows, lanes, s.size).transpose(0, 2, 1).reshape(-1, lanes, 1)
        flat = (words >> np.arange(bits) & 1).astype(np.uint8).reshape(len(words), -1)
        pad = -flat.shape[1] % CHUNK
        chunks = np.packbits(np.pad(flat, ((0, 0), (0, pad))), axis=1, bitorder="little").view("<u2")
        return store_chunks(t.core or 0, Space.WEIGHTS, link.weights, chunks)


def place(network: Network, fabric: Fabric, cores: int | None = None) -> Placement:
    """Place ``network`` on ``fabric``, over ``cores`` of its cores (all by default).

    Raises :class:`AerloomError` that names everything that does not fit, by how much, and what would.
    """
    placement = Placement(network, fabric, cores)
    if not placement.problems:
        return placement
    fits = [other.name for other in PRESETS.values() if not Placement(network, other).problems]
    sizes = ", ".join(f"{problem.size}={problem.need}" for problem in placement.problems)
    advice = f"It fits on: {', '.join(fits)}" if fits else f"A Fabric with {sizes} would take it"
    raise AerloomError(
        f"does not fit on Fabric {fabric.name}: {'; '.join(map(str, placement.problems))}. {advice}"
    )


# --- what a network asks of any chip


def dense(projection: Projection) -> NDArray[Any]:
    """The weights as a matrix ``(target, source)``."""
    return np.diag(projection.weights) if projection.weights.ndim == 1 else projection.weights


def sum_range(network: Network, population: Population) -> tuple[int, int]:
    """Smallest and largest sum of weights that can reach a neuron of a population in one step."""
    low = high = np.zeros(population.size, np.int64)
    for q in network.into(population.name):
        weights, most = dense(q).astype(np.int64), network.sources[q.source].max_spikes
        low = low + np.minimum(weights, 0).sum(axis=1) * most
        high = high + np.maximum(weights, 0).sum(axis=1) * most
    return int(low.min()), int(high.max())


def signed_bits(low: int, high: int) -> int:
    """Bits of the smallest two's complement number that holds ``low`` … ``high``."""
    return 1 + max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length())


def differs(population: Population) -> bool:
    """Whether neurons of a population have parameters of their own."""
    return any(isinstance(v, np.ndarray) for v in vars(population).values())


def neuron_values(network: Network, p: Population, neuron: int) -> dict[str, int]:
    """Fields of ``neuron_record`` for one neuron."""

    def own(value: Any) -> int:
        return int(value[neuron] if isinstance(value, np.ndarray) else value)

    low, high = network.state_range
    return {
        "decay_v": DECAY_ONE if p.decay_v is None else own(p.decay_v),
        "decay_i": 0 if p.decay_i is None else own(p.decay_i),
        "bias": own(p.bias),
        "threshold": own(p.threshold),
        "reset_by": own(p.reset_by),
        "reset_to": own(p.reset_to),
        "v0": own(p.v0),
        "min_v": low if p.min_v is None else own(p.min_v),
        "max_v": high if p.max_v is None else own(p.max_v),
        "max_i": high,
        "max_spikes": p.max_spikes if p.spiking else 0,
        "refractory": p.refractory,
        "shift": p.shift,
        "filtered": int(p.decay_i is not None),
        "bias_filtered": int(p.decay_i is not None and p.bias_at == "current"),
        "truncate": int(p.rounding == "trunc"),
        "reset_value": int(p.reset == "value"),
        "reset_late": p.reset_delay,
    }


def unpaced(network: Network) -> set[str]:
    """Populations that no input reaches without a delay, so that no input would hold them back."""
    paced = {i.name for i in network.inputs}
    for name in network.order:
        if any(q.delay == 0 and q.source in paced for q in network.into(name)):
            paced.add(name)
    return {p.name for p in network.populations} - paced


def host_order(network: Network) -> list[str]:
    """Inputs in the order in which the host sends their spikes within a step; CLOCK leads, where one is needed.

    A step is sent when the listeners took the step before (with a delay of one: this step). Where that makes a step wait
    for itself the chip would stand still, and :class:`AerloomError` says around which populations.
    """
    clocked = unpaced(network)
    graph: graphlib.TopologicalSorter[tuple[str, str]] = graphlib.TopologicalSorter()
    for name in network.sources:
        graph.add(("send", name), ("take", name))
    for q in network.projections:
        if q.delay == 0:
            graph.add(("take", q.target), ("send", q.source))
        elif q.source != q.target:
            graph.add(("send", q.source), ("take", q.target))
    try:
        order = [name for what, name in graph.static_order() if what == "send"]
    except graphlib.CycleError as e:
        around = " → ".join(dict.fromkeys(name for _, name in e.args[1]))
        raise AerloomError(
            f"{around}: spikes with and without delay would wait for each other; "
            "put a population between them, or give all of these projections the same delay"
        ) from None
    inputs = {i.name for i in network.inputs}
    return ([CLOCK] if clocked else []) + [name for name in order if name in inputs]


# --- packets


def packet(kind: Kind, key: int, index: Any) -> Any:
    """The word of a packet; ``index`` may be an array."""
    return PACKET.pack(kind=int(kind), key=key) | index


def address(node: int, space: Space, word: int = 0) -> int:
    """The ADDRESS packet of a word in a memory of a node."""
    out: int = packet(Kind.ADDRESS, node, SPACE.pack(address=word, space=int(space)))
    return out


def split(words: Iterable[int], chunks: int) -> NDArray[np.uint16]:
    """Integers into ``chunks`` chunks of 16 bits each, low ones first."""
    data = b"".join(word.to_bytes(2 * chunks, "little") for word in words)
    return np.frombuffer(data, "<u2").reshape(-1, chunks)


def store(node: int, space: Space, word: int, record: Record, rows: list[int]) -> Words:
    """Packets that store rows of a table."""
    return store_chunks(node, space, word, split(rows, record.chunks))


def store_chunks(node: int, space: Space, word: int, chunks: NDArray[Any]) -> Words:
    """Packets that store ``chunks`` ``(words, chunks)`` from a word on."""
    writes = packet(Kind.WRITE, node, chunks.reshape(-1).astype(np.uint32))
    return np.concatenate([np.array([address(node, space, word)], np.uint32), writes.astype(np.uint32)])
