"""Spikes and sweeps into row operations, against a few lines of Python."""

import dataclasses
import random

import pytest

from aerloom.hdl.walk import Walk
from aerloom.models.fabric import Kind
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, talk

FABRICS = pytest.mark.parametrize("fabric", [TOY, dataclasses.replace(TOY, update_lanes=4)], ids=["2of4", "4of4"])


def walk(fabric):
    return Plain(Walk(fabric), events=["taken", "stray", "operations"])


def cleared(simulation, fabric):
    """The operations that follow a reset."""
    return talk(simulation, {"restart": [1]}, {"o": fabric.rows}, drain=5)["o"]


def random_arrival(r, fabric, kind=None):
    stride = r.randint(1, 9)
    rows = r.randint(0, fabric.rows)
    return {
        "kind": r.choice([Kind.SPIKE] * 8 + [Kind.STEP, Kind.CREDIT]) if kind is None else kind,
        "index": r.choice([r.randrange(stride), r.randrange(stride), stride - 1, stride, r.getrandbits(19)]),
        "slot": r.randrange(fabric.populations),
        "projection": {
            "weights": r.randint(0, fabric.weight_words - 1),
            "stride": stride,
            "row": r.randint(0, fabric.rows - max(1, rows)),
            "rows": rows,
            "fanout": r.randint(1, fabric.neurons),
            "slot": 0,  # the arrival's own is meant
            "late": r.randrange(2),
        },
        "first": r.randrange(2),
    }


def adds(arrival, fresh, fabric):
    """Operations (row, weights) of an arrival."""
    p = arrival["projection"]
    late = p["late"] and fresh >> arrival["slot"] & 1
    if arrival["kind"] != Kind.SPIKE or arrival["index"] >= p["stride"] or late:
        return []
    words = 1 << fabric.projection_record.fields["weights"].width
    return [(p["row"] + n, (p["weights"] + arrival["index"] + n * p["stride"]) % words) for n in range(p["rows"])]


def random_sweep(r, fabric):
    row = r.randrange(fabric.rows)
    return {
        "row": row,
        "neurons": r.randint(1, (fabric.rows - row) * fabric.lanes),
        "parameters": r.randrange(fabric.parameter_rows),
        "each": r.randrange(2),
        "slot": r.randrange(fabric.populations),
        "fresh": r.randrange(2),
    }


