"""ReLU networks from PyTorch modules to a :class:`~aerloom.models.graph.Graph`, which :mod:`aerloom.models.convert` takes.

Modules are traced symbolically (torch.fx), so anything without control flow on its data is taken, Sequential or not.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from .draft import REASONS, Draft
from .errors import AerloomError
from .graph import Graph
from .layers import layer

Array = NDArray[Any]

TAKEN = "Linear, Conv1d, Conv2d, BatchNorm, AvgPool, Flatten, ReLU, ReLU6, Hardtanh from 0 on, Dropout, Identity and +"


def graph(model: Any, example_shape: Sequence[int]) -> Graph:
    """The graph of a ``torch.nn.Module`` in evaluation mode, for inputs of ``example_shape`` (without the batch).

    The module itself is left as it is. Raises :class:`AerloomError` with every node that cannot be taken, and what to do.
    """
    try:
        import torch
        from torch import fx
    except ImportError:
        raise AerloomError("reading a PyTorch module needs torch: pip install torch, or export it to ONNX") from None

    if not isinstance(model, torch.nn.Module):
        raise AerloomError(f"a PyTorch model must be a torch.nn.Module, not {type(model).__name__}; load weights into one")

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: Any, name: str) -> bool:
            return super().is_leaf_module(m, name) or _quantised(m)

    model = copy.deepcopy(model).eval()
    try:
        traced = Tracer().trace(model)
    except Exception as e:  # whatever the forward method does with a proxy
        raise AerloomError(f"{type(model).__name__}: torch.fx cannot trace it ({str(e)[:80]}); "
                           "leave out control flow that depends on the data, or export it to ONNX") from None
    draft = Draft(f"torch {type(model).__name__}")
    known: dict[Any, Any] = {}  # fx nodes to names in the draft; numbers and sizes to themselves
    for n in traced.nodes:
        if n.op == "placeholder":
            known[n] = draft.add("input", "Input", shape=tuple(int(k) for k in example_shape))
        elif n.op == "output":
            if not isinstance(n.args[0], fx.Node):
                raise AerloomError(f"{draft.origin}: it returns {type(n.args[0]).__name__}; only one tensor is possible")
            draft.add("output", "Output", [known[n.args[0]]])
        elif n.op == "call_module":
            known[n] = _module(draft, str(n.target), model.get_submodule(n.target), known[n.args[0]])
        else:
            args, kwargs = fx.node.map_arg((n.args, n.kwargs), lambda a: known[a])
            known[n] = _function(draft, n, args, kwargs)
    return draft.finish()


def _quantised(m: Any) -> bool:
    """Whether a module is a quantised ReLU: it has ``thresh`` and ``L`` levels, as those of Bu et al. 2022 (QCFS)."""
    return "L" in vars(m) and any("thresh" in place for place in (vars(m), m._parameters, m._buffers))


def _module(draft: Draft, name: str, m: Any, x: str) -> str:
    kind = type(m).__name__
    if _quantised(m):
        return draft.relu(name, x, float(getattr(m.thresh, "data", m.thresh)), int(m.L))
    if kind in ("AvgPool1d", "AvgPool2d"):
        if getattr(m, "divisor_override", None) is not None:
            return draft.refuse(name, kind, "divisor_override is not possible; scale the next weights", [x])
        return draft.pool(name, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad)
    if kind in ("AdaptiveAvgPool1d", "AdaptiveAvgPool2d"):
        return draft.adaptive(name, x, m.output_size)
    if kind == "Flatten":
        return draft.flatten(name, x, (0, -1) if (m.start_dim, m.end_dim) == (1, -1) else (0, 0))
    if kind == "ReLU":
        return draft.relu(name, x)
    if kind in ("ReLU6", "Hardtanh"):
        return draft.relu(name, x, float(m.max_val), least=float(m.min_val))
    try:
        node = layer(name, m)
    except AerloomError as e:
        return draft.refuse(name, kind, str(e).removeprefix(f"{name} ({kind}): "), [x])
    if node is None:
        return draft.refuse(name, kind, REASONS.get(kind, f"there is no {kind} here; there are {TAKEN}"), [x])
    return draft.add(name, node.kind, [x], **node.fields)


def _function(draft: Draft, n: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a function or method of the traced forward becomes; a size stays a number, −1 for the batch."""
    what = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", str(n.target))
    x: Any = args[0] if args else kwargs.get("input")

    def arg(place: int, name: str, default: Any = None) -> Any:
        return args[place] if len(args) > place else kwargs.get(name, default)

    tensors = [a for a in args if isinstance(a, str) and a in draft.nodes]
    if what == "size" or (what == "getattr" and args[1] == "shape"):
        sizes = (-1, *(draft.shapes[x] or ()))
        return sizes if arg(1, "dim") in (None, "shape") else sizes[arg(1, "dim")]
    if what == "getitem" and isinstance(x, tuple):
        return x[args[1]]
    if what in ("relu", "relu_"):
        return draft.relu(n.name, x)
    if what in ("relu6", "hardtanh", "hardtanh_", "clamp", "clip", "clamp_", "clamp_min"):
        six, names = what == "relu6", ("min_val", "max_val") if what.startswith("hard") else ("min", "max")
        least = 0 if six else arg(1, names[0], -1 if what.startswith("hard") else -math.inf)
        most = 6 if six else arg(2, names[1], 1 if what.startswith("hard") else None)
        return draft.relu(n.name, x, None if most is None else float(most), least=float(least))
    if what == "flatten" and arg(1, "start_dim", 0) == 1 and arg(2, "end_dim", -1) == -1:
        return draft.flatten(n.name, x)
    if what in ("view", "reshape", "flatten"):
        wanted = arg(1, "shape", ()) if isinstance(arg(1, "shape", ()), tuple | list) else args[1:]
        return draft.flatten(n.name, x, wanted if what != "flatten" else (0, 0))
    if what in ("dropout", "dropout1d", "dropout2d", "contiguous", "detach", "float"):
        return draft.add(n.name, "Identity", [x])
    if what in ("add", "add_", "iadd") and len(tensors) == 2 and not kwargs:
        return draft.add(n.name, "Identity", tensors)
    if what == "avg_pool2d":
        return draft.pool(n.name, x, arg(1, "kernel_size"), arg(2, "stride"), arg(3, "padding", 0),
                          arg(4, "ceil_mode", False), arg(5, "count_include_pad", True))
    if what in ("adaptive_avg_pool1d", "adaptive_avg_pool2d"):
        return draft.adaptive(n.name, x, arg(1, "output_size"))
    if what == "mean":
        return draft.mean(n.name, x, arg(1, "dim", ()), bool(arg(2, "keepdim", False)))
    known = {k.lower(): v for k, v in REASONS.items()}
    reason = known.get(what.replace("_", ""), f"there is no {what} here; there are {TAKEN}")
    return draft.refuse(n.name, what, reason, tensors)
