"""Spikes and sweeps into row operations, against a few lines of Python."""

import dataclasses
import random

import pytest

from aerloom.hdl.locate import visit as visit_layout
from aerloom.hdl.walk import Walk
from aerloom.hdl.walk import sweep as sweep_layout
from aerloom.models.fabric import Kind
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, talk

FABRICS = pytest.mark.parametrize("fabric", [
    TOY, dataclasses.replace(TOY, update_lanes=4), dataclasses.replace(TOY, places=0)], ids=["2of4", "4of4", "no places"])


def walk(fabric):
    return Plain(Walk(fabric), events=["taken", "stray", "operations"])


def cleared(simulation, fabric):
    """The operations that follow a reset."""
    return talk(simulation, {"restart": [1]}, {"o": fabric.rows}, drain=5)["o"]


def random_visit(r, fabric, kind=None, dense=False, **fields):
    p, axis = TOY.projection_record.fields, fabric.axis_record.fields
    visit = {name: r.getrandbits(p[name].width) for name in STEPS}
    dense |= not fabric.places
    counts = {name: 1 if dense else r.choice([1, 1, 2, r.randint(1, 5)]) for name in ("columns", "lines")}
    visit |= counts | {
        "kind": r.choice([Kind.SPIKE] * 8 + [Kind.STEP, Kind.CREDIT]) if kind is None else kind,
        "slot": r.randrange(fabric.populations),
        "rows": r.choice([1, 1, 2, r.randint(1, (1 << axis["count"].width) - 1)]),
        "fanout": r.randint(1, fabric.neurons),
        "late": r.randrange(2),
        "known": int(r.random() < 0.9),
        "hits": int(r.random() < 0.9),
        "first": r.randrange(2),
    } | fields
    visit["hits"] &= visit["known"]
    return visit | {f"one_{name}": int(visit[f"{name}s"] == 1) for name in ("row", "column", "line")}


STEPS = ("row", "weights", "stride", "row_x", "weights_x", "row_y", "weights_y")


def adds(visit, fresh, fabric):
    """Operations (row, weights) of a visit, window by window."""
    v, fields = visit, fabric.projection_record.fields
    rows, words = (1 << fields[name].width for name in ("row", "weights"))
    late = v["late"] and fresh >> v["slot"] & 1
    if v["kind"] != Kind.SPIKE or not v["known"] or not v["hits"] or late:
        return []
    return [
        [((v["row"] + j * v["row_y"] + i * v["row_x"] + n) % rows,
          (v["weights"] + j * v["weights_y"] + i * v["weights_x"] + n * v["stride"]) % words) for n in range(v["rows"])]
        for j in range(v["lines"]) for i in range(v["columns"])
    ]  # fmt: skip


def cycles(visit, fabric):
    """Clocks that it takes: one for each row of each window."""
    return max(1, sum(map(len, adds(visit, 0, fabric))))


def random_sweep(r, fabric):
    row = r.randrange(fabric.rows)
    return {
        "row": row,
        "neurons": r.randint(1, (fabric.rows - row) * fabric.lanes),
        "parameters": r.randrange(fabric.parameter_rows),
        "each": r.randrange(2),
        "repeat": r.randrange(2) if fabric.places else 0,
        "channels": r.randint(1, 4),
        "columns": r.randint(1, 3),
        "gap": r.getrandbits(fabric.place_bits) if fabric.places else 1,
        "gap_line": r.getrandbits(fabric.place_bits) if fabric.places else 1,
        "slot": r.randrange(fabric.populations),
        "fresh": r.randrange(2),
    }


def asked(visits=(), sweeps=(), *, of):
    """The same as streams of a Walk, which has the fields of its Fabric."""
    return {name: [{field: item[field] for field in layout(of).members} for item in items]
            for name, layout, items in (("i", visit_layout, visits), ("sweeps", sweep_layout, sweeps)) if items}


