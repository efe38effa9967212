"""What the commands share: options, progress, answers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ...models import zoo
from ...models.errors import AerloomError
from ...models.fabric import PRESETS
from ...models.files import read_arrays, writable
from ...models.load import load
from ...models.network import Network
from ...models.quantize import quantize
from ...models.text import counted

console = Console(stderr=True)  # stdout is for answers alone, so that --json can be piped
UNFOLDED = 10_000  # columns where nobody's terminal folds: a row is one line in a file or a pipe
RESOURCES = {"lut": "LUTs", "ff": "flip-flops", "bram": "block RAMs", "spram": "SPRAMs", "dsp": "multipliers"}

NetworkName = Annotated[str, typer.Argument(
    metavar="NETWORK", help=f"A file (aerloom's, NIR, Lava netx), or a network of the zoo: {', '.join(zoo.NAMES)}.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for a machine to read.")]
Bits = Annotated[int, typer.Option(help="Bits of a weight, 2 … 16, where the network is not quantised yet.")]
PerPopulation = Annotated[bool, typer.Option("--per-population", help="One weight scale per population, not per neuron.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the test data, where the zoo does not ship it (MNIST).")]
SampleFile = Annotated[Path | None, typer.Option(
    "--samples", help="`.npz` for a network of your own: `labels` (n,), and `spikes` (n, steps, neurons) in whole "
    "numbers or `values` (n, inputs) that the network's own encoder takes.")]
ChipName = Annotated[str | None, typer.Option(
    "--fabric", help=f"Size of the chip: {', '.join(PRESETS)}, or a JSON file; by default medium (infer: vision), and of a "
    "board what it says itself. With --on golden, a network that does not fit on it is refused.")]
FabricName = Annotated[str, typer.Option("--fabric", help=f"Size of the chip: {', '.join(PRESETS)}, or a JSON file.")]
Cores = Annotated[int | None, typer.Option(min=1, help="Cores to spread the network over; all of the Fabric's by default.")]
Engine = Annotated[str, typer.Option(help="Simulator: compiled (fast), amaranth, cocotb or icarus.")]
Target = Annotated[str, typer.Option(
    "--on", "--port", help="Where: golden, sim, virtual, or the serial port of a board, as /dev/ttyUSB0.")]
Images = Annotated[int, typer.Option(min=1, help="Number of test samples.")]
Jobs = Annotated[int | None, typer.Option(help="Processes; as many as this computer has cores by default.")]
Scheduler = Annotated[str | None, typer.Option(
    help="Address of a Dask scheduler, tcp://host:port, whose workers do the work (needs aerloom[cluster]).")]
ImageLimit = Annotated[int | None, typer.Option("--images", min=1, help="Measure on at most so many samples.")]
SemanticsName = Annotated[str | None, typer.Option(
    help="Framework whose rules the neurons follow: snntorch, norse, spikingjelly, sinabs, rockpool, lava, nengo, spyx, or "
    "nir: the text of the specification, which is the default.")]
Changes = Annotated[list[str] | None, typer.Option(
    "--set", metavar="FIELD=VALUE", help="Change one field of the semantics: dt, decay, gain, reset, reset_delay, compare, "
    "max_spikes, spike_delay, bias_delay, v_reset, v0, min_v, rounding. May be given several times.")]


def bars() -> Progress:
    """Progress bars on stderr, which go away where nobody sees them move."""
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=not console.is_terminal)


@contextmanager
def progress(title: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr; gives a function that takes how much is done."""
    with bars() as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def get_network(name: str) -> Network:
    """A file, or a network of the zoo."""
    if os.path.exists(name) or name not in zoo.NAMES:
        if not os.path.exists(name) and not Path(name).suffix:
            raise AerloomError(f"{name}: there is no such file, and no such network in the zoo: {', '.join(zoo.NAMES)}")
        return load(name)
    return zoo.load(name)


def get_integer(network: Network, bits: int, per_population: bool = False) -> Network:
    """The network, quantised if it was not yet."""
    return network if network.is_integer else quantize(network, bits, per_neuron=not per_population).network


def get_samples(network: Network, data: Path | None, count: int | None, file: Path | None = None) -> zoo.Samples:
    """The first test samples of a network: those of a file, or of the zoo."""
    if file is not None:
        arrays = read_arrays(file)
        if not isinstance(arrays, dict) or "labels" not in arrays or not {"spikes", "values"} & arrays.keys():
            raise AerloomError(f"{file}: it must have the arrays labels, and spikes or values")
        samples, labels = arrays["spikes" if "spikes" in arrays else "values"], arrays["labels"]
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size or samples.ndim < 2:
            raise AerloomError(f"{file}: it must have samples (n, …) and as labels (n,) numbers of classes, not "
                               f"{samples.shape} and {labels.shape} of {labels.dtype}")
        if len(samples) != len(labels):
            raise AerloomError(f"{file}: {counted(len(samples), 'sample')}, but {counted(len(labels), 'label')}")
        classes = network.population[network.outputs[0]].size
        if labels.min() < 0 or labels.max() >= classes:
            raise AerloomError(f"{file}: labels must be classes 0 … {classes - 1}, as the network has, not "
                               f"{labels.min()} … {labels.max()}")
        return samples[:count], labels[:count]
    values, labels = zoo.samples(network, data)
    return values[:count], labels[:count]


def destination(path: Path | None) -> Path | None:
    """A file that a command will write, as callback of its option: what is wrong with the place is said before the work."""
    if path is not None:
        writable(path)
    return path


def numbers(option: str, text: str) -> list[int]:
    """The numbers of an option that takes several, with commas between."""
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise AerloomError(f"{option} must be numbers with commas between, as 2,4,8, not {text!r}") from None


def changes_of(settings: list[str] | None) -> dict[str, Any]:
    """FIELD=VALUE as a mapping; values are JSON where they are, else text."""
    out: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not equals:
            raise AerloomError(f"--set {setting!r} must be FIELD=VALUE, as dt=1e-3")
        try:
            out[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            out[name.replace("-", "_")] = value
    return out


def show(answer: dict[str, Any], as_json: bool, *tables: Table) -> None:
    """The answer of a command: JSON on stdout, or tables."""
    if as_json:
        print_json(answer)
    else:
        out = Console()
        if not out.is_terminal:
            out.width = UNFOLDED
        for table in tables:
            table.min_width = min(len(str(table.title)), out.width)  # a title is on one line where there is room
            out.print(table)


def print_json(answer: Any) -> None:
    """One JSON object on stdout; what is infinite or no number is null, as JSON has neither."""
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(answer), allow_nan=False))


def table(title: str, *columns: str) -> Table:
    """A table whose first column is text, the others numbers."""
    out = Table(title=title, title_justify="left", title_style="bold")
    for n, column in enumerate(columns):
        out.add_column(column, justify="left" if n == 0 else "right")
    return out
