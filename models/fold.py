"""Layers without neurons between two populations, folded into one projection.

They are linear: a pooling first, then one-to-one, dense or convolution weights, and a whole number of steps. A pooling
whose windows overlap, and layers of windows one after the other, become one convolution (:func:`joined`), as hardware has
one kind of windows per projection. Everything here is exact; what would not be is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .graph import DENSE, POOLS, Node, Shape, planes
from .text import counted
from .window import Window

Array = NDArray[Any]

DENSEST = 1 << 24  #: weights of a dense matrix that layers without neurons between them may multiply out to


@dataclass
class Synapses:
    """A path from a source of some ``shape``, folded as far as it has been walked."""

    shape: Shape
    pool: Window | None = None
    pooling: str = ""  #: name of the node that pools
    weights: Array | None = None  #: None: every number to its own, times ``scale``
    window: Window | None = None
    scale: Array | float = 1.0
    steps: int = 0  #: of delay
    notes: dict[str, str] = field(default_factory=dict)  #: by node: what is worth saying

    def add(self, node: Node, shape: Shape) -> None:
        """Append a linear node, into which numbers of a shape come; raises :class:`AerloomError` where they do not fit."""
        check_fits(node, shape)
        pools, convolves = node.kind in POOLS, node.kind.startswith("Conv")
        if node.kind in ("Scale", "BatchNorm"):
            self._scale(node, shape)
        elif (pools or convolves) and self.weights is None and not (pools and self.pool) and (
                channels := per_channel(self.scale, shape)) is not None:
            if pools:
                self.pool, self.pooling = node.window(shape), node.name
                area = self.pool.area if node.kind == "AvgPool2d" else 1
                self.scale = np.repeat(channels, math.prod(self.pool.size)) / area
            else:
                self.window, inputs = node.window(shape), node.weights.shape[1]
                of_group = channels.reshape(-1, inputs).repeat(len(node.weights) * inputs // len(channels), axis=0)
                self.weights = _product(node.weights, of_group[:, :, None, None])
        elif node.kind in DENSE and self.window is None:
            if self.weights is None:
                self.weights = _product(node.weights, self.scale)
            else:
                self.weights = node.weights * self.weights if self.weights.ndim == 1 else node.weights @ self.weights
        elif pools or convolves:
            if not self._join(node, shape):
                self._multiply_out(node, shape)
        elif node.kind in DENSE:
            self._multiply_out(node, shape)

    def _scale(self, node: Node, shape: Shape) -> None:
        scale = spread(node, "scale", shape)
        if self.weights is None:
            self.scale = self.scale * scale
        elif self.window is None:
            self.weights = (self.weights.T * scale).T
        elif (channels := per_channel(scale, (len(self.weights), scale.size // len(self.weights)))) is not None:
            self.weights = self.weights * channels[:, None, None, None]
        else:
            self._multiply_out(node, shape)

    def _join(self, node: Node, shape: Shape) -> bool:
        """Whether a convolution and this layer of windows after it are now one, of no more weights than a dense matrix."""
        if self.window is None or self.weights is None:
            return False
        window = node.window(shape)
        made = joined(self.window, self.weights, window, as_convolution(node, window))
        if made is None or made[1].size > math.prod(self.shape) * math.prod(node.shape(shape) or shape):
            return False
        self.notes[node.name] = _one(f"one with the convolution before it: {self.window.kernel}", self.weights, *made)
        self.window, self.weights = made
        return True

    def _multiply_out(self, node: Node, shape: Shape) -> None:
        """All so far and this node as one dense matrix: exact, where it is not too large."""
        sources, targets = math.prod(self.shape), math.prod(node.shape(shape) or shape)
        if sources * targets > DENSEST:
            raise AerloomError(f"{node}: no neurons before it, and multiplied out the layers would have "
                               f"{sources * targets:,} weights; put neurons between them")
        x = np.eye(sources)
        if self.pool:
            x = self.pool.add(x, float)
        if self.weights is None:
            x = x * self.scale
        elif self.window is not None:
            x = _convolve(self.window, self.weights, x)
        else:
            x = x @ self.weights.T if self.weights.ndim == 2 else x * self.weights
        self.weights, self.pool, self.window, self.scale = apply(node, x, shape).T, None, None, 1.0
        self.notes[node.name] = f"multiplied out with the layers before it: {targets} × {sources} dense weights, exact"

    def finish(self) -> Array:
        """The weights; a path without any gets one to one, or a convolution with equal weights for a pooling."""
        if self.weights is not None:
            if self.pool and self.window and not self.pool.apart:
                self._unpool(self.pool, self.window, self.weights)
            return self.weights
        if self.pool is None:
            self.weights = np.array(np.broadcast_to(np.asarray(self.scale, float), math.prod(self.shape)))
            return self.weights
        channels = per_channel(self.scale, (self.pool.shape[0], *self.pool.size))
        if channels is None:
            raise AerloomError("numbers of one channel are scaled differently after pooling; scale before the neurons")
        self.weights = np.array(np.broadcast_to(channels[:, None, None, None], (len(channels), 1, *self.pool.kernel)))
        self.window, self.pool = self.pool, None
        return self.weights


    def _unpool(self, pool: Window, window: Window, weights: Array) -> None:
        """Windows that overlap, and the convolution after them, as one; they stay two where that would not be exact."""
        what = f"windows of {pool.kernel} overlap (stride {pool.stride})"
        ones = np.ones((pool.shape[0], 1, *pool.kernel))
        if (made := joined(pool, ones, window, weights)) is None:
            self.notes[self.pooling] = (
                f"{what} and the convolution pads their sums, which no one convolution does: golden runs it, no chip holds "
                "it; pool with a stride of at least the kernel's size, or leave the padding of the convolution out")
            return
        self.notes[self.pooling] = _one(f"{what}, so they are one with the convolution: {window.kernel}", weights, *made)
        self.pool, (self.window, self.weights) = None, made


def joined(first: Window, inner: Array, second: Window, outer: Array) -> tuple[Window, Array] | None:
    """Two convolutions, one after the other, as one: its windows and weights. None where that would not be exact.

    A place of the new kernel is reached by each pair of places of the old ones whose offsets add up to it, and holds the
    sum over those pairs of ``outer @ inner``. Channels stay in as many groups as both have in common.
    """
    if (window := second.after(first)) is None:
        return None
    groups = math.gcd(first.shape[0] // inner.shape[1], second.shape[0] // outer.shape[1])
    a, b = _in_groups(inner, first.shape[0], groups), _in_groups(outer, second.shape[0], groups)
    out = np.zeros((*window.kernel, groups, b.shape[-2], a.shape[-1]))
    steps = [max(1, d * s // e) for d, s, e in zip(second.dilation, first.stride, window.dilation, strict=True)]
    for place in np.ndindex(first.kernel):
        at = [n * d // e for n, d, e in zip(place, first.dilation, window.dilation, strict=True)]
        held = tuple(slice(n, n + (k - 1) * s + 1, s) for n, k, s in zip(at, second.kernel, steps, strict=True))
        out[held] += b @ a[place]
    outs, inputs = groups * b.shape[-2], a.shape[-1]
    return window, out.transpose(2, 3, 4, 0, 1).reshape(outs, inputs, *window.kernel)


def _in_groups(weights: Array, channels: int, groups: int) -> Array:
    """The weights of a convolution over ``channels`` as ``(y, x, groups, out, in)``, in fewer groups than it has."""
    inputs = weights.shape[1]
    own = channels // inputs
    outs = len(weights) // own
    each = own // groups
    given = weights.transpose(2, 3, 0, 1).reshape(*weights.shape[2:], groups, each, outs, inputs)
    out = np.zeros((*given.shape[:3], each, outs, each, inputs))
    for n in range(each):
        out[..., n, :, n, :] = given[..., n, :, :]
    return out.reshape(*weights.shape[2:], groups, each * outs, each * inputs)


def as_convolution(node: Node, window: Window) -> Array:
    """The weights of a layer of windows: those of a convolution, or equal ones for each channel of a pooling."""
    if node.kind not in POOLS:
        return node.weights
    return np.full((window.shape[0], 1, *window.kernel), 1 / window.area if node.kind == "AvgPool2d" else 1.0)


def _one(text: str, weights: Array, window: Window, made: Array) -> str:
    """What it costs that two layers are one."""
    return f"{text} becomes {window.kernel}, {counted(made.size, 'weight')} instead of {weights.size:,}, exact"


def apply(node: Node, x: Array, shape: Shape) -> Array:
    """What a linear node makes of ``(n, numbers)`` of a shape, without its bias."""
    if node.kind in DENSE:
        return x @ node.weights.T
    if node.kind in POOLS:
        window = node.window(shape)
        return window.add(x, x.dtype) / (window.area if node.kind == "AvgPool2d" else 1)
    if node.kind.startswith("Conv"):
        return _convolve(node.window(shape), node.weights, x)
    return x * spread(node, "scale", shape) if node.kind in ("Scale", "BatchNorm") else x


def spread(node: Node, name: str, shape: Shape) -> Array:
    """A parameter of a node for each number of a shape: it holds one, one per channel, or one for each."""
    value = np.asarray(node.fields[name])
    size = math.prod(shape)
    if value.size == 1:
        return np.broadcast_to(value.reshape(()), size)
    if value.size == shape[0]:
        return np.repeat(value.reshape(-1), size // shape[0])
    if value.size != size:
        raise AerloomError(f"{node}: {name} must have 1, {shape[0]} or {size} values for {shape}, not {value.size}")
    return value.reshape(-1)


def per_channel(values: Any, shape: Shape) -> Array | None:
    """One value per channel, where the values ``(size,)`` are that."""
    rows = np.broadcast_to(values, math.prod(shape)).reshape(shape[0], -1)
    return rows[:, 0] if np.all(rows == rows[:, :1]) else None


def check_fits(node: Node, shape: Shape) -> None:
    """Raises :class:`AerloomError` where the weights of a node do not take numbers of a shape."""
    if node.kind in DENSE and node.weights.shape[1] != math.prod(shape):
        raise AerloomError(f"{node}: weight {node.weights.shape} takes {node.weights.shape[1]} inputs, but "
                           f"{math.prod(shape)} {shape} arrive")
    if node.kind.startswith("Conv"):
        inputs, groups = node.weights.shape[1], int(np.asarray(node.fields.get("groups", 1)).reshape(-1)[0])
        if groups < 1 or inputs * groups != planes(shape)[0] or len(node.weights) % groups:
            raise AerloomError(f"{node}: weight {node.weights.shape} in {groups} groups takes {inputs * groups} channels, "
                               f"but {shape} arrive")


def _product(weights: Array, scale: Any) -> Array:
    return weights if np.all(np.asarray(scale) == 1) else weights * scale


def _convolve(window: Window, weights: Array, x: Array) -> Array:
    groups = np.split(weights.astype(x.dtype), window.shape[0] // weights.shape[1])
    return window.convolve(x, [np.ascontiguousarray(g.reshape(len(g), -1).T) for g in groups])
