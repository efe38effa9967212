"""A network in a chip: its spikes as the packets that go in, and the packets that come out as spikes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..models.errors import AerloomError
from ..models.fabric import INDEX_BITS, PACKET, Kind
from ..models.network import Network
from ..models.packets import Words, packet
from ..models.place import CLOCK, Part, Placement
from ..models.text import counted
from .samples import Array

__all__ = ["Loaded", "Run", "steps_in", "unwrap"]


@dataclass
class Run:
    """What a chip answered. Arrays are ``(batch, steps, …)``."""

    spikes: dict[str, Array] = field(default_factory=dict)  #: uint8 spikes of each watched population
    cycles: Array = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """Clock cycles from the first packet of the run to the end of each step, ``(batch, steps)``."""

    @property
    def cycles_per_sample(self) -> float:
        """Clock cycles of the whole run, divided by its samples (which overlap at their ends)."""
        return float(self.cycles.max()) / len(self.cycles)


class Loaded:
    """A network in a chip, placed, and the populations that are watched: those whose spikes are sent to the host.

    Parameters
    ----------
    placement : Placement
    watch : names of populations, optional
        The outputs by default. Raises :class:`AerloomError` for another name.
    """

    def __init__(self, placement: Placement, watch: Collection[str] | None = None) -> None:
        self.placement = placement
        self.watched = self.network.outputs if watch is None else tuple(watch)
        for name in self.watched:
            self.network.find(name)
        self.parts: list[Part] = [p for p in placement.parts if p.core is not None and p.source in self.watched]

    @property
    def network(self) -> Network:
        """The network that it is."""
        return self.placement.network

    @property
    def routes(self) -> Words:
        """Packets that tell the routers whose spikes go to the host."""
        return self.placement.routes(self.watched)

    def need(self, output: str) -> None:
        """Raises :class:`AerloomError` where an output is not watched."""
        if output not in self.watched:
            raise AerloomError(f"the output {output!r} is not watched; load the network with it in watch")

    def encode(self, spikes: dict[str, Array]) -> Words:
        """Packets of every step of checked spikes: for each input those of its neurons, in order, then STEP."""
        columns, events = [], []
        batch, steps, _ = next(iter(spikes.values())).shape
        for part in self.placement.parts:
            if part.core is None:
                if part.source != CLOCK:
                    columns.append(packet(Kind.SPIKE, part.key, part.index.astype(np.uint32)))
                    events.append(spikes[part.source].reshape(-1, part.size)[:, part.neurons])
                columns.append(np.array([packet(Kind.STEP, part.key, 0)]))
                events.append(np.ones((batch * steps, 1), np.uint8))
        event = np.concatenate(events, axis=1)
        _, column = np.nonzero(event)
        counts = event[event != 0]
        words = np.concatenate(columns).astype(np.uint32)[column]
        return words if counts.max() == 1 else np.repeat(words, counts)

    def decode(self, words: Words, batch: int, steps: int) -> Run:
        """The answer that packets of so many steps of so many samples are; raises :class:`AerloomError` for any others."""
        fields = PACKET.unpack(words)
        run = Run({name: np.zeros((batch, steps, self.network.population[name].size), np.uint8) for name in self.watched})
        ends = np.zeros(batch * steps, np.int64)
        for part in self.parts:
            mine = fields["key"] == part.key
            kind, index = fields["kind"][mine], fields["index"][mine]
            is_step = kind == Kind.STEP
            step = np.cumsum(is_step)[~is_step]  # steps that ended before each spike
            place = part.find(index[~is_step])
            where = step * part.size + place
            if is_step.sum() != batch * steps or np.any(place < 0) or np.any(where >= batch * steps * part.size):
                raise AerloomError(f"{part.source}: the chip's answer is damaged: it does not have "
                                   f"{counted(batch * steps, 'step')}")
            counts = np.bincount(where, minlength=batch * steps * part.size).reshape(batch, steps, part.size)
            run.spikes[part.source][:, :, part.neurons] = counts
            ends = np.maximum(ends, unwrap(index[is_step].astype(np.int64), INDEX_BITS))
        run.cycles = ends.reshape(batch, steps)
        return run

    def until(self, words: Words, steps: int) -> Words:
        """Of what the chip said that which belongs to the first steps."""
        fields, keep = PACKET.unpack(words), np.zeros(len(words), bool)
        for part in self.parts:
            mine = fields["key"] == part.key
            ends = mine & (fields["kind"] == Kind.STEP)
            keep |= mine & (np.cumsum(ends) - ends < steps)
        return words[keep]


def steps_in(words: Words) -> int:
    """STEPs among the packets."""
    return int(np.sum(PACKET.unpack(words)["kind"] == Kind.STEP))


def unwrap(stamps: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Time stamps whose high bits were lost, each less than ``2**bits`` after the one before."""
    return stamps + (np.cumsum(np.diff(stamps, prepend=0) < 0) << bits)
