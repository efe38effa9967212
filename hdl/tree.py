"""The tree of routers that joins the cores of a chip, the host and other chips."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import EMPTY, Contents
from ..models.fabric import Fabric
from .router import Router
from .shapes import PACKETS

__all__ = ["Tree"]


class Tree(wiring.Component):
    """The routers of one chip: a part of the whole tree, with one way up.

    ::

        i, o ═╪═ Router ═╪═ Router … ═╪═ down3, up3        (core 3 of this chip)
                  ╪
              to2, from2                                   (chip 2, which has that branch)

    Members
    -------
    i, o : packets
        From and to the host or, in any chip but the first, the chip above.
    downN, upN : packets
        To and from core N.
    toK, fromK : packets
        To and from chip K, where a branch begins whose cores are there.
    """

    def __init__(self, fabric: Fabric, chip: int = 0, contents: Contents = EMPTY):
        self.fabric, self.chip, self.contents = fabric, chip, contents
        members = {"i": In(PACKETS), "o": Out(PACKETS)}
        for n in range(*fabric.spans[chip]):
            members |= {f"down{n}": Out(PACKETS), f"up{n}": In(PACKETS)}
        for k in fabric.below(chip):
            members |= {f"to{k}": Out(PACKETS), f"from{k}": In(PACKETS)}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        routers = {}
        for router in fabric.tree():
            if fabric.chip(router.cores[0]) == self.chip:
                routers[router.cores] = Router(fabric, router, self.contents[router.node])
                m.submodules[f"router_{router.node - fabric.cores}"] = routers[router.cores]

        def end(cores, whole):
            """What leads to a range of cores: the router that has them below it (``whole``), a core, or a chip."""
            if (chip := fabric.chip(cores[0])) != self.chip:
                return wiring.flipped(getattr(self, f"to{chip}")), wiring.flipped(getattr(self, f"from{chip}"))
            if cores in routers and (whole or cores[1] - cores[0] > 1):
                return routers[cores].i0, routers[cores].o0
            return tuple(wiring.flipped(getattr(self, f"{way}{cores[0]}")) for way in ("down", "up"))

        top = fabric.spans[self.chip] if self.chip else (0, fabric.cores)
        down, up = end(top, True)
        wiring.connect(m, wiring.flipped(self.i), down)
        wiring.connect(m, up, wiring.flipped(self.o))
        for router in routers.values():
            for port, branch in enumerate(router.router.branches, 1):
                down, up = end(branch.cores, False)
                wiring.connect(m, getattr(router, f"o{port}"), down)
                wiring.connect(m, up, getattr(router, f"i{port}"))
        return m
