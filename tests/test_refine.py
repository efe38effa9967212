"""What is changed in a netlist between synthesis and place and route."""

import copy
from typing import Any

import pytest

from aerloom.boards.fanout import spread
from aerloom.boards.outreg import absorb

CLOCK, ENABLE = 2, 3


def netlist(outputs: int = 4) -> dict[str, Any]:
    """A block whose port B is read into as many flip-flops."""
    pins: dict[str, list[Any]] = {"CLKA": [CLOCK], "CLKB": [CLOCK], "OCEA": ["0"], "OCEB": ["1"]}
    pins |= {f"DOB{n}": [10 + n] for n in range(outputs)}
    widths = {"DATA_WIDTH_A": f"{18:032b}", "DATA_WIDTH_B": f"{18:032b}", "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"}
    cells = {"block": {"type": "DP16KD", "parameters": widths, "connections": pins,
                       "port_directions": {name: "output" if name.startswith("DO") else "input" for name in pins}}}
    for n in range(outputs):
        cells[f"register_{n}"] = {
            "type": "TRELLIS_FF", "parameters": {"CEMUX": "CE", "CLKMUX": "CLK", "REGSET": "RESET"},
            "connections": {"CLK": [CLOCK], "DI": [10 + n], "CE": [ENABLE], "Q": [20 + n]},
            "port_directions": {"CLK": "input", "DI": "input", "CE": "input", "Q": "output"}}
    ports = {"o": {"direction": "output", "bits": [20 + n for n in range(outputs)]}}
    return {"modules": {"top": {"ports": ports, "cells": cells}}}


def test_registers_move_in() -> None:
    made = netlist()
    assert absorb(made) == 1
    (block,) = made["modules"]["top"]["cells"].values()
    assert [block["connections"][f"DOB{n}"] for n in range(4)] == [[20 + n] for n in range(4)]
    assert (block["parameters"]["REGMODE_A"], block["parameters"]["REGMODE_B"]) == ("NOREG", "OUTREG")
    assert (block["connections"]["OCEA"], block["connections"]["OCEB"]) == (["0"], [ENABLE])


def test_both_ports_of_a_wide_block() -> None:
    made = netlist()
    cells = made["modules"]["top"]["cells"]
    cells["block"]["parameters"] |= dict.fromkeys(("DATA_WIDTH_A", "DATA_WIDTH_B"), f"{36:032b}")
    cells["block"]["connections"]["DOA0"] = cells["block"]["connections"].pop("DOB0")
    cells["block"]["port_directions"]["DOA0"] = "output"
    assert absorb(made) == 1
    block = cells["block"]
    assert block["parameters"]["REGMODE_A"] == block["parameters"]["REGMODE_B"] == "OUTREG"
    assert block["connections"]["DOA0"] == [20] and block["connections"]["OCEA"] == [ENABLE]


def another_load(cells: dict[str, Any]) -> None:
    cells["gate"] = {"type": "LUT4", "connections": {"A": [12], "Z": [99]},
                     "port_directions": {"A": "input", "Z": "output"}}


@pytest.mark.parametrize("change", [
    another_load,
    lambda cells: cells["register_1"]["connections"].update(CLK=[7]),
    lambda cells: cells["register_1"]["connections"].update(CE=[7]),
    lambda cells: cells["register_1"]["connections"].update(LSR=[7]),
    lambda cells: cells["register_1"]["parameters"].update(REGSET="SET"),
    lambda cells: cells["register_1"]["parameters"].update(CLKMUX="INV"),
    lambda cells: cells["register_1"]["parameters"].update(CEMUX="INV"),
    lambda cells: cells.pop("register_1"),
], ids=["load", "clock", "enable", "reset", "set", "edge", "inverted", "output"])
def test_whatever_else_would_change_stops_it(change: Any) -> None:
    made = netlist()
    change(made["modules"]["top"]["cells"])
    if "register_1" not in made["modules"]["top"]["cells"]:
        made["modules"]["top"]["ports"]["raw"] = {"direction": "output", "bits": [11]}
    before = copy.deepcopy(made)
    assert absorb(made) == 0 and made == before


def test_a_register_with_many_listeners_is_copied() -> None:
    made = netlist(1)
    cells = made["modules"]["top"]["cells"]
    for n in range(10):
        cells[f"gate_{n}"] = {"type": "LUT4", "connections": {"A": [20], "B": [20], "Z": [50 + n]},
                              "port_directions": {"A": "input", "B": "input", "Z": "output"}}
    assert spread(made, most=6) == 3
    copies = {cell["connections"]["Q"][0]: cell for cell in cells.values() if cell["type"] == "TRELLIS_FF"}
    assert len(copies) == 4 and 20 in copies and not {n for n in range(50, 60)} & set(copies)
    assert all(cell["connections"]["DI"] == [10] for cell in copies.values())
    heard = [bit for cell in cells.values() for port in "AB" for bit in cell["connections"].get(port, [])]
    assert set(heard) == set(copies) and max(map(heard.count, copies)) <= 6 and len(heard) == 20
    assert spread(made, most=6) == 0
