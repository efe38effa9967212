"""When populations take their steps and send them, against a few lines of Python."""

import dataclasses
import random

import pytest

from aerloom.hdl.schedule import Schedule
from aerloom.hdl.walk import SWEPT
from aerloom.models.fabric import Space
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, rows, talk

SLOTS = TOY.populations


class Model:
    """What follows from tokens and credits, once everything has come to rest."""

    def __init__(self, rows, regions):
        self.rows, self.regions = rows, regions
        self.tokens, self.credits = ([less(r[name]) for r in rows] for name in ("tokens_first", "credits_first"))
        self.unsent, self.ready, self.steps = ([0] * SLOTS for _ in range(3))
        self.beginning, self.sweeping, self.sending = [], [], []

    def legal(self, r):
        """Events that can happen now."""
        return {
            "token": [n for n in range(SLOTS) for _ in range(r.randint(0, max(0, self.tokens[n] + r.randint(0, 1))))],
            "credit": [n for n in range(SLOTS) for _ in range(r.randint(0, max(0, self.credits[n] + r.randint(0, 1))))],
            "begun": [n for n in self.beginning if r.random() < 0.5],
            "swept": [n for n in self.sweeping if r.random() < 0.5],
            "sent": [n for n in self.sending if r.random() < 0.5],
        }

    def settle(self, token=(), credit=(), begun=(), swept=(), sent=()):
        for n in token:
            self.tokens[n] -= 1
        for n in credit:
            self.credits[n] -= 1
        for n in begun:
            self.beginning.remove(n)
            self.sweeping.append(n)
        for n in swept:
            self.sweeping.remove(n)
            self.ready[n] += 1
        for n in sent:
            self.sending.remove(n)
            self.unsent[n] -= 1
        out = {"sweeps": [], "grants": [], "messages": []}
        for n, row in enumerate(self.rows):
            while self.ready[n] and self.credits[n] <= 0:
                out["messages"].append({"slot": n} | {name: row[name] for name in ("key", "row", "relay")})
                self.ready[n] -= 1
                self.credits[n] += row["credits"]
                self.sending.append(n)
            if self.unsent[n] < self.regions and n not in self.beginning and self.tokens[n] <= 0:
                fresh = self.steps[n] % row["steps"] == 0 if row["steps"] else self.steps[n] == 0
                copied = {name: row[name] for name in SWEPT if name in row}
                out["sweeps"].append(copied | {"slot": n, "fresh": int(fresh)})
                out["grants"].append({name: row[name] for name in ("sources", "source_count")})
                self.tokens[n] += row["tokens"]
                self.unsent[n] += 1
                self.steps[n] += 1
                self.beginning.append(n)
        return out


def less(count):
    """What a Ledger makes of it: all bits set are one in advance."""
    return -1 if count == (1 << TOY.token_bits) - 1 else count


def random_rows(r, steps, fabric):
    table = []
    for n in range(SLOTS):
        row = {name: r.getrandbits(f.width) for name, f in fabric.population_record.fields.items()}
        row |= {name: r.randint(0, 3) for name in ("tokens", "tokens_first", "credits", "credits_first")}
        if r.random() < 0.3:
            row |= {"tokens": 1, "credits": 1, "credits_first": (1 << TOY.token_bits) - 1}
        table.append(row | {"steps": steps[n], "sources": n})  # tells whose grant it is
    return table


def in_order(out):
    """Populations are independent of each other: what they do, in the order of their slots."""
    out["sweeps"].sort(key=lambda x: x["slot"])
    out["messages"].sort(key=lambda x: x["slot"])
    out["grants"].sort(key=lambda x: x["sources"])
    return out


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("steps", [(0, 1, 2), (3, 5, 0)])
@pytest.mark.parametrize("regions", [1, 2])
def test_steps_and_messages_follow_from_tokens_and_credits(engine, steps, stall, regions):
    r = random.Random(1)
    fabric = dataclasses.replace(TOY, ahead=regions == 2)
    assert fabric.regions == regions
    with open_engine(Plain(Schedule(fabric), eager=["messages"]), engine, stall=stall) as simulation:
        talk(simulation, {}, {}, drain=70)  # a table of zeros: every population takes a step
        for _ in range(many(engine, 10)):
            table = random_rows(r, steps, fabric)
            model = Model(table, regions)
            talk(simulation, {"write": rows(Space.POPULATIONS, fabric.population_record, table)}, {})
            talk(simulation, {"restart": [1]}, {})  # the first tokens come at once
            for _ in range(50):
                events = model.legal(r)
                assert in_order(talk(simulation, events, {}, drain=70)) == model.settle(**events)


def test_populations_take_steps_while_nothing_can_be_sent():
    waits = {"tokens": 1, "tokens_first": 1, "credits": 1, "credits_first": 0}
    with open_engine(Plain(Schedule(TOY), deaf=["messages"]), "amaranth", stall=0.3) as simulation:
        talk(simulation, {"write": rows(Space.POPULATIONS, TOY.population_record, [waits] * SLOTS)}, {})
        talk(simulation, {"restart": [1]}, {})
        for slot in range(SLOTS):
            out = talk(simulation, {"token": [slot]}, {"sweeps": 1, "grants": 1})
            assert [x["slot"] for x in out["sweeps"]] == [slot]
            talk(simulation, {"swept": [slot]}, {}, drain=20)
