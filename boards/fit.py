"""Does a network fit on a board, what would it take, and how fast would it be: before anything is built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ..hdl.board import one_chip
from ..models.errors import AerloomError
from ..models.fabric import Fabric
from ..models.floor import loads, rates
from ..models.golden import Trace
from ..models.network import Network
from ..models.place import Placement
from . import clocks
from .board import Board, Resources
from .catalogue import find
from .estimate import estimate, memories
from .tailor import tailored

__all__ = ["Fit", "fit_on", "speed"]

STEPS = 25  # of an inference, where nothing is known
OVERHEAD = 60  # clock cycles of a step that are neither additions nor updates
BYTES = 4.3  # of a packet on the line, its share of a frame's header and check included
BITS = 10  # of a byte on the line


@dataclass(frozen=True)
class Fit:
    """A network on a board. ``problems``: why it does not fit, and what would change that."""

    board: str
    fabric: Fabric
    problems: tuple[str, ...]
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)  #: taken and there, by field of the Fabric
    used: Resources = field(default_factory=lambda: Resources(0, 0, 0))
    have: Resources = field(default_factory=lambda: Resources(0, 0, 0))
    clock: float = 0.0
    lut_error: float = 0.0  #: of the prediction, at worst
    fmax_error: float = 0.0
    steps: int = STEPS  #: of an inference
    cycles: float = 0.0  #: of an inference, in the chip
    packets: float = 0.0  #: of an inference, on the link
    latency: float = 0.0  #: seconds of an inference, the link included
    per_second: float = 0.0  #: inferences, the link included
    bound: str = ""  #: what limits that: chip or link
    assumed: bool = True  #: the activity of the network was assumed, not measured

    @property
    def fits(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"fits": self.fits}


def fit_on(network: Network, board: Board | str, fabric: Fabric | None = None, trace: Trace | None = None) -> Fit:
    """How an integer network fits on a board, with `fabric` or, where none is given, with the first that fits of those that
    are made for it; where none does, with the first.

    ``trace``, of :func:`aerloom.models.golden.run`, tells how many spikes there are; otherwise 5 % of all neurons are taken
    to fire in each step (:data:`aerloom.models.floor.ACTIVITY`).
    """
    board = find(board) if isinstance(board, str) else board
    tried = iter([(fabric, Placement(network, fabric))]) if fabric else tailored(network, board.fabric)
    first: Fit | None = None
    for some, placement in tried:
        found = _fit(placement, board, some, trace)
        if found.fits:
            return found
        first = first or found
    assert first is not None
    return first


def _fit(placement: Placement, board: Board, fabric: Fabric, trace: Trace | None) -> Fit:
    guess = estimate(fabric, board.family)
    problems = [str(p) for p in placement.problems]
    for name, (need, have) in guess.used.over(board.resources).items():
        problems.append(f"{name.upper()}: about {need:,} needed, and the board has {have:,}; {advice(name, fabric, board)}")
    core = max(placement.cores, key=lambda c: c.words)
    memory = {"weight_words": (core.words, fabric.weight_words), "rows": (core.rows, fabric.rows),
              "parameter_rows": (core.parameter_rows, fabric.parameter_rows)}
    try:
        one_chip(fabric)
    except AerloomError as e:
        problems.append(str(e))
    try:
        clock = clocks.fastest(board, guess.fmax).frequency
    except AerloomError as e:
        problems.append(str(e))
        clock = guess.fmax
    cycles, packets = costs(placement, trace)
    if trace is not None:
        steps = next(iter(trace.spikes.values())).shape[1]
    else:
        steps = placement.network.meta.get("encoding", {}).get("steps", STEPS)
    latency, per_second, bound = speed(cycles * steps, clock, packets * steps, board.baud)
    return Fit(board.name, fabric, tuple(problems), memory, guess.used, board.resources, clock, guess.lut_error,
               guess.fmax_error, steps, cycles * steps, packets * steps, latency, per_second, bound, trace is None)


def speed(cycles: float, clock: float, packets: float, baud: float) -> tuple[float, float, str]:
    """Seconds of an inference, inferences per second, and what limits these: chip or link, which work at the same time."""
    chip, link = cycles / clock, packets * BYTES * BITS / baud
    return chip + link, 1 / max(chip, link), "link" if link > chip else "chip"


def costs(placement: Placement, trace: Trace | None) -> tuple[float, float]:
    """Clock cycles of a step in the busiest core, and packets of a step on the link."""
    rate = rates(placement, trace)
    talkers = [p for p in placement.parts if p.core is None or p.source in placement.network.outputs]
    packets = sum(float(rate(p).sum()) + 1 for p in talkers)
    return max(core.cycles for core in loads(placement, trace)) + OVERHEAD, packets


def advice(name: str, fabric: Fabric, board: Board) -> str:
    """What to change where a resource is short."""
    if name == "bram":
        for bits in (4, 2):
            if bits < fabric.weight_bits:
                narrow = estimate(dataclasses.replace(fabric, weight_bits=bits), board.family).used
                if narrow.bram <= board.resources.bram:
                    return f"weights of {bits} bits would do (--bits {bits})"
        most = max(memories(fabric), key=lambda m: m.blocks(board.family) * m.count)
        return f"{most.blocks(board.family) * most.count} are for {most.name}: take a larger board, or a smaller network"
    return "take a larger board, or one neuron updated at a time and fewer bits of state (--fabric)"
