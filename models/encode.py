"""8-bit images into spikes, in integers: what the encoder of a chip does, and the host where a chip has none.

Two codes:

``rate``
    A pixel spikes in each step with probability intensity / 255, exactly: 0 never does, 255 always.
``latency``
    A pixel spikes once, the earlier the brighter: 255 in the first step, what is below 1 % never.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import AerloomError
from .network import Network
from .order import CLOCK, host_order

Array = NDArray[Any]

WHITE = 255  #: the largest intensity
DARK = 3  #: the smallest that a latency code sends: 1 % of it
CODES = ("rate", "latency")


def next_draw(draw: Any) -> Any:
    """The draw after ``draw``: eight steps of the LFSR x³² + x²² + x² + x + 1, which goes through 1 … 2³² − 1.

    Of integers, arrays of uint32 and signals of 32 bits.
    """
    top = draw >> 24
    return (draw << 8) & 0xFFFFFFFF ^ top << 22 ^ top << 2 ^ top << 1 ^ top


def fires(intensity: Any, draw: Any) -> Any:
    """Whether a pixel spikes at this draw: so many of 2³² − 1 draws are at most intensity · (2³² − 1) / 255."""
    return (intensity << 24 | intensity << 16 | intensity << 8 | intensity) >= draw


def is_due(intensity: Any, low: Any, high: Any) -> Any:
    """Whether a pixel spikes in a step with this range of intensities."""
    return (intensity > low) & (intensity <= high)


def due(intensity: Any, steps: int) -> Any:
    """The step in which a latency code sends a pixel that is not dark: (255 − intensity) / 255 of the last, rounded."""
    return (2 * (WHITE - intensity) * (steps - 1) + WHITE) // (2 * WHITE)


def latency_ranges(steps: int) -> NDArray[np.uint8]:
    """For each step the ``(low, high)`` of the intensities that :func:`is_due`, ``(steps, 2)``."""
    counts = np.bincount(due(np.arange(DARK, WHITE + 1), steps), minlength=steps)
    low = WHITE - np.cumsum(counts)
    return np.stack([low, low + counts], axis=1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Images:
    """A batch of images, and what their spikes depend on.

    The pixels of all inputs of a network follow each other in the order in which a host sends their spikes within a step,
    and each of them takes a draw in every step.
    """

    inputs: dict[str, int]  #: pixels of each input, in that order
    intensities: NDArray[np.uint8]  #: ``(batch, pixels)``
    steps: int
    first: NDArray[np.uint32]  #: the first draw of each image
    ranges: NDArray[np.uint8] | None = None  #: ``(steps, 2)`` for codes in which intensities are due; None: they are drawn

    def __len__(self) -> int:
        return len(self.intensities)

    def only(self, n: int) -> Images:
        """Image ``n`` alone, with the same spikes."""
        return dataclasses.replace(self, intensities=self.intensities[n : n + 1], first=self.first[n : n + 1])

    def spikes(self) -> dict[str, NDArray[np.uint8]]:
        """Spikes of each input, ``(batch, steps, pixels)``."""
        batch, pixels = self.intensities.shape
        out = np.zeros((batch, self.steps, pixels), np.uint8)
        if self.ranges is not None:
            for step, (low, high) in enumerate(self.ranges):
                out[:, step] = is_due(self.intensities, low, high)
        else:
            levels, draw = np.ascontiguousarray(self.intensities.T, np.uint32), self.first
            now = np.zeros((pixels, batch), bool)
            for step in range(self.steps):
                for pixel, level in enumerate(levels):
                    now[pixel] = fires(level, draw)
                    draw = next_draw(draw)
                out[:, step] = now.T
        ends = np.cumsum([0, *self.inputs.values()])
        return {name: out[:, :, a:b] for name, a, b in zip(self.inputs, ends[:-1], ends[1:], strict=True)}


def images(
    network: Network, values: ArrayLike | Mapping[str, ArrayLike], steps: int, code: str = "rate", seed: int = 0
) -> Images:
    """A batch for ``network``: ``values`` ``(batch, *input.shape)`` in 0 … 1, or in uint8 as they are; with several inputs
    a mapping from their names.

    The draws of an image depend on ``seed`` and on its place in the batch. Raises :class:`AerloomError` for other values.
    """
    if steps < 1:
        raise AerloomError(f"a sample needs at least one step, not {steps}")
    if code not in CODES:
        raise AerloomError(f"there is no encoder {code!r} of images; there are {', '.join(CODES)}")
    order = [name for name in host_order(network) if name != CLOCK]
    if not isinstance(values, Mapping):
        if len(order) != 1:
            raise AerloomError(f"the network has the inputs {', '.join(order)}: give a mapping from their names to images")
        values = {order[0]: values}
    if set(values) != set(order):
        raise AerloomError(f"images are for {', '.join(values) or 'nothing'}, not for the inputs {', '.join(order)}")
    shapes = {i.name: i.shape for i in network.inputs}
    planes = [intensities(_shaped(values[name], shapes[name])) for name in order]
    if len({len(plane) for plane in planes}) > 1:
        raise AerloomError(f"inputs must have equally many images, not {', '.join(str(len(plane)) for plane in planes)}")
    return Images({name: plane.shape[1] for name, plane in zip(order, planes, strict=True)}, np.concatenate(planes, axis=1),
                  steps, first_draws(seed, len(planes[0])), latency_ranges(steps) if code == "latency" else None)


def own_code(network: Network) -> str | None:
    """The code that makes of images what the network's own encoding makes of them; None where that is none of a chip's."""
    encoding = network.meta.get("encoding", {})
    name = {"lfsr": "rate"}.get(encoding.get("name"), encoding.get("name"))
    dark = name == "latency" and WHITE * encoding.get("threshold", 0.01) > DARK  # what else the encoding leaves out
    return name if name in CODES and not dark else None


def blank(network: Network, steps: int | None = None) -> Images | None:
    """A black image in the network's own encoding, of so many steps or of its own; None where no chip makes its spikes."""
    code, steps = own_code(network), steps or network.meta.get("encoding", {}).get("steps")
    if code is None or not steps:
        return None
    return images(network, {i.name: np.zeros((1, i.size), np.uint8) for i in network.inputs}, steps, code)


def code_of(network: Network) -> str:
    """The code by which spikes are made of images where nobody says which: :func:`own_code`, or "rate"."""
    return own_code(network) or "rate"


def first_draws(seed: int, batch: int) -> NDArray[np.uint32]:
    """Where the draws of each image begin: by NumPy's SeedSequence, which is the same in every version."""
    if seed < 0:
        raise AerloomError(f"seed must be at least 0, not {seed}")
    return np.maximum(np.random.SeedSequence(seed).generate_state(batch), 1)  # the LFSR leaves out 0


def intensities(values: Array) -> NDArray[np.uint8]:
    """0 … 1 as 0 … 255, rounded; those of the type uint8 as they are."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "buif" or not (values.min() >= 0 and values.max() <= 1):  # also refuses NaN
        raise AerloomError("images must have values in 0 … 1, or of the type uint8")
    return np.rint(values.astype(np.float64) * WHITE).astype(np.uint8)


def _shaped(values: ArrayLike, shape: tuple[int, ...]) -> Array:
    """``(batch, *shape)`` or ``(batch, pixels)`` as the latter."""
    array, size = np.asarray(values), int(np.prod(shape))
    if array.ndim < 2 or array.shape[1:] not in (shape, (size,)) or not array.size:
        raise AerloomError(f"images must have the shape (batch, {', '.join(map(str, shape))}), not {array.shape}")
    return array.reshape(len(array), size)
