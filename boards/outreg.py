"""Registers behind memories, put into the blocks of RAM.

A block of an ECP5's RAM takes 5.6 ns to show what was read, and 0.6 ns from its own output register (nextpnr's figures for
speed grade 6); Yosys leaves that register unused and a flip-flop behind it. This pass over Yosys' netlist moves the
flip-flops in, wherever that changes nothing else.
"""

from __future__ import annotations

from typing import Any

from .netlist import Cell, loads

__all__ = ["absorb"]

WIDTH = 18  # outputs of a port


def absorb(netlist: dict[str, Any]) -> int:
    """Change the netlist (as Yosys' ``write_json`` has it, flat); returns the number of blocks whose registers are used.

    A block's outputs all have to go to one flip-flop each and nowhere else, of the block's clock, without a reset and with
    the same enable.
    """
    module = netlist["modules"]["top"]
    cells: dict[str, Cell] = module["cells"]
    listeners = loads(module)
    # the flip-flop whose data a bit is
    takes = {cell["connections"]["DI"][0]: name for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}

    def moved(block: Cell, side: str) -> bool:
        """Whether the registers behind these ports, which show the same word, could move in; they have."""
        pins = block["connections"]
        outputs = [f"DO{port}{n}" for port in side for n in range(WIDTH)]
        outputs = [pin for pin in outputs if pins.get(pin) and listeners[pins[pin][0]]]
        followers = [takes.get(pins[pin][0], "") if listeners[pins[pin][0]] == 1 else "" for pin in outputs]
        ways = {plain(cells[name], pins[f"CLK{side[-1]}"]) if name else None for name in followers}
        if len(ways) != 1 or (enable := ways.pop()) is None:
            return False
        for pin, name in zip(outputs, followers, strict=True):
            pins[pin] = cells.pop(name)["connections"]["Q"]
        for port in side:
            block["parameters"][f"REGMODE_{port}"] = "OUTREG"
            pins[f"OCE{port}"] = [enable]
        return True

    def sides(block: Cell) -> tuple[str, ...]:
        wide = int(block["parameters"]["DATA_WIDTH_B"], 2) == 2 * WIDTH  # both ports' pins are the outputs of port B
        return ("AB",) if wide else ("A", "B")

    blocks = [cell for cell in cells.values() if cell["type"] == "DP16KD"]
    return sum(any([moved(block, side) for side in sides(block)]) for block in blocks)


def plain(flip_flop: Cell, clock: list[Any]) -> Any:
    """The enable of a flip-flop that an output register could replace; None of any other."""
    p, pins = flip_flop["parameters"], flip_flop["connections"]
    never_reset = pins.get("LSR", ["0"]) == ["0"]
    same_clock = pins["CLK"] == clock and p.get("CLKMUX", "CLK") == "CLK"
    enable = {"1": "1", "CE": pins.get("CE", ["1"])[0]}.get(p.get("CEMUX", "1").strip())
    return enable if never_reset and same_clock and p.get("REGSET", "RESET") == "RESET" else None
