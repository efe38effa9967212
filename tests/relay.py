"""A pseudo-terminal in front of another, that does to bytes what bad cables do, and can be unplugged."""

from __future__ import annotations

import os
import select
import threading
import tty
from contextlib import suppress
from pathlib import Path

from lines import Faults


class Relay:
    """Stands between a host, at the path ``name``, and the board at `board`. Runs in a thread until ``close``."""

    def __init__(self, board: str, name: Path, there: Faults | None = None, back: Faults | None = None) -> None:
        self.there, self.back, self.name, self.passed = there or Faults(), back or Faults(), name, 0
        self._board = os.open(board, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._board)
        self._host = self._held = -1
        self._lock, self._ends = threading.Lock(), threading.Event()
        self.plug()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def plug(self) -> None:
        """There is a port, with the same name."""
        with self._lock:
            self._host, self._held = os.openpty()
            tty.setraw(self._held)
            os.set_blocking(self._host, False)
            self.name.unlink(missing_ok=True)
            self.name.symlink_to(os.ttyname(self._held))

    def unplug(self) -> None:
        """There is none, and what was under way is gone."""
        with self._lock:
            self.name.unlink()
            os.close(self._host)
            os.close(self._held)
            self._host = self._held = -1

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        if self._host >= 0:
            self.unplug()
        os.close(self._board)

    def _run(self) -> None:
        while not self._ends.is_set():
            with suppress(OSError):  # unplugged meanwhile
                select.select([fd for fd in (self._board, self._host) if fd >= 0], [], [], 0.01)
            with self._lock:
                if self._host >= 0:
                    self._pass(self._host, self._board, self.there)
                self._pass(self._board, self._host, self.back)

    def _pass(self, a: int, b: int, faults: Faults) -> None:
        try:
            data = faults(os.read(a, 4096))
            self.passed += len(data)
            while data and b >= 0:
                data = data[os.write(b, data) :]
        except (BlockingIOError, OSError):  # nothing there; no room, or nobody: lost
            pass
