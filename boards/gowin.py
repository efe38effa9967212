"""Gowin: cheap boards, with tools of the project Apicula."""

from ..models.fabric import Fabric
from .board import Board, Family, Resources

GOWIN = Family(
    "gowin",
    synthesis=("synth_gowin -top top",),
    route="nextpnr-himbaechel-gowin", pack="gowin_pack", suffix="fs", constraints="cst",
    shapes=((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512)), paired=True,
    cells={"lut": ("LUT4", "ALU"), "ff": ("DFF",), "bram": ("BSRAM",), "dsp": ("MULT18X18", "MULT9X9", "MULT36X36")},
)

SMALL = Fabric("gowin-9", lanes=4, update_lanes=1, pipelined=False, weight_words=2048, rows=32, parameter_rows=128,
               populations=4, projections=8, places=0, keys=16, inputs=2, sum_bits=16, state_bits=14, spike_bits=1,
               refractory_bits=4)
HALF = Fabric("gowin-20", lanes=8, update_lanes=1, weight_words=4096, rows=64, parameter_rows=256, projections=16, keys=32)

BOARDS = (
    Board("tang-nano-9k", "Sipeed Tang Nano 9K", GOWIN, "GW1NR-LV9QN88PC6/I5",
          "amaranth_boards.tang_nano_9k:TangNano9kPlatform", 27e6, Resources(8640, 6480, 26, 20), SMALL,
          options=("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"),
          pack_options=("-d", "GW1N-9C", "--sspi_as_gpio", "--mspi_as_gpio"),
          flash=(("openFPGALoader", "-b", "tangnano9k", "{}"),)),
    Board("tang-nano-20k", "Sipeed Tang Nano 20K", GOWIN, "GW2AR-LV18QN88C8/I7",
          "aerloom.boards.platforms:TangNano20K", 27e6, Resources(20736, 15552, 46, 48), HALF,
          options=("--device", "GW2AR-LV18QN88C8/I7", "--vopt", "family=GW2A-18C"),
          pack_options=("-d", "GW2A-18C", "--sspi_as_gpio", "--mspi_as_gpio"),
          flash=(("openFPGALoader", "-b", "tangnano20k", "{}"),)),
)
