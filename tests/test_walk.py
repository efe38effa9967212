"""Spikes and sweeps into row operations, against a few lines of Python."""

import dataclasses
import math
import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from aerloom.hdl.locate import visit as visit_layout
from aerloom.hdl.walk import Walk
from aerloom.hdl.walk import sweep as sweep_layout
from aerloom.models.fabric import Kind
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, talk

FABRICS = pytest.mark.parametrize("fabric", [
    TOY, dataclasses.replace(TOY, update_lanes=4), dataclasses.replace(TOY, places=0, update_lanes=1),
    dataclasses.replace(TOY, ahead=False)], ids=["2of4", "4of4", "no places", "not ahead"])


class Together(wiring.Component):
    """What a Walk says of the lanes and of updates in the same clock, and when: an item for each clock in which it does."""

    def __init__(self, fabric, pace=1):
        self.dut = Walk(fabric, pace)
        members = dict(self.dut.signature.members)
        parts = {name: members.pop(name).signature.members["payload"].shape for name in ("o", "updates")}
        both = data.StructLayout({"operation": parts["o"], "due": 1, "update": parts["updates"], "clock": 16})
        super().__init__(members | {"o": Out(stream.Signature(both, always_ready=True))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name, member in dut.signature.members.items():
            if name in ("o", "updates"):
                continue
            mine, its = getattr(self, name), getattr(dut, name)
            if not member.is_port:
                wiring.connect(m, *((wiring.flipped(mine), its) if member.flow is In else (its, wiring.flipped(mine))))
            else:
                m.d.comb += its.eq(mine) if member.flow is In else mine.eq(its)
        clock = Signal(16)
        m.d.sync += clock.eq(clock + 1)
        with m.If(dut.o.valid):
            m.d.comb += self.o.payload.operation.eq(dut.o.payload)
        m.d.comb += [
            self.o.valid.eq(dut.o.valid | dut.updates.valid), self.o.payload.due.eq(dut.updates.valid),
            self.o.payload.update.eq(dut.updates.payload), self.o.payload.clock.eq(clock),
        ]
        return m


def walk(fabric, pace=1):
    return Plain(Together(fabric, pace), events=["taken", "stray", "operations"])


def cleared(simulation, fabric):
    """The operations that follow a reset."""
    return talk(simulation, {"restart": [1]}, {"o": fabric.sum_rows}, drain=5)["o"]


def random_visit(r, fabric, kind=None, dense=False, **fields):
    p, axis = TOY.projection_record.fields, fabric.axis_record.fields
    kind = r.choice([Kind.SPIKE] * 8 + [Kind.STEP, Kind.CREDIT]) if kind is None else kind
    visit = {name: r.getrandbits(p[name].width) for name in STEPS}
    dense |= not fabric.places
    counts = {name: 1 if dense else r.choice([1, 1, 2, r.randint(1, 5)]) for name in ("columns", "lines")}
    visit |= counts | {
        "step": int(kind == Kind.STEP),
        "credit": int(kind == Kind.CREDIT),
        "slot": r.randrange(fabric.populations),
        "rows": r.choice([1, 1, 2, r.randint(1, (1 << axis["count"].width) - 1)]),
        "fanout": r.randint(1, fabric.neurons),
        "known": int(r.random() < 0.9),
        "hits": int(r.random() < 0.9),  # not those of the sample before
        "first": r.randrange(2),
    } | ({"ahead": r.randrange(2)} if fabric.ahead else {}) | fields
    reaches = kind == Kind.SPIKE and (visit["hits"] or r.random() < 0.5)
    visit["hits"] &= reaches
    return visit | {f"one_{name}": int(visit[f"{name}s"] == 1 or not reaches) for name in ("row", "column", "line")}


STEPS = ("row", "weights", "stride", "row_x", "weights_x", "row_y", "weights_y")


def adds(visit, fabric):
    """Operations (row, weights) of a visit, window by window."""
    v, fields = visit, fabric.projection_record.fields
    rows, words = (1 << fields[name].width for name in ("row", "weights"))
    if not v["known"] or not v["hits"]:
        return []
    return [
        [((v["row"] + j * v["row_y"] + i * v["row_x"] + n) % rows,
          (v["weights"] + j * v["weights_y"] + i * v["weights_x"] + n * v["stride"]) % words) for n in range(v["rows"])]
        for j in range(v["lines"]) for i in range(v["columns"])
    ]  # fmt: skip


def cycles(visit):
    """Clocks that it takes: one for each row of each window."""
    return math.prod(1 if visit[f"one_{name}"] else visit[f"{name}s"] for name in ("row", "column", "line"))


def random_sweep(r, fabric, slots=None):
    row = r.randrange(fabric.rows)
    return {
        "row": row,
        "final": r.randrange((fabric.rows - row) * fabric.lanes),
        "parameters": r.randrange(fabric.parameter_rows),
        "each": r.randrange(2),
        "repeat": r.randrange(2) if fabric.places else 0,
        "channels": r.randint(1, 4),
        "columns": r.randint(1, 3),
        "gap": r.getrandbits(fabric.place_bits) if fabric.places else 1,
        "gap_line": r.getrandbits(fabric.place_bits) if fabric.places else 1,
        "slot": r.choice(sorted(slots or range(fabric.populations))),
        "fresh": r.randrange(2),
    } | ({"ahead": r.randrange(2)} if fabric.ahead else {})


def asked(visits=(), sweeps=(), *, of):
    """The same as streams of a Walk, which has the fields of its Fabric."""
    return {name: [{field: item[field] for field in layout(of).members} for item in items]
            for name, layout, items in (("i", visit_layout, visits), ("sweeps", sweep_layout, sweeps)) if items}


def updates(sweep, fabric):
    """The updates of a sweep."""
    out, lanes = [], fabric.update_lanes
    rows = 1 << fabric.population_record.fields["parameters"].width
    place = 0
    for group in range(sweep["final"] // lanes + 1):
        position, channel = divmod(group, sweep["channels"])
        if group and channel:
            place += 1
        elif group:
            place += sweep["gap"] if position % sweep["columns"] else sweep["gap_line"]
        own = channel if sweep["repeat"] else group
        left = sweep["final"] + 1 - group * lanes
        out.append({
            "state": sweep["row"] * fabric.groups + group,
            "place": place % (1 << fabric.place_bits),
            "parameter": (sweep["parameters"] + (own if sweep["each"] else 0)) % rows,
            "mask": (1 << min(left, lanes)) - 1,
            "slot": sweep["slot"],
            "fresh": sweep["fresh"],
            "last": int(left <= lanes),
        })
    return out


def swept(sweep, odd, fabric, pace=1):
    """What a sweep does to sums, of odd steps or of even ones: kind and row."""
    of_row = fabric.groups if pace > 1 else 1
    out = []
    for first in range(0, len(updates(sweep, fabric)), fabric.groups):
        row = (sweep["row"] + first // fabric.groups) * (1 + fabric.ahead) + odd
        reads = min(of_row, len(updates(sweep, fabric)) - first)
        out += [("sweep", row)] * reads + [("clear", row)]
    return out


def done(items):
    """Kind and row, or words, of every access to sums, in order; and the updates."""
    kinds = [(next(kind for kind in ("add", "clear", "sweep") if o[kind]), o) for item in items
             if (o := item["operation"])["add"] + o["clear"] + o["sweep"]]
    accesses = [(kind, o["row"], o["weights"]) if kind == "add" else (kind, o["row"]) for kind, o in kinds]
    return accesses, [item["update"] for item in items if item["due"]]


@FABRICS
def test_a_reset_clears_every_row(engine, fabric):
    with open_engine(walk(fabric), engine, stall=0.3) as simulation:
        for _ in range(2):
            accesses, due = done(cleared(simulation, fabric)[-fabric.sum_rows :])
            assert accesses == [("clear", row) for row in range(fabric.sum_rows)] and not due


def in_steps(visits, sweeps, fabric):
    """For each visit, and each sweep, whether the step of its sums is odd."""
    coming, going, odd, turns = {}, {}, [], []
    for v in visits:
        odd.append(coming.get(v["slot"], 0))
        if fabric.ahead and v["step"] and v["ahead"]:
            coming[v["slot"]] = 1 - odd[-1]
    for s in sweeps:
        turns.append(going.get(s["slot"], 0))
        if fabric.ahead and s["ahead"]:
            going[s["slot"]] = 1 - turns[-1]
    return odd, turns


def expected(visits, fabric):
    """What a Walk says of visits, besides what it does to sums."""
    spikes = [v for v in visits if not v["step"] and not v["credit"]]
    return {
        "taken": [1 for v in spikes if v["first"] and v["known"]],
        "stray": [1 for v in spikes if v["first"] and not v["known"]],
        "token": [v["slot"] for v in visits if v["step"]],
        "credit": [v["slot"] for v in visits if v["credit"]],
        "operations": [v["fanout"] for v in visits for _ in adds(v, fabric)],
    }


@FABRICS
@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("pace", [1, 7])
def test_spikes_and_sweeps_become_operations(engine, fabric, stall, pace):
    r = random.Random(1)
    with open_engine(walk(fabric, pace), engine, stall=stall) as simulation:
        for _ in range(many(engine, 60)):
            cleared(simulation, fabric)
            slots = {r.randrange(fabric.populations)}  # their sums are complete when they are to be swept
            sweeps = [random_sweep(r, fabric, slots) for _ in range(8)]
            parts = [[random_visit(r, fabric) for _ in range(20)] for _ in range(3)]
            parts[1] = [v for v in parts[1] if v["slot"] not in slots]
            visits = [v for part in parts for v in part]
            odd, turns = in_steps(visits, sweeps, fabric)
            windows = [adds(v, fabric) for v in visits]
            scale = 1 + fabric.ahead
            added = [("add", row * scale + o, words) for some, o in zip(windows, odd, strict=True)
                     for window in some for row, words in window]
            out = {name: [] for name in ("o", *expected([], fabric))}
            for part, due, drain in zip(parts, ([], sweeps, []), (0, 200, 200), strict=True):
                expect = expected(part, fabric)
                counts = {name: len(items) for name, items in expect.items()}
                came = talk(simulation, asked(part, due, of=fabric), counts, drain)
                assert {name: came[name] for name in expect} == expect
                out = {name: items + came[name] for name, items in out.items()}
            items = out.pop("o")
            accesses, due = done(items)
            assert [a for a in accesses if a[0] == "add"] == added  # nothing changes the order of spikes, or of sweeps
            assert [a for a in accesses if a[0] != "add"] == [
                access for s, turn in zip(sweeps, turns, strict=True) for access in swept(s, turn, fabric, pace)]
            assert due == [update for s in sweeps for update in updates(s, fabric)]
            adders = [v["slot"] for v, some in zip(visits, windows, strict=True) for window in some for _ in window]
            hazards(items, fabric, adders, [s["slot"] for s in sweeps for _ in swept(s, 0, fabric, pace)])


def hazards(items, fabric, adders, sweepers):
    """A sweep begins third behind what changed its row, and its updates follow; a row is cleared before the population,
    which has it alone, adds to it."""
    changed, swept_row, closed, begins = {}, None, None, True
    adders, sweepers = iter(adders), iter(sweepers)
    for item in items:
        o, clock = item["operation"], item["clock"]
        where = o["row"], next(adders if o["add"] else sweepers) if o["add"] + o["sweep"] + o["clear"] else None
        if o["sweep"]:
            assert not begins or clock - changed.get(where, -9) > 2
            swept_row, closed = o["row"], where
        elif o["clear"]:
            closed = None
        elif o["add"]:
            assert where != closed
        if o["add"] or o["clear"]:
            changed[where] = clock
        if item["due"]:
            assert swept_row // (1 + fabric.ahead) == item["update"]["state"] // fabric.groups
            begins = item["update"]["last"]


@FABRICS
@pytest.mark.parametrize("pace", [1, 7])
def test_spikes_go_on_beside_a_sweep_but_not_into_it(engine, fabric, pace):
    """Those for others lose two clocks of a row; those for the same sums come behind all of it."""
    r = random.Random(7)
    for own in (False, True):
        sweep = random_sweep(r, fabric) | {"row": 0, "final": fabric.neurons - 1, "slot": 0}
        sweep |= {"ahead": 0} if fabric.ahead else {}
        visits = [random_visit(r, fabric, Kind.SPIKE, dense=True, rows=1, known=1, hits=1, slot=int(not own))
                  for _ in range(300)]
        with open_engine(walk(fabric, pace), engine) as simulation:
            cleared(simulation, fabric)
            items = talk(simulation, asked(visits, [sweep], of=fabric), {"o": 1}, drain=400)["o"]
        before, within, of_sums = 0, 0, swept(sweep, 0, fabric, pace)
        left = len(of_sums)
        for item in items:
            o = item["operation"]
            left -= o["sweep"] + o["clear"]
            before += o["add"] and left == len(of_sums)
            within += o["add"] and 0 < left < len(of_sums)
        free = Walk.clocks(fabric, pace, sweep["final"] + 1) - len(of_sums)
        # behind the last row it is all the same whose spikes they are
        assert within == (0 if own else free - (max(fabric.groups, 2) - 2) * (pace == 1))
        assert before == 1 + (0 if own else Walk.pause)  # one with the sweep, which the schedule sees to are not its own


@FABRICS
@pytest.mark.parametrize("dense", [True, False])
def test_there_is_no_gap_between_spikes(engine, fabric, dense):
    r = random.Random(3)
    visits = [random_visit(r, fabric, dense=dense) for _ in range(100)]
    with open_engine(walk(fabric), engine) as simulation:
        cleared(simulation, fabric)
        before = simulation.cycles
        talk(simulation, asked(visits, of=fabric), {})
        assert simulation.cycles - before == sum(cycles(v) for v in visits)


@FABRICS
@pytest.mark.parametrize("pace", [1, 7])
def test_how_long_a_sweep_takes(engine, fabric, pace):
    r = random.Random(6)
    sweeps = [random_sweep(r, fabric) for _ in range(20)]
    expect = [access for s, turn in zip(sweeps, in_steps([], sweeps, fabric)[1], strict=True)
              for access in swept(s, turn, fabric, pace)]
    with open_engine(walk(fabric, pace), engine) as simulation:
        cleared(simulation, fabric)
        before = simulation.cycles
        clocks = [Walk.clocks(fabric, pace, s["final"] + 1) for s in sweeps]
        items = talk(simulation, asked(sweeps=sweeps, of=fabric), {"o": len(expect) if pace > 1 else sum(clocks)})["o"]
        assert simulation.cycles - before == sum(clocks) + (1 + Walk.pause) * len(sweeps)
        assert done(items) == (expect, [update for s in sweeps for update in updates(s, fabric)])


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_a_step_waits_for_the_spikes_before_it(engine, stall):
    r = random.Random(4)
    with open_engine(walk(TOY), engine, stall=stall) as simulation:
        cleared(simulation, TOY)
        for kind, port in ((Kind.STEP, "token"), (Kind.CREDIT, "credit")):
            spike = random_visit(r, TOY, Kind.SPIKE, rows=TOY.rows, known=1, hits=1)
            out = talk(simulation, {"i": [spike, random_visit(r, TOY, kind)]}, {port: 1})
            assert len(out["o"]) == TOY.rows * spike["columns"] * spike["lines"]
