"""ReLU networks from ONNX files to a :class:`~aerloom.models.graph.Graph`, which :mod:`aerloom.models.convert` takes.

Operators and attributes are those of the ONNX specification (https://onnx.ai/onnx/operators), opset 1 to 22, with the batch
as the first dimension. Weights are read from the file itself, as initializers or constants; files that keep them beside the
model are refused, so that a model cannot name other files of the machine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .draft import Draft
from .errors import AerloomError
from .files import reading
from .graph import HINTS, Graph

Array = NDArray[Any]

LARGEST = 1 << 31  #: bytes of a file that is still read: what its own format can hold
LARGEST_INPUT = 1 << 22  #: numbers of a sample
REASONS = {
    "MaxPool": HINTS["MaxPool2d"].replace("MaxPool2d", "MaxPool").replace("SumPool2d, AvgPool2d", "AveragePool"),
    "LeakyRelu": HINTS["LeakyReLU"], "PRelu": HINTS["LeakyReLU"], "Elu": HINTS["LeakyReLU"], "Gelu": HINTS["GELU"],
    "Sigmoid": HINTS["Sigmoid"], "Tanh": HINTS["Tanh"], "Softmax": HINTS["Softmax"], "LogSoftmax": HINTS["Softmax"],
    "QuantizeLinear": "export the model before it is quantised; aerloom.quantize makes the integers",
    "DequantizeLinear": "export the model before it is quantised; aerloom.quantize makes the integers",
}


def read(path: str | os.PathLike[str]) -> Graph:
    """The graph of an ONNX file; raises :class:`AerloomError` for a damaged file, and with every node it cannot take."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise AerloomError("reading this file needs onnx: pip install 'aerloom[onnx]'") from None
    with reading(path):
        if (size := Path(path).stat().st_size) > LARGEST:
            raise AerloomError(f"{path}: {size / 2**30:.1f} GiB; an ONNX file has at most 2")
        raw = Path(path).read_bytes()
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as e:  # protobuf raises whatever the damage leads to
        raise AerloomError(f"{path}: not an ONNX file, or damaged ({type(e).__name__})") from None
    if not model.graph.node or not model.graph.output:
        raise AerloomError(f"{path}: not an ONNX file, or damaged (it has no nodes or no outputs)")

    def constant(tensor: Any) -> Array:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise AerloomError(f"{path}: {tensor.name!r} is kept in another file; save the model with its weights inside "
                               "(torch.onnx.export: external_data=False)")
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except Exception as e:
            raise AerloomError(f"{path}: {tensor.name!r} is damaged ({type(e).__name__}: {str(e)[:80]})") from None

    reader = _Reader(str(path), {t.name: constant(t) for t in model.graph.initializer})
    for i in model.graph.input:
        if i.name not in reader.constants:
            shape = tuple(d.dim_value for d in i.type.tensor_type.shape.dim)[1:]
            if not shape or min(shape) < 1 or math.prod(shape) > LARGEST_INPUT:
                raise AerloomError(f"{path}: input {i.name!r} needs a fixed shape of at most {LARGEST_INPUT:,} numbers "
                                   f"after the batch, not {shape}; export it with one")
            reader.names[i.name] = reader.draft.add(i.name, "Input", shape=shape)
    for node in model.graph.node:
        try:
            attributes = {a.name: constant(a.t) if a.type == a.TENSOR else onnx.helper.get_attribute_value(a)
                          for a in node.attribute}
            reader.take(node, {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()})
        except (ValueError, IndexError) as e:
            raise AerloomError(f"{path}: node {node.name!r} is damaged ({str(e)[:80]})") from None
    for o in model.graph.output:
        if o.name not in reader.names:
            raise AerloomError(f"{path}: output {o.name!r} is computed by no node")
        reader.draft.add("output" if "output" not in reader.draft.nodes else f"{o.name} output", "Output",
                         [reader.names[o.name]])
    return reader.draft.finish()


