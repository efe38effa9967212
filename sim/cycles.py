"""How many clock cycles a chip takes, from spike counts alone: what its own counter would say, at golden's speed."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hdl.neurons import Neurons
from ..hdl.synapses import Synapses
from ..models.errors import AerloomError
from ..models.fabric import Fabric
from ..models.golden import Trace
from ..models.place import CLOCK, Link, Part, Placement
from . import control
from .control import INDEX, KEY, SPIKE, STEP, Plan, Spikes

__all__ = ["cycles"]

Ints = NDArray[np.int64]
LOCATE, WAIT = 7, 1


def cycles(placement: Placement, trace: Trace, *, watch: Collection[str] | None = None, alone: bool = False,
           threads: int = 1) -> Ints:
    """Clock cycles from the first packet of the run to the end of each step ``(batch, steps)``, as
    :attr:`aerloom.host.device.Run.cycles` has them from a chip: the samples of ``trace``, of
    :func:`aerloom.models.golden.run`, one after the other without a pause, by a host that is never late.

    ``watch``: populations whose STEPs go to the host (the outputs by default). ``alone``: each sample is a run of its own;
    ``threads`` share them.
    """
    network = placement.network
    watched = tuple(network.outputs if watch is None else watch)
    plan = plan_of(placement, watched)
    batch, steps, _ = next(iter(trace.spikes.values())).shape
    keys = [p.key for p in placement.parts if p.core is not None and p.source in watched]
    if not alone:
        return _run(plan, spikes_of(placement, trace, slice(None)), keys, batch * steps).reshape(batch, steps)

    def one(n: int) -> Ints:
        return _run(plan, spikes_of(placement, trace, slice(n, n + 1)), keys, steps)

    with ThreadPoolExecutor(threads) as workers:
        return np.array(list(workers.map(one, range(batch))))


def _run(plan: Plan, spikes: Spikes, keys: list[int], steps: int) -> Ints:
    fabric_keys = plan.listeners.shape[1]
    ends = np.zeros((fabric_keys, steps), np.int64)
    gate = np.concatenate([np.ones(plan.sizes[1], np.int64), np.zeros(fabric_keys, np.int64)])
    if control.run(plan, spikes, *_registers(plan), gate, ends, steps * len(keys)) < 0:
        raise AerloomError("the cycle model does not come to an end: this is a defect in aerloom")
    return np.asarray(ends[keys].max(axis=0))


def _registers(plan: Plan) -> tuple[Any, ...]:
    """All registers as a reset leaves them."""
    cores, slots, routers = len(plan.entry), plan.sizes[0], len(plan.ports)
    shapes = {name: (cores, slots) for name in ("idle", "ready", "fresh", "taken", "tokens", "credits", "step")}
    shapes |= {"visits": (cores, LOCATE), "under_way": (cores, plan.sizes[3] + 1)}
    start = {"clearing": plan.sizes[2], "idle": 1, "fresh": 1, "tokens": 1, "credits": 1}
    core = control.Cores(*(np.full(shapes.get(name, (cores,)), start.get(name, 0), np.int64)
                           for name in control.Cores._fields))
    size = 1 + max(plan.exit.max(), plan.entry.max(), plan.out.max())
    return (control.Buffers(*np.zeros((len(control.Buffers._fields), size), np.int64)), core,
            control.Routers(*np.zeros((len(control.Routers._fields), routers, 3), np.int64)))


# --- what the tables hold


@lru_cache(maxsize=8)
def plan_of(placement: Placement, watched: tuple[str, ...]) -> Plan:
    """The tables of a placement; placements do not change, so neither do their plans."""
    fabric, parts = placement.fabric, placement.parts
    cores, slots = fabric.cores, fabric.populations
    t = {name: np.zeros((cores, fabric.keys), np.int64) for name in ("first", "projections", "home")}
    t |= {name: np.zeros((cores, fabric.projections), np.int64) for name in ("target", "late", "costs", "grants")}
    t |= {name: np.zeros((cores, slots), np.int64) for name in (
        "key", "groups", "tokens", "tokens_first", "credits", "credits_first", "sources", "source_count", "part")}
    t["home"] -= 1
    t["tokens_first"] += 1  # a slot without a population waits for a token that nobody sends
    seated = [part for part in parts if part.core is not None]
    words: list[Ints] = [np.zeros(0, np.int64)]
    for n, core in enumerate(placement.cores):
        row = 0
        for part in parts:
            mine = [link for link in core.links if link.source is part]
            t["first"][n, part.key], t["projections"][n, part.key] = row if mine else 0, len(mine)
            if part.core == n:
                t["home"][n, part.key] = part.slot
            for link in mine:
                t["target"][n, row], t["late"][n, row] = link.target.slot, link.late
                t["costs"][n, row] = sum(map(len, words))
                words.append(rows_of(link))
                row += 1
        at = 0
        for part in core.parts:
            into, out = [link for link in core.links if link.target is part], placement.listeners(part)
            values = {
                "key": part.key, "groups": -(-part.seated // fabric.update_lanes), "tokens": len(into),
                "tokens_first": sum(not link.late for link in into), "credits": len(out),
                "credits_first": sum(link.late for link in out), "sources": at, "source_count": len(into),
                "part": seated.index(part)}
            for name, value in values.items():
                t[name][n, part.slot] = value
            t["grants"][n, at : at + len(into)] = [link.source.key for link in into]
            at += len(into)
    gates = np.zeros((fabric.inputs, 2), np.int64)
    for part in parts:
        if part.core is None:
            links = placement.listeners(part)
            gates[part.key] = len(links), sum(link.late for link in links)
    between = Synapses.latency + Neurons.latency(fabric)
    sizes = np.array([slots, fabric.inputs, fabric.rows, between, WAIT])
    return Plan(sizes=sizes, words=np.concatenate(words), gates=gates, **t, **_tree(placement, watched))


def rows_of(link: Link) -> Ints:
    """Rows of sums that a spike of each index of the link's source walks over."""
    source, reach = link.source, link.reach
    if reach is None:
        return np.zeros(source.indices, np.int64)
    if reach.tables is None:
        return np.full(source.indices, reach.rows)
    at, index = source.code, np.arange(source.indices)
    fields = (index >> at.channel_bits >> at.column_bits, index >> at.channel_bits & (1 << at.column_bits) - 1,
              index & (1 << at.channel_bits) - 1)
    out = np.ones(source.indices, np.int64)
    for entries, place in zip(reach.tables, fields, strict=True):
        counts = np.array([e.count for e in entries])
        out *= np.where(place < len(counts), counts[np.minimum(place, len(counts) - 1)], 0)
    return out


