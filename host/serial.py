"""The link to a board at a serial port, and to the virtual one behind a pseudo-terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import subprocess
import sys
from typing import Any

import serial
from serial.tools import list_ports

from ..models.errors import AerloomError
from ..models.fabric import Fabric
from .session import OPENING, Session, Silent

BAUDS = (3_000_000, 1_000_000, 115_200)  # what boards are built for: the fastest that their adapters can do
TURN = 0.03  # seconds for a USB adapter to hand over what it has, and for the operating system to let us know
WINDOW = 4096  # bytes that can be under way both ways at most, roughly


class SerialLine:
    """A :class:`~aerloom.host.session.Line` over pyserial. Opening it raises AerloomError, in words; :class:`Silent` where
    the port cannot be that fast."""

    def __init__(self, port: str, baud: int) -> None:
        self.name, self._baud = port, baud
        try:
            self.reopen()
        except OSError as error:
            raise AerloomError(_why(port, error)) from error
        except ValueError as error:
            raise Silent(f"{port} cannot be used at {baud} baud: {error}") from error

    def reopen(self) -> None:
        """Open the port, again if need be."""
        if hasattr(self, "_port"):
            self.close()
        self._port = serial.Serial(self.name, self._baud, exclusive=True, write_timeout=2.0)
        self._port.reset_input_buffer()
        with contextlib.suppress(AttributeError, NotImplementedError, ValueError):  # not everywhere, and not of every port
            self._port.set_low_latency_mode(True)  # adapters wait 16 ms for more bytes otherwise

    def read(self, seconds: float) -> bytes:
        """What has arrived; waits that long for the first byte."""
        if self._port.timeout != seconds:
            self._port.timeout = seconds
        first: bytes = self._port.read(1)
        return first + self._port.read(self._port.in_waiting) if first else first

    def write(self, data: bytes) -> None:
        """Send bytes. What a stuck adapter does not take is lost, as on any line."""
        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            self._port.reset_output_buffer()

    def close(self) -> None:
        """Let go of the port."""
        try:
            self._port.close()
        except OSError:  # it is gone
            self._port.fd = None


def connect(fabric: Fabric | None = None, port: str = "", baud: int | None = None, patience: float = 10.0) -> Session:
    """The board at `port`; `fabric` is what it should be, or None to take the preset that it says it is. Without `baud`
    each of :data:`BAUDS` is tried.

    Raises :class:`AerloomError` where there is no such port, or no board that answers.
    """
    if not port:
        raise AerloomError(f"which serial port? {_ports()}")
    if baud is not None and baud < 1:
        raise AerloomError(f"baud must be a positive number, not {baud!r}")
    tried = BAUDS if baud is None else (baud,)
    for some in tried:
        try:
            return Session(SerialLine(port, some), fabric, interval=TURN + 10 * WINDOW / some, patience=patience,
                           opening=OPENING / len(tried))
        except Silent as e:
            silent = e
    raise silent


def virtual(fabric: Fabric | None = None, patience: float = 10.0, **options: Any) -> Session:
    """A virtual board of `fabric` (the preset ``medium`` by default) in a process of its own, that ends with this link.

    ``options`` are those of ``python -m aerloom.sim.virtual``: ``uart=True`` simulates every bit on the wire.
    """
    fabric = fabric or Fabric.preset("medium")
    return Session(VirtualLine(fabric, options), fabric, interval=0.3 if options.get("uart") else TURN, patience=patience)


class VirtualLine(SerialLine):
    """The line to a process that simulates a board."""

    def __init__(self, fabric: Fabric, options: dict[str, Any]) -> None:
        arguments = ["--fabric", json.dumps(dataclasses.asdict(fabric)), "--until-eof"]
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])] if value else []
        self.process = subprocess.Popen([sys.executable, "-m", "aerloom.sim.virtual", *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout and self.process.stderr
        try:
            if not (path := self.process.stdout.readline().strip()):
                says = self.process.stderr.read().strip().splitlines()
                raise AerloomError(f"the virtual board does not start: "
                                   f"{says[-1].removeprefix('error: ') if says else 'it says nothing'}")
            super().__init__(path, BAUDS[0])
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        super().close()
        self._end()

    def reopen(self) -> None:
        if self.process.poll() is not None:
            raise OSError(errno.ENODEV, "the virtual board has ended")
        if hasattr(self, "_port"):
            super().close()
            del self._port
        super().reopen()

    def _end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _ports() -> str:
    found = ", ".join(sorted(p.device for p in list_ports.comports()))
    return f"there are {found}" if found else "there are none"


def _why(port: str, error: OSError) -> str:
    """Why a port cannot be opened, and what to do about it."""
    text = str(error)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or "FileNotFoundError" in text:
        return f"there is no serial port {port}; {_ports()}"
    if error.errno in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text or "busy" in text:
        return f"{port} is busy: another program has it open"
    if error.errno in (errno.EACCES, errno.EPERM) or "PermissionError" in text:
        return (f"permission denied for {port}: add yourself to its group (often `sudo usermod -aG dialout $USER`) and log "
                "in again")
    return f"{port} cannot be opened as a serial port: {text}"
