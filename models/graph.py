"""The graph of a network as a file has it: nodes named as in NIR, before any of it is given a meaning.

NIR files and objects, PyTorch modules and ONNX models all become a :class:`Graph`; :mod:`aerloom.models.build` makes a
network of it. The primitives are those of the Neuromorphic Intermediate Representation (Pedersen et al., Nature
Communications 2024, https://neuroir.org), with what PyTorch adds: BatchNorm, Identity, ReLU, and neurons whose rule is
known exactly (kind ``Population``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .window import Window

Shape = tuple[int, ...]

NEURONS = ("I", "IF", "LI", "LIF", "CubaLI", "CubaLIF", "Threshold", "ReLU", "Population")
DENSE = ("Linear", "Affine")
POOLS = ("SumPool2d", "AvgPool2d")
KINDS = (*NEURONS, *DENSE, *POOLS, "Scale", "Conv1d", "Conv2d", "BatchNorm", "Flatten", "Delay", "Identity", "Input",
         "Output")

#: Parameters that every node of a kind must have; the others have a default
REQUIRED = {
    "I": ("r",), "IF": ("r", "v_threshold"), "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "CubaLI": ("tau_mem", "tau_syn", "r", "v_leak"), "CubaLIF": ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold"),
    "Threshold": ("threshold",), "Linear": ("weight",), "Affine": ("weight", "bias"), "Scale": ("scale",),
    "Conv1d": ("weight",), "Conv2d": ("weight",), "SumPool2d": ("kernel_size",), "AvgPool2d": ("kernel_size",),
    "Delay": ("delay",), "BatchNorm": ("scale", "bias"), "Population": ("population",),
}
OF_A_NEURON = ("tau", "tau_mem", "tau_syn", "r", "w_in", "v_leak", "v_threshold", "v_reset", "threshold")


@dataclass
class Node:
    """A node: its ``kind`` is the name of the NIR primitive, its ``fields`` are the parameters by NIR's names."""

    name: str
    kind: str
    fields: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            unknown = f"aerloom knows no {self.kind}; it takes {', '.join(KINDS)}"
            raise AerloomError(f"{self}: {HINTS.get(self.kind, unknown)}")
        if missing := [name for name in REQUIRED.get(self.kind, ()) if self.fields.get(name) is None]:
            raise AerloomError(f"{self}: {' and '.join(missing)} missing; the file is incomplete")
        for name, value in self.fields.items():
            if name in (*OF_A_NEURON, "weight", "bias", "scale", "delay"):
                self.fields[name] = self._numbers(name, value)

    def _numbers(self, name: str, value: Any) -> NDArray[Any] | None:
        if value is None:
            return None
        try:
            array = np.asarray(value)
            array = array.astype(float if array.dtype.kind != "f" else array.dtype)
        except (TypeError, ValueError):
            raise AerloomError(f"{self}: {name} must be numbers, not {str(value)[:40]!r}") from None
        if not np.all(np.isfinite(array)):
            raise AerloomError(f"{self}: {name} holds NaN or infinity; the training diverged or the file is broken")
        return array

    @property
    def stateful(self) -> bool:
        """Whether this is a population, and not a step on the way to one."""
        return self.kind in NEURONS

    def pair(self, name: str, default: int | None = None) -> tuple[int, int]:
        """A parameter of a 2-D layer, as (y, x); of a 1-D layer (1 or 0, x)."""
        value = self.fields.get(name, default)
        if value is None:
            raise AerloomError(f"{self}: {name} missing; the file is incomplete")
        try:
            numbers = [int(n) for n in np.asarray(value).reshape(-1)]
        except (TypeError, ValueError):
            raise AerloomError(f"{self}: {name} must be whole numbers, not {value!r}") from None
        if self.kind == "Conv1d":
            numbers = [0 if name == "padding" else 1, numbers[0]]
        return (numbers[0], numbers[-1])

    @property
    def weights(self) -> NDArray[Any]:
        """The weights of a convolution as ``(out, in per group, y, x)``, those of a dense layer as they are."""
        w: NDArray[Any] = self.fields["weight"]
        expected = {"Conv1d": 3, "Conv2d": 4}.get(self.kind, 2)
        if w.ndim != expected:
            raise AerloomError(f"{self}: weight must have {expected} dimensions, not the shape {w.shape}")
        return w[:, :, None, :] if self.kind == "Conv1d" else w

    def window(self, shape: Shape) -> Window:
        """The windows of a convolution or pooling over a source of this shape."""
        pools = self.kind in POOLS
        if len(shape) != (2 if self.kind == "Conv1d" else 3):
            wanted = "(channels, x)" if self.kind == "Conv1d" else "(channels, y, x)"
            raise AerloomError(f"{self}: its input must be {wanted}, not {shape}")
        kernel = self.pair("kernel_size") if pools else self.weights.shape[2:]
        stride = kernel if pools and self.fields.get("stride") is None else self.pair("stride", 1)
        dilation = self.pair("dilation", 1)
        padding: Any = self.fields.get("padding", 0)
        if isinstance(padding, bytes):
            padding = padding.decode()
        if isinstance(padding, str) or (isinstance(padding, np.ndarray) and padding.dtype.kind in "SUO"):
            padding = self._named_padding(str(np.asarray(padding).item()), kernel, stride, dilation)
        elif np.size(padding) != 4:
            padding = self.pair("padding", 0)
        try:
            return Window(planes(shape), kernel, stride, padding, dilation)
        except AerloomError as e:
            raise AerloomError(f"{self}: {e}") from None

    def _named_padding(self, name: str, kernel: Shape, stride: Shape, dilation: Shape) -> Shape:
        if name == "valid":
            return (0, 0)
        if name != "same":
            raise AerloomError(f"{self}: padding must be numbers, 'same' or 'valid', not {name!r}")
        if max(stride) > 1:
            raise AerloomError(f"{self}: padding 'same' needs stride 1, as in PyTorch; give the padding in numbers")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)  # the rest at the end

    def shape(self, source: Shape | None) -> Shape | None:
        """Shape of the output for that of the input; None while it is unknown."""
        if self.kind in DENSE:
            return (len(self.weights),)
        if self.stateful:
            return self._own_shape() or source
        if source is None:
            return None
        if self.kind == "Flatten":
            return self._flattened(source)
        if self.kind in POOLS or self.kind.startswith("Conv"):
            window = self.window(source)
            channels = source[0] if self.kind in POOLS else len(self.weights)
            return (channels, *window.size) if len(source) == 3 else (channels, window.size[1])
        return source

    def _own_shape(self) -> Shape | None:
        if self.kind == "Population":
            return None
        shapes = [np.shape(v) for k, v in self.fields.items() if k in OF_A_NEURON and v is not None]
        known = max(shapes, key=math.prod, default=())
        return known if math.prod(known) > 1 else None

    def _flattened(self, source: Shape) -> Shape:
        first, last = int(self.fields.get("start_dim", 0)), int(self.fields.get("end_dim", -1))
        last = last % len(source) if last < 0 else min(last, len(source) - 1)
        if first == 1 and last == len(source) - 1:
            first = 0  # PyTorch counts the batch as dimension 0, and so do some exporters
        return (*source[:first], math.prod(source[first:last + 1]), *source[last + 1:])


