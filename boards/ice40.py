"""Lattice iCE40: the smallest. A chip of any Fabric takes more than an UP5K has today; the HX8K takes a small one."""

from ..models.fabric import Fabric
from .board import Board, Family, Resources

SHAPES = ((2, 2048), (4, 1024), (8, 512), (16, 256))
CELLS = {"lut": ("ICESTORM_LC",), "bram": ("ICESTORM_RAM",), "dsp": ("ICESTORM_DSP",), "spram": ("ICESTORM_SPRAM",)}


#: What is loaded at run time may begin with anything, as the UP5K's large memories do.
SPRAM = ('setattr -set ram_style "huge" a:loaded', "setparam -set INIT 1'x t:$mem_v2 a:loaded %i")


def family(name: str, options: str, memories: tuple[str, ...] = ()) -> Family:
    synthesis = f"synth_ice40 {options} -top top"
    return Family(
        name, synthesis=('setattr -set ram_style "block" a:wide', f"{synthesis} -run begin:map_ram", *memories,
                         f"{synthesis} -run map_ram:"),
        spare_blocks=True, route="nextpnr-ice40", pack="icepack", suffix="bin",
        constraints="pcf", shapes=SHAPES, block_cost=64, lutram=False, cells=CELLS,
    )


UP5K, HX8K = family("ice40up", "-dsp", SPRAM), family("ice40hx", "")
UP5K_SIZE, HX8K_SIZE = Resources(5280, 5280, 30, 8, 4), Resources(7680, 7680, 32)

#: The least that runs a network of two layers.
LEAST = Fabric("ice40", lanes=4, update_lanes=1, pipelined=False, weight_words=16384, rows=16, parameter_rows=16, populations=2,
               projections=2, places=0, keys=3, inputs=1, sum_bits=12, state_bits=12, spike_bits=1, refractory_bits=1)

BOARDS = (
    Board("icebreaker", "1BitSquared iCEBreaker", UP5K, "iCE40UP5K-SG48", "amaranth_boards.icebreaker:ICEBreakerPlatform",
          12e6, UP5K_SIZE, LEAST, options=("--up5k", "--package", "sg48"),
          flash=(("openFPGALoader", "-b", "ice40_generic", "{}"), ("iceprog", "{}"))),
    Board("icesugar", "Muse Lab iCESugar", UP5K, "iCE40UP5K-SG48", "amaranth_boards.icesugar:ICESugarPlatform",
          12e6, UP5K_SIZE, LEAST, options=("--up5k", "--package", "sg48"), flash=(("icesprog", "{}"),), baud=115200),
    Board("ice40-hx8k", "Lattice iCE40-HX8K breakout", HX8K, "iCE40HX8K-CT256",
          "amaranth_boards.ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform", 12e6, HX8K_SIZE, LEAST,
          options=("--hx8k", "--package", "ct256"),
          flash=(("openFPGALoader", "-b", "ice40_generic", "{}"), ("iceprog", "{}"))),
)
