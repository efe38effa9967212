"""The host's end of a link: beginning a session, what it refuses, and a million packets over bad lines."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import pytest
import serial
from lines import TINY, Echo, EngineBoard, Faults, LocalLine, bad, session, values

from aerloom import AerloomError
from aerloom.host import serial as ports
from aerloom.host.serial import connect
from aerloom.host.session import Silent
from aerloom.models import port as ends
from aerloom.models.fabric import CHIP, CHUNK, PRESETS, Fabric, Kind
from aerloom.models.frame import FORMAT, encode
from aerloom.models.place import packet
from aerloom.models.port import Board

# --- ports


def test_no_such_port() -> None:
    with pytest.raises(AerloomError, match=r"there is no serial port /dev/ttyNONE7; there are"):
        connect(TINY, "/dev/ttyNONE7")
    with pytest.raises(AerloomError, match=r"which serial port\? there are"):
        connect(TINY)
    with pytest.raises(AerloomError, match="baud must be a positive number, not 0"):
        connect(TINY, "/dev/ttyNONE7", baud=0)


@pytest.mark.parametrize(("error", "says"), [
    (serial.SerialException(13, "could not open port: [Errno 13]"), "permission denied for P: add yourself"),
    (serial.SerialException(16, "could not open port: [Errno 16] Device or resource busy"), "P is busy: another program"),
    (serial.SerialException(11, "Could not exclusively lock port P"), "P is busy: another program"),
    (serial.SerialException(2, "could not open port"), "there is no serial port P; there are"),
    (serial.SerialException("could not open port: PermissionError(13, 'denied')"), "permission denied for P"),
    (serial.SerialException("Could not configure port"), "P cannot be opened as a serial port: Could not configure port"),
])  # fmt: skip
def test_why_a_port_does_not_open(monkeypatch: pytest.MonkeyPatch, error: OSError, says: str) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(ports.serial, "Serial", fails)
    with pytest.raises(AerloomError, match=f"^{re.escape(says)}"):
        connect(TINY, "P")


@pytest.mark.parametrize("right", ports.BAUDS)
def test_the_speed_of_a_board_is_found(monkeypatch: pytest.MonkeyPatch, right: int) -> None:
    """At another the board hears noise, as the host does; and one of them is too fast for the adapter."""
    echo, tried, noise = Echo(), [], Faults(flip=0.3)

    def line(port: str, baud: int) -> LocalLine:
        tried.append(baud)
        if baud == 3_000_000 != right:
            raise Silent("too fast")
        return LocalLine(echo) if baud == right else LocalLine(echo, noise, noise)

    monkeypatch.setattr(ports, "SerialLine", line)
    monkeypatch.setattr(ports, "OPENING", 0.3)
    link = connect(TINY, "P")
    np.testing.assert_array_equal(link.exchange(values(10), 10), values(10))
    assert tried == list(ports.BAUDS[: ports.BAUDS.index(right) + 1])
    with pytest.raises(AerloomError, match="no answer from a line"):
        connect(TINY, "P", baud=right + 1)
    assert tried[-1] == right + 1


def test_a_port_at_which_nobody_answers() -> None:
    pty = pytest.importorskip("pty")
    host, board = pty.openpty()
    with pytest.raises(AerloomError, match=r"no answer from /dev/.*: is the board on"):
        connect(TINY, os.ttyname(board), patience=0.3)
    os.close(host), os.close(board)
    with pytest.raises(AerloomError, match="cannot be opened as a serial port"):
        connect(TINY, __file__)


# --- sessions


def test_a_board_with_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "FORMAT", FORMAT ^ 1)
    says = f"another format: its bitstream says {FORMAT ^ 1:08x}, and this aerloom {FORMAT:08x}"
    with pytest.raises(AerloomError, match=says):
        session(LocalLine(Echo()))


def test_the_format_is_that_of_the_packets() -> None:
    assert 0 < FORMAT < 2**32


def test_a_board_that_was_switched_off_is_noticed() -> None:
    echo = Echo()
    link = session(LocalLine(echo))
    link.exchange(values(10), 10)
    echo.board = Board()
    with pytest.raises(AerloomError, match="was switched off, or another program began a session"):
        link.exchange(values(10), 10)


def test_a_board_whose_program_is_another_now() -> None:
    echo = Echo()
    link, line = session(LocalLine(echo)), LocalLine(echo)
    other = session(line)
    np.testing.assert_array_equal(other.exchange(values(10), 10), values(10))
    with pytest.raises(AerloomError, match="another program began a session"):
        link.exchange(values(10), 10)


def test_a_new_session_gets_nothing_of_the_old_one() -> None:
    """The board is full of the old host's packets, both ways, and so is the line."""
    echo = Echo()
    for seed in range(20):
        line = LocalLine(echo, bad(1e-3, seed), bad(1e-3, seed + 1))
        link = session(line)
        np.testing.assert_array_equal(link.exchange(values(5, seed), 5), values(5, seed))
        link._end.send(values(400, 99))
        for _ in range(3):
            line.write(link._end.frames()[:-30])
            line.read(0)
    assert echo.board.restarts == 20


