"""Encoders: values in 0 … 1 into spikes.

Each takes ``values`` ``(batch, …)`` and gives uint8 ``(batch, steps, …)``; the same arguments give the same spikes, on
every machine.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..models import convert
from ..models.encode import Images, first_draws, intensities
from ..models.errors import AerloomError
from ..models.network import Network

Spikes = NDArray[np.uint8]


def rate(values: ArrayLike, steps: int, *, seed: int = 0, max_rate: float = 1.0) -> Spikes:
    """Bernoulli spikes: in each step with probability ``max_rate · value``, drawn from NumPy's PCG64 by ``seed``."""
    if not 0 <= max_rate <= 1:
        raise AerloomError(f"max_rate is a probability, 0 … 1, not {max_rate}")
    chance = np.asarray(_checked(values, steps) * np.float32(max_rate), np.float32)
    random = np.random.default_rng(seed)
    draws = random.random((len(chance), steps, *chance.shape[1:]), dtype=np.float32)
    return (draws < chance[:, None]).view(np.uint8)


def lfsr(values: ArrayLike, steps: int, *, seed: int = 0) -> Spikes:
    """Bernoulli spikes as a chip makes them of an image: with probability round(255 · value) / 255, drawn from an LFSR.

    See :mod:`aerloom.models.encode`, whose latency code is :func:`latency` of such values too.
    """
    array = _checked(values, steps)
    level = intensities(array.reshape(len(array), -1))
    spikes = Images({"": level.shape[1]}, level, steps, first_draws(seed, len(level))).spikes()[""]
    return spikes.reshape(len(array), steps, *array.shape[1:])


def latency(values: ArrayLike, steps: int, *, threshold: float = 0.01) -> Spikes:
    """One spike each, the earlier the larger the value: 1 in the first step; below ``threshold`` none."""
    array = _checked(values, steps)
    when = np.round((1 - array) * (steps - 1)).astype(np.int64)
    step = np.arange(steps).reshape(-1, *[1] * (array.ndim - 1))
    return ((when[:, None] == step) & (array >= threshold)[:, None]).view(np.uint8)


def delta(values: ArrayLike, threshold: float = 0.1) -> Spikes:
    """Send on delta: values ``(batch, steps, n)`` over time into ``(batch, steps, 2 n)``, first the n neurons that spike
    when the value has risen by ``threshold`` since they or their partner did, then the n for falls."""
    array = _checked(values, 1)
    if array.ndim != 3:
        raise AerloomError(f"delta takes values (batch, steps, n), not {array.shape}")
    out = np.zeros((*array.shape[:2], 2 * array.shape[2]), np.uint8)
    level, n = array[:, 0].copy(), array.shape[2]
    for t in range(1, array.shape[1]):
        up, down = array[:, t] - level >= threshold, level - array[:, t] >= threshold
        level += threshold * (up.astype(np.float32) - down)
        out[:, t, :n], out[:, t, n:] = up, down
    return out


def direct(network: Network, values: ArrayLike, *, population: str | None = None) -> Network:
    """Direct coding: one sample's ``values`` as a constant current, in the bias of a population.

    ``values`` ``(neurons,)`` are added to the bias, in its own units: floating-point values for a floating-point
    network, integers on the membrane's scale for a quantised one. Returns a copy of the network; of the first population
    by default.
    """
    chosen = network.find(population or network.populations[0].name)
    name = chosen.name
    current = np.asarray(values).reshape(-1)
    if current.size != chosen.size or not np.all(np.isfinite(current)):
        raise AerloomError(f"{name}: direct coding takes {chosen.size} finite values, not {current.size}")
    if network.is_integer and current.dtype.kind not in "iu":
        raise AerloomError(f"{name}: the network is in integers, so the values must be; scale them as its bias is")
    changed = dataclasses.replace(chosen, bias=chosen.bias + current)
    return network.replace(populations=tuple(changed if p is chosen else p for p in network.populations))


def encode(name: str, values: ArrayLike, steps: int, **options: Any) -> Spikes:
    """Encode by name, as networks say it in their ``meta``: "rate", "lfsr", "latency", or what :func:`convert.encode` does
    for converted ones: "direct" (so many spikes in every step) or "even" (evenly spaced)."""
    encoders: dict[str, Callable[..., Spikes]] = {"rate": rate, "lfsr": lfsr, "latency": latency}
    for coding in ("direct", "even"):
        encoders[coding] = functools.partial(convert.encode, coding=coding)
    if name not in encoders:
        raise AerloomError(f"there is no encoder {name!r}; there are {', '.join(encoders)}")
    return encoders[name](values, steps, **options)


def _checked(values: ArrayLike, steps: int) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    if steps < 1:
        raise AerloomError(f"a sample needs at least one step, not {steps}")
    if array.ndim < 2 or not array.size:
        raise AerloomError(f"values must be (batch, …), with at least one value, not {array.shape}")
    if not (array.min() >= 0 and array.max() <= 1):  # also refuses NaN
        raise AerloomError(f"values to encode must be in 0 … 1, not {array.min()} … {array.max()}")
    return array
