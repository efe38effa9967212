"""Many chips for one network: how right, how fast and how large each would be, and which of them no other one beats."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..models import fast, golden
from ..models.contents import EMPTY
from ..models.errors import AerloomError, AerloomWarning
from ..models.fabric import Fabric
from ..models.network import Network
from ..models.place import place
from ..models.quantize import quantize
from ..models.text import counted
from .dataset import Piece
from .jobs import HERE, Workers
from .measure import accuracies, golden_run
from .tools import tools

__all__ = ["Point", "Space", "build", "choose", "front", "networks", "ordered", "points"]

TRACED = 20  #: samples whose spikes tell how long an inference takes
NEAR = 0.005  #: accuracy that may be given up for a smaller or faster chip


@dataclass(frozen=True)
class Space:
    """What is tried: every combination. ``bits`` are those of a weight; ``state_bits`` 0: the fewest that no sample of the
    calibration leaves."""

    lanes: Sequence[int] = (4, 8, 16, 32, 64)
    cores: Sequence[int] = (1, 2, 4)
    update_lanes: Sequence[int] = (1, 2, 4)
    bits: Sequence[int] = (2, 4, 8)
    state_bits: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        least = {"state_bits": 0}
        for name, tried in vars(self).items():
            if wrong := [n for n in tried if n < least.get(name, 1)]:
                raise AerloomError(f"{name.replace('_', ' ')} to try must be at least {least.get(name, 1)}, not {wrong[0]}")
        for name, tried in (("lanes", self.lanes), ("update lanes", self.update_lanes)):
            if wrong := [n for n in tried if n & n - 1]:
                raise AerloomError(f"{name} to try must be a power of two each, not {wrong[0]}")
        if min(self.update_lanes) > max(self.lanes):
            raise AerloomError(f"a core of {counted(max(self.lanes), 'lane')} cannot update "
                               f"{min(self.update_lanes)} neurons per clock")

    def chips(self) -> Iterator[tuple[int, int, int]]:
        """Cores, lanes and update lanes that go together."""
        for cores, lanes, update in itertools.product(self.cores, self.lanes, self.update_lanes):
            if update <= lanes:
                yield cores, lanes, update


@dataclass(frozen=True)
class Point:
    """A chip, whose name says its cores × lanes, neurons updated per clock, and bits of weights and states.

    Predicted, or ``built``: then ``lut``, ``bram`` and ``fmax`` are those after place and route.
    """

    fabric: Fabric
    bits: int
    state_bits: int
    accuracy: float
    cycles: float  #: of an inference
    lut: int
    bram: int
    fmax: float  #: Hz
    problems: tuple[str, ...] = ()  #: why the board does not take it
    built: bool = False

    @property
    def latency(self) -> float:
        """Seconds of an inference in the chip."""
        return self.cycles / self.fmax

    def beats(self, other: Point) -> bool:
        """As good in everything, and better in something."""
        mine, its = (-self.accuracy, self.latency, self.lut), (-other.accuracy, other.latency, other.lut)
        return mine != its and all(a <= b for a, b in zip(mine, its, strict=True))

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"latency": self.latency}


def networks(exact: Network, space: Space, calibration: NDArray[Any]) -> dict[tuple[int, int], Network]:
    """The network in integers, by bits of a weight and of the state (0: the fewest)."""
    if exact.is_integer:
        raise AerloomError("explore takes a network before it is quantised, as it tries several widths")
    return {(bits, state): quantize(exact, bits, calibration=calibration, state_bits=state or None).network
            for bits, state in itertools.product(space.bits, space.state_bits)}


def points(exact: Network, board: str, space: Space, data: Sequence[Piece], workers: Workers = HERE,
           progress: Callable[[str, int, int], Any] | None = None) -> list[Point]:
    """Every chip of the space, by prediction.

    ``data`` gives the accuracy, and its first samples calibrate. ``progress`` is called with what is counted, how many of
    them are done and how many there are.
    """
    told = progress or (lambda what, done, of: None)
    spikes = data[0].encoded(exact)[0]
    made = networks(exact, space, spikes)
    samples = len(made) * sum(map(len, data))
    right = accuracies(list(made.values()), data, workers, lambda done: told("samples", done, samples))
    traces = [golden_run(network, spikes[:TRACED]) for network in made.values()]
    guess = functools.partial(_guess, board, list(made.values()), traces)
    items = [(n, chip) for n in range(len(made)) for chip in space.chips()]
    found = workers.map(guess, items, progress=lambda done: told("chips", done, len(items)))
    widths = list(made)
    return [Point(bits=widths[n][0], state_bits=widths[n][1], accuracy=right[n], **g)
            for (n, _), g in zip(items, found, strict=True)]


def _guess(board: str, made: Sequence[Network], traces: Sequence[golden.Trace], item: tuple[int, tuple[int, int, int]]
           ) -> dict[str, Any]:
    n, (cores, lanes, update) = item
    name = f"{cores}x{lanes}-{update}-w{made[n].meta['weight_bits']}-s{made[n].state_bits}"
    fabric = tools("boards").bare(made[n], name, cores=cores, lanes=lanes, update_lanes=update, weight_bits=1)
    fit = tools("boards").fit(made[n], board, fabric, traces[n])
    cycles = fit["cycles"]
    if fast.available:  # without numba the model of the whole chip takes too long for so many
        ends = tools("cycles").cycles(place(made[n], fabric), traces[n], alone=True)
        cycles = float(ends[:, -1].mean())
    return {"fabric": fabric, "cycles": cycles, "lut": fit["used"]["lut"],
            "bram": fit["used"]["bram"], "fmax": fit["clock"], "problems": tuple(fit["problems"])}


def front(found: Sequence[Point]) -> list[Point]:
    """Those that fit the board and that none beats, the most accurate first; of equal ones the first."""
    fitting = [p for p in found if not p.problems]
    out: list[Point] = []
    for p in fitting:
        same = [q for q in out if (q.accuracy, q.latency, q.lut) == (p.accuracy, p.latency, p.lut)]
        if not same and not any(q.beats(p) for q in fitting):
            out.append(p)
    return sorted(out, key=lambda p: (-p.accuracy, p.latency))


def choose(best: Sequence[Point], by: str = "balance") -> Point:
    """One point of a front: the best by ``accuracy``, ``latency`` or ``lut``, or by ``balance``: of those that are nearly
    the most accurate the one whose latency times LUTs is least."""
    order = ordered(by)
    if not best:
        raise AerloomError("no chip fits the board")
    return min(best, key=lambda p: order(p, best[0].accuracy))


def ordered(by: str) -> Callable[[Point, float], Any]:
    """What is least for the point to choose, where so much accuracy can be had; :class:`AerloomError` for another name."""
    orders: dict[str, Callable[[Point, float], Any]] = {
        "accuracy": lambda p, most: (-p.accuracy, p.latency),
        "latency": lambda p, most: (p.latency, -p.accuracy),
        "lut": lambda p, most: (p.lut, -p.accuracy),
        "balance": lambda p, most: (p.accuracy < most - NEAR, p.latency * p.lut),
    }
    if by not in orders:
        raise AerloomError(f"a point is chosen by {', '.join(orders)}, not by {by!r}")
    return orders[by]


def build(best: Sequence[Point], board: str, folder: Path, workers: Workers = HERE,
          done: Callable[[int, Point], Any] | None = None) -> list[Point]:
    """The points of a front, built: with what place and route made of them, or with what went wrong among their problems.

    Each has a folder of its own in ``folder``, named as its Fabric. What was built before comes from the cache of builds,
    so that what was interrupted goes on where it was. ``done`` is called with each as it is finished.
    """
    out = list(best)
    for n, made in workers.each(functools.partial(_build, board, folder), best):
        out[n] = made
        if done is not None:
            done(n, made)
    return out


def _build(board: str, folder: Path, point: Point) -> Point:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AerloomWarning)  # how fast it became is what is asked for
        try:
            made = tools("boards").build(board, point.fabric, folder / point.fabric.name, clock=None, baud=None, seed=1,
                                         contents=EMPTY, told=lambda step: None)
        except AerloomError as e:
            return dataclasses.replace(point, problems=(str(e),))
    if made["fmax"] is None:
        raise AerloomError(f"{board} is built by its vendor's tools: there is nothing to measure")
    used = made["used"]
    return dataclasses.replace(point, lut=used["lut"], bram=used["bram"], fmax=made["fmax"], built=True)