class _Reader:
    """Takes the nodes one by one: ``names`` has the node of the draft for each value in the file."""

    def __init__(self, path: str, constants: dict[str, Array]) -> None:
        self.draft, self.constants, self.names = Draft(path), constants, dict[str, str]()

    def take(self, node: Any, a: dict[str, Any]) -> None:
        """A node with its attributes; an operator reads as the method of its name."""
        name = node.name or (node.output[0] if node.output else node.op_type)
        if node.op_type == "Constant":
            self.constants[node.output[0]] = np.asarray(next((v for k, v in a.items() if k.startswith("value")), 0))
            return
        sources = [self.names[i] for i in node.input if i in self.names]
        method: Callable[..., str] | None = getattr(self, f"_{node.op_type}", None) if node.op_type[:1].isupper() else None
        try:
            if unknown := [i for i in node.input if i and i not in self.names and i not in self.constants]:
                raise AerloomError(f"its input {unknown[0]!r} is computed by no node before it; the file is damaged")
            if method is None or node.domain not in ("", "ai.onnx"):
                taken = ", ".join(sorted(m[1:] for m in dir(self) if m[1].isupper()))
                raise AerloomError(REASONS.get(node.op_type, f"there is no {node.op_type} here; there are {taken}"))
            if not sources:
                raise AerloomError("it computes with constants alone; fold them when the model is exported")
            out = method(name, node, a)
        except AerloomError as e:
            out = self.draft.refuse(name, node.op_type, str(e), sources)
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as e:
            out = self.draft.refuse(name, node.op_type, f"its inputs or attributes are damaged ({str(e)[:80]})", sources)
        self.names[node.output[0]] = out

    def _x(self, node: Any) -> str:
        """The node of the draft that the first input means."""
        if node.input[0] not in self.names:
            raise AerloomError("its first input is a constant; only data can be there")
        return self.names[node.input[0]]

    def _value(self, node: Any, place: int) -> Array | None:
        """A constant input; None where it is left out."""
        if len(node.input) <= place or not node.input[place]:
            return None
        if node.input[place] not in self.constants:
            raise AerloomError(f"{node.input[place]!r} is computed; only constants in the file can be there")
        return self.constants[node.input[place]]

    def _weights(self, node: Any, place: int = 1) -> Array:
        """A constant input that has to be there."""
        w = self._value(node, place)
        if w is None:
            raise AerloomError("it has no weights; the file is incomplete")
        return w

    def _Gemm(self, name: str, node: Any, a: dict[str, Any]) -> str:
        if a.get("transA"):
            raise AerloomError("transA swaps the batch and the inputs; export it without")
        w, bias = self._weights(node), self._value(node, 2)
        w = w if a.get("transB") else w.T
        bias = None if bias is None else bias.reshape(-1) * np.float32(a.get("beta", 1.0))
        return self.draft.dense(name, self._x(node), w * np.float32(a.get("alpha", 1.0)), bias)

    def _MatMul(self, name: str, node: Any, a: dict[str, Any]) -> str:
        return self.draft.dense(name, self._x(node), self._weights(node).T, None)

    def _Add(self, name: str, node: Any, a: dict[str, Any]) -> str:
        sources = [self.names[i] for i in node.input if i in self.names]
        if len(sources) == 2:
            return self.draft.add(name, "Identity", sources)
        (bias,) = (self.constants[i] for i in node.input if i in self.constants)
        shape = self.draft.shapes[sources[0]]
        if shape is None:
            return self.draft.add(name, "Identity", sources)
        try:
            flat = np.broadcast_to(bias, (1, *shape)).reshape(-1)
        except ValueError:
            raise AerloomError(f"a constant of {bias.shape} cannot be added to {shape}") from None
        return self.draft.add(name, "BatchNorm", sources, scale=np.float32(1.0), bias=flat)

    def _Conv(self, name: str, node: Any, a: dict[str, Any]) -> str:
        w = self._weights(node)
        if w.ndim not in (3, 4):
            raise AerloomError(f"only convolutions in 1 and 2 dimensions are possible, not {w.ndim - 2}")
        dilation = tuple(a.get("dilations", (1,) * (w.ndim - 2)))
        stride = tuple(a.get("strides", (1,) * (w.ndim - 2)))
        begin, end = self._pads(node, a, w.shape[2:], stride, dilation)
        for n, (b, e, d) in enumerate(zip(begin, end, dilation, strict=True), start=2):  # zeros in the kernel even them
            if abs(b - e) % d or abs(b - e) > w.shape[n] * d:
                raise AerloomError(f"pads of {b} and {e} with a dilation of {d}; pad both sides alike")
            w = np.pad(w, [(0, 0)] * n + [(max(e - b, 0) // d, max(b - e, 0) // d)] + [(0, 0)] * (w.ndim - n - 1))
        padding = tuple(np.maximum(begin, end))
        return self.draft.add(name, "Conv1d" if w.ndim == 3 else "Conv2d", [self._x(node)], weight=w, stride=stride,
                              padding=padding, dilation=dilation, groups=int(a.get("group", 1)), bias=self._value(node, 2))

    def _pads(self, node: Any, a: dict[str, Any], kernel: Any, stride: Any, dilation: Any) -> tuple[Any, Any]:
        auto, n, shape = a.get("auto_pad", "NOTSET"), len(kernel), self.draft.shapes[self._x(node)]
        if auto in ("NOTSET", "VALID") or shape is None:
            pads = tuple(a.get("pads", (0,) * 2 * n)) if auto == "NOTSET" else (0,) * 2 * n
            return pads[:n], pads[n:]
        total = [max((math.ceil(x / s) - 1) * s + (k - 1) * d + 1 - x, 0)
                 for x, k, s, d in zip(shape[1:], kernel, stride, dilation, strict=True)]
        less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
        return (less, more) if auto == "SAME_UPPER" else (more, less)

    def _AveragePool(self, name: str, node: Any, a: dict[str, Any]) -> str:
        kernel = tuple(a["kernel_shape"])
        stride, dilation = tuple(a.get("strides", (1,) * len(kernel))), tuple(a.get("dilations", (1,) * len(kernel)))
        begin, end = self._pads(node, a, kernel, stride, dilation)
        if begin != end or max(dilation) > 1:
            raise AerloomError(f"pads {begin} and {end}, dilations {dilation}; pad both sides alike, without dilation")
        return self.draft.pool(name, self._x(node), kernel, stride, begin, bool(a.get("ceil_mode")),
                               bool(a.get("count_include_pad")))

    def _GlobalAveragePool(self, name: str, node: Any, a: dict[str, Any]) -> str:
        return self.draft.adaptive(name, self._x(node), 1)

    def _ReduceMean(self, name: str, node: Any, a: dict[str, Any]) -> str:
        axes = a["axes"] if "axes" in a else self._weights(node)
        return self.draft.mean(name, self._x(node), axes, bool(a.get("keepdims", 1)))

    def _BatchNormalization(self, name: str, node: Any, a: dict[str, Any]) -> str:
        if a.get("training_mode"):
            raise AerloomError("it is in training mode; export the model in evaluation mode")
        gain, bias, mean, var = (self._weights(node, n) for n in range(1, 5))
        return self.draft.norm(name, self._x(node), mean, var, gain, bias, a.get("epsilon", 1e-5))

    def _Relu(self, name: str, node: Any, a: dict[str, Any]) -> str:
        return self.draft.relu(name, self._x(node))

    def _Clip(self, name: str, node: Any, a: dict[str, Any]) -> str:
        least, most = self._value(node, 1), self._value(node, 2)
        low = a.get("min", -math.inf) if least is None else float(least)
        high = a.get("max") if most is None else float(most)
        return self.draft.relu(name, self._x(node), None if high is None or high > 3e38 else high, least=low)

    def _Flatten(self, name: str, node: Any, a: dict[str, Any]) -> str:
        return self.draft.flatten(name, self._x(node), (0, -1) if a.get("axis", 1) == 1 else (0, 0))

    def _Reshape(self, name: str, node: Any, a: dict[str, Any]) -> str:
        wanted = [int(n) for n in np.asarray(a["shape"] if "shape" in a else self._weights(node)).reshape(-1)]
        shape = self.draft.shapes[self._x(node)] or ()
        wanted = [shape[k - 1] if n == 0 and 0 < k <= len(shape) else n for k, n in enumerate(wanted)]  # 0: as before
        return self.draft.flatten(name, self._x(node), wanted)

    def _Identity(self, name: str, node: Any, a: dict[str, Any]) -> str:
        return self.draft.add(name, "Identity", [self._x(node)])

    _Dropout = _Identity
