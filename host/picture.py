"""Pictures of runs."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.files import write_whole
from ..models.floor import Load
from ..models.network import Network
from ..models.place import Placement
from ..models.text import counted
from .explore import Point

Array = NDArray[Any]

INK, PAPER = "#1b2733", "#fbfaf7"
COLOURS = ("#7a8794", "#2f6f9f", "#c8553d", "#5b8c5a", "#8d6a9f", "#c9a227")


def raster(
    path: str | os.PathLike[str],
    network: Network,
    spikes: dict[str, Array],
    *,
    values: Array | None = None,
    label: int | None = None,
    title: str = "",
    cycles: Array | None = None,
) -> None:
    """Draw one sample: every spike of every population over the steps, and what the output makes of it.

    ``spikes`` are ``(steps, neurons)``, inputs included; ``values`` is the sample before it was encoded, drawn as an
    image where it is square; ``cycles`` the clock cycle at which each step ended.
    """
    from matplotlib.ticker import MaxNLocator

    steps = len(next(iter(spikes.values())))
    output = network.outputs[0]
    sizes = {name: min(a.shape[1], 160) for name, a in spikes.items()}  # a large input is drawn to a smaller scale
    heights = [max(14.0, float(size)) for size in sizes.values()]
    figure = _figure(11, 7)
    halves: Any = figure.subfigures(1, 2, width_ratios=(3.2, 1))
    left, right = halves
    axes = left.subplots(len(spikes), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for n, (axis, (name, a)) in enumerate(zip(axes, spikes.items(), strict=True)):
        colour = COLOURS[n % len(COLOURS)]
        step, neuron = np.nonzero(a)
        size = max(1.0, min(9.0, 300 / a.shape[1]))
        axis.scatter(step, neuron, s=size**2 * a[step, neuron] ** 0.5, marker="|", color=colour, linewidths=1.3)
        axis.set(ylim=(a.shape[1] - 0.5, -0.5), xlim=(-0.6, steps - 0.4))
        axis.set_ylabel(f"{name}\n{counted(a.shape[1], 'neuron')}", color=colour, fontsize=9)
        axis.set_title(counted(int(a.sum()), "spike"), loc="right", fontsize=8, color=colour, pad=2)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        _plain(axis)
    axes[-1].set_xlabel("time step", color=INK)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))

    side = round(np.sqrt(0 if values is None else values.size))
    has_image = values is not None and side * side == values.size
    panels = right.subplots(2 + (cycles is not None), 1, squeeze=False)[:, 0]
    if has_image and values is not None:
        panels[0].imshow(values.reshape(side, side), cmap="bone_r", interpolation="nearest")
        panels[0].set_title("sample" if label is None else f"sample: a {label}", fontsize=10, color=INK)
    panels[0].axis("off")
    if network.population[output].spiking:
        _votes(panels[1], spikes[output].sum(axis=0), output, COLOURS[(len(spikes) - 1) % len(COLOURS)])
    else:  # its answer is its membrane
        panels[1].axis("off")
    if cycles is not None:
        panels[2].step(np.arange(steps), np.diff(cycles, prepend=0), where="mid", color=INK, linewidth=1.2)
        panels[2].set(ylim=(0, None), xlabel="time step")
        panels[2].set_title(f"clock cycles per step, {int(cycles[-1]):,} in all", fontsize=9, color=INK)
        _plain(panels[2])
    if title:
        figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    _save(figure, path)


def _votes(axis: Any, counts: Array, output: str, colour: str) -> None:
    """The spikes of each neuron of an output, and which has most."""
    from matplotlib.ticker import MaxNLocator

    winner = int(counts.argmax())
    bars = axis.barh(np.arange(len(counts)), counts, color="#d8d4ca")
    bars[winner].set_color(colour)
    axis.invert_yaxis()
    axis.set_yticks(np.arange(len(counts))[:: max(1, len(counts) // 10)])
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_title(f"spikes of {output}: it says {winner}", fontsize=10, color=INK)
    _plain(axis)


def curves(
    path: str | os.PathLike[str],
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    level: float | None = None,
    level_name: str = "floating point",
    mark: float | None = None,
    title: str = "",
    across: str = "",
) -> None:
    """Draw accuracies (0 … 1) over something; ``level`` is a line to compare with, ``mark`` a chosen place on the axis."""
    from matplotlib.ticker import MaxNLocator

    figure = _figure(8, 4.6)
    axis: Any = figure.subplots()
    few = len(x) < 20
    for n, (name, y) in enumerate(lines.items()):
        axis.plot(x, 100 * np.asarray(y), color=COLOURS[n + 1], linewidth=2, label=name,
                  marker="o" if few else None, markersize=5)
    if level is not None:
        axis.axhline(100 * level, color=COLOURS[0], linewidth=1, linestyle="--", label=f"{level_name}, {100 * level:.2f} %")
    if mark is not None:
        axis.axvline(mark, color=COLOURS[0], linewidth=1, linestyle=":")
    best, worst = max(max(y) for y in lines.values()), min(min(y) for y in lines.values())
    # single points are all seen; of a curve over time its beginning, which is guessing, does not set the scale
    lowest = worst - 0.02 if few else min(best - 0.12, max(min(y) for y in lines.values()) - 0.02)
    axis.set_ylim(100 * max(0.0, lowest), 100 * min(1.003, best + 0.02))
    axis.set_xlabel(across, color=INK)
    axis.set_ylabel("accuracy, %", color=INK)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(frameon=False, fontsize=9, labelcolor=INK)
    axis.set_title(title, fontsize=12, color=INK, fontweight="bold")
    _plain(axis)
    _save(figure, path)


def floorplan(path: str | os.PathLike[str], placement: Placement, cores: Sequence[Load], title: str = "") -> None:
    """Draw what each core holds of its memories, and how many clock cycles of a step go where."""
    from matplotlib.ticker import MaxNLocator

    fabric = placement.fabric
    figure = _figure(12, 1.9 + 0.42 * len(cores))
    panels: Any = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1, 1.3))
    names = list(dict.fromkeys(name for core in cores for name in core.rows))
    colours = {name: COLOURS[1 + n % (len(COLOURS) - 1)] for n, name in enumerate(names)}
    at = [core.core for core in cores]

    def bars(axis: Any, parts: Sequence[Mapping[str, float]], left: Array | None = None) -> Array:
        """Stacked along each core's line, from ``left`` on, in the colour of the population that they are for."""
        pale, left = left is not None, np.zeros(len(cores)) if left is None else left
        for name in names:
            width = np.array([sum(v for k, v in own.items() if k.rsplit(" → ")[-1] == name) for own in parts], float)
            axis.barh(at, width, left=left, height=0.7, color=colours[name], alpha=0.45 if pale else 1, label=name)
            left = left + width
        return left

    bars(panels[0], [core.words for core in cores])
    panels[0].set_title(f"words of weights (of {fabric.weight_words:,})", fontsize=10, color=INK)
    panels[0].set_xlim(0, fabric.weight_words)
    bars(panels[1], [core.rows for core in cores])
    panels[1].set_title(f"rows of neurons (of {fabric.rows:,})", fontsize=10, color=INK)
    panels[1].set_xlim(0, fabric.rows)
    bars(panels[2], [core.sweeping for core in cores], bars(panels[2], [core.adding for core in cores]))
    busiest = max(cores, key=lambda core: core.cycles)
    panels[2].axvline(busiest.cycles, color=COLOURS[0], linestyle=":", linewidth=1)
    panels[2].set_title(f"clock cycles per step (core {busiest.core}: {busiest.cycles:,.0f}); pale: updates", fontsize=10,
                        color=INK)
    panels[0].set_yticks(at, [f"core {n}" for n in at])
    panels[0].set_ylim(at[-1] + 0.6, at[0] - 0.6)
    for axis in panels:
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        _plain(axis)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 8), frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    _save(figure, path)


