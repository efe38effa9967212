"""Copies of registers that too many listen to.

One flip-flop that steers every lane of a wide core is far from most of them: its wires take longer than the logic. Each of
its copies has listeners that are near each other in the source, and so on the chip.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MOST", "spread"]

MOST = 48  # listeners of a copy


def spread(netlist: dict[str, Any], most: int = MOST) -> int:
    """Change the netlist (as Yosys' ``write_json`` has it, flat); returns the number of copies made.

    Resets, clocks and enables stay with the flip-flop itself: a device has wires of their own for those.
    """
    module = netlist["modules"]["top"]
    cells: dict[str, dict[str, Any]] = module["cells"]
    listeners: dict[Any, list[tuple[str, str, int]]] = {}
    top = 0
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            top = max([top, *(bit for bit in bits if isinstance(bit, int))])
            if cell["port_directions"][port] == "input" and port not in ("CLK", "LSR", "CE"):
                for n, bit in enumerate(bits):
                    listeners.setdefault(bit, []).append((name, port, n))
    copies = 0
    for name, cell in list(cells.items()):
        if cell["type"] != "TRELLIS_FF":
            continue
        ends = sorted(listeners.get(cell["connections"]["Q"][0], []))
        for first in range(most, len(ends), most):
            top, copies = top + 1, copies + 1
            cells[f"{name}_copy{first // most}"] = cell | {"connections": cell["connections"] | {"Q": [top]}}
            for end, port, n in ends[first : first + most]:
                cells[end]["connections"][port] = [
                    top if k == n else bit for k, bit in enumerate(cells[end]["connections"][port])
                ]
    return copies
