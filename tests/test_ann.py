"""ReLU networks from PyTorch and ONNX: what the graph computes is what torch and the ONNX reference compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import AerloomError
from aerloom.models import ann, onnx
from aerloom.models.convert import forward
from aerloom.models.graph import Graph

RANDOM = np.random.default_rng(7)


def numbers(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def outputs(graph: Graph, x: Any) -> Any:
    *_, (name, y) = forward(graph, x)
    assert graph.nodes[name].kind == "Output"
    return y


# --- PyTorch

MODELS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mlp": (lambda nn: nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 4, bias=False)), (7,)),
    "batch norm": (lambda nn: nn.Sequential(nn.BatchNorm1d(7), nn.Linear(7, 9), nn.BatchNorm1d(9, affine=False), nn.ReLU(),
                                            nn.Identity(), nn.Linear(9, 3)), (7,)),
    "cnn": (lambda nn: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3),
                                     nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)), (2, 11, 11)),
    "strides": (lambda nn: nn.Sequential(nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 2), groups=2), nn.ReLU(),
                                         nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.Linear(54, 3)), (4, 11, 10)),
    "same": (lambda nn: nn.Sequential(nn.Conv2d(2, 4, 4, padding="same", dilation=2, bias=False), nn.Hardtanh(0, 0.7),
                                      nn.Conv2d(4, 2, 3, padding="valid"), nn.ReLU()), (2, 9, 8)),
    "one dimension": (lambda nn: nn.Sequential(nn.Conv1d(3, 6, 4, 2, padding=1, dilation=2, groups=3), nn.BatchNorm1d(6),
                                               nn.ReLU(), nn.AvgPool1d(3, 2, 1), nn.Conv1d(6, 2, 3, padding="same"),
                                               nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 3)), (3, 21)),
    "one channel": (lambda nn: nn.Sequential(nn.BatchNorm2d(1), nn.Dropout2d(), nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 8, 9)),
}


@pytest.mark.parametrize("name", MODELS)
def test_graph_computes_what_torch_does(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    make, shape = MODELS[name]
    model, x = make(torch.nn), numbers(5, *shape)
    with torch.no_grad():
        for _ in range(3):  # running statistics that are not 0 and 1
            model(torch.from_numpy(2 * numbers(8, *shape) + 1))
    graph = ann.graph(model, shape)
    assert model.training  # left as it was
    expected = model.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(outputs(graph, x), expected.reshape(5, -1), rtol=1e-5, atol=1e-5)
    *_, last = graph.shapes.values()
    assert last == expected.shape[1:]


def test_functions_branches_and_levels() -> None:
    torch = pytest.importorskip("torch")

    class Levels(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.thresh, self.L = torch.nn.Parameter(torch.tensor(1.5)), 8

        def forward(self, x: Any) -> Any:
            return torch.floor(torch.clamp(x / self.thresh, 0, 1) * self.L + 0.5) / self.L * self.thresh

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.Conv2d(3, 3, 3, padding=1)
            self.act, self.levels, self.last = torch.nn.ReLU(), Levels(), torch.nn.Linear(27, 4)

        def forward(self, x: Any) -> Any:
            f = torch.nn.functional
            a = self.act(self.first(x))
            a = self.act(self.second(a) + a)
            a = f.avg_pool2d(f.relu6(f.dropout(a, training=self.training)), 2)
            a = self.levels(torch.clamp(a, min=0, max=0.9).relu())
            return self.last(a.view(a.size(0), -1))

    model, x = Net().eval(), numbers(4, 2, 6, 6)
    graph = ann.graph(model, (2, 6, 6))
    relus = [n for n, node in graph.nodes.items() if node.kind == "ReLU"]
    assert relus == ["act", "act_2", "relu6", "clamp", "relu", "levels"]
    np.testing.assert_allclose(outputs(graph, x), model(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_mean_of_the_planes() -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.relu(x).mean((2, 3)) + x.relu().mean(dim=[-1, -2], keepdim=True).flatten(1)

    x = numbers(3, 2, 5, 4)
    got = outputs(ann.graph(Net(), (2, 5, 4)), x)
    np.testing.assert_allclose(got, Net()(torch.from_numpy(x)).numpy(), rtol=1e-5, atol=1e-5)


REFUSED: dict[str, tuple[Any, tuple[int, ...]]] = {
    r"node 1 \(MaxPool2d\): .* replace it by": (lambda nn: [nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)], (1, 8, 8)),
    r"node 0 \(Tanh\): .* ReLU; node 1 \(Softmax\): .* leave it out": (lambda nn: [nn.Tanh(), nn.Softmax(1)], (4,)),
    r"node 0 \(LSTM\): there is no LSTM here": (lambda nn: [nn.LSTM(4, 4)], (4,)),
    r"node 0 \(Affine\): it takes 5 numbers, but \(4,\) arrive": (lambda nn: [nn.Linear(5, 2)], (4,)),
    r"node 0 \(Affine\): .* \(1, 8, 8\) arrive; flatten": (lambda nn: [nn.Linear(8, 2)], (1, 8, 8)),
    r"node 0 \(Conv2d\): it takes 3 channels": (lambda nn: [nn.Conv2d(3, 2, 3)], (1, 8, 8)),
    r"node 0 \(Conv2d\): padding_mode must be 'zeros', not 'circular'": (
        lambda nn: [nn.Conv2d(1, 2, 3, padding_mode="circular")], (1, 8, 8)),
    r"node 0 \(Conv2d\): a window of \(9, 9\) does not fit": (lambda nn: [nn.Conv2d(1, 2, 9)], (1, 8, 8)),
    r"node 0 \(Conv2d\): weight holds NaN": (lambda nn: [nn.Conv2d(1, 2, 3, device="cpu"), "nan"], (1, 8, 8)),
    r"node 0 \(BatchNorm1d\): cannot be folded without running statistics; track them in training": (
        lambda nn: [nn.BatchNorm1d(4, track_running_stats=False)], (4,)),
    r"node 0 \(AvgPool\): ceil_mode": (lambda nn: [nn.AvgPool2d(3, ceil_mode=True)], (1, 8, 8)),
    r"node 0 \(AvgPool\): .* count_include_pad": (lambda nn: [nn.AvgPool2d(2, 2, 1, count_include_pad=False)], (1, 8, 8)),
    r"node 0 \(AvgPool2d\): divisor_override": (lambda nn: [nn.AvgPool2d(2, divisor_override=3)], (1, 8, 8)),
    r"node 0 \(AdaptiveAvgPool\): \[3, 3\] does not divide": (lambda nn: [nn.AdaptiveAvgPool2d(3)], (1, 8, 8)),
    r"node 0 \(Clip\): .* not to -1.0 … 1.0": (lambda nn: [nn.Hardtanh()], (4,)),
    r"node 0 \(Reshape\): .* write torch.flatten": (lambda nn: [nn.Flatten(2)], (1, 8, 8)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refuses_by_name(message: str) -> None:
    torch = pytest.importorskip("torch")
    make, shape = REFUSED[message]
    layers = make(torch.nn)
    if layers[-1] == "nan":
        layers.pop()
        layers[0].weight.data[0] = float("nan")
    with pytest.raises(AerloomError, match=message):
        ann.graph(torch.nn.Sequential(*layers), shape)


def test_refuses_what_is_no_module_or_cannot_be_traced() -> None:
    torch = pytest.importorskip("torch")

    class Depends(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    class Strange(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.fft.fft(x + x) * 2

    for model, message in ((Depends(), "cannot trace it .* leave out control flow"), ({"w": 1}, "not dict; load weights"),
                           (Strange(), r"node add \(Identity\): the same branch twice.*node fft_fft \(fft_fft\): there"),):
        with pytest.raises(AerloomError, match=message):
            ann.graph(model, (4,))


# --- ONNX

def model_of(nodes: list[Any], shape: tuple[Any, ...], weights: dict[str, Any], opset: int = 17) -> Any:
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(op, i, [o], name=f"n{k}", **a) for k, (op, i, o, a) in enumerate(nodes)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def written(model: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def node(op: str, *inputs: str, **attributes: Any) -> tuple[Any, ...]:
    """A node that takes the output ``y`` of the one before, and its weights."""
    return op, list(inputs), attributes


def chain(*nodes: tuple[Any, ...]) -> list[Any]:
    return [(op, ["x" if n == 0 else f"y{n - 1}", *i], f"y{n}", a) for n, (op, i, a) in enumerate(nodes)]


one, cnn, line = (6,), (2, 9, 8), (4, 15)
W = {"w": numbers(6, 5), "v": numbers(5, 6), "b": numbers(5), "k": numbers(4, 2, 3, 3), "kb": numbers(4),
     "kg": numbers(4, 1, 2, 3), "k1": numbers(6, 2, 3), "k2": numbers(3, 2, 2, 2), "plane": numbers(4, 1, 1),
     "mean": numbers(4), "var": numbers(4) ** 2, "gain": numbers(4), "shift": numbers(4),
     "low": np.float32(0), "high": np.float32(0.8), "flat": np.array([0, -1])}
ONNX: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "gemm": (chain(node("Gemm", "v", "b", alpha=0.5, beta=2.0, transB=1), node("Relu")), one),
    "matmul and add": (chain(node("MatMul", "w"), node("Add", "b"), node("Relu"), node("Dropout"), node("Identity")), one),
    "gemm without bias": (chain(node("Gemm", "w"), node("Clip", "low", "high")), one),
    "conv": (chain(node("Conv", "k", "kb", pads=[1, 2, 1, 2], strides=[2, 1]), node("Relu"), node("Reshape", "flat")), cnn),
    "uneven pads": (chain(node("Conv", "k", pads=[0, 2, 1, 0], strides=[2, 2]), node("Relu")), cnn),
    "dilation": (chain(node("Conv", "k", pads=[2, 0, 0, 2], dilations=[2, 1]), node("Add", "plane"), node("Relu")), cnn),
    "groups": (chain(node("Conv", "kg", "kb", group=2), node("Relu"), node("Flatten")), cnn),
    "same upper": (chain(node("Conv", "k2", auto_pad="SAME_UPPER", strides=[2, 1]), node("Relu")), cnn),
    "same lower": (chain(node("Conv", "k2", auto_pad="SAME_LOWER"), node("Relu")), cnn),
    "conv 1d": (chain(node("Conv", "k1", group=2, strides=[2]), node("Relu"), node("AveragePool", kernel_shape=[2])), line),
    "norm": (chain(node("Conv", "k"), node("BatchNormalization", "gain", "shift", "mean", "var", epsilon=0.1), node("Relu"),
                   node("AveragePool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
                   node("GlobalAveragePool"), node("Flatten")), cnn),
    "mean": (chain(node("Conv", "k"), node("Relu"), node("ReduceMean", axes=[-1, 2], keepdims=0)), cnn),
    "branches": ([("Relu", ["x"], "a", {}), ("MatMul", ["a", "w"], "b1", {}), ("MatMul", ["x", "w"], "b2", {}),
                  ("Add", ["b1", "b2"], "c", {}), ("Relu", ["c"], "d", {})], one),
}


@pytest.mark.parametrize("name", ONNX)
def test_graph_computes_what_onnx_says(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    nodes, shape = ONNX[name]
    model, x = model_of(nodes, shape, W), numbers(3, *shape)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})
    graph = onnx.read(written(model, tmp_path))
    np.testing.assert_allclose(outputs(graph, x), expected.reshape(3, -1), rtol=1e-5, atol=1e-5)


REFUSED_ONNX: dict[str, tuple[list[Any], tuple[Any, ...]]] = {
    r"node n0 \(MaxPool\): .* replace it by AveragePool": (chain(node("MaxPool", kernel_shape=[2, 2])), cnn),
    r"node n0 \(LSTM\): there is no LSTM here; there are Add,": (chain(node("LSTM", "w", "v")), one),
    r"node n0 \(x\): there is no x here": (chain(node("x")), one),
    r"node n0 \(Sigmoid\): .*; node n1 \(QuantizeLinear\): ": (chain(node("Sigmoid"), node("QuantizeLinear", "low")), one),
    r"node n0 \(Gemm\): transA": (chain(node("Gemm", "w", transA=1)), one),
    r"node n0 \(Linear\): it takes 5 numbers, but \(6,\)": (chain(node("MatMul", "v")), one),
    r"node n0 \(MatMul\): 'x' is computed; only constants": ([("MatMul", ["x", "x"], "y", {})], one),
    r"node n0 \(MatMul\): its first input is a constant": ([("MatMul", ["w", "x"], "y", {})], one),
    r"node n0 \(MatMul\): its input 'ghost' is computed by no node": (chain(node("MatMul", "ghost")), one),
    r"node n0 \(Add\): a constant of \(5,\) cannot be added to \(6,\)": (chain(node("Add", "b")), one),
    r"node n0 \(Clip\): .* -inf … 0.8": (chain(node("Clip", "", "high")), one),
    r"node n0 \(Conv\): pads of 1 and 0 with a dilation of 2": (
        chain(node("Conv", "k", pads=[1, 0, 0, 0], dilations=[2, 1])), cnn),
    r"node n0 \(Reshape\): from \(2, 9, 8\)": (chain(node("Reshape", "rows")), cnn),
    r"node n0 \(AveragePool\): pads \(0, 0\) and \(1, 1\)": (
        chain(node("AveragePool", kernel_shape=[2, 2], pads=[0, 0, 1, 1], count_include_pad=1)), cnn),
    r"node n0 \(BatchNormalization\): it is in training mode": (
        chain(node("BatchNormalization", "gain", "shift", "mean", "var", training_mode=1)), cnn),
    r"node n0 \(Mean\): over \[1\]; only over": (chain(node("ReduceMean", axes=[1])), cnn),
    r"input 'x' needs a fixed shape": (chain(node("Relu")), ("width",)),
}


@pytest.mark.parametrize("message", REFUSED_ONNX)
def test_onnx_refuses_by_name(message: str, tmp_path: Path) -> None:
    nodes, shape = REFUSED_ONNX[message]
    with pytest.raises(AerloomError, match=message):
        onnx.read(written(model_of(nodes, shape, W | {"rows": np.array([0, 18, 8])}), tmp_path))


def test_onnx_refuses_files_of_other_kinds(tmp_path: Path) -> None:
    onnx_package = pytest.importorskip("onnx")
    model = model_of(*ONNX["gemm"], W)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx_package.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    with pytest.raises(AerloomError, match=f"{tensor.name!r} is kept in another file"):
        onnx.read(written(model, tmp_path))
    with pytest.raises(AerloomError, match="there is no such file"):
        onnx.read(tmp_path / "none.onnx")
    for content in (b"", b"GIF89a" * 40):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(AerloomError, match="not an ONNX file, or damaged"):
            onnx.read(tmp_path / "model.onnx")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1))
def test_damaged_onnx_files_are_refused_in_one_sentence(
        tmp_path_factory: Any, changes: list[tuple[float, int]], end: float) -> None:
    used = {k: W[k] for k in ("k", "gain", "shift", "mean", "var")}
    data = bytearray(model_of(*ONNX["norm"], used).SerializeToString())
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(data[: int(end * len(data))] if end < 0.9 else data)
    try:
        onnx.read(path)
    except AerloomError as e:
        assert "\n" not in str(e)


@pytest.mark.parametrize("options", [{"dynamo": False}, {"dynamo": True, "external_data": False}], ids=["script", "dynamo"])
def test_onnx_of_torch_computes_the_same(options: dict[str, bool], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    make, shape = MODELS["cnn"]
    model, x = make(torch.nn).eval(), numbers(2, *shape)
    try:
        torch.onnx.export(model, (torch.from_numpy(x),), tmp_path / "model.onnx", **options)
    except Exception as e:  # it changes from version to version, and may need packages of its own
        pytest.skip(f"torch cannot export: {e}")
    got = outputs(onnx.read(tmp_path / "model.onnx"), x)
    np.testing.assert_allclose(got, model(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
