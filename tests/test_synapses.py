"""Row operations on sums, against NumPy."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from aerloom.hdl.synapses import Synapses
from aerloom.models.fabric import CHUNK, Space
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, talk, writes

FABRICS = pytest.mark.parametrize(
    "fabric",
    [
        dataclasses.replace(TOY, lanes=lanes, update_lanes=updated, weight_bits=bits, pipelined=pipelined,
                            shallow=shallow, rows=rows)
        for lanes, updated, bits, pipelined, shallow, rows in (  # one chunk of weights, two, or four
            (1, 1, 4, True, False, 5), (2, 2, 2, True, False, 5), (4, 1, 4, True, False, 5), (4, 2, 8, True, False, 5),
            (8, 2, 8, True, False, 5), (4, 1, 4, False, False, 5), (4, 2, 8, True, True, 5), (4, 2, 8, True, True, 1),
            (4, 1, 4, False, True, 2))
    ],
    ids=["1", "2", "4", "4wide", "8wide", "4slow", "4shallow", "4flat", "4shallow-slow"],
)


class Together(wiring.Component):
    """Operations and updates of the same clocks."""

    def __init__(self, fabric):
        self.dut = Synapses(fabric)
        members = dict(self.dut.signature.members)
        parts = {name: members.pop(name).signature.members["payload"].shape for name in ("i", "updates")}
        both = data.StructLayout({"operation": parts["i"], "due": 1, "update": parts["updates"]})
        super().__init__(members | {"i": In(stream.Signature(both, always_ready=True))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for name in ("write", "read", "data", "o"):
            mine, its = wiring.flipped(getattr(self, name)), getattr(dut, name)
            wiring.connect(m, *((its, mine) if name in ("data", "o") else (mine, its)))
        i, operation = self.i.payload, self.i.payload.operation
        m.d.comb += [
            dut.i.payload.eq(operation), dut.i.valid.eq(self.i.valid & (operation.add | operation.clear | operation.sweep)),
            dut.updates.payload.eq(i.update), dut.updates.valid.eq(self.i.valid & i.due),
        ]
        return m


def synapses(fabric):
    return Plain(Together(fabric))


def stored(weights, fabric):
    """A matrix (words, lanes) as the words that are stored, and the writes that store them; others have no effect."""
    words = (weights % (1 << fabric.weight_bits)).astype(object) << fabric.weight_bits * np.arange(fabric.lanes)
    words = words.sum(axis=1).tolist()
    load = writes(Space.WEIGHTS, words, fabric.weight_chunks)
    noise = [7] * len(words)
    elsewhere = writes(Space.KEYS, noise, fabric.weight_chunks)
    beyond = writes(Space.WEIGHTS, noise, fabric.weight_chunks, first=1 << 12)
    return words, load + elsewhere + beyond


def random_operations(r, fabric, count):
    """Operations as a Walk makes them; as a rule on the row of the one before."""
    out, row, changed, swept = [], 0, [None, None], None
    for _ in range(count):
        row = row if r.random() < 0.6 else int(r.integers(fabric.sum_rows))
        kind = r.choice(["add", "add", "add", "clear", "sweep", "none"])
        if kind == "sweep" and row in changed[-2:]:
            kind = "none"
        changed.append(row if kind in ("add", "clear") else None)
        swept = row if kind == "sweep" else swept
        update = {
            "state": (swept or 0) // (1 + fabric.ahead) * fabric.groups + int(r.integers(fabric.groups)),
            "place": int(r.integers(1 << fabric.place_bits)),
            "parameter": int(r.integers(fabric.parameter_rows)),
            "mask": int(r.integers(1 << fabric.update_lanes)),
            "slot": int(r.integers(fabric.populations)),
            "fresh": int(r.integers(2)),
            "last": int(r.integers(2)),
        }
        operation = {name: int(name == kind) for name in ("add", "clear", "sweep")}
        operation |= {"row": row, "weights": int(r.integers(fabric.weight_words))}
        due = kind == "sweep" or (fabric.pipelined and swept is not None and r.random() < 0.3)
        out.append({"operation": operation, "due": int(due), "update": update})
    return out


def cleared(fabric):
    """A Walk's first operations."""
    return [operation(fabric, clear=1, row=n) for n in range(fabric.sum_rows)]