def updates(sweep, fabric):
    """Operations (row, clear, update) of a sweep."""
    out, lanes = [], fabric.update_lanes
    rows = 1 << fabric.population_record.fields["parameters"].width
    for group in range(-(-sweep["neurons"] // lanes)):
        state = sweep["row"] * fabric.groups + group
        left = sweep["neurons"] - group * lanes
        last = left <= lanes
        update = {
            "state": state,
            "group": group,
            "parameter": (sweep["parameters"] + (group if sweep["each"] else 0)) % rows,
            "mask": (1 << min(left, lanes)) - 1,
            "slot": sweep["slot"],
            "fresh": sweep["fresh"],
            "last": int(last),
        }
        out.append((state // fabric.groups, int(last or (state + 1) % fabric.groups == 0), update))
    return out


def seen(operation):
    """What an operation means, in the terms of `adds` and `updates`."""
    if operation["sweep"]:
        return (operation["row"], operation["clear"], operation["update"]), operation["add"]
    return (operation["row"], operation["weights"]), 1 - operation["add"] + operation["clear"]


@FABRICS
def test_a_reset_clears_every_row(engine, fabric):
    with open_engine(walk(fabric), engine, stall=0.3) as simulation:
        for _ in range(2):
            operations = cleared(simulation, fabric)[-fabric.rows :]
            assert [o["row"] for o in operations] == list(range(fabric.rows))
            assert {(o["clear"], o["add"], o["sweep"]) for o in operations} == {(1, 0, 0)}


@FABRICS
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_spikes_and_sweeps_become_operations(engine, fabric, stall):
    r = random.Random(1)
    with open_engine(walk(fabric), engine, stall=stall) as simulation:
        cleared(simulation, fabric)
        for _ in range(many(engine, 60)):
            fresh = r.getrandbits(fabric.populations)
            arrivals = [random_arrival(r, fabric) for _ in range(40)]
            sweeps = [random_sweep(r, fabric) for _ in range(8)]
            spikes = [a for a in arrivals if a["kind"] == Kind.SPIKE]
            known = [a["index"] < a["projection"]["stride"] for a in spikes]
            added = [block for a in arrivals if (block := adds(a, fresh, fabric))]
            swept = [updates(s, fabric) for s in sweeps]
            expect = {
                "taken": [1 for a, k in zip(spikes, known, strict=True) if a["first"] and k],
                "stray": [1 for a, k in zip(spikes, known, strict=True) if a["first"] and not k],
                "token": [a["slot"] for a in arrivals if a["kind"] == Kind.STEP],
                "credit": [a["slot"] for a in arrivals if a["kind"] == Kind.CREDIT],
                "operations": [a["projection"]["fanout"] for a in arrivals if adds(a, fresh, fabric)],
            }
            talk(simulation, {"fresh": [fresh]}, {}, drain=3)
            total = sum(map(len, added + swept))
            counts = {name: len(items) for name, items in expect.items()} | {"o": total}
            out = talk(simulation, {"i": arrivals, "sweeps": sweeps}, counts, drain=20)
            operations = out.pop("o")
            assert out == expect
            assert len(operations) == total
            while operations:  # nothing interrupts a spike or a sweep
                block = (swept if operations[0]["sweep"] else added).pop(0)
                assert [seen(o) for o in operations[: len(block)]] == [(x, 0) for x in block]
                del operations[: len(block)]
            assert not swept and not added


@FABRICS
def test_there_is_no_gap_between_spikes(engine, fabric):
    r = random.Random(3)
    arrivals = [random_arrival(r, fabric) for _ in range(100)]
    with open_engine(walk(fabric), engine) as simulation:
        cleared(simulation, fabric)
        before = simulation.cycles
        talk(simulation, {"i": arrivals}, {})
        total = sum(max(1, len(adds(a, 0, fabric))) for a in arrivals[:-1]) + 1  # the last is taken in its first clock
        assert simulation.cycles - before == total
        sweeps = [random_sweep(r, fabric) for _ in range(20)]
        groups = sum(len(updates(s, fabric)) for s in sweeps)
        left = len(adds(arrivals[-1], 0, fabric)) - 1
        before = simulation.cycles
        talk(simulation, {"sweeps": sweeps}, {"o": max(0, left) + groups})
        assert simulation.cycles - before == max(0, left) + groups + len(sweeps)


@FABRICS
def test_a_sweep_goes_before_the_next_spike(engine, fabric):
    r = random.Random(5)
    arrivals, sweeps = [random_arrival(r, fabric) for _ in range(50)], [random_sweep(r, fabric) for _ in range(5)]
    with open_engine(walk(fabric), engine) as simulation:
        cleared(simulation, fabric)
        total = sum(len(adds(a, 0, fabric)) for a in arrivals) + sum(len(updates(s, fabric)) for s in sweeps)
        operations = talk(simulation, {"i": arrivals, "sweeps": sweeps}, {"o": total})["o"]
    assert [o["sweep"] for o in operations] == sorted((o["sweep"] for o in operations), reverse=True)


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_a_step_waits_for_the_spikes_before_it(engine, stall):
    r = random.Random(4)
    with open_engine(walk(TOY), engine, stall=stall) as simulation:
        cleared(simulation, TOY)
        for kind, port in ((Kind.STEP, "token"), (Kind.CREDIT, "credit")):
            spike = random_arrival(r, TOY, Kind.SPIKE) | {"index": 0}
            spike["projection"] |= {"row": 0, "rows": TOY.rows, "late": 0}
            out = talk(simulation, {"i": [spike, random_arrival(r, TOY, kind)]}, {port: 1})
            assert len(out["o"]) == TOY.rows
