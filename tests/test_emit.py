"""Spikes and credits into packets."""

import dataclasses
import random

import pytest

from aerloom.hdl.emit import Creditor, Emit
from aerloom.models.fabric import Kind, Space
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, packet, rows, talk

FABRICS = pytest.mark.parametrize(
    "fabric", [TOY, dataclasses.replace(TOY, update_lanes=1), dataclasses.replace(TOY, ahead=False)], ids=["2", "1", "one"])


def place(group):
    """Where a group is, for others."""
    return 3 * group + 1


def sweep(slot, row, groups, fabric):
    """The spikes of a sweep, group by group, as Neurons gives them."""
    update = {"slot": slot, "parameter": 0, "mask": 0, "fresh": 0, "place": 0}
    return [
        {
            "spikes": spikes,
            "clipped": 0,
            "update": update
            | {"state": row * fabric.groups + n, "place": place(n), "last": int(n == len(groups) - 1)},
        }
        for n, spikes in enumerate(groups)
    ]


def sent(key, groups):
    """The packets that they become."""
    lanes = len(groups[0])
    spikes = [
        place(n) * lanes + lane for n, group in enumerate(groups) for lane in range(lanes) for _ in range(group[lane])
    ]
    return [packet(Kind.SPIKE, key, n) for n in spikes] + [packet(Kind.STEP, key)]


def random_groups(r, count, fabric):
    density = r.choice([0, 0.2, 0.5, 1])

    def spikes():
        return r.randrange(1 << fabric.spike_bits) if r.random() < density else 0

    return [[spikes() for _ in range(fabric.update_lanes)] for _ in range(count)]


@FABRICS
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_what_was_kept_is_sent_while_others_sweep(engine, fabric, stall):
    r = random.Random(1)
    regions, keys = [(0, 1), (1, 2), (3, 2)], [5, 0, 10]  # first row and number of rows, key of each population
    pending = []  # slots and groups, as they came
    with open_engine(Plain(Emit(fabric), events=["counts"]), engine, stall=stall) as simulation:
        for _ in range(many(engine, 300)):
            kept = [slot for slot, _ in pending]
            sweeping = r.choice([slot for slot in range(3) if kept.count(slot) < fabric.regions])
            row, count = regions[sweeping]
            groups = random_groups(r, r.randint(1, count * fabric.groups), fabric)
            send, expect, packets, done = {"i": sweep(sweeping, row, groups, fabric)}, {"swept": 1}, [], []
            counted = 0
            if len(pending) == 3 * fabric.regions - 1 or (pending and r.random() < 0.5):
                done = r.sample(kept, r.randint(1, len(pending)))
                send["jobs"] = [
                    {"slot": slot, "key": keys[slot], "row": regions[slot][0], "relay": slot == 1} for slot in done
                ]
                for slot in done:
                    first = next(n for n, (other, _) in enumerate(pending) if other == slot)
                    packets += sent(keys[slot], pending.pop(first)[1])
                expect |= {"o": len(packets), "sent": len(done)}
                counted = sum(p["kind"] == Kind.SPIKE and p["key"] != keys[1] for p in packets)
            pending.append((sweeping, groups))
            assert talk(simulation, send, expect, drain=3) == {
                "o": packets, "begun": [sweeping], "swept": [sweeping], "sent": done, "counts": [1] * counted}


@FABRICS
def test_packets_leave_without_a_gap(engine, fabric):
    r = random.Random(2)
    with open_engine(Plain(Emit(fabric), events=["counts"]), engine) as simulation:

        def clocks(groups):
            talk(simulation, {"i": sweep(0, 0, groups, fabric)}, {"swept": 1})
            before = simulation.cycles
            talk(simulation, {"jobs": [{"slot": 0, "key": 0, "row": 0, "relay": 0}]}, {"o": len(sent(0, groups))})
            return simulation.cycles - before

        none = [0] * fabric.update_lanes
        start = clocks([none, [1, *none[1:]]]) - 1  # before its first spike, and for the STEP
        for _ in range(10):
            groups = [random_groups(r, 1, fabric)[0] for _ in range(fabric.rows * fabric.groups)]
            groups[0][0] = 1
            assert clocks(groups) == start + len(sent(0, groups)) - 1


KEYS = [3, 9, 0, 10, 7, 7, 1]


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_a_grant_is_a_credit_to_each_source(engine, stall):
    r = random.Random(3)
    grants = []
    for _ in range(many(engine, 300)):
        first = r.randrange(len(KEYS))
        grants.append({"sources": first, "source_count": r.randint(0, len(KEYS) - first)})
    credits = [packet(Kind.CREDIT, k) for g in grants for k in KEYS[g["sources"] :][: g["source_count"]]]
    with open_engine(Plain(Creditor(TOY)), engine, stall=stall) as simulation:
        talk(simulation, {"write": rows(Space.SOURCES, TOY.source_record, [{"key": k} for k in KEYS])}, {})
        assert talk(simulation, {"i": grants}, {"o": len(credits)}, drain=20)["o"] == credits


def test_a_credit_takes_a_clock(engine):
    with open_engine(Plain(Creditor(TOY)), engine) as simulation:
        taken = []
        for count in (1, len(KEYS)):
            before = simulation.cycles
            talk(simulation, {"i": [{"sources": 0, "source_count": count}]}, {"o": count})
            taken.append(simulation.cycles - before)
    assert taken[1] - taken[0] == len(KEYS) - 1