def test_a_host_begins_once_however_often_it_asks() -> None:
    board = Board()
    for _ in range(3):
        board.feed(encode([], session=7, open=1))
    board.feed(encode([5], session=7))
    board.feed(encode([], session=7, open=1))  # an echo of the line
    assert (board.restarts, board.taken) == (1, 1)


def test_a_chip_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    link = session(LocalLine(Echo(stall=1.0)), patience=0.2)
    with pytest.raises(AerloomError, match=r"not move for 0.2 s: 44 packets are not accepted and 300 replies are owed"):
        link.exchange(values(300), 300)
    with pytest.raises(AerloomError, match="closed or broken off: connect again"):
        link.exchange(values(1), 1)


def test_a_board_that_goes_silent() -> None:
    line = LocalLine(Echo())
    link = session(line, patience=0.2)
    line.board = lambda data: b""
    with pytest.raises(AerloomError, match=r"no answer from a line for 0.2 s"):
        link.exchange(values(3), 3)


def test_the_preset_is_found_by_the_chips_identity() -> None:
    class Chip(Echo):
        def __init__(self, digest: int) -> None:
            super().__init__()
            self.digest = digest

        def __call__(self, data: bytes) -> bytes:
            self.board.feed(data)
            if self.board.held and len(self.board.pop()):
                self.board.send(np.array([packet(Kind.VALUE, CHIP, self.digest >> CHUNK * n & 0xFFFF) for n in range(4)],
                                         np.uint32))
            return self.board.frames()

    for name, fabric in PRESETS.items():
        assert ports.Session(LocalLine(Chip(fabric.digest)), interval=1e-3).fabric.name == name
    with pytest.raises(AerloomError, match=r"none of the presets tiny, .*: its identity is 0000000000000005"):
        ports.Session(LocalLine(Chip(5)), interval=1e-3)
    assert session(LocalLine(Chip(5))).fabric == Fabric.preset("tiny")


# --- packets


def test_what_comes_after_the_last_reply_is_kept_for_the_next_one() -> None:
    link = session(LocalLine(Echo()))
    mixed = np.array([packet(Kind.SPIKE, 1, n) if n % 3 else packet(Kind.STEP, 1, n) for n in range(1, 31)], np.uint32)
    got = [link.exchange(mixed, 4), link.exchange(np.zeros(0, np.uint32), 6)]
    assert len(got[0]) == 12 and got[0][-1] == packet(Kind.STEP, 1, 12)
    np.testing.assert_array_equal(np.concatenate(got), mixed)


def test_progress_counts_what_was_accepted() -> None:
    seen: list[int] = []
    session(LocalLine(Echo(stall=0.8))).exchange(values(3000), 3000, seen.append)
    assert seen == sorted(seen) and 0 < seen[-1] <= 3000


@pytest.mark.parametrize("rate", [0.0, 1e-3])
def test_a_line_that_comes_and_goes(rate: float) -> None:
    class Loose(LocalLine):
        calls = 0

        def read(self, seconds: float) -> bytes:
            self.calls += 1
            if self.calls % 7 == 0:
                self._out = b""
                raise OSError("gone")
            return super().read(seconds)

        def reopen(self) -> None:
            self.calls += 1
            if self.calls % 3:
                raise OSError("still gone")

    link = session(Loose(Echo(), bad(rate, 1), bad(rate, 2)))
    np.testing.assert_array_equal(link.exchange(values(3000), 3000), values(3000))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rate", [1e-4, 5e-4])
def test_a_million_packets(seed: int, rate: float) -> None:
    """Every kind of fault both ways; with the gateware at the other end for half of the seeds."""
    from test_frame import gateware

    with gateware("compiled", depth=256) as simulation:
        board = EngineBoard(simulation) if seed % 2 else Echo(seed=seed)
        link = session(LocalLine(board, bad(rate, 2 * seed), bad(rate, 2 * seed + 1)), patience=60)
        for n in range(13):
            sent = values(10_000, 100 * seed + n)
            np.testing.assert_array_equal(link.exchange(sent, len(sent)), sent)


