"""The host's end of a link: it begins a session with the board, and packets go over any line of bytes.

A line is a :class:`Line`; what keeps packets whole over bad ones is :class:`aerloom.models.port.End`. Time is here:
whenever nothing moves for a moment the host asks, and the board answers how far it is. So one timer finds out about lost
ends of what was sent, a window that opened unheard, and a board that is gone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..models.errors import AerloomError
from ..models.fabric import CHIP, CHUNK, PRESETS, Fabric, Kind, Space
from ..models.frame import FLAG, FORMAT
from ..models.packets import Words, address, packet
from ..models.port import End, ahead
from .link import KIND_SHIFT, REPLIES

STRANGE = 3  # frames of other sessions in a row, before they are no leftovers any more
KINDS = np.isin(np.arange(8), REPLIES)
OPENING = 3.0  # seconds in which a board has to answer, at first


class Silent(AerloomError):
    """Nobody answers on a line: somebody may at another speed."""


class Line(Protocol):
    """Bytes to a board and back, unreliably. A line that is gone raises OSError."""

    name: str

    def read(self, seconds: float) -> bytes:
        """What has arrived; waits that long for the first byte."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def reopen(self) -> None:
        """Try to get back a line that is gone; raises OSError where it still is."""

    def close(self) -> None:
        """Let go of it."""


