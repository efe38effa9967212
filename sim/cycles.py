"""How many clock cycles a chip takes, from spike counts alone: what its own counter would say, at golden's speed."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from ..hdl.core import Core
from ..hdl.locate import Locate
from ..hdl.neurons import Neurons
from ..hdl.synapses import Synapses
from ..hdl.walk import Walk
from ..models import image
from ..models.contents import Stored, baked
from ..models.errors import AerloomError
from ..models.fabric import CHIP, Fabric, Space, route_record
from ..models.golden import Trace
from ..models.place import CLOCK, Part, Placement
from ..models.record import Record
from . import control
from .control import INDEX, KEY, SPIKE, STEP
from .registers import Buffers, Cores, Ints, Plan, Routers, Spikes

__all__ = ["cycles"]


def cycles(placement: Placement, trace: Trace, *, watch: Collection[str] | None = None, alone: bool = False,
           threads: int = 1) -> Ints:
    """Clock cycles from the first packet of the run to the end of each step ``(batch, steps)``, as
    :attr:`aerloom.host.device.Run.cycles` has them from a chip: the samples of ``trace``, of
    :func:`aerloom.models.golden.run`, one after the other without a pause, by a host that is never late. Where projections
    are sparse it may be wrong by some clocks: a spike's runs of rows are counted, not when each begins.

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
    by_slot = ("unsent", "settled", "ready", "fresh", "taken", "tokens", "credits", "coming", "going", "step")
    shapes = {name: (cores, slots) for name in by_slot}
    shapes |= {"visits": (cores, plan.sizes[7] - 2 + plan.sizes[12]), "waiting": (cores, plan.sizes[6])}
    shapes |= dict.fromkeys(("under_way", "begun"), (cores, plan.sizes[3] + 1))
    start = {"clearing": plan.sizes[2], "settled": 1, "fresh": 1, "tokens": 1, "credits": 1}
    core = Cores(*(np.full(shapes.get(name, (cores,)), start.get(name, 0), np.int64)
                           for name in Cores._fields))
    router = Routers(*np.zeros((len(Routers._fields), routers, 3), np.int64))
    router.last[:, 1:] = plan.ports[:, None] - 1  # of a port down: so what comes from above goes first
    return Buffers(*np.zeros((len(Buffers._fields), 2 + plan.exit.max()), np.int64)), core, router


# --- what the tables hold


@lru_cache(maxsize=8)
def plan_of(placement: Placement, watched: tuple[str, ...]) -> Plan:
    """What a chip reads in its tables; placements do not change, so neither do their plans."""
    fabric, known = placement.fabric, baked(placement, watched)
    cores = [_core(known[n], fabric, placement.parts) for n in range(fabric.cores)]
    t = {name: np.array([core[name] for core in cores]) for name in cores[0] if name != "words"}
    t["costs"] += (np.cumsum([0, *(len(core["words"]) for core in cores[:-1])]))[:, None]
    part = np.zeros((fabric.cores, fabric.populations), np.int64)
    for n, p in enumerate(p for p in placement.parts if p.core is not None):
        part[p.core, p.slot] = n
    gates = _rows(known[CHIP], Space.GATES, fabric.gate_record, fabric.inputs)
    routes = [_rows(known[r.node], Space.ROUTES, route_record(r.ports), fabric.keys) for r in fabric.tree()]
    between = Synapses.latency(fabric) + Neurons.latency(fabric)  # from the last clock of an update to its spikes
    told = len(image.settings(placement, 1, None, None))
    sizes = np.array([fabric.populations, fabric.inputs, fabric.sum_rows, between, Walk.pause, told, fabric.queue,
                      Locate.latency(fabric), fabric.pipelined, Core.pace(fabric), fabric.groups, fabric.regions,
                      fabric.places > 0])
    return Plan(sizes=sizes, words=np.concatenate([core["words"] for core in cores]), part=part,
                gates=np.stack([gates["credits"], _owed(gates["credits_first"], fabric)], axis=1),
                listeners=np.array([r["listeners"] for r in routes]), way_home=np.array([r["home"] for r in routes]),
                **t, **_tree(fabric))


def _rows(stored: Stored, space: Space, record: Record, count: int) -> dict[str, Ints]:
    """A table, field by field."""
    words = stored.words.get(space, {})
    rows = [record.unpack(words.get(n, 0)) for n in range(count)]
    return {name: np.array([int(row[name]) for row in rows], np.int64) for name in record.fields}


def _owed(credits: Ints, fabric: Fabric) -> Ints:
    """With −1 for one that is had in advance."""
    return np.where(credits == (1 << fabric.token_bits) - 1, -1, credits)


def _counts(stored: Stored, space: Space, record: Record, count: int) -> Ints:
    """Of each row of LINES, COLUMNS or CHANNELS how many lines, windows or rows it stands for, with those that go on."""
    rows = _rows(stored, space, record, count)
    for n in np.flatnonzero(rows.get("next", 0))[::-1]:  # what goes on lies behind
        rows["count"][n] += rows["count"][rows["next"][n]]
    return rows["count"]


