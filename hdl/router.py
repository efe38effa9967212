"""Routers: a tree of them joins the cores to the host."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models import fabric as words
from ..models.contents import NOTHING, Stored
from ..models.fabric import Fabric, Kind, Space
from .shapes import PACKET_LAYOUT, PACKETS, WRITES, layout
from .stream import Buffer, Merge
from .table import Table, Writer

__all__ = ["Fork", "Route", "Router", "routed"]


def routed(ports: int) -> data.StructLayout:
    """A packet and the ports that it leaves by."""
    return data.StructLayout({"packet": PACKET_LAYOUT, "ports": ports})


def toward(router: words.Router, node) -> Value:
    """One bit for each port: that which leads down to a node; the last is for the router itself."""
    below = (Cat((node >= first) & (node < last) for first, last in (branch.cores, branch.routers)).any()
             for branch in router.branches)
    return Cat(0, *below, node == router.node)


class Route(wiring.Component):
    """Finds the ports that a packet leaves by.

    SPIKE and STEP go to the listeners of their key, CREDIT to its source. Others that come from ``above`` are for a node
    and go towards it, or to the last port when that is the router itself; others that come from below go up to the host.

    Members
    -------
    i : packets
    o : stream of routed packets
        Latency 1, one per clock, in order.
    write : stream of 16-bit writes
        For the table ROUTES.
    """

    def __init__(self, fabric: Fabric, router: words.Router, above: bool, stored: Stored = NOTHING):
        self.fabric, self.router, self.above, self.stored = fabric, router, above, stored
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
        packet, valid = Signal(PACKET_LAYOUT), Signal()
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
            with m.Default():
                m.d.comb += self.o.payload.ports.eq(toward(router, packet.key) if self.above else 1)
        return m


class Fork(wiring.Component):
    """One packet to several of so many ports; each takes it when it can.

    Members
    -------
    i : stream of routed packets
    oN : packets
        For each N of ``ways``. Latency 0, one per clock when all take it at once. A packet for none of them is dropped.
    """

    def __init__(self, ports: int, ways: Sequence[int]):
        self.ways = ways
        super().__init__({"i": In(stream.Signature(routed(ports)))} | {f"o{n}": Out(PACKETS) for n in ways})

    def elaborate(self, platform):
        m = Module()
        wanted = Cat(self.i.payload.ports[n] for n in self.ways)
        done = Signal(len(self.ways))  # ports that have the packet already
        taken = Signal(len(self.ways))
        for n, way in enumerate(self.ways):
            o = getattr(self, f"o{way}")
            m.d.comb += [
                o.valid.eq(self.i.valid & wanted[n] & ~done[n]),
                o.payload.eq(self.i.payload.packet),
                taken[n].eq(~wanted[n] | done[n] | o.ready),
            ]
        m.d.comb += self.i.ready.eq(taken.all())
        with m.If(self.i.valid):
            m.d.sync += done.eq(Mux(self.i.ready, 0, done | (taken & wanted)))
        return m


class Descent(wiring.Component):
    """In the place of Route and Fork, for what comes from above to a router with one core below it: that hears all but what
    is for the router itself.

    Members
    -------
    i : packets
    o, own : packets
        Latency 0.
    """

    def __init__(self, router: words.Router):
        self.router = router
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS), "own": Out(PACKETS)})

    def elaborate(self, platform):
        m = Module()
        own = (self.i.payload.kind >= Kind.ADDRESS) & (self.i.payload.key == self.router.node)
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.own.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & ~own),
            self.own.valid.eq(self.i.valid & own),
            self.i.ready.eq(Mux(own, self.own.ready, self.o.ready)),
        ]
        return m


class Router(wiring.Component):
    """Multicast by key, in a tree.

    ::

        i0 ─► Route ─► Buffer ─► Fork ─┬─► Writer                 packets for the router itself come from above
                                       ╪═► Merge ─► oN            for every port N; port 0 leads up
        iN ─► Route ─► Buffer ─► Fork ═╛

    One packet per clock and port, when they do not meet. What came down a tree never goes up again and what goes up
    waits only for what is above it, so no ring of packets can wait for itself. The packets of one source keep their
    order. With one core below it the way down is a :class:`Descent` alone.

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
        m.submodules.writer = writer = Writer({Space.ROUTES: words.route_record(ports).chunks})
        offers = {n: [] for n in range(ports)}  # what may leave by each port
        for n in range(ports):
            i = wiring.flipped(getattr(self, f"i{n}"))
            if n == 0 and len(router.branches) == 1:
                m.submodules.descent = descent = Descent(router)
                wiring.connect(m, i, descent.i)
                wiring.connect(m, descent.own, writer.i)
                offers[1].append(descent.o)
                continue
            ways = range(ports) if n else range(1, ports + 1)
            m.submodules[f"route_{n}"] = route = Route(self.fabric, router, n == 0, self.stored)
            m.submodules[f"buffer_{n}"] = buffer = Buffer(routed(ports + 1))
            m.submodules[f"fork_{n}"] = fork = Fork(ports + 1, ways)
            wiring.connect(m, i, route.i)
            wiring.connect(m, route.o, buffer.i)
            wiring.connect(m, buffer.o, fork.i)
            m.d.comb += [route.write.valid.eq(writer.write.valid), route.write.payload.eq(writer.write.payload)]
            for way in ways:
                if way < ports:
                    offers[way].append(getattr(fork, f"o{way}"))
                else:
                    wiring.connect(m, getattr(fork, f"o{way}"), writer.i)
        for n, streams in offers.items():
            m.submodules[f"merge_{n}"] = merge = Merge(PACKET_LAYOUT, len(streams))
            for k, offer in enumerate(streams):
                wiring.connect(m, offer, getattr(merge, f"i{k}"))
            wiring.connect(m, merge.o, wiring.flipped(getattr(self, f"o{n}")))
        return m
