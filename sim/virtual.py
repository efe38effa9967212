"""A board that is simulated, behind a pseudo-terminal: the host's serial driver talks to it as to silicon.

``python -m aerloom.sim.virtual`` prints the path of a terminal and simulates until Ctrl-C. As with an adapter at a real
board, the board knows nothing of who opens and closes the port; unlike with one, nothing is lost while nobody reads, as
the board's time stands still.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..hdl.board import WiredBoard
from ..models.contents import EMPTY, Contents, baked
from ..models.errors import AerloomError
from ..models.fabric import Fabric
from ..models.network import Network
from ..models.place import place
from .engine import Engine, open_engine

TIMEOUT = 1 << 16  # clocks: more than the host's answer takes, also over wires
CYCLES = 250, 16_000  # simulated at a time: while bytes move, and at most while they do not
AT_ONCE = 4096  # bytes taken from the host at a time
LONGEST_REST = 0.02  # seconds between two looks at a board that does nothing


def board(fabric: Fabric, uart: bool = False, divisor: int = 8, engine: str = "compiled", contents: Contents = EMPTY
          ) -> Engine:
    """A simulated board whose streams ``rx`` and ``tx`` are the host's bytes; with `uart`, every bit is simulated."""
    simulated = open_engine(WiredBoard(fabric, divisor, TIMEOUT, contents), engine)
    simulated.exchange({"wires": [int(uart)]}, {})
    return simulated


class Terminal:
    """A pseudo-terminal and the board at its end."""

    def __init__(self, engine: Engine, at_once: int = AT_ONCE) -> None:
        try:
            import pty
            import tty
        except ImportError as error:
            raise AerloomError("a virtual board needs pseudo-terminals, which this operating system has not: "
                               "use connect(\"sim\")") from error
        self.engine, self.at_once = engine, at_once
        self._fd, self._held = pty.openpty()  # the other end is held too, or closing it would be an error here
        tty.setraw(self._held)
        os.set_blocking(self._fd, False)
        self.path = os.ttyname(self._held)
        self._to_host = b""
        self._rest, self._cycles = 0.0, CYCLES[0]

    def turn(self, wait_for: Sequence[int] = ()) -> list[int]:
        """Some simulated clocks, or a wait for the host. Returns which of the files `wait_for` can be read."""
        reads, writes = ([], [self._fd]) if self._to_host else ([self._fd], [])
        readable, _, _ = select.select([*reads, *wait_for], writes, [], None if writes else self._rest)
        if self._to_host:
            self._write()
            return [fd for fd in readable if fd != self._fd]
        data = os.read(self._fd, self.at_once) if self._fd in readable else b""
        began = time.perf_counter()
        out = self.engine.exchange({"rx": np.frombuffer(data, np.uint8)}, {}, drain=self._cycles)["tx"]
        self._to_host = np.asarray(out, np.uint8).tobytes()
        took = time.perf_counter() - began
        if data or self._to_host:
            self._rest, self._cycles = 0.0, CYCLES[0]
            self._write()
        else:  # at most half of a processor for a board that shows no sign of life, and less and less
            self._rest, self._cycles = min(LONGEST_REST, max(took, 1.02 * self._rest)), min(2 * self._cycles, CYCLES[1])
        return [fd for fd in readable if fd != self._fd]

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._to_host = self._to_host[os.write(self._fd, self._to_host) :]

    def close(self) -> None:
        """Unplug it."""
        os.close(self._held)
        os.close(self._fd)
        self.engine.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see ``--help``."""
    parser = argparse.ArgumentParser("python -m aerloom.sim.virtual", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--fabric", default="medium", help="a preset, or the sizes of a Fabric as JSON")
    parser.add_argument("--uart", action="store_true", help="simulate every bit on the wire, 30 times slower")
    parser.add_argument("--divisor", type=int, default=8, help="clocks in a bit")
    parser.add_argument("--engine", default="compiled", help="simulation engine")
    parser.add_argument("--bake", type=Path, help="a network in integers that is inside from the start")
    parser.add_argument("--port-file", type=Path, help="write the path of the terminal here, too")
    parser.add_argument("--until-eof", action="store_true", help="end with the standard input")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    terminal = None
    try:
        sizes = options.fabric
        fabric = Fabric(**json.loads(sizes)) if sizes.startswith("{") else Fabric.preset(sizes)
        contents = baked(place(Network.load(options.bake), fabric)) if options.bake else EMPTY
        engine = board(fabric, options.uart, options.divisor, options.engine, contents)
        terminal = Terminal(engine, 256 if options.uart else AT_ONCE)
        if options.port_file:
            options.port_file.write_text(terminal.path + "\n")
        print(terminal.path, flush=True)
        watched = [sys.stdin.fileno()] if options.until_eof else []
        while not (terminal.turn(watched) and not os.read(watched[0], 1)):
            pass
    except AerloomError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    finally:
        if terminal:
            terminal.close()
        if options.port_file:
            options.port_file.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
