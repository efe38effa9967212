"""AMD: a Vivado project is written, as there are no free tools on PyPI that place and route for these."""

from dataclasses import replace

from ..models.fabric import Fabric
from .board import FTDI, Board, Family, Resources

XC7 = Family(
    "xc7",
    synthesis=("synth_xilinx -family xc7 -flatten -top top",),
    shapes=((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)),  # halves of a block
)

LESS = replace(Fabric.preset("medium"), name="xc7-35", weight_words=7168)  #: what 100 blocks of RAM hold

BOARDS = (
    Board("arty-a7-35", "Digilent Arty A7-35T", XC7, "xc7a35ticsg324-1L", "amaranth_boards.arty_a7:ArtyA7_35Platform",
          100e6, Resources(20800, 41600, 100, 90), LESS,
          flash=(("openFPGALoader", "-b", "arty_a7_35t", "{}"),), baud=FTDI),
    Board("arty-a7-100", "Digilent Arty A7-100T", XC7, "xc7a100ticsg324-1L",
          "amaranth_boards.arty_a7:ArtyA7_100Platform", 100e6, Resources(63400, 126800, 270, 240), Fabric.preset("medium"),
          flash=(("openFPGALoader", "-b", "arty_a7_100t", "{}"),), baud=FTDI),
    Board("pynq-z2", "TUL PYNQ-Z2", XC7, "xc7z020clg400-1", "aerloom.boards.platforms:PynqZ2",
          125e6, Resources(53200, 106400, 280, 220), Fabric.preset("medium"),
          flash=(("openFPGALoader", "-b", "pynq_z2", "{}"),),
          uart="3.3 V serial adapter at Pmod A: its TX to pin 1, its RX to pin 2"),
)
