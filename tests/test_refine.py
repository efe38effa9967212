"""What is changed in a netlist between synthesis and place and route."""

import copy
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from aerloom.boards import tools
from aerloom.boards.carry import merge, trim
from aerloom.boards.catalogue import find
from aerloom.boards.fanout import spread
from aerloom.boards.floorplan import DIES, arrange
from aerloom.boards.outreg import absorb
from aerloom.boards.resets import ease
from aerloom.boards.synthesis import synthesise
from aerloom.models.errors import AerloomError

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
            "connections": {"CLK": [CLOCK], "DI": [10 + n], "CE": [ENABLE], "LSR": ["0"], "Q": [20 + n]},
            "port_directions": {**dict.fromkeys(("CLK", "DI", "CE", "LSR"), "input"), "Q": "output"}}
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


def test_a_multiplier_takes_them_in_too() -> None:
    made = netlist()
    cells = made["modules"]["top"]["cells"]
    pins: dict[str, list[Any]] = {"A0": [4], "B0": [5]} | {f"P{n}": [10 + n] for n in range(4)}
    cells["block"] = {"type": "MULT18X18D", "parameters": {}, "connections": pins,
                      "port_directions": {name: "output" if name[0] == "P" else "input" for name in pins}}
    cells["register_1"]["connections"]["LSR"] = [7]
    before = copy.deepcopy(made)
    assert absorb(made) == 0 and made == before
    cells["register_1"]["connections"]["LSR"] = ["0"]
    assert absorb(made) == 1 and list(cells) == ["block"]
    assert [pins[f"P{n}"] for n in range(4)] == [[20 + n] for n in range(4)]
    assert (pins["CLK0"], pins["CE0"], cells["block"]["parameters"]["REG_OUTPUT_CLK"]) == ([CLOCK], [ENABLE], "CLK0")
    assert set(cells["block"]["port_directions"]) == set(pins)


def test_a_multiplier_takes_those_of_its_factors_too() -> None:
    made = netlist()
    cells = made["modules"]["top"]["cells"]
    product = cells["register_1"]
    product["connections"] |= {"CE": ["1"], "LSR": [7]}
    product["parameters"] |= {"CEMUX": "1 ", "SRMODE": "LSR_OVER_CE"}
    pins: dict[str, list[Any]] = {"A0": [4], "A1": [5], "A2": [5], "B0": [4], "B1": ["0"], "P0": [11]}
    cells |= {f"factor_{n}": copy.deepcopy(product) for n in (4, 5)}
    for n in (4, 5):
        cells[f"factor_{n}"]["connections"] |= {"DI": [40 + n], "LSR": ["0"], "Q": [n]}
    cells["block"] = {"type": "MULT18X18D", "parameters": {}, "connections": pins,
                      "port_directions": {name: "output" if name[0] == "P" else "input" for name in pins}}
    cells["gate"] = {"type": "LUT4", "connections": {"A": [5], "Z": [99]}, "port_directions": {"A": "input", "Z": "output"}}
    for name in ("register_0", "register_2", "register_3"):
        del cells[name]
    late = copy.deepcopy(made)
    assert absorb(made) == 1 and set(cells) == {"block", "gate", "factor_5"}  # the gate still listens to that one
    assert [pins[pin] for pin in ("A0", "A1", "A2", "B0", "B1", "P0")] == [[44], [45], [45], [44], ["0"], [21]]
    assert [pins[f"RST{n}"] for n in range(3)] == [[7], ["0"], ["0"]]
    assert {f"REG_INPUT{side}_CLK" for side in "AB"} < set(cells["block"]["parameters"])
    cells = late["modules"]["top"]["cells"]
    for n in (4, 5):  # of another clock than the product
        cells[f"factor_{n}"]["connections"]["CLK"] = [77]
    assert absorb(late) == 1 and "factor_4" in cells and "REG_INPUTB_CLK" not in cells["block"]["parameters"]


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


