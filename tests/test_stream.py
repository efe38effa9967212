"""Components that streams of anything pass through."""

from functools import partial

import numpy as np
import pytest

from aerloom.hdl.stream import Buffer, First, Hold, Merge, Queue, Register
from aerloom.sim.engine import open_engine
from aerloom.sim.traffic import Stuck
from tests.wrap import Plain, many

STALLS = pytest.mark.parametrize("stall", [0.3, 0.8])


@STALLS
@pytest.mark.parametrize("waits", [
    partial(Buffer, 8), partial(Hold, 8), partial(Queue, 8, 1), partial(Queue, 8, 5), partial(Register, 8)])
def test_every_item_is_kept_in_order(engine, waits, stall):
    items = np.random.default_rng(1).integers(0, 256, many(engine, 5000))
    with open_engine(Plain(waits()), engine, stall=stall, seed=1) as simulation:
        np.testing.assert_array_equal(simulation.exchange({"i": items}, {"o": len(items)}, drain=9)["o"], items)


@pytest.mark.parametrize("waits, latency", [(partial(Buffer, 8), 1), (partial(Hold, 8), 1), (partial(Queue, 8, 2), 2)])
def test_an_item_per_clock(engine, waits, latency):
    with open_engine(Plain(waits()), engine) as simulation:
        simulation.exchange({"i": range(100)}, {"o": 100})
    assert simulation.cycles == 100 + latency


@pytest.mark.parametrize("depth", [1, 4])
def test_a_queue_holds_its_depth_and_one_more(depth):
    with open_engine(Plain(Queue(8, depth), deaf=["o"]), "compiled") as simulation:
        simulation.exchange({"i": range(depth + 1)}, {})
        with pytest.raises(Stuck):
            simulation.exchange({"i": [0]}, {})


@STALLS
@pytest.mark.parametrize("inputs", [2, 3])
@pytest.mark.parametrize("merge", [Merge, First])
def test_a_merge_loses_nothing_and_keeps_each_inputs_order(engine, merge, inputs, stall):
    count = many(engine, 2000)
    send = {f"i{n}": np.arange(count // (n + 1)) << 2 | n for n in range(inputs)}
    total = sum(map(len, send.values()))
    with open_engine(Plain(merge(16, inputs)), engine, stall=stall, seed=inputs) as simulation:
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


def test_the_first_goes_first_and_an_item_per_clock(engine):
    with open_engine(Plain(First(16, 3)), engine) as simulation:
        out = simulation.exchange({f"i{n}": [n] * 20 for n in (2, 0, 1)}, {"o": 60})["o"]
        assert simulation.cycles == 61
    assert out.tolist() == [0] * 20 + [1] * 20 + [2] * 20
