"""What the memories of a chip hold once packets have loaded them: for chips that are built with a network inside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .errors import AerloomError
from .fabric import CHIP, PACKET, SPACE, Fabric, Kind, Space, route_record
from .packets import Words
from .place import Placement

__all__ = ["EMPTY", "NOTHING", "Contents", "Stored", "baked", "contents"]


@dataclass(frozen=True)
class Stored:
    """The memories of one node: words by space and address."""

    words: Mapping[Space, Mapping[int, int]] = field(default_factory=dict)

    def column(self, space: Space, first: int, bits: int) -> list[int]:
        """Of each word from address 0 on the `bits` bits from bit `first` on, as far as there are any but zeros."""
        words = self.words.get(space, {})
        out = [words.get(n, 0) >> first & (1 << bits) - 1 for n in range(max(words, default=-1) + 1)]
        while out and not out[-1]:
            out.pop()
        return out


NOTHING = Stored()


@dataclass(frozen=True)
class Contents:
    """The memories of a chip, by node."""

    nodes: Mapping[int, Stored] = field(default_factory=dict)

    def __getitem__(self, node: int) -> Stored:
        return self.nodes.get(node, NOTHING)

    @cached_property
    def digest(self) -> str:
        """Equal for equal contents; empty for those without any."""
        if not self.nodes:
            return ""
        words = [(n, int(space), sorted(words.items())) for n, s in sorted(self.nodes.items())
                 for space, words in sorted(s.words.items())]
        return hashlib.sha256(repr(words).encode()).hexdigest()


EMPTY = Contents()


def contents(packets: Words, fabric: Fabric) -> Contents:
    """What ADDRESS and WRITE packets leave behind in a chip of `fabric`: the last word written to each place."""
    fields = PACKET.unpack(np.asarray(packets))
    starts = np.flatnonzero(fields["kind"] == Kind.ADDRESS)
    nodes: dict[int, dict[Space, dict[int, int]]] = {}
    for start, end in zip(starts, [*starts[1:], len(packets)], strict=True):
        node, place = int(fields["key"][start]), SPACE.unpack(int(fields["index"][start]))
        written = slice(start + 1, end)
        if np.any(fields["kind"][written] != Kind.WRITE) or np.any(fields["key"][written] != node):
            raise AerloomError("only the packets that load a network say what a chip holds then")
        space = Space(place["space"])
        if space == Space.START:
            continue
        rows = fields["index"][written].astype("<u2").reshape(-1, chunks(fabric, node, space))
        known = nodes.setdefault(node, {}).setdefault(space, {})
        known.update((place["address"] + n, int.from_bytes(row.tobytes(), "little")) for n, row in enumerate(rows))
    return Contents({node: Stored(spaces) for node, spaces in nodes.items()})


def chunks(fabric: Fabric, node: int, space: Space) -> int:
    """Chunks in a word of a memory that is loaded."""
    if node == CHIP:
        return fabric.gate_chunks
    if space == Space.ROUTES:
        return route_record(fabric.tree()[node - fabric.cores].ports).chunks
    return fabric.chunks(space)


def baked(placement: Placement, watched: Iterable[str] | None = None, steps: int = 0) -> Contents:
    """The memories of a chip in which a network is loaded that sends the spikes of `watched` (by default its outputs) to
    the host, with samples of `steps` steps (0: one that never ends)."""
    names = placement.network.outputs if watched is None else tuple(watched)
    packets = np.concatenate([placement.image, placement.routes(names), placement.samples(steps)])
    return contents(packets, placement.fabric)
