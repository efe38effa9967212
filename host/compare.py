"""The chain, link by link, on the same samples: floating point, golden and chip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import golden
from ..models.network import Network
from .device import Device

Array = NDArray[Any]
CHUNK = 500  #: samples that golden runs at once


@dataclass
class Comparison:
    """What came of it. Per-sample figures are means."""

    images: int = 0
    accuracy_float: float | None = None
    accuracy_golden: float | None = None
    accuracy_chip: float | None = None
    mismatches: int = 0  #: spikes (every population, every step) and final membranes in which chip and golden differ
    cycles_per_inference: float = 0.0  #: from its first packet to its last STEP
    synaptic_ops_per_inference: float = 0.0
    lane_utilisation: float = 0.0  #: share of clock cycles, over all cores in use, in which the lanes add weights
    spikes_per_inference: dict[str, float] = field(default_factory=dict)
    saturations: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON."""
        return dict(vars(self))


def accuracy(network: Network, spikes: Callable[[], Iterator[tuple[Array, Array]]], progress: Any = None) -> float:
    """Share of samples that the golden model classifies right; ``spikes`` gives chunks of spikes and labels."""
    from ..models import fast  # here: importing numba takes a while

    run: Callable[..., golden.Trace] = fast.run if fast.available and network.is_integer else golden.run
    right = total = 0
    for chunk, labels in spikes():
        right += int(np.sum(golden.classes(network, run(network, chunk)) == labels))
        total += len(labels)
        if progress is not None:
            progress(total)
    return right / total


def compare(
    device: Device,
    spikes: Array,
    labels: Array | None = None,
    *,
    exact: Network | None = None,
    progress: Callable[[int], Any] | None = None,
) -> tuple[Comparison, dict[str, Array], Array]:
    """Run samples one by one on a device that watches every population, and on golden.

    ``spikes`` ``(batch, steps, …)`` as :func:`golden.run` takes them; ``exact`` is the network before quantisation.
    Returns the comparison, the chip's spikes of the first sample ``(steps, neurons)`` and the cycle at which each of its
    steps ended. ``progress`` is called with the number of samples done.
    """
    network = device.network
    answer, trace = Comparison(images=len(spikes)), golden.run(network, spikes)
    guesses, first, when = [], {}, np.zeros(0)
    adding = cycles = 0
    for n in range(len(spikes)):
        run = device.run(spikes[n : n + 1])
        for name in network.population:
            answer.mismatches += int(np.sum(run.spikes[name][0] != trace.spikes[name][n]))
            answer.mismatches += int(np.sum(device.peek(name) != trace.state[name].v[n]))
        counters = device.counters()
        cycles += counters["cycles"]
        adding += counters["adding_cycles"]
        answer.synaptic_ops_per_inference += counters["synaptic_operations"] / len(spikes)
        answer.saturations += counters["saturations"]
        output = network.outputs[0]
        votes = run.spikes[output][0].sum(axis=0) if network.population[output].spiking else device.peek(output)
        guesses.append(int(votes.argmax()))
        if n == 0:
            first, when = {name: a[0] for name, a in run.spikes.items()}, run.cycles[0]
        if progress is not None:
            progress(n + 1)
    used = len({part.core for part in device.placement.parts if part.core is not None}) if device.placement else 1
    answer.cycles_per_inference = cycles / len(spikes)
    answer.lane_utilisation = adding / (cycles * used)
    answer.spikes_per_inference = {name: float(a.sum() / len(a)) for name, a in trace.spikes.items()}
    if labels is not None:
        answer.accuracy_chip = float(np.mean(np.array(guesses) == labels))
        answer.accuracy_golden = float(np.mean(golden.classes(network, trace) == labels))
        if exact is not None:
            answer.accuracy_float = float(np.mean(golden.classes(exact, golden.run(exact, spikes)) == labels))
    inputs = {i.name: trace.spikes[i.name][0] for i in network.inputs}
    return answer, inputs | first, when
