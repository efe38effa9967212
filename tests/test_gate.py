"""What comes into the chip, and when."""

import dataclasses
import random

import pytest

from aerloom.hdl.gate import Entrance
from aerloom.models.fabric import CHIP, Kind, Space
from aerloom.sim.engine import open_engine
from aerloom.sim.traffic import Stuck
from tests.wrap import TOY, Plain, many, packet, rows, talk

FABRIC = dataclasses.replace(TOY, inputs=4)
NODES = FABRIC.cores + FABRIC.routers
GATES = [{"known": 1, "credits": 0, "credits_first": 0}, {"known": 0}, {"known": 1}, {"known": 0}]  # nothing waits


def entrance(engine, stall, gates, **options):
    simulation = open_engine(Plain(Entrance(FABRIC), events=["started", "stray"]), engine, stall=stall, **options)
    talk(simulation, {"write": rows(Space.GATES, FABRIC.gate_record, gates)}, {})
    talk(simulation, {"restart": [1]}, {}, drain=20)
    return simulation


def way(p):
    """Where a packet goes."""
    kind, key = p["kind"], p["key"]
    if kind in (Kind.SPIKE, Kind.STEP):
        return "o" if key < len(GATES) and GATES[key]["known"] else "stray"
    if kind in (Kind.ADDRESS, Kind.WRITE, Kind.READ):
        there = FABRIC.cores if kind == Kind.READ else NODES  # routers have nothing to say
        return "own" if key == CHIP else "o" if key < there else "stray"
    return "stray"


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_strays_of_every_kind_are_dropped_and_counted(engine, stall):
    r = random.Random(1)
    keys = [*range(NODES + 2), 8, 16, 16 + 1, CHIP - 1, CHIP]
    packets = [packet(kind, key, r.getrandbits(19)) for kind in Kind for key in keys] * many(engine, 10)
    r.shuffle(packets)
    ways = {name: [p for p in packets if way(p) == name] for name in ("o", "own", "stray")}
    started = sum(p["kind"] in (Kind.SPIKE, Kind.STEP) for p in ways["o"])
    with entrance(engine, stall, GATES) as simulation:
        counts = {name: len(items) for name, items in ways.items()}
        out = talk(simulation, {"i": packets}, counts | {"started": started}, drain=20)
    assert (out["o"], out["own"]) == (ways["o"], ways["own"])
    assert (len(out["stray"]), len(out["started"])) == (counts["stray"], started)


HELD = [
    {"known": 1, "credits": 2, "credits_first": 1},
    {"known": 1, "credits": 3, "credits_first": 0},
    {"known": 1, "credits": 1, "credits_first": 2},
]


@pytest.mark.parametrize("key, missing", [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)])
def test_the_first_step_waits_for_its_credits(engine, key, missing):
    others = [n for n in (0, 2) if n != key]  # their credits do not help
    with entrance(engine, 0.3, HELD, budget=100) as simulation:
        talk(simulation, {"credit": [key] * (HELD[key]["credits_first"] - missing) + others}, {}, drain=9)
        assert passes(simulation, packet(Kind.SPIKE, key)) == (not missing)


@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.STEP])
@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("key", range(3))
def test_the_next_step_waits_for_its_credits(engine, key, missing, kind):
    step = [packet(Kind.SPIKE, key, 1), packet(Kind.SPIKE, key, 2), packet(Kind.STEP, key)]
    with entrance(engine, 0.3, HELD, budget=100) as simulation:
        talk(simulation, {"credit": [key] * HELD[key]["credits_first"]}, {}, drain=9)
        assert talk(simulation, {"i": step}, {"o": 3, "started": 3}, drain=9)["o"] == step
        talk(simulation, {"credit": [key] * (HELD[key]["credits"] - missing)}, {}, drain=9)
        assert passes(simulation, packet(kind, key)) == (not missing)


def passes(simulation, p):
    """Whether a packet gets through the gate."""
    try:
        return talk(simulation, {"i": [p]}, {"o": 1})["o"] == [p]
    except Stuck:
        return False


def test_a_credit_lets_the_next_step_in(engine):
    with entrance(engine, 0.3, HELD) as simulation:
        for n in range(many(engine, 200)):
            step = [packet(Kind.SPIKE, 1, n), packet(Kind.STEP, 1, n)]
            credits = [1] * HELD[1]["credits"] if n else []
            assert talk(simulation, {"i": step, "credit": credits}, {"o": 2}, drain=5)["o"] == step


def test_spikes_pass_at_one_per_clock(engine):
    with entrance(engine, 0.0, GATES) as simulation:
        before = simulation.cycles
        talk(simulation, {"i": [packet(Kind.SPIKE, 0, n) for n in range(50)]}, {"o": 50})
        assert simulation.cycles - before == 50
