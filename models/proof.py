"""The proof that sums cannot overflow."""

from __future__ import annotations

import dataclasses

import numpy as np

from .golden import deliver
from .network import Network, Population


def sum_range(network: Network, population: Population) -> tuple[int, int]:
    """Smallest and largest sum of weights that can reach a neuron of a population in one step."""
    low = high = np.zeros(population.size)
    for q in network.into(population.name):
        every = np.full((1, network.sources[q.source].size), network.sources[q.source].max_spikes)
        for weights in (np.minimum(q.weights, 0), np.maximum(q.weights, 0)):
            sums = deliver(dataclasses.replace(q, weights=weights), every, np.float64)[0]  # integers, far below 2^53
            low, high = low + np.minimum(sums, 0), high + np.maximum(sums, 0)
    return int(low.min()), int(high.max())


def signed_bits(low: int, high: int) -> int:
    """Bits of the smallest two's complement number that holds ``low`` … ``high``."""
    return 1 + max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length())