HINTS = {
    "MaxPool2d": "MaxPool2d has no spiking equivalent here; replace it by SumPool2d, AvgPool2d or a stride",
    "AdaptiveAvgPool2d": "the windows of AdaptiveAvgPool2d depend on the input; use AvgPool2d with a kernel_size",
    "Softmax": "Softmax does not spike; leave it out, the largest input of it is the largest output",
    "Sigmoid": "a spike rate cannot follow a Sigmoid; train with ReLU",
    "Tanh": "a spike rate cannot follow a Tanh, which has negative values; train with ReLU",
    "LeakyReLU": "a spike rate cannot be negative; train with ReLU",
    "GELU": "a spike rate cannot follow a GELU; train with ReLU",
}


def planes(shape: Shape) -> tuple[int, int, int]:
    """A shape as (channels, y, x)."""
    if len(shape) > 3:
        raise AerloomError(f"layers have at most (channels, y, x), not {shape}")
    c, *rest = shape
    y, x = [1, 1, *rest][-2:]
    return c, y, x


@dataclass
class Graph:
    """Nodes by name, and edges from name to name. ``origin`` says where it comes from, in messages.

    ``refused`` has for the nodes that cannot be taken the reason.
    """

    nodes: dict[str, Node]
    edges: list[tuple[str, str]]
    origin: str = ""
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = self.nodes.keys() | self.refused.keys()
        for edge in self.edges:
            if unknown := [name for name in edge if name not in known]:
                raise AerloomError(f"an edge {edge[0]} → {edge[1]} names {unknown[0]!r}, which is not a node")
        self.edges = list(dict.fromkeys(self.edges))

    def before(self, name: str) -> list[str]:
        """Where the edges into a node come from."""
        return [a for a, b in self.edges if b == name]

    def after(self, name: str) -> list[str]:
        """Where the edges out of a node lead."""
        return [b for a, b in self.edges if a == name]

    def order(self) -> list[str]:
        """The nodes as signals reach them from the inputs, then those that none does."""
        out = dict.fromkeys(n for n, node in self.nodes.items() if node.kind == "Input")
        todo = list(out)
        for name in todo:
            new = [n for n in self.after(name) if n not in out]
            out |= dict.fromkeys(new)
            todo += new
        return list(out | dict.fromkeys(self.nodes) | dict.fromkeys(self.refused))

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each node's output, as far as it can be inferred."""
        shapes = {n: shape for n, node in self.nodes.items() if node.kind == "Input" and (shape := self._input(n))}
        growing = True
        while growing:
            growing = False
            for name, node in self.nodes.items():
                if name in shapes or name in self.refused or node.kind == "Input":
                    continue
                sources = [shapes[a] for a in self.before(name) if a in shapes]
                try:
                    shape = node.shape(sources[0] if sources else None)
                except AerloomError as e:
                    self.refused[name] = str(e).removeprefix(f"{node}: ")
                    continue
                if shape is not None:
                    shapes[name] = shape
                    growing = True
        return shapes

    def _input(self, name: str) -> Shape | None:
        after = [self.nodes[n] for n in self.after(name) if n in self.nodes]
        shape = self.nodes[name].fields.get("shape")
        if shape is None:  # what a dense layer takes it must be
            return next(((n.weights.shape[1],) for n in after if n.kind in DENSE and n.fields["weight"].ndim == 2), None)
        out = tuple(int(n) for n in np.asarray(shape).reshape(-1))
        while len(out) > 3 and out[0] == 1:  # some exporters leave the batch in it
            out = out[1:]
        return out[1:] if len(out) == 2 and out[0] == 1 and any(n.kind in DENSE for n in after) else out
