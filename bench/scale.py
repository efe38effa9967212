"""Whole datasets: through the simulated chip, and by the cycle model; and answers that come early."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import aerloom
from aerloom.boards.tailor import bare
from aerloom.host.compare import compare_all
from aerloom.host.dataset import pieces
from aerloom.host.jobs import HERE, Workers
from aerloom.host.measure import early as exits
from aerloom.host.measure import golden_run, latency
from aerloom.models import golden, zoo
from aerloom.models.early import DECIDED
from aerloom.models.fabric import Fabric
from aerloom.models.place import place
from aerloom.models.quantize import quantize
from aerloom.sim.cycles import cycles

from .common import mnist, mnist_like, rate

PIECE = 50
FABRIC = "medium"


def scale(data: Path | None = None) -> dict[str, Any]:
    """All test images of MNIST through a simulated chip that is made for it, every spike and membrane compared with golden;
    on all cores of this machine."""
    exact = zoo.load("mnist")
    net = quantize(exact, 8).network
    values, labels = mnist(data)
    fabric, _ = bare(net, "mnist", lanes=64, update_lanes=4)
    with aerloom.connect("sim", fabric) as device:
        device.load(net, watch=list(net.population))
        began = time.perf_counter()
        answer, _, _ = compare_all(device, pieces(values, labels, PIECE), exact=exact, workers=Workers())
        seconds = time.perf_counter() - began
        some = pieces(values[:100], labels[:100])
        chip = rate(lambda: compare_all(device, some, exact=exact, workers=HERE), 100)
        spikes, _ = some[0].encoded(exact)
        slower = rate(lambda: golden.run(net, spikes), 100)
    found = answer.to_dict()
    names = ("images", "mismatches", "accuracy_float", "accuracy_golden", "accuracy_chip", "cycles_per_inference",
             "lane_utilisation", "saturations")
    return {name: found[name] for name in names} | {
        "fabric": dataclasses.asdict(fabric), "within two minutes": seconds <= 120,
        "golden / chip, images per CPU second": round(slower / chip, 1)}


def early(data: Path | None = None) -> dict[str, Any]:
    """Accuracy, steps and clock cycles of mnist's test images that are left when they are decided, or at a lead."""
    exact = zoo.load("mnist")
    net = quantize(exact, 8).network
    data_in_pieces, whens = pieces(*mnist(data)), [*range(1, 11), DECIDED]
    rows = exits(net, data_in_pieces, whens, Workers())
    whole, left = latency(place(net, Fabric.preset(FABRIC)), data_in_pieces, whens, Workers())
    for row, cycles_of in zip(rows, left, strict=True):
        row["cycles"] = round(float(cycles_of.mean()), 1)
    return {"fabric": FABRIC, "images": len(whole), "all steps, cycles": round(float(whole.mean()), 1), "curve": rows}


def model() -> dict[str, Any]:
    """The cycle model beside the simulated chip: cycles that differ, and how much faster it is."""
    out: dict[str, Any] = {}
    net, spikes = quantize(zoo.load("mnist"), 8).network, mnist_like(20)
    trace = golden_run(net, spikes)
    for name in ("medium", "large", "wide"):
        with aerloom.connect("sim", name) as device:
            placement = device.load(net)
            expected = device.run(spikes).cycles
            chip = rate(lambda device=device: device.run(spikes), 20)
            found = cycles(placement, trace)
            fast = rate(lambda placement=placement: cycles(placement, trace), 20)
        out[name] = {"cycles per inference": round(float(expected[-1, -1]) / len(spikes), 1),
                     "steps whose end differs": int((found != expected).sum()), "model / chip": round(fast / chip, 1)}
    return out
