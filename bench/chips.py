"""How many clock cycles: chips, simulated and by the cycle model."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

import aerloom
from aerloom.models import golden, zoo
from aerloom.models.fabric import Fabric
from aerloom.models.floor import loads
from aerloom.models.quantize import quantize

from .common import mnist_like


def lanes() -> dict[str, Any]:
    """Clock cycles of an inference of mnist at 16, 64 and 128 lanes; exact. The wider chips take minutes to build, once."""
    net = quantize(zoo.load("mnist"), 8).network
    spikes = mnist_like(10)
    out: dict[str, Any] = {}
    for name in ("medium", "large", "wide"):
        fabric = Fabric.preset(name)
        with aerloom.connect("sim", fabric) as device:
            device.load(net, watch=list(net.population))
            run, trace = device.run(spikes), golden.run(net, spikes)
            mismatches = sum(int(np.sum(run.spikes[n] != trace.spikes[n])) for n in net.population)
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


def cores() -> dict[str, Any]:
    """Clock cycles of a step of NIR's N-MNIST network on 1 … 8 cores of 8 lanes, over 60 steps of a recording; exact."""
    shared = Path(os.environ.get("AERLOOM_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    net = quantize(aerloom.load(shared / "nir/02_cnn/cnn_sinabs.nir", "sinabs", max_spikes=1), 8).network
    with np.load(shared / "nmnist/nmnist_small.npz") as archive:
        t, x, y, p = (archive[f"test_{k}"][: archive["test_offsets"][1]] for k in "txyp")
    spikes = np.zeros((1, 60, 2, 34, 34), np.uint8)
    kept = t < 60_000
    spikes[0, t[kept] // 1000, p[kept], y[kept], x[kept]] = 1
    fabric = dataclasses.replace(Fabric.preset("planes"), name="cores", cores=8, lanes=8, update_lanes=1, rows=1280,
                                 weight_words=8192, projections=64, keys=64, parameter_rows=512, queue=256)
    trace, out = golden.run(net, spikes), {}
    with aerloom.connect("sim", fabric, optimize=0) as device:  # more than ten minutes to build at 1
        for used in (1, 2, 4, 8):
            placement = device.load(net, cores=used, watch=list(net.population))
            run = device.run(spikes)
            counters, expected = device.counters(), loads(placement, trace)
            out[f"{used} cores"] = {
                "cycles per step": round(float(run.cycles[0, -1]) / 60, 1),
                "expected of the busiest core": round(max(core.cycles for core in expected), 1),
                "share of cycles in which lanes add, mean over cores": round(
                    counters["adding_cycles"] / counters["cycles"] / used, 4),
                "mismatches with golden": sum(int(np.sum(run.spikes[n] != trace.spikes[n])) for n in net.population),
            }
    for used in (2, 4, 8):
        out[f"{used} cores"]["speed-up"] = round(
            out["1 cores"]["cycles per step"] / out[f"{used} cores"]["cycles per step"], 2)
    return out
