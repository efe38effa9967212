"""Routers: a tree of them joins the cores to the host."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models import fabric as words
from ..models.contents import NOTHING, Stored
from ..models.fabric import Fabric, Kind, Space
from .shapes import PACKET_LAYOUT, PACKETS, WRITES, layout
from .stream import Buffer, Merge
from .table import Loader, Table

__all__ = ["Fork", "Route", "Router", "routed"]


def routed(ports: int) -> data.StructLayout:
    """A packet and the ports that it leaves by."""
    return data.StructLayout({"packet": PACKET_LAYOUT, "ports": ports})


class Route(wiring.Component):
    """Finds the ports that a packet leaves by.

    SPIKE and STEP go to the listeners of their key, CREDIT to its source, VALUE up to the host; packets for a node go
    towards it, or to the last port when they are for the router itself.

    Members
    -------
    i : packets
    o : stream of routed packets
        Latency 1, one per clock, in order.
    write : stream of 16-bit writes
        For the table ROUTES.
    """

    def __init__(self, fabric: Fabric, router: words.Router, stored: Stored = NOTHING):
        self.fabric, self.router, self.stored = fabric, router, stored
        super().__init__(
            {"i": In(PACKETS), "o": Out(stream.Signature(routed(router.ports + 1))), "write": In(WRITES)}
        )

    def elaborate(self, platform):
        m = Module()
        router, ports = self.router, self.router.ports
        m.submodules.routes = routes = Table(
            Space.ROUTES, layout(words.route_record(ports)), self.fabric.keys, stored=self.stored
        )
        wiring.connect(m, wiring.flipped(self.write), routes.write)
        packet, valid, node = Signal(PACKET_LAYOUT), Signal(), Signal(ports + 1)
        m.d.comb += [
            self.i.ready.eq(~valid | self.o.ready),
            routes.address.eq(self.i.payload.key),
            routes.enable.eq(self.i.ready),
            self.o.valid.eq(valid),
            self.o.payload.packet.eq(packet),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), packet.eq(self.i.payload)]
        with m.Switch(packet.kind):
            with m.Case(Kind.SPIKE, Kind.STEP):
                m.d.comb += self.o.payload.ports.eq(routes.data.listeners)
            with m.Case(Kind.CREDIT):
                m.d.comb += self.o.payload.ports.eq(1 << routes.data.home)
            with m.Case(Kind.VALUE):
                m.d.comb += self.o.payload.ports.eq(1)
            with m.Default():
                m.d.comb += self.o.payload.ports.eq(node)
                with m.If(packet.key == router.node):
                    m.d.comb += node.eq(1 << ports)
                for port, branch in enumerate(router.branches, 1):
                    for first, last in (branch.cores, branch.routers):
                        with m.If((packet.key >= first) & (packet.key < last)):
                            m.d.comb += node.eq(1 << port)
        return m


class Fork(wiring.Component):
    """One packet to several ports; each takes it when it can.

    Members
    -------
    i : stream of routed packets
    o0, o1, … : packets
        Latency 0, one per clock when all take it at once. A packet for no port is dropped.
    """

    def __init__(self, ports: int):
        self.ports = ports
        super().__init__(
            {"i": In(stream.Signature(routed(ports)))} | {f"o{n}": Out(PACKETS) for n in range(ports)}
        )

    def elaborate(self, platform):
        m = Module()
        done = Signal(self.ports)  # ports that have the packet already
        taken = Signal(self.ports)
        for n in range(self.ports):
            o = getattr(self, f"o{n}")
            m.d.comb += [
                o.valid.eq(self.i.valid & self.i.payload.ports[n] & ~done[n]),
                o.payload.eq(self.i.payload.packet),
                taken[n].eq(~self.i.payload.ports[n] | done[n] | o.ready),
            ]
        m.d.comb += self.i.ready.eq(taken.all())
        with m.If(self.i.valid):
            m.d.sync += done.eq(Mux(self.i.ready, 0, done | (taken & self.i.payload.ports)))
        return m


class Router(wiring.Component):
    """Multicast by key, in a tree.

    ::

        iN ─► Route ─► Buffer ─► Fork ═╪═► Merge ─► oN         for every port N; port 0 leads up
                                       └─► Merge ─► Loader      for packets to the router itself

    One packet per clock and port, when they do not meet. What came down a tree never goes up again and what goes up
    waits only for what is above it, so no ring of packets can wait for itself. The packets of one source keep their
    order.

    Members
    -------
    i0, i1, … and o0, o1, … : packets
    """

    def __init__(self, fabric: Fabric, router: words.Router, stored: Stored = NOTHING):
        self.fabric, self.router, self.stored = fabric, router, stored
        super().__init__(
            {f"i{n}": In(PACKETS) for n in range(router.ports)} | {f"o{n}": Out(PACKETS) for n in range(router.ports)}
        )

    def elaborate(self, platform):
        m = Module()
        router, ports = self.router, self.router.ports
        m.submodules.loader = loader = Loader(router.node, {Space.ROUTES: words.route_record(ports).chunks})
        forks = []
        for n in range(ports):
            m.submodules[f"route_{n}"] = route = Route(self.fabric, router, self.stored)
            m.submodules[f"buffer_{n}"] = buffer = Buffer(routed(ports + 1))
            m.submodules[f"fork_{n}"] = fork = Fork(ports + 1)
            wiring.connect(m, wiring.flipped(getattr(self, f"i{n}")), route.i)
            wiring.connect(m, route.o, buffer.i)
            wiring.connect(m, buffer.o, fork.i)
            m.d.comb += [route.write.valid.eq(loader.write.valid), route.write.payload.eq(loader.write.payload)]
            forks.append(fork)
        for n in range(ports):
            # what the router itself has to say goes up
            m.submodules[f"merge_{n}"] = merge = Merge(PACKET_LAYOUT, ports + (n == 0))
            for k, fork in enumerate(forks):
                wiring.connect(m, getattr(fork, f"o{n}"), getattr(merge, f"i{k}"))
            if n == 0:
                wiring.connect(m, loader.o, getattr(merge, f"i{ports}"))
            wiring.connect(m, merge.o, wiring.flipped(getattr(self, f"o{n}")))
        m.submodules.merge_own = own = Merge(PACKET_LAYOUT, ports)
        for k, fork in enumerate(forks):
            wiring.connect(m, getattr(fork, f"o{ports}"), getattr(own, f"i{k}"))
        wiring.connect(m, own.o, loader.i)
        m.d.comb += loader.read.ready.eq(1)  # its tables cannot be read back: a READ is answered by zeros
        m.d.sync += loader.data.valid.eq(loader.read.valid)
        return m
