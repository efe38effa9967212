"""Netlists of cells, as a synthesis tool writes them, as designs that can be simulated.

Yosys has models of nearly every cell; blocks of RAM and multipliers of ECP5 and Gowin it knows by name alone, and gets
those of ``cells/blocks.v``, and cells that there are after place and route alone those of ``cells/routed.v``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aerloom.boards import tools
from aerloom.boards.board import Board, Family
from aerloom.boards.synthesis import synthesise
from aerloom.models.errors import AerloomError

CELLS = Path(__file__).with_name("cells")
MODELS = {"ecp5": "+/ecp5/common_sim.vh +/ecp5/ccu2c_sim.vh", "ice40up": "+/ice40/cells_sim.v",
          "ice40hx": "+/ice40/cells_sim.v", "gowin": "+/gowin/cells_sim.v"}
OPEN = {"FCI": "0", "LSR": "0"}  # what an open pin of a routed ECP5 is, but for all that are 1
Cell = dict[str, Any]


def need(*names: str) -> None:
    """Skip the test where one of these tools is missing."""
    for name in names:
        try:
            tools.command(name)
        except AerloomError as e:
            pytest.skip(str(e))


def synthesised(design: str, family: Family, folder: Path, *options: str) -> dict[str, Any]:
    """The netlist of cells of a design in RTLIL."""
    (folder / "top.il").write_text(design)
    return synthesise(family, folder, *options)[0]


def modelled(netlist: dict[str, Any], family: Family, folder: Path) -> dict[str, Any]:
    """The netlist with each cell's model in its place: gates, flip-flops and memories alone."""
    top = netlist["modules"]["top"]
    fixed = {cell["connections"][pin][0]: value for cell in top["cells"].values()
             for kind, pin, value in (("GND", "G", "0"), ("VCC", "V", "1")) if cell["type"] == kind}
    for cell in top["cells"].values():
        if cell["type"] not in ("GND", "VCC"):
            cell["connections"] = {k: [fixed.get(wire, wire) for wire in wires] for k, wires in cell["connections"].items()
                                   if wires != ["x"] or cell["port_directions"][k] == "input"}
        if change := CHANGES.get(cell["type"]):
            change(cell)
    (folder / "cells.json").write_text(json.dumps({"modules": {"top": top}}))
    for path in CELLS.iterdir():
        (folder / path.name).write_text(path.read_text())
    own = "blocks.v routed.v" if family.name == "ecp5" else "blocks.v"
    (folder / "models.ys").write_text("\n".join((
        "read_json cells.json", f"read_verilog -DNO_ICE40_DEFAULT_ASSIGNMENTS {MODELS[family.name]}",
        f"read_verilog -overwrite {own}", "hierarchy -check -top top", "proc", "flatten", "opt -fast", "memory_collect",
        "techmap", "simplemap", "opt -fast", "dfflegalize -cell $_DFF_P_ 01", "clean -purge", "write_json gates.json")))
    tools.run("yosys", ["-q", "models.ys"], folder)
    gates: dict[str, Any] = json.loads((folder / "gates.json").read_text())
    return gates["modules"]["top"]


def routed(board: Board, folder: Path) -> dict[str, Any]:
    """What place and route for an ECP5 makes of ``top.json``: cells as the device has them."""
    tools.run(board.family.route, [*board.options, "--json", "top.json", "--write", "routed.json", "--freq", "10",
                                   "--lpf-allow-unconstrained", "--timing-allow-fail", "-q"], folder)
    out: dict[str, Any] = json.loads((folder / "routed.json").read_text())
    for cell in out["modules"]["top"]["cells"].values():
        pins, parameters = cell["connections"], cell["parameters"]
        for pin, way in cell["port_directions"].items():
            if way == "input" and not pins.get(pin):
                mux = parameters.get(f"{pin}MUX", "").strip()
                pins[pin] = [mux if mux in ("0", "1") else "0" if mux == "INV" else OPEN.get(pin, "1")]
        if cell["type"] == "TRELLIS_FF":
            if parameters.pop("SD", "1").strip() == "0":
                pins["DI"] = pins["M"]  # past the look-up table
        elif cell["type"] == "TRELLIS_COMB":
            for pin in ("DI0", "DI1"):  # a name of the way to the flip-flop, and no pin
                pins.pop(pin, None)
            second = cell["attributes"].get("NEXTPNR_BEL", "").endswith(".K1")
            cell["parameters"] = {"MODE": parameters.get("MODE", "LOGIC"), "INITVAL": parameters.get("INITVAL", "0" * 16),
                                  "CCU2_INJECT1": parameters.get("CCU2_INJECT1", "NO"), "IS_Z1": f"{int(second):032b}"}
        elif cell["type"] == "TRELLIS_IO":  # the pin is what the chip sees
            way = ("B", "O") if parameters["DIR"].strip() == "INPUT" else ("I", "B")
            become(cell, "$_BUF_", {}, {"A": pins[way[0]], "Y": pins[way[1]]}, {"Y"})
        elif cell["type"] in ("TRELLIS_RAMW", "DCCA"):
            cell["parameters"] = {}
    return out


