"""Placement: which core computes which neurons, and where everything lies that makes it do so.

Populations are cut evenly over the cores, by rows of ``lanes`` neurons; lines of planes go to the cores by turns. Each part
becomes a source of its own with its own key. No bit of the result depends on the cut: sums are exact (the proof is made
here, from the weights), so the order in which spikes arrive cannot matter. :mod:`aerloom.models.image` makes the packets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import image
from .errors import AerloomError
from .fabric import INDEX_BITS, PRESETS, Fabric
from .grid import Code, Grid, shapes
from .image import differs, neuron_values
from .network import Network, Projection
from .order import CLOCK, host_order, plan, unpaced
from .packets import Words, address, packet, split, store, store_chunks
from .proof import signed_bits, sum_range
from .reach import Entry, Reach, check_pool, one_to_one, reach, shifted, sparse, uncounted
from .text import counted

__all__ = [
    "CLOCK", "Core", "Link", "Part", "Placement", "Problem", "Words", "address", "differs", "host_order", "neuron_values",
    "packet", "place", "signed_bits", "split", "store", "store_chunks", "sum_range", "unpaced",
]


@dataclass(frozen=True, eq=False)
class Part:
    """Neurons of a source, in one core or (``core`` None) on the host's side.

    With ``stages``, a delay line: that many copies of them, each of which holds the spikes of one more step ago.
    """

    source: str
    key: int
    grid: Grid
    core: int | None = None
    slot: int = 0
    row: int = 0
    stages: int = 0

    @property
    def rows(self) -> int:
        """Rows that it takes."""
        return 0 if self.core is None else self.grid.rows * max(1, self.stages)

    @property
    def code(self) -> Code:
        """How its spikes are numbered."""
        return Code.of(self.grid, self.core is not None)

    @cached_property
    def neurons(self) -> NDArray[np.int64]:
        """Numbers of its neurons in the source, in the order in which they lie."""
        numbers = self.grid.numbers
        return numbers[numbers >= 0]

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """For each of ``neurons`` the index that its spikes carry."""
        y, x, c = np.nonzero(self.grid.numbers >= 0)
        return self.code.index(y, x, c)

    @cached_property
    def seat(self) -> NDArray[np.int64]:
        """For each of ``neurons`` its place among the lanes of the part's rows."""
        return np.flatnonzero(self.grid.seats.reshape(-1) >= 0)

    @property
    def size(self) -> int:
        """How many neurons that is."""
        return len(self.neurons)

    @property
    def seated(self) -> int:
        """Lanes that a sweep goes over."""
        return int(self.seat[-1]) + 1 if self.grid.flat and not self.stages else self.rows * self.grid.lanes

    @property
    def indices(self) -> int:
        """One more than the largest index; 0 for the clock."""
        if not self.stages:
            return int(self.index.max()) + 1 if self.size else 0
        last = (self.grid.height * self.stages, self.grid.width, self.grid.depth * self.grid.lanes)
        return int(self.code.index(*(np.array(n - 1) for n in last))) + 1

    def find(self, index: NDArray[Any]) -> NDArray[np.int64]:
        """The places in ``neurons`` that indices mean; −1 where they mean none."""
        known = np.full(self.indices + 1, -1)
        known[self.index] = np.arange(self.size)
        return known[np.minimum(index, self.indices)]


@dataclass(frozen=True, eq=False)
class Link:
    """Spikes of one part for another (``reach`` None: STEPs alone)."""

    source: Part
    target: Part
    late: bool = False  #: spikes count in the step after the one they were sent in
    reach: Reach | None = None
    weights: int = 0  #: address of the first word
    tables: tuple[int, ...] = ()  #: first rows in LINES, COLUMNS and CHANNELS

    @property
    def code(self) -> Code:
        """How the index of a spike is taken apart."""
        return self.source.code if self.reach is None or self.reach.code is None else self.reach.code


@dataclass
class Core:
    """What one core holds."""

    parts: list[Part] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    blocks: list[tuple[int, NDArray[Any]]] = field(default_factory=list)  #: weights, and where they lie
    tables: tuple[list[Entry], list[Entry], list[Entry]] = field(default_factory=lambda: ([], [], []))
    rows: int = 0
    words: int = 0
    parameter_rows: int = 0
    _known: dict[Any, int] = field(default_factory=dict, repr=False)

    def store(self, words: NDArray[Any]) -> int:
        """Where weights lie; those that are there already are not stored again."""
        key = words.tobytes()
        if key not in self._known:
            self._known[key] = self.words
            self.blocks.append((self.words, words))
            self.words += len(words)
        return self._known[key]

    def tabulate(self, axis: int, entries: list[Entry]) -> int:
        """The same for rows of LINES (0), COLUMNS (1) or CHANNELS (2)."""
        key = (axis, *entries)
        if key not in self._known:
            self._known[key] = base = len(self.tables[axis])
            self.tables[axis].extend(replace(e, next=e.next + base) if e.next else e for e in entries)
        return self._known[key]


