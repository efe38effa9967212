"""Registers around memories and multipliers, put into them.

A block of an ECP5's RAM takes 5.6 ns to show what was read, and 0.6 ns from its own output register; a multiplier takes
3.9 ns, and there are the ways from and to the flip-flops (nextpnr's figures for speed grade 6). Yosys leaves these
registers unused and has flip-flops around them. This pass over Yosys' netlist moves the flip-flops in, wherever that
changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .netlist import Cell, loads

__all__ = ["absorb"]

WIDTH = 18  # outputs of a port, bits of a factor


class Way(NamedTuple):
    """The wires by which a flip-flop is clocked, enabled and reset."""

    clock: Any
    enable: Any
    reset: Any


def absorb(netlist: dict[str, Any]) -> int:
    """Change the netlist (as Yosys' ``write_json`` has it, flat); returns the number of cells whose registers are used.

    The outputs of a port, or of a multiplier, all have to go to one flip-flop each and nowhere else, of one clock (the
    port's), with the same enable, and for a port without a reset. The factors of such a multiplier have to come from
    flip-flops; to those that others listen to as well, the multiplier's are copies.
    """
    module = netlist["modules"]["top"]
    cells: dict[str, Cell] = module["cells"]
    listeners = loads(module)
    flip_flops = {name: cell["connections"] for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}
    takes, gives = ({pins[pin][0]: name for name, pins in flip_flops.items()} for pin in ("DI", "Q"))

    def common(names: Iterable[str]) -> Way | None:
        """The way of all these flip-flops, where they have one."""
        ways = {plain(cells[name]) if name else None for name in names}
        return ways.pop() if len(ways) == 1 else None

    def followers(pins: dict[str, Any], outputs: Iterable[str]) -> dict[str, str]:
        """The flip-flop behind each output that is used, or nothing."""
        used = (pin for pin in outputs if pins.get(pin) and listeners[pins[pin][0]])
        return {pin: takes.get(pins[pin][0], "") if listeners[pins[pin][0]] == 1 else "" for pin in used}

    def move(pins: dict[str, Any], behind: dict[str, str]) -> None:
        pins |= {pin: cells.pop(name)["connections"]["Q"] for pin, name in behind.items()}

    def read(block: Cell, side: str) -> bool:
        """Of the ports ``side`` of a block, which show the same word."""
        pins = block["connections"]
        behind = followers(pins, [f"DO{port}{n}" for port in side for n in range(WIDTH)])
        way = common(behind.values())
        if way is None or way.clock != pins[f"CLK{side[-1]}"][0] or way.reset != "0":
            return False
        move(pins, behind)
        block["parameters"] |= {f"REGMODE_{port}": "OUTREG" for port in side}
        pins |= {f"OCE{port}": [way.enable] for port in side}
        return True

    def multiplied(cell: Cell) -> bool:
        pins = cell["connections"]
        behind = followers(pins, [f"P{n}" for n in range(2 * WIDTH)])
        output = common(behind.values())
        if output is None:
            return False
        move(pins, behind)
        before = {side: {pin: gives.get(pins[pin][0], "") for n in range(WIDTH)
                         if pins.get(pin := f"{side}{n}", ["0"]) != ["0"]} for side in "AB"}
        ways = {"OUTPUT": output}
        ways |= {f"INPUT{side}": way for side, names in before.items()
                 if (way := common(names.values())) and way.clock == output.clock}
        if len(ways) < 3:  # both factors, or neither
            ways = {"OUTPUT": output}
        else:
            for pin, name in ((pin, name) for names in before.values() for pin, name in names.items()):
                taken, made = (flip_flops[name][port][0] for port in ("DI", "Q"))
                pins[pin] = [taken]
                listeners.update({taken: 1, made: -1})
                if not listeners[made]:
                    listeners[taken] -= 1
                    del cells[name]
        for n, (register, way) in enumerate(ways.items()):
            given = {"CLK0": [way.clock], f"CE{n}": [way.enable], f"RST{n}": [way.reset]}
            pins |= given
            cell["port_directions"] |= dict.fromkeys(given, "input")
            cell["parameters"] |= {f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": f"CE{n}",
                                   f"REG_{register}_RST": f"RST{n}"}
        return True

    def sides(block: Cell) -> tuple[str, ...]:
        wide = int(block["parameters"]["DATA_WIDTH_B"], 2) == 2 * WIDTH  # both ports' pins are the outputs of port B
        return ("AB",) if wide else ("A", "B")

    blocks, multipliers = ([c for c in cells.values() if c["type"] == kind] for kind in ("DP16KD", "MULT18X18D"))
    return sum(any([read(block, side) for side in sides(block)]) for block in blocks) + sum(map(multiplied, multipliers))


def plain(flip_flop: Cell) -> Way | None:
    """The way of a flip-flop that such a register could replace: it starts with 0, and is reset to that by the clock."""
    p, pins = flip_flop["parameters"], flip_flop["connections"]
    reset = pins.get("LSR", ["0"])[0]
    by_clock = reset == "0" or (p.get("SRMODE") == "LSR_OVER_CE" and p.get("LSRMUX", "LSR") == "LSR")
    enable = {"1": "1", "CE": pins.get("CE", ["1"])[0]}.get(p.get("CEMUX", "1").strip())
    if reset != "0" and enable != "1":  # which of them is first?
        return None
    if not by_clock or enable is None or p.get("CLKMUX", "CLK") != "CLK" or p.get("REGSET", "RESET") != "RESET":
        return None
    return Way(pins["CLK"][0], enable, reset)
