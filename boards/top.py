"""The top of every board: a chip and its link, between the pins of a platform."""

from collections.abc import Callable
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module, ResetSignal, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from ..hdl.board import UartBoard
from ..models.contents import EMPTY, Contents
from ..models.fabric import Fabric

__all__ = ["Top", "divisor"]

#: Makes a faster clock: takes the module, the pin of the board's clock and the clock to drive, and returns a signal that is
#: high while the new clock is steady.
Pll = Callable[[Module, Any, Signal], Signal]


def divisor(clock: float, baud: float) -> int:
    """Clocks in a bit; raises ValueError where no number of them comes within 2 % of the baud rate."""
    clocks = round(clock / baud)
    if not clocks or abs(clock / clocks / baud - 1) > 0.02:
        raise ValueError(f"{baud:g} baud cannot be made of {clock:g} Hz: a bit takes {clock / baud:g} clocks")
    return clocks


class Top(Elaboratable):
    """A :class:`~aerloom.hdl.board.UartBoard` on a platform of amaranth-boards that has a resource ``uart``.

    Its logic is what the virtual board simulates; what is here alone are pins, clock and reset.

    Parameters
    ----------
    fabric : Fabric
    clock : float
        Hz, of the chip.
    baud : float
        Bits per second; see :func:`divisor`.
    pll : callable, optional
        Without it the chip runs at the board's own clock.
    timeout : float
        Seconds after which the board sends again.
    contents : Contents, optional
        Of the chip's memories from the start.
    """

    def __init__(self, fabric: Fabric, clock: float, baud: float, pll: Pll | None = None, timeout: float = 0.1,
                 contents: Contents = EMPTY) -> None:
        self.board = UartBoard(fabric, divisor(clock, baud), timeout=round(timeout * clock), contents=contents)
        self.pll = pll

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.board = board = self.board
        m.domains.sync = ClockDomain()
        pin = platform.request(platform.default_clk, dir="-")
        if self.pll is None:
            m.submodules.clock = buffer = io.Buffer("i", pin)
            steady = Signal(init=0)
            m.d.comb += [ClockSignal("sync").eq(buffer.i), steady.eq(1)]
        else:
            steady = self.pll(m, pin, ClockSignal("sync"))
        m.domains.start = ClockDomain()
        m.submodules.reset = ResetSynchronizer(~steady, domain="start")
        resets = Signal(init=1)  # a register that can be in the middle of the chip, and not beside the PLL
        m.d.start += resets.eq(0)
        m.d.comb += [ClockSignal("start").eq(ClockSignal("sync")), ResetSignal("sync").eq(resets)]
        uart = platform.request("uart", 0, dir="-")  # its wires for flow control, where it has any, are left alone
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [board.rx.eq(rx.i), tx.o.eq(board.tx)]
        return m
