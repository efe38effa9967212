"""Quantisation: a trained network in floating point to one in integers, and what that cost.

This is the only step of the chain that is not exact. Every receiving neuron (or population) gets a scale k; its weights
become integers of ``bits`` bits, and its threshold, bias and every other membrane value are multiplied by the same k, so
that they stay consistent with every projection into it. k minimises the squared error of the weights over a grid of
clipping ratios. A convolution has one scale per channel. Coarse weights get a ``shift``: the membrane keeps its resolution
when the weights lose theirs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import golden
from .errors import AerloomError
from .network import DECAY_ONE, Network, Population, Projection

Array = NDArray[Any]

CLIP_RATIOS = np.geomspace(1.0, 0.15, 48)  #: of the largest weight, tried as the end of the scale
FINE = 256  #: a threshold should be at least so many units of the membrane


@dataclass(frozen=True)
class Report:
    """What quantisation cost. Records have one entry per projection, population or (accuracy) network."""

    bits: int
    weights: dict[str, dict[str, float]] = field(default_factory=dict)  #: signal-to-noise in dB, share clipped
    populations: dict[str, dict[str, float]] = field(default_factory=dict)  #: scale; spikes; share of steps that differ
    accuracy: dict[str, float] = field(default_factory=dict)  #: float and golden, where labels were given

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Quantized:
    """An integer network and its report."""

    network: Network
    report: Report


def quantize(
    network: Network,
    bits: int = 8,
    *,
    per_neuron: bool = True,
    state_bits: int = 18,
    rounding: str = "floor",
    calibration: Array | Mapping[str, Array] | None = None,
    labels: Array | None = None,
) -> Quantized:
    """Quantise a floating-point network.

    ``bits`` (2 … 16) of a weight; one scale per neuron or per population; ``state_bits`` of the membrane.
    ``calibration`` are spikes as :func:`golden.run` takes them: with them the report tells how the spikes change, and
    with ``labels`` how the accuracy does. Raises :class:`AerloomError` for a network that is integer already, and for
    values that do not fit into the state.
    """
    if not 2 <= bits <= 16:
        raise AerloomError(f"weights can have 2 … 16 bits, not {bits}")
    if network.is_integer:
        raise AerloomError("the network is quantised already; start from the floating-point one")
    report = Report(bits)
    projections: dict[int, Projection] = {}
    populations = []
    for p in network.populations:
        into = [(n, q) for n, q in enumerate(network.projections) if q.target == p.name]
        scales = _sharing(p, [q for _, q in into])
        rows = np.concatenate([q.weights.reshape(scales, -1) for _, q in into], axis=1)
        scale = find_scale(rows, bits, per_neuron)
        for n, q in into:
            low, high = integer_range(bits)
            k = scale.repeat(len(q.weights) // scales).reshape(-1, *[1] * (q.weights.ndim - 1))
            exact = q.weights * k
            rounded = np.clip(np.round(exact), low, high)
            projections[n] = dataclasses.replace(q, weights=rounded.astype(np.int8 if bits <= 8 else np.int16))
            report.weights[_name(q, network)] = {
                "snr_db": signal_to_noise(q.weights, rounded / k),
                "clipped": float(np.mean((np.round(exact) < low) | (np.round(exact) > high))),
            }
        populations.append(_scale_population(p, scale.repeat(p.size // scales), state_bits, rounding))
        report.populations[p.name] = {
            "scale_min": float(scale.min()),
            "scale_max": float(scale.max()),
            "shift": populations[-1].shift,
        }
    out = network.replace(
        populations=tuple(populations),
        projections=tuple(projections[n] for n in range(len(projections))),
        state_bits=state_bits,
        meta=network.meta | {"weight_bits": bits},
    )
    if calibration is not None:
        _compare(network, out, report, calibration, labels)
    return Quantized(out, report)


def _sharing(p: Population, into: list[Projection]) -> int:
    """How many scales a population can have: one per neuron, or per channel where a convolution projects into it."""
    return math.gcd(p.size, *(len(q.weights) for q in into if q.window))


def _name(projection: Projection, network: Network) -> str:
    """The name of a projection in a report; unique."""
    same = [q for q in network.projections if str(q) == str(projection)]
    return str(projection) + (f" ({same.index(projection) + 1})" if len(same) > 1 else "")


def integer_range(bits: int) -> tuple[int, int]:
    """Smallest and largest weight of ``bits`` bits."""
    return -(1 << bits - 1), (1 << bits - 1) - 1


def find_scale(weights: Array, bits: int, per_neuron: bool = True) -> NDArray[np.float64]:
    """The scale of each row of ``weights`` ``(neurons, sources)`` that loses least when they become integers."""
    low, high = integer_range(bits)
    rows = weights.astype(np.float64)
    rows = rows if per_neuron else rows.reshape(1, -1)
    largest = np.abs(rows).max(axis=1)
    largest[largest == 0] = max(largest.max(), 1e-30)  # a neuron without weights takes the population's scale
    best, least = np.zeros(len(rows)), np.full(len(rows), np.inf)
    for ratio in CLIP_RATIOS:
        scale = high / (ratio * largest)
        error = np.square(np.clip(np.round(rows * scale[:, None]), low, high) / scale[:, None] - rows).sum(axis=1)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.broadcast_to(best, len(weights)).copy()


def _scale_population(p: Population, scale: Array, state_bits: int, rounding: str) -> Population:
    """The population in integers, its membrane in units of 1 / (scale · 2^shift)."""
    high = (1 << state_bits - 1) - 1
    largest = max(np.max(np.abs(np.asarray(x, float) * scale)) for x in (p.threshold, p.reset_by, p.bias, p.v0))
    unit = np.median(np.asarray(p.threshold, float) * scale) if p.spiking else np.median(scale)
    shift = 0
    while shift < 7 and abs(unit) * 2**shift < FINE and largest * 2 ** (shift + 3) < high:
        shift += 1
    k = scale * 2**shift

    def whole(value: Any, how: Any = np.round) -> Any:
        return None if value is None else how(np.asarray(value, float) * k).astype(np.int64)

    if p.max_spikes > 1 or not p.spiking:
        threshold = np.maximum(whole(p.threshold), 1)
    elif p.strict:
        threshold = whole(p.threshold, np.floor) + 1
    else:
        threshold = whole(p.threshold, np.ceil)

    def decay(value: Any) -> Any:
        return None if value is None else np.round(np.asarray(value, float) * DECAY_ONE).astype(np.int64)

    biggest = max(int(np.max(np.abs(x))) for x in (threshold, whole(p.reset_by), whole(p.bias), whole(p.v0)))
    if biggest > high:
        raise AerloomError(
            f"{p.name}: threshold, bias or reset reaches {biggest} at this scale, beyond a state of {state_bits} bits; "
            "use more state bits or fewer weight bits"
        )
    return dataclasses.replace(
        p,
        decay_v=decay(p.decay_v),
        decay_i=decay(p.decay_i),
        bias=whole(p.bias),
        threshold=threshold,
        reset_by=whole(p.reset_by),
        reset_to=whole(p.reset_to),
        v0=whole(p.v0),
        min_v=None if p.min_v is None else np.maximum(whole(p.min_v), ~high),
        max_v=None if p.max_v is None else np.minimum(whole(p.max_v), high),
        rounding=rounding,
        strict=False,
        shift=shift,
    )


def signal_to_noise(exact: Array, rounded: Array) -> float:
    """Ratio of the powers of a signal and of the error in it, in dB."""
    noise = float(np.square(exact - rounded).sum())
    return float("inf") if noise == 0 else float(10 * np.log10(max(np.square(exact).sum(), 1e-30) / noise))


def _compare(
    network: Network, integer: Network, report: Report, spikes: Array | Mapping[str, Array], labels: Array | None
) -> None:
    exact, rounded = golden.run(network, spikes), golden.run(integer, spikes)
    for name, record in report.populations.items():
        a, b = exact.spikes[name], rounded.spikes[name]
        record["spikes_float"] = float(a.sum(dtype=np.int64) / len(a))
        record["spikes_golden"] = float(b.sum(dtype=np.int64) / len(b))
        record["steps_that_differ"] = float(np.mean(a != b))
        record["saturated"] = rounded.saturations[name] / a.size
    if labels is not None:
        for kind, net, trace in (("float", network, exact), ("golden", integer, rounded)):
            report.accuracy[kind] = float(np.mean(golden.classes(net, trace) == labels))
