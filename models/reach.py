"""What the spikes of a part reach in another: the rows of sums, and the weights for them.

The hardware walks over windows: from an index it finds the first row and the first weight in three small tables (for y, x
and channel), then goes on by adding. What it takes for that is made here; nothing is expanded, weights stay shared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .fabric import INDEX_BITS
from .grid import Code, Grid
from .network import Projection
from .window import Window

Array = NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """A row of LINES, COLUMNS or CHANNELS, as :attr:`Fabric.axes` have it."""

    row: int = 0
    weights: int = 0
    count: int = 0
    known: int = 1
    fanout: int = 0
    next: int = 0  #: the row, counted from the first of its projection, that goes on with the same spike; 0: none


@dataclass
class Reach:
    """The walk of every spike: fields as in :attr:`Fabric.projection_record`, tables (None: the index says it all)."""

    words: Array  #: ``(words, lanes)`` weights
    stride: int
    rows: int = 0  #: without tables
    fanout: int = 0
    tables: tuple[list[Entry], list[Entry], list[Entry]] | None = None
    step_y: tuple[int, int] = (0, 0)  #: sums and weights from line to line
    step_x: tuple[int, int] = (0, 0)
    code: Code | None = None  #: how indices are taken apart, if not as the source numbers its neurons

    @property
    def empty(self) -> bool:
        """No spike reaches anything."""
        return self.tables is not None and any(not any(e.count for e in axis) for axis in self.tables)


@dataclass
class _Axis:
    """Along one axis: the table, and what is added from window to window."""

    entries: list[Entry] = field(default_factory=list)
    row: int = 0
    weights: int = 0


def reach(q: Projection, source: Grid, target: Grid, direct: bool) -> Reach:
    """What a projection joins; ``direct``: an index of the source is the number of its neuron."""
    if q.window:
        return _convolution(q, q.window, source, target)
    if q.weights.ndim == 1 and not q.pool and (source.shape, source.flat) == (target.shape, target.flat):
        return one_to_one(q.weights, source, target)
    return _dense(q, source, target, direct)


def pooled(pool: Window | None, axis: int, positions: range) -> list[range]:
    """For each position the pooled ones whose windows hold it."""
    if pool is None:
        return [range(n, n + 1) for n in positions]
    kernel, stride, size = pool.kernel[axis], pool.stride[axis], pool.size[axis]
    padded = [n + pool.padding[axis] for n in positions]
    return [range(max(0, -((kernel - 1 - n) // stride)), min(size, n // stride + 1)) for n in padded]


def check_pool(q: Projection) -> None:
    """Refuse pools that the walk over one kind of windows cannot follow."""
    if (p := q.pool) is None:
        return
    if any(d > 1 and k > 1 for k, d in zip(p.kernel, p.dilation, strict=True)):
        raise AerloomError(f"{q}: pooling windows with dilation {p.dilation} are not possible in hardware")
    if q.window and any(k > s for k, s in zip(p.kernel, p.stride, strict=True)):
        raise AerloomError(f"{q}: pooling windows of {p.kernel} that overlap (stride {p.stride}) before a convolution are "
                           "not possible in hardware; pool with a stride of at least the kernel's size, or leave the "
                           "padding of the convolution out: importing makes one convolution of both then")


# --- convolution


def _axis(window: Window, axis: int, positions: list[range], targets: range, row: int, weights: int) -> _Axis:
    """The windows that hold each position: one after the other, steps of ``row`` per target and ``weights`` per place in
    the kernel.

    From one window that holds a position to the next it is ``dilation / gcd`` windows and ``stride / gcd`` places in the
    kernel; where only every n-th window is a target, the same several times.
    """
    stride, dilation, padding = window.stride[axis], window.dilation[axis], window.padding[axis]
    common = math.gcd(stride, dilation)
    times = targets.step // math.gcd(targets.step, dilation // common)
    out = _Axis([], times * dilation // common // targets.step * row, -times * (stride // common) * weights)
    for position in positions:
        held = []
        for k in reversed(range(window.kernel[axis])):
            if not position:
                break
            at, rest = divmod(position[0] + padding - k * dilation, stride)
            if not rest and at in targets:
                held.append((targets.index(at), k))
        at, k = held[0] if held else (0, 0)
        out.entries.append(Entry(at * row, k * weights, len(held)))
    return out


def _convolution(q: Projection, window: Window, source: Grid, target: Grid) -> Reach:
    outs, per_group = q.weights.shape[0] // q.groups, q.weights.shape[1]
    t0, t1, lanes = target.c.start, target.c.stop, target.lanes
    blocks, channels, words = [], [], 0
    for c in source.c:
        group = c // per_group
        a, b = max(group * outs, t0), min((group + 1) * outs, t1)
        if a >= b:
            channels.append(Entry())
            continue
        first, end = (a - t0) // lanes, -(-(b - t0) // lanes)
        block = np.zeros(((end - first) * lanes, *window.kernel), np.int64)
        block[a - t0 - first * lanes : b - t0 - first * lanes] = q.weights[a:b, c % per_group]
        blocks.append(block.reshape(end - first, lanes, -1).transpose(2, 0, 1))  # place in the kernel, row, lane
        channels.append(Entry(first, words, end - first, 1, b - a))
        words += end - first
    y, x = (pooled(q.pool, 0, source.y), pooled(q.pool, 1, source.x))
    lines = _axis(window, 0, y, target.y, target.width * target.depth, window.kernel[1] * words)
    columns = _axis(window, 1, x, target.x, target.depth, words)
    stored = np.concatenate(blocks, axis=1).reshape(-1, lanes) if blocks else np.zeros((0, lanes), np.int64)
    return Reach(stored, 1, tables=(lines.entries, columns.entries, channels), step_y=(lines.row, lines.weights),
                 step_x=(columns.row, columns.weights))


# --- dense, flatten


def _dense(q: Projection, source: Grid, target: Grid, direct: bool) -> Reach:
    matrix = np.diag(q.weights) if q.weights.ndim == 1 else q.weights
    seats = target.seats
    fanout = int(np.count_nonzero(seats >= 0))
    y, x = (pooled(q.pool, 0, source.y), pooled(q.pool, 1, source.x))
    ys, xs = (sorted({at for held in axis for at in held}) for axis in (y, x))
    if q.pool:
        _, height, width = (q.pool.shape[0], *q.pool.size)
        at = np.array(source.c) * height * width
        columns = np.add.outer(np.add.outer(np.array(ys, np.int64) * width, np.array(xs, np.int64)), at)
    else:
        columns = source.numbers
    columns = columns.reshape(-1)
    if direct:
        columns = columns[columns >= 0]
    padded = np.pad(matrix, ((0, 1), (0, 1)))  # −1 is nobody, whose weights are zero
    words = padded[seats[:, None, :], columns[None, :, None]].astype(np.int64).reshape(-1, target.lanes)
    if direct:
        return Reach(words, len(columns), len(seats), fanout)

    def places(axis: list[range], used: list[int], step: int) -> list[Entry]:
        return [Entry(0, used.index(held[0]) * step, len(held)) if held else Entry() for held in axis]

    channels = [Entry(0, c, len(seats), 1, fanout) for c in range(source.channels)]
    line, column = len(xs) * source.channels, source.channels  # words from one pooled position to the next
    return Reach(words, len(columns), tables=(places(y, ys, line), places(x, xs, column), channels), step_y=(0, line),
                 step_x=(0, column))


# --- sparse


def sparse(dense: Reach, indices: int) -> Reach:
    """The same with rows of zeros left out: for each index the runs of rows that have weights.

    Runs of one index are chained; it has one at least, if only to count the weights that golden counts.
    """
    blocks = dense.words.reshape(dense.rows, dense.stride, -1).transpose(1, 0, 2)  # index, row, lane
    used = np.asarray(blocks.any(axis=2))
    used[~used.any(axis=1), 0] = True
    entries = [Entry(known=0)] * indices
    words = np.cumsum(used).reshape(used.shape) - 1  # where each block lies
    for n, rows in enumerate(used):
        starts = np.flatnonzero(rows & ~np.append(False, rows[:-1]))
        ends = np.flatnonzero(rows & ~np.append(rows[1:], False)) + 1
        runs = [Entry(int(a), int(words[n, a]), int(b - a)) for a, b in zip(starts, ends, strict=True)]
        after = [*range(len(entries), len(entries) + len(runs) - 1), 0]
        first, *rest = (replace(run, next=at) for run, at in zip(runs, after, strict=True))
        entries[n] = replace(first, fanout=dense.fanout)
        entries += rest
    only = [Entry(count=1)]
    return Reach(blocks[used], 1, tables=(only, only, entries), code=Code(INDEX_BITS, 0))


def chain(rows: list[Entry], first: int) -> Iterator[Entry]:
    """The row of an index and those that go on with it."""
    while True:
        yield (row := rows[first])
        if not (first := row.next):
            return


# --- one to one


def one_to_one(weights: Array, source: Grid, target: Grid) -> Reach:
    """Each neuron to the one with its number, in layers of the same planes; equal weights are stored once."""
    lanes, numbers = target.lanes, source.numbers
    used = numbers[numbers >= 0]
    alike = len(set(weights[used].tolist())) == 1

    def places(own: range, others: range, row: int, step: int) -> list[Entry]:
        return [Entry(others.index(n) * row, at * step, 1) if n in others else Entry() for at, n in enumerate(own)]

    step = 0 if alike else source.channels
    y = places(source.y, target.y, target.width * target.depth, source.width * step)
    x = places(source.x, target.x, target.depth, step)
    channels = []
    for c in source.c:
        at = c % lanes if alike else c - source.c.start
        channels.append(Entry((c - target.c.start) // lanes, at, 1, 1, 1) if c in target.c else Entry())
    if alike:
        words = np.eye(min(lanes, source.c.stop), lanes, dtype=np.int64) * int(weights[used[0]])
    else:
        padded = np.append(weights.astype(np.int64), 0)
        words = np.zeros((numbers.size, lanes), np.int64)
        lane = np.broadcast_to(np.array(source.c) % lanes, numbers.shape).reshape(-1)
        words[np.arange(numbers.size), lane] = padded[numbers.reshape(-1)]
    return Reach(words, 1, tables=(y, x, channels))


def shifted(grid: Grid, stages: int) -> Reach:
    """A delay line's own: each stage to the next, which starts ``grid.rows`` further on."""
    own = one_to_one(np.ones(grid.size, np.int64), grid, grid)
    assert own.tables is not None
    y, x, channels = own.tables
    lines = [Entry(e.row + (stage + 1) * grid.rows, e.weights, e.count if stage + 1 < stages else 0)
             for stage in range(stages) for e in y]
    lines = [e if e.count else Entry() for e in lines]
    return Reach(own.words, own.stride, tables=(lines, x, uncounted(channels)))


def uncounted(channels: list[Entry]) -> list[Entry]:
    """Channels whose weights are no synaptic operations: spikes are copied, not computed."""
    return [Entry(e.row, e.weights, e.count, e.known) for e in channels]
