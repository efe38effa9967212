"""aerloom zoo, import, check, quantize, sweep, report: networks, before there is a chip."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ...models import zoo
from ...models.build import taken
from ...models.convert import convert
from ...models.early import Exit
from ...models.errors import AerloomError
from ...models.fabrics import named
from ...models.files import read_arrays
from ...models.load import check as check_
from ...models.load import load
from ...models.place import place
from ...models.quantize import quantize
from ...models.text import counted, percent
from ..dataset import CHUNK, pieces, spikes_of
from ..jobs import Workers
from ..measure import accuracies, accuracy, costs, early, latency
from .common import (
    AsJson,
    Bits,
    Changes,
    Cores,
    Data,
    ImageLimit,
    Jobs,
    NetworkName,
    PerPopulation,
    SampleFile,
    Scheduler,
    SemanticsName,
    changes_of,
    console,
    destination,
    get_network,
    get_samples,
    numbers,
    print_json,
    progress,
    show,
    table,
)


def list_zoo(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A network, to read its card.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the trained networks that ship with aerloom, or show the card of one."""
    if name is not None:
        text = zoo.card(name)
        if as_json:
            print_json({"name": name, "card": text, "meta": zoo.load(name).meta})
        else:
            from rich.markdown import Markdown

            Console().print(Markdown(text))
        return
    nets = {n: zoo.load(n) for n in zoo.NAMES}
    rows = table("networks", "name", "neurons", "weights", "steps", "what")
    rows.columns[-1].justify = "left"
    answer = {}
    for n, net in nets.items():
        weights = sum(q.weights.size for q in net.projections)
        shape = "-".join(str(x.size) for x in net.sources.values())
        rows.add_row(n, shape, f"{weights:,}", str(net.meta["encoding"]["steps"]), str(net.meta.get("what", "")))
        answer[n] = {"shape": shape, "weights": weights, **net.meta}
    show(answer, as_json, rows)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A NIR file, or one of Lava-DL netx.")],
    output: Annotated[Path, typer.Option("-o", "--output", callback=destination, help="File for the network.")],
    semantics: SemanticsName = None,
    settings: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Read a network of another framework, and say how its neurons will run."""
    network = load(file, semantics, **changes_of(settings))
    network.save(output)
    rows = table(f"{file} → {output}", "", "")
    rows.show_header = False
    for i in network.inputs:
        rows.add_row(f"input {i.name}", f"{counted(i.size, 'neuron')} {i.shape}")
    for p in network.populations:
        rows.add_row(f"population {p.name}", taken(p))
    for q in network.projections:
        kind = {1: "one to one", 2: "dense", 4: "convolution"}[q.weights.ndim]
        pool = f" after {q.pool.kernel} pooling" if q.pool else ""
        rows.add_row(f"projection {q}", f"{counted(q.weights.size, 'weight')}, {kind}{pool}, delay {q.delay}")
    for note in network.meta.get("notes", ()):
        rows.add_row("note", note)
    show({"file": str(file), "output": str(output), "hash": network.hash, "integer": network.is_integer,
          "inputs": {i.name: list(i.shape) for i in network.inputs},
          "populations": {p.name: taken(p) for p in network.populations},
          "weights": sum(q.weights.size for q in network.projections), "outputs": list(network.outputs),
          **network.meta}, as_json, rows)


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A NIR file.")],
    semantics: SemanticsName = None,
    settings: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Say node by node what importing a file would make of it: taken, folded, approximated or refused.

    Exit code 1 where anything is refused.
    """
    made = check_(file, semantics, **changes_of(settings))
    rows = table(f"{file}, semantics {made.semantics.name}", "node", "kind", "", "")
    for column in rows.columns:
        column.justify = "left"
    colours = {"refused": "red", "approximated": "yellow"}
    for f in made.findings.values():
        rows.add_row(f.node, f.kind, f.outcome, escape(f.text), style=colours.get(f.outcome))
    show({"file": str(file), "semantics": dataclasses.asdict(made.semantics), "looks_like": made.looks_like,
          "refused": len(made.refused), "findings": [dataclasses.asdict(f) for f in made.findings.values()]}, as_json, rows)
    console.print(f"rules: {made.semantics.describe()}" + (
        f"; the fields look like those of {made.looks_like}" if made.looks_like else ""), highlight=False)
    if made.refused:
        raise typer.Exit(1)


