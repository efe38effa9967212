"""The command line."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..models import golden, zoo
from ..models.errors import AerloomError
from ..models.fabric import PRESETS, Fabric
from ..models.network import Network, write_whole
from ..models.place import Placement, place
from ..models.quantize import quantize
from . import encode
from .compare import CHUNK, accuracy, compare
from .device import connect

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Trained spiking neural networks as FPGA hardware: the golden model, the cycle-accurate simulator and the board "
    "give the same answers, bit for bit.\n\nStart with `aerloom demo`.",
)
INTERRUPTED = 130  #: what Typer exits with after Ctrl-C
console = Console(stderr=True)  # stdout is for answers alone, so that --json can be piped

NetworkName = Annotated[str, typer.Argument(metavar="NETWORK", help="A file, or a network of the zoo: digits, mnist.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for a machine to read.")]
Bits = Annotated[int, typer.Option(help="Bits of a weight, 2 … 16, where the network is not quantised yet.")]
PerPopulation = Annotated[bool, typer.Option("--per-population", help="One weight scale per population, not per neuron.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the test data, where the zoo does not ship it (MNIST).")]
FabricName = Annotated[str, typer.Option("--fabric", help=f"Size of the chip: {', '.join(PRESETS)}.")]
Cores = Annotated[int | None, typer.Option(help="Cores to spread the network over; all of the Fabric's by default.")]
Engine = Annotated[str, typer.Option(help="Simulator: compiled (fast), amaranth, cocotb or icarus.")]
Images = Annotated[int, typer.Option(min=1, help="Number of test samples.")]


@contextmanager
def progress(title: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr; gives a function that takes how much is done."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def get_network(name: str) -> Network:
    """A file, or a network of the zoo."""
    return zoo.load(name) if name in zoo.NAMES and not Path(name).is_file() else Network.load(name)


def get_integer(network: Network, bits: int, per_population: bool = False) -> Network:
    """The network, quantised if it was not yet."""
    return network if network.is_integer else quantize(network, bits, per_neuron=not per_population).network


def get_samples(network: Network, data: Path | None, count: int | None) -> zoo.Samples:
    """The first test samples of a network of the zoo."""
    name = network.meta.get("name")
    if name not in zoo.NAMES:
        raise AerloomError("the network does not say which data it is for; give spikes to `aerloom run`")
    values, labels = zoo.samples(name, data)
    return values[:count], labels[:count]


def spikes_of(network: Network, values: NDArray[Any], seed: int = 0) -> NDArray[np.uint8]:
    """Samples as the network's own encoder makes spikes of them."""
    options = zoo.encoding(network)
    return encode.encode(options.pop("name"), values, options.pop("steps"), **({"seed": seed} | options))


def show(answer: dict[str, Any], as_json: bool, *tables: Table) -> None:
    """The answer of a command: JSON on stdout, or tables."""
    if as_json:
        print(json.dumps(answer))
    else:
        out = Console()
        for table in tables:
            out.print(table)


def table(title: str, *columns: str) -> Table:
    """A table whose first column is text, the others numbers."""
    out = Table(title=title, title_justify="left", title_style="bold")
    for n, column in enumerate(columns):
        out.add_column(column, justify="left" if n == 0 else "right")
    return out


@app.command()
def demo(
    network: Annotated[str, typer.Option(help="Network of the zoo: digits, or mnist with --data.")] = "digits",
    images: Images = 100,
    bits: Bits = 8,
    fabric: FabricName = "medium",
    cores: Cores = None,
    data: Data = None,
    engine: Engine = "compiled",
    picture: Annotated[Path, typer.Option(help="Where to draw the spikes of the first sample.")] = Path("demo.png"),
    as_json: AsJson = False,
) -> None:
    """From a trained network to spikes out of a cycle-accurate chip, on real images, with every link checked."""
    _verify(zoo.load(network), network, images, bits, fabric, cores, data, engine, picture, as_json)