def bits(text: Any) -> int:
    """A parameter as JSON has it."""
    return int(text, 2) if isinstance(text, str) else int(text)


def bus(cell: Cell, name: str, width: int) -> list[Any]:
    """What is at the pins ``name0``, ``name1``, …: zero where there is none."""
    return [(cell["connections"].get(f"{name}{n}") or ["0"])[0] for n in range(width)]


def become(cell: Cell, kind: str, parameters: dict[str, Any], ports: dict[str, list[Any]], outputs: set[str]) -> None:
    cell |= {"type": kind, "parameters": parameters, "connections": ports, "attributes": {},
             "port_directions": {name: "output" if name in outputs else "input" for name in ports}}


def unused(cell: Cell, *names: str) -> None:
    """These pins do nothing: the model has none of them."""
    for name in names:
        assert (cell["connections"].get(name) or ["0"])[0] in ("0", "x"), f"{cell['type']} with {name}"


def block_ecp5(cell: Cell) -> None:
    p, pins = cell["parameters"], cell["connections"]
    unused(cell, "RSTA", "RSTB")
    widths = bits(p["DATA_WIDTH_A"]), bits(p["DATA_WIDTH_B"])
    for side in "AB":  # place and route inverts the clock of a port that nobody uses, a constant
        assert p.get(f"CLK{side}MUX") != "INV" or (pins.get(f"CLK{side}") or ["1"])[0] in ("0", "1", "x")
    modes = [("NORMAL", "WRITETHROUGH", "READBEFOREWRITE").index(p.get(f"WRITEMODE_{side}", "NORMAL")) for side in "AB"]
    init = 0
    for n in range(1024):
        row = bits(p.get(f"INITVAL_{n // 16:02X}", "0"))
        init |= (row >> 20 * (n % 16) & (1 << 18) - 1) << 18 * n
    data = {name: bus(cell, name, 18) for name in ("DIA", "DIB")}
    read = {name: [(pins.get(f"{name}{n}") or [None])[0] for n in range(18)] for name in ("DOA", "DOB")}
    if widths[0] == 36:  # written through both
        data["DIA"] += data.pop("DIB")
    if widths[1] == 36:
        read["DOB"] = read.pop("DOA") + read["DOB"]
    ports = {name: pins.get(name) or ["0"] for name in ("CLKA", "CEA", "OCEA", "WEA", "CLKB", "CEB", "OCEB", "WEB")}
    ports |= {name: bus(cell, name, 14) for name in ("ADA", "ADB")} | data
    outputs = {name: wires for name, wires in read.items() if any(w is not None for w in wires)}
    sizes = {f"WIDTH_{side}": width for side, width in zip("AB", widths, strict=True)}
    sizes |= {f"MODE_{side}": mode for side, mode in zip("AB", modes, strict=True)}
    sizes |= {f"REG_{side}": p[f"REGMODE_{side}"] == "OUTREG" for side in "AB"}
    place(cell, sizes, 9, init, ports, outputs)


