"""What golden says of networks on a dataset, in pieces that run in parallel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import golden
from ..models.early import Exit
from ..models.metrics import metrics
from ..models.network import Network
from .dataset import Piece
from .jobs import HERE, Workers

Array = NDArray[Any]
Told = Callable[[int], Any]


def accuracy(network: Network, data: Sequence[Piece], workers: Workers = HERE, progress: Told | None = None) -> float:
    """Share of samples that the network classifies right. ``progress`` is called with the number of samples done."""
    return accuracies([network], data, workers, progress)[0]


def accuracies(networks: Sequence[Network], data: Sequence[Piece], workers: Workers = HERE,
               progress: Told | None = None) -> list[float]:
    """The same for several networks; each sample counts once for each of them."""
    right, done = [0] * len(networks), 0
    items = [(k, piece) for k in range(len(networks)) for piece in data]
    for n, count in workers.each(functools.partial(_right, networks), items, threads=True):
        right[items[n][0]] += count
        done += len(items[n][1])
        if progress is not None:
            progress(done)
    return [count / sum(map(len, data)) for count in right]


def costs(network: Network, data: Sequence[Piece], workers: Workers = HERE, progress: Told | None = None
          ) -> dict[str, Any]:
    """:func:`aerloom.models.metrics.metrics` over the whole dataset, and the ``accuracy``."""
    total: dict[str, Any] = {}
    samples, done = sum(map(len, data)), 0
    for n, found in workers.each(functools.partial(_costs, network), data, threads=True):
        share = len(data[n]) / samples
        total = _weighted(found, share) if not total else _sum(total, _weighted(found, share))
        done += len(data[n])
        if progress is not None:
            progress(done)
    return total | {"footprint": round(total["footprint"])}


def early(network: Network, data: Sequence[Piece], whens: Sequence[str | int], workers: Workers = HERE,
          progress: Told | None = None) -> list[dict[str, Any]]:
    """For each of these ways to leave samples early (:class:`aerloom.models.early.Exit`) the ``accuracy`` and the mean
    ``steps`` that were run."""
    samples, right, steps, done = sum(map(len, data)), np.zeros(len(whens)), np.zeros(len(whens)), 0
    for n, (hits, run) in workers.each(functools.partial(_early, network, whens), data, threads=True):
        right, steps, done = right + hits, steps + run, done + len(data[n])
        if progress is not None:
            progress(done)
    return [{"when": when, "accuracy": float(r / samples), "steps": float(s / samples)}
            for when, r, s in zip(whens, right, steps, strict=True)]


def golden_run(network: Network, spikes: Array) -> golden.Trace:
    """What :func:`golden.run` gives, from its compiled twin where there is one."""
    from ..models import fast  # here: importing numba takes a while

    return fast.run(network, spikes) if fast.available and network.is_integer else golden.run(network, spikes)


def _right(networks: Sequence[Network], item: tuple[int, Piece]) -> int:
    network, (spikes, labels) = networks[item[0]], item[1].encoded(networks[item[0]])
    return int(np.sum(golden.classes(network, golden_run(network, spikes)) == labels))


def _costs(network: Network, piece: Piece) -> dict[str, Any]:
    spikes, labels = piece.encoded(network)
    trace = golden_run(network, spikes)
    return metrics(network, trace) | {"accuracy": float(np.mean(golden.classes(network, trace) == labels))}


def _early(network: Network, whens: Sequence[str | int], piece: Piece) -> tuple[Array, Array]:
    spikes, labels = piece.encoded(network)
    sent = golden_run(network, spikes).spikes[network.outputs[0]]
    found = [Exit(network, spikes.shape[1], when).exits(sent) for when in whens]
    return np.array([np.sum(e.classes == labels) for e in found]), np.array([e.steps.sum() for e in found])


def _weighted(values: dict[str, Any], share: float) -> dict[str, Any]:
    return {name: _weighted(v, share) if isinstance(v, dict) else v * share for name, v in values.items()}


def _sum(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {name: _sum(v, b[name]) if isinstance(v, dict) else v + b[name] for name, v in a.items()}
