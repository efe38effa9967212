"""The PLLs that are built, beside those that the projects behind the place and route tools write."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from amaranth.hdl import Const, Module, Signal
from netlist import need

from aerloom.boards import clocks, tools
from aerloom.boards.board import Board
from aerloom.boards.catalogue import find


def written(folder: Path, name: str, *arguments: str) -> dict[str, str]:
    """Parameters and attributes of the PLL that a tool writes in Verilog; skips where it is not installed."""
    need(name)
    tools.run(name, [*arguments, "-f", "pll.v"], folder)
    text = re.search(r"(\(\*.*)?(EHXPLLL|SB_PLL40_CORE|rPLL) #\(.*?\n    *\) \w+ \(|SB_PLL40_CORE.*?\) uut",
                     (folder / "pll.v").read_text(), re.DOTALL)
    assert text
    found = re.findall(r"\.?(\w+)(?:=|\()(?:\d+'b)?\"?([\w.]+)\"?", text[0])
    return {name: value for name, value in found if name.isupper() or name[-1].isdigit()}


def built(board: Board, setting: clocks.Setting) -> dict[str, str]:
    """The same of the PLL that is built."""
    m, make = Module(), clocks.pll(board, setting)
    assert make is not None
    make.make(m, Signal(name="source"), Signal(name="clock"))
    instance = next(s for s, _ in m._named_submodules.values())
    return {name: f"{value.value:0{len(value)}b}" if isinstance(value, Const) else str(value)
            for name, value in {**instance.parameters, **instance.attrs}.items()}


@pytest.mark.parametrize("megahertz", [50, 62.5, 75, 100, 120])
def test_ecp5(tmp_path: Path, megahertz: float) -> None:
    board = find("ulx3s-25f")
    theirs = written(tmp_path, "ecppll", "-i", "25", "-o", f"{megahertz}")
    setting = clocks.Setting(megahertz * 1e6, tuple(int(theirs[f"CLK{name}_DIV"]) for name in ("I", "FB", "OP")))
    assert setting in list(clocks.settings(board))
    del theirs["CLKOP_CPHASE"]  # of an output that feeds itself back: it goes up and down with rounding in the tool
    assert theirs.items() <= built(board, setting).items() and len(theirs) > 15


@pytest.mark.parametrize("megahertz", [18, 30, 48, 60])
@pytest.mark.parametrize("name", ["ice40-hx8k", "icebreaker"])
def test_ice40(tmp_path: Path, name: str, megahertz: int) -> None:
    board = find(name)
    theirs = written(tmp_path, "icepll", "-m", "-i", "12", "-o", f"{megahertz}")
    refer, feedback, out = (int(theirs[name], 2) for name in ("DIVR", "DIVF", "DIVQ"))
    setting = clocks.Setting(12e6 / (refer + 1) * (feedback + 1) / 2**out, (refer + 1, feedback + 1, out))
    assert setting in list(clocks.settings(board))
    assert built(board, setting) == theirs


@pytest.mark.parametrize("megahertz", [36, 54, 60, 100])
@pytest.mark.parametrize("name, device", [("tang-nano-9k", "GW1NR-9 C6/I5"), ("tang-nano-20k", "GW2AR-18 C8/I7")])
def test_gowin(tmp_path: Path, name: str, device: str, megahertz: int) -> None:
    """Its oscillator stays in the range that the tool knows for the device, and its divisors mean what the tool's mean."""
    board = find(name)
    theirs = written(tmp_path, "gowin_pll", "-i", "27", "-o", f"{megahertz}", "-d", device)
    text = (tmp_path / "pll.v").read_text()
    low, high = map(float, re.findall(r"VCO = .*range: ([\d.]+)-([\d.]+) MHz", text)[0])
    reached = float(re.findall(r"Achieved output frequency: *([\d.]+) MHz", text)[0])
    for setting in clocks.settings(board):
        if setting.divisors is not None:
            assert low <= setting.frequency / 1e6 * setting.divisors[2] <= high
    refer, feedback = int(theirs["IDIV_SEL"]) + 1, int(theirs["FBDIV_SEL"]) + 1
    assert reached == pytest.approx(27 / refer * feedback, rel=1e-5)
    mine = built(board, clocks.Setting(reached * 1e6, (refer, feedback, int(theirs["ODIV_SEL"]))))
    divisors = ("IDIV_SEL", "FBDIV_SEL", "ODIV_SEL")
    assert [mine[name] for name in divisors] == [theirs[name] for name in divisors]
