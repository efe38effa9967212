"""How many clock cycles: chips, simulated and by the cycle model."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import aerloom
from aerloom.host.compare import compare, differing
from aerloom.models import golden, zoo
from aerloom.models.fabric import Fabric
from aerloom.models.floor import loads
from aerloom.models.network import Network
from aerloom.models.quantize import quantize
from aerloom.sim.cycles import cycles

from . import real
from .common import mnist_like

#: The most that a network here takes of a core, on one of them or on eight
EIGHT = dataclasses.replace(Fabric.preset("planes"), name="cores", cores=8, lanes=8, update_lanes=1, rows=1280,
                            weight_words=1 << 14, projections=64, keys=64, parameter_rows=512, queue=256)
USED = (1, 2, 4, 8)  # cores
#: One core for any of the real networks
ONE = dataclasses.replace(Fabric.preset("planes"), name="one", places=512)


def lanes() -> dict[str, Any]:
    """Clock cycles of an inference of mnist at 16, 64 and 128 lanes; exact. The wider chips take minutes to build, once."""
    net = quantize(zoo.load("mnist"), 8).network
    spikes = mnist_like(10)
    out: dict[str, Any] = {}
    for name in ("medium", "large", "wide"):
        fabric = Fabric.preset(name)
        with aerloom.connect("sim", fabric) as device:
            device.load(net, watch=list(net.population))
            run = device.run(spikes)
            mismatches = differing(run.spikes, golden.run(net, spikes))
            counters = device.counters()
        out[f"{fabric.lanes} lanes"] = {
            "fabric": name,
            "cycles per inference": round(run.cycles_per_sample, 1),
            "share of cycles in which the lanes add": round(counters["adding_cycles"] / counters["cycles"], 4),
            "synaptic operations per inference": counters["synaptic_operations"] / len(spikes),
            "input spikes per inference": float(spikes.sum() / len(spikes)),
            "mismatches with golden": mismatches,
        }
    return out


def figures(device: aerloom.Device, net: Network, spikes: np.ndarray, cores: int | None = None) -> dict[str, Any]:
    """What a network takes on a chip, on all of its cores or some: every spike and every last membrane compared."""
    device.load(net, watch=list(net.population), cores=cores)
    answer, _, _ = compare(device, spikes)
    steps = spikes.shape[0] * spikes.shape[1]
    return {
        "cycles per step": round(answer.cycles / steps, 1),
        "share of cycles in which lanes add, mean over cores": round(answer.lane_utilisation, 4),
        "synaptic operations per step": round(answer.operations / steps, 1),
        "spikes per step": round(sum(answer.spikes.values()) / steps, 1),
        "mismatches with golden": answer.mismatches,
    }


def networks() -> Iterator[dict[str, Any]]:
    """Real networks on a simulated core of 16 lanes: clock cycles of a step, exact, and bits that are not golden's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", aerloom.AerloomWarning)  # what the Braille files leave open, BRAILLE says
        made, images, _ = real.converted()
        work = {"N-MNIST CNN of NIR, recordings": real.n_mnist(),
                **{f"Braille of NIR, recurrent, {file}, recordings": real.braille(file) for file in real.BRAILLE},
                "CNN converted from an ANN, digits": (quantize(made.network, 8).network, made.encode(images[:3])),
                "axonal delays of 0 … 15 steps": real.delayed()}
    out: dict[str, Any] = {}
    with aerloom.connect("sim", ONE) as device:
        for name, (net, spikes) in work.items():
            out[name] = figures(device, net, spikes)
            yield out


def cores() -> Iterator[dict[str, Any]]:
    """Clock cycles of a step on 1 … 8 cores of a simulated chip of eight, of 8 lanes each: NIR's N-MNIST network on a
    recording, and mnist on an image; bits that are not golden's, and cycles by which the cycle model differs."""
    work = {"N-MNIST CNN": real.n_mnist(1), "mnist": (quantize(zoo.load("mnist"), 8).network, mnist_like(1))}
    out: dict[str, Any] = {}
    with aerloom.connect("sim", EIGHT, quick=True) as device:
        for name, (net, spikes) in work.items():
            trace, alone = golden.run(net, spikes), 0.0
            for used in USED:
                row = figures(device, net, spikes, used)
                assert device.placement is not None
                alone = alone or row["cycles per step"]
                model = cycles(device.placement, trace, watch=list(net.population))[-1, -1]
                out[f"{name}, {used} of 8 cores"] = row | {
                    "expected of the busiest core": round(max(c.cycles for c in loads(device.placement, trace)), 1),
                    "cycles by which the model differs": int(abs(device.counters()["cycles"] - model)),
                    "speed-up": round(alone / row["cycles per step"], 2),
                }
                yield out