@dataclass(frozen=True)
class Problem:
    """Something that does not fit: what, how much there is and how much is needed."""

    what: str
    size: str  #: field of the Fabric
    need: int
    have: int

    def __str__(self) -> str:
        if isinstance(self.need, bool):
            return f"{self.what} needs {self.size}, and the Fabric has none"
        return f"{self.what} needs {self.size} {self.need}, and the Fabric has {self.have}"


class Placement:
    """A network on a Fabric; :func:`place` makes it, and refuses one with problems.

    Attributes
    ----------
    problems : list of :class:`Problem`
        What does not fit.
    parts : list of :class:`Part`
        Sources in the order of their keys: inputs first, in the order in which the host sends them within a step; delay
        lines last.
    cores : list of :class:`Core`
    """

    def __init__(self, network: Network, fabric: Fabric, cores: int | None = None) -> None:
        self.network, self.fabric = network, fabric
        self.used = fabric.cores if cores is None else cores
        self.problems: list[Problem] = []
        self.parts: list[Part] = []
        self.cores = [Core() for _ in range(fabric.cores)]
        self._modes: dict[Part, str] = {}
        self._check()
        self.plan = plan(network)
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
            raise AerloomError(f"Fabric {fabric.name} has {counted(fabric.cores, 'core')}; {self.used} cannot be used")
        self._need("the network", "state_bits", network.state_bits)
        for p in network.populations:
            if p.spiking:
                self._need(f"{p.name}: {counted(p.max_spikes, 'spike')} per step", "spike_bits", p.max_spikes.bit_length())
            refractory = counted(p.refractory, "refractory step")
            self._need(f"{p.name}: {refractory}", "refractory_bits", p.refractory.bit_length())
            self._need(f"{p.name}: its synaptic filter", "currents", p.decay_i is not None)
        for q in network.projections:
            check_pool(q)
            bits = signed_bits(int(q.weights.min()), int(q.weights.max()))
            self._need(f"{q}: weights", "weight_bits", bits)
        for p in network.populations:
            low, high = sum_range(network, p)
            self._need(f"{p.name}: its largest sum of weights", "sum_bits", signed_bits(low, high))

    def _check_cores(self) -> None:
        self._need("the network", "keys", len(self.parts))
        self._need("the network", "inputs", sum(p.core is None for p in self.parts))
        for line in self.parts:
            if line.stages:
                spikes = self.max_spikes(line)
                self._need(f"{line.source}: {counted(spikes, 'spike')} per step", "spike_bits", spikes.bit_length())
                self._need(f"{line.source}: a weight of 1", "weight_bits", signed_bits(0, 1))
                self._need(f"{line.source}: its largest sum of weights", "sum_bits", signed_bits(0, spikes))
        for part in self.parts:
            if part.indices > 1 << INDEX_BITS:
                bits = (part.indices - 1).bit_length()
                raise AerloomError(f"{part.source}: planes of {part.grid.shape} need {bits} bits to tell neurons apart, "
                                   f"and spikes have {INDEX_BITS}; use more cores")
        for n, core in enumerate(self.cores):
            self._need(f"core {n}", "populations", len(core.parts))
            self._need(f"core {n}", "projections", len(core.links))
            self._need(f"core {n}", "rows", core.rows)
            self._need(f"core {n}", "weight_words", core.words)
            lines, columns, channels = map(len, core.tables)
            self._need(f"core {n}", "places", max(lines, columns, channels - self.fabric.runs))
            self._need(f"core {n}", "parameter_rows", core.parameter_rows)

    # --- what goes where

    def _cut(self) -> None:
        """Parts with their keys and places."""
        network, fabric = self.network, self.fabric
        planes = shapes(network)
        sources: dict[str, Any] = dict(network.sources)
        for name in self.plan.order:
            whole = Grid.whole(planes.get(name), sources[name].size if name in sources else 0, fabric.lanes)
            self.parts.append(Part(name, len(self.parts), whole))
        for p in network.populations:
            shares = Grid.whole(planes[p.name], p.size, fabric.lanes).cut(self.used)
            if len(shares) == self.used:
                homes: Iterable[int] = range(self.used)
            else:  # less than a row for each core: where there is most room
                homes = sorted(range(self.used), key=lambda n: self.cores[n].rows)[: len(shares)]
            for share, home in zip(shares, homes, strict=True):
                self._seat(p.name, share, home)
        self.lines: dict[Part, Part] = {}  # delay lines, each where its source is
        for part in list(self.parts):
            if stages := self.plan.stages(part.source):
                home = min(range(self.used), key=lambda n: self.cores[n].rows) if part.core is None else part.core
                name = f"{part.source} delayed"
                while name in sources:
                    name += "'"
                self.lines[part] = self._seat(name, part.grid, home, stages)

    def _seat(self, name: str, grid: Grid, home: int, stages: int = 0) -> Part:
        core = self.cores[home]
        part = Part(name, len(self.parts), grid, home, len(core.parts), core.rows, stages)
        self.parts.append(part)
        core.parts.append(part)
        core.rows += part.rows
        core.parameter_rows += self.parameter_rows(part)
        return part

    def _join(self) -> None:
        """Links, with their weights and tables."""
        origin = {line: part for part, line in self.lines.items()}
        for source in self.parts:
            for core in self.cores:
                for target in core.parts:
                    line = target.stages > 0
                    if source.source == CLOCK and source.core is None and (line or target.source in self.plan.clocked):
                        core.links.append(Link(source, target))
                    elif line and origin[target] is source:
                        copy = one_to_one(np.ones(source.grid.size, np.int64), source.grid, source.grid)
                        assert copy.tables is not None
                        copy.tables = (*copy.tables[:2], uncounted(copy.tables[2]))
                        self._link(core, source, target, True, copy)
                    elif line and target is source:
                        self._link(core, source, target, True, shifted(source.grid, source.stages))
                    elif not line:
                        for q in self.network.projections:
                            held = self.plan.held[q]
                            sender = origin.get(source, source)
                            if (q.source, q.target) == (sender.source, target.source) and bool(held) == bool(source.stages):
                                self._project(core, q, source, target, held)

    def _project(self, core: Core, q: Projection, source: Part, target: Part, held: int) -> None:
        direct = source.grid.flat and not source.stages and not q.pool
        joined = reach(q, source.grid, target.grid, direct)
        if direct and q.weights.ndim == 2 and self.fabric.runs:
            joined = min(joined, sparse(joined, source.indices), key=partial(self._cost, core))
        if source.stages and joined.tables is not None:  # spikes of other stages are not meant
            y, x, c = joined.tables
            lines = [e if stage == held - 1 else Entry() for stage in range(source.stages) for e in y]
            joined.tables = (lines, x, c)
        self._link(core, source, target, self.plan.late[q], joined)

    def _link(self, core: Core, source: Part, target: Part, late: bool, joined: Reach) -> None:
        if joined.empty:
            core.links.append(Link(source, target, late))
            return
        bases: list[int] = []
        if joined.tables is not None:
            at = source.code
            from_host = source.core is None and joined.code is None
            sizes = (0, 1 << at.column_bits, 1 << at.channel_bits) if from_host else (0, 0, 0)
            for axis, (entries, size) in enumerate(zip(joined.tables, sizes, strict=True)):
                nobody = [Entry(known=0)] * (size - len(entries))  # indices that only a host can make up
                bases.append(core.tabulate(axis, entries + nobody))
        core.links.append(Link(source, target, late, joined, core.store(joined.words), tuple(bases)))

    def _cost(self, core: Core, joined: Reach) -> tuple[bool, int]:
        """What a way to store a projection costs: does it lack room in the table of channels, and words of memory."""
        rows = len(joined.tables[2]) if joined.tables else 0
        return len(core.tables[2]) + rows > self.fabric.places + self.fabric.runs, len(joined.words) + rows

    def parameter_mode(self, part: Part) -> str:
        """See :func:`aerloom.models.image.parameter_mode`."""
        if part not in self._modes:
            self._modes[part] = image.parameter_mode(self.network, part)
        return self._modes[part]

    def parameter_rows(self, part: Part) -> int:
        """Rows of PARAMETERS that a part takes."""
        groups = {"shared": 1, "channel": part.grid.depth * self.fabric.groups}
        return groups.get(self.parameter_mode(part), -(-part.seated // self.fabric.update_lanes))

    def max_spikes(self, line: Part) -> int:
        """Spikes per step that a delay line may have to copy."""
        return next(self.network.sources[part.source].max_spikes for part, own in self.lines.items() if own is line)

    def listeners(self, part: Part) -> list[Link]:
        """The links that start at a part."""
        return [link for core in self.cores for link in core.links if link.source is part]

    def ahead(self, link: Link) -> bool:
        """Whether the source may be a step ahead of the target: those who listen to it, listen to nobody else."""
        return link.source in self._leading

    @cached_property
    def _leading(self) -> set[Part]:
        """The sources that may be ahead."""
        links = [link for core in self.cores for link in core.links]
        heard = Counter(link.target for link in links)
        held = {link.source for link in links if link.late or link.target.stages or heard[link.target] > 1}
        return {link.source for link in links} - held if self.fabric.ahead else set()

    # --- the image

    @cached_property
    def image(self) -> Words:
        """Packets that load the network: tables, weights and parameters."""
        return image.image(self)

    def samples(self, steps: int) -> Words:
        """Packets that make a sample ``steps`` steps long (0: it never ends)."""
        return image.samples(self, steps)

    def routes(self, watched: Collection[str]) -> Words:
        """Packets that set up the routers, so that the host hears the populations named."""
        return image.routes(self, watched)


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
