"""Lattice ECP5: the family that free tools know best, and the one that this project is tuned for."""

from dataclasses import replace
from functools import partial
from typing import Any

from ..models.fabric import Fabric
from .board import FTDI, Board, Family, Resources
from .carry import merge, trim
from .fanout import spread
from .floorplan import DIES, Die, arrange
from .outreg import absorb
from .resets import ease


def refine(netlist: dict[str, Any], die: Die) -> None:
    absorb(netlist)
    merge(netlist)
    trim(netlist)
    ease(netlist)
    spread(netlist)
    arrange(netlist, die)


ECP5 = Family(
    "ecp5",
    # look-up tables of four inputs alone: with larger ones, of muxes between them, a core takes an eighth more
    synthesis=("synth_ecp5 -nowidelut -top top",),
    spare_blocks=("wide", "small", "neuron"),  # tables that would be hundreds of LUTs otherwise
    tidies="map_luts",  # Yosys 0.70's abc9 fails (an assertion) on some designs, the board of the preset `tiny` for one
    route="nextpnr-ecp5", placing=("--placer-heap-timingweight", "30", "--tmg-ripup"),  # 10 and no: 5 and 2 % fewer MHz
    pack="ecppack", suffix="bit", constraints="lpf",
    refine=partial(refine, die=DIES["25"]),
    shapes=((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)),
    cells={"lut": ("TRELLIS_COMB",), "ff": ("TRELLIS_FF",), "bram": ("DP16KD",), "dsp": ("MULT18X18D",)},
)

ECP5_45 = replace(ECP5, refine=partial(refine, die=DIES["45"]))
ECP5_85 = replace(ECP5, refine=partial(refine, die=DIES["85"]))
FAMILIES = {"12": ECP5, "25": ECP5, "45": ECP5_45, "85": ECP5_85}

#: Of the dies. The 12F is a 25F under another name, and free tools use all of it.
SIZES = {"12": Resources(24288, 24288, 56, 28), "25": Resources(24288, 24288, 56, 28),
         "45": Resources(43848, 43848, 108, 72), "85": Resources(83640, 83640, 208, 156)}

#: 32 of the 56 blocks of a 25F hold weights; of the preset `medium`, whose weights alone take 64, it has room for half.
HALF = Fabric("ecp5-25", lanes=8, update_lanes=1, weight_words=8192, rows=32, parameter_rows=256)
FABRICS = {"12": HALF, "25": HALF, "45": Fabric.preset("medium"), "85": Fabric.preset("medium")}


def ulx3s(size: str) -> Board:
    return Board(
        f"ulx3s-{size}f", f"Radiona ULX3S {size}F", FAMILIES[size], f"LFE5U-{size}F-6BG381C",
        f"amaranth_boards.ulx3s:ULX3S_{size}F_Platform", 25e6, SIZES[size], FABRICS[size],
        options=(f"--{size}k", "--package", "CABGA381", "--speed", "6"), pack_options=("--compress",),
        flash=(("openFPGALoader", "-b", "ulx3s", "{}"), ("fujprog", "{}")), baud=FTDI,
    )


def orangecrab(size: str) -> Board:
    return Board(
        f"orangecrab-{size}f", f"OrangeCrab r0.2 {size}F", FAMILIES[size], f"LFE5U-{size}F-8MG285C",
        f"aerloom.boards.platforms:OrangeCrab{size}F", 48e6, SIZES[size], FABRICS[size],
        options=(f"--{size}k", "--package", "CSFBGA285", "--speed", "8"),
        pack_options=("--compress", "--freq", "38.8"),
        flash=(("openFPGALoader", "-b", "orangeCrab", "{}"), ("dfu-util", "-a", "0", "-D", "{}")),
        uart="3.3 V serial adapter: its TX to IO0, its RX to IO1",
    )


def colorlight(name: str, size: str) -> Board:
    return Board(
        f"colorlight-{name}", f"Colorlight {name} on its extension board", FAMILIES[size], f"LFE5U-{size}F-6BG381C",
        f"aerloom.boards.platforms:Colorlight{name.upper()}", 25e6, SIZES[size], FABRICS[size],
        options=(f"--{size}k", "--package", "CABGA381", "--speed", "6"), pack_options=("--compress",),
        flash=(("openFPGALoader", "-b", f"colorlight-{name}", "{}"), ("ecpdap", "program", "{}")), baud=115200,
    )


BOARDS = (
    *map(ulx3s, SIZES),
    orangecrab("25"), orangecrab("85"),
    colorlight("i5", "25"), colorlight("i9", "45"),
)