def _tree(placement: Placement, watched: tuple[str, ...]) -> dict[str, Ints]:
    """Which buffers join routers and cores, and what goes where. Ports of routers have the first buffers, then cores."""
    fabric: Fabric = placement.fabric
    tree, cores = fabric.tree(), fabric.cores
    ports = np.array([router.ports for router in tree])
    out = np.arange(3 * len(tree)).reshape(-1, 3)
    entry, exit_ = 3 * len(tree) + np.arange(cores), 3 * len(tree) + cores + np.arange(cores)
    into, feeds = np.full((len(tree), 3), -1), np.zeros(cores, np.int64)
    listeners, way_home = np.zeros((2, len(tree), fabric.keys), np.int64)
    for n, router in enumerate(tree):
        first, last = router.branches[0].cores[0], router.branches[-1].cores[1]
        for port, branch in enumerate(router.branches, 1):
            a, b = branch.cores
            if b - a > 1:
                child = branch.routers[0] - cores
                into[n, port], into[child, 0] = out[child, 0], out[n, port]
            else:
                into[n, port], feeds[a] = exit_[a], out[n, port]
        for part in placement.parts:
            heard = {link.target.core for link in placement.listeners(part)}
            outside = part.core is not None and first <= part.core < last and (
                part.source in watched or any(not first <= core < last for core in heard if core is not None))
            inside = {router.port(core) for core in heard if core is not None and first <= core < last}
            listeners[n, part.key] = sum(1 << port for port in inside | ({0} if outside else set()))
            way_home[n, part.key] = router.port(part.core)
    return {"ports": ports, "into": into, "out": out, "entry": np.stack([feeds, entry], axis=1), "exit": exit_,
            "listeners": listeners, "way_home": way_home}


