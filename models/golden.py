"""The reference: what a network computes, in NumPy, for many samples at once.

``run`` composes as the hardware does: ``integrate`` (:mod:`aerloom.hdl.synapses`), then ``fire``
(:mod:`aerloom.hdl.neurons`). An integer network runs in exact integers: matrix products go through floating-point BLAS
only where the largest possible sum is an integer that the float type holds. A floating-point network runs the same
equations in float32, and is the reference that quantisation is measured against.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .network import DECAY_ONE, Input, Network, Population, Projection

Array = NDArray[Any]


@dataclass
class State:
    """State of a population: arrays ``(batch, neurons)``.

    ``after`` is what the last spikes left to do: refractory steps to go, or the spikes whose reset is still due.
    """

    v: Array
    i: Array | None
    after: Array | None
    clipped: int = 0  #: updates so far in which v or i was clipped


@dataclass
class Trace:
    """What a run did. Arrays are ``(batch, steps, neurons)``; those of the final state ``(batch, neurons)``."""

    spikes: dict[str, Array] = field(default_factory=dict)  #: uint8 spikes per step, of inputs and populations
    state: dict[str, State] = field(default_factory=dict)  #: of each population after the last step
    membranes: dict[str, Array] = field(default_factory=dict)  #: of each step, where asked for
    saturations: dict[str, int] = field(default_factory=dict)  #: neuron updates in which v or i was clipped
    synaptic_operations: int = 0  #: weights added to sums


class Rule:
    """A population's parameters, as :func:`fire` takes them: plain numbers, or arrays ``(neurons,)``."""

    def __init__(self, population: Population, network: Network, largest: int) -> None:
        """``largest``: a bound on the absolute sum of weights that can arrive in one step."""
        self.population, self.largest = population, largest
        p = population
        self.integer = network.is_integer
        low, high = network.state_range if self.integer else (-np.inf, np.inf)
        if self.integer:
            widest = max(-low * DECAY_ONE, (largest << p.shift) - 3 * low * p.max_spikes)
            self.dtype = np.dtype(np.int32 if widest < 2**31 else np.int64)
        else:
            self.dtype = np.dtype(np.float32)

        def cast(value: Any) -> Any:
            return np.asarray(value).astype(self.dtype)

        self.decay_v = None if p.decay_v is None else cast(p.decay_v)
        self.decay_i = None if p.decay_i is None else cast(p.decay_i)
        self.bias, self.threshold = cast(p.bias), cast(p.threshold)
        self.bias_late = p.decay_i is not None and p.bias_at == "membrane"  # the bias skips the synaptic filter
        self.reset_by, self.reset_to, self.v0 = cast(p.reset_by), cast(p.reset_to), cast(p.v0)
        self.min_v = cast(low if p.min_v is None else p.min_v)
        self.max_v = cast(high if p.max_v is None else p.max_v)
        self.max_i = cast(high)
        self.clips = self.integer or p.min_v is not None or p.max_v is not None
        # For a plain membrane: how far, and over how many steps, sums may drive it without reaching a limit
        self.plain = p.decay_i is None and not p.reset_delay and not np.any(self.reset_by > self.threshold)
        keep = 1.0 if self.decay_v is None else float(self.decay_v.max()) / DECAY_ONE
        self.memory = 1 / (1 - keep) if keep < 1 and self.integer else np.inf
        start = max(float(np.abs(x).max()) for x in (self.v0, self.reset_to))
        self.room = min(float(self.max_v.min()), -float(self.min_v.max())) - start

    def rest(self, batch: int) -> State:
        """The state at the start of a sample."""
        p, shape = self.population, (batch, self.population.size)
        v = np.empty(shape, self.dtype)
        v[:] = self.v0
        after = np.zeros(shape, np.int32) if p.refractory or p.reset_delay else None
        return State(v, None if p.decay_i is None else np.zeros(shape, self.dtype), after)

    def decay(self, x: Array, factor: Any) -> Array:
        """D(x, d): what a step leaves of ``x``, in place; all of it for the factor None."""
        if factor is None:
            return x
        np.multiply(x, factor, out=x)
        if self.integer:
            if self.population.rounding == "trunc":
                x += (x >> 8 * x.itemsize - 1) & DECAY_ONE - 1  # the shift rounds down; this makes it toward zero
            np.right_shift(x, 12, out=x)
        return x

    def stays_inside(self, drive: Array) -> bool:
        """Whether these sums, over all steps of a run, provably leave the membrane within its limits."""
        if not self.clips or not self.plain:
            return not self.clips
        steps = len(drive)
        reach = max(int(drive.max()), -int(drive.min())) * min(steps, self.memory) + steps
        return bool(reach <= self.room)


