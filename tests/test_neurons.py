"""Groups of neurons with their state and parameters, against golden.fire."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom.hdl.neurons import Neurons
from aerloom.models import golden
from aerloom.models.fabric import Space
from aerloom.models.network import Input, Network, Projection
from aerloom.models.place import differs, neuron_values, split
from aerloom.sim.engine import open_engine
from tests.networks import populations
from tests.wrap import TOY, Plain, many, talk

FABRIC = dataclasses.replace(TOY, state_bits=18, sum_bits=20, spike_bits=3)


def fill(network, population, first):
    """Writes for the parameters of a population, from row `first` on: a row for all neurons, or one for each group."""
    lanes, size = FABRIC.update_lanes, population.size
    count = -(-size // lanes) * lanes if differs(population) else lanes
    values = [neuron_values(network, population, min(n, size - 1)) for n in range(count)]
    return stores([FABRIC.neuron_record.pack(**v) for v in values], first)


def stores(words, first):
    """Writes for the parameters of neurons, from row `first` on; each starts with a chunk of its own."""
    chunks = split(words, FABRIC.neuron_record.chunks).reshape(-1, FABRIC.parameter_chunks).tolist()
    return [
        {"place": {"space": Space.PARAMETERS, "address": address, "chunk": n}, "data": data}
        for address, row in enumerate(chunks, first)
        for n, data in enumerate(row)
    ]


def states(address, groups):
    """Reads of the state of some groups."""
    return [
        {"space": Space.STATE, "address": address + n, "chunk": chunk}
        for n in range(groups)
        for chunk in range(FABRIC.state_chunks)
    ]


def membranes(chunks):
    """What they are answered by, as v of each neuron."""
    words = np.array(chunks, "<u2").reshape(-1, FABRIC.state_record.chunks)
    return [FABRIC.state_record.unpack(int.from_bytes(word.tobytes(), "little"))["v"] for word in words]


def groups(population, sums, fresh, parameters, state):
    """The sums of a step as they come in: group by group, padded with noise."""
    lanes, size = FABRIC.update_lanes, population.size
    padded = sums.tolist() + [99] * (-size % lanes)
    return [
        {
            "sums": padded[n * lanes :][:lanes],
            "update": {
                "state": state + n,
                "place": n,
                "parameter": parameters + differs(population) * n,
                "mask": (1 << min(lanes, size - n * lanes)) - 1,
                "slot": 2,
                "fresh": fresh,
                "last": int((n + 1) * lanes >= size),
            },
        }
        for n in range(len(padded) // lanes)
    ]


@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_steps_of_a_population(engine, stall):
    lanes = FABRIC.update_lanes
    with open_engine(Plain(Neurons(FABRIC)), engine, stall=stall) as simulation:

        @settings(max_examples=many(engine, 30), deadline=None)
        @given(populations("p", False, FABRIC.state_bits), st.integers(0, 1), st.integers(0, 5), st.randoms())
        def check(population, parameters, state, r):
            size = population.size
            projection = Projection("in", "p", np.zeros((size, 1), np.int8))
            network = Network((Input("in", (1,)),), (population,), (projection,))
            rule = golden.Rule(population, network, 1 << 19)
            talk(simulation, {"write": fill(network, population, parameters)}, {})
            for step in range(6):
                if step in (0, 4):
                    expected = rule.rest(1)
                sums = np.array([r.randint(-6, 9) for _ in range(size)])
                drive = (sums.astype(rule.dtype) << population.shift)[None]
                expected.clipped = 0
                spikes = np.zeros((1, size), np.uint8)
                golden.fire(expected, drive if rule.bias_late else drive + rule.bias, rule, spikes)

                due = groups(population, sums, int(step in (0, 4)), parameters, state)
                out = talk(simulation, {"i": due}, {"o": len(due)})["o"]
                assert [o["update"] for o in out] == [d["update"] for d in due]
                sent = [n for o in out for n in o["spikes"]]
                assert sent == spikes[0].tolist() + [0] * (-size % lanes)
                assert sum(bin(o["clipped"]).count("1") for o in out) == expected.clipped
            read = states(state, len(due))
            given = talk(simulation, {"read": read}, {"data": len(read)})["data"]
            assert membranes(given)[:size] == expected.v[0].tolist()

        check()


def test_reading_gives_way_to_updates(engine):
    update = dict.fromkeys(("parameter", "mask", "slot", "fresh", "last"), 0)
    due = [{"sums": [n, -n], "update": update | {"state": n % 10}} for n in range(60)]
    loud = FABRIC.neuron_record.pack(decay_v=4096, max_v=100, min_v=-100, threshold=99)
    with open_engine(Plain(Neurons(FABRIC)), engine, stall=0.4) as simulation:
        talk(simulation, {"write": stores([loud, loud], 0)}, {})
        talk(simulation, {"i": due[:10]}, {"o": 10})
        read = states(9, 1) * 20
        data = talk(simulation, {"i": due[:9] * 5, "read": read}, {"o": 45, "data": len(read)})["data"]
    assert membranes(data) == [9, -9] * 20


def test_each_group_by_itself_starts_afresh(engine):
    update = dict.fromkeys(("parameter", "mask", "slot", "last"), 0)
    due = [{"sums": [n, -n], "update": update | {"state": n, "fresh": n % 2}} for n in range(10)]
    still = FABRIC.neuron_record.pack(decay_v=4096, max_v=100, min_v=-100, threshold=99, v0=50)
    with open_engine(Plain(Neurons(FABRIC)), engine) as simulation:
        talk(simulation, {"write": stores([still, still], 0)}, {})
        for _ in range(2):
            talk(simulation, {"i": due}, {"o": 10}, drain=2)
        read = states(0, 10)
        v = membranes(talk(simulation, {"read": read}, {"data": len(read)})["data"])
    assert v == [x for n in range(10) for x in ([50 + n, 50 - n] if n % 2 else [2 * n, -2 * n])]


def test_a_group_takes_a_clock(engine):
    update = dict.fromkeys(("state", "parameter", "mask", "slot", "fresh", "last"), 0)
    with open_engine(Plain(Neurons(FABRIC)), engine) as simulation:
        talk(simulation, {"i": [{"sums": [0, 0], "update": update}] * 30}, {"o": 30})
        assert simulation.cycles == 30 + Neurons.latency(FABRIC)