def operation(fabric, due=0, **fields):
    """One alone, without an update or with one of the first group."""
    update = dict.fromkeys(("state", "place", "parameter", "mask", "slot", "fresh", "last"), 0)
    blank = dict.fromkeys(("add", "clear", "sweep", "row", "weights"), 0)
    return {"operation": blank | fields, "due": due, "update": update}


def paced(operations, fabric):
    """The same with pauses in which an update stays until its sums are there, where the Fabric asks for that."""
    wait = 0 if fabric.pipelined else Synapses.latency(fabric)
    return [each for o in operations
            for each in (o, *[operation(fabric) | {"update": o["update"]}] * (wait * o["due"]))]


def integrate(operations, weights, sums, fabric):
    """What updates find; changes `sums` (rows, lanes)."""
    out, half, swept = [], 1 << fabric.sum_bits - 1, None
    for each in operations:
        o, update = each["operation"], each["update"]
        row = sums[o["row"]]
        if o["sweep"]:
            swept = row.reshape(fabric.groups, -1).copy()
        elif o["clear"]:
            row[:] = 0
        elif o["add"]:
            row[:] = (row + weights[o["weights"]] + half) % (2 * half) - half
        if each["due"]:
            out.append({"sums": swept[update["state"] % fabric.groups].tolist(), "update": update})
    return out


@FABRICS
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_sums_are_those_of_numpy(engine, fabric, stall):
    r = np.random.default_rng(1)
    half = 1 << fabric.weight_bits - 1
    weights = r.integers(-half, half, (fabric.weight_words, fabric.lanes))
    words, load = stored(weights, fabric)
    sums = np.zeros((fabric.sum_rows, fabric.lanes), int)
    with open_engine(synapses(fabric), engine, stall=stall) as simulation:
        talk(simulation, {"write": load, "i": cleared(fabric)}, {})
        for _ in range(many(engine, 10)):
            operations = random_operations(r, fabric, 200)
            operations[-1] = operation(fabric, add=1)
            operations = paced(operations, fabric)
            expected = integrate(operations, weights, sums, fabric)
            asked = r.integers([fabric.weight_words, fabric.weight_chunks], size=(20, 2)).tolist()
            read = [{"space": Space.WEIGHTS, "address": n, "chunk": chunk} for n, chunk in asked]
            out = talk(simulation, {"i": operations, "read": read}, {"o": len(expected), "data": len(read)}, drain=5)
            assert out["o"] == expected
            assert out["data"] == [words[n] >> CHUNK * chunk & 0xFFFF for n, chunk in asked]
            assert talk(simulation, {"read": read}, {"data": len(read)})["data"] == out["data"]  # nothing in the way


@FABRICS
def test_every_weight_is_added_to_every_sum(engine, fabric):
    same = np.arange(1 << fabric.weight_bits).repeat(fabric.lanes).reshape(-1, fabric.lanes)
    _, load = stored(same, fabric)
    half = 1 << fabric.weight_bits - 1
    pause, look = operation(fabric), operation(fabric, due=1, sweep=1)
    operations = []
    for weight in range(many(engine, 1 << min(4, fabric.weight_bits))):  # odd steps through all the sums
        step = [operation(fabric, add=1, weights=weight), pause, pause, look]
        step += [operation(fabric, add=1, weights=1)] * (weight % 2 == 0)
        operations += paced(step, fabric) * (1 << fabric.sum_bits)
    sums = np.zeros((fabric.sum_rows, fabric.lanes), int)
    expected = integrate(operations, (same + half) % (2 * half) - half, sums, fabric)
    with open_engine(synapses(fabric), engine) as simulation:
        talk(simulation, {"write": load, "i": cleared(fabric)}, {})
        assert talk(simulation, {"i": operations}, {"o": len(expected)})["o"] == expected


@FABRICS
def test_an_operation_takes_a_clock(engine, fabric):
    r = np.random.default_rng(2)
    operations = [operation(fabric, due=1, sweep=1, row=int(r.integers(fabric.sum_rows))) for _ in range(100)]
    with open_engine(synapses(fabric), engine) as simulation:
        talk(simulation, {"i": operations}, {"o": 100})
        assert simulation.cycles == 100 + Synapses.latency(fabric)
