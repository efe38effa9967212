"""Conversion: the spiking network answers as the ReLU network it was made of, in floating point and in 8 bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import AerloomError, Device, Fabric, quantize
from aerloom.models import golden, zoo
from aerloom.models.convert import Converted, balance, convert, curve, encode, evaluate, forward
from aerloom.models.draft import Draft
from aerloom.models.graph import Graph, Node

X, Y = zoo.samples("digits")
TRAIN, TEST = slice(0, 300), slice(300, 450)
IMAGES = X.reshape(-1, 1, 8, 8)


def mlp(*layers: tuple[Any, Any], shape: tuple[int, ...] = (64,)) -> Graph:
    draft = Draft("a test")
    last = draft.add("input", "Input", shape=shape)
    if len(shape) > 1:
        last = draft.flatten("flat", last)
    for n, (w, b) in enumerate(layers):
        last = draft.dense(f"fc{n}", draft.relu(f"relu{n - 1}", last) if n else last, w, b)
    draft.add("output", "Output", [last])
    return draft.finish()


@pytest.fixture(scope="module")
def trained() -> Graph:
    """A multilayer perceptron 64-32-24-10, trained with Adam on 300 digits."""
    random = np.random.default_rng(1)
    sizes = [(64, 32), (32, 24), (24, 10)]
    params = [p for a, b in sizes for p in (random.normal(0, math.sqrt(2 / a), (b, a)), np.zeros(b))]
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    x, y = X[TRAIN].astype(float), np.eye(10)[Y[TRAIN]]
    for step in range(1, 301):
        a = [x]
        for n in range(3):
            z = a[-1] @ params[2 * n].T + params[2 * n + 1]
            a.append(np.maximum(z, 0) if n < 2 else z)
        e = np.exp(a[-1] - a[-1].max(axis=1, keepdims=True))
        delta = (e / e.sum(axis=1, keepdims=True) - y) / len(x)
        gradients: list[Any] = []
        for n in (2, 1, 0):
            gradients[:0] = [delta.T @ a[n], delta.sum(axis=0)]
            delta = (delta @ params[2 * n]) * (a[n] > 0)
        for p, g, (m, v) in zip(params, gradients, moments, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= 0.01 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    layers = [(params[2 * n].astype(np.float32), params[2 * n + 1].astype(np.float32)) for n in range(3)]
    return mlp(*layers)


def accuracy(graph: Graph, x: Any, y: Any) -> float:
    *_, (_, logits) = forward(graph, x)
    return float(np.mean(logits.argmax(axis=1) == y))


@pytest.mark.parametrize("options", [
    {}, {"coding": "rate"}, {"readout": "spikes"}, {"max_spikes": 4, "coding": "rate"},
    {"per_channel": True, "levels": 7, "readout": "spikes"}], ids=str)
def test_answers_as_the_ann_does(trained: Graph, options: dict[str, Any]) -> None:
    exact = accuracy(trained, X[TEST], Y[TEST])
    assert exact > 0.85  # 300 samples teach it no more
    made = convert(trained, X[TRAIN], labels=Y[TRAIN], steps=32, **options)
    assert [p.name for p in made.network.populations] == ["relu0", "relu1", "readout"]
    assert all(p.threshold == 1 and p.v0 == 0.5 for p in made.network.populations if p.spiking)
    spikes = made.network.population["readout"].spiking  # membranes that are compared need one scale
    for network in (made.network, quantize(made.network, 8, per_neuron=spikes).network):
        over_time = evaluate(network, X[TEST], Y[TEST])
        assert over_time[31] >= exact - 0.02
        assert over_time[15:].mean() >= over_time[:4].mean()  # it does not get worse with time
    assert len(made.curve) == 32 and made.steps == 32 and made.ann > 0.97


def test_steps_are_the_fewest_that_do(trained: Graph) -> None:
    made = convert(trained, X[TRAIN], labels=Y[TRAIN], tolerance=0.01)
    assert len(made.curve) == 64 and made.steps < 64
    assert made.curve[made.steps - 1] >= made.curve.max() - 0.01 > made.curve[: made.steps - 1].max(initial=0)
    assert made.network.meta["encoding"] == {"name": "direct", "steps": made.steps, "levels": 15}
    spikes = made.encode(X[TEST])
    assert spikes.shape == (150, made.steps, 64) and spikes.max() == made.network.inputs[0].max_spikes == 15
    agreement = convert(trained, X[TRAIN], steps=16)  # without labels: with the classes of the ANN
    assert agreement.ann == 1 and agreement.curve[-1] > 0.95


def network_of_everything() -> Graph:
    random = np.random.default_rng(5)

    def numbers(*shape: int) -> Any:
        return random.normal(0, 1 / math.sqrt(math.prod(shape[1:]) or 1), shape).astype(np.float32)

    d = Draft("everything")
    x = d.add("x", "Input", shape=(1, 8, 8))
    a = d.add("conv", "Conv2d", [x], weight=numbers(4, 1, 3, 3), bias=numbers(4), stride=1, padding=1, dilation=1, groups=1)
    a = d.relu("first", d.norm("norm", a, numbers(4), numbers(4) ** 2 + 0.5, 1 + numbers(4) ** 2, numbers(4), 1e-5))
    a = d.pool("pool", a, 2, None, 0)
    b = d.add("conv2", "Conv2d", [a], weight=numbers(4, 2, 3, 3), bias=None, stride=1, padding="same", dilation=1, groups=2)
    c = d.relu("second", d.add("sum", "Identity", [b, a]), 1.2)
    flat = d.flatten("flat", d.pool("pool2", c, 2, None, 0))
    c = d.relu("third", d.dense("fc", flat, numbers(24, 16), numbers(24)), 2.0, 32)
    d.add("output", "Output", [d.dense("last", c, numbers(10, 24), numbers(10))])
    return d.finish()


@pytest.mark.parametrize("per_channel", [False, True])
def test_membranes_approach_the_outputs(per_channel: bool) -> None:
    """Convolution, batch normalisation, pooling, a residual branch, clipped and quantised ReLU, normalised inputs."""
    graph, steps, x = network_of_everything(), 600, np.round(IMAGES[:6] * 15) / 15
    made = convert(graph, x, steps=steps, percentile=100, per_channel=per_channel, normalisation=([0.3], [0.5]))
    trace = golden.run(made.network, made.encode(x))
    *_, (_, exact) = forward(graph, (x - 0.3) / 0.5)
    assert np.abs(exact).max() > 0.5
    np.testing.assert_allclose(trace.state["readout"].v / steps, exact, atol=0.06)
    assert made.thresholds["third"].tolist() == pytest.approx([2.0] * (24 if per_channel else 1))
    assert made.thresholds["second"].max() <= np.float32(1.2)


def test_one_channel_keeps_its_dimension() -> None:
    assert convert(network_of_everything(), IMAGES[:9], steps=2).network.inputs[0].shape == (1, 8, 8)


def test_balance_takes_the_percentile_of_what_is_above_zero() -> None:
    graph = mlp((np.diag([1.0, -1, 2, 0]), np.zeros(4)), (np.ones((2, 4)), np.zeros(2)), shape=(4,))
    x = np.linspace(0, 1, 101, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    found, logits = balance(graph, x, 50)
    above = np.concatenate([x[1:, 0], 2 * x[1:, 0]])
    assert found["relu0"] == pytest.approx([np.percentile(above, 50)])
    np.testing.assert_allclose(logits, 3 * x[:, :2], rtol=1e-6)
    per_channel, _ = balance(graph, x, 100, per_channel=True)
    assert per_channel["relu0"] == pytest.approx([1, 2, 2, 2])  # those that are never active take that of the layer


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20), st.integers(1, 40), st.integers(1, 255))
def test_encoders_keep_the_values(values: list[float], steps: int, levels: int) -> None:
    x = np.array([values], np.float32)
    rate, direct = encode(x, steps, "rate"), encode(x, steps, "direct", levels)
    assert rate.dtype == direct.dtype == np.uint8 and rate.shape == direct.shape == (1, steps, len(values))
    assert rate.max() <= 1
    for t in range(1, steps + 1):  # evenly spaced: at any time as near to the value as whole spikes are
        assert np.all(np.abs(rate[:, :t].sum(axis=1) - t * x) <= 0.5 + 1e-6)
    assert np.all(direct == direct[:, :1])
    assert np.all(np.abs(direct[:, 0] - levels * x) <= 0.5 + 1e-4)


def test_curve_counts_spikes_or_compares_membranes(trained: Graph) -> None:
    for readout in ("spikes", "membrane"):
        made = convert(trained, X[TRAIN], steps=5, readout=readout)
        spikes = made.encode(X[TEST])
        over_time = curve(made.network, spikes, Y[TEST])
        for t in (1, 3, 5):
            trace = golden.run(made.network, spikes[:, :t])
            assert over_time[t - 1] == np.mean(golden.classes(made.network, trace) == Y[TEST])
        np.testing.assert_allclose(evaluate(made.network, X[TEST], Y[TEST], batch=64), over_time)


@pytest.mark.parametrize("options", [{}, {"coding": "rate", "readout": "spikes"}, {"max_spikes": 4}], ids=str)
def test_chip_computes_the_same(trained: Graph, options: dict[str, Any], chips: Callable[..., Device]) -> None:
    made = convert(trained, X[TRAIN], steps=6, **options)
    network = quantize(made.network, 8).network
    device, spikes = chips(Fabric()), made.encode(X[TEST][:4])
    device.load(network)
    np.testing.assert_array_equal(device.infer(spikes), golden.classes(network, golden.run(network, spikes)))
    device.run(spikes[0])
    for name, state in golden.run(network, spikes[:1]).state.items():
        np.testing.assert_array_equal(np.ravel(device.peek(name)), state.v[0])


def test_from_an_onnx_file(trained: Graph, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes, last = [], "x"
    for name in ("fc0", "relu0", "fc1", "relu1", "fc2"):
        if name.startswith("relu"):
            nodes.append(helper.make_node("Relu", [last], [name], name=name))
        else:
            nodes.append(helper.make_node("Gemm", [last, f"{name} w", f"{name} b"], [name], name=name, transB=1))
        last = name
    weights = [numpy_helper.from_array(trained.nodes[n].fields[f].astype(np.float32), f"{n} {f[0]}")
               for n in ("fc0", "fc1", "fc2") for f in ("weight", "bias")]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", k]) for n, k in (("x", 64), (last, 10))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    (tmp_path / "digits.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    from_file, from_graph = (convert(m, X[TRAIN], steps=4) for m in (tmp_path / "digits.onnx", trained))
    np.testing.assert_array_equal(from_file.curve, from_graph.curve)
    with pytest.raises(AerloomError, match="there is no such file"):
        convert(tmp_path / "none.onnx", X[:9])


def test_from_torch() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    made = convert(model, IMAGES[TRAIN], steps=4)
    assert isinstance(made, Converted) and [p.name for p in made.network.populations] == ["2", "readout"]


BAD: dict[str, dict[str, Any]] = {
    r"inputs must be in 0 … 1, not -2 … 2; fold the normalisation": {"samples": 4 * X[:9] - 2},
    r"samples must be \(n, …\)": {"samples": X[0]},
    r"it takes inputs of \(64,\), but the samples are \(30,\)": {"samples": X[:9, :30]},
    r"relu0 \(ReLU\): never above 0": {"model": mlp((-np.ones((4, 64)), None), (np.ones((2, 4)), None))},
    r"fire \(IF\): this is a spiking neuron already": {"model": Graph(
        {n.name: n for n in (Node("in", "Input", {"shape": (64,)}), Node("fire", "IF", {"r": 1.0, "v_threshold": 1.0}),
                             Node("out", "Output"))}, [("in", "fire"), ("fire", "out")])},
    r"coding must be 'direct' or 'rate', not 'latency'": {"coding": "latency"},
    r"steps must be at least 1.*not 0 and 15": {"steps": 0},
    r"levels in 1 … 255, not 4 and 300": {"levels": 300},
    r"readout must be 'membrane' or 'spikes'": {"readout": "voltage"},
    r"percentile must be in 0 … 100": {"percentile": 0},
    r"9 samples, but 3 labels": {"labels": [1, 2, 3]},
}


@pytest.mark.parametrize("message", BAD)
def test_errors(message: str) -> None:
    model = mlp((np.ones((4, 64)), None), (np.ones((2, 4)), None))
    arguments: dict[str, Any] = {"model": model, "samples": X[:9], "steps": 4} | BAD[message]
    with pytest.raises(AerloomError, match=message):
        convert(**arguments)