def updates(sweep, fabric):
    """Operations of a sweep: (row, update), and (row,) where it is cleared."""
    out, lanes = [], fabric.update_lanes
    rows = 1 << fabric.population_record.fields["parameters"].width
    place = 0
    for group in range(-(-sweep["neurons"] // lanes)):
        position, channel = divmod(group, sweep["channels"])
        if group and channel:
            place += 1
        elif group:
            place += sweep["gap"] if position % sweep["columns"] else sweep["gap_line"]
        own = channel if sweep["repeat"] else group
        state = sweep["row"] * fabric.groups + group
        left = sweep["neurons"] - group * lanes
        last = left <= lanes
        update = {
            "state": state,
            "place": place % (1 << fabric.place_bits),
            "parameter": (sweep["parameters"] + (own if sweep["each"] else 0)) % rows,
            "mask": (1 << min(left, lanes)) - 1,
            "slot": sweep["slot"],
            "fresh": sweep["fresh"],
            "last": int(last),
        }
        out.append((state // fabric.groups, update))
        if last or (state + 1) % fabric.groups == 0:
            out.append((state // fabric.groups,))
    return out


def seen(operation):
    """What an operation means, in the terms of `adds` and `updates`."""
    row = operation["row"]
    if operation["sweep"]:
        return (row, operation["update"]), operation["add"] + operation["clear"]
    if operation["clear"]:
        return (row,), operation["add"]
    return (row, operation["weights"]), 1 - operation["add"]


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
            visits = [random_visit(r, fabric) for _ in range(40)]
            sweeps = [random_sweep(r, fabric) for _ in range(8)]
            spikes = [v for v in visits if v["kind"] == Kind.SPIKE]
            windows = [adds(v, fresh, fabric) for v in visits]
            added = [[row for window in some for row in window] for some in windows if some]
            swept = [updates(s, fabric) for s in sweeps]
            expect = {
                "taken": [1 for v in spikes if v["first"] and v["known"]],
                "stray": [1 for v in spikes if v["first"] and not v["known"]],
                "token": [v["slot"] for v in visits if v["kind"] == Kind.STEP],
                "credit": [v["slot"] for v in visits if v["kind"] == Kind.CREDIT],
                "operations": [v["fanout"] for v, some in zip(visits, windows, strict=True) for _ in some],
            }
            talk(simulation, {"fresh": [fresh]}, {}, drain=3)
            total = sum(map(len, added + swept))
            counts = {name: len(items) for name, items in expect.items()} | {"o": total}
            out = talk(simulation, asked(visits, sweeps, of=fabric), counts, drain=20)
            operations = out.pop("o")
            assert out == expect
            assert len(operations) == total
            while operations:  # nothing interrupts a spike or a sweep
                block = (swept if operations[0]["sweep"] else added).pop(0)
                assert [seen(o) for o in operations[: len(block)]] == [(x, 0) for x in block]
                del operations[: len(block)]
            assert not swept and not added


@FABRICS
@pytest.mark.parametrize("dense", [True, False])
def test_there_is_no_gap_between_spikes(engine, fabric, dense):
    r = random.Random(3)
    visits = [random_visit(r, fabric, dense=dense) for _ in range(100)]
    with open_engine(walk(fabric), engine) as simulation:
        cleared(simulation, fabric)
        before = simulation.cycles
        talk(simulation, asked(visits, of=fabric), {})
        assert simulation.cycles - before == sum(cycles(v, fabric) for v in visits)
        sweeps = [random_sweep(r, fabric) for _ in range(20)]
        clocks = [len(updates(s, fabric)) for s in sweeps]
        assert clocks == [Walk.clocks(fabric, 1, s["neurons"]) for s in sweeps]
        before = simulation.cycles
        talk(simulation, asked(sweeps=sweeps, of=fabric), {"o": sum(clocks)})
        assert simulation.cycles - before == sum(clocks) + (1 + Walk.pause) * len(sweeps)


@FABRICS
def test_a_sweep_goes_before_the_next_spike(engine, fabric):
    r = random.Random(5)
    visits, sweeps = [random_visit(r, fabric) for _ in range(50)], [random_sweep(r, fabric) for _ in range(5)]
    with open_engine(walk(fabric), engine) as simulation:
        cleared(simulation, fabric)
        total = sum(len(w) for v in visits for w in adds(v, 0, fabric)) + sum(len(updates(s, fabric)) for s in sweeps)
        operations = talk(simulation, asked(visits, sweeps, of=fabric), {"o": total})["o"]
    assert [o["add"] for o in operations] == sorted(o["add"] for o in operations)


@FABRICS
def test_a_slow_sweep(engine, fabric):
    """Each update stays for so many clocks; a row is cleared at the end of its last."""
    r, pace = random.Random(6), 7
    sweeps = [random_sweep(r, fabric) for _ in range(10)]
    expect = [operation for s in sweeps for operation in updates(s, fabric)]
    with open_engine(Plain(Walk(fabric, pace)), engine) as simulation:
        cleared(simulation, fabric)
        before = simulation.cycles
        out = talk(simulation, asked(sweeps=sweeps, of=fabric), {"o": len(expect)})["o"]
        assert simulation.cycles - before == sum(Walk.clocks(fabric, pace, s["neurons"]) + 1 + Walk.pause for s in sweeps)
    assert [seen(o) for o in out] == [(operation, 0) for operation in expect]


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_a_step_waits_for_the_spikes_before_it(engine, stall):
    r = random.Random(4)
    with open_engine(walk(TOY), engine, stall=stall) as simulation:
        cleared(simulation, TOY)
        for kind, port in ((Kind.STEP, "token"), (Kind.CREDIT, "credit")):
            spike = random_visit(r, TOY, Kind.SPIKE, rows=TOY.rows, late=0, known=1, hits=1)
            out = talk(simulation, {"i": [spike, random_visit(r, TOY, kind)]}, {port: 1})
            assert len(out["o"]) == TOY.rows * spike["columns"] * spike["lines"]
