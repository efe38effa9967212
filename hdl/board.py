"""All of a board that is logic: a chip, its end of the link, and the wires to the host."""

import hashlib
from pathlib import Path

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..models import frame
from ..models import port as port_model
from ..models.contents import EMPTY, Contents
from ..models.errors import AerloomError
from ..models.fabric import Fabric
from .chip import Chip
from .chip import fingerprint as chip_fingerprint
from .parallel import ParallelFifo
from .port import Port
from .uart import BYTES, Uart

__all__ = ["ByteBoard", "FifoBoard", "UartBoard", "WiredBoard", "fingerprint", "one_chip"]

DEPTH, TIMEOUT = 256, 1 << 20  # as for Port


class ByteBoard(wiring.Component):
    """A chip behind a line of bytes. A host that begins a session resets the chip, but for its tables.

    Parameters
    ----------
    fabric, contents
        As for :class:`~aerloom.hdl.chip.Chip`.
    depth, timeout : int
        As for :class:`~aerloom.hdl.port.Port`.

    Members
    -------
    rx, tx : bytes
        From and to the host; ``rx`` is always ready.
    """

    def __init__(self, fabric: Fabric, depth: int = DEPTH, timeout: int = TIMEOUT, contents: Contents = EMPTY):
        one_chip(fabric)
        self.fabric, self.contents, self.depth, self.timeout = fabric, contents, depth, timeout
        super().__init__({"rx": In(BYTES), "tx": Out(BYTES)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.port = port = Port(self.depth, self.timeout)
        m.submodules.chip = chip = ResetInserter(port.restart)(Chip(self.fabric, self.contents))
        wiring.connect(m, wiring.flipped(self.rx), port.rx)
        wiring.connect(m, port.tx, wiring.flipped(self.tx))
        wiring.connect(m, port.o, chip.i)
        wiring.connect(m, chip.o, port.i)
        return m


def one_chip(fabric: Fabric) -> None:
    """Raises :class:`AerloomError` for a Fabric that is more than a board has."""
    if fabric.chips > 1:
        raise AerloomError(f"Fabric {fabric.name} is spread over {fabric.chips} chips; a board has one")


def fingerprint(fabric: Fabric, contents: Contents = EMPTY, depth: int = DEPTH, timeout: int = TIMEOUT) -> str:
    """Equal for boards that elaborate to the same hardware, and found without making one."""
    digest = hashlib.sha256(b"".join(Path(part.__file__).read_bytes() for part in (frame, port_model))).hexdigest()
    return f"board {digest} {depth} {timeout} {chip_fingerprint(fabric, contents)}"


class UartBoard(wiring.Component):
    """A chip behind two wires.

    Parameters
    ----------
    fabric, depth, timeout, contents
        As for :class:`ByteBoard`.
    divisor : int
        Clocks in a bit.

    Members
    -------
    rx, tx : pins
    """

    def __init__(self, fabric: Fabric, divisor: int, depth: int = DEPTH, timeout: int = TIMEOUT,
                 contents: Contents = EMPTY):
        self.divisor, self.board = divisor, ByteBoard(fabric, depth, timeout, contents)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = self.board
        m.submodules.uart = uart = Uart(self.divisor)
        wiring.connect(m, uart.o, self.board.rx)
        wiring.connect(m, self.board.tx, uart.i)
        m.d.comb += [uart.rx.eq(self.rx), self.tx.eq(uart.tx)]
        return m


class FifoBoard(wiring.Component):
    """A chip behind the bus of an FT245, FT232H or FT2232H.

    Parameters
    ----------
    fabric, depth, timeout, contents
        As for :class:`ByteBoard`.
    strobe : int
        As for :class:`~aerloom.hdl.parallel.ParallelFifo`, whose pins this has.
    """

    def __init__(self, fabric: Fabric, strobe: int, depth: int = DEPTH, timeout: int = TIMEOUT,
                 contents: Contents = EMPTY):
        self.fifo, self.board = ParallelFifo(strobe), ByteBoard(fabric, depth, timeout, contents)
        super().__init__({name: pin for name, pin in self.fifo.signature.members.items() if name not in ("i", "o")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = self.board
        m.submodules.fifo = fifo = self.fifo
        wiring.connect(m, fifo.o, self.board.rx)
        wiring.connect(m, self.board.tx, fifo.i)
        for name, pin in self.signature.members.items():
            inside, outside = getattr(fifo, name), getattr(self, name)
            m.d.comb += inside.eq(outside) if pin.flow is In else outside.eq(inside)
        return m


class WiredBoard(wiring.Component):
    """A board with UART, and an adapter at the other end of its two wires, with a way around both::

        rx ─┬─► adapter ══ Uart ─┬─► board
        tx ◄┴──                ◄─┴──

    Members
    -------
    rx, tx : bytes
        From and to the host.
    wires : stream of a bit
        Do bytes pass the wires from now on?
    """

    def __init__(self, fabric: Fabric, divisor: int, timeout: int, contents: Contents = EMPTY):
        one_chip(fabric)
        self.fabric, self.divisor, self.timeout, self.contents = fabric, divisor, timeout, contents
        super().__init__({"rx": In(BYTES), "tx": Out(BYTES), "wires": In(stream.Signature(1))})

    @property
    def fingerprint(self):
        """Equal for boards that elaborate to the same hardware."""
        return f"wired {self.divisor} {fingerprint(self.fabric, self.contents, timeout=self.timeout)}"

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = board = ByteBoard(self.fabric, timeout=self.timeout, contents=self.contents)
        m.submodules.uart = uart = Uart(self.divisor)
        m.submodules.adapter = adapter = Uart(self.divisor)
        wires = Signal()
        m.d.comb += [uart.rx.eq(adapter.tx), adapter.rx.eq(uart.tx), self.wires.ready.eq(1)]
        with m.If(self.wires.valid):
            m.d.sync += wires.eq(self.wires.payload)
        with m.If(wires):
            wiring.connect(m, wiring.flipped(self.rx), adapter.i)
            wiring.connect(m, uart.o, board.rx)
            wiring.connect(m, board.tx, uart.i)
            wiring.connect(m, adapter.o, wiring.flipped(self.tx))
        with m.Else():
            wiring.connect(m, wiring.flipped(self.rx), board.rx)
            wiring.connect(m, board.tx, wiring.flipped(self.tx))
        return m
