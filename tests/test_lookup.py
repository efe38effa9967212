"""Packets of a key into arrivals, against a few lines of Python."""

import random

import pytest

from aerloom.hdl.lookup import Lookup
from aerloom.models.fabric import Kind, Space
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, packet, rows, talk


def random_keys(r):
    """Rows of KEYS."""
    keys = []
    for _ in range(TOY.keys):
        first = r.randrange(TOY.projections)
        heard = r.randrange(2)
        more = heard * r.choice([0, r.randrange(TOY.projections - first)])
        keys.append({"first": first, "more": more, "heard": heard, "several": int(more != 0),
                     "slot": r.randrange(TOY.populations), "home": r.randrange(2)})
    return keys


def arrivals(p, keys):
    """What a packet becomes."""
    row = keys[p["key"]]
    common = {"kind": p["kind"], "index": p["index"], "home": row["slot"]}
    if p["kind"] == Kind.CREDIT:
        return [common | {"first": 1}] * row["home"]
    mine = range(row["first"], row["first"] + row["more"] + 1) if row["heard"] else ()
    return [common | {"number": number, "first": int(number == row["first"])} for number in mine]


def load(simulation, keys):
    talk(simulation, {"write": rows(Space.KEYS, TOY.key_record, keys)}, {})


def random_packet(r):
    return packet(r.choice([Kind.SPIKE, Kind.STEP, Kind.CREDIT]), r.randrange(TOY.keys), r.getrandbits(19))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_packet_arrives_at_all_projections_of_its_key(engine, stall):
    r = random.Random(1)
    with open_engine(Plain(Lookup(TOY), events=["stray"]), engine, stall=stall) as simulation:
        for _ in range(3):
            keys = random_keys(r)
            load(simulation, keys)
            packets = [random_packet(r) for _ in range(many(engine, 800))]
            expected = [arrivals(p, keys) for p in packets]
            flat, strays = [a for some in expected for a in some], expected.count([])
            out = talk(simulation, {"i": packets}, {"o": len(flat), "stray": strays}, drain=20)
            for arrival in out["o"]:
                if arrival["kind"] == Kind.CREDIT:
                    del arrival["number"]
            assert out["o"] == flat
            assert len(out["stray"]) == strays


def test_an_arrival_per_clock(engine):
    r = random.Random(2)
    keys = random_keys(r)
    packets = [p for p in (random_packet(r) for _ in range(100)) if arrivals(p, keys)]
    total = sum(len(arrivals(p, keys)) for p in packets)
    with open_engine(Plain(Lookup(TOY), events=["stray"]), engine) as simulation:
        load(simulation, keys)
        before = simulation.cycles
        talk(simulation, {"i": packets}, {"o": total})
        assert simulation.cycles - before == total + 1


def test_what_concerns_nobody_takes_a_clock(engine):
    packets = [packet(Kind.SPIKE, key % TOY.keys, 0) for key in range(100)]
    with open_engine(Plain(Lookup(TOY), events=["stray"]), engine) as simulation:  # its tables hold zeros
        assert len(talk(simulation, {"i": packets}, {"stray": len(packets)})["stray"]) == len(packets)
        assert simulation.cycles <= len(packets) + 2
