"""The cores of one chip, the routers between them, and the ways to the chips below."""

from amaranth.hdl import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import EMPTY, Contents
from ..models.fabric import Fabric
from .core import Core
from .joint import Lower, Upper
from .shapes import PACKET_LAYOUT, PACKETS
from .stream import Queue
from .tree import Tree

__all__ = ["Cluster", "Extension", "pass_down", "ways_down"]


def ways_down(fabric: Fabric, chip: int) -> dict:
    """The members of a chip that lead to the chips below it: ``txK`` to chip K, and ``rxK`` from there."""
    return {f"{way}{k}": flow(PACKETS) for k in fabric.below(chip) for way, flow in (("tx", Out), ("rx", In))}


def pass_down(m, fabric: Fabric, chip: int, inner, outer) -> None:
    """Connect these members of a chip to those of a component in it."""
    for k in fabric.below(chip):
        wiring.connect(m, getattr(inner, f"tx{k}"), wiring.flipped(getattr(outer, f"tx{k}")))
        wiring.connect(m, wiring.flipped(getattr(outer, f"rx{k}")), getattr(inner, f"rx{k}"))


class Cluster(wiring.Component):
    """All of a chip that does not depend on who is above it.

    ::

        i, o ═╪═ Tree ═╪═ (Queue) ═ Core …
                 ╪
               Upper ═ tx1, rx1

    A core that takes a step hears nobody meanwhile; with a queue in front of it, nobody waits for that who speaks to other
    cores too.

    Members
    -------
    i, o : packets
        From and to the host, or the chip above.
    txK, rxK : packets
        To and from chip K.
    """

    def __init__(self, fabric: Fabric, chip: int = 0, contents: Contents = EMPTY):
        self.fabric, self.chip, self.contents = fabric, chip, contents
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS)} | ways_down(fabric, chip))

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        m.submodules.tree = tree = Tree(fabric, self.chip, self.contents)
        wiring.connect(m, wiring.flipped(self.i), tree.i)
        wiring.connect(m, tree.o, wiring.flipped(self.o))
        for n in range(*fabric.spans[self.chip]):
            m.submodules[f"core_{n}"] = core = Core(fabric, n, self.contents[n])
            down = getattr(tree, f"down{n}")
            if fabric.queue:
                m.submodules[f"queue_{n}"] = queue = Queue(PACKET_LAYOUT, fabric.queue)
                wiring.connect(m, down, queue.i)
                down = queue.o
            wiring.connect(m, down, core.i)
            wiring.connect(m, core.o, getattr(tree, f"up{n}"))
        for k in fabric.below(self.chip):
            m.submodules[f"upper_{k}"] = upper = Upper()
            wiring.connect(m, getattr(tree, f"to{k}"), upper.i)
            wiring.connect(m, upper.o, getattr(tree, f"from{k}"))
            wiring.connect(m, upper.tx, wiring.flipped(getattr(self, f"tx{k}")))
            wiring.connect(m, wiring.flipped(getattr(self, f"rx{k}")), upper.rx)
        return m


class Extension(wiring.Component):
    """A chip that takes its packets from another chip.

    Members
    -------
    rx, tx : packets
        From and to the chip above.
    txK, rxK : packets
        To and from chip K, below this one.
    """

    def __init__(self, fabric: Fabric, chip: int, contents: Contents = EMPTY):
        self.fabric, self.chip, self.contents = fabric, chip, contents
        super().__init__({"rx": In(PACKETS), "tx": Out(PACKETS)} | ways_down(fabric, chip))

    def elaborate(self, platform):
        m = Module()
        m.submodules.lower = lower = Lower()
        m.submodules.cluster = cluster = ResetInserter(lower.resets)(Cluster(self.fabric, self.chip, self.contents))
        wiring.connect(m, wiring.flipped(self.rx), lower.rx)
        wiring.connect(m, lower.tx, wiring.flipped(self.tx))
        wiring.connect(m, lower.o, cluster.i)
        wiring.connect(m, cluster.o, lower.i)
        pass_down(m, self.fabric, self.chip, cluster, self)
        return m
