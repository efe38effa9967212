"""Packets through routers, against sets of ports."""

import dataclasses
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


def random_packet(r, index, above):
    kind = r.choice(KINDS if above else [Kind.SPIKE, Kind.STEP, Kind.CREDIT, Kind.VALUE])
    if kind in (Kind.SPIKE, Kind.STEP, Kind.CREDIT):
        return packet(kind, r.randrange(TOY.keys), index)
    return packet(kind, r.choice([*range(TOY.cores + TOY.routers + 2), CHIP]), index)


def ports(p, routes, node, above):
    """The ports that a packet leaves by, that came from above or from below; 3 is the router's own."""
    kind, key = p["kind"], p["key"]
    if kind in (Kind.SPIKE, Kind.STEP):
        return {n for n in range(3) if routes[key]["listeners"] >> n & 1}
    if kind == Kind.CREDIT:
        return {routes[key]["home"]}
    if not above:
        return {0}
    if key == node.node:
        return {3}
    return {n for n, b in enumerate(node.branches, 1) for first, last in (b.cores, b.routers) if first <= key < last}


@ROUTERS
@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_route_is_found_for_every_kind_and_key(engine, node, stall, above):
    r = random.Random(1)
    with open_engine(Plain(Route(TOY, node, above)), engine, stall=stall) as simulation:
        for _ in range(3):
            routes = random_routes(r)
            talk(simulation, {"write": rows(Space.ROUTES, RECORD, routes)}, {}, drain=2)
            packets = [random_packet(r, n, above) for n in range(many(engine, 1000))]
            expected = [{"packet": p, "ports": sum(1 << n for n in ports(p, routes, node, above))} for p in packets]
            before = simulation.cycles
            assert talk(simulation, {"i": packets}, {"o": len(packets)})["o"] == expected
            assert stall or simulation.cycles - before == len(packets) + 1


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_fork_gives_every_port_its_copy(engine, stall):
    r, ways = random.Random(2), (0, 2, 3)
    routed = [{"packet": packet(Kind.SPIKE, 0, n), "ports": r.getrandbits(4)} for n in range(many(engine, 1000))]
    expected = {f"o{n}": [i["packet"] for i in routed if i["ports"] >> n & 1] for n in ways}
    with open_engine(Plain(Fork(4, ways)), engine, stall=stall) as simulation:
        counts = {name: len(packets) for name, packets in expected.items()}
        assert talk(simulation, {"i": routed}, counts, drain=5) == expected
        assert stall or simulation.cycles == len(routed) + 5


def to_routes(routes, node, record=RECORD):
    """Packets that load them."""
    chunks = split([record.pack(**row) for row in routes], record.chunks).reshape(-1).tolist()
    return [packet(Kind.ADDRESS, node.node, SPACE.pack(address=0, space=int(Space.ROUTES)))] + [
        packet(Kind.WRITE, node.node, chunk) for chunk in chunks
    ]


@pytest.mark.every_engine
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_packets_reach_every_listener_once_and_in_order(engine, stall):
    r, node = random.Random(3), ROOT
    routes = random_routes(r)
    count = many(engine, 600)
    send = {f"i{n}": [random_packet(r, n << 12 | k, n == 0) for k in range(count)] for n in range(3)}
    send["i0"] = [p for p in send["i0"] if 3 not in ports(p, routes, node, True)]  # its routes stay as they are
    expected = {
        (f"o{port}", name): [p for p in packets if port in ports(p, routes, node, name == "i0")]
        for name, packets in send.items()
        for port in range(3)
    }
    expected["o0", "i0"] = []  # what came down never goes up
    counts = {f"o{port}": sum(len(expected[f"o{port}", name]) for name in send) for port in range(3)}
    with open_engine(Router(TOY, node), engine, stall=stall) as simulation:
        talk(simulation, {"i0": to_routes(routes, node)}, {}, drain=50)
        out = talk(simulation, send, counts, drain=20)
    assert {name: len(packets) for name, packets in out.items()} == counts
    for (port, name), packets in expected.items():
        assert [p for p in out[port] if p["index"] >> 12 == int(name[1])] == packets


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_one_core_hears_all_but_what_is_for_the_router(engine, stall):
    r, fabric = random.Random(4), dataclasses.replace(TOY, cores=1)
    (node,) = fabric.tree()
    record = route_record(2)
    routes = [{"listeners": r.getrandbits(2), "home": r.randrange(2)} for _ in range(TOY.keys)]
    count = many(engine, 600)
    down = [random_packet(r, k, True) for k in range(count)]
    down = [p for p in down if p["key"] != node.node or p["kind"] < Kind.ADDRESS]
    up = [random_packet(r, 1 << 12 | k, False) for k in range(count)]
    ways = [ports(p, routes, node, False) for p in up]
    with open_engine(Router(fabric, node), engine, stall=stall) as simulation:
        talk(simulation, {"i0": to_routes(routes, node, record)}, {}, drain=50)
        counts = {f"o{port}": sum(port in way for way in ways) + port * len(down) for port in range(2)}
        out = talk(simulation, {"i0": down, "i1": up}, counts, drain=20)
    assert {name: len(packets) for name, packets in out.items()} == counts
    for port in range(2):
        meant = [p for p, way in zip(up, ways, strict=True) if port in way]
        assert [p for p in out[f"o{port}"] if p["index"] >> 12] == meant
    assert [p for p in out["o1"] if not p["index"] >> 12] == down


def test_a_packet_per_clock_and_port(engine):
    ring = [{"listeners": 1 << (n + 1) % 3, "home": 0} for n in range(3)]  # key n: from port n to the next one
    with open_engine(Router(TOY, ROOT), engine) as simulation:
        talk(simulation, {"i0": to_routes(ring, ROOT)}, {}, drain=50)
        taken = []
        for count in (1, 100):
            before = simulation.cycles
            send = {f"i{n}": [packet(Kind.SPIKE, n, 0)] * count for n in range(3)}
            talk(simulation, send, {f"o{n}": count for n in range(3)})
            taken.append(simulation.cycles - before)
    assert np.diff(taken) == [99]
