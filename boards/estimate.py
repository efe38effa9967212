"""What a Fabric will take of a device, and how fast it will be: predicted, from builds that were measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

from ..hdl.locate import indexing, rest
from ..hdl.neurons import fetched, kept, late
from ..hdl.synapses import widths
from ..models.fabric import CHUNK, CORE_COUNTERS, COUNTER_BITS, Fabric, Space, route_record
from .board import Board, Family, Resources
from .catalogue import find

__all__ = ["POINTS", "Estimate", "Memory", "errors", "estimate", "memories", "suited"]

POINTS = Path(__file__).parent / "calibration.json"  # python -m aerloom.boards.calibrate writes it
UNKNOWN = 0.5  # the error where nothing is known
LINK_DEPTH = 256  # words that the port keeps each way
WITHOUT_MULTIPLIERS = ("ice40hx",)
#: Look-up tables of a neuron's update, by whether there are currents: for each bit of a membrane, and besides
UPDATE_LUTS = {True: (36, 110), False: (24, 125)}
#: Its flip-flops, by that and by whether it is pipelined
UPDATE_FFS = {(True, True): (85, 330), (True, False): (30, 300), (False, True): (35, 390), (False, False): (10, 240)}


@dataclass(frozen=True)
class Memory:
    """`count` memories of `words` words of `bits` bits."""

    name: str
    count: int
    bits: int
    words: int
    block: bool = False  #: asked for as blocks of RAM, however small
    loaded: bool = False  #: what it holds at first does not matter
    kind: str = ""  #: of a table: the same, where the family has blocks to spare for it

    def large(self, family: Family) -> int:
        """Large memories that one of them takes, where the family has such."""
        bits, words = family.large
        return -(-self.bits // bits) * -(-self.words // words) if bits and self.loaded else 0

    def blocks(self, family: Family) -> int:
        """Blocks of RAM that one of them takes; 0 where it is smaller when made of look-up tables or flip-flops."""
        if self.large(family):
            return 0
        blocks = min(-(-self.bits // bits) * -(-self.words // words) for bits, words in family.shapes)
        if self.block or self.kind in family.spare_blocks:
            return blocks
        if family.lutram:
            small = self.tables * 4 + self.choice < blocks * family.block_cost
        else:
            small = self.bits * self.words <= family.block_cost * blocks
        return 0 if small else blocks

    @property
    def tables(self) -> int:
        """Small memories of 16 words of 4 bits that one of them takes."""
        return -(-self.bits // 4) * -(-self.words // 16)

    @property
    def choice(self) -> int:
        """Choices of a bit among those."""
        return self.bits * (-(-self.words // 16) - 1)


@dataclass(frozen=True)
class Estimate:
    """Prediction, and how wrong it was at worst for builds that it did not know: 0.1 is 10 %."""

    used: Resources
    fmax: float
    lut_error: float
    fmax_error: float


def memories(fabric: Fabric) -> Iterator[Memory]:
    """Every memory of a board."""
    f, cores, slices = fabric, fabric.cores, widths(fabric)
    groups, of_neuron = f.rows * f.groups, late(f)
    in_slice = min(f.lanes, slices[0] * CHUNK // f.weight_bits)
    yield Memory("weights", cores * len(slices), in_slice * f.weight_bits, f.weight_words, loaded=True)
    yield Memory("sums", cores * len(slices), in_slice * f.sum_bits, f.sum_rows + (not f.shallow), block=not f.shallow)
    for _, bits in fetched(f):
        yield Memory("parameters", cores * f.update_lanes, len(bits), f.parameter_rows, kind=of_neuron)
    for state in kept(f):
        yield Memory("state", cores * f.update_lanes, len(state), groups, kind=of_neuron)
    yield Memory("spikes", cores, f.spike_bits * f.update_lanes + f.place_bits + 1, groups * f.regions, kind="small")
    for name, record, words in (("keys", f.key_record, f.keys), ("sources", f.source_record, f.projections)):
        yield Memory(name, cores, CHUNK * record.chunks, words)
    row = f.projection_record.width
    for part in (indexing(f).size, row - CHUNK * rest(f)) if f.places else (row,):
        yield Memory("projections", cores, part, f.projections, kind="wide")
    yield Memory("populations", cores, f.population_record.width, f.populations, kind="wide")
    yield Memory("steps", cores, CHUNK, f.populations, kind="small")
    if f.readable:
        yield Memory("counters", cores, COUNTER_BITS, len(CORE_COUNTERS), kind="small")
    for space, record, words in f.axes:  # a line or a column has no fanout
        unused = 0 if space is Space.CHANNELS else record.fields["fanout"].width
        yield Memory(space.name.lower(), cores, record.width - unused, words, kind="wide")
    for router in f.tree():
        yield Memory("routes", router.ports, CHUNK * route_record(router.ports).chunks, f.keys)
    if f.queue:
        yield Memory("queue", cores, 32, f.queue)
    if f.pixels:
        yield Memory("image", 1, CHUNK, f.pixels // 2)
        yield Memory("scan", 1, f.scan_record.width, f.inputs)
    if f.classes:
        yield Memory("counts", 1, f.answer_record.fields["spikes"].width, f.classes)
    yield Memory("link", 2, 32, LINK_DEPTH)


def blocks(fabric: Fabric, family: Family) -> int:
    """Blocks of RAM of a board."""
    return sum(memory.blocks(family) * memory.count for memory in memories(fabric))


def suited(board: Board, fabric: Fabric) -> Board:
    """The board, for a Fabric: so many kinds of its tables are in blocks of RAM as it has blocks for."""
    kinds = board.family.spare_blocks
    families = [replace(board.family, spare_blocks=kinds[:n]) for n in range(len(kinds), -1, -1)]
    fitting = (family for family in families if blocks(fabric, family) <= board.resources.bram)
    return replace(board, family=next(fitting, families[-1]))


def shape(fabric: Fabric, family: Family) -> tuple[float, float, float]:
    """LUTs, flip-flops and ns of a clock cycle, in proportion: of what each part was found to take on an ECP5."""
    f = fabric
    adder, membrane = f.sum_bits, f.state_bits
    lut_bit, lut_rest = UPDATE_LUTS[f.currents]
    ff_bit, ff_rest = UPDATE_FFS[f.currents, f.pipelined]
    small = [(m, m.count) for m in memories(f) if not m.blocks(family) and not m.large(family)]
    ports = sum(router.ports for router in f.tree())
    lut = (1500.0 + 490 * bool(f.pixels) + 220 * bool(f.classes) + 200 * ports
           + f.cores * (1260 + 48 * f.populations + 920 * bool(f.places)
                        + f.lanes * 1.05 * adder + f.update_lanes * (lut_bit * membrane + lut_rest)))
    ff = (1000.0 + 262 * bool(f.pixels) + 80 * bool(f.classes) + 140 * ports
          + f.cores * (850 + 17 * f.populations + 700 * bool(f.places) + (580 if f.pipelined else 200)
                       + f.lanes * ((4 if f.pipelined else 1) * adder + f.weight_bits)
                       + f.update_lanes * (ff_bit * membrane + ff_rest)))
    for memory, count in small:
        if family.lutram:  # with a choice where there are several
            lut += (6 * memory.tables + 0.7 * memory.choice) * count
        else:
            ff += memory.bits * memory.words * count
            lut += memory.bits * memory.words * count * 0.8
    period = 10 + 1.2 * (f.cores > 1)  # wires are most of it
    if family.paired:  # a cell holds one of each, and they rarely share it
        lut += 0.6 * ff
    return lut, ff, period


@lru_cache
def points() -> dict[str, list[dict[str, Any]]]:
    """The builds that were measured, by family: ``fabric``, ``used``, and ``fmax`` in Hz or None."""
    out: dict[str, list[dict[str, Any]]] = json.loads(POINTS.read_text()) if POINTS.exists() else {}
    return out


def scales(known: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """What :func:`shape` is to be multiplied by, where some builds are known."""
    if not known:
        return 1.0, 1.0, 1.0
    luts, ffs, periods = [], [], []
    for point in known:
        lut, ff, period = shape(Fabric(**point["fabric"]), find(point["board"]).family)
        luts.append(log(point["used"]["lut"] / lut))
        ffs.append(log(point["used"]["ff"] / ff))
        if point["fmax"]:  # there is none where the design did not fit, or was not routed
            periods.append(log(1e9 / point["fmax"] / period))
    return exp(fmean(luts)), exp(fmean(ffs)), exp(fmean(periods)) if periods else 1.0


def predict(fabric: Fabric, family: Family, known: Sequence[dict[str, Any]]) -> tuple[Resources, float]:
    """Resources, and Hz, from builds that are known."""
    by, size = scales(known), shape(fabric, family)
    used = Resources(
        lut=round(size[0] * by[0]), ff=round(size[1] * by[1]),
        bram=blocks(fabric, family),
        dsp=0 if family.name in WITHOUT_MULTIPLIERS else
        fabric.cores * fabric.update_lanes * (1 + fabric.currents + 2 * (fabric.spike_bits > 1)),
        spram=sum(m.large(family) * m.count for m in memories(fabric)),
    )
    return used, 1e9 / (size[2] * by[2])


def errors(family: Family) -> tuple[float, float]:
    """The worst relative errors of LUTs and Fmax for a build, predicted from all the others; 50 % without others."""
    known = points().get(family.name, [])
    lut, fmax = [], []
    for n, point in enumerate(known):
        others = known[:n] + known[n + 1 :]
        used, speed = predict(Fabric(**point["fabric"]), find(point["board"]).family, others)
        if others:
            lut.append(abs(used.lut / point["used"]["lut"] - 1))
        if point["fmax"] and any(other["fmax"] for other in others):
            fmax.append(abs(speed / point["fmax"] - 1))
    return max(lut, default=UNKNOWN), max(fmax, default=UNKNOWN)


def estimate(fabric: Fabric, family: Family) -> Estimate:
    """What `fabric` will take on a family of devices, in a moment."""
    used, fmax = predict(fabric, family, points().get(family.name, []))
    return Estimate(used, fmax, *errors(family))
