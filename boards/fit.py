"""Does a network fit on a board, what would it take, and how fast would it be: before anything is built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ..hdl.board import one_chip
from ..models import image
from ..models.encode import blank
from ..models.errors import AerloomError
from ..models.fabric import Fabric
from ..models.floor import loads, rates
from ..models.frame import BYTES_PER_PACKET
from ..models.golden import Trace
from ..models.network import Network
from ..models.place import Part, Placement
from . import clocks
from .board import Board, Resources
from .catalogue import find
from .estimate import estimate, memories, suited
from .tailor import seeing, tailored

__all__ = ["Fit", "Traffic", "fit_on", "speed", "traffic"]

STEPS = 25  # of an inference, where nothing is known
OVERHEAD = {False: 60, True: 10}  # clock cycles of a step in which a core waits, by whether all sources are ahead
BITS = 10  # of a byte on the line


@dataclass(frozen=True)
class Traffic:
    """Packets of an inference on the link, each way. ``images``: an image goes down, and the chip makes the spikes."""

    images: bool
    down: float
    up: float

    @property
    def bytes(self) -> float:
        """On the line, one way or the other, as both go on at once, in full frames."""
        return max(self.down, self.up) * BYTES_PER_PACKET

    def seconds(self, baud: float) -> float:
        """That the line takes for it."""
        return self.bytes * BITS / baud


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
    traffic: Traffic = Traffic(False, 0.0, 0.0)  #: of images where the chip takes them; otherwise of spikes
    baud: int = 0
    latency: float = 0.0  #: seconds of an inference, the link included
    per_second: float = 0.0  #: inferences, the link included
    bound: str = ""  #: what limits that: chip or link
    of_spikes: float = 0.0  #: inferences per second where the host makes the spikes, the link included
    assumed: bool = True  #: the activity of the network was assumed, not measured

    @property
    def fits(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"fits": self.fits}


def fit_on(network: Network, board: Board | str, fabric: Fabric | None = None, trace: Trace | None = None) -> Fit:
    """How an integer network fits on a board, with `fabric` or, where none is given, with the first that fits of those that
    are made for it; where none does, with the first. It has an encoder for the network's images and a readout for its
    answers where that gives more inferences per second.

    ``trace``, of :func:`aerloom.models.golden.run`, tells how many spikes there are; otherwise 5 % of all neurons are taken
    to fire in each step (:data:`aerloom.models.floor.ACTIVITY`).
    """
    board = find(board) if isinstance(board, str) else board
    if fabric is not None:
        return _fit(Placement(network, fabric), board, fabric, trace)
    first = [_first(network, board, own, trace) for own in dict.fromkeys((seeing(network, board.fabric), board.fabric))]
    return max((found for found in first if found.fits), key=lambda found: found.per_second, default=first[-1])


def _first(network: Network, board: Board, own: Fabric, trace: Trace | None) -> Fit:
    """With the first that fits of the Fabrics that are made of this one; where none does, with the first."""
    tried = (_fit(placement, board, some, trace) for some, placement in tailored(network, own))
    first = next(tried)
    return first if first.fits else next((found for found in tried if found.fits), first)


def _fit(placement: Placement, board: Board, fabric: Fabric, trace: Trace | None) -> Fit:
    board = suited(board, fabric)
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
    if trace is not None:
        steps = next(iter(trace.spikes.values())).shape[1]
    else:
        steps = placement.network.meta.get("encoding", {}).get("steps", STEPS)
    packets, spikes = traffic(placement, steps, trace), traffic(placement, steps, trace, images=False)
    cycles = costs(placement, trace, packets.images) * steps
    latency, per_second, bound = speed(cycles, clock, packets, board.baud)
    return Fit(board.name, fabric, tuple(problems), memory, guess.used, board.resources, clock, guess.lut_error,
               guess.fmax_error, steps, cycles, packets, board.baud, latency, per_second, bound,
               speed(cycles, clock, spikes, board.baud)[1], trace is None)


def speed(cycles: float, clock: float, packets: Traffic, baud: float) -> tuple[float, float, str]:
    """Seconds of an inference, inferences per second, and what limits these: chip or link, which work at the same time."""
    chip, link = cycles / clock, packets.seconds(baud)
    return chip + link, 1 / max(chip, link), "link" if link > chip else "chip"


def costs(placement: Placement, trace: Trace | None, images: bool = False) -> float:
    """Clock cycles of a step: of the busiest core or, if that takes longer, of making spikes of images."""
    busiest = max(core.cycles for core in loads(placement, trace))
    pixels = sum(i.size for i in placement.network.inputs) if images else 0
    ahead = all(placement.ahead(link) for core in placement.cores for link in core.links)
    return max(busiest, pixels) + OVERHEAD[ahead]


def traffic(placement: Placement, steps: int, trace: Trace | None, images: bool = True) -> Traffic:
    """What :meth:`aerloom.host.device.Device.infer` sends and gets for one of many samples of so many steps: an image,
    where the chip has an encoder for the network's own code, or its spikes."""
    rate, outputs = rates(placement, trace), placement.network.outputs

    def spikes(parts: list[Part]) -> float:
        return sum((float(rate(part).sum()) + 1) * steps for part in parts)

    answer = image.counted(placement, outputs[0], steps)
    heard = [part for part in placement.parts if part.source in outputs and part is not answer]
    up = spikes(heard) + (answer is not None)
    picture = blank(placement.network, steps) if images else None
    if picture is not None and image.encodes(placement, picture):
        return Traffic(True, image.pictures(picture).shape[1], up)
    return Traffic(False, spikes([part for part in placement.parts if part.core is None]), up)


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
