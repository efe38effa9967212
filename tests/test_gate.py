"""What comes into the chip, and when."""

import random

import pytest

from aerloom.hdl.gate import Entrance
from aerloom.models.fabric import CHIP, Kind, Space
from aerloom.sim.engine import open_engine
from aerloom.sim.traffic import Stuck
from tests.wrap import TOY, Plain, many, packet, talk, writes

NODES = TOY.cores + TOY.routers
GATES = [{"known": 1, "credits": 0, "credits_first": 0}, {"known": 0}, {"known": 1}]  # nothing waits


def entrance(engine, stall, gates, **options):
    simulation = open_engine(Plain(Entrance(TOY), events=["started", "stray"]), engine, stall=stall, **options)
    talk(simulation, {"write": writes(Space.GATES, TOY.gate_record, gates)}, {})
    talk(simulation, {"restart": [1]}, {})
    return simulation


def way(p):
    """Where a packet goes."""
    kind, key = p["kind"], p["key"]
    if kind in (Kind.SPIKE, Kind.STEP):
        return "o" if key < len(GATES) and GATES[key]["known"] else "stray"
    if kind in (Kind.ADDRESS, Kind.WRITE, Kind.READ):
        return "own" if key == CHIP else "o" if key < NODES else "stray"
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


@pytest.mark.parametrize("key", range(3))
@pytest.mark.parametrize("kind", [Kind.SPIKE, Kind.STEP])
def test_a_step_waits_for_its_credits(engine, key, kind):
    """The first and the second step pass with all of their credits, and do not begin with one less."""
    first, second = HELD[key]["credits_first"], HELD[key]["credits"]
    step = [packet(Kind.SPIKE, key, 1), packet(Kind.SPIKE, key, 2), packet(Kind.STEP, key)]
    others = [(key + n) % 3 for n in (1, 2, 3, 4)]
    others = [n for n in others if n != key]
    for missing in range(3):  # nothing, a credit of the second step, a credit of the first step
        with entrance(engine, 0.3, HELD, budget=100) as simulation:
            paid = first - (missing == 2)
            if paid < 0:
                continue
            talk(simulation, {"credit": [key] * paid + others}, {}, drain=9)
            if missing == 2:
                with pytest.raises(Stuck, match=r"i still has 1 word to send, o still owes 1 word$"):
                    talk(simulation, {"i": [packet(kind, key)]}, {"o": 1})
                continue
            assert talk(simulation, {"i": step}, {"o": 3, "started": 3}, drain=9)["o"] == step
            talk(simulation, {"credit": [key] * (second - missing) + others}, {}, drain=9)
            if missing:
                with pytest.raises(Stuck, match=r"i still has 1 word to send, o still owes 1 word$"):
                    talk(simulation, {"i": [packet(kind, key)]}, {"o": 1})
            else:
                assert talk(simulation, {"i": [packet(kind, key)]}, {"o": 1})["o"] == [packet(kind, key)]


def test_a_credit_lets_the_next_step_in(engine):
    with entrance(engine, 0.3, HELD) as simulation:
        for n in range(many(engine, 200)):
            step = [packet(Kind.SPIKE, 1, n), packet(Kind.STEP, 1, n)]
            credits = [1] * HELD[1]["credits"] if n else []
            assert talk(simulation, {"i": step, "credit": credits}, {"o": 2}, drain=5)["o"] == step


def test_spikes_pass_at_one_per_clock(engine):
    with entrance(engine, 0.0, GATES) as simulation:
        talk(simulation, {}, {}, drain=20)
        before = simulation.cycles
        talk(simulation, {"i": [packet(Kind.SPIKE, 0, n) for n in range(50)]}, {"o": 50})
        assert simulation.cycles - before == 50
