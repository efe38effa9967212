"""Encoders."""

from collections.abc import Callable

import numpy as np
import pytest

from aerloom import AerloomError, Input, Network, Population, Projection
from aerloom.host import encode
from aerloom.models import golden
from aerloom.models.encode import images


def test_rate_is_a_rate_and_repeats() -> None:
    values = np.array([[0.0, 0.25, 1.0]])
    spikes = encode.rate(values, 4000, seed=3)
    assert spikes.shape == (1, 4000, 3) and spikes.dtype == np.uint8
    np.testing.assert_allclose(spikes.mean(axis=1), values, atol=0.03)
    np.testing.assert_array_equal(spikes, encode.rate(values, 4000, seed=3))
    assert np.any(spikes != encode.rate(values, 4000, seed=4))
    np.testing.assert_allclose(encode.rate(values, 4000, max_rate=0.5).mean(axis=1), values / 2, atol=0.03)


def test_rate_is_what_its_docstring_says() -> None:
    draws = np.random.default_rng(5).random((2, 3, 4), dtype=np.float32)
    values = np.full((2, 4), 0.5, np.float32)
    np.testing.assert_array_equal(encode.rate(values, 3, seed=5), draws < 0.5)


def test_lfsr_is_what_a_chip_sends_of_an_image() -> None:
    net = Network((Input("in", (2, 3)),), (Population("p", (2,)),), (Projection("in", "p", np.zeros((2, 6))),))
    values = np.random.default_rng(1).random((4, 2, 3))
    spikes = encode.encode("lfsr", values, 30, seed=9)
    assert spikes.shape == (4, 30, 2, 3) and spikes.dtype == np.uint8
    np.testing.assert_array_equal(spikes.reshape(4, 30, 6), images(net, values, 30, seed=9).spikes()["in"])


def test_latency() -> None:
    spikes = encode.latency(np.array([[1.0, 0.5, 0.0, 0.02]]), 11)
    assert spikes.sum(axis=1).tolist() == [[1, 1, 0, 1]]
    assert spikes[0].argmax(axis=0).tolist() == [0, 5, 0, 10]


def test_delta_follows_the_signal() -> None:
    values = np.linspace(0, 1, 50).reshape(1, 50, 1)
    spikes = encode.delta(np.concatenate([values, values[:, ::-1]], axis=1), 0.1)
    up, down = spikes[0, :, 0], spikes[0, :, 1]
    assert up[:50].sum() in (9, 10) and down[:50].sum() == 0
    assert up[50:].sum() == 0 and down[50:].sum() in (9, 10)


def test_direct_is_a_current_in_every_step() -> None:
    net = Network(
        (Input("in", (1,)),), (Population("p", (3,), threshold=10),), (Projection("in", "p", np.zeros((3, 1), np.int8)),)
    )
    coded = encode.direct(net, np.array([0, 5, 10]))
    spikes = golden.run(coded, np.zeros((1, 4, 1), np.uint8)).spikes["p"]
    assert spikes.sum(axis=1).tolist() == [[0, 2, 4]]
    with pytest.raises(AerloomError, match="p: the network is in integers"):
        encode.direct(net, np.array([0.5, 0.5, 0.5]))
    with pytest.raises(AerloomError, match="p: direct coding takes 3 finite values, not 2"):
        encode.direct(net, np.array([1, 2]))


@pytest.mark.parametrize("call, says", [
    (lambda: encode.rate([[1.5]], 3), "must be in 0 … 1, not 1.5"),
    (lambda: encode.rate([[np.nan]], 3), "must be in 0 … 1"),
    (lambda: encode.rate([[0.5]], 3, max_rate=2), "max_rate is a probability, 0 … 1, not 2"),
    (lambda: encode.lfsr([[0.5]], 3, seed=-1), "seed must be at least 0"),
    (lambda: encode.rate([0.5], 3), r"must be \(batch, …\)"),
    (lambda: encode.rate([[0.5]], 0), "at least one step"),
    (lambda: encode.encode("morse", [[0.5]], 3), "no encoder 'morse'; there are rate, lfsr, latency"),
    (lambda: encode.delta(np.zeros((2, 3))), r"delta takes values \(batch, steps, n\)"),
])
def test_refuses(call: Callable[[], object], says: str) -> None:
    with pytest.raises(AerloomError, match=says):
        call()
