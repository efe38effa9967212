"""Fine-tuning: its forward pass is golden's to the last spike, and few bits become enough."""

import dataclasses
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks, samples

from aerloom import AerloomError, Input, Network, Population, Projection
from aerloom.host import encode
from aerloom.models import golden, zoo
from aerloom.models.finetune import finetune, forward
from aerloom.models.quantize import quantize

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def toy(**options: Any) -> Network:
    """Dense, skipping, recurrent and one-to-one weights, in floating point."""
    r = np.random.default_rng(1)

    def weights(*shape: int) -> np.ndarray:
        return r.normal(0.1, 0.5, shape).astype(np.float32)

    output = {"decay_v": 0.95} | options
    return Network(
        (Input("in", (12,)),),
        (Population("h", (9,), decay_v=0.9, decay_i=0.5), Population("g", (9,), refractory=1, reset="value"),
         Population("o", (3,), **output)),
        (Projection("in", "h", weights(9, 12)), Projection("h", "h", weights(9, 9), 1), Projection("h", "g", weights(9)),
         Projection("g", "o", weights(3, 9)), Projection("in", "o", weights(3, 12), 2)),
    )


def toy_samples(count: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Three classes: which four of the inputs spike most."""
    r = np.random.default_rng(2)
    labels = r.integers(0, 3, count)
    rate = np.where(np.arange(12) // 4 == labels[:, None], 0.6, 0.2)
    return (r.random((count, 10, 12)) < rate[:, None]).astype(np.uint8), labels


def check_forward(network: Network, spikes: Any) -> None:
    made, membranes = forward(network, spikes, [torch.tensor(q.weights) for q in network.projections])
    trace = golden.run(network, spikes)
    for name in network.population:
        np.testing.assert_array_equal(made[name].transpose(0, 1), trace.spikes[name])
        np.testing.assert_array_equal(membranes[name], trace.state[name].v)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_forward_is_golden(data: st.DataObject) -> None:
    network = data.draw(networks())
    check_forward(network, data.draw(samples(network)))


def test_gradient_of_a_readout() -> None:
    """A readout is linear in its weights, so steps of any size have the slope that the gradient says."""
    p = Population("p", (2,), decay_v=3686, decay_i=np.array([2048, 3000]), reset="none", shift=2, bias=5)
    start = np.random.default_rng(0).integers(-90, 90, (2, 4))
    spikes = np.random.default_rng(1).integers(0, 2, (3, 6, 4))

    def run(weights: np.ndarray) -> Network:
        return Network((Input("in", (4,)),), (p,), (Projection("in", "p", weights, 1),), state_bits=24)

    weights = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    forward(run(start), spikes, [weights])[1]["p"].sum().backward()
    for place in np.ndindex(start.shape):
        moved = start.copy()
        moved[place] += 10_000
        a, b = (golden.run(run(w), spikes).state["p"].v.sum() for w in (start, moved))
        assert weights.grad[place] == pytest.approx((b - a) / 10_000, abs=0.01)


def test_forward_is_exact_beyond_single_precision() -> None:
    network = Network((Input("in", (600,)),), (Population("p", (2,), threshold=10**6 + 1, reset="value"),),
                      (Projection("in", "p", np.full((2, 600), 32767, np.int16)),), state_bits=28)
    assert golden.largest_sum(network, "p") > 2**24
    check_forward(network, np.random.default_rng(0).integers(0, 2, (3, 5, 600)))


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("rounding", ["floor", "trunc"])
def test_what_trains_is_what_quantize_makes(per_neuron: bool, rounding: str) -> None:
    """The loss of every batch is that of the quantised network, as golden runs it."""
    spikes, labels = toy_samples()
    options: dict[str, Any] = {"bits": 3, "per_neuron": per_neuron, "rounding": rounding}
    losses: list[float] = []
    # so slow that no weight moves: every loss is that of the network given
    finetune(toy(), spikes, labels, lr=1e-30, batch=240, progress=lambda done, loss: losses.append(loss), **options)
    counts = golden.run(quantize(toy(), **options).network, spikes).spikes["o"].sum(axis=1, dtype=np.float64)
    expected = np.log(np.exp(counts).sum(axis=1)) - counts[np.arange(len(labels)), labels]
    assert losses == pytest.approx([expected.mean()], rel=1e-5)


@pytest.mark.parametrize("options", [
    {}, {"reset": "none"}, {"reset": "value", "reset_delay": 1}, {"reset_delay": 1}, {"max_spikes": 3},
    {"decay_i": 0.6, "min_v": -2.0, "max_v": 3.0},
], ids=str)  # fmt: skip
def test_learns(options: dict[str, Any]) -> None:
    network, (spikes, labels) = toy(**options), toy_samples()
    losses: list[float] = []
    done: list[float] = []

    def progress(share: float, loss: float) -> None:
        done.append(share)
        losses.append(loss)

    tuned = finetune(network, spikes, labels, bits=2, epochs=4, lr=1e-2, batch=48, per_neuron=False, progress=progress)
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    assert done == pytest.approx(np.arange(1, 21) / 20)
    assert tuned.meta["finetuned"] == {"bits": 2, "epochs": 4, "lr": 1e-2, "seed": 0, "per_neuron": False}
    assert all(np.any(a.weights != b.weights) for a, b in zip(network.projections, tuned.projections, strict=True))
    same = tuned.replace(projections=network.projections)
    assert same.hash == network.hash  # nothing but weights changed


def test_digits_at_two_bits_and_one_scale() -> None:
    network = zoo.load("digits")
    values, labels = zoo.samples("digits")
    steps = zoo.encoding(network)["steps"]
    half = len(labels) // 2  # learns from one half of what ships, and is judged by the other
    tuned = finetune(network, values[:half], labels[:half], bits=2, per_neuron=False, epochs=3, lr=5e-4, batch=32,
                     encode=lambda taken, seed: encode.rate(taken, steps, seed=seed))

    def accuracy(net: Network) -> float:
        integer = quantize(net, 2, per_neuron=False).network
        return float(np.mean(golden.classes(integer, golden.run(integer, spikes)) == labels[half:]))

    spikes = encode.rate(values[half:], steps, seed=1)
    assert accuracy(tuned) > accuracy(network) + 0.05


def test_the_seed_decides() -> None:
    spikes, labels = toy_samples(30)
    a, b, c = (finetune(toy(), spikes, labels, batch=10, seed=seed).hash for seed in (3, 3, 4))
    assert a == b != c


def test_several_inputs_come_as_a_mapping() -> None:
    spikes, labels = toy_samples(30)
    network = toy()
    two = network.replace(inputs=(*network.inputs, Input("more", (12,))),
                          projections=(*network.projections, dataclasses.replace(network.projections[0], source="more")))
    finetune(two, {"in": spikes, "more": spikes}, labels)
    with pytest.raises(AerloomError, match="'more': no spikes given"):
        finetune(two, {"in": spikes}, labels)


def test_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    spikes, labels = toy_samples(30)
    for wrong, message in (
        ({"labels": labels[:-1]}, r"one label per sample, not \(29,\) for \[30\]"),
        ({"labels": labels + 1}, "whole numbers 0 … 2, neurons of o"),
        ({"labels": labels / 2}, "whole numbers"),
        ({"network": quantize(toy(), 4).network}, "quantised already"),
        ({"bits": 1}, "2 … 16 bits"),
        ({"epochs": 0}, "above 0"),
        ({"lr": -1.0}, "above 0"),
        ({"samples": spikes + 1}, "0 … 1 per step"),
    ):
        with pytest.raises(AerloomError, match=message):
            finetune(**{"network": toy(), "samples": spikes, "labels": labels} | wrong)
    folded = toy()
    object.__setattr__(folded.projections[0], "weights", np.zeros((9, 1, 2, 2), np.float32))
    with pytest.raises(AerloomError, match=r"in → h: .* convolution and pooling cannot"):
        finetune(folded, spikes, labels)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(AerloomError, match=r"pip install aerloom\[train\]"):
        finetune(toy(), spikes, labels)
