"""Quantisation: a trained network in floating point to one in integers, and what that cost.

This is the only step of the chain that is not exact. Every receiving neuron (or population) gets a scale k; its weights
become integers of ``bits`` bits, and its threshold, bias and every other membrane value are multiplied by the same k, so
that they stay consistent with every projection into it. k minimises the squared error of the weights over a grid of
clipping ratios, weighted by how often their spikes come where calibration data show that this does better. A convolution
has one scale per channel. Coarse weights get a ``shift``: the membrane keeps its resolution when the weights lose theirs.
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
from .golden import Trace
from .metrics import van_rossum
from .network import DECAY_ONE, Network, Population, Projection

Array = NDArray[Any]

CLIP_RATIOS = np.geomspace(1.0, 0.15, 48)  #: of the largest weight, tried as the end of the scale
FINE = 512  #: a threshold should be at least so many units of the membrane


@dataclass
class Report:
    """What quantisation cost. Records have one entry per projection, population or (accuracy) network."""

    bits: int
    state_bits: int
    weights: dict[str, dict[str, float]] = field(default_factory=dict)  #: signal-to-noise in dB, share clipped
    populations: dict[str, dict[str, float]] = field(default_factory=dict)  #: scale; how spikes and membranes changed
    accuracy: dict[str, float] = field(default_factory=dict)  #: float and golden, where labels were given
    agreement: float = 1.0  #: share of the calibration samples that keep their class

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Quantized:
    """An integer network, the scales of its populations (per neuron), and its report."""

    network: Network
    scales: dict[str, Array]
    report: Report
    weighted: bool = False  #: whether the scales heed how often each source spikes

    @property
    def saturates(self) -> bool:
        """Whether a membrane left the state on the calibration data."""
        return any(record.get("saturated", 0) > 0 for record in self.report.populations.values())


def quantize(
    network: Network,
    bits: int = 8,
    *,
    per_neuron: bool = True,
    state_bits: int | None = 18,
    rounding: str = "floor",
    calibration: Array | Mapping[str, Array] | None = None,
    labels: Array | None = None,
) -> Quantized:
    """Quantise a floating-point network.

    ``bits`` (2 … 16) of a weight; one scale per neuron or per population (readouts: per population, for their membranes
    are compared with each other); ``state_bits`` of the membrane, None for the fewest that no membrane leaves on the
    calibration data. ``calibration`` are spikes as :func:`golden.run` takes them. With them the report tells how the spikes
    change, with ``labels`` how the accuracy does; and scales that heed how often each source spikes are tried too, and
    taken where they do better. Raises :class:`AerloomError` for a network that is integer already, and for values that do
    not fit into the state.
    """
    if not 2 <= bits <= 16:
        raise AerloomError(f"weights can have 2 … 16 bits, not {bits}")
    if state_bits is not None and not 2 <= state_bits <= 32:
        raise AerloomError(f"states can have 2 … 32 bits, not {state_bits}")
    if network.is_integer:
        raise AerloomError("the network is quantised already; start from the floating-point one")
    if calibration is None:
        if state_bits is None:
            raise AerloomError("state_bits can be chosen on calibration data alone; give some, or a number of bits")
        return _quantize(network, bits, per_neuron, state_bits, rounding)
    exact = golden.run(network, calibration)

    def made(state_bits: int, activity: Trace | None) -> Quantized:
        out = _quantize(network, bits, per_neuron, state_bits, rounding, activity)
        _compare(network, exact, out, golden.run(out.network, calibration), labels)
        return out

    def loss(out: Quantized) -> tuple[float, float]:
        """The share of samples that get another class; of equals, how far the spikes are from the exact ones. Labels take
        no part in it."""
        return -out.report.agreement, sum(record["distance"] for record in out.report.populations.values())

    best = min((made(state_bits or 32, activity) for activity in (None, exact)), key=loss)
    if state_bits is not None:
        return best
    low, high = bits, 32
    while low < high:  # more bits never saturate more
        middle = (low + high) // 2
        try:
            enough = not made(middle, exact if best.weighted else None).saturates
        except AerloomError:  # a threshold does not fit
            enough = False
        low, high = (low, middle) if enough else (middle + 1, high)
    return made(high, exact if best.weighted else None)


def _quantize(
    network: Network, bits: int, per_neuron: bool, state_bits: int, rounding: str, activity: Trace | None = None
) -> Quantized:
    report = Report(bits, state_bits)
    scales_of: dict[str, Array] = {}
    projections: dict[int, Projection] = {}
    populations = []
    for p in network.populations:
        into = [(n, q) for n, q in enumerate(network.projections) if q.target == p.name]
        scales = _sharing(p, [q for _, q in into])
        rows = np.concatenate([q.weights.reshape(scales, -1) for _, q in into], axis=1)
        matters = None if activity is None else np.concatenate(
            [_activity(q, activity.spikes[q.source]).reshape(scales, -1) for _, q in into], axis=1)
        scale = find_scale(rows, bits, per_neuron and p.spiking, matters)
        room = _room(p, scales, state_bits)
        if not p.spiking or np.mean(room < scale) < 0.5:  # of a few neurons with next to no weights; more are said below
            scale = np.minimum(scale, room)
        for n, q in into:
            low, high = integer_range(bits)
            k = scale.repeat(len(q.weights) // scales).reshape(-1, *[1] * (q.weights.ndim - 1))
            scaled = q.weights * k
            rounded = np.clip(np.round(scaled), low, high)
            projections[n] = dataclasses.replace(q, weights=rounded.astype(np.int8 if bits <= 8 else np.int16))
            report.weights[_name(q, network)] = {
                "snr_db": signal_to_noise(q.weights, rounded / k),
                "clipped": float(np.mean((np.round(scaled) < low) | (np.round(scaled) > high))),
            }
        scales_of[p.name] = scale.repeat(p.size // scales)
        populations.append(_scale_population(p, scales_of[p.name], state_bits, rounding))
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
    for p in out.populations:
        report.populations[p.name]["state_bits_at_most"] = _reach(p, golden.largest_sum(out, p.name))
    return Quantized(out, scales_of, report, weighted=activity is not None)


def _reach(p: Population, largest: int) -> float:
    """Bits that hold the membrane whatever arrives: proven; infinite where nothing bounds it."""
    def most(value: Any) -> float:
        return float(np.max(np.abs(value)))

    keep_i = 0.0 if p.decay_i is None else most(p.decay_i) / DECAY_ONE
    keep_v = 1.0 if p.decay_v is None else most(p.decay_v) / DECAY_ONE
    drive = (largest << p.shift) + most(p.bias) + 1
    for keep in (keep_i, keep_v):
        drive = np.inf if keep >= 1 else drive / (1 - keep)
    reach = max(drive + max(most(p.v0), most(p.reset_to)) + most(p.reset_by) * p.max_spikes, 1.0)
    return float("inf") if np.isinf(reach) else float(np.ceil(np.log2(reach)) + 1)


def _activity(q: Projection, spikes: Array) -> Array:
    """How often each weight is added, per step, in the shape of the weights."""
    rate = spikes.mean(axis=(0, 1), dtype=float)[None] + 1e-6  # a weight that never came may still come
    if q.pool:
        rate = q.pool.add(rate, float)
    if q.window is None:
        return np.broadcast_to(rate[0], q.weights.shape)
    channels = rate.reshape(q.groups, q.weights.shape[1], -1).mean(axis=2)
    return np.broadcast_to(channels.repeat(len(q.weights) // q.groups, axis=0)[:, :, None, None], q.weights.shape)


def _membranes(p: Population) -> list[Any]:
    """What has to fit into the state; of a readout its range as well, for its membrane is the answer."""
    ends = [] if p.spiking else [x for x in (p.min_v, p.max_v) if x is not None]
    return [p.threshold, p.reset_by, p.bias, p.v0, *ends]


def _room(p: Population, scales: int, state_bits: int) -> Array:
    """The largest scales, as many as are shared, with which the membrane values of a population fit."""
    largest = np.max([np.broadcast_to(np.abs(np.asarray(x, float)), p.size) for x in _membranes(p)], axis=0)
    room = ((1 << state_bits - 1) - 1) / np.maximum(largest.reshape(scales, -1).max(axis=1), 1e-30)
    return room / 2 if p.spiking else np.full(scales, room.min())  # half: a membrane passes its threshold


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


def find_scale(weights: Array, bits: int, per_neuron: bool = True, matters: Array | None = None) -> NDArray[np.float64]:
    """The scale of each row of ``weights`` ``(neurons, sources)`` that loses least when they become integers.

    ``matters`` weighs the squared error of each.
    """
    low, high = integer_range(bits)
    shape = weights.shape if per_neuron else (1, -1)
    rows = weights.astype(np.float64).reshape(shape)
    share = np.ones_like(rows) if matters is None else matters.reshape(shape)
    largest = np.abs(rows).max(axis=1)
    largest[largest == 0] = max(largest.max(), 1e-30)  # a neuron without weights takes the population's scale
    best, least = np.zeros(len(rows)), np.full(len(rows), np.inf)
    for ratio in CLIP_RATIOS:
        scale = high / (ratio * largest)
        off = np.clip(np.round(rows * scale[:, None]), low, high) / scale[:, None] - rows
        error = (np.square(off) * share).sum(axis=1)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return np.broadcast_to(best, len(weights)).copy()


def _scale_population(p: Population, scale: Array, state_bits: int, rounding: str) -> Population:
    """The population in integers, its membrane in units of 1 / (scale · 2^shift)."""
    high = (1 << state_bits - 1) - 1
    largest = max(np.max(np.abs(np.asarray(x, float) * scale)) for x in _membranes(p))
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


def _compare(network: Network, exact: Trace, made: Quantized, rounded: Trace, labels: Array | None) -> None:
    for name, record in made.report.populations.items():
        a, b = exact.spikes[name], rounded.spikes[name]
        counts = a.sum(axis=1, dtype=np.int64), b.sum(axis=1, dtype=np.int64)
        record["spikes_float"] = float(counts[0].sum() / len(a))
        record["spikes_golden"] = float(counts[1].sum() / len(b))
        record["count_error"] = float(np.abs(counts[1] - counts[0]).mean())
        record["steps_that_differ"] = float(np.mean(a != b))
        record["distance"] = van_rossum(a, b)
        record["saturated"] = rounded.saturations[name] / a.size
    classes = {"float": golden.classes(network, exact), "golden": golden.classes(made.network, rounded)}
    made.report.agreement = float(np.mean(classes["float"] == classes["golden"]))
    if labels is not None:
        made.report.accuracy |= {kind: float(np.mean(c == labels)) for kind, c in classes.items()}
