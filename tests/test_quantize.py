"""Quantisation: scales, thresholds that mean the same, and what the report says."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import AerloomError, Input, Network, Population, Projection
from aerloom.models import golden
from aerloom.models.quantize import find_scale, integer_range, quantize


def network(r: np.random.Generator, **options: object) -> Network:
    return Network(
        (Input("in", (12,)),),
        (Population("h", (7,), **({"decay_v": 0.9, "bias": r.normal(0, 0.1, 7).astype(np.float32), "threshold": 1.0}
                                  | options)),
         Population("o", (3,), decay_v=0.95, threshold=0.8)),
        (Projection("in", "h", r.normal(0, 0.5, (7, 12)).astype(np.float32)),
         Projection("h", "h", r.normal(0, 0.3, (7, 7)).astype(np.float32), 1),
         Projection("h", "o", r.normal(0, 0.6, (3, 7)).astype(np.float32))),
    )


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("per_neuron", [True, False])
def test_weights_keep_to_their_bits_and_their_scale(bits: int, per_neuron: bool) -> None:
    net = network(np.random.default_rng(bits))
    made = quantize(net, bits, per_neuron=per_neuron)
    low, high = integer_range(bits)
    for a, b in zip(net.projections, made.network.projections, strict=True):
        assert b.weights.min() >= low and b.weights.max() <= high
        assert made.report.weights[str(a)]["snr_db"] > 5.5 * bits - 12
    # a threshold stays where it was among the weights of its neuron
    h, integer = net.population["h"], made.network.population["h"]
    scale = find_scale(np.concatenate([net.projections[0].weights, net.projections[1].weights], axis=1), bits, per_neuron)
    k = scale * 2**integer.shift
    np.testing.assert_array_equal(integer.threshold, np.ceil(h.threshold * k)[: np.size(integer.threshold)])
    np.testing.assert_allclose(integer.bias, np.broadcast_to(h.bias * k, 7), atol=0.5)


@given(st.floats(-50, 50), st.integers(-40, 40), st.booleans())
def test_a_threshold_means_the_same_for_every_integer_membrane(threshold: float, v: int, strict: bool) -> None:
    net = Network(
        (Input("in", (1,)),),
        (Population("p", (1,), decay_v=1.0, threshold=threshold, strict=strict, reset="none"),),
        (Projection("in", "p", np.ones((1, 1), np.float32)),),
    )
    spiking = net.replace(populations=(Population("p", (1,), threshold=threshold, strict=strict, reset_by=1.0),))
    p = quantize(spiking, 2).network.populations[0]  # the scale of one weight of 1.0 in 2 bits is 1, times 2^shift
    k = 2**p.shift
    assert (v >= p.threshold) == (v > threshold * k if strict else v >= threshold * k)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_sixteen_bits_change_little(seed: int) -> None:
    r = np.random.default_rng(seed)
    net = network(r)
    spikes = (r.random((4, 15, 12)) < 0.4).astype(np.uint8)
    report = quantize(net, 16, state_bits=24, calibration=spikes, labels=np.zeros(4, int)).report
    assert report.populations["h"]["steps_that_differ"] < 0.05
    assert set(report.accuracy) == {"float", "golden"}


def test_coarse_weights_keep_a_fine_membrane() -> None:
    made = quantize(network(np.random.default_rng(3)), 2).network
    for p in made.populations:
        assert p.shift == 7 or (p.shift > 0 and np.median(p.threshold) >= 256)


def test_one_outlying_weight_hurts_only_its_neuron() -> None:
    r = np.random.default_rng(0)
    weights = r.normal(0, 0.1, (8, 50)).astype(np.float32)
    weights[3, 7] = -13.4
    net = Network((Input("in", (50,)),), (Population("p", (8,), threshold=1.0),), (Projection("in", "p", weights),))
    snr = {per: quantize(net, 8, per_neuron=per).network.projections[0].weights for per in (True, False)}
    others = np.arange(8) != 3
    scale = {per: find_scale(weights, 8, per)[:, None] for per in snr}
    error = {per: np.abs(snr[per] / scale[per] - weights)[others].max() for per in snr}
    assert error[True] * 5 < error[False]


def test_several_spikes_divide_alike() -> None:
    net = Network(
        (Input("in", (4,)),), (Population("p", (2,), threshold=1.0, max_spikes=5),),
        (Projection("in", "p", np.eye(2, 4, dtype=np.float32) * 4),),
    )
    spikes = np.ones((1, 3, 4), np.uint8)
    made = quantize(net, 8).network
    np.testing.assert_array_equal(golden.run(made, spikes).spikes["p"], golden.run(net, spikes).spikes["p"])


def test_readouts_and_empty_neurons() -> None:
    weights = np.zeros((3, 4), np.float32)
    weights[0] = 1.0
    readout = Population("p", (3,), decay_v=0.9, reset="none")
    net = Network((Input("in", (4,)),), (readout,), (Projection("in", "p", weights),))
    assert np.all(np.isfinite(quantize(net, 4).network.population["p"].threshold))


@pytest.mark.parametrize("call, says", [
    (lambda n: quantize(n, 1), "2 … 16 bits, not 1"),
    (lambda n: quantize(n, 17), "2 … 16 bits, not 17"),
    (lambda n: quantize(quantize(n).network), "quantised already"),
    (lambda n: quantize(n, 16, state_bits=10), "h: threshold, bias or reset reaches .* beyond a state of 10 bits"),
])
def test_refuses(call: Callable[[Network], object], says: str) -> None:
    with pytest.raises(AerloomError, match=says):
        call(network(np.random.default_rng(0)))