class Host(End):
    """:class:`End` with the board's window, and with an ear for what is not of its session."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = self.strangers = 0
        self.stranger: int | None = None
        self.greeting: tuple[int, bool] | None = None  #: FORMAT of the board, and whether its session is fresh
        self._limit = 0

    def begin(self, session: int) -> None:
        """Ask the board for a new session."""
        self.restart()
        self.session, self._limit, self.strangers, self.greeting = session, 0, 0, None

    def window(self) -> int:
        return self._limit

    def take(self, header: dict[str, Any], words: Words) -> None:
        self.heard += 1
        if header["session"] != self.session:
            self.strangers, self.stranger = self.strangers + 1, header["session"]
            return
        self.strangers = 0
        if header["open"]:
            self.greeting = int(words[0]) if len(words) else 0, not header["seq"] and not header["ack"]
        self._limit = max(self._limit, self.acked + ahead(header["limit"], self.acked))
        if not header["open"]:
            super().take(header, words)


class Session:
    """A :class:`~aerloom.host.link.Link` over a line of bytes.

    Parameters
    ----------
    line : Line
    fabric : Fabric, optional
        What the board should be; without it, the preset that it says it is.
    interval : float
        Seconds without a packet moving before the host asks.
    patience : float
        Seconds without a packet moving, or of an unplugged line, before it is an error.
    opening : float
        The same for the first answer (:class:`Silent`); at most ``patience``.
    """

    def __init__(self, line: Line, fabric: Fabric | None = None, *, interval: float = 0.05, patience: float = 10.0,
                 opening: float = OPENING) -> None:
        self._line, self._interval, self._patience = line, interval, patience
        self._end = Host()
        self._kept = np.zeros(0, np.uint32)  # came after the replies that were waited for
        self._usable = True
        try:
            self._open(min(patience, opening))
            self.fabric = fabric or self._preset()
        except BaseException:
            self.close()
            raise

    # --- what a Link does

    def exchange(self, words: Words, replies: int, progress: Callable[[int], Any] | None = None) -> Words:
        """See :class:`aerloom.host.link.Link`. Waits for a slow chip and a slow line, and goes on after a line that was
        unplugged is there again. After any exception, Ctrl-C included, the link has to be connected again."""
        if not self._usable:
            raise AerloomError(f"the link to {self._line.name} was closed or broken off: connect again")
        self._usable = False
        end, came, found = self._end, [self._kept], _replies(self._kept)
        end.send(words)
        before, report, moved = end.put - len(words), 0.0, time.monotonic()
        asked = heard = moved
        while end.acked < end.put or found < replies:
            position, frames = (end.acked, end.taken), end.heard
            self._turn()
            for part in end.received:
                came.append(part)
                found += _replies(part)
            end.received.clear()
            now = time.monotonic()
            if frames != end.heard:
                heard = now
            if position != (end.acked, end.taken):
                moved = asked = now
                if progress is not None and now > report:
                    progress(end.acked - before)
                    report = now + 0.2
            elif now - asked > self._interval:
                self._ask(now - moved, now - heard, end.put - end.acked, replies - found)
                asked = now
        self._write(end.frames())
        all_ = np.concatenate(came)
        until = 1 + np.flatnonzero(KINDS[all_ >> KIND_SHIFT & 7])[replies - 1] if replies else len(all_)
        out, self._kept = all_[:until], all_[until:]
        self._usable = True
        return out

    def close(self) -> None:
        """Let go of the line. The board stays as it is, until the next host begins its session."""
        self._usable = False
        self._line.close()

    # --- beginning

    def _open(self, seconds: float) -> None:
        """Find out which session the board is in, and begin another one."""
        end, until = self._end, time.monotonic() + seconds
        while not end.heard:
            if time.monotonic() > until:
                raise Silent(f"no answer from {self._line.name}: is the board on, is its bitstream aerloom's, and is the "
                             "baud rate the board's?")
            self._write(bytes([FLAG]) + end.ask())
            self._listen()
        until = time.monotonic() + seconds
        while not (end.greeting and end.greeting[1]):
            if not end.session or end.greeting:  # a greeting that is not fresh is of a session that was there already
                end.begin(random.choice([n for n in range(1, 256) if n not in (end.stranger, end.session)]))
            if time.monotonic() > until:
                raise AerloomError(f"{self._line.name} answers, but does not begin a session: is another program using it?")
            self._write(bytes([FLAG]) + end.frame(open=1))
            self._listen()
        if end.greeting[0] != FORMAT:
            raise AerloomError(f"the board's packets have another format: its bitstream says {end.greeting[0]:08x}, and "
                               f"this aerloom {FORMAT:08x}; build the bitstream with this version, or use that one")
        end.strangers = 0

    def _preset(self) -> Fabric:
        """The preset that the chip says it is."""
        chunks = 64 // CHUNK
        ask = np.array([address(CHIP, Space.IDENTITY, 0), packet(Kind.READ, CHIP, chunks)], np.uint32)
        words = self.exchange(ask, chunks)
        digest = sum(int(word & (1 << CHUNK) - 1) << CHUNK * n for n, word in enumerate(words))
        for fabric in PRESETS.values():
            if fabric.digest == digest:
                return fabric
        raise AerloomError(f"the chip at {self._line.name} is none of the presets {', '.join(PRESETS)}: its identity is "
                           f"{digest:016x}; connect with the Fabric that it was built for")

    # --- one turn

    def _turn(self) -> None:
        self._write(self._end.frames())
        self._listen()
        if self._end.strangers >= STRANGE:
            raise AerloomError(f"the board at {self._line.name} was switched off, or another program began a session with "
                               "it: connect again and load the network")

    def _ask(self, quiet: float, silent: float, unsent: int, owed: int) -> None:
        if quiet > self._patience:
            if silent > self._patience / 2:
                raise AerloomError(f"no answer from {self._line.name} for {self._patience:g} s: is the board still on?")
            raise AerloomError(f"the chip at {self._line.name} does not move for {self._patience:g} s: "
                               f"{unsent} packets are not accepted and {max(0, owed)} replies are owed")
        self._write(self._end.ask())

    def _listen(self) -> None:
        try:
            self._end.feed(self._line.read(self._interval))
        except OSError:
            self._replug()

    def _write(self, data: bytes) -> None:
        try:
            if data:
                self._line.write(data)
        except OSError:
            self._replug()

    def _replug(self) -> None:
        """Wait until the line is there again; the board kept its session, if it has its own power."""
        until = time.monotonic() + self._patience
        while True:
            try:
                self._line.reopen()
                self._line.write(bytes([FLAG]))
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise AerloomError(f"{self._line.name} was unplugged, and did not come back in "
                                       f"{self._patience:g} s") from error
            time.sleep(min(0.1, self._interval))
        self._end.go_back()
        self._end.tells = True


def _replies(words: Words | Sequence[int]) -> int:
    return int(np.count_nonzero(KINDS[np.asarray(words, np.uint32) >> KIND_SHIFT & 7]))


