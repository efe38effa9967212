"""The chip's clock: which frequencies a board can make of its oscillator, and the hardware that makes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import io

from ..models.errors import AerloomError
from .board import Board
from .top import Pll

__all__ = ["Setting", "fastest", "settings"]

BAUD_ERROR = 0.015  # a UART's two ends may differ by 4 % together; USB adapters take a part of that


@dataclass(frozen=True)
class Setting:
    """One frequency in Hz, and the divisors that make it of the board's clock; None: that clock itself."""

    frequency: float
    divisors: tuple[int, ...] | None = None


def settings(board: Board) -> Iterator[Setting]:
    """All that the board can make."""
    yield Setting(board.clock)
    reference = board.clock
    match board.family.name:
        case "ecp5":  # output = reference / refer × feedback; the oscillator inside runs `out` times as fast
            for refer in range(1, int(reference / 3.125e6) + 1):
                for feedback in range(1, 81):
                    frequency = reference / refer * feedback
                    out = round(600e6 / frequency)
                    if 1 <= out <= 128 and 400e6 <= frequency * out <= 800e6:
                        yield Setting(frequency, (refer, feedback, out))
        case "gowin":
            low, high = (400e6, 1200e6) if "GW1N" in board.device else (500e6, 1250e6)
            for refer in range(1, int(reference / 3e6) + 1):
                for feedback in range(1, 65):
                    frequency = reference / refer * feedback
                    for out in (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128):
                        if low <= frequency * out <= high:
                            yield Setting(frequency, (refer, feedback, out))
                            break
        case "xc7":
            for feedback in range(2, 65):
                for refer in (1, 2, 3, 4, 5):
                    if 800e6 <= (inside := reference / refer * feedback) <= 1600e6:
                        for out in range(1, 129):
                            yield Setting(inside / out, (refer, feedback, out))
        case _:
            for divisor in range(2, 17):
                yield Setting(reference / divisor, (divisor,))
            for feedback in range(1, 129):
                for out in range(1, 7):
                    if 533e6 <= reference * feedback <= 1066e6 and 16e6 <= reference * feedback / 2**out <= 275e6:
                        yield Setting(reference * feedback / 2**out, (1, feedback, out))


def fastest(board: Board, most: float, baud: float | None = None) -> Setting:
    """The fastest clock up to `most` Hz from which `baud` can be made.

    Raises :class:`AerloomError` where there is none.
    """
    baud = baud or board.baud
    fit = [s for s in settings(board) if s.frequency <= most * (1 + 1e-9) and _divides(s.frequency, baud)]
    if not fit:
        raise AerloomError(f"board {board.name} cannot make a clock of at most {most / 1e6:.4g} MHz that {baud:g} baud can "
                           "be made of; try a slower --baud")
    return max(fit, key=lambda s: (s.frequency, s.divisors is None))  # without a PLL where that does


def _divides(frequency: float, baud: float) -> bool:
    divisor = round(frequency / baud)
    return divisor >= 4 and abs(frequency / divisor / baud - 1) <= BAUD_ERROR


def pll(board: Board, setting: Setting) -> Pll | None:
    """What :class:`~aerloom.boards.top.Top` takes."""
    if setting.divisors is None:
        return None
    if len(setting.divisors) == 1:
        return _Divider(board.clock, setting)
    kinds: dict[str, Callable[[float, Setting], _Pll]] = {"ecp5": _Ecp5, "gowin": _Gowin, "xc7": _Xc7, "ice40hx": _Ice40,
                                                           "ice40up": _Ice40Pad}
    return kinds[board.family.name](board.clock, setting)


class _Pll(ABC):
    """A callable, as Top takes one."""

    def __init__(self, reference: float, setting: Setting) -> None:
        assert setting.divisors is not None
        self.reference, self.frequency, self.divisors = reference, setting.frequency, setting.divisors

    def __call__(self, m: Module, pin: Any, clock: Any) -> Any:
        m.submodules.clock = buffer = io.Buffer("i", pin)
        return self.make(m, buffer.i, clock)

    @abstractmethod
    def make(self, m: Module, source: Any, clock: Any) -> Any:
        """Make ``clock`` from the clock ``source``; the signal that says that it is steady."""


