"""How far spike trains are apart, and what a network costs to run, by the definitions of NeuroBench.

NeuroBench (Yik et al., Nature Communications 2025, https://neurobench.ai) counts per sample; its definitions are in the
docstrings here, and a test compares them with the package.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import golden
from .network import PER_NEURON, Input, Network, Projection

Array = NDArray[Any]


def van_rossum(a: Array, b: Array, tau: float = 10.0) -> float:
    """Distance of spike trains ``(batch, steps, neurons)``, per neuron and sample; one spike more or less is about 1.

    Van Rossum 2001: trains filtered by e^(−t/τ), τ in steps, then the root of the squared difference.
    """
    keep, state, total = np.exp(-1 / tau), np.zeros(a.shape[::2]), np.zeros(a.shape[::2])
    for step in range(a.shape[1]):
        state = state * keep + (a[:, step].astype(float) - b[:, step])
        total += np.square(state)
    total += np.square(state) * keep**2 / (1 - keep**2)  # what is left decays after the end
    return float(np.sqrt(total * (1 - keep**2)).mean())


def footprint(network: Network) -> int:
    """Bytes of the weights, parameters and states: integers in as many bits as they need, others in 32 bits."""
    weight_bits = network.meta.get("weight_bits", 8) if network.is_integer else 32
    other_bits = network.state_bits if network.is_integer else 32
    bits = sum(q.weights.size for q in network.projections) * weight_bits
    for p in network.populations:
        values = [getattr(p, name) for name in PER_NEURON if getattr(p, name) is not None]
        states = 1 + (p.decay_i is not None)
        bits += (sum(np.size(v) for v in values) + states * p.size) * other_bits
    return -(-bits // 8)


def connection_sparsity(network: Network) -> float:
    """Share of the weights that are 0."""
    zeros = sum(int(np.count_nonzero(q.weights == 0)) for q in network.projections)
    return zeros / sum(q.weights.size for q in network.projections)


def activation_sparsity(network: Network, trace: golden.Trace) -> float:
    """Share of neurons and steps without a spike, over all spiking populations."""
    spikes = [trace.spikes[p.name] for p in network.populations if p.spiking]
    return 1 - sum(int(np.count_nonzero(s)) for s in spikes) / max(sum(s.size for s in spikes), 1)


def synaptic_operations(network: Network, trace: golden.Trace) -> dict[str, float]:
    """Operations per sample: ``dense`` as if every neuron spiked in every step; effective ones have neither a zero weight
    nor a zero input. They are accumulations (``effective_acs``), or multiplications too (``effective_macs``) where a
    source sends several spikes in a step."""
    out = {"dense": 0.0, "effective_acs": 0.0, "effective_macs": 0.0}
    for q in network.projections:
        spikes = trace.spikes[q.source]
        batch, steps, _ = spikes.shape
        sent = np.count_nonzero(spikes, axis=(0, 1)).astype(float)
        present = dataclasses.replace(q, weights=(q.weights != 0).astype(np.float32))
        source = network.sources[q.source]
        several = source.max_spikes > 1 and (isinstance(source, Input) or spikes.max() > 1)
        out["effective_macs" if several else "effective_acs"] += float(_added(present, sent)) / batch
        out["dense"] += float(q.fanout.sum()) * steps
    return out


def _added(present: Projection, sent: Array) -> float:
    return float(golden.deliver(present, sent[None], np.float64).sum())


def metrics(network: Network, trace: golden.Trace) -> dict[str, Any]:
    """All of them, for a run of a network. Over several runs each is the mean over their samples."""
    return {
        "footprint": footprint(network),
        "connection_sparsity": connection_sparsity(network),
        "activation_sparsity": activation_sparsity(network, trace),
        "synaptic_operations": synaptic_operations(network, trace),
    }
