"""The chain, link by link, on the same samples: floating point, golden and chip."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import golden
from ..models.fabric import Fabric
from ..models.network import Network
from .dataset import Piece
from .device import Device, connect
from .jobs import HERE, Workers

Array = NDArray[Any]
WORTH = 5.0  #: seconds of work from which on starting processes for it pays


@dataclass
class Comparison:
    """What came of it, counted over all samples: that of a dataset is the sum of those of its pieces."""

    images: int = 0
    mismatches: int = 0  #: spikes (every population, every step) and final membranes in which chip and golden differ
    saturations: int = 0
    cycles: int = 0  #: of each sample from its first packet to its last STEP
    core_cycles: int = 0  #: the same, times the cores in use
    adding: int = 0  #: cycles of cores in which the lanes add weights
    operations: int = 0
    spikes: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)  #: samples that ``float``, ``golden`` and ``chip`` classify right

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def accuracy(self, which: str) -> float | None:
        """Of ``float``, ``golden`` or ``chip``; None where it was not measured."""
        return self.right[which] / self.images if which in self.right else None

    @property
    def cycles_per_inference(self) -> float:
        return self.cycles / self.images

    @property
    def synaptic_ops_per_inference(self) -> float:
        return self.operations / self.images

    @property
    def lane_utilisation(self) -> float:
        """Share of clock cycles, over all cores in use, in which the lanes add weights."""
        return self.adding / self.core_cycles

    @property
    def spikes_per_inference(self) -> dict[str, float]:
        return {name: count / self.images for name, count in self.spikes.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as for JSON."""
        means = ("cycles_per_inference", "synaptic_ops_per_inference", "lane_utilisation", "spikes_per_inference")
        return ({"images": self.images, "mismatches": self.mismatches, "saturations": self.saturations}
                | {f"accuracy_{which}": self.accuracy(which) for which in ("float", "golden", "chip")}
                | {name: getattr(self, name) for name in means})


Outcome = tuple[Comparison, dict[str, Array], Array]


def compare(device: Device, spikes: Array, labels: Array | None = None, *, exact: Network | None = None) -> Outcome:
    """Run samples one by one on a device that watches every population, and on golden.

    ``spikes`` ``(batch, steps, …)`` as :func:`golden.run` takes them; ``exact`` is the network before quantisation.
    Returns the comparison, the chip's spikes of the first sample ``(steps, neurons)`` and the cycle at which each of its
    steps ended.
    """
    network, placement = device.network, device.placement
    answer, trace = Comparison(images=len(spikes)), golden.run(network, spikes)
    output, guesses, first, when = network.outputs[0], [], {}, np.zeros(0)
    for n in range(len(spikes)):
        run = device.run(spikes[n : n + 1])
        membranes = {name: device.peek(name) for name in network.population}
        answer.mismatches += differing({name: run.spikes[name] for name in membranes}, trace, n)
        answer.mismatches += sum(int(np.sum(v != trace.state[name].v[n])) for name, v in membranes.items())
        counters = device.counters()
        answer.cycles += counters["cycles"]
        answer.adding += counters["adding_cycles"]
        answer.operations += counters["synaptic_operations"]
        answer.saturations += counters["saturations"]
        guesses.append(int(golden.answers(network, run.spikes[output], membranes[output][None])[0]))
        if n == 0:
            first, when = {name: a[0] for name, a in run.spikes.items()}, run.cycles[0]
    used = len({part.core for part in placement.parts if part.core is not None})
    answer.core_cycles = answer.cycles * used
    answer.spikes.update({name: int(a.sum()) for name, a in trace.spikes.items()})
    if labels is not None:
        answer.right["chip"] = int(np.sum(np.array(guesses) == labels))
        answer.right["golden"] = int(np.sum(golden.classes(network, trace) == labels))
        if exact is not None:
            answer.right["float"] = int(np.sum(golden.classes(exact, golden.run(exact, spikes)) == labels))
    inputs = {i.name: trace.spikes[i.name][0] for i in network.inputs}
    return answer, inputs | first, when


def differing(spikes: Mapping[str, Array], trace: golden.Trace, first: int = 0) -> int:
    """In how many places the spikes of populations ``(samples, steps, neurons)`` are not golden's of as many samples from
    ``first`` on."""
    return sum(int(np.sum(a != trace.spikes[name][first : first + len(a)])) for name, a in spikes.items())


def compare_all(device: Device, data: Sequence[Piece], *, engine: str = "compiled", exact: Network | None = None,
                cores: int | None = None, workers: Workers = HERE,
                progress: Callable[[int], Any] | None = None) -> Outcome:
    """:func:`compare` for a dataset: the first piece on ``device``, a simulated chip, the others on its like in workers.

    ``engine`` and ``cores`` are those of ``device``, so that workers simulate the same chip. Where the first piece shows
    that the others will not take long, they run on it as well.
    """
    report = progress or (lambda done: None)
    began = time.perf_counter()
    total, first, cycles = _compare_piece(device, exact, data[0])
    report(total.images)
    rest, seconds = data[1:], (time.perf_counter() - began) * (len(data) - 1)
    if workers.scheduler is None and seconds < WORTH:
        results = HERE.each(functools.partial(_compare_piece, device, exact), rest)
    else:
        chip = (device.network, device.fabric, cores, engine)
        results = workers.each(functools.partial(_compare_elsewhere, chip, exact), rest)
    for _, (answer, *_) in results:
        total += answer
        report(total.images)
    return total, first, cycles


def _compare_piece(device: Device, exact: Network | None, piece: Piece) -> Outcome:
    return compare(device, *piece.encoded(exact or device.network), exact=exact)


def _compare_elsewhere(chip: tuple[Network, Fabric, int | None, str], exact: Network | None, piece: Piece) -> Outcome:
    return _compare_piece(_simulated(*chip), exact, piece)


class _Chips(threading.local):
    """The chip of a worker's thread, kept from piece to piece."""

    network: Network | None = None
    device: Device | None = None


_chips = _Chips()


def _simulated(network: Network, fabric: Fabric, cores: int | None, engine: str) -> Device:
    if _chips.network is not network or _chips.device is None:
        if _chips.device is not None:
            _chips.device.close()
        _chips.device = connect("sim", fabric, engine=engine)
        _chips.device.load(network, watch=list(network.population), cores=cores)
        _chips.network = network
    return _chips.device
