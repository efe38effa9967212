"""Floorplan: what each core of a placement holds, and how long a step keeps it busy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .golden import Trace
from .place import Core, Link, Part, Placement
from .reach import chain

ACTIVITY = 0.05  #: spikes per neuron and step, where nothing is known
Rates = Callable[[Part], NDArray[np.float64]]  #: expected spikes per step of each neuron of a part, ``(neurons,)``


@dataclass(frozen=True)
class Load:
    """One core. Cycles are clock cycles per time step, expected from the spikes of a run; they leave out what overlaps."""

    core: int
    rows: dict[str, int] = field(default_factory=dict)  #: of sums, by population
    words: dict[str, int] = field(default_factory=dict)  #: of weights, by projection
    adding: dict[str, float] = field(default_factory=dict)  #: cycles in which the lanes add, by projection
    sweeping: dict[str, float] = field(default_factory=dict)  #: cycles in which a sweep has the lanes, by population
    updates: float = 0.0  #: cycles of all sweeps

    @property
    def cycles(self) -> float:
        """Cycles per step."""
        return max(sum(self.adding.values()) + sum(self.sweeping.values()), self.updates)


def walked(link: Link) -> NDArray[np.int64]:
    """Words of weights that a spike of each neuron of the link's source adds, ``(neurons,)``: so many clock cycles."""
    if link.reach is None:
        return np.zeros(link.source.size, np.int64)
    if link.reach.tables is None:
        return np.full(link.source.size, link.reach.rows)
    if link.reach.code is not None:  # sparse: chains of runs
        rows = link.reach.tables[2]
        return np.array([sum(e.count for e in chain(rows, n)) for n in link.source.index])
    # a delay line copies each of its spikes on; of the stages the first stands for all
    height = link.source.grid.height
    y, x, c = (np.array([e.count for e in axis]) for axis in link.reach.tables)
    y = y[: height * max(1, link.source.stages)].reshape(-1, height).sum(axis=0)
    words = np.multiply.outer(np.multiply.outer(y, x[: link.source.grid.width]), c[: link.source.grid.channels])
    return np.asarray(words.reshape(-1)[link.source.grid.numbers.reshape(-1) >= 0])


def loads(placement: Placement, trace: Trace | None) -> list[Load]:
    """The load of each core in use, for spikes as in ``trace`` (see :func:`rates`)."""
    rate = rates(placement, trace)
    return [_load(n, core, placement, rate) for n, core in enumerate(placement.cores) if core.parts]


def rates(placement: Placement, trace: Trace | None) -> Rates:
    """How often the neurons of each part fire: as in ``trace``, of :func:`aerloom.models.golden.run`; without one,
    :data:`ACTIVITY` is assumed of all."""
    if trace is None:
        return lambda part: np.full(part.size, ACTIVITY)
    origin = {line: part for part, line in placement.lines.items()}
    measured = {name: spikes.mean(axis=(0, 1), dtype=float) for name, spikes in trace.spikes.items()}

    def rate(part: Part) -> NDArray[np.float64]:
        source = origin.get(part, part).source
        return measured[source][part.neurons] if source in measured else np.zeros(part.size)  # none: the clock

    return rate


def _load(n: int, core: Core, placement: Placement, rate: Rates) -> Load:
    fabric = placement.fabric
    groups = {part: -(-part.seated // fabric.update_lanes) for part in core.parts}
    out = Load(n, updates=float(sum(groups.values())))
    for part in core.parts:
        out.rows[part.source] = out.rows.get(part.source, 0) + part.rows
        reads = part.rows if fabric.pipelined else groups[part]  # and each row is cleared
        out.sweeping[part.source] = out.sweeping.get(part.source, 0) + reads + part.rows
    seen: set[int] = set()
    for link in core.links:
        name = f"{link.source.source} → {link.target.source}"
        out.adding[name] = out.adding.get(name, 0.0) + float(walked(link) @ rate(link.source))
        if link.reach is not None and link.weights not in seen:  # words that links share are stored once
            seen.add(link.weights)
            out.words[name] = out.words.get(name, 0) + len(link.reach.words)
    return out
