"""What stands between the host and a chip: something that packets go into, and packets come out of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..models.fabric import PACKET, Fabric, Kind
from ..models.packets import Words

#: Kinds of packets that the host counts on: every STEP of a watched population, one VALUE for each it asked for.
REPLIES = (Kind.STEP, Kind.VALUE)
KIND_SHIFT = PACKET.offsets["kind"]


class Link(Protocol):
    """A way to a chip. The :class:`Device` at its end cannot tell silicon from simulation."""

    fabric: Fabric  #: of the chip at the other end

    def exchange(self, words: Words, replies: int, progress: Callable[[int], Any] | None = None) -> Words:
        """Send packets, and return what came back, up to and with the packet that makes ``replies`` of :data:`REPLIES`.

        ``progress`` is called now and then with the number of packets sent. Raises :class:`AerloomError` when the chip
        stops answering.
        """

    def close(self) -> None:
        """Let go of the chip."""