class _Ecp5(_Pll):
    def make(self, m: Module, source: Any, clock: Any) -> Any:
        refer, feedback, out = self.divisors
        made, steady = Signal(name="pll_clock"), Signal(name="pll_steady")
        m.d.comb += clock.eq(made)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.reference / 1e6:g}", a_FREQUENCY_PIN_CLKOP=f"{self.frequency / 1e6:g}",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP", p_CLKI_DIV=refer, p_CLKFB_DIV=feedback,
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=out, p_CLKOP_CPHASE=max(0, out // 2 - 1), p_CLKOP_FPHASE=0,
            i_CLKI=source, i_CLKFB=made, o_CLKOP=made, o_LOCK=steady,
            i_RST=Const(0), i_STDBY=Const(0), i_PLLWAKESYNC=Const(0), i_ENCLKOP=Const(0),
            i_PHASESEL0=Const(0), i_PHASESEL1=Const(0), i_PHASEDIR=Const(1), i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
        )
        return steady


class _Gowin(_Pll):
    def make(self, m: Module, source: Any, clock: Any) -> Any:
        refer, feedback, out = self.divisors
        steady = Signal(name="pll_steady")
        m.submodules.pll = Instance(
            "rPLL",
            p_FCLKIN=f"{self.reference / 1e6:g}", p_IDIV_SEL=refer - 1, p_FBDIV_SEL=feedback - 1, p_ODIV_SEL=out,
            i_CLKIN=source, o_CLKOUT=clock, o_LOCK=steady, i_CLKFB=Const(0), i_RESET=Const(0), i_RESET_P=Const(0),
            i_FBDSEL=Const(0, 6), i_IDSEL=Const(0, 6), i_ODSEL=Const(0, 6), i_PSDA=Const(0, 4), i_DUTYDA=Const(0, 4),
            i_FDLY=Const(0, 4),
        )
        return steady


class _Ice40(_Pll):
    kind, source = "SB_PLL40_CORE", "REFERENCECLK"

    def make(self, m: Module, source: Any, clock: Any) -> Any:
        refer, feedback, out = self.divisors
        steady = Signal(name="pll_steady")
        m.submodules.pll = Instance(
            self.kind,
            p_FEEDBACK_PATH="SIMPLE", p_DIVR=Const(refer - 1, 4), p_DIVF=Const(feedback - 1, 7), p_DIVQ=Const(out, 3),
            p_FILTER_RANGE=Const(1, 3),  # for a reference of 10 … 17 MHz
            i_RESETB=Const(1), i_BYPASS=Const(0), o_PLLOUTGLOBAL=clock, o_LOCK=steady, **{f"i_{self.source}": source},
        )
        return steady


class _Ice40Pad(_Ice40):
    """The UP5K's only PLL sits at the pin of these boards' oscillator, and nothing else can be there."""

    kind, source = "SB_PLL40_PAD", "PACKAGEPIN"

    def __call__(self, m: Module, pin: Any, clock: Any) -> Any:
        return self.make(m, pin.io, clock)


class _Xc7(_Pll):
    def make(self, m: Module, source: Any, clock: Any) -> Any:
        refer, feedback, out = self.divisors
        made, steady, loop = Signal(name="pll_clock"), Signal(name="pll_steady"), Signal(name="pll_loop")
        m.submodules.pll = Instance(
            "PLLE2_BASE",
            p_CLKIN1_PERIOD=1e9 / self.reference, p_DIVCLK_DIVIDE=refer, p_CLKFBOUT_MULT=feedback, p_CLKOUT0_DIVIDE=out,
            i_CLKIN1=source, i_CLKFBIN=loop, o_CLKFBOUT=loop, o_CLKOUT0=made, o_LOCKED=steady,
            i_RST=Const(0), i_PWRDWN=Const(0),
        )
        m.submodules.pll_buffer = Instance("BUFG", i_I=made, o_O=clock)
        return steady


class _Divider(_Pll):
    """A counter: the chip's clock is high for half of its cycles, rounded down."""

    def make(self, m: Module, source: Any, clock: Any) -> Any:
        (divisor,) = self.divisors
        m.domains.oscillator = ClockDomain(reset_less=True)
        count, made = Signal(range(divisor)), Signal(name="divided_clock")
        m.d.comb += [ClockSignal("oscillator").eq(source), clock.eq(made)]
        m.d.oscillator += [count.eq(count + 1), made.eq(count < divisor // 2)]
        with m.If(count == divisor - 1):
            m.d.oscillator += count.eq(0)
        return Const(1)
