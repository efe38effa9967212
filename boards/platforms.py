"""Platforms that amaranth-boards does not have, with the pins that a chip needs: its clock and two wires."""

from typing import ClassVar

from amaranth.build import Attrs, Clock, Pins, Resource
from amaranth.vendor import GowinPlatform, LatticeECP5Platform, XilinxPlatform
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform, OrangeCrabR0_2_85FPlatform
from amaranth_boards.resources import UARTResource

LVCMOS33 = Attrs(IO_TYPE="LVCMOS33")
FEATHER_UART = UARTResource(0, rx="0", tx="1", conn=("io", 0), attrs=LVCMOS33)


class OrangeCrab25F(OrangeCrabR0_2_25FPlatform):
    """With a UART where Feather boards have theirs."""

    resources: ClassVar = [*OrangeCrabR0_2_25FPlatform.resources, FEATHER_UART]


class OrangeCrab85F(OrangeCrabR0_2_85FPlatform):
    """With a UART where Feather boards have theirs."""

    resources: ClassVar = [*OrangeCrabR0_2_85FPlatform.resources, FEATHER_UART]


class _Colorlight(LatticeECP5Platform):
    """The module on its extension board: the UART is that of the programmer there."""

    package, speed, default_clk = "BG381", "6", "clk25"
    resources: ClassVar = [
        Resource("clk25", 0, Pins("P3", dir="i"), Clock(25e6), LVCMOS33),
        UARTResource(0, rx="H18", tx="J17", attrs=LVCMOS33),
    ]
    connectors: ClassVar = []


class ColorlightI5(_Colorlight):
    device = "LFE5U-25F"


class ColorlightI9(_Colorlight):
    device = "LFE5U-45F"


class TangNano20K(GowinPlatform):
    part, family, default_clk = "GW2AR-LV18QN88C8/I7", "GW2AR-18C", "clk27"
    resources: ClassVar = [
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), LVCMOS33),
        UARTResource(0, rx="70", tx="69", attrs=Attrs(PULL_MODE="UP", IO_TYPE="LVCMOS33")),
    ]
    connectors: ClassVar = []


class PynqZ2(XilinxPlatform):
    """The USB-UART belongs to the processor, so the logic has its own at Pmod A."""

    device, package, speed, default_clk = "xc7z020", "clg400", "1", "clk125"
    resources: ClassVar = [
        Resource("clk125", 0, Pins("H16", dir="i"), Clock(125e6), Attrs(IOSTANDARD="LVCMOS33")),
        UARTResource(0, rx="Y18", tx="Y19", attrs=Attrs(IOSTANDARD="LVCMOS33")),
    ]
    connectors: ClassVar = []