def landscape(path: str | os.PathLike[str], found: Sequence[Point], best: Sequence[Point], chosen: Point,
              title: str = "") -> None:
    """Draw chips: latency over LUTs, coloured by accuracy, and accuracy over latency; those that none beats in full."""
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    figure = _figure(12, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    left.set(xscale="log", yscale="log", xlabel="LUTs", ylabel="µs of an inference")
    right.set(xscale="log", xlabel="µs of an inference", ylabel="accuracy, %")
    rest = [p for p in found if p.fabric.name not in {q.fabric.name for q in best}]
    drawn = [*rest, *best]
    low, high = (f(100 * p.accuracy for p in drawn) for f in (min, max))
    low = min(low, high - 1)  # a scale needs some length
    largest = max(p.lut for p in drawn)
    shades: Any = None
    for points, style in ((rest, {"alpha": 0.25, "linewidths": 0}), (best, {"edgecolors": INK, "linewidths": 0.9})):
        latency, lut = [1e6 * p.latency for p in points], [p.lut for p in points]
        accuracy = [100 * p.accuracy for p in points]
        shades = left.scatter(lut, latency, c=accuracy, s=46, cmap="viridis", vmin=low, vmax=high, **style)
        right.scatter(latency, accuracy, s=[12 + 260 * n / largest for n in lut], color=COLOURS[1], **style)
    for axis, x, y in ((left, chosen.lut, 1e6 * chosen.latency), (right, 1e6 * chosen.latency, 100 * chosen.accuracy)):
        axis.scatter([x], [y], s=240, facecolors="none", edgecolors=COLOURS[2], linewidths=2)
        axis.margins(0.15)
        outer = x > axis.get_xlim()[0] ** 0.5 * axis.get_xlim()[1] ** 0.5  # there is more room on its left
        axis.annotate(chosen.fabric.name, (x, y), xytext=(-12 if outer else 12, -16), textcoords="offset points",
                      ha="right" if outer else "left", fontsize=8.5, color=COLOURS[2],
                      path_effects=[withStroke(linewidth=3, foreground=PAPER)])
    for scale in (left.xaxis, left.yaxis, right.xaxis):
        first, last = scale.get_view_interval()
        scale.set_major_locator(LogLocator(subs=(1, 2, 5)) if last > 8 * first else MaxNLocator(6, steps=(1, 2, 5, 10)))
        scale.set_major_formatter(lambda value, _: f"{value:,.7g}")
        scale.set_minor_locator(NullLocator())
    for axis in (left, right):
        _plain(axis)
    kind = "as built, " if any(p.built for p in best) else ""
    left.set_title(f"outlined: {kind}none beats it; ring: the choice", fontsize=9, color=INK, loc="right")
    right.set_title("the larger, the more LUTs", fontsize=9, color=INK, loc="right")
    right.set_ylim(low - 0.15 * (high - low), high + 0.15 * (high - low))
    right.yaxis.set_major_formatter("{x:g}")
    bar = figure.colorbar(shades, ax=left, format="{x:g}")
    bar.set_label("accuracy, %", fontsize=9, color=INK)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    figure.suptitle(f"{title}: {counted(len(found), 'chip')}, {len(best)} that none beats", fontsize=12, color=INK,
                    fontweight="bold")
    _save(figure, path)


def utilisation(path: str | os.PathLike[str], made: dict[str, Any], floor: dict[str, list[tuple[int, int, int]]]
                ) -> None:
    """Draw where the parts of a design are on the die, and how much they take of it."""
    from matplotlib.colors import to_rgb

    colours = {name: COLOURS[(n + 1) % len(COLOURS)] for n, name in enumerate(floor)}
    points = np.array([point for cells in floor.values() for point in cells])
    columns, rows = points[:, 0].max() + 1, points[:, 1].max() + 1
    amount, image = np.zeros((rows, columns, 1)), np.zeros((rows, columns, 3))
    for name, cells in floor.items():
        for x, y, n in cells:
            amount[y, x] += n
            image[y, x] += n * np.array(to_rgb(colours[name]))
    depth = np.minimum(1, 0.35 + 0.65 * amount / max(1, np.percentile(amount[amount > 0], 90))) * (amount > 0)
    image = depth * image / np.maximum(amount, 1) + (1 - depth) * np.array(to_rgb("#efece4"))

    figure = _figure(11, 6)
    left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
    left.imshow(image, origin="lower", interpolation="nearest", aspect="auto")
    left.set(xticks=[], yticks=[])
    left.set_title(f"where its cells are on {made['device']}", fontsize=10, color=INK)
    totals = {name: sum(n for *_, n in cells) for name, cells in floor.items()}
    handles = [left.plot([], [], "s", color=colours[name], markersize=9)[0] for name in totals]
    figure.legend(handles, [f"{name}, {n:,} cells" for name, n in totals.items()], loc="outside lower center",
                  ncols=min(6, len(totals)), frameon=False, fontsize=9, labelcolor=INK)
    names = [name for name in ("lut", "ff", "bram", "spram", "dsp") if made["have"][name]]
    parts = [100 * made["used"][name] / made["have"][name] for name in names]
    right.barh(range(len(names)), [100] * len(names), color="#e6e2d8", height=0.6)
    right.barh(range(len(names)), parts, color=[COLOURS[2] if p > 90 else COLOURS[1] for p in parts], height=0.6)
    for at, (name, part) in enumerate(zip(names, parts, strict=True)):
        right.text(2, at - 0.42, f"{name.upper()}  {made['used'][name]:,} of {made['have'][name]:,}  ({part:.0f} %)",
                   fontsize=9, color=INK, va="bottom")
    right.set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.8), xticks=[], yticks=[])
    right.set_title(f"{made['clock'] / 1e6:.4g} MHz; timing allows {made['fmax'] / 1e6:.4g} MHz", fontsize=10, color=INK)
    for axis in (left, right):
        axis.set_facecolor(PAPER)
        axis.spines[:].set_visible(False)
    figure.suptitle(f"{made['fabric']['name']} on {made['board']}", fontsize=12, color=INK, fontweight="bold")
    _save(figure, path)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: importing matplotlib takes a while
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    write_whole(path, buffer.getvalue())


def _plain(axis: Any) -> None:
    axis.set_facecolor(PAPER)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)
    axis.xaxis.label.set(color=INK, fontsize=9)
    axis.yaxis.label.set_fontsize(9)