@lru_cache(maxsize=256)
def rule_of(network: Network, population: str) -> Rule:
    """The rule of a population; networks do not change, so neither do their rules."""
    return Rule(network.population[population], network, largest_sum(network, population))


def fire(state: State, drive: Array, rule: Rule, out: Array, clips: bool = True) -> None:
    """One step of a population: updates ``state``, and writes the spikes per neuron to ``out`` (uint8, zeros before).

    ``drive`` is the step's summed weights times 2^shift, plus the bias unless it skips a synaptic filter::

        i ← D(i, decay_i) + drive                    with a synaptic filter: then drive = i (+ bias that skips it)
        v ← D(v, decay_v) + drive                    − reset_by · s of the step before, for a late "subtract"
        v ← clip(v, min_v, max_v)                    reset_to, if s in the step before, for a late "value"
        s ← min(v // threshold, max_spikes)          v ≥ threshold for max_spikes = 1; none for reset "none"
        v ← v − reset_by · s                         reset_to where s, for "value"

    with D(x, d) = x · d / 4096 rounded down ("floor") or toward zero ("trunc"). i is clipped to the state range. For
    ``refractory`` steps after a spike v is held and s = 0. ``clips=False`` where the limits are known to be out of
    reach.
    """
    p = rule.population
    clipped: Any = False
    if state.i is not None:
        state.i = rule.decay(state.i, rule.decay_i)
        state.i += drive
        if rule.integer:
            clipped = clip(state.i, ~rule.max_i, rule.max_i)
        drive = state.i + rule.bias if rule.bias_late else state.i
    before = state.v.copy() if p.refractory else None
    after: Any = state.after  # there where it is asked for below: see Rule.rest
    v = state.v = rule.decay(state.v, rule.decay_v)
    v += drive
    if p.reset_delay and p.reset == "subtract":
        v -= rule.reset_by * after.astype(rule.dtype)
    if clips:
        over = clip(v, rule.min_v, rule.max_v)
        if before is not None:  # a held membrane is not updated, so it cannot be clipped
            over &= after == 0
        state.clipped += int(np.count_nonzero(clipped | over))
    if p.reset_delay and p.reset == "value":
        np.copyto(v, rule.reset_to, where=after > 0)
    if before is not None:
        np.copyto(v, before, where=after > 0)

    if not p.spiking:
        return
    if p.max_spikes > 1:
        out[:] = np.clip(v // rule.threshold, 0, p.max_spikes)
    else:
        compare = np.greater if p.strict else np.greater_equal
        compare(v, rule.threshold, out=out.view(bool))
    if before is not None:
        out[after > 0] = 0

    if p.reset_delay:
        state.after = out
    elif p.reset == "value":
        np.copyto(v, rule.reset_to, where=out.view(bool) if p.max_spikes == 1 else out > 0)
    elif p.max_spikes > 1:
        v -= rule.reset_by * out.astype(rule.dtype)
    else:
        np.subtract(v, rule.reset_by, out=v, where=out.view(bool))
    if p.refractory:
        state.after = np.where(out, p.refractory, np.maximum(after - 1, 0))


def clip(x: Array, low: Any, high: Any) -> Array:
    """Clip ``x`` in place, and tell where that changed it."""
    over = (x < low) | (x > high)
    np.clip(x, low, high, out=x)
    return over


def integrate(projections: list[tuple[Projection, Array]], largest: int) -> Array:
    """Summed weights ``(…, target)`` of the spikes ``(…, source)`` of several projections; exact for integer weights.

    ``largest`` bounds their sum; it decides which floating-point type holds every sum exactly.
    """
    kind: Any = np.float32 if largest < 2**24 else np.float64 if largest < 2**53 else np.int64
    total: Any = None
    for projection, spikes in projections:
        a = deliver(projection, spikes.reshape(-1, spikes.shape[-1]), kind)
        total = a if total is None else np.add(total, a, out=total)
    return total.reshape(*spikes.shape[:-1], -1)


def deliver(projection: Projection, spikes: Array, kind: Any) -> Array:
    """What the spikes ``(n, source)`` of a projection add up to at its target, ``(n, target)`` in the type ``kind``."""
    if projection.pool:
        spikes = projection.pool.add(spikes, kind)
    if projection.weights.ndim == 1:
        return spikes * projection.weights.astype(kind)
    matrices = projection.matrices(kind)
    if projection.window:
        return projection.window.convolve(spikes, matrices)
    (matrix,) = matrices
    active = np.flatnonzero(spikes.max(axis=0))
    if 4 * len(active) < 3 * len(matrix):  # source neurons that never spike need no arithmetic
        spikes, matrix = spikes[:, active], matrix[active]
    return spikes.astype(kind, copy=False) @ matrix


def largest_sum(network: Network, population: str) -> int:
    """The largest absolute sum of integer weights that can reach a neuron of a population in one step; 0 for others."""
    if not network.is_integer:
        return 0
    return sum(q.largest * network.sources[q.source].max_spikes for q in network.into(population))


def run(
    network: Network,
    spikes: Array | Mapping[str, Array],
    *,
    membranes: Collection[str] = (),
    progress: Callable[[str], None] = lambda population: None,
) -> Trace:
    """Run ``network`` from rest on a batch of samples.

    ``spikes`` is ``(batch, steps, *input.shape)``, spikes per step and neuron; with several inputs a mapping from their
    names. ``membranes`` names populations whose membrane is wanted for every step. ``progress`` is called with the name
    of each population before it runs. Raises :class:`AerloomError` for spikes that do not fit the inputs.
    """
    trace = Trace(spikes=check_spikes(network, spikes))
    batch, steps, _ = next(iter(trace.spikes.values())).shape
    for group in groups(network):
        progress(group[0])
        _run_group(network, group, trace, batch, steps, membranes)
    for p in network.projections:
        sent = trace.spikes[p.source][:, : max(steps - p.delay, 0)]
        once = network.sources[p.source].max_spikes == 1
        if p.weights.ndim == 2 and not p.pool:  # every spike adds as many weights
            count = int(np.count_nonzero(sent)) if once else int(sent.sum(dtype=np.int64))
            trace.synaptic_operations += count * p.weights.shape[0]
        else:
            trace.synaptic_operations += int(sent.sum(axis=(0, 1), dtype=np.int64) @ p.fanout)
    return trace


@dataclass
class _Running:
    """A population in the middle of a run; arrays have the steps first, so that each is one block of memory."""

    rule: Rule
    state: State
    drive: Array
    spikes: Array
    loops: list[Projection]  #: from populations that run in the same group
    clips: bool
    membranes: Array | None


def _run_group(
    network: Network, group: list[str], trace: Trace, batch: int, steps: int, membranes: Collection[str]
) -> None:
    """Run the populations of one cycle, or a single one; everything that projects into them has run."""
    running: dict[str, _Running] = {}
    for name in group:
        rule = rule_of(network, name)
        p, shape = rule.population, (steps, batch, rule.population.size)
        outside = _by_delay(network, name, group)
        drive = _sums(outside.pop(0), trace, rule, steps) if 0 in outside else np.zeros(shape, rule.dtype)
        for delay, late in outside.items():
            if delay < steps:
                drive[delay:] += _sums(late, trace, rule, steps - delay)
        if p.shift:
            drive <<= p.shift
        if not rule.bias_late:
            drive += rule.bias
        loops = [q for q in network.into(name) if q.source in group]
        running[name] = _Running(
            rule,
            rule.rest(batch),
            drive,
            np.zeros(shape, np.uint8),
            loops,
            clips=bool(loops) or not rule.stays_inside(drive),
            membranes=np.zeros(shape, rule.dtype) if name in membranes else None,
        )
    for t in range(steps):
        for r in running.values():
            for q in r.loops:
                if q.delay <= t:
                    a = integrate([(q, running[q.source].spikes[t - q.delay])], r.rule.largest)
                    r.drive[t] += a.astype(r.rule.dtype) << r.rule.population.shift if network.is_integer else a
            fire(r.state, r.drive[t], r.rule, r.spikes[t], r.clips)
            if r.membranes is not None:
                r.membranes[t] = r.state.v
    for name, r in running.items():
        trace.spikes[name], trace.state[name] = r.spikes.transpose(1, 0, 2), r.state
        trace.saturations[name] = r.state.clipped
        if r.membranes is not None:
            trace.membranes[name] = r.membranes.transpose(1, 0, 2)


def _sums(projections: list[Projection], trace: Trace, rule: Rule, steps: int) -> Array:
    """What the first ``steps`` steps of several sources add up to, ``(steps, batch, neurons)``."""
    sent = [(q, trace.spikes[q.source][:, :steps]) for q in projections]
    return integrate(sent, rule.largest).transpose(1, 0, 2).astype(rule.dtype, order="C")


def _by_delay(network: Network, name: str, group: list[str]) -> dict[int, list[Projection]]:
    """The projections into a population from outside its group, by delay."""
    out: dict[int, list[Projection]] = {}
    for q in network.into(name):
        if q.source not in group:
            out.setdefault(q.delay, []).append(q)
    return out


def groups(network: Network) -> list[list[str]]:
    """Populations in an order that runs: one by one, those of a cycle together (ordered as they act within a step)."""
    remaining = dict.fromkeys(network.order)
    into = {n: {p.source for p in network.into(n)} & set(remaining) for n in network.order}
    out = []
    while remaining:
        def ancestors(name: str) -> set[str]:
            seen: set[str] = set()
            todo = [name]
            while todo:
                new = (into[todo.pop()] & remaining.keys()) - seen
                seen |= new
                todo += new
            return seen | {name}

        smallest = min((ancestors(n) for n in remaining), key=len)  # nothing outside projects into it
        out.append([n for n in network.order if n in smallest])
        for n in smallest:
            del remaining[n]
    return out


def check_spikes(network: Network, spikes: Array | Mapping[str, Array]) -> dict[str, Array]:
    """The spikes of every input as uint8 ``(batch, steps, neurons)``; :class:`AerloomError` where they do not fit."""
    if not isinstance(spikes, Mapping):
        if len(network.inputs) > 1:
            names = ", ".join(i.name for i in network.inputs)
            raise AerloomError(f"this network has several inputs; give spikes as a mapping with the keys {names}")
        spikes = {network.inputs[0].name: spikes}
    if unknown := spikes.keys() - {i.name for i in network.inputs}:
        raise AerloomError(f"spikes name {sorted(unknown)}, which the network does not have as inputs")
    out = {}
    for i in network.inputs:
        if i.name not in spikes:
            raise AerloomError(f"input {i.name!r}: no spikes given")
        out[i.name] = _check_input(i, np.asarray(spikes[i.name]))
    if len({a.shape[:2] for a in out.values()}) > 1:
        shapes = ", ".join(f"{n} {a.shape[:2]}" for n, a in out.items())
        raise AerloomError(f"inputs must have the same number of samples and steps, not {shapes}")
    return out


def _check_input(i: Input, a: Array) -> Array:
    wanted = f"(batch, steps, {', '.join(map(str, i.shape))})"
    if a.dtype.kind not in "buif":
        raise AerloomError(f"input {i.name!r}: spikes must be numbers, not {a.dtype}")
    if a.ndim < 3 or a.shape[2:] not in (i.shape, (i.size,)):
        raise AerloomError(f"input {i.name!r}: spikes must have the shape {wanted}, not {a.shape}")
    if 0 in a.shape:
        raise AerloomError(f"input {i.name!r}: spikes are empty: shape {a.shape}")
    if a.dtype != bool and not ((a.dtype.kind == "u" or a.min() >= 0) and a.max() <= i.max_spikes):
        raise AerloomError(f"input {i.name!r}: spikes must be 0 … {i.max_spikes} per step, not {a.min()} … {a.max()}")
    out = a.astype(np.uint8, copy=False)
    if a.dtype.kind == "f" and np.any(out != a):
        raise AerloomError(f"input {i.name!r}: spikes must be whole numbers; encode analog values first")
    return out.reshape(*a.shape[:2], i.size)


def classes(network: Network, trace: Trace) -> NDArray[np.int64]:
    """The class of each sample of a run, ``(batch,)``; see :func:`answers`."""
    output = network.outputs[0]
    return answers(network, trace.spikes[output], trace.state[output].v)


def answers(network: Network, spikes: Array, membranes: Array) -> NDArray[np.int64]:
    """The class of each sample ``(batch,)``: the neuron of the first output with most spikes or, for a readout, the largest
    membrane at the end; the first of equals. Of the output's ``spikes`` ``(batch, steps, neurons)`` and last ``membranes``
    ``(batch, neurons)``."""
    spiking = network.population[network.outputs[0]].spiking
    return np.asarray((spikes.sum(axis=1, dtype=np.int64) if spiking else membranes).argmax(axis=1))