# --- what is sent


def spikes_of(placement: Placement, trace: Trace, samples: slice) -> Spikes:
    """The packets of the host, and the spikes of each part in the order in which they leave."""
    steps = next(iter(trace.spikes.values())).shape[1]
    host_index, host_count = [], []
    for part in placement.parts:
        if part.core is None:
            if part.source != CLOCK:
                host_index.append(SPIKE | part.key << KEY | part.index << INDEX)
                host_count.append(trace.spikes[part.source][samples].reshape(-1, part.size)[:, part.neurons])
            host_index.append(np.array([STEP | part.key << KEY]))
            host_count.append(np.ones((len(trace.spikes[part.source][samples]) * steps, 1), np.uint8)
                              if part.source != CLOCK else np.ones((_batch(trace, samples) * steps, 1), np.uint8))
    counts = np.concatenate(host_count, axis=1)
    _, column = np.nonzero(counts)
    host = np.repeat(np.concatenate(host_index)[column], counts[counts != 0])
    lanes = placement.fabric.update_lanes
    group, sizes, spike, index, groups, spikes = [], [], [], [], 0, 0
    origin = {line: part for part, line in placement.lines.items()}
    for part in placement.parts:
        if part.core is None:
            continue
        sent, seats, numbers = _sent(part, origin.get(part), trace, samples)
        order = np.argsort(seats)
        sent, seats, numbers = sent[:, order], seats[order], numbers[order]
        step, neuron = np.nonzero(sent)
        times = sent[step, neuron]
        index.append(np.repeat(numbers[neuron], times))
        total = np.zeros(len(sent) + 1, np.int64)
        np.add.at(total, step + 1, times)
        spike.append(spikes + np.cumsum(total))
        where = step * (1 << 32) + seats[neuron] // lanes
        which, begins = np.unique(where, return_index=True)
        sizes.append(np.add.reduceat(times.astype(np.int64), begins) if len(times) else np.zeros(0, np.int64))
        group.append(groups + np.searchsorted(which, np.arange(len(sent) + 1) << 32))
        groups, spikes = groups + len(which), spikes + int(total.sum())
    return Spikes(host=host.astype(np.int64), steps=np.array([steps]), group=np.array(group),
                  sizes=np.concatenate(sizes), spike=np.array(spike), indices=np.concatenate(index))


def _batch(trace: Trace, samples: slice) -> int:
    return len(next(iter(trace.spikes.values()))[samples])


def _sent(part: Part, origin: Part | None, trace: Trace, samples: slice) -> tuple[Any, Ints, Ints]:
    """Spikes ``(steps, neurons)`` of a part, the seat of each neuron and the index that its spikes carry."""
    if origin is None:
        return trace.spikes[part.source][samples].reshape(-1, trace.spikes[part.source].shape[2])[:, part.neurons], \
            part.seat, part.index
    spikes = trace.spikes[origin.source][samples][:, :, origin.neurons]  # a delay line: of each step before, again
    y, x, c = np.nonzero(part.grid.numbers >= 0)
    stages, seats, numbers = [], [], []
    own = np.flatnonzero(part.grid.seats.reshape(-1) >= 0)
    for stage in range(part.stages):
        late = np.zeros_like(spikes)
        late[:, stage + 1 :] = spikes[:, : max(0, spikes.shape[1] - stage - 1)]
        stages.append(late.reshape(-1, spikes.shape[2]))
        seats.append(own + stage * part.grid.rows * part.grid.lanes)
        numbers.append(part.code.index(y + stage * part.grid.height, x, c))
    return np.concatenate(stages, axis=1), np.concatenate(seats), np.concatenate(numbers)
