"""The two ends of a link, as state machines that know neither bytes' origin nor time.

Both keep what they sent until it is acknowledged, and take packets in order alone (go-back-N, with a request to send
again as in HDLC). :class:`Board` is the model of :class:`aerloom.hdl.port.Port`; the host's end is in
:mod:`aerloom.host.session`.

Why nothing is wrong, lost or repeated: a frame is believed only with a right CRC; of the believed ones only the one
that begins with the expected packet is taken, and no packet is forgotten by its sender before an acknowledgment; numbers
wrap only after many times the packets that can be under way; and sessions keep apart what different hosts said.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .frame import FORMAT, MOST, NUMBER_BITS, Splitter, Words, decode, encode

NUMBERS = 1 << NUMBER_BITS
UNDER_WAY = 8  # frames of the present length that may be: after a damaged one, all the later ones were in vain


def ahead(number: int, of: int) -> int:
    """How far a packet number is ahead of a position; negative if it is behind."""
    return (number - of + NUMBERS // 2) % NUMBERS - NUMBERS // 2


class End:
    """What both ends do.

    Attributes
    ----------
    session : int
    put, sent, acked : int
        Packets that are there to be sent, have been sent for now, and have arrived at the other end.
    taken : int
        Packets received in order.
    """

    def __init__(self) -> None:
        self.session = 0
        self._splitter = Splitter()
        self.restart()

    def restart(self) -> None:
        """Forget everything: the beginning of a session."""
        self.put = self.sent = self.acked = self.taken = 0
        self.most = MOST  # packets in a frame: on a bad line short ones arrive sooner
        self._kept = np.zeros(0, np.uint32)  # packets acked … put
        self.received: list[Words] = []
        self.tells = False  # a frame has to be sent, with or without packets
        self.again = False  # and it has to ask for what is missing
        self._rejected = False  # what is missing was asked for already

    # --- sending

    def send(self, words: Words) -> None:
        """Packets for the other end."""
        self._kept = np.concatenate([self._kept, words.astype(np.uint32)])
        self.put += len(words)

    def limit(self) -> int:
        """The first packet that this end has no room for."""
        return self.taken + NUMBERS // 4

    def window(self) -> int:
        """The first packet that must not be sent yet."""
        return self.put

    def _count(self) -> int:
        """Packets in the next frame."""
        if self.sent - self.acked >= UNDER_WAY * self.most:
            return 0
        return max(0, min(self.most, min(self.put, self.window()) - self.sent))

    def frame(self, **flags: int) -> bytes:
        """The next frame, with the next packets if there are any and the window allows."""
        count = self._count()
        first = self.sent - self.acked
        words, seq = self._kept[first : first + count], self.sent
        self.sent += count
        again, self.again, self.tells = self.again, False, False
        return encode(words, seq=seq % NUMBERS, session=self.session, ack=self.taken % NUMBERS,
                      limit=self.limit() % NUMBERS, again=int(again), **flags)

    def frames(self) -> bytes:
        """All that can be sent now."""
        out = []
        while self.tells or self._count():
            out.append(self.frame())
        return b"".join(out)

    def ask(self) -> bytes:
        """A frame that must be answered. What is missing after all this time may be asked for again."""
        self._rejected = False
        return self.frame(ask=1)

    def go_back(self) -> None:
        """Send again what is not acknowledged, in shorter frames."""
        self.sent, self.most = self.acked, self.most >> 1 | 1

    # --- receiving

    def feed(self, data: bytes) -> None:
        """Bytes from the line."""
        for body in self._splitter.feed(data):
            frame = decode(body)
            if frame is None:
                self._reject()
            else:
                self.take(*frame)

    def take(self, header: dict[str, Any], words: Words) -> None:
        """A frame with a right CRC, of this session."""
        if (new := ahead(header["ack"], self.acked)) > 0:
            self._kept = self._kept[new:]
            self.acked += new
            self.sent = max(self.sent, self.acked)
        if header["again"]:
            self.go_back()
        elif new > 0:
            self.most = min(self.most + 1, MOST)
        position = ahead(header["seq"], self.taken)
        if position == 0 and header["count"]:
            if self.accepts(header["count"]):
                self.received.append(words)
                self.taken += header["count"]
                self._rejected = False
        elif position > 0:
            self._reject(bool(header["ask"]))
        self.tells |= bool(header["ask"]) or header["count"] > 0

    def accepts(self, count: int) -> bool:
        """Is there room for so many packets?"""
        return True

    def _reject(self, asked: bool = False) -> None:
        """Something did not arrive. Ask for it once; if that is lost too, a timer will find out."""
        if not self._rejected or asked:
            self.again = self._rejected = self.tells = True


class Board(End):
    """The chip's end: its memories hold ``depth`` packets each way, and a host begins the sessions.

    Attributes
    ----------
    held : int
        Packets received that the chip has not taken: ``received`` holds them.
    restarts : int
        Sessions begun; each resets the chip.
    """

    def __init__(self, depth: int = 256) -> None:
        self.depth = depth
        self.held = self.restarts = 0
        self._greets = False
        super().__init__()

    def restart(self) -> None:
        super().restart()
        self.held = 0

    def limit(self) -> int:
        return self.taken - self.held + self.depth

    def window(self) -> int:
        return self.acked + self.depth if self.session else self.sent

    def accepts(self, count: int) -> bool:
        fits = self.held + count <= self.depth
        self.held += count if fits else 0
        return fits

    def take(self, header: dict[str, Any], words: Words) -> None:
        if header["session"] != self.session:
            if header["open"]:
                self.restart()
                self.restarts += 1
                self.session = header["session"]
            self.tells = True
        elif not header["open"]:
            super().take(header, words)
        self._greets |= bool(header["open"])

    def frames(self) -> bytes:
        greeting = b""
        if self._greets:
            self._greets = False
            greeting = encode([FORMAT], seq=self.sent % NUMBERS, session=self.session, ack=self.taken % NUMBERS,
                              limit=self.limit() % NUMBERS, open=1)
        return greeting + super().frames()

    def pop(self) -> Words:
        """What the chip takes now: all that is there."""
        words = np.concatenate([*self.received, np.zeros(0, np.uint32)])
        self.received, self.held, self.tells = [], 0, self.tells or self.held > 0
        return words