def _core(stored: Stored, fabric: Fabric, parts: list[Part]) -> dict[str, Ints]:
    """The tables of a core, under the names that :class:`Plan` gives them."""
    keys = _rows(stored, Space.KEYS, fabric.key_record, fabric.keys)
    count = np.where(keys["heard"], keys["more"] + 1, 0)
    projections = _rows(stored, Space.PROJECTIONS, fabric.projection_record, fabric.projections)
    populations = _rows(stored, Space.POPULATIONS, fabric.population_record, fabric.populations)
    populations["credits_first"] = _owed(populations["credits_first"], fabric)
    neurons, pace = populations["final"] + 1, Core.pace(fabric)
    ahead = populations.get("ahead", np.zeros(fabric.populations, np.int64))
    axes = [_counts(stored, *axis) for axis in fabric.axes]
    costs, words, length = np.zeros(fabric.projections, np.int64), [np.zeros(0, np.int64)], 0
    for part in parts:
        for n in range(keys["first"][part.key], keys["first"][part.key] + count[part.key]):
            words.append(rows_of({name: int(column[n]) for name, column in projections.items()}, part.indices, axes))
            costs[n], length = length, length + part.indices
    return {"first": keys["first"], "projections": count, "home": np.where(keys["home"], keys["slot"], -1),
            "target": projections["slot"], "late": projections["late"], "costs": costs, "words": np.concatenate(words),
            "groups": Walk.clocks(fabric, pace, neurons),
            "tail": np.where(pace > 1, pace - 1, -(-neurons // fabric.update_lanes) % fabric.groups == 1 % fabric.groups),
            "grants": _rows(stored, Space.SOURCES, fabric.source_record, fabric.projections)["key"],
            "ahead": ahead,
            **{name: populations[name] for name in ("key", "tokens", "tokens_first", "credits", "credits_first", "sources",
                                                    "source_count")}}


def rows_of(projection: dict[str, int], indices: int, axes: list[Ints]) -> Ints:
    """Rows of sums that a spike of each index of a source walks over, by what :class:`aerloom.hdl.locate.Locate` says."""
    index = np.arange(indices)
    if not projection.get("tabled"):
        return np.full(indices, projection["rows"])
    channel, column = projection["channel_bits"], projection["column_bits"]
    fields = (index >> channel >> column, index >> channel & (1 << column) - 1, index & (1 << channel) - 1)
    y, x, c = (counts[np.minimum(projection[axis] + place, len(counts) - 1)]
               for axis, counts, place in zip("yxc", axes, fields, strict=True))
    return np.asarray(y * x * c)


def _tree(fabric: Fabric) -> dict[str, Ints]:
    """What joins routers and cores: ports of routers have the first registers, then the Buffers behind those, then come
    the Buffers of cores at their entries and exits, and in the last place what is for the host."""
    tree, cores = fabric.tree(), fabric.cores
    into = np.arange(3 * len(tree)).reshape(-1, 3)
    entry, exit_ = 2 * into.size + np.arange(cores), 2 * into.size + cores + np.arange(cores)
    hears, out = np.full_like(into, -1), np.full_like(into, control.UP)
    for n, router in enumerate(tree):
        for port, branch in enumerate(router.branches, 1):
            a, b = branch.cores
            if b - a > 1:
                child = branch.routers[0] - cores
                out[n, port], out[child, 0] = into[child, 0], into[n, port]
            else:
                out[n, port], hears[n, port] = control.CORE - a, exit_[a]
    return {"ports": np.array([router.ports for router in tree]), "into": into, "hears": hears, "out": out,
            "entry": entry, "exit": exit_}


# --- what is sent


def spikes_of(placement: Placement, trace: Trace, samples: slice) -> Spikes:
    """The packets of the host, and the spikes of each part in the order in which they leave."""
    batch, steps, _ = next(iter(trace.spikes.values()))[samples].shape
    host_index, host_count = [], []
    for part in placement.parts:
        if part.core is None:
            if part.source != CLOCK:
                host_index.append(SPIKE | part.key << KEY | part.index << INDEX)
                host_count.append(trace.spikes[part.source][samples].reshape(-1, part.size)[:, part.neurons])
            host_index.append(np.array([STEP | part.key << KEY]))
            host_count.append(np.ones((batch * steps, 1), np.uint8))
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
        where = step << 32 | seats[neuron] // lanes
        which = np.union1d(where, np.arange(len(sent)) << 32 | (part.seated - 1) // lanes)  # the last of a sweep always
        sizes.append(np.bincount(np.searchsorted(which, where), times, len(which)).astype(np.int64))
        group.append(groups + np.searchsorted(which, np.arange(len(sent) + 1) << 32))
        groups, spikes = groups + len(which), spikes + int(total.sum())
    return Spikes(host=host.astype(np.int64), steps=np.array([steps]), group=np.array(group),
                  sizes=np.concatenate(sizes), spike=np.array(spike), indices=np.concatenate(index))


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
