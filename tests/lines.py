"""Lines of bytes for tests: with faults, and with a board at their other end in this process."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aerloom.host.session import Session
from aerloom.models.fabric import Fabric, Kind
from aerloom.models.frame import FLAG, Words
from aerloom.models.place import packet
from aerloom.models.port import Board
from aerloom.sim.engine import Engine

TINY = Fabric.preset("tiny")


@dataclass
class Faults:
    """What a bad line does to bytes; all of it drawn from ``seed``. Rates are per bit, and per byte for the others."""

    flip: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0
    insert: float = 0.0
    burst: float = 0.0  # the start of up to 40 bytes of noise
    replay: float = 0.0  # up to 200 bytes, once more
    seed: int = 0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._past = b""

    @property
    def any(self) -> bool:
        return any((self.flip, self.drop, self.repeat, self.insert, self.burst, self.replay))

    def __call__(self, data: bytes) -> bytes:
        """What arrives of `data`."""
        if not data or not self.any:
            return data
        r, now = self._random, np.frombuffer(data, np.uint8).copy()
        if self.burst:
            for start in np.flatnonzero(r.random(len(now)) < self.burst):
                noise = r.integers(0, 256, r.integers(1, 41), np.uint8)
                now[start : start + len(noise)] = noise[: len(now) - start]
        if self.flip:
            now ^= np.packbits(r.random((len(now), 8)) < self.flip, axis=1)[:, 0]
        times = (r.random(len(now)) >= self.drop) * (1 + (r.random(len(now)) < self.repeat))
        now = np.repeat(now, times)
        places = np.flatnonzero(r.random(len(now)) < self.insert)
        now = np.insert(now, places, np.where(r.random(len(places)) < 0.3, FLAG, r.integers(0, 256, len(places))))
        out = now.astype(np.uint8).tobytes()
        self._past = (self._past + out)[-200:]
        if r.random() < self.replay * len(data):
            out += self._past[-int(r.integers(1, 201)) :]
        return out


def bad(rate: float, seed: int) -> Faults:
    """Every kind of fault, `rate` of each per byte."""
    return Faults(rate / 8, rate, rate, rate, rate / 20, rate, seed)


class Echo:
    """A :class:`Board` whose chip sends back every packet, and does nothing with a probability of ``stall`` each time."""

    def __init__(self, depth: int = 256, stall: float = 0.0, seed: int = 0) -> None:
        self.board, self.stall, self._random = Board(depth), stall, random.Random(seed)
        self._back: list[Words] = []
        self._calls = self._acked = 0

    def __call__(self, data: bytes) -> bytes:
        board, before = self.board, self.board.restarts
        board.feed(data)
        if board.restarts != before:
            self._back.clear()
        if self._random.random() >= self.stall:
            self._back.append(board.pop())
            board.send(np.concatenate(self._back))
            self._back.clear()
        self._calls = 0 if board.acked != self._acked else self._calls + 1
        self._acked = board.acked
        if self._calls > 20:  # its timer
            board.go_back()
            self._calls = 0
        return board.frames()


class EngineBoard:
    """The gateware of a board, or of a port, whose ``rx`` and ``tx`` are streams of bytes."""

    def __init__(self, engine: Engine, cycles: int = 400) -> None:
        self.engine, self.cycles = engine, cycles

    def __call__(self, data: bytes) -> bytes:
        out = self.engine.exchange({"rx": np.frombuffer(data, np.uint8)}, {}, drain=self.cycles)["tx"]
        return np.asarray(out, np.uint8).tobytes()


class LocalLine:
    """A line in this process, to `board`: a function from bytes received to bytes sent. Faults may be in both ways."""

    name = "a line"

    def __init__(self, board: Callable[[bytes], bytes], there: Faults | None = None, back: Faults | None = None) -> None:
        self.board, self.there, self.back = board, there or Faults(), back or Faults()
        self.sent = self.received = 0
        self._out = b""

    def read(self, seconds: float) -> bytes:
        data, self._out = self._out, b""
        got = self.board(self.there(data))
        self.received += len(got)
        return self.back(got)

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        self._out += data

    def reopen(self) -> None: ...

    def close(self) -> None: ...


def session(line: LocalLine, **options: float) -> Session:
    """A host on a line whose time is not ours: it asks after a millisecond."""
    return Session(line, TINY, **({"interval": 1e-3, "patience": 20.0} | options))


def values(count: int, seed: int = 0) -> Words:
    """Packets that the host counts on, all bytes in them, with many that a frame has to escape."""
    r = np.random.default_rng(seed)
    index = r.integers(0, 1 << 16, count)
    special = np.array([FLAG, FLAG << 8, 0x7D, 0x7D00 | FLAG])
    return np.where(r.random(count) < 0.1, special[r.integers(0, 4, count)], index).astype(np.uint32) | np.uint32(
        packet(Kind.VALUE, 0, 0))
