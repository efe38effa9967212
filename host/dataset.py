"""Samples with their labels, in pieces that one worker takes at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import zoo
from ..models.network import Network
from . import encode

Array = NDArray[Any]
CHUNK = 500  #: samples that are encoded together, from one seed


@dataclass(frozen=True, eq=False)
class Piece:
    """Samples ``first`` … ``last`` of a chunk that is encoded from ``seed``."""

    values: Array
    labels: Array
    seed: int = 0
    first: int = 0
    last: int | None = None

    def encoded(self, network: Network) -> tuple[Array, Array]:
        """Spikes ``(samples, steps, …)`` and labels, as the encoder of ``network`` makes them."""
        part = slice(self.first, self.last)
        return spikes_of(network, self.values, self.seed)[part], self.labels[part]

    def __len__(self) -> int:
        return len(self.labels[self.first : self.last])


def pieces(values: Array, labels: Array, size: int = CHUNK) -> list[Piece]:
    """A dataset in pieces of up to ``size`` samples. The spikes of a sample are the same for every size."""
    out = []
    for seed, first in enumerate(range(0, len(values), CHUNK)):
        chunk = slice(first, first + CHUNK)
        out += [Piece(values[chunk], labels[chunk], seed, n, n + size)
                for n in range(0, len(labels[chunk]), size)]
    return out


def spikes_of(network: Network, values: Array, seed: int = 0) -> NDArray[np.uint8]:
    """Samples as the network's own encoder makes spikes of them; whole numbers are spikes already."""
    if values.dtype.kind in "bui":
        return values
    options = zoo.encoding(network)
    name, steps = options.pop("name"), options.pop("steps")
    return encode.encode(name, values, steps, **(({"seed": seed} if name in ("rate", "lfsr") else {}) | options))
