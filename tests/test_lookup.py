"""Packets of a key into arrivals, against a few lines of Python."""

import random

import pytest

from aerloom.hdl.lookup import INDEXING, Lookup
from aerloom.models.fabric import Kind, Space
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, packet, rows, talk


def random_tables(r):
    """Rows of KEYS and PROJECTIONS."""
    keys = []
    for _ in range(TOY.keys):
        first = r.randrange(TOY.projections)
        heard = r.randrange(2)
        more = heard * r.choice([0, r.randrange(TOY.projections - first)])
        keys.append({"first": first, "more": more, "heard": heard, "several": int(more != 0),
                     "slot": r.randrange(TOY.populations), "home": r.randrange(2)})
    fields = TOY.projection_record.fields
    projections = [{name: r.getrandbits(f.width) for name, f in fields.items()} for _ in range(TOY.projections)]
    return keys, projections


def arrivals(p, keys, projections):
    """What a packet becomes."""
    row = keys[p["key"]]
    common = {"kind": p["kind"], "index": p["index"], "home": row["slot"]}
    if p["kind"] == Kind.CREDIT:
        return [common | {"first": 1}] * row["home"]
    mine = projections[row["first"] : row["first"] + row["more"] + 1] if row["heard"] else []
    return [common | {"projection": {name: q[name] for name in INDEXING}, "number": row["first"] + n,
                      "first": int(n == 0)} for n, q in enumerate(mine)]


def load(simulation, keys, projections):
    send = rows(Space.KEYS, TOY.key_record, keys) + rows(Space.PROJECTIONS, TOY.projection_record, projections)
    talk(simulation, {"write": send}, {})


def random_packet(r):
    return packet(r.choice([Kind.SPIKE, Kind.STEP, Kind.CREDIT]), r.randrange(TOY.keys), r.getrandbits(19))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_packet_arrives_at_all_projections_of_its_key(engine, stall):
    r = random.Random(1)
    with open_engine(Plain(Lookup(TOY), events=["stray"]), engine, stall=stall) as simulation:
        for _ in range(3):
            keys, projections = random_tables(r)
            load(simulation, keys, projections)
            packets = [random_packet(r) for _ in range(many(engine, 800))]
            expected = [arrivals(p, keys, projections) for p in packets]
            flat, strays = [a for some in expected for a in some], expected.count([])
            out = talk(simulation, {"i": packets}, {"o": len(flat), "stray": strays}, drain=20)
            for arrival in out["o"]:
                if arrival["kind"] == Kind.CREDIT:
                    del arrival["projection"], arrival["number"]
            assert out["o"] == flat
            assert len(out["stray"]) == strays


def test_an_arrival_per_clock(engine):
    r = random.Random(2)
    keys, projections = random_tables(r)
    packets = [p for p in (random_packet(r) for _ in range(100)) if arrivals(p, keys, projections)]
    total = sum(len(arrivals(p, keys, projections)) for p in packets)
    with open_engine(Plain(Lookup(TOY), events=["stray"]), engine) as simulation:
        load(simulation, keys, projections)
        before = simulation.cycles
        talk(simulation, {"i": packets}, {"o": total})
        assert simulation.cycles - before == total + 2


def test_what_concerns_nobody_takes_a_clock(engine):
    packets = [packet(Kind.SPIKE, key % TOY.keys, 0) for key in range(100)]
    with open_engine(Plain(Lookup(TOY), events=["stray"]), engine) as simulation:  # its tables hold zeros
        assert len(talk(simulation, {"i": packets}, {"stray": len(packets)})["stray"]) == len(packets)
        assert simulation.cycles <= len(packets) + 2
