"""Packets as words, and memories as the packets that fill them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .fabric import PACKET, SPACE, Kind, Record, Space

Words = NDArray[np.uint32]


def packet(kind: Kind, key: int, index: Any) -> Any:
    """The word of a packet; ``index`` may be an array."""
    return PACKET.pack(kind=int(kind), key=key) | index


def address(node: int, space: Space, word: int = 0) -> int:
    """The ADDRESS packet of a word in a memory of a node."""
    out: int = packet(Kind.ADDRESS, node, SPACE.pack(address=word, space=int(space)))
    return out


def split(words: Iterable[int], chunks: int) -> NDArray[np.uint16]:
    """Integers into ``chunks`` chunks of 16 bits each, low ones first."""
    data = b"".join(word.to_bytes(2 * chunks, "little") for word in words)
    return np.frombuffer(data, "<u2").reshape(-1, chunks)


def store(node: int, space: Space, word: int, record: Record, rows: list[int]) -> Words:
    """Packets that store rows of a table."""
    return store_chunks(node, space, word, split(rows, record.chunks))


def store_chunks(node: int, space: Space, word: int, chunks: NDArray[Any]) -> Words:
    """Packets that store ``chunks`` ``(words, chunks)`` from a word on."""
    writes = packet(Kind.WRITE, node, chunks.reshape(-1).astype(np.uint32))
    return np.concatenate([np.array([address(node, space, word)], np.uint32), writes.astype(np.uint32)])