def test_resets_of_a_few_become_tables_where_there_are_many() -> None:
    made = netlist(6)
    cells = made["modules"]["top"]["cells"]
    for n in range(6):  # two of a reset; the last has an enable, and the others have none
        cells[f"register_{n}"]["connections"]["LSR"] = [80 + n // 2]
        cells[f"register_{n}"]["parameters"] |= {"SRMODE": "LSR_OVER_CE", "CEMUX": "CE" if n == 5 else "1"}
    before = copy.deepcopy(made)
    assert ease(made, many=3) == 0 and ease(made, many=2, few=1) == 0 and made == before
    assert ease(made, many=2) == 5
    for n in range(5):
        register = cells[f"register_{n}"]["connections"]
        gate = cells[f"register_{n}_gate"]
        assert register["LSR"] == ["0"] and register["DI"] == gate["connections"]["Z"]
        assert (gate["connections"]["A"], gate["connections"]["B"]) == ([10 + n], [80 + n // 2])
        init = int(gate["parameters"]["INIT"], 2)
        assert all(init >> i & 1 == (i & 1 and not i >> 1 & 1) for i in range(16))
    assert cells["register_5"] == before["modules"]["top"]["cells"]["register_5"]
    assert sorted(cells[f"register_{n}"]["connections"]["DI"][0] for n in range(6)) == [15, *range(83, 88)]  # new wires


# --- designs that Yosys gives up on


@pytest.mark.parametrize("name, fails, scripts", [
    ("ulx3s-85f", 0, 1), ("ulx3s-85f", 1, 2), ("ulx3s-85f", 2, 2), ("tang-nano-20k", 0, 1), ("tang-nano-20k", 1, 1)])
def test_what_yosys_gives_up_on_is_tidied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, fails: int,
                                          scripts: int) -> None:
    """Yosys 0.70 gave up on a board of the preset `tiny`."""
    family, written = find(name).family, []

    def run(tool: str, arguments: list[str], folder: Path) -> float:
        written.append((folder / "top.ys").read_text())
        if len(written) <= fails:
            raise AerloomError("yosys failed")
        (folder / "top.json").write_text(json.dumps({"modules": {"top": {"ports": {}, "cells": {}}}}))
        return 1.0

    monkeypatch.setattr(tools, "run", run)
    if fails < scripts:
        assert synthesise(family, tmp_path)[1] == 1.0
    else:
        with pytest.raises(AerloomError, match="yosys failed"):
            synthesise(family, tmp_path)
    assert len(written) == scripts and "opt_clean" not in written[0]
    assert all("opt_clean -purge" in script and script.count("-run ") == 2 for script in written[1:])
    assert all(line in script for script in written for line in family.commands)


# --- tables in front of adders


ADDS = 0x96AA  # what Yosys puts into a CCU2C: A + (B, or its complement where C is 1)


def table(number: int, sources: list[Any], out: int) -> dict[str, Any]:
    pins = dict(zip("ABCD", ([s] for s in [*sources, *["0"] * (4 - len(sources))]), strict=True)) | {"Z": [out]}
    return {"type": "LUT4", "parameters": {"INIT": f"{number:016b}"}, "connections": pins,
            "port_directions": {**dict.fromkeys("ABCD", "input"), "Z": "output"}}


def chain(r: random.Random) -> dict[str, Any]:
    """Two bits of an adder: each operand is a wire, a constant or what a table of a few wires makes."""
    cells: dict[str, Any] = {}
    pins: dict[str, list[Any]] = {"CIN": [40], "COUT": [41], "S0": [42], "S1": [43]}
    for half in "01":
        for n, pin in enumerate("AB"):
            out = 30 + 2 * int(half) + n
            kind = r.choice(["wire", "constant", "table", "table", "table"])
            if kind == "table":
                cells[f"table_{out}"] = table(r.getrandbits(16), r.sample(range(2, 8), r.randint(1, 4)), out)
            pins[pin + half] = [{"wire": r.randrange(2, 8), "constant": r.choice("01"), "table": out}[kind]]
        pins |= {f"C{half}": [r.choice(["0", "1", 2])], f"D{half}": ["1"]}
    cells["adder"] = {
        "type": "CCU2C", "connections": pins,
        "parameters": dict.fromkeys(("INIT0", "INIT1"), f"{ADDS:016b}") | dict.fromkeys(("INJECT1_0", "INJECT1_1"), "NO"),
        "port_directions": {name: "output" if name in ("COUT", "S0", "S1") else "input" for name in pins}}
    ports = {"o": {"direction": "output", "bits": [41, 42, 43]}}
    return {"modules": {"top": {"ports": ports, "cells": cells}}}


def computed(made: dict[str, Any], wires: dict[Any, int]) -> tuple[int | None, ...]:
    """The sums and the carry, as Lattice's model of the cell has them."""
    cells = made["modules"]["top"]["cells"]
    at: dict[Any, int] = {"0": 0, "1": 1} | wires

    def looked_up(cell: dict[str, Any], init: str, half: str = "") -> int:
        pins = [at[cell["connections"][name + half][0]] for name in "ABCD"]
        return int(cell["parameters"][init], 2) >> sum(bit << n for n, bit in enumerate(pins)) & 1

    for cell in cells.values():
        if cell["type"] == "LUT4":
            at[cell["connections"]["Z"][0]] = looked_up(cell, "INIT")
    adder = cells["adder"]
    carry = at[adder["connections"]["CIN"][0]]
    for half in "01":
        differs = looked_up(adder, f"INIT{half}", half)
        a, b = (at[adder["connections"][name + half][0]] for name in "AB")
        at[adder["connections"][f"S{half}"][0]] = differs ^ carry
        carry = carry if differs else int(adder["parameters"][f"INIT{half}"], 2) >> a + 2 * b & 1
    at[adder["connections"]["COUT"][0]] = carry
    return at[42], at[43], at.get(41)


def test_an_adder_takes_tables_in_and_still_adds() -> None:
    r, gone = random.Random(1), 0
    for _ in range(300):
        made = chain(r)
        before = copy.deepcopy(made)
        gone += (merged := merge(made))
        assert len(before["modules"]["top"]["cells"]) - merged == len(made["modules"]["top"]["cells"])
        for values in itertools.product((0, 1), repeat=7):
            wires = dict(zip((*range(2, 8), 40), values, strict=True))
            assert computed(made, wires) == computed(before, wires)
    assert gone > 100


def test_a_choice_and_its_adder_are_one_table() -> None:
    """choose ? last : past, and a weight: what a Slice adds."""
    made = chain(random.Random(0))
    cells = made["modules"]["top"]["cells"]
    for name in [name for name in cells if name != "adder"]:
        del cells[name]
    cells["choice"] = table(0xCACA, [2, 3, 4], 30)
    cells["adder"]["connections"] |= {"A0": [30], "B0": [5], "C0": ["0"], "A1": [6], "B1": [7], "C1": ["0"]}
    assert merge(made) == 1 and list(cells) == ["adder"]


def test_a_chain_begins_and_ends_with_its_bits() -> None:
    """Whatever is where nothing comes in any more; a chain that something comes into, or behind a table, stays."""
    r, tables = random.Random(2), 0
    for _ in range(300):
        made = chain(r)
        adder = made["modules"]["top"]["cells"]["adder"]
        adder["connections"]["CIN"] = [r.choice(["0", "1", 40])]
        if r.random() < 0.5:
            merge(made)
        ends = r.random() < 0.5
        made["modules"]["top"]["ports"]["o"]["bits"] = [42, 43] if ends else [41, 42, 43]
        before = copy.deepcopy(made)
        begins = all(adder["connections"][pin][0] in ("0", "1") for pin in ("CIN", "C0", "D0"))
        assert trim(made) == begins + ends
        tables += len(made["modules"]["top"]["cells"]) - len(before["modules"]["top"]["cells"])
        assert (adder["connections"]["COUT"] == ["x"]) == ends and (adder["connections"]["CIN"] == ["x"]) == begins
        for values in itertools.product((0, 1), repeat=8):
            wires = dict(zip((*range(2, 8), 40, "x"), values, strict=True))
            assert computed(made, wires)[: 3 - ends] == computed(before, wires)[: 3 - ends]
    assert tables > 50


def test_a_table_that_others_listen_to_stays() -> None:
    made = chain(random.Random(0))
    cells = made["modules"]["top"]["cells"]
    cells |= {"table": table(0x8888, [2, 3], 30), "other": table(0x2222, [30, 4], 50)}
    cells["adder"]["connections"] |= {"A0": [30], "B0": [5]}
    before = copy.deepcopy(cells)
    merge(made)
    assert cells["table"] == before["table"] and cells["adder"]["connections"]["A0"] == [30]


def slices(cores: int, count: int, weights: int) -> dict[str, Any]:
    names = [f"chip.core_{c}.synapses.slice_{n}.{block}" for c in range(cores) for n in range(count)
             for block in ("sums.0.0", *(f"weights$32.0.{k}" for k in range(weights)))]
    return {"modules": {"top": {"cells": {name: {"type": "DP16KD"} for name in (*names, "chip.core_0.emit.memory.0.0")}}}}


@pytest.mark.parametrize("die, cores, count, weights", [
    ("85", 1, 8, 2), ("85", 1, 64, 2), ("85", 4, 8, 4), ("45", 2, 12, 3), ("25", 1, 4, 8), ("25", 1, 1, 20),
    ("85", 1, 0, 0)])
def test_blocks_of_a_slice_are_side_by_side(die: str, cores: int, count: int, weights: int) -> None:
    made = slices(cores, count, weights)
    assert arrange(made, DIES[die]) == cores * count * (weights + 1)
    at = {name: cell["attributes"]["BEL"] for name, cell in made["modules"]["top"]["cells"].items() if "attributes" in cell}
    assert len(set(at.values())) == len(at) == cores * count * (weights + 1)
    rows = [DIES[die].row(y) for y in DIES[die].rows]
    for c, n in itertools.product(range(cores), range(count)):
        slice_ = f"chip.core_{c}.synapses.slice_{n}."
        mine = {name.removeprefix(slice_): place for name, place in at.items() if name.startswith(slice_)}
        (row,) = [row for row in rows if mine["sums.0.0"] in row]
        columns = sorted(row.index(place) for place in mine.values())
        assert columns == list(range(columns[0], columns[0] + weights + 1))
        assert row.index(mine["sums.0.0"]) == columns[weights // 2]


def test_what_does_not_fit_is_left_to_the_placer() -> None:
    made = slices(1, 8, 7)
    assert arrange(made, DIES["25"]) == 0
    assert not any("attributes" in cell for cell in made["modules"]["top"]["cells"].values())


@pytest.mark.parametrize("board, blocks", [("ulx3s-25f", 56), ("ulx3s-45f", 108), ("ulx3s-85f", 208)])
def test_dies_have_as_many_blocks_as_boards(board: str, blocks: int) -> None:
    die = DIES[board.removeprefix("ulx3s-").removesuffix("f")]
    assert sum(len(die.row(y)) for y in die.rows) == find(board).resources.bram == blocks
