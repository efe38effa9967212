"""What golden says of networks on a dataset, in pieces that run in parallel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..models import golden
from ..models.early import Exit
from ..models.metrics import metrics
from ..models.network import Network
from ..models.place import Placement
from .dataset import Piece
from .jobs import HERE, Workers
from .tools import tools

Array = NDArray[Any]
Told = Callable[[int], Any]
Result = TypeVar("Result")


def accuracy(network: Network, data: Sequence[Piece], workers: Workers = HERE, progress: Told | None = None) -> float:
    """Share of samples that the network classifies right. ``progress`` is called with the number of samples done."""
    return accuracies([network], data, workers, progress)[0]


def accuracies(networks: Sequence[Network], data: Sequence[Piece], workers: Workers = HERE,
               progress: Told | None = None) -> list[float]:
    """The same for several networks; each sample counts once for each of them."""
    right = [0] * len(networks)
    items = [(k, piece) for k in range(len(networks)) for piece in data]
    sizes = [len(piece) for _, piece in items]
    for n, count in _each(functools.partial(_right, networks), items, sizes, workers, progress):
        right[items[n][0]] += count
    return [count / sum(map(len, data)) for count in right]


def costs(network: Network, data: Sequence[Piece], workers: Workers = HERE, progress: Told | None = None
          ) -> dict[str, Any]:
    """:func:`aerloom.models.metrics.metrics` over the whole dataset, and the ``accuracy``."""
    total: dict[str, Any] = {}
    sizes = [len(piece) for piece in data]
    for n, found in _each(functools.partial(_costs, network), data, sizes, workers, progress):
        share = _weighted(found, sizes[n] / sum(sizes))
        total = share if not total else _sum(total, share)
    return total | {"footprint": round(total["footprint"])}


def early(network: Network, data: Sequence[Piece], whens: Sequence[str | int], workers: Workers = HERE,
          progress: Told | None = None) -> list[dict[str, Any]]:
    """For each of these ways to leave samples early (:class:`aerloom.models.early.Exit`) the ``accuracy`` and the mean
    ``steps`` that were run."""
    found = _gather(functools.partial(_early, network, whens), data, workers, progress)
    return [{"when": when, "accuracy": float(np.mean(hits)), "steps": float(np.mean(steps))}
            for when, hits, steps in zip(whens, *np.concatenate(found, axis=2), strict=True)]


def latency(placement: Placement, data: Sequence[Piece], whens: Sequence[str | int] = (), workers: Workers = HERE,
            progress: Told | None = None) -> tuple[Array, Array]:
    """Clock cycles of each sample, run by itself: ``(samples,)`` for all its steps, and ``(whens, samples)`` until it is
    left early; as the chip would count them."""
    found = _gather(functools.partial(_latency, placement, whens), data, workers, progress)
    cycles = np.concatenate(found, axis=1)
    return cycles[0], cycles[1:]


def _gather(work: Callable[[Piece], Array], data: Sequence[Piece], workers: Workers, progress: Told | None) -> list[Array]:
    """The results for all pieces, in order."""
    found = dict(_each(work, data, [len(piece) for piece in data], workers, progress))
    return [found[n] for n in range(len(data))]


def _each(work: Callable[[Any], Result], items: Sequence[Any], sizes: Sequence[int], workers: Workers,
          progress: Told | None) -> Iterator[tuple[int, Result]]:
    """:meth:`Workers.each` in threads, which tells ``progress`` how many samples are done: item n has ``sizes[n]``."""
    done = 0
    for n, result in workers.each(work, items, threads=True):
        yield n, result
        done += sizes[n]
        if progress is not None:
            progress(done)


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


def _early(network: Network, whens: Sequence[str | int], piece: Piece) -> Array:
    """Whether samples are classified right, and their steps: (2, whens, samples)."""
    spikes, labels = piece.encoded(network)
    sent = golden_run(network, spikes).spikes[network.outputs[0]]
    found = [Exit(network, spikes.shape[1], when).exits(sent) for when in whens]
    return np.array([[e.classes == labels for e in found], [e.steps for e in found]])


def _latency(placement: Placement, whens: Sequence[str | int], piece: Piece) -> Array:
    network = placement.network
    spikes, _ = piece.encoded(network)
    trace = golden_run(network, spikes)
    ends = tools("cycles").cycles(placement, trace, alone=True)
    sent = trace.spikes[network.outputs[0]]
    exits = [Exit(network, spikes.shape[1], when).exits(sent).steps for when in whens]
    samples = np.arange(len(ends))
    return np.array([ends[:, -1], *(ends[samples, steps - 1] for steps in exits)])


def _weighted(values: dict[str, Any], share: float) -> dict[str, Any]:
    return {name: _weighted(v, share) if isinstance(v, dict) else v * share for name, v in values.items()}


def _sum(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {name: _sum(v, b[name]) if isinstance(v, dict) else v + b[name] for name, v in a.items()}
