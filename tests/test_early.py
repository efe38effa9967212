"""Early exit: 'decided' never changes an answer and could not come earlier; a chip leaves where the model does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import AerloomError, Fabric, Input, Network, Population, Projection, quantize
from aerloom.host.dataset import spikes_of
from aerloom.models import golden, zoo
from aerloom.models.early import Exit


def readout(neurons: int, **options: Any) -> Network:
    weights = np.ones((neurons, 2), np.int8)
    return Network((Input("in", (2,)),), (Population("out", (neurons,), threshold=1, **options),),
                   (Projection("in", "out", weights),))


@st.composite
def runs(draw: st.DrawFn) -> tuple[Network, np.ndarray]:
    """An output of any size, and spikes that it may send."""
    most, refractory, neurons = draw(st.sampled_from((1, 3))), draw(st.sampled_from((0, 0, 2))), draw(st.integers(1, 4))
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spikes = r.integers(0, most + 1, (6, draw(st.integers(1, 9)), neurons)) * (r.random(neurons) < draw(
        st.sampled_from((0.3, 1.0))))
    for t in range(1, spikes.shape[1]):
        spikes[:, t] *= ~spikes[:, max(0, t - refractory) : t].any(axis=1)
    return readout(neurons, max_spikes=most, refractory=refractory, reset_delay=0), spikes


@given(runs())
def test_decided_never_changes_the_answer(run: tuple[Network, np.ndarray]) -> None:
    net, spikes = run
    found = Exit(net, spikes.shape[1]).exits(spikes)
    np.testing.assert_array_equal(found.classes, spikes.sum(axis=1).argmax(axis=1))
    assert found.steps.min() >= 1 and found.steps.max() <= spikes.shape[1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3))
def test_decided_is_as_early_as_can_be(seed: int, neurons: int) -> None:
    """Against every way in which the steps that remain could go on: it is left exactly when all of them agree."""
    steps, r = 4, np.random.default_rng(seed)
    spikes = r.integers(0, 2, (1, steps, neurons))
    left = int(Exit(readout(neurons), steps).exits(spikes).steps[0])
    for t in range(1, steps):
        ends = {int((spikes[0, :t].sum(axis=0) + np.reshape(rest, (steps - t, neurons)).sum(axis=0)).argmax())
                for rest in itertools.product((0, 1), repeat=(steps - t) * neurons)}
        assert (t >= left) == (len(ends) == 1)


@given(runs(), st.integers(1, 5))
def test_margin(run: tuple[Network, np.ndarray], margin: int) -> None:
    net, spikes = run
    steps = spikes.shape[1]
    found, decided = (Exit(net, steps, when).exits(spikes) for when in (margin, "decided"))
    assert np.all(found.steps <= decided.steps)
    for n, at in enumerate(found.steps):
        leads = np.sort(np.cumsum(spikes[n], axis=0), axis=1)
        lead = leads[:, -1] - (leads[:, -2] if leads.shape[1] > 1 else -99)
        assert lead[at - 1] >= margin or at == decided.steps[n]
        assert np.all(lead[: at - 1] < margin)


def test_refractory_steps_make_it_earlier() -> None:
    spikes = np.zeros((1, 9, 2), int)
    spikes[0, ::3, 0] = 1  # in steps 0, 3 and 6; after three, the other could send two more, at most
    assert Exit(readout(2, refractory=2), 9).exits(spikes).steps[0] == 4
    assert Exit(readout(2), 9).exits(spikes).steps[0] == 7


@pytest.mark.parametrize("when", ["decided", 2])
def test_a_chip_leaves_where_the_model_does(chips: Any, when: str | int) -> None:
    exact = zoo.load("digits")
    net = quantize(exact, 4).network
    spikes = spikes_of(exact, zoo.samples("digits")[0][:6])
    trace = golden.run(net, spikes)
    expected = Exit(net, spikes.shape[1], when).exits(trace.spikes["output"])
    device = chips(Fabric("floor", cores=2, lanes=4, update_lanes=1, weight_words=4096, rows=64, parameter_rows=256,
                          ahead=False))
    device.load(net)
    done: list[int] = []
    found = device.decide(spikes, when, progress=done.append)
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_array_equal(found.steps, expected.steps)
    assert done == [1, 2, 3, 4, 5, 6] and expected.steps.mean() < 23
    np.testing.assert_array_equal(device.infer(spikes, early=when), expected.classes)
    if when == "decided":
        np.testing.assert_array_equal(device.infer(spikes), found.classes)
    # the deciding step comes when it comes in a whole run, as no source is ahead: how far one is would be the host's doing
    for n, steps in enumerate(found.steps):
        assert found.cycles[n] == device.run(spikes[n : n + 1]).cycles[0, steps - 1]


def test_words_for_what_cannot_be() -> None:
    with pytest.raises(AerloomError, match="'out' does not spike"):
        Exit(readout(3, reset="none"), 5)
    for when in (0, "soon", True, 1.5):
        with pytest.raises(AerloomError, match="a sample is left when it is 'decided'"):
            Exit(readout(3), 5, when)
