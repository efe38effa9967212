"""A network as the tables that the compiled engine (:mod:`aerloom.models.fast`) walks over: who adds what to whom.

Neurons are kept in *slots*: in order, but channels side by side where a convolution arrives, so that a spike adds whole
rows of its kernel. Each population fills a multiple of 32 slots; those left over never spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import golden
from .network import DECAY_ONE, Network, Population, Projection

Array = NDArray[Any]


def _record(*names: str) -> np.dtype[Any]:
    return np.dtype([(name, np.int64) for name in names])


POPULATION = _record("first", "width", "scale", "rounding", "filtered", "late", "to", "simple", "refractory",
                     "max_spikes", "projections")
PROJECTION = _record("sent", "word", "words", "delay", "once", "pool", "width", "weights", "fanout", "neurons")
#: Rows of the array of parameters ``(10, slots)``; what joins i and v, and what a spike takes from v now or a step later
DECAY_I, BIAS_I, DECAY_V, BIAS_V, RESET_LATE, MIN_V, MAX_V, THRESHOLD, RESET_BY, RESET_TO = range(10)
WIDTH = 32  #: populations fill a multiple of as many slots: no loop is left with a few


@lru_cache(maxsize=8)
def plan_of(network: Network) -> Plan:
    """The plan of a network; networks do not change, so neither do their plans."""
    return Plan(network)


@dataclass(frozen=True)
class Part:
    """What arrays of slots hold of a population, and the types of its arrays in a trace."""

    name: str
    slots: slice
    layout: tuple[int, int, int]  #: groups of channels, channels of each, places: slots are (group, place, channel)
    kind: np.dtype[Any]
    filtered: bool
    after: np.dtype[Any] | None

    def of(self, slots: Array, kind: np.dtype[Any] | None = None) -> Array:
        """Its part of ``(…, slots)``, in the order of its neurons."""
        part = slots[..., self.slots]
        groups, outs, places = self.layout
        if outs > 1 and places > 1:
            part = part.reshape(*part.shape[:-1], groups, places, outs).swapaxes(-1, -2).reshape(part.shape)
        return part if kind is None or kind == part.dtype else part.astype(kind)


class Plan:
    """A network as the compiled functions take it: ``tables``, the last arguments of :func:`run_samples`."""

    def __init__(self, network: Network) -> None:
        self.network = network
        rules = {name: golden.rule_of(network, name) for name in network.order}
        self.kind = max((r.dtype for r in rules.values()), key=lambda d: d.itemsize)  # what holds every sum of each
        self.first, self.slots, words = {}, 0, 0
        for i in network.inputs:
            self.first[i.name] = words * 8
            words += -(-i.size // 8)
        for name in network.order:
            self.first[name] = self.slots
            self.slots += _padded(network.population[name].size)
        self.given = words
        self.layout = {p.name: _layout(network, p) for p in network.populations}
        self.parts = []
        self.parameters = np.zeros((10, self.slots), self.kind)
        self.parameters[THRESHOLD] = np.iinfo(self.kind.type).max  # beyond every state: never spikes
        self.v0 = np.zeros(self.slots, self.kind)
        populations = np.zeros(len(rules), POPULATION)
        self.weights: list[Array] = []
        self.pieces: list[Array] = []
        self.pools: list[Array] = []
        rows = []
        for n, (name, rule) in enumerate(rules.items()):
            p, into = rule.population, network.into(name)
            late = bool(p.reset_delay and p.spiking)
            self._fill(p, rule, late)
            after = np.dtype(np.uint8 if late else np.int32) if p.refractory or p.reset_delay else None
            slots = slice(self.first[name], self.first[name] + p.size)
            self.parts.append(Part(name, slots, self.layout[name], rule.dtype, p.decay_i is not None, after))
            populations[n] = (
                self.first[name], _padded(p.size), 1 << p.shift, (DECAY_ONE - 1) * (p.rounding == "trunc"),
                p.decay_i is not None, late, p.reset == "value",
                not late and p.reset != "value" and not p.refractory and p.max_spikes == 1,
                p.refractory, p.max_spikes, len(into),
            )
            rows += [self._projection(q) for q in into]
        weights = np.concatenate(self.weights)
        small = np.min_scalar_type(min(int(weights.min()), -1 - int(weights.max())))  # int8 for −128 … 127
        self.scratch = np.dtype(np.int16) if small == np.int8 and self.kind == np.int32 else self.kind  # 248 · 128 < 2^15
        self.longest = 8 * words + self.slots + sum(map(len, self.pools)) + 8  # spikes that a list may hold
        self.tables = (
            populations, np.array(rows, PROJECTION), self.parameters, self.kind.type(network.state_range[1]),
            weights.astype(small if self.kind == np.int32 else np.int64),  # few combinations: each is compiled
            np.concatenate([*self.pieces, np.zeros((1, 3), np.int64)]),
            np.concatenate([*self.pools, np.zeros(1, np.int64)]),
        )

    def words(self, spikes: Mapping[str, Array]) -> Array:
        """Input spikes as words of eight neurons, ``(batch, steps, words)``; copied where they do not lie so already."""
        a = next(iter(spikes.values()))
        if len(spikes) == 1 and a.shape[2] % 8 == 0 and a.flags.c_contiguous and a.view(np.uint64).flags.aligned:
            return a.view(np.uint64)
        a = np.zeros((*a.shape[:2], self.given * 8), np.uint8)
        for i in self.network.inputs:
            a[:, :, self.first[i.name]:][:, :, :i.size] = spikes[i.name]
        return a.view(np.uint64)

    def _order(self, name: str) -> Array:
        """The neuron in each slot of an input or population."""
        groups, outs, places = self.layout.get(name, (1, 1, self.network.sources[name].size))
        return np.arange(groups * outs * places).reshape(groups, outs, places).swapaxes(1, 2).ravel()

    def _fill(self, p: Population, rule: golden.Rule, late: bool) -> None:
        """Put the parameters of a population in its slots."""
        by, at_membrane = rule.reset_by if p.reset == "subtract" else 0, rule.bias_late or p.decay_i is None
        values: dict[int, Any] = {
            DECAY_I: 0 if rule.decay_i is None else rule.decay_i, BIAS_I: 0 if at_membrane else rule.bias,
            DECAY_V: DECAY_ONE if rule.decay_v is None else rule.decay_v, BIAS_V: rule.bias if at_membrane else 0,
            RESET_LATE: by if late else 0, MIN_V: rule.min_v, MAX_V: rule.max_v,
            RESET_BY: 0 if late else by, RESET_TO: rule.reset_to,
        }
        if p.spiking:
            values[THRESHOLD] = rule.threshold + (p.strict and p.max_spikes == 1)
        order = self._order(p.name)
        slots = slice(self.first[p.name], self.first[p.name] + p.size)
        for row, value in values.items():
            self.parameters[row, slots] = np.broadcast_to(value, p.size)[order]
        self.v0[slots] = np.broadcast_to(rule.v0, p.size)[order]

    def _projection(self, q: Projection) -> tuple[int, ...]:
        """Put a projection's weights, pool and pieces in the tables, and return its :data:`PROJECTION`."""
        source, order, target = self.network.sources[q.source], self._order(q.source), self._order(q.target)
        at_pool, at = -1, sum(map(len, self.weights))
        if q.pool:
            at_pool = sum(map(len, self.pools))
            held = q.pool.sources.reshape(-1, q.pool.area)
            window, place = np.nonzero(held >= 0)
            slot = np.argsort(order)[held[window, place]]
            ends = np.searchsorted(np.sort(slot), np.arange(source.size + 1)) + at_pool + source.size + 1
            self.pools.append(np.concatenate([ends, window[np.argsort(slot, kind="stable")]]))
            order = np.arange(q._sources)
        width = neurons = fanout = 0
        if q.weights.ndim == 2:
            fanout, width = q.weights.shape[0], _padded(q.weights.shape[0])
            rows = np.zeros((len(order) + 1, width), q.weights.dtype)  # the last stays zero: nobody spikes
            neurons = len(order)
            rows[:-1, :fanout] = q.weights.T[order][:, target]
        else:
            neurons = sum(map(len, self.pieces))
            rows, pieces, ends, key, offset = _pieces(q, np.argsort(target))
            begin = neurons + len(order) + ends
            self.pieces += [np.stack([begin[key], begin[key + 1], offset], axis=1)[order], pieces]
        self.weights.append(rows.ravel())
        return (source.name in self.network.population, self.first[q.source] // 8, -(-source.size // 8), q.delay,
                source.max_spikes == 1, at_pool, width, at, fanout, neurons)


