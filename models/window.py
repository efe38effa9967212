"""Windows that slide over the planes of a layer: the geometry of convolution and pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError

BLOCK = 1 << 23  #: numbers that an intermediate array of a convolution holds at once


@dataclass(frozen=True)
class Window:
    """Windows of ``kernel`` numbers (y, x), ``stride`` apart, over planes of ``shape`` (channels, y, x).

    ``padding`` is (top, left, bottom, right), or (y, x) for both sides: zeros around the planes. One-dimensional layers
    have y = 1. Raises :class:`AerloomError` where no window fits.
    """

    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, ...] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        for name in ("shape", "kernel", "stride", "padding", "dilation"):
            value = tuple(int(n) for n in getattr(self, name))
            if name == "padding" and len(value) == 2:
                value *= 2
            if len(value) != {"shape": 3, "padding": 4}.get(name, 2) or min(value) < (name != "padding"):
                raise AerloomError(f"{name} of a window must be {'(channels, y, x)' if name == 'shape' else '(y, x)'}, "
                                   f"not {value}")
            object.__setattr__(self, name, value)
        if min(self.size) < 1:
            raise AerloomError(f"a window of {self.reach} does not fit planes of {self.shape[1:]} with this padding")

    @property
    def reach(self) -> tuple[int, int]:
        """Extent of a window, dilation included."""
        (ky, kx), (dy, dx) = self.kernel, self.dilation
        return (ky - 1) * dy + 1, (kx - 1) * dx + 1

    @cached_property
    def size(self) -> tuple[int, int]:
        """Number of windows (y, x)."""
        _, y, x = self.shape
        top, left, bottom, right = self.padding
        free = y + top + bottom - self.reach[0], x + left + right - self.reach[1]
        return free[0] // self.stride[0] + 1, free[1] // self.stride[1] + 1

    @property
    def area(self) -> int:
        """Numbers in a window."""
        return math.prod(self.kernel)

    @property
    def apart(self) -> bool:
        """Whether no two windows share a number, and none has holes."""
        return all(k <= s and (d == 1 or k == 1)
                   for k, s, d in zip(self.kernel, self.stride, self.dilation, strict=True))

    def after(self, first: Window) -> Window | None:
        """The windows over the planes of ``first`` that hold what these windows, over its sums, hold.

        None where there are none: beyond the edge of the sums there are zeros, and windows of ``first`` out there that hold
        numbers of the planes all the same could be left out only by windows that know where they are.
        """
        y, x = (self._along(first, axis) for axis in (0, 1))
        if y is None or x is None:
            return None
        kernel, stride, before, behind, dilation = zip(y, x, strict=True)
        return Window(first.shape, kernel, stride, (*before, *behind), dilation)

    def _along(self, first: Window, axis: int) -> tuple[int, int, int, int, int] | None:
        """Along one axis: kernel, stride, padding before and behind, and dilation of :meth:`after`."""
        kernel, inner = self.kernel[axis], first.kernel[axis]
        stride, dilation = self.stride[axis], self.dilation[axis]
        step, apart = first.stride[axis], first.dilation[axis]
        before, behind = self.padding[axis], self.padding[axis + 2]

        sums = np.add.outer(np.arange(self.size[axis]) * stride, np.arange(kernel) * dilation) - before
        beyond = sums[(sums < 0) | (sums >= first.size[axis])]
        numbers = np.add.outer(beyond * step, np.arange(inner) * apart) - first.padding[axis]
        if np.any((numbers >= 0) & (numbers < first.shape[1 + axis])):
            return None
        reach = (self.reach[axis] - 1) * step + first.reach[axis]
        common = math.gcd((kernel > 1) * dilation * step, (inner > 1) * apart) or 1
        return ((reach - 1) // common + 1, stride * step, before * step + first.padding[axis],
                behind * step + first.padding[axis + 2], common)

    def view(self, planes: NDArray[Any]) -> NDArray[Any]:
        """The windows ``(n, channels, size y, size x, kernel y, kernel x)`` of planes ``(n, channels, y, x)``."""
        top, left, bottom, right = self.padding
        if any(self.padding):
            planes = np.pad(planes, ((0, 0), (0, 0), (top, bottom), (left, right)))
        n, c, *steps = planes.strides
        strides = (n, c, *(s * k for s, k in zip(steps, self.stride, strict=True)),
                   *(s * k for s, k in zip(steps, self.dilation, strict=True)))
        return np.lib.stride_tricks.as_strided(
            planes, (*planes.shape[:2], *self.size, *self.kernel), strides, writeable=False)

    @cached_property
    def sources(self) -> NDArray[np.int64]:
        """Index of the number that each place of each window holds, ``(channels, size…, kernel…)``; −1 for padding."""
        numbers = np.arange(1, math.prod(self.shape) + 1).reshape(1, *self.shape)
        return self.view(numbers)[0] - 1

    def count(self, weights: NDArray[Any]) -> NDArray[np.int64]:
        """For each number of the planes the sum of ``weights`` (channels, size…) of the windows that hold it, flat."""
        held = np.broadcast_to(weights[..., None, None], self.sources.shape)
        return np.bincount(self.sources.ravel() + 1, held.ravel(), math.prod(self.shape) + 1)[1:].astype(np.int64)

    def add(self, flat: NDArray[Any], kind: Any) -> NDArray[Any]:
        """Sums over the windows of each channel: ``(n, numbers)`` to ``(n, channels · windows)`` of type ``kind``."""
        planes = flat.reshape(-1, *self.shape)
        return self.view(planes).sum(axis=(4, 5), dtype=kind).reshape(len(flat), -1)

    def convolve(self, flat: NDArray[Any], weights: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Weighted sums ``(n, out channels · windows)`` of ``(n, numbers)``; ``weights`` has for each group of channels
        a matrix ``(channels · kernel, out channels)``, and its type is that of the result."""
        channels, places = self.shape[0] // len(weights), math.prod(self.size)
        outs = weights[0].shape[1]
        total = np.empty((len(flat), len(weights), outs, places), weights[0].dtype)
        block = max(1, BLOCK // (places * channels * self.area))
        for first in range(0, len(flat), block):
            view = self.view(flat[first:first + block].reshape(-1, *self.shape))
            for g, matrix in enumerate(weights):
                part = view[:, g * channels:(g + 1) * channels].transpose(0, 2, 3, 1, 4, 5)
                columns = np.empty(part.shape, matrix.dtype)
                columns[...] = part
                sums = columns.reshape(-1, len(matrix)) @ matrix
                total[first:first + block, g] = sums.reshape(-1, places, outs).transpose(0, 2, 1)
        return total.reshape(len(flat), -1)
