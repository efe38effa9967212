"""The reference, compiled: what :func:`golden.run` computes, event by event and one sample after the other.

A spike adds the weights that leave its neuron to the sums of the population it reaches; whatever is silent costs nothing.
A sample goes through the whole network step by step, so that its state stays in the cache. Needs numba, which compiles
each function once and keeps the result on disk; without it :func:`run` raises.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import golden
from .errors import AerloomError
from .events import BIAS_I, BIAS_V, DECAY_I, DECAY_V, MAX_V, MIN_V, RESET_BY, RESET_LATE, RESET_TO, THRESHOLD, plan_of
from .network import Network

numba: Any = None
with contextlib.suppress(ImportError):  # whoever may do without asks `available`
    numba = importlib.import_module("numba")

Array = NDArray[Any]
available = numba is not None  #: whether :func:`run` can run


def compiled(function: Callable[..., Any]) -> Any:
    """The function, to be compiled for the types of its first call; as it is without numba."""
    if numba is None:
        return function
    # Without counting references to arrays, which takes longer than a step of a small population; so none may be made
    return numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function)

DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  #: times a power of two: another number in the upper 6 bits for each
BIT = np.zeros(64, np.uint64)  #: which power of two it was
for _n in range(64):
    BIT[(0x03F79D71B4CB0A89 << _n) % 2**64 >> 58] = _n


def run(
    network: Network, spikes: Array | Mapping[str, Array], *, membranes: Collection[str] = (), threads: int = 1
) -> golden.Trace:
    """What :func:`golden.run` returns for these arguments, for an integer network.

    ``threads`` share the samples of the batch. Raises :class:`AerloomError` for a floating-point network, for spikes that
    do not fit the inputs, and where numba is missing.
    """
    if numba is None:
        raise AerloomError("the compiled engine needs numba: pip install 'aerloom[fast]'")
    if not network.is_integer:
        raise AerloomError("the compiled engine runs integer networks; quantize this one, or use golden.run")
    if threads < 1:
        raise AerloomError(f"threads must be at least 1, not {threads}")
    plan, trace = plan_of(network), golden.Trace(spikes=golden.check_spikes(network, spikes))
    given = plan.words(trace.spikes)
    batch, steps, _ = given.shape
    wanted = np.array([name in membranes for name in network.order])
    kept = np.zeros((batch, steps if membranes else 0, plan.slots), plan.kind)
    sent = np.zeros((batch, steps, plan.slots), np.uint8)
    v, i, after = np.zeros((3, batch, plan.slots), plan.kind)
    v[:] = plan.v0
    counts = np.zeros((batch, len(wanted) + 1), np.int64)

    def work(part: slice) -> None:
        lists, sums = np.empty((4, plan.longest), np.uint64), np.zeros((2, plan.slots), plan.kind)
        run_samples(given[part], sent[part], sent[part].view(np.uint64), v[part], i[part], after[part], kept[part],
                    counts[part], wanted, lists, sums, np.empty(plan.slots, plan.scratch), *plan.tables)

    if threads == 1 or batch == 1:
        work(slice(None))
    else:
        bounds = np.linspace(0, batch, min(threads, batch) + 1).astype(int)
        with ThreadPoolExecutor(threads) as workers:
            list(workers.map(work, map(slice, bounds[:-1], bounds[1:])))

    total = counts.sum(axis=0).tolist()
    trace.synaptic_operations = total[-1]
    for n, part in enumerate(plan.parts):
        name, kind = part.name, part.kind
        trace.spikes[name] = part.of(sent)
        trace.state[name] = golden.State(
            part.of(v, kind), part.of(i, kind) if part.filtered else None,
            part.of(after, part.after) if part.after else None, total[n],
        )
        trace.saturations[name] = total[n]
        if wanted[n]:
            trace.membranes[name] = part.of(kept, kind)
    return trace


# --- compiled; indices are unsigned where a loop is to become vector instructions: none can count from the end


@compiled
def run_samples(
    given: Any, sent: Any, again: Any, v: Any, i: Any, after: Any, kept: Any, counts: Any, wanted: Any, lists: Any,
    sums: Any, scratch: Any, populations: Any, projections: Any, parameters: Any, max_i: Any, weights: Any,
    tables: Any, pools: Any,
) -> None:
    """Run samples from the state ``v``, ``i``, ``after`` ``(batch, slots)``, which becomes the final one.

    ``given`` are input spikes as words ``(batch, steps, words)``; ``sent`` takes those of populations, and ``again`` is
    the same as words; ``kept`` takes their membranes after each step where ``wanted``. ``counts``
    ``(batch, populations + 1)`` grow by the clipped updates of each, and the weights added. ``lists``, ``sums`` (zeros)
    and ``scratch`` are for use within.
    """
    active, times, pooled, pooled_times = lists[0], lists[1], lists[2], lists[3]
    drive, clipped = sums[0], sums[1]
    for sample in range(len(given)):
        v_now, i_now, after_now, count = v[sample], i[sample], after[sample], counts[sample]
        for t in range(given.shape[1]):
            out, done = sent[sample, t], 0
            for k in range(len(populations)):
                p = populations[k]
                for n in range(p.width):
                    drive[n] = 0
                for n in range(done, done + p.projections):
                    q = projections[n]
                    if t < q.delay:
                        continue
                    words = again[sample] if q.sent else given[sample]
                    found = collect(words[t - q.delay], q.word, q.words, q.once, active, times)
                    events, often = active, times
                    if q.pool >= 0:
                        found = pool(active, times, found, pools, q.pool, pooled, pooled_times)
                        events, often = pooled, pooled_times
                    if not q.width:
                        count[-1] += add_pieces(drive, events, often, found, weights, q.weights, tables, q.neurons)
                    elif q.once:
                        add_rows(drive, events, found, weights, q.weights, q.width, scratch, q.neurons)
                        count[-1] += found * q.fanout
                    else:
                        count[-1] += add_multiples(drive, events, often, found, weights, q.weights, q.width) * q.fanout
                done += p.projections
                count[k] += fire(p, v_now, i_now, after_now, drive, clipped, out, parameters, max_i)
                if wanted[k]:
                    for n in range(p.first, p.first + p.width):
                        kept[sample, t, n] = v_now[n]


@compiled
def bits(word: Any) -> Any:
    """A bit for each byte of the word, in the lowest eight: whether it is not zero."""
    low, high = np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0x8080808080808080)
    return (((((word & low) + low) | word) & high) * np.uint64(0x0002040810204081)) >> np.uint64(56)


@compiled
def collect(words: Any, first: int, number: int, once: int, active: Any, times: Any) -> int:
    """List the neurons that spike, bytes that are not zero in some of the words, and how often: 1 for ``once``.

    Returns their number. Eight words at a time become a mask with a bit per neuron.
    """
    one, found = np.uint64(1), 0
    for block in range(0, number, 8):
        mask, start = np.uint64(0), first + block
        if number - block >= 8:
            for n in range(8):  # a constant: without a jump
                mask |= bits(words[start + n]) << np.uint64(8 * n)
        else:
            for n in range(number - block):
                mask |= bits(words[start + n]) << np.uint64(8 * n)
        while mask:
            rest = mask & (mask - one)
            active[found] = np.uint64(8 * block) + BIT[((mask ^ rest) * DE_BRUIJN) >> np.uint64(58)]
            found += 1
            mask = rest
    if once:
        for e in range(found):
            times[e] = 1
    else:
        for e in range(found):
            n = active[e]
            word = words[np.uint64(first) + (n >> np.uint64(3))]
            times[e] = (word >> ((n & np.uint64(7)) << np.uint64(3))) & np.uint64(255)
    return found


@compiled
def pool(active: Any, times: Any, found: int, pools: Any, at: int, pooled: Any, pooled_times: Any) -> int:
    """List for each neuron that spikes the windows that hold it: ``pools[at + neuron]`` says where they begin and end."""
    out = 0
    for e in range(found):
        here = np.uint64(at) + active[e]
        for n in range(pools[here], pools[here + np.uint64(1)]):
            pooled[out], pooled_times[out] = pools[n], times[e]
            out += 1
    return out


@compiled
def add_rows(drive: Any, active: Any, found: int, weights: Any, at: int, width: int, scratch: Any, silent: int) -> None:
    """Add a row of weights per spike. Eight rows at once, so that sums are loaded and stored less often; row ``silent`` is
    zeros, and fills up the last eight. ``scratch`` holds the sum of 248 rows."""
    base, wide = np.uint64(at), np.uint64(width)
    for e in range(found, (found + 7) // 8 * 8):
        active[e] = silent
    for first in range(0, found, 248):
        for n in range(wide):
            scratch[n] = 0
        for e in range(first, min(first + 248, found), 8):
            a, b = base + active[e] * wide, base + active[e + 1] * wide
            c, d = base + active[e + 2] * wide, base + active[e + 3] * wide
            f, g = base + active[e + 4] * wide, base + active[e + 5] * wide
            h, k = base + active[e + 6] * wide, base + active[e + 7] * wide
            for n in range(wide):
                scratch[n] += (((weights[a + n] + weights[b + n]) + (weights[c + n] + weights[d + n]))
                               + ((weights[f + n] + weights[g + n]) + (weights[h + n] + weights[k + n])))
        for n in range(wide):
            drive[n] += scratch[n]


@compiled
def add_multiples(drive: Any, active: Any, times: Any, found: int, weights: Any, at: int, width: int) -> int:
    """Add a row of weights as often as each neuron spikes; returns the number of spikes."""
    base, wide, total = np.uint64(at), np.uint64(width), 0
    for e in range(found):
        row, count = base + active[e] * wide, drive.dtype.type(times[e])
        for n in range(wide):
            drive[n] += weights[row + n] * count
        total += int(times[e])
    return total


@compiled
def add_pieces(drive: Any, active: Any, times: Any, found: int, weights: Any, at: int, tables: Any, neurons: int) -> int:
    """Add the pieces of rows that belong to each spike; returns the number of weights added.

    ``tables[neurons + neuron]`` is ``(first piece, end, offset)``, each piece ``(slot, weight, length)``, with the offset
    to add to the weight's index.
    """
    total = 0
    for e in range(found):
        neuron, count = np.uint64(neurons) + active[e], drive.dtype.type(times[e])
        base = at + tables[neuron, 2]
        for n in range(tables[neuron, 0], tables[neuron, 1]):
            into, row, length = np.uint64(tables[n, 0]), np.uint64(base + tables[n, 1]), tables[n, 2]
            for m in range(np.uint64(length)):
                drive[into + m] += weights[row + m] * count
            total += length * int(times[e])
    return total


@compiled
def decay(x: Any, factors: Any, n: Any, rounding: Any) -> Any:
    """Computes :meth:`golden.Rule.decay` of ``x[n]``, in its type; ``rounding`` is added to what is negative."""
    kind = x.dtype.type
    product = kind(x[n] * factors[n])
    return kind(kind(product + (kind(product >> kind(8 * x.itemsize - 1)) & rounding)) >> kind(12))


@compiled
def fire(p: Any, v: Any, i: Any, after: Any, drive: Any, clipped: Any, out: Any, parameters: Any, max_i: Any) -> int:
    """Computes :func:`golden.fire` for a population; returns in how many slots v or i was clipped.

    ``drive`` holds the summed weights, from its first slot on, ``clipped`` zeros. Most populations are ``simple``, and
    their loop becomes vector instructions; the other says the same with every option.
    """
    kind = v.dtype.type
    scale, rounding, count = kind(p.scale), kind(p.rounding), kind(0)
    first, width = np.uint64(p.first), np.uint64(p.width)
    min_v, max_v, threshold = parameters[MIN_V], parameters[MAX_V], parameters[THRESHOLD]
    if p.filtered:
        for n in range(width):
            at = first + n
            x = kind(decay(i, parameters[DECAY_I], at, rounding) + drive[n] * scale + parameters[BIAS_I, at])
            i[at] = drive[n] = min(max(x, ~max_i), max_i)
            clipped[n] = kind(x != drive[n])
        scale = kind(1)
    if p.simple:
        for n in range(width):
            at = first + n
            x = kind(decay(v, parameters[DECAY_V], at, rounding) + drive[n] * scale + parameters[BIAS_V, at])
            y = min(max(x, min_v[at]), max_v[at])
            count = kind(count + (kind(x != y) | clipped[n]))
            spike = y >= threshold[at]
            out[at] = spike
            v[at] = y - (parameters[RESET_BY, at] if spike else kind(0))
    else:
        for n in range(width):
            at, spikes = first + n, 0
            x = kind(decay(v, parameters[DECAY_V], at, rounding) + drive[n] * scale + parameters[BIAS_V, at])
            if p.late:
                x = kind(x - parameters[RESET_LATE, at] * after[at])
            y = min(max(x, min_v[at]), max_v[at])
            held = p.refractory > 0 and after[at] > 0
            count += (x != y and not held) or clipped[n] > 0
            if held:
                y = v[at]
                after[at] -= 1
            else:
                if p.late and p.to and after[at] > 0:
                    y = parameters[RESET_TO, at]
                if y >= threshold[at]:
                    spikes = 1 if p.max_spikes == 1 else min(y // threshold[at], p.max_spikes)
                after[at] = spikes if p.late else p.refractory if spikes else 0
            if spikes and not p.late:
                y = parameters[RESET_TO, at] if p.to else kind(y - parameters[RESET_BY, at] * spikes)
            out[at], v[at] = spikes, y
    if p.filtered:
        for n in range(width):
            clipped[n] = 0
    return count
