"""Several chips and what joins them, as one design: for simulation."""

from collections.abc import Callable

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import EMPTY, Contents
from ..models.fabric import Fabric
from .chip import Chip
from .cluster import Extension
from .shapes import PACKETS
from .wires import Wires

__all__ = ["Joined"]


class Joined(wiring.Component):
    """All the chips of a Fabric, which so is one chip for the host.

    ::

        i ─►      ┌─► way ─► Extension 1
             Chip ┤
        o ◄─      └── way ◄─ …

    Parameters
    ----------
    way : callable
        Makes what stands between two chips, for one direction: a component with packets ``i`` and ``o``.

    Members
    -------
    i, o : packets
        From and to the host.
    """

    def __init__(self, fabric: Fabric, contents: Contents = EMPTY, way: Callable[[], wiring.Component] = Wires):
        self.fabric, self.contents, self.way = fabric, contents, way
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS)})

    def elaborate(self, platform):
        m = Module()
        fabric, contents = self.fabric, self.contents
        chips = [Chip(fabric, contents), *(Extension(fabric, n, contents) for n in range(1, fabric.chips))]
        wiring.connect(m, wiring.flipped(self.i), chips[0].i)
        wiring.connect(m, chips[0].o, wiring.flipped(self.o))
        for n, chip in enumerate(chips):
            m.submodules[f"chip_{n}"] = chip
            for k in fabric.below(n):
                there, back = self.way(), self.way()
                m.submodules += [there, back]
                wiring.connect(m, getattr(chip, f"tx{k}"), there.i)
                wiring.connect(m, there.o, chips[k].rx)
                wiring.connect(m, chips[k].tx, back.i)
                wiring.connect(m, back.o, getattr(chip, f"rx{k}"))
        return m
