"""Resets of a few flip-flops each, made of tables.

Two resets reach the eight flip-flops of a tile of an ECP5. Where a wide chip has a thousand of them, of fifteen flip-flops
each, nextpnr looks for tiles without end; a table in front of such a flip-flop is placed in minutes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .netlist import Cell

__all__ = ["ease"]

MANY = 500  # resets; with fewer, tables are scarcer than tiles
FEW = 200  # flip-flops of a reset that becomes tables
GATE = f"{0x2222:016b}"  # A without B


def ease(netlist: dict[str, Any], many: int = MANY, few: int = FEW) -> int:
    """Change the netlist (as Yosys' ``write_json`` has it, flat); returns the number of flip-flops that have a table now.

    Those are reset to 0 by the clock, and have no enable.
    """
    cells: dict[str, Cell] = netlist["modules"]["top"]["cells"]
    flip_flops = {name: cell for name, cell in cells.items() if cell["type"] == "TRELLIS_FF"}
    listeners = Counter(cell["connections"].get("LSR", ["0"])[0] for cell in flip_flops.values())
    if len(listeners) <= many:
        return 0
    wires = (bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits)
    top = max(bit for bit in wires if isinstance(bit, int))
    eased = 0
    for name, cell in flip_flops.items():
        pins, p = cell["connections"], cell["parameters"]
        reset = pins.get("LSR", ["0"])[0]
        plain = p.get("SRMODE") == "LSR_OVER_CE" and p.get("REGSET") == "RESET" and p.get("LSRMUX", "LSR") == "LSR"
        if not plain or isinstance(reset, str) or p.get("CEMUX", "1").strip() != "1" or listeners[reset] > few:
            continue
        eased += 1
        gate = {"A": pins["DI"], "B": [reset], "C": ["0"], "D": ["0"], "Z": [top + eased]}
        cells[f"{name}_gate"] = {
            "type": "LUT4", "parameters": {"INIT": GATE}, "attributes": {}, "connections": gate,
            "port_directions": dict.fromkeys("ABCD", "input") | {"Z": "output"}}
        pins |= {"DI": [top + eased], "LSR": ["0"]}
    return eased
