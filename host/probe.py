"""A chip at the end of a link, and what it can be asked whatever it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..models.errors import AerloomError
from ..models.fabric import CHIP, CHIP_COUNTERS, CHUNK, CORE_COUNTERS, COUNTER_BITS, PACKET, Fabric, Kind, Space
from ..models.packets import Words, address, packet
from ..models.words import READ_BITS
from .link import Link

__all__ = ["NONE", "Probe", "join"]

NONE = np.zeros(0, np.uint32)  #: no packets
MOST = (1 << READ_BITS) - 1  #: values of a READ


class Probe:
    """A chip that can be asked; use it as a context manager, or ``close`` it.

    ``fabric`` says what the chip can hold; ``sent`` and ``received`` are packets so far. Raises :class:`AerloomError` when
    the chip is of another Fabric.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.fabric: Fabric = link.fabric
        self.sent = self.received = 0
        identity = self._read(CHIP, Space.IDENTITY, 0, 64 // CHUNK)
        if (found := join(identity)) != self.fabric.digest:
            raise AerloomError(
                f"the chip is not of Fabric {self.fabric.name}: its identity is {found:016x}, not "
                f"{self.fabric.digest:016x}; connect with the Fabric that it was built for"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the chip."""
        self._link.close()

    def _exchange(self, words: Words, replies: int, progress: Callable[[int], Any] | None = None) -> Words:
        """See :meth:`Link.exchange`."""
        answer = self._link.exchange(words, replies, progress)
        self.sent, self.received = self.sent + len(words), self.received + len(answer)
        return answer

    def counters(self) -> dict[str, Any]:
        """What the chip counted in the last run: its own counters, sums over cores, and ``cores``, one dict each; cores
        that cannot be read count nothing."""
        readable, chip = self.fabric.readable, self._counters(CHIP, CHIP_COUNTERS)
        cores = [self._counters(n, CORE_COUNTERS) for n in range(self.fabric.cores if readable else 0)]
        total = Counter(chip)
        for core in cores:
            total.update(core)
        return {name: total[name] for name in (*CORE_COUNTERS * readable, *CHIP_COUNTERS)} | {"cores": cores}

    def weights(self, core: int, first: int, count: int) -> NDArray[np.int64]:
        """Words ``first`` … of a core's weight memory, ``(count, lanes)``; raises :class:`AerloomError` where cores cannot
        be read."""
        self._readable()
        lanes, bits = self.fabric.lanes, self.fabric.weight_bits
        field_ = self.fabric.weight_record
        words = self._words(core, Space.WEIGHTS, first, count, lanes * bits)
        return np.array([[field_.unpack(w >> n * bits)["weight"] for n in range(lanes)] for w in words], np.int64)

    def _readable(self) -> None:
        if not self.fabric.readable:
            raise AerloomError(f"nothing can be read from the cores of {self.fabric.name}; use a Fabric with readable=True")

    def _counter(self, node: int, index: int) -> int:
        return join(self._read(node, Space.COUNTERS, index, COUNTER_BITS // CHUNK))

    def _counters(self, node: int, names: tuple[str, ...]) -> dict[str, int]:
        return dict(zip(names, self._words(node, Space.COUNTERS, 0, len(names), COUNTER_BITS), strict=True))

    def _words(self, node: int, space: Space, first: int, count: int, width: int) -> list[int]:
        chunks = -(-width // CHUNK)
        values = self._read(node, space, first, count * chunks).reshape(count, chunks)
        return [join(row) for row in values]

    def _read(self, node: int, space: Space, word: int, chunks: int) -> Words:
        """So many chunks of a memory, a READ at a time: where several wait, so would spikes behind them."""
        asked, found = [address(node, space, word)], [NONE]
        for left in range(chunks, 0, -MOST):
            asked.append(packet(Kind.READ, node, min(left, MOST)))
            found.append(self._ask([node], np.array(asked, np.uint32), min(left, MOST)))
            asked.clear()
        return np.concatenate(found)

    def _write(self, words: Words, progress: Callable[[int], Any] | None = None) -> None:
        """Send packets that set tables; return when they are where they belong, and every core has answered."""
        cores = range(self.fabric.cores)
        asked = [p for n in cores for p in (address(n, Space.COUNTERS), packet(Kind.READ, n, 1))]
        self._ask(cores, np.concatenate([words, np.array(asked, np.uint32)]), len(cores), progress)

    def _ask(self, nodes: Sequence[int], words: Words, values: int,
             progress: Callable[[int], Any] | None = None) -> Words:
        """The values of the nodes that these packets ask for. What a run that was broken off still sends among them is
        dropped."""
        found = NONE
        while len(found) < values:
            fields = PACKET.unpack(self._exchange(words, values - len(found), progress))
            mine = (fields["kind"] == Kind.VALUE) & np.isin(fields["key"], nodes)
            found, words = np.concatenate([found, fields["index"][mine]]), NONE
        return found


def join(chunks: Iterable[int]) -> int:
    """The number whose 16-bit chunks these are, low ones first."""
    return sum(int(c) << CHUNK * n for n, c in enumerate(chunks))