def _padded(size: int) -> int:
    return -(-size // WIDTH) * WIDTH


def _layout(network: Network, p: Population) -> tuple[int, int, int]:
    """Groups of channels, channels of each, and places: how the slots of a population lie (:class:`Part`)."""
    for q in network.into(p.name):
        if q.window:
            return q.groups, len(q.weights) // q.groups, p.size // len(q.weights)
    return 1, 1, p.size


def _pieces(q: Projection, slot: Array) -> tuple[Array, Array, Array, Array, Array]:
    """The pieces of a one-to-one projection or a convolution into the slots of the target's neurons.

    Returns its weights; the pieces ``(slot, weight, length)``, ordered by key, and where those of each key begin, and the
    last end; and for each of its source neurons the key, and what to add to the weight.
    """
    numbers = np.arange(q._sources)
    if not (w := q.window):
        return (q.weights, np.stack([slot, numbers, np.ones_like(numbers)], axis=1), np.arange(len(numbers) + 1), numbers,
                np.zeros_like(numbers))
    outs, channels, y, x = len(q.weights) // q.groups, *q.weights.shape[1:]
    # Columns of the kernel in the order in which windows side by side meet a number, so that their weights are one piece
    step = w.stride[1] // w.dilation[1] if w.stride[1] % w.dilation[1] == 0 else 1
    columns = np.array(sorted(range(x), key=lambda b: (b % step, -b)))
    weights = q.weights.reshape(q.groups, outs, channels, y, x)[..., columns].transpose(0, 2, 3, 4, 1)

    plane = w.shape[1] * w.shape[2]
    held = w.sources[0].reshape(-1, y * x)
    place, tap = (a[:, None] for a in np.nonzero(held >= 0))
    number, out = held[place, tap], np.arange(outs)
    index = ((tap // x) * x + np.argsort(columns)[tap % x]) * outs + out
    every = [np.stack(np.broadcast_arrays(g * plane + number, index, slot[(g * outs + out) * len(held) + place]), -1)
             for g in range(q.groups)]
    key, index, into = np.concatenate(every).reshape(-1, 3).T
    order = np.lexsort((index, key))
    key, index, into = key[order], index[order], into[order]
    breaks = np.flatnonzero(np.r_[True, (np.diff(key) != 0) | (np.diff(index) != 1) | (np.diff(into) != 1)][:len(key)])
    pieces = np.stack([into[breaks], index[breaks], np.diff(np.r_[breaks, len(key)])], axis=1)
    ends = np.searchsorted(key[breaks], np.arange(q.groups * plane + 1))
    channel = numbers // plane
    return weights.ravel(), pieces, ends, channel // channels * plane + numbers % plane, channel * y * x * outs