def block_gowin(cell: Cell) -> None:
    """SDPB (A writes, B reads), DPB (both do both) and SP (A alone), and the same with nine bits in a byte."""
    p, pins, kind = cell["parameters"], cell["connections"], cell["type"]
    assert all(bits(p.get(name, 0)) == 0 for name in ("READ_MODE", "READ_MODE0", "READ_MODE1"))
    for name, wires in pins.items():
        assert not name.startswith(("RESET", "BLKSEL")) or set(wires) <= {"0", "x"}, f"{kind} with {name}"
    byte = 9 if "X9" in kind else 8
    rows = [bits(p[f"INIT_RAM_{n:02X}"]) for n in range(64)]
    init = sum((rows[n // 32] >> byte * (n % 32) & (1 << byte) - 1) << 9 * n for n in range(2048))
    if kind.startswith("SDP"):
        ports = {"CLKA": pins["CLKA"], "CEA": pins["CEA"], "WEA": ["1"], "ADA": pins["ADA"], "DIA": pins["DI"],
                 "CLKB": pins["CLKB"], "CEB": pins["CEB"], "WEB": ["0"], "ADB": pins["ADB"]}
        outputs, widths, modes = {"DOB": pins["DO"]}, ("BIT_WIDTH_0", "BIT_WIDTH_1"), ("", "")
    elif kind.startswith("DP"):
        ports = {f"{name}{side}": pins[f"{old}{side}"] for side in "AB"
                 for name, old in (("CLK", "CLK"), ("CE", "CE"), ("WE", "WRE"), ("AD", "AD"), ("DI", "DI"))}
        outputs = {"DOA": pins["DOA"], "DOB": pins["DOB"]}
        widths, modes = ("BIT_WIDTH_0", "BIT_WIDTH_1"), ("WRITE_MODE0", "WRITE_MODE1")
    else:
        ports = {"CLKA": pins["CLK"], "CEA": pins["CE"], "WEA": pins["WRE"], "ADA": pins["AD"], "DIA": pins["DI"],
                 "CLKB": pins["CLK"], "CEB": ["0"], "WEB": ["0"], "ADB": ["0"] * 14}
        outputs, widths, modes = {"DOA": pins["DO"]}, ("BIT_WIDTH", "BIT_WIDTH"), ("WRITE_MODE", "")
    written = [bits(p.get(mode, 0)) for mode in modes]
    sizes = {f"WIDTH_{side}": bits(p[name]) for side, name in zip("AB", widths, strict=True)}
    sizes |= {f"MODE_{side}": mode for side, mode in zip("AB", written, strict=True)}
    place(cell, sizes, byte, init, ports | {"OCEA": ["0"], "OCEB": ["0"]}, outputs)


def place(cell: Cell, sizes: dict[str, Any], byte: int, init: int, ports: dict[str, Any], outputs: dict[str, Any]) -> None:
    numbers = {name: f"{int(n):032b}" for name, n in {**sizes, "BYTE": byte}.items()}
    spare = iter(range(SPARE, SPARE + 72))  # wires that lead nowhere
    driven = {name: [next(spare) if wire is None else wire for wire in wires] for name, wires in outputs.items()}
    become(cell, "BLOCK_RAM", numbers | {"INIT": f"{init:018432b}"}, ports | driven, set(driven))


def multiplier(width: int, kind: str) -> Callable[[Cell], None]:
    def ecp5(cell: Cell) -> None:
        pins, p = cell["connections"], cell["parameters"]
        ports = {"A": bus(cell, "A", width), "B": bus(cell, "B", width), "P": bus(cell, "P", 2 * width)}
        ports |= {name: pins[name] for name in ("SIGNEDA", "SIGNEDB")} | {"CLK": pins.get("CLK0") or ["0"]}
        sizes = {"WIDTH": width}
        for register, name in (("INPUTA", "A"), ("INPUTB", "B"), ("OUTPUT", "P")):
            sizes[f"REG_{name}"] = used = p.get(f"REG_{register}_CLK", "NONE") == "CLK0"
            ports |= {f"{pin}_{name}": (pins.get(p[f"REG_{register}_{pin}"]) if used else None) or ["0"]
                      for pin in ("CE", "RST")}
        become(cell, "MULTIPLIER", {name: f"{int(n):032b}" for name, n in sizes.items()}, ports, {"P"})

    def gowin(cell: Cell) -> None:
        pins = cell["connections"]
        ports = {"A": pins["A"], "B": pins["B"], "P": pins["DOUT"], "SIGNEDA": pins["ASIGN"], "SIGNEDB": pins["BSIGN"]}
        ports |= {name: ["0"] for name in ("CLK", *(f"{pin}_{way}" for pin in ("CE", "RST") for way in "ABP"))}
        become(cell, "MULTIPLIER", {"WIDTH": f"{width:032b}"}, ports, {"P"})

    return ecp5 if kind == "ecp5" else gowin


SPARE = 10_000_000
CHANGES: dict[str, Callable[[Cell], None]] = {
    "DP16KD": block_ecp5, "MULT18X18D": multiplier(18, "ecp5"),
    **dict.fromkeys(("SDPB", "SDPX9B", "DPB", "DPX9B", "SP", "SPX9"), block_gowin),
    "MULT9X9": multiplier(9, "gowin"), "MULT18X18": multiplier(18, "gowin"), "MULT36X36": multiplier(36, "gowin"),
}
