"""A graph while a reader draws it: ReLU networks from PyTorch and ONNX, node by node with their shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .graph import DENSE, HINTS, Graph, Node, Shape

Array = NDArray[Any]

RESHAPED = "only flattening everything but the batch is possible here; write torch.flatten(x, 1)"
REASONS = HINTS | {"MaxPool1d": HINTS["MaxPool2d"], "LogSoftmax": HINTS["Softmax"], "SiLU": HINTS["LeakyReLU"],
                   "ELU": HINTS["LeakyReLU"], "PReLU": HINTS["LeakyReLU"]}


class Draft:
    """A graph while it is drawn, shapes without the batch. What cannot be taken is collected, and said at the end."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.nodes: dict[str, Node] = {}
        self.edges: list[tuple[str, str]] = []
        self.shapes: dict[str, Shape | None] = {}  #: None after something that was refused
        self.problems: list[str] = []

    def add(self, name: str, kind: str, sources: Sequence[str] = (), **fields: Any) -> str:
        """A node that takes the sum of ``sources``; returns its name, which differs from ``name`` where that is taken."""
        same = 1
        while (full := name if same == 1 else f"{name}_{same}") in self.nodes:
            same += 1
        try:
            if len(set(sources)) < len(sources):
                raise AerloomError("the same branch twice cannot be added; multiply the next weights by 2")
            node = Node(full, kind, fields)
            self.shapes[full] = self._shape(node, [self.shapes[a] for a in sources])
        except AerloomError as e:
            return self.refuse(full, kind, str(e).removeprefix(f"{full} ({kind}): "), sources)
        self.nodes[full] = node
        self.edges += [(a, full) for a in sources]
        return full

    def refuse(self, name: str, what: str, reason: str, sources: Sequence[str] = ()) -> str:
        """Collects why a node cannot be taken; the drawing goes on without it."""
        self.problems.append(f"node {name} ({what}): {reason}")
        self.nodes[name], self.shapes[name] = Node(name, "Identity"), None
        self.edges += [(a, name) for a in sources]
        return name

    @staticmethod
    def _shape(node: Node, shapes: Sequence[Shape | None]) -> Shape | None:
        if node.kind == "Input":
            return tuple(node.fields["shape"])
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes) or not known:
            return None
        shape = known[0]
        if len(set(known)) > 1:
            raise AerloomError(f"{' and '.join(map(str, known))} cannot be added; only equal shapes can")
        if node.kind in DENSE and shape != node.weights.shape[1:]:
            raise AerloomError(f"it takes {node.weights.shape[1]} numbers, but {shape} arrive; flatten before it")
        if node.kind.startswith("Conv") and node.weights.shape[1] * node.fields["groups"] != shape[0]:
            raise AerloomError(f"it takes {node.weights.shape[1] * node.fields['groups']} channels, but {shape} arrive")
        return node.shape(shape)

    def dense(self, name: str, source: str, weight: Array, bias: Array | None) -> str:
        """y = W x + b for ``weight`` (out, in)."""
        if bias is None:
            return self.add(name, "Linear", [source], weight=weight)
        return self.add(name, "Affine", [source], weight=weight, bias=np.broadcast_to(bias, len(weight)))

    def norm(self, name: str, source: str, mean: Array, var: Array, gain: Any, bias: Any, eps: float) -> str:
        """Batch normalisation by its running statistics: (x − mean) / √(var + eps) · gain + bias, per channel."""
        scale = np.asarray(gain, np.float64) / np.sqrt(np.asarray(var, np.float64) + eps)
        return self.add(name, "BatchNorm", [source], scale=scale.astype(np.float32),
                        bias=(np.asarray(bias) - mean * scale).astype(np.float32))

    def pool(self, name: str, source: str, kernel: Any, stride: Any, padding: Any, ceil: bool = False,
             counts_padding: bool = True) -> str:
        """Average pooling; on ``(channels, x)`` it is a convolution of each channel by itself."""
        shape = self.shapes[source]
        dims = 1 if shape is not None and len(shape) == 2 else 2
        k, s, p = (_numbers(v, dims) for v in (kernel, kernel if stride in (None, []) else stride, padding))
        if shape is not None and ceil and any((n + 2 * b - a) % d for n, a, d, b in zip(shape[1:], k, s, p, strict=False)):
            return self.refuse(name, "AvgPool", "ceil_mode cuts windows short at the edge; leave it out, or pad", [source])
        if any(p) and not counts_padding:
            return self.refuse(name, "AvgPool", "windows at the edge count fewer numbers; set count_include_pad", [source])
        if shape is None or dims == 2:
            return self.add(name, "AvgPool2d", [source], kernel_size=k, stride=s, padding=p)
        weight = np.full((shape[0], 1, *k), 1 / k[0], np.float32)
        return self.add(name, "Conv1d", [source], weight=weight, stride=s, padding=p, dilation=(1,), groups=shape[0])

    def adaptive(self, name: str, source: str, size: Any) -> str:
        """Average pooling to a size that divides that of the input."""
        shape = self.shapes[source]
        if shape is None:
            return self.add(name, "Identity", [source])
        wanted = [n if m is None else m for n, m in zip(shape[1:], _numbers(size, len(shape) - 1), strict=False)]
        if len(shape) < 2 or any(n % m for n, m in zip(shape[1:], wanted, strict=True)):
            return self.refuse(name, "AdaptiveAvgPool", f"{wanted} does not divide the input of {shape}; "
                               "use AvgPool with a kernel_size", [source])
        kernel = [n // m for n, m in zip(shape[1:], wanted, strict=True)]
        return self.pool(name, source, kernel, kernel, 0)

    def mean(self, name: str, source: str, axes: Any, keeps: bool) -> str:
        """The mean of each channel; ``axes`` count the batch."""
        rank = 1 + len(self.shapes[source] or ())
        if self.shapes[source] and sorted(int(a) % rank for a in np.atleast_1d(axes)) != list(range(2, rank)):
            return self.refuse(name, "Mean", f"over {axes}; only over all but the batch and the channels", [source])
        out = self.adaptive(name, source, 1)
        return out if keeps else self.add(f"{name} flat", "Flatten", [out], start_dim=0, end_dim=-1)

    def relu(self, name: str, source: str, most: float | None = None, levels: int | None = None, least: float = 0.0) -> str:
        """max(x, 0); min(that, ``most``) where it is clipped, in ``levels`` equal steps where it is quantised."""
        if least != 0 or (most is not None and not most > 0):
            return self.refuse(name, "Clip", f"a spike rate follows what is clipped to 0 … max, not to {least} … {most}; "
                               "train with ReLU", [source])
        fields = {k: v for k, v in (("max", most), ("levels", levels)) if v is not None}
        return self.add(name, "ReLU", [source], **fields)

    def flatten(self, name: str, source: str, wanted: Sequence[int] | None = None) -> str:
        """Everything but the batch as one dimension; ``wanted`` is what a reshape asks for, the batch first."""
        shape = self.shapes[source]
        if wanted is not None and shape is not None:
            rest = tuple(wanted[1:])
            if rest not in ((-1,), (math.prod(shape),)) and rest != shape:
                return self.refuse(name, "Reshape", f"from {shape} to {rest}; {RESHAPED}", [source])
            if rest == shape:
                return self.add(name, "Identity", [source])
        return self.add(name, "Flatten", [source], start_dim=0, end_dim=-1)

    def finish(self) -> Graph:
        """The graph; raises :class:`AerloomError` with every node that was refused."""
        if self.problems:
            text = f"{self.origin}: " + "; ".join(self.problems)
            raise AerloomError("".join(c if c.isprintable() else "?" for c in text))  # names in damaged files
        out = Graph(self.nodes, self.edges, self.origin)
        out.shapes = {name: shape for name, shape in self.shapes.items() if shape is not None}
        return out


def _numbers(value: Any, dims: int) -> tuple[Any, ...]:
    return (value,) * dims if value is None or isinstance(value, int) else tuple(value)[:dims] * (dims // len(value) or 1)
