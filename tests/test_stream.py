"""Components that streams of anything pass through."""

import numpy as np
import pytest

from aerloom.hdl.stream import Buffer, Merge
from aerloom.sim.engine import open_engine
from tests.wrap import Plain, many

STALLS = pytest.mark.parametrize("stall", [0.3, 0.8])


@STALLS
def test_a_buffer_keeps_every_item_in_order(engine, stall):
    items = np.random.default_rng(1).integers(0, 256, many(engine, 5000))
    with open_engine(Plain(Buffer(8)), engine, stall=stall, seed=1) as simulation:
        np.testing.assert_array_equal(simulation.exchange({"i": items}, {"o": len(items)}, drain=9)["o"], items)


def test_a_buffer_takes_an_item_per_clock(engine):
    with open_engine(Plain(Buffer(8)), engine) as simulation:
        simulation.exchange({"i": range(100)}, {"o": 100})
    assert simulation.cycles == 100 + 1


@STALLS
@pytest.mark.parametrize("inputs", [2, 3])
def test_a_merge_loses_nothing_and_keeps_each_inputs_order(engine, inputs, stall):
    count = many(engine, 2000)
    send = {f"i{n}": np.arange(count // (n + 1)) << 2 | n for n in range(inputs)}
    total = sum(map(len, send.values()))
    with open_engine(Plain(Merge(16, inputs)), engine, stall=stall, seed=inputs) as simulation:
        out = simulation.exchange(send, {"o": total}, drain=9)["o"]
    assert len(out) == total
    for n in range(inputs):
        np.testing.assert_array_equal(out[out & 3 == n], send[f"i{n}"])


@pytest.mark.parametrize("inputs", [2, 3])
def test_a_merge_serves_everybody_in_turn_and_an_item_per_clock(engine, inputs):
    with open_engine(Plain(Merge(16, inputs)), engine) as simulation:
        out = simulation.exchange({f"i{n}": [n] * 20 for n in range(inputs)}, {"o": 20 * inputs})["o"]
        assert simulation.cycles == 20 * inputs
        for n in range(inputs):  # nobody else has anything
            simulation.exchange({f"i{n}": [n] * 20}, {"o": 20})
        assert simulation.cycles == 40 * inputs
    assert {len(set(out[n : n + inputs].tolist())) for n in range(len(out) - inputs + 1)} == {inputs}
