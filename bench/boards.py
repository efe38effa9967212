"""The table of boards: accuracy, size, clock and speed of networks on each, beside what others published.

Accuracy is golden's on every test image, which a chip equals bit for bit; cycles are a simulated chip's, compared with
golden as they are counted; sizes and clocks are those of place and route. Nothing here ran on silicon.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import aerloom
from aerloom import Device, Network
from aerloom.boards.build import build
from aerloom.boards.catalogue import find
from aerloom.boards.fit import Fit, fit_on, speed
from aerloom.host import measure
from aerloom.host.compare import differing
from aerloom.host.dataset import pieces, spikes_of
from aerloom.host.jobs import Workers
from aerloom.models import golden, zoo
from aerloom.models.encode import code_of
from aerloom.models.encode import images as encoded
from aerloom.models.errors import AerloomError
from aerloom.models.fabric import Fabric
from aerloom.models.place import place
from aerloom.models.quantize import quantize
from aerloom.models.text import percent

from .common import mnist

NETWORKS = ("mnist", "mnist-conv", "digits")
BOARDS = ("ulx3s-85f", "ulx3s-25f", "tang-nano-20k", "ice40-hx8k", "icebreaker")
WIDTHS = ((8, 18), (4, 18), (4, 10))  #: bits of weights and of membranes: the first in which a network fits on a board
SIMULATED = 10  # images whose cycles are counted

#: What :func:`latency` asks for: of a few seeds and clocks, those that timing allows and nothing faster
SWIFTLY = {"clock": 90e6, "seed": 1}

#: As published, on MNIST; accuracy, look-up tables (or logic cells), blocks of RAM, time of an inference.
PUBLISHED = (
    {"network": "Flexi-NeurA", "accuracy": 0.9723, "lut": 1623, "bram": 7, "microseconds": 1100.0},
    {"network": "Spiker+", "accuracy": 0.9385, "lut": 7612, "bram": 18, "microseconds": 780.0},
    {"network": "snn-fpga", "accuracy": None, "lut": 6358, "bram": 40.5, "microseconds": 520.0},
)

NOTES = (
    "Accuracy: golden's on all test images, which the chip equals bit for bit. Cycles: of the simulated chip, the first "
    f"{SIMULATED} images, every spike compared with golden; where the chip makes the spikes of images, and those go over "
    "the link, so is every answer. LUT … Fmax: placed and routed by open tools, link and all. "
    "**Not run on silicon.** The rows of others are as they published them, on devices and at clocks of their own.",
)


def boards(data: Path | None = None, networks: Sequence[str] = NETWORKS, boards: Sequence[str] = BOARDS
           ) -> Iterator[dict[str, Any]]:
    """Networks on boards: accuracy (golden), cycles (simulated), sizes and clocks (place and route); nothing on silicon.

    Gives the table as it grows: a row takes as long as its bitstream, or no time once that is in the cache. Rows of other
    networks and boards stay as they were.
    """
    rows = [row for row in measured() if row["network"] not in networks or row["board"] not in boards]
    for name in networks:
        exact = aerloom.Network.load(name) if Path(name).is_file() else zoo.load(name)
        values, labels = zoo.samples(exact, data)
        values = values.reshape(len(values), *exact.inputs[0].shape)
        variants = [exact] if exact.is_integer else [quantize(exact, w, state_bits=v).network for w, v in WIDTHS]
        spikes = spikes_of(exact, values[:SIMULATED])
        traces = [golden.run(network, spikes) for network in variants]
        known: dict[tuple[int, str], float] = {}
        for board in boards:
            print(f"{name} on {board}", file=sys.stderr)
            row: dict[str, Any] = {"network": name, "board": board}
            tried: list[Fabric] = []
            for n, (network, trace) in enumerate(zip(variants, traces, strict=True)):  # the first that fits, and is built
                found = fit_on(network, board, trace=trace)
                if found.fabric in tried:
                    continue
                tried.append(found.fabric)
                row |= on_board(network, found, values, trace) if found.fits else {"problem": "; ".join(found.problems)}
                if "used" in row:
                    seen = as_chip(network) if found.traffic.images else network
                    if (key := (n, seen.meta["encoding"]["name"])) not in known:
                        known[key] = measure.accuracy(seen, pieces(values, labels), Workers())
                    row |= {"bits": found.fabric.weight_bits, "accuracy": known[key], "images": len(labels)}
                    row.pop("problem", None)
                    break
            rows = sorted([*rows, row], key=place_of)
            yield {"rows": rows, "published": PUBLISHED, "table": markdown(rows)}


def latency(data: Path | None = None) -> dict[str, Any]:
    """mnist in the least time, on the preset `swift` of an ECP5-85F with its link: place and route, all test images by the
    cycle model, and some of them simulated."""
    exact, fabric = zoo.load("mnist"), Fabric.preset("swift")
    values, labels = mnist(data)
    network = quantize(exact, fabric.weight_bits).network
    trace = golden.run(network, spikes_of(exact, values[:SIMULATED]))
    row = on_board(network, fit_on(network, "ulx3s-85f", fabric, trace), values, trace, **SWIFTLY)
    if "problem" in row:
        raise AerloomError(row["problem"])
    images, several = pieces(values, labels), Workers()
    cycles, _ = measure.latency(place(network, fabric), images, workers=several)
    return row | {"bits": fabric.weight_bits, "accuracy": measure.accuracy(network, images, several), "images": len(labels),
                  "cycles of all images": round(float(cycles.mean()), 1),
                  "microseconds": round(1e6 * float(cycles.mean()) / row["clock"], 2),
                  "microseconds at Fmax": round(1e6 * float(cycles.mean()) / row["fmax"], 2)}


def measured() -> list[dict[str, Any]]:
    """The rows of the last run."""
    path = Path(__file__).parent / "results" / "boards.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())["result"]["rows"] if path.exists() else []
    return rows


def place_of(row: dict[str, Any]) -> list[tuple[int, str]]:
    """Where a row goes: in the order of the table, then by name."""
    return [(names.index(name) if name in names else len(names), name)
            for name, names in ((row["network"], NETWORKS), (row["board"], BOARDS))]


def as_chip(network: Network) -> Network:
    """The network with the encoding by which a chip makes its spikes: the draws of its rate code are others."""
    encoding = network.meta["encoding"]
    if encoding["name"] != "rate":
        return network
    if (most := encoding.get("max_rate", 1.0)) != 1.0:
        raise AerloomError(f"a chip's rate code has no max_rate but 1, and the network has {most}")
    return network.replace(meta=network.meta | {"encoding": {"name": "lfsr", "steps": encoding["steps"]}})


def on_board(network: Network, found: Fit, values: Any, trace: golden.Trace, **asked: Any) -> dict[str, Any]:
    """What came of building it, as is ``asked`` of :func:`aerloom.boards.build.build`, and of simulating the chip."""
    board = find(found.board)
    with tempfile.TemporaryDirectory() as out:
        try:
            made = build(board, found.fabric, out, told=lambda step: print(f"  {step}", file=sys.stderr), **asked)
        except AerloomError as e:
            lines = [line.strip() for line in str(e).splitlines()]
            return {"problem": next((line for line in lines if "ERROR" in line), lines[0]).partition(" Its log")[0]}
    with aerloom.connect("sim", found.fabric, quick=True) as device:
        counted = simulated(device, network, trace, values[:SIMULATED] if found.traffic.images else None)
    cycles = counted["cycles"]
    latency, per_second, bound = speed(cycles, made.clock, found.traffic, made.baud)
    return {"device": made.device, "fabric": made.fabric, "used": dataclasses.asdict(made.used), "fmax": made.fmax,
            "clock": made.clock, **counted, "microseconds": 1e6 * cycles / made.clock, "baud": made.baud,
            "on the link": "images" if found.traffic.images else "spikes", "latency with the link, s": latency,
            "per second with the link": per_second, "bound": bound, "tools": made.tools}


def simulated(device: Device, network: Network, trace: golden.Trace, images: Any = None) -> dict[str, Any]:
    """Clock cycles of an inference, of spikes or, where there are any, of images; and how much golden says otherwise: of
    the spikes of all populations, and of the answers."""
    device.load(network, watch=list(network.population))
    run = device.run({i.name: trace.spikes[i.name] for i in network.inputs})
    out = {"cycles": run.cycles_per_sample, "mismatches": differing(run.spikes, trace), "simulated images": len(run.cycles)}
    if images is not None:
        device.load(network)
        answers = device.infer(images=images)
        out["cycles"] = device.counters()["cycles"] / len(images)
        made = encoded(network, images, network.meta["encoding"]["steps"], code_of(network)).spikes()
        out["answers that differ"] = int(np.sum(answers != golden.classes(network, golden.run(network, made))))
    return out | {"cycles": round(out["cycles"], 1)}


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as they are printed in a README."""
    head = ("network, board", "weights", "accuracy", "LUT", "FF", "block RAM", "DSP", "Fmax", "clock", "cycles", "chip",
            "with the link")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        bits = f"{row['bits']} bits" if "bits" in row else ""
        first = [f"`{Path(row['network']).stem}`, {row['board']}", bits, percent(row.get("accuracy"))]
        if "problem" in row:
            why = row["problem"].partition(";")[0].replace("|", "/")
            lines.append("| " + " | ".join([*first, f"not built: {why}"]) + " |" * (len(head) - 3))
            continue
        used = row["used"]
        lines.append("| " + " | ".join([
            *first, *(f"{used[name]:,}" for name in ("lut", "ff", "bram", "dsp")), f"{row['fmax'] / 1e6:.1f} MHz",
            f"{row['clock'] / 1e6:.4g} MHz", f"{row['cycles']:,.0f}", f"{row['microseconds']:,.0f} µs",
            f"{row['per second with the link']:,.0f}/s ({row.get('on the link', 'spikes')}; {row['bound']})"]) + " |")
    for other in PUBLISHED:
        lines.append("| " + " | ".join([
            f"{other['network']}, as published", "", percent(other["accuracy"]), f"{other['lut']:,}", "",
            f"{other['bram']}", "", "", "", "", f"{other['microseconds']:,.0f} µs", ""]) + " |")
    return "\n".join([*lines, "", *NOTES]) + "\n"
