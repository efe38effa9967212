"""Registers behind memories and multipliers, put into them.

A block of an ECP5's RAM takes 5.6 ns to show what was read, and 0.6 ns from its own output register; a multiplier 3.9 ns,
and then there is the way to the flip-flops (nextpnr's figures for speed grade 6). Yosys leaves these registers unused and
flip-flops behind them. This pass over Yosys' netlist moves the flip-flops in, wherever that changes nothing else.
"""

from __future__ import annotations

from typing import Any

from .netlist import Cell, loads

__all__ = ["absorb"]

WIDTH = 18  # outputs of a port, factors of a multiplier


def absorb(netlist: dict[str, Any]) -> int:
    """Change the netlist (as Yosys' ``write_json`` has it, flat); returns the number of cells whose registers are used.

    The outputs of a port, or of a multiplier, all have to go to one flip-flop each and nowhere else, of one clock (the
    port's), without a reset and with the same enable.
    """
    module = netlist["modules"]["top"]
    cells: dict[str, Cell] = module["cells"]
    listeners = loads(module)
    # the flip-flop whose data a bit is
    takes = {cell["connections"]["DI"][0]: name for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}

    def moved(pins: dict[str, Any], outputs: list[str], clock: Any = None) -> tuple[Any, Any] | None:
        """The clock and the enable of the registers behind these outputs if they could move in; they have."""
        outputs = [pin for pin in outputs if pins.get(pin) and listeners[pins[pin][0]]]
        followers = [takes.get(pins[pin][0], "") if listeners[pins[pin][0]] == 1 else "" for pin in outputs]
        ways = {plain(cells[name]) if name else None for name in followers}
        if len(ways) != 1 or (way := ways.pop()) is None or (clock and way[0] != clock):
            return None
        for pin, name in zip(outputs, followers, strict=True):
            pins[pin] = cells.pop(name)["connections"]["Q"]
        return way

    def read(block: Cell, side: str) -> bool:
        """Of the ports ``side`` of a block, which show the same word."""
        pins = block["connections"]
        way = moved(pins, [f"DO{port}{n}" for port in side for n in range(WIDTH)], pins[f"CLK{side[-1]}"][0])
        if way:
            block["parameters"] |= {f"REGMODE_{port}": "OUTREG" for port in side}
            pins |= {f"OCE{port}": [way[1]] for port in side}
        return way is not None

    def multiplied(cell: Cell) -> bool:
        way = moved(cell["connections"], [f"P{n}" for n in range(2 * WIDTH)])
        if way:
            given = {"CLK0": [way[0]], "CE0": [way[1]], "RST0": ["0"]}
            cell["connections"] |= given
            cell["port_directions"] |= dict.fromkeys(given, "input")
            cell["parameters"] |= {"REG_OUTPUT_CLK": "CLK0", "REG_OUTPUT_CE": "CE0", "REG_OUTPUT_RST": "RST0"}
        return way is not None

    def sides(block: Cell) -> tuple[str, ...]:
        wide = int(block["parameters"]["DATA_WIDTH_B"], 2) == 2 * WIDTH  # both ports' pins are the outputs of port B
        return ("AB",) if wide else ("A", "B")

    blocks, multipliers = ([c for c in cells.values() if c["type"] == kind] for kind in ("DP16KD", "MULT18X18D"))
    return sum(any([read(block, side) for side in sides(block)]) for block in blocks) + sum(map(multiplied, multipliers))


def plain(flip_flop: Cell) -> tuple[Any, Any] | None:
    """The clock and the enable of a flip-flop that an output register could replace; None of any other."""
    p, pins = flip_flop["parameters"], flip_flop["connections"]
    never_reset = pins.get("LSR", ["0"]) == ["0"]
    enable = {"1": "1", "CE": pins.get("CE", ["1"])[0]}.get(p.get("CEMUX", "1").strip())
    if not never_reset or enable is None or p.get("CLKMUX", "CLK") != "CLK" or p.get("REGSET", "RESET") != "RESET":
        return None
    return pins["CLK"][0], enable
