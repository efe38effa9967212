"""Row operations on sums, against NumPy."""

import dataclasses

import numpy as np
import pytest

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


def synapses(fabric):
    return Plain(Synapses(fabric))


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
    out, row, changed = [], 0, [None, None]
    for _ in range(count):
        row = row if r.random() < 0.6 else int(r.integers(fabric.rows))
        kind = r.choice(["add", "add", "add", "clear", "sweep", "none"])
        if kind == "sweep" and row in changed[-2:]:
            kind = "none"
        changed.append(row if kind in ("add", "clear") else None)
        update = {
            "state": row * fabric.groups + int(r.integers(fabric.groups)),
            "place": int(r.integers(1 << fabric.place_bits)),
            "parameter": int(r.integers(fabric.parameter_rows)),
            "mask": int(r.integers(1 << fabric.update_lanes)),
            "slot": int(r.integers(fabric.populations)),
            "fresh": int(r.integers(2)),
            "last": int(r.integers(2)),
        }
        operation = {name: int(name == kind) for name in ("add", "clear", "sweep")}
        weights = int(r.integers(fabric.weight_words))
        out.append(operation | {"row": row, "weights": weights, "update": update})
    return out


def cleared(fabric):
    """A Walk's first operations."""
    blank = random_operations(np.random.default_rng(0), fabric, 1)[0] | {"add": 0, "clear": 1, "sweep": 0}
    return [blank | {"row": n} for n in range(fabric.rows)]


def paced(operations, fabric):
    """The same with pauses in which an update stays until its sums are there, where the Fabric asks for that."""
    wait = 0 if fabric.pipelined else Synapses.latency
    return [each for o in operations
            for each in (o, *[o | {"add": 0, "clear": 0, "sweep": 0}] * (wait * o["sweep"]))]


def integrate(operations, weights, sums, fabric):
    """What a sweep finds; changes `sums` (rows, lanes)."""
    out, half = [], 1 << fabric.sum_bits - 1
    for o in operations:
        row = sums[o["row"]]
        if o["sweep"]:
            group = o["update"]["state"] % fabric.groups
            out.append({"sums": row.reshape(fabric.groups, -1)[group].tolist(), "update": o["update"]})
        elif o["clear"]:
            row[:] = 0
        elif o["add"]:
            row[:] = (row + weights[o["weights"]] + half) % (2 * half) - half
    return out


@FABRICS
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_sums_are_those_of_numpy(engine, fabric, stall):
    r = np.random.default_rng(1)
    half = 1 << fabric.weight_bits - 1
    weights = r.integers(-half, half, (fabric.weight_words, fabric.lanes))
    words, load = stored(weights, fabric)
    sums = np.zeros((fabric.rows, fabric.lanes), int)
    with open_engine(synapses(fabric), engine, stall=stall) as simulation:
        talk(simulation, {"write": load, "i": cleared(fabric)}, {})
        for _ in range(many(engine, 10)):
            operations = random_operations(r, fabric, 200)
            operations[-1] |= {"add": 1, "clear": 0, "sweep": 0}
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
    add = random_operations(np.random.default_rng(2), fabric, 1)[0] | {"row": 0, "add": 1, "clear": 0, "sweep": 0}
    pause = add | {"add": 0}
    look = pause | {"sweep": 1}
    operations = []
    for weight in range(many(engine, 1 << min(4, fabric.weight_bits))):  # odd steps through all the sums
        step = [add | {"weights": weight}, pause, pause, look] + [add | {"weights": 1}] * (weight % 2 == 0)
        operations += paced(step, fabric) * (1 << fabric.sum_bits)
    sums = np.zeros((fabric.rows, fabric.lanes), int)
    expected = integrate(operations, (same + half) % (2 * half) - half, sums, fabric)
    with open_engine(synapses(fabric), engine) as simulation:
        talk(simulation, {"write": load, "i": cleared(fabric)}, {})
        assert talk(simulation, {"i": operations}, {"o": len(expected)})["o"] == expected


@FABRICS
def test_an_operation_takes_a_clock(engine, fabric):
    r = np.random.default_rng(2)
    operations = [o | {"sweep": 1, "add": 0} for o in random_operations(r, fabric, 100)]
    with open_engine(synapses(fabric), engine) as simulation:
        talk(simulation, {"i": operations}, {"o": 100})
        assert simulation.cycles == 100 + Synapses.latency
