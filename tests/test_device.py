"""The Device: live streams, what can be read back, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest

from aerloom import AerloomError, Device, Fabric, Input, Network, Population, Projection, connect
from aerloom.host.loaded import unwrap
from aerloom.models import golden
from aerloom.models.fabric import Kind
from aerloom.models.place import packet

TINY = Fabric.preset("tiny")


def network(**options: object) -> Network:
    r = np.random.default_rng(0)
    return Network(
        (Input("in", (2, 3)),),
        (Population("hidden", (5,), decay_v=3900, threshold=12, **options),
         Population("out", (3,), threshold=20, v0=2)),
        (Projection("in", "hidden", r.integers(-5, 9, (5, 6)).astype(np.int8)),
         Projection("hidden", "out", r.integers(-9, 20, (3, 5)).astype(np.int8))),
    )


def spikes(batch: int = 2, steps: int = 9) -> np.ndarray:
    return (np.random.default_rng(1).random((batch, steps, 2, 3)) < 0.5).astype(np.uint8)


def test_stream_answers_step_by_step(chips: Callable[..., Device]) -> None:
    device, net = chips(TINY), network()
    device.load(net, watch=["hidden", "out"])
    live = list(device.stream(spikes()[0]))
    expected = golden.run(net, spikes()[:1]).spikes
    for name in ("hidden", "out"):
        np.testing.assert_array_equal([step[name] for step in live], expected[name][0])
    np.testing.assert_array_equal(device.peek("out"), golden.run(net, spikes()[:1]).state["out"].v[0])


def test_one_sample_needs_no_batch(chips: Callable[..., Device]) -> None:
    device = chips(TINY)
    device.load(network())
    one, many = device.run(spikes()[0]), device.run(spikes())
    np.testing.assert_array_equal(one.spikes["out"][0], many.spikes["out"][0])
    assert list(one.spikes) == ["out"]  # outputs are what is watched by default


@pytest.mark.parametrize("reset", ["subtract", "none"])
def test_infer_is_golden_classes(chips: Callable[..., Device], reset: str) -> None:
    net = network()
    layers = (net.populations[0], Population("out", (3,), threshold=20, reset=reset))
    net = net.replace(populations=layers)
    device = chips(TINY)
    device.load(net)
    done: list[int] = []
    found = device.infer(spikes(7), progress=done.append)
    np.testing.assert_array_equal(found, golden.classes(net, golden.run(net, spikes(7))))
    assert done


def test_weights_can_be_read_back(chips: Callable[..., Device]) -> None:
    device, net = chips(TINY), network()
    placement = device.load(net)
    link = placement.cores[0].links[0]
    words = device.weights(0, link.weights, 6)  # first row: neurons 0 … 3
    np.testing.assert_array_equal(words, net.projections[0].weights[:4].T)
    everything = device.weights(0, 0, TINY.weight_words)  # more than one READ asks for
    assert everything.shape == (TINY.weight_words, TINY.lanes)
    np.testing.assert_array_equal(everything[link.weights :][:6], words)


def test_several_spikes_of_an_input(chips: Callable[..., Device]) -> None:
    net = Network(
        (Input("in", (4,), 3),), (Population("p", (2,), threshold=100, reset="none"),),
        (Projection("in", "p", np.array([[1, 2, 3, 4], [-1, 0, 5, 7]], np.int8)),),
    )
    device = chips(TINY)
    device.load(net)
    device.run(np.array([[3, 0, 1, 2]], np.uint8))
    assert device.peek("p").tolist() == [3 + 3 + 8, -3 + 5 + 14]


def test_refuses(chips: Callable[..., Device]) -> None:
    device = chips(TINY)
    device.load(network())
    for call, says in (
        (lambda: device.run(np.zeros((2, 9, 7))), r"must have the shape \(batch, steps, 2, 3\)"),
        (lambda: device.run({"inn": np.zeros((1, 9, 6))}), "does not have as inputs"),
        (lambda: device.run(np.zeros((1, 70000, 6), bool)), "65535 steps, not 70000"),
        (lambda: device.peek("nobody"), "'nobody' is not a population; there are hidden, out"),
        (lambda: device.peek("out", "w"), "state has v, i, after"),
        (lambda: device.load(network(), watch=["in"]), "'in' is not a population"),
        (lambda: device.load(network(), cores=2), "has 1 core; 2 cannot be used"),
        (lambda: connect("sim", "huge"), "no Fabric is called 'huge'; there are tiny"),
        (lambda: connect("moon"), "cannot connect to 'moon'; there are serial, sim, virtual"),
        (lambda: connect("sim", TINY, engine="moon"), "no simulation engine 'moon'"),
    ):
        with pytest.raises(AerloomError, match=says):
            call()


def test_refuses_to_run_before_a_network_is_loaded() -> None:
    class Nothing:
        fabric = TINY

        def exchange(self, words: np.ndarray, replies: int, progress: object = None) -> np.ndarray:
            chunks = [TINY.digest >> 16 * n & 0xFFFF for n in range(4)]
            return np.array([packet(Kind.VALUE, 1023, chunk) for chunk in chunks], np.uint32)

        def close(self) -> None: ...

    with Device(Nothing()) as device, pytest.raises(AerloomError, match="no network is loaded; call load first"):
        device.run(spikes())
    Nothing.fabric = Fabric.preset("quad")
    with pytest.raises(AerloomError, match="the chip is not of Fabric quad"):
        Device(Nothing())


def test_time_stamps_wrap() -> None:
    real = np.cumsum([3, 5, 7, 7, 1, 6])
    np.testing.assert_array_equal(unwrap(real % 8, 3), real)
