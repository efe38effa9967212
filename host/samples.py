"""Samples on their way to a chip: spikes, or images that it makes spikes of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.encode import Images
from ..models.network import Network

Array = NDArray[Any]
Samples = dict[str, Array] | Images  #: spikes of each input, checked; or images


def size_of(samples: Samples) -> tuple[int, int]:
    """Batch and steps."""
    if isinstance(samples, Images):
        return len(samples), samples.steps
    batch, steps, _ = next(iter(samples.values())).shape
    return batch, steps


def only(samples: Samples, n: int) -> Samples:
    """Sample ``n`` alone."""
    return samples.only(n) if isinstance(samples, Images) else {name: a[n : n + 1] for name, a in samples.items()}


def as_batch(network: Network, spikes: Array | Mapping[str, Array]) -> Array | dict[str, Array]:
    """A single sample as a batch of one."""
    if isinstance(spikes, Mapping):
        known = {i.name: i for i in network.inputs}
        return {n: _one(np.asarray(a), known[n].shape) if n in known else np.asarray(a) for n, a in spikes.items()}
    return _one(np.asarray(spikes), network.inputs[0].shape)


def _one(a: Array, shape: tuple[int, ...]) -> Array:
    return a[None] if a.ndim == 1 + len(shape) and a.shape[1:] == shape else a
