"""Look-up tables in front of adders, put into the adders; and ends of chains.

Each bit of an ECP5's carry chain has a look-up table of four inputs, and Yosys gives it the two bits that are added. This
pass over Yosys' netlist moves the table that makes one of these bits in, wherever what both depend on are four wires: a
choice between two operands, or one that can be zero, then costs nothing.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product
from typing import Any

from .netlist import Cell, loads

__all__ = ["merge", "trim"]

PINS = "ABCD"
CONSTANTS, UNDRIVEN = {"0", "1"}, ["x"]
Bits = tuple[Any, ...]


def merge(netlist: dict[str, Any]) -> int:
    """Change the netlist (as Yosys' ``write_json`` has it, flat); returns the number of tables that are gone.

    A table that something else listens to stays where it is.
    """
    module = netlist["modules"]["top"]
    cells: dict[str, Cell] = module["cells"]
    listeners = loads(module)
    tables = {cell["connections"]["Z"][0]: name for name, cell in cells.items() if cell["type"] == "LUT4"}
    gone = 0
    for adder in [cell for cell in cells.values() if cell["type"] == "CCU2C"]:
        for half in "01":
            for pin in PINS:
                wire = adder["connections"][pin + half][0]
                if wire in tables and listeners[wire] == 1 and moved(adder, half, pin, cells[tables[wire]]):
                    del cells[tables[wire]]
                    gone += 1
    return gone


def trim(netlist: dict[str, Any]) -> int:
    """Change the netlist: chains of adders take no more than their bits where place and route would add to them, an adder
    to lead a constant in and one to lead the last carry out. Returns the number of such adders.

    A last carry that nobody listens to has no wire. Where a chain begins with a constant, the first half adder makes the
    carry of its two bits alone, whatever comes in, and a table of its own their sum.
    """
    module = netlist["modules"]["top"]
    cells: dict[str, Cell] = module["cells"]
    listeners = loads(module)
    adders = {name: cell for name, cell in cells.items() if cell["type"] == "CCU2C"}
    ends = [cell["connections"] for cell in adders.values() if not listeners[cell["connections"]["COUT"][0]]]
    for pins in ends:
        pins["COUT"] = UNDRIVEN
    begun = 0
    for name, cell in adders.items():
        pins, init = cell["connections"], int(cell["parameters"]["INIT0"], 2)
        given = [pins[f"{pin}0"][0] for pin in "CD"]
        if pins["CIN"][0] not in CONSTANTS or not CONSTANTS.issuperset(given):
            continue
        come, at = int(pins["CIN"][0] == "1"), sum(int(bit == "1") << n for n, bit in enumerate(given, 2))
        carries = [come if init >> at + ab & 1 else init >> ab & 1 for ab in range(4)]
        if listeners[pins["S0"][0]]:
            sums = sum((init >> n & 1 ^ come) << n for n in range(16))
            cells[f"{name}$first"] = {  # no name of Yosys
                "type": "LUT4", "parameters": {"INIT": f"{sums:016b}"}, "attributes": {},
                "connections": {pin: pins[f"{pin}0"] for pin in PINS} | {"Z": pins["S0"]},
                "port_directions": dict.fromkeys(PINS, "input") | {"Z": "output"}}
        pins |= {"CIN": UNDRIVEN, "S0": UNDRIVEN, "C0": ["1"], "D0": ["1"]}
        cell["parameters"]["INIT0"] = f"{sum(bit << ab for ab, bit in enumerate(carries)):016b}"
        begun += 1
    return len(ends) + begun


def moved(adder: Cell, half: str, pin: str, table: Cell) -> bool:
    """Whether this table, which makes what one half of an adder has at ``pin``, could move in; it has."""
    pins = [adder["connections"][name + half][0] for name in PINS]
    sources = [table["connections"][name][0] for name in PINS]
    wires = sorted({w for w in (*pins, *sources) if isinstance(w, int)} - {pins[PINS.index(pin)]})
    if len(wires) > len(PINS):
        return False
    init, inner = (int(cell["parameters"][name], 2) for cell, name in ((adder, f"INIT{half}"), (table, "INIT")))
    way = arranged(init, inner, PINS.index(pin), *(numbered(each, wires) for each in (pins, sources)), len(wires))
    if way is None:
        return False
    order, init = way
    for name, n in zip(PINS, order, strict=True):
        adder["connections"][name + half] = ["1" if n is None else wires[n]]
    adder["parameters"][f"INIT{half}"] = f"{init:016b}"
    return True


def numbered(pins: list[Any], wires: list[int]) -> Bits:
    """Each pin's place among the wires, or the constant that it is ("x": any)."""
    return tuple(wires.index(w) if w in wires else {"0": "0", "1": "1"}.get(w, "0") for w in pins)


@cache
def arranged(init: int, inner: int, at: int, pins: Bits, sources: Bits, count: int) -> tuple[Bits, int] | None:
    """Wires for the pins, and what the table then holds, so that a half of an adder with the table ``inner`` in front of
    its pin number ``at`` has the same sum and carry; None where there is no such way.

    The sum's table is that of all four pins. Where it says 0, the carry out is what its first quarter, that of C = D = 0,
    says to A and B; where it says 1, the carry in.
    """
    needed: dict[Bits, tuple[int, int]] = {}  # by the wires' values: the sum, and the carry where that is 0
    for values in product((0, 1), repeat=count):
        def seen(names: Bits, values: Bits = values) -> list[int]:
            return [int(name) if isinstance(name, str) else values[name] for name in names]

        now = seen(tuple("0" if n == at else name for n, name in enumerate(pins)))
        now[at] = inner >> sum(bit << n for n, bit in enumerate(seen(sources))) & 1
        needed[values] = init >> sum(bit << n for n, bit in enumerate(now)) & 1, init >> now[0] + 2 * now[1] & 1
    for order in permutations((*range(count), *[None] * (len(PINS) - count))):
        held: dict[int, int] = {}
        fits = True
        for values, (total, carry) in needed.items():
            a, b, c, d = (1 if n is None else values[n] for n in order)
            asked = [(a + 2 * b + 4 * c + 8 * d, total)] + [(a + 2 * b, carry)] * (not total)
            fits = fits and all(held.setdefault(place, bit) == bit for place, bit in asked)
        if fits:
            return order, sum(bit << place for place, bit in held.items())
    return None
