"""Packets through routers, against sets of ports."""

import random

import numpy as np
import pytest

from aerloom.hdl.router import Fork, Route, Router
from aerloom.models.fabric import CHIP, SPACE, Kind, Space, route_record
from aerloom.models.place import split
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, packet, rows, talk

TREE = TOY.tree()
ROOT, LEAF = TREE[0], TREE[1]  # four cores: the root joins two leaves
ROUTERS = pytest.mark.parametrize("node", [ROOT, LEAF], ids=["root", "leaf"])
RECORD = route_record(3)
KINDS = list(Kind)


def random_routes(r):
    return [{"listeners": r.getrandbits(3), "home": r.randrange(3)} for _ in range(TOY.keys)]


def random_packet(r, index):
    kind = r.choice(KINDS)
    if kind in (Kind.SPIKE, Kind.STEP, Kind.CREDIT):
        return packet(kind, r.randrange(TOY.keys), index)
    return packet(kind, r.choice([*range(TOY.cores + TOY.routers + 2), CHIP]), index)


def ports(p, routes, node):
    """The ports that a packet leaves by; 3 is the router's own."""
    kind, key = p["kind"], p["key"]
    if kind in (Kind.SPIKE, Kind.STEP):
        return {n for n in range(3) if routes[key]["listeners"] >> n & 1}
    if kind == Kind.CREDIT:
        return {routes[key]["home"]}
    if kind == Kind.VALUE:
        return {0}
    if key == node.node:
        return {3}
    return {n for n, b in enumerate(node.branches, 1) for first, last in (b.cores, b.routers) if first <= key < last}


@ROUTERS
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_route_is_found_for_every_kind_and_key(engine, node, stall):
    r = random.Random(1)
    with open_engine(Plain(Route(TOY, node)), engine, stall=stall) as simulation:
        for _ in range(3):
            routes = random_routes(r)
            talk(simulation, {"write": rows(Space.ROUTES, RECORD, routes)}, {})
            packets = [random_packet(r, n) for n in range(many(engine, 1000))]
            expected = [{"packet": p, "ports": sum(1 << n for n in ports(p, routes, node))} for p in packets]
            before = simulation.cycles
            assert talk(simulation, {"i": packets}, {"o": len(packets)})["o"] == expected
            assert stall or simulation.cycles - before == len(packets) + 1


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_fork_gives_every_port_its_copy(engine, stall):
    r = random.Random(2)
    routed = [{"packet": packet(Kind.SPIKE, 0, n), "ports": r.getrandbits(3)} for n in range(many(engine, 1000))]
    expected = {f"o{n}": [i["packet"] for i in routed if i["ports"] >> n & 1] for n in range(3)}
    with open_engine(Plain(Fork(3)), engine, stall=stall) as simulation:
        counts = {name: len(packets) for name, packets in expected.items()}
        assert talk(simulation, {"i": routed}, counts, drain=5) == expected
        assert stall or simulation.cycles == len(routed) + 5


def to_routes(routes, node):
    """Packets that load them."""
    chunks = split([RECORD.pack(**row) for row in routes], RECORD.chunks).reshape(-1).tolist()
    return [packet(Kind.ADDRESS, node.node, SPACE.pack(address=0, space=int(Space.ROUTES)))] + [
        packet(Kind.WRITE, node.node, chunk) for chunk in chunks
    ]


@pytest.mark.every_engine
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_packets_reach_every_listener_once_and_in_order(engine, stall):
    r, node = random.Random(3), ROOT
    routes = random_routes(r)
    count = many(engine, 600)
    send = {f"i{n}": [random_packet(r, n << 12 | k) for k in range(count)] for n in range(3)}
    out = {}
    for packets in send.values():  # what a router says itself is for other tests
        packets[:] = [p for p in packets if p["key"] != node.node or 3 not in ports(p, routes, node)]
    expected = {
        (f"o{port}", name): [p for p in packets if port in ports(p, routes, node)]
        for name, packets in send.items()
        for port in range(3)
    }
    counts = {f"o{port}": sum(len(expected[f"o{port}", name]) for name in send) for port in range(3)}
    with open_engine(Router(TOY, node), engine, stall=stall) as simulation:
        talk(simulation, {"i0": to_routes(routes, node)}, {}, drain=50)
        out = talk(simulation, send, counts, drain=20)
    assert {name: len(packets) for name, packets in out.items()} == counts
    for (port, name), packets in expected.items():
        assert [p for p in out[port] if p["index"] >> 12 == int(name[1])] == packets


def test_a_router_answers_for_itself(engine):
    asked = [packet(Kind.READ, ROOT.node, 3), packet(Kind.READ, ROOT.node, 2)]
    with open_engine(Router(TOY, ROOT), engine, stall=0.3) as simulation:
        out = talk(simulation, {"i0": asked[:1], "i2": asked[1:]}, {"o0": 5}, drain=20)
    assert out == {"o0": [packet(Kind.VALUE, ROOT.node)] * 5, "o1": [], "o2": []}


def test_a_packet_per_clock_and_port(engine):
    ring = [{"listeners": 1 << (n + 1) % 3, "home": 0} for n in range(3)]  # key n: from port n to the next one
    with open_engine(Router(TOY, ROOT), engine) as simulation:
        talk(simulation, {"i1": to_routes(ring, ROOT)}, {}, drain=50)
        taken = []
        for count in (1, 100):
            before = simulation.cycles
            send = {f"i{n}": [packet(Kind.SPIKE, n, 0)] * count for n in range(3)}
            talk(simulation, send, {f"o{n}": count for n in range(3)})
            taken.append(simulation.cycles - before)
    assert np.diff(taken) == [99]
