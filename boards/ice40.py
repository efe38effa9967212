"""Lattice iCE40: the smallest devices, for small dense networks."""

from dataclasses import replace

from ..models.fabric import Fabric
from .board import FTDI, Board, Family, Resources

SHAPES = ((2, 2048), (4, 1024), (8, 512), (16, 256))
CELLS = {"lut": ("ICESTORM_LC",), "bram": ("ICESTORM_RAM",), "dsp": ("ICESTORM_DSP",), "spram": ("ICESTORM_SPRAM",)}


#: For the UP5K. What is loaded at run time may begin with anything, as its large memories do; and it has few flip-flops.
SPRAM = ('setattr -set ram_style "huge" a:loaded', "setparam -set INIT 1'x t:$mem_v2 a:loaded %i")


def family(name: str, options: str, memories: tuple[str, ...] = ()) -> Family:
    whole = f"synth_ice40 {options} -top top"
    return Family(
        name, synthesis=(f"{whole} -run begin:map_ram", *memories, f"{whole} -run map_ram:"),
        spare_blocks=("wide",) * bool(memories), large=(16, 16384) if memories else (0, 0),
        route="nextpnr-ice40", pack="icepack", suffix="bin", constraints="pcf", shapes=SHAPES, block_cost=64, lutram=False,
        paired=True, cells=CELLS,
    )


UP5K, HX8K = family("ice40up", "-dsp", SPRAM), family("ice40hx", "")
UP5K_SIZE, HX8K_SIZE = Resources(5280, 5280, 30, 8, 4), Resources(7680, 7680, 32)

#: What fits runs small dense networks: no convolutions, no synaptic filters, and neurons that are updated one after the
#: other.
SMALL = Fabric("ice40up5k", lanes=8, update_lanes=1, pipelined=False, currents=False, weight_bits=4, weight_words=16384,
               rows=32, parameter_rows=128, populations=2, projections=3, places=0, keys=3, inputs=1, sum_bits=12,
               state_bits=10, spike_bits=1, refractory_bits=1)
#: Weights are in blocks of RAM here, and there are not many.
HX = replace(SMALL, name="ice40hx8k", lanes=4, weight_words=2048, state_bits=14)

BOARDS = (
    Board("icebreaker", "1BitSquared iCEBreaker", UP5K, "iCE40UP5K-SG48", "amaranth_boards.icebreaker:ICEBreakerPlatform",
          12e6, UP5K_SIZE, SMALL, options=("--up5k", "--package", "sg48"),
          flash=(("openFPGALoader", "-b", "ice40_generic", "{}"), ("iceprog", "{}")), baud=FTDI),
    Board("icesugar", "Muse Lab iCESugar", UP5K, "iCE40UP5K-SG48", "amaranth_boards.icesugar:ICESugarPlatform",
          12e6, UP5K_SIZE, SMALL, options=("--up5k", "--package", "sg48"), flash=(("icesprog", "{}"),), baud=115200),
    Board("ice40-hx8k", "Lattice iCE40-HX8K breakout", HX8K, "iCE40HX8K-CT256",
          "amaranth_boards.ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform", 12e6, HX8K_SIZE, HX,
          options=("--hx8k", "--package", "ct256"),
          flash=(("openFPGALoader", "-b", "ice40_generic", "{}"), ("iceprog", "{}")), baud=FTDI),
)
