"""What is asked of a netlist before it is changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["Cell", "loads"]

Cell = dict[str, Any]  # as Yosys' write_json has it


def loads(module: dict[str, Any]) -> Counter[Any]:
    """How many pins of cells, and ports that lead out, listen to each wire."""
    outside = (port["bits"] for port in module["ports"].values() if port["direction"] != "input")
    pins = (bits for cell in module["cells"].values() for pin, bits in cell["connections"].items()
            if cell["port_directions"][pin] != "output")
    return Counter(bit for group in (outside, pins) for bits in group for bit in bits)
