"""Where the neurons of a population lie in rows of lanes, and which number a spike carries."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .network import Network, Projection

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """Part of a layer: some of its lines (y), of its columns (x) and of the channels at each position.

    The channels of a position lie in ``depth`` rows of ``lanes`` neurons; position follows position, line follows line.
    A layer without planes (``flat``) is one line of positions with ``lanes`` channels each: neuron after neuron.

    ::

        (channels, y, x) = (6, 2, 2) on 4 lanes          flat, 6 neurons

        row 0   c 0 1 2 3   of y 0, x 0                  row 0   0 1 2 3
        row 1   c 4 5 – –                                row 1   4 5 – –
        row 2   c 0 1 2 3   of y 0, x 1
        …
    """

    shape: tuple[int, int, int]  #: of the whole layer: channels, y, x
    lanes: int
    size: int  #: neurons of the whole layer
    flat: bool
    c: range
    y: range
    x: range

    @staticmethod
    def whole(shape: tuple[int, int, int] | None, size: int, lanes: int) -> Grid:
        """All of a layer; ``shape`` None: it is flat."""
        c, y, x = planes = shape or (lanes, 1, -(-size // lanes))
        return Grid(planes, lanes, size, shape is None, range(c), range(y), range(x))

    def cut(self, count: int) -> list[Grid]:
        """At most ``count`` parts of about the same number of rows: of lines, else of columns, else of channels.

        Planes are cut by turns, every ``count``-th line to the same part: where in a picture something happens, all parts
        have their share of the spikes.
        """
        extents = {"y": self.height, "x": self.width, "c": self.depth}
        axis = next((a for a, n in extents.items() if n >= count), max(extents, key=lambda a: extents[a]))
        if axis != "c" and not self.flat:
            shares = [getattr(self, axis)[n::count] for n in range(count)]
        else:
            step = self.lanes if axis == "c" else 1
            ends = [extents[axis] * n // count * step for n in range(count + 1)]
            shares = [getattr(self, axis)[a:b] for a, b in itertools.pairwise(ends)]
        return [replace(self, **{axis: share}) for share in shares if share]

    @property
    def channels(self) -> int:
        """Channels at each position."""
        return len(self.c)

    @property
    def height(self) -> int:
        """Lines."""
        return len(self.y)

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.x)

    @property
    def depth(self) -> int:
        """Rows of each position."""
        return -(-self.channels // self.lanes)

    @property
    def rows(self) -> int:
        """Rows of all positions."""
        return self.height * self.width * self.depth

    @property
    def numbers(self) -> Ints:
        """The layer's own number of each neuron, ``(y, x, channel)``; −1 where a flat layer has none."""
        c, y, x = self.shape
        if self.flat:
            all_ = np.arange(y * x * c).reshape(y, x, c)
            all_[all_ >= self.size] = -1
        else:
            all_ = np.arange(c * y * x).reshape(c, y, x).transpose(1, 2, 0)
        return all_[np.ix_(self.y, self.x, self.c)]

    @property
    def seats(self) -> Ints:
        """The same for every lane of every row, ``(rows, lanes)``; −1: no neuron is there."""
        padded = np.full((self.height, self.width, self.depth * self.lanes), -1)
        padded[:, :, : self.channels] = self.numbers
        return padded.reshape(-1, self.lanes)


@dataclass(frozen=True)
class Code:
    """How a spike's index tells its neuron: fields channel (lowest), x and y."""

    channel_bits: int
    column_bits: int

    @staticmethod
    def of(grid: Grid, seated: bool) -> Code:
        """``seated``: in a core, where every lane of every row has an index."""
        channels = grid.depth * grid.lanes if seated or grid.flat else grid.channels
        return Code((channels - 1).bit_length(), (grid.width - 1).bit_length())

    def index(self, y: Ints, x: Ints, c: Ints) -> Ints:
        """The index of a neuron."""
        return (y << self.column_bits | x) << self.channel_bits | c


def shapes(network: Network) -> dict[str, tuple[int, int, int] | None]:
    """For each source its (channels, y, x), as the windows of its projections have it; None: nothing has planes there.

    Raises :class:`AerloomError` where windows disagree.
    """
    out: dict[str, tuple[int, int, int]] = {}
    origin: dict[str, Projection] = {}

    def put(name: str, shape: tuple[int, int, int], q: Projection) -> None:
        if out.setdefault(name, shape) != shape:
            raise AerloomError(f"{q}: takes {name} as planes (channels, y, x) of {shape}, but {origin[name]} as "
                               f"{out[name]}; put a dense or one-to-one projection between them")
        origin.setdefault(name, q)

    for q in network.projections:
        if q.window:
            put(q.target, (q.weights.shape[0], *q.window.size), q)
        if planes := q.pool or q.window:
            put(q.source, planes.shape, q)
    changed = True
    while changed:  # one to one, neurons that have planes give them to those that have none
        changed = False
        for q in network.projections:
            if q.weights.ndim == 1 and not q.pool:
                for a, b in ((q.source, q.target), (q.target, q.source)):
                    if a in out and b not in out:
                        out[b], origin[b], changed = out[a], q, True
    return {name: out.get(name) for name in network.sources}
