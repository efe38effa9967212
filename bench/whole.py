"""A wide chip: how near it comes to what the blocks of RAM of an ECP5-85F could deliver."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import aerloom
from aerloom import Input, Network, Population, Projection
from aerloom.boards.build import build
from aerloom.boards.catalogue import find
from aerloom.host.compare import differing
from aerloom.host.picture import utilisation
from aerloom.models import golden
from aerloom.models.fabric import Fabric
from aerloom.models.quantize import quantize

BOARD = "ulx3s-85f"
#: Weights in whole blocks of RAM, 32 of 36 bits wide, and nothing else in them
FABRIC = Fabric("whole", cores=5, lanes=128, update_lanes=1, weight_words=512, rows=2, shallow=True, ahead=False,
                currents=False, parameter_rows=128, populations=2, projections=2, places=0, keys=16, inputs=1, sum_bits=15,
                spike_bits=1, refractory_bits=1)
PORT = 36  # bits that a block of RAM can give in a clock
STEPS, RATE = 20, 1.0
PICTURE = Path(__file__).parent / "results" / "whole.png"  # where the parts of the chip are on the die
CLOCK = 65e6  # Hz, that timing surely allows: the share does not depend on it


def network() -> Network:
    """As many weights as the chip holds: 512 inputs to a population of 128 neurons on each core."""
    r = np.random.default_rng(0)
    names = [f"p{n}" for n in range(FABRIC.cores)]
    exact = Network(
        (Input("in", (FABRIC.weight_words,)),), tuple(Population(name, (FABRIC.lanes,), decay_v=0.9) for name in names),
        tuple(Projection("in", name, r.normal(0, 0.05, (FABRIC.lanes, FABRIC.weight_words))) for name in names))
    return quantize(exact, FABRIC.weight_bits).network


def whole() -> Iterator[dict[str, Any]]:
    """A chip whose weights take most blocks of RAM of an ECP5-85F, simulated on a network that fills it: the weights that
    it adds, as a share of what all blocks could deliver. Then place and route, which take long."""
    board, net = find(BOARD), network()
    spikes = (np.random.default_rng(1).random((1, STEPS, FABRIC.weight_words)) < RATE).astype(np.uint8)
    trace = golden.run(net, spikes)
    with aerloom.connect("sim", FABRIC, quick=True) as device:
        device.load(net, watch=list(net.population))
        run = device.run(spikes)
    cycles = float(run.cycles[0, -1])
    added = int(spikes.sum()) * FABRIC.lanes * FABRIC.cores / cycles
    bound = board.resources.bram * PORT / FABRIC.weight_bits
    out = {
        "fabric": dataclasses.asdict(FABRIC), "lanes": FABRIC.cores * FABRIC.lanes,
        "mismatches": differing(run.spikes, trace), "cycles per step": round(cycles / STEPS, 1),
        "weights per clock": round(added, 1), "bound": bound, "share of the bound": round(added / bound, 3)}
    yield out
    with tempfile.TemporaryDirectory() as folder:
        made = build(board, FABRIC, folder, clock=CLOCK, told=lambda step: print(f"  {step}", file=sys.stderr))
        utilisation(PICTURE, made.as_dict(), json.loads((Path(folder) / "floor.json").read_text()))
    yield out | {
        "used": dataclasses.asdict(made.used), "mhz": round(made.fmax / 1e6, 1) if made.fmax else None, "clock": made.clock,
        "M synaptic operations per second": round(added * made.clock / 1e6), "path": made.path, "tools": made.tools}