@app.command()
def sim(
    network: NetworkName,
    images: Images = 100,
    bits: Bits = 8,
    fabric: FabricName = "medium",
    cores: Cores = None,
    data: Data = None,
    engine: Engine = "compiled",
    picture: Annotated[Path | None, typer.Option(help="Draw the spikes of the first sample there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a network on its test data, and compare every spike and membrane with the golden model."""
    _verify(get_network(network), network, images, bits, fabric, cores, data, engine, picture, as_json)


def _verify(exact: Network, name: str, images: int, bits: int, fabric: str, cores: int | None, data: Path | None,
            engine: str, picture: Path | None, as_json: bool) -> None:
    began = time.perf_counter()
    values, labels = get_samples(exact, data, images)
    integer = get_integer(exact, bits)
    spikes = spikes_of(exact, values)
    place(integer, Fabric.preset(fabric), cores)  # says what does not fit before anything is built
    with console.status(f"building the simulator of Fabric {fabric} (cached for the next time)"):
        device = connect("sim", fabric, engine=engine)
    built = time.perf_counter() - began
    with device:
        with console.status("loading weights and tables over the chip's input"):
            placement = device.load(integer, watch=list(integer.population), cores=cores)
        with progress("samples on the chip", len(values)) as report:
            answer, first, cycles = compare(
                device, spikes, labels, exact=None if exact.is_integer else exact, progress=report
            )
    if picture is not None:
        from .picture import raster

        title = f"{name} on a chip of {placement.fabric.lanes} lanes"
        raster(picture, integer, first, values=values[0], label=int(labels[0]), title=title, cycles=cycles)
    seconds = time.perf_counter() - began
    fields = answer.to_dict() | {
        "network": name,
        "fabric": fabric,
        "cores": placement.used,
        "lanes": placement.fabric.lanes,
        "weight_bits": integer.meta.get("weight_bits", bits),
        "seconds": round(seconds, 2),
        "seconds_to_build": round(built, 2),
        "picture": None if picture is None else str(picture),
    }
    rows = table(f"{name} on Fabric {fabric}: {answer.images} images", "", "")
    rows.show_header = False
    for what, value in (
        ("accuracy, floating point", _percent(answer.accuracy_float)),
        (f"accuracy, golden model ({fields['weight_bits']} bits)", _percent(answer.accuracy_golden)),
        ("accuracy, chip", _percent(answer.accuracy_chip)),
        ("mismatches of golden and chip", f"{answer.mismatches:,}"),
        ("clock cycles per inference", f"{answer.cycles_per_inference:,.0f}"),
        ("synaptic operations per inference", f"{answer.synaptic_ops_per_inference:,.0f}"),
        ("clock cycles in which lanes add", _percent(answer.lane_utilisation)),
        *((f"spikes of {n} per inference", f"{v:,.0f}") for n, v in answer.spikes_per_inference.items()),
        ("wall time", f"{seconds:.1f} s, {built:.1f} s of it to build the chip"),
        *([("picture", str(picture))] if picture else []),
    ):
        rows.add_row(what, value)
    show(fields, as_json, rows)
    if answer.mismatches:
        raise AerloomError(f"golden and chip differ in {answer.mismatches} places: this is a defect in aerloom")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


@app.command(name="zoo")
def list_zoo(
    name: Annotated[str | None, typer.Argument(help="A network, to read its card.")] = None, as_json: AsJson = False
) -> None:
    """List the trained networks that ship with aerloom, or show the card of one."""
    if name is not None:
        text = zoo.card(name)
        if as_json:
            print(json.dumps({"name": name, "card": text, "meta": zoo.load(name).meta}))
        else:
            from rich.markdown import Markdown

            Console().print(Markdown(text))
        return
    nets = {n: zoo.load(n) for n in zoo.NAMES}
    rows = table("networks", "name", "neurons", "weights", "steps", "what")
    answer = {}
    for n, net in nets.items():
        weights = sum(q.weights.size for q in net.projections)
        shape = "-".join(str(x.size) for x in net.sources.values())
        rows.add_row(n, shape, f"{weights:,}", str(net.meta["encoding"]["steps"]), str(net.meta.get("what", "")))
        answer[n] = {"shape": shape, "weights": weights, **net.meta}
    show(answer, as_json, rows)


@app.command(name="quantize")
def quantize_(
    network: NetworkName,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File for the integer network.")] = None,
    bits: Bits = 8,
    per_population: PerPopulation = False,
    state_bits: Annotated[int, typer.Option(help="Bits of a membrane.")] = 18,
    rounding: Annotated[str, typer.Option(help="How a decay rounds: floor, or trunc (toward zero).")] = "floor",
    data: Data = None,
    images: Annotated[int | None, typer.Option(min=1, help="Measure on so many test samples; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trained network into integers and say what that cost."""
    exact = get_network(network)
    report_on = exact.meta.get("name") in zoo.NAMES and (data is not None or exact.meta["name"] != "mnist")
    options: dict[str, Any] = {"per_neuron": not per_population, "state_bits": state_bits, "rounding": rounding}
    if report_on:
        values, labels = get_samples(exact, data, images)
        some = spikes_of(exact, values[:CHUNK])
        made = quantize(exact, bits, calibration=some, labels=labels[:CHUNK], **options)
        for kind, net in (("float", exact), ("golden", made.network)):
            with progress(f"accuracy, {kind}", len(values)) as report:
                made.report.accuracy[kind] = accuracy(net, lambda: _chunks(exact, values, labels), report)
    else:
        made = quantize(exact, bits, **options)
    if output is not None:
        made.network.save(output)
    answer = made.report.to_dict() | {"network": network, "output": None if output is None else str(output),
                                      "images": len(values) if report_on else 0}
    weights = table(f"{network} in {bits} bits: weights", "projection", "signal to noise", "clipped")
    for name, record in made.report.weights.items():
        weights.add_row(name, f"{record['snr_db']:.1f} dB", _percent(record["clipped"]))
    states = table("populations", "population", "scale", "shift", "spikes, float", "spikes, golden", "steps that differ")
    for name, record in made.report.populations.items():
        states.add_row(
            name, f"{record['scale_min']:.4g} … {record['scale_max']:.4g}", f"{record['shift']}",
            *(f"{record[k]:.1f}" if k in record else "–" for k in ("spikes_float", "spikes_golden")),
            _percent(record.get("steps_that_differ")),
        )
    result = table("accuracy", "network", "accuracy", "samples")
    for kind, value in made.report.accuracy.items():
        result.add_row(kind, _percent(value), str(answer["images"]))
    show(answer, as_json, weights, states, *([result] if made.report.accuracy else []))


def _chunks(network: Network, values: NDArray[Any], labels: NDArray[Any]) -> Iterator[tuple[Any, Any]]:
    for seed, n in enumerate(range(0, len(values), CHUNK)):
        yield spikes_of(network, values[n : n + CHUNK], seed), labels[n : n + CHUNK]


@app.command()
def fit(
    network: NetworkName,
    bits: Bits = 8,
    fabric: Annotated[list[str] | None, typer.Option(help="Only these Fabrics.")] = None,
    cores: Cores = None,
    as_json: AsJson = False,
) -> None:
    """Show on which chips a network fits, what it takes of them, and what is missing where it does not."""
    integer = get_integer(get_network(network), bits)
    rows = table(f"{network} in {bits} bits", "Fabric", "lanes", "cores", "weight words", "rows", "fits")
    answer: dict[str, Any] = {}
    for name in fabric or list(PRESETS):
        preset = Fabric.preset(name)
        try:
            answer[name] = {"fits": True, **_usage(place(integer, preset, cores))}
            use = answer[name]
            taken = f"{max(use['weight_words']):,} of {preset.weight_words:,}", f"{max(use['rows'])} of {preset.rows}"
            rows.add_row(name, str(preset.lanes), str(preset.cores), *taken, "yes")
        except AerloomError as e:
            answer[name] = {"fits": False, "why": str(e)}
            rows.add_row(name, str(preset.lanes), str(preset.cores), "–", "–", f"no: {e}")
    show(answer, as_json, rows)


def _usage(placement: Placement) -> dict[str, Any]:
    return {
        "weight_words": [core.words for core in placement.cores],
        "rows": [core.rows for core in placement.cores],
        "parameter_rows": [core.parameter_rows for core in placement.cores],
        "packets_to_load": len(placement.image),
        "parts": [dataclasses.asdict(part) for part in placement.parts],
    }


@app.command()
def run(
    network: NetworkName,
    spikes: Annotated[Path, typer.Argument(help="`.npy` (batch, steps, neurons), or `.npz` with one array per input.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="`.npz` for the spikes of every watched population.")],
    on: Annotated[str, typer.Option(help="Where: golden, or a target of connect such as sim.")] = "sim",
    watch: Annotated[list[str] | None, typer.Option(help="Populations to record; the outputs by default.")] = None,
    bits: Bits = 8,
    fabric: FabricName = "medium",
    cores: Cores = None,
    as_json: AsJson = False,
) -> None:
    """Run spikes from a file through a network, and write the spikes that come out."""
    integer = get_integer(get_network(network), bits)
    events = read_spikes(spikes)
    sent = golden.check_spikes(integer, events)
    batch, steps, _ = next(iter(sent.values())).shape
    watched = list(watch or integer.outputs)
    answer: dict[str, Any] = {"samples": batch, "steps": steps, "output": str(output)}
    if on == "golden":
        trace = golden.run(integer, sent)
        if unknown := set(watched) - set(integer.population):
            raise AerloomError(f"{sorted(unknown)[0]!r} is not a population")
        out = {name: trace.spikes[name] for name in watched}
        answer["synaptic_operations"] = trace.synaptic_operations
    else:
        with connect(on, fabric) as device:
            device.load(integer, watch=watched, cores=cores)
            with progress("samples", batch) as report:
                result = device.run(sent, progress=report)
            out = result.spikes
            answer |= device.counters()
            answer["cycles_per_sample"] = result.cycles_per_sample
    answer["spikes"] = {name: int(a.sum()) for name, a in out.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **out)  # type: ignore[arg-type]
    write_whole(output, buffer.getvalue())
    rows = table(f"{batch} samples of {steps} steps", "population", "spikes")
    for name, count in answer["spikes"].items():
        rows.add_row(name, f"{count:,}")
    show(answer, as_json, rows)


def read_spikes(path: Path) -> Any:
    """An array, or several by name, from a NumPy file without pickles."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise AerloomError(f"{path}: there is no such file") from None
    except Exception as e:  # NumPy raises whatever the damage leads to
        raise AerloomError(f"{path}: not a NumPy file of spikes, or damaged ({type(e).__name__}: {e})") from None


def main() -> None:
    """Run the command line: errors that a user can mend are one sentence and exit code 2; so is Ctrl-C."""
    try:
        app()
    except AerloomError as e:
        console.print(f"[bold red]error:[/] {escape(str(e))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as e:
        sys.exit(2 if e.code == INTERRUPTED else e.code)


if __name__ == "__main__":
    main()