def convert_(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file of a ReLU network.")],
    samples: Annotated[Path, typer.Option(
        help="`.npz` with `values` (n, …) in 0 … 1, some hundreds of typical inputs, and their `labels` (n,).")],
    output: Annotated[Path, typer.Option("-o", "--output", callback=destination, help="File for the spiking network.")],
    coding: Annotated[str, typer.Option(help="direct: each value as up to 15 spikes in every step; rate: evenly spaced "
                                             "single spikes.")] = "direct",
    steps: Annotated[int, typer.Option(help="Steps of a sample; 0: the fewest that do.")] = 0,
    percentile: Annotated[float, typer.Option(help="Of the activations of a layer: what becomes its threshold.")] = 99.9,
    picture: Annotated[Path | None, typer.Option(callback=destination, help="Draw accuracy over time there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trained ReLU network into a spiking one, without training again."""
    arrays = read_arrays(samples)
    if not isinstance(arrays, dict) or "values" not in arrays:
        raise AerloomError(f"{samples}: it must have the array values, and labels where there are any")
    with console.status("balancing thresholds"):
        made = convert(model, arrays["values"], labels=arrays.get("labels"), coding=coding, steps=steps or None,
                       percentile=percentile)
    made.network.save(output)
    if picture is not None:
        from ..picture import curves

        lines = {f"spikes, {coding} coding": made.curve.tolist()}
        curves(picture, range(1, len(made.curve) + 1), lines, level=made.ann, level_name="the ReLU network",
               mark=made.steps, title=f"{model.name}: accuracy over time", across="time steps")
    rows = table(f"{model} → {output}", "", "")
    rows.show_header = False
    what = "accuracy" if "labels" in arrays else "agreement"
    rows.add_row("steps", str(made.steps))
    rows.add_row(f"{what} of the ReLU network", percent(made.ann))
    rows.add_row(f"{what} of the spiking network", percent(float(made.curve[made.steps - 1])))
    show({"model": str(model), "output": str(output), "steps": made.steps, "ann": made.ann, "coding": coding,
          "samples": len(arrays["values"]), "curve": made.curve.tolist(),
          "picture": None if picture is None else str(picture),
          "thresholds": {n: lam.tolist() for n, lam in made.thresholds.items()}}, as_json, rows)


def quantize_(
    network: NetworkName,
    output: Annotated[Path | None, typer.Option(
        "-o", "--output", callback=destination, help="File for the integer network.")] = None,
    bits: Bits = 8,
    per_population: PerPopulation = False,
    state_bits: Annotated[int, typer.Option(help="Bits of a membrane; 0: the fewest that no sample leaves.")] = 18,
    rounding: Annotated[str, typer.Option(help="How a decay rounds: floor, or trunc (toward zero).")] = "floor",
    data: Data = None,
    samples: SampleFile = None,
    images: ImageLimit = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trained network into integers and say what that cost."""
    exact = get_network(network)
    workers = Workers(jobs, scheduler)
    report_on = samples is not None or zoo.has_samples(exact, data)
    options: dict[str, Any] = {"per_neuron": not per_population, "state_bits": state_bits or None, "rounding": rounding}
    if report_on:
        values, labels = get_samples(exact, data, images, samples)
        some = spikes_of(exact, values[:CHUNK])
        made = quantize(exact, bits, calibration=some, labels=labels[:CHUNK], **options)
        for kind, net in (("float", exact), ("golden", made.network)):
            with progress(f"accuracy, {kind}", len(values)) as report:
                made.report.accuracy[kind] = accuracy(net, pieces(values, labels), workers, report)
    else:
        made = quantize(exact, bits, **options)
    if output is not None:
        made.network.save(output)
    answer = made.report.to_dict() | {"network": network, "output": None if output is None else str(output),
                                      "images": len(values) if report_on else 0}
    weights = table(f"{network} in {bits} bits: weights", "projection", "signal to noise", "clipped")
    for name, record in made.report.weights.items():
        weights.add_row(name, f"{record['snr_db']:.1f} dB", percent(record["clipped"]))
    states = table("populations", "population", "scale", "shift", "spikes, float", "golden", "differ", "distance",
                   "saturated")
    for name, record in made.report.populations.items():
        states.add_row(
            name, f"{record['scale_min']:.4g} … {record['scale_max']:.4g}", f"{record['shift']}",
            *(f"{record[k]:.1f}" if k in record else "–" for k in ("spikes_float", "spikes_golden")),
            percent(record.get("steps_that_differ")), f"{record['distance']:.3f}" if "distance" in record else "–",
            percent(record.get("saturated")),
        )
    result = table("accuracy", "network", "accuracy", "samples")
    for kind, value in made.report.accuracy.items():
        result.add_row(kind, percent(value), str(answer["images"]))
    show(answer, as_json, weights, states, *([result] if made.report.accuracy else []))


def sweep(
    network: NetworkName,
    bits: Annotated[str, typer.Option(help="Widths of a weight to try, with commas between.")] = "2,3,4,5,6,8",
    picture: Annotated[Path, typer.Option(
        "-o", "--output", callback=destination, help="Where to draw accuracy over bits.")] = Path("sweep.png"),
    data: Data = None,
    samples: SampleFile = None,
    images: ImageLimit = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """Measure the accuracy of a network at several widths of its weights, and draw it."""
    from ..picture import curves

    exact, widths, workers = get_network(network), numbers("--bits", bits), Workers(jobs, scheduler)
    values, labels = get_samples(exact, data, images, samples)
    kinds = ("neuron", "population")
    networks = [exact, *(quantize(exact, width, per_neuron=kind == "neuron").network for kind in kinds for width in widths)]
    with progress("samples", len(networks) * len(labels)) as report:
        found = accuracies(networks, pieces(values, labels), workers, report)
    curve = {kind: found[1 + n * len(widths) :][: len(widths)] for n, kind in enumerate(kinds)}
    answer: dict[str, Any] = {"network": network, "images": len(labels), "bits": widths, "picture": str(picture),
                              "float": found[0], **curve}
    curves(picture, widths, {f"one scale per {k}": v for k, v in curve.items()}, level=found[0],
           title=f"{network}: accuracy over the width of weights", across="bits of a weight")
    rows = table(f"{network}: accuracy on {counted(len(labels), 'sample')}", "bits", "a scale per neuron", "per population")
    rows.add_row("float", percent(answer["float"]), "")
    for n, width in enumerate(widths):
        rows.add_row(str(width), percent(answer["neuron"][n]), percent(answer["population"][n]))
    show(answer, as_json, rows)


def report(
    network: NetworkName,
    bits: Annotated[int, typer.Option(help="Bits of a weight; 0: as the network is.")] = 8,
    data: Data = None,
    samples: SampleFile = None,
    images: ImageLimit = 500,
    exits: Annotated[str | None, typer.Option("--early", help="Also leave samples early: decided (when no other class can "
                                              "catch up: the same answers), or at a lead of so many spikes.")] = None,
    fabric: Annotated[str | None, typer.Option(help="Also the clock cycles on a chip of this Fabric: a preset, or a JSON "
                                               "file.")] = None,
    cores: Cores = None,
    jobs: Jobs = None,
    scheduler: Scheduler = None,
    as_json: AsJson = False,
) -> None:
    """What a network costs to run, by the definitions of NeuroBench, and its accuracy."""
    exact, workers = get_network(network), Workers(jobs, scheduler)
    integer = exact if exact.is_integer or bits == 0 else quantize(exact, bits).network
    values, labels = get_samples(exact, data, images, samples)
    when = int(exits) if exits and exits.isdecimal() else exits
    if when is not None:
        Exit(integer, 1, when)  # raises where it makes no sense
    with progress("samples", len(labels)) as told:
        found = costs(integer, pieces(values, labels), workers, told)
    answer = {"network": network, "samples": len(labels), "weight_bits": integer.meta.get("weight_bits"), **found}
    if when is not None:
        with progress("samples, left early", len(labels)) as told:
            (answer["early"],) = early(integer, pieces(values, labels), [when], workers, told)
    if fabric is not None:
        placement = place(integer, named(fabric), cores)
        with progress("samples on the chip", len(labels)) as told:
            whole, left = latency(placement, pieces(values, labels), [] if when is None else [when], workers, told)
        answer["cycles"] = {"fabric": fabric, "mean": whole.mean(), "least": int(whole.min()), "most": int(whole.max())}
        if when is not None:
            answer["early"]["cycles"] = left[0].mean()
    operations = answer["synaptic_operations"]
    rows = table(f"{network} on {counted(len(labels), 'sample')} (NeuroBench)", "", "")
    rows.show_header = False
    rows.add_row("accuracy", percent(answer["accuracy"]))
    rows.add_row("footprint", f"{answer['footprint']:,} bytes")
    rows.add_row("connection sparsity", percent(answer["connection_sparsity"]))
    rows.add_row("activation sparsity", percent(answer["activation_sparsity"]))
    for name in ("effective_acs", "effective_macs", "dense"):
        rows.add_row(f"synaptic operations per sample, {name}", f"{operations[name]:,.0f}")
    if when is not None:
        rows.add_row(f"accuracy, left early ({when})", percent(answer["early"]["accuracy"]))
        rows.add_row("steps that are run", f"{answer['early']['steps']:.1f}")
    if fabric is not None:
        said = answer["cycles"]
        rows.add_row(f"clock cycles on {fabric}", f"{said['mean']:,.0f} ({said['least']:,} … {said['most']:,})")
        if when is not None:
            rows.add_row("clock cycles, left early", f"{answer['early']['cycles']:,.0f}")
    show(answer, as_json, rows)
