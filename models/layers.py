"""PyTorch's own layers to nodes of a graph. Nothing here imports torch: modules are known by the names of their classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .graph import HINTS, Node


def numbers(tensor: Any) -> NDArray[Any]:
    """A tensor, or a number, as an array."""
    return np.asarray(tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else tensor)


def classes(module: Any) -> list[str]:
    """Names of a module's class and of those it is derived from."""
    return [c.__name__ for c in type(module).__mro__]


def layer(name: str, module: Any) -> Node | None:
    """The node of a layer of PyTorch, Sinabs, SpikingJelly or Rockpool without state; None if it is not one."""
    kinds = classes(module)
    if "LinearTorch" in kinds:  # Rockpool: y = x W + b
        bias = getattr(module, "bias", None)
        bias = None if bias is None or not np.size(numbers(bias)) else numbers(bias)
        return Node(name, "Linear" if bias is None else "Affine", _given(weight=numbers(module.weight).T, bias=bias))
    if "Linear" in kinds:
        bias = None if module.bias is None else numbers(module.bias)
        return Node(name, "Linear" if bias is None else "Affine", _given(weight=numbers(module.weight), bias=bias))
    for kind in ("Conv1d", "Conv2d"):
        if kind in kinds:
            if module.padding_mode != "zeros":
                raise AerloomError(f"{name} ({kind}): padding_mode must be 'zeros', not {module.padding_mode!r}")
            return Node(name, kind, _given(
                weight=numbers(module.weight), bias=None if module.bias is None else numbers(module.bias),
                stride=module.stride, padding=module.padding, dilation=module.dilation, groups=module.groups))
    for kind in ("AvgPool2d", "SumPool2d"):
        if kind in kinds:
            padding = getattr(module, "padding", 0)
            if getattr(module, "ceil_mode", False) or getattr(module, "divisor_override", None) or (
                    np.any(np.asarray(padding)) and not getattr(module, "count_include_pad", True)):
                raise AerloomError(f"{name} ({kind}): ceil_mode, divisor_override and count_include_pad=False are not "
                                   "possible; pad the layer before instead")
            return Node(name, kind, {"kernel_size": module.kernel_size, "stride": module.stride, "padding": padding})
    if any(kind.startswith("BatchNorm") for kind in kinds):
        if module.running_mean is None:
            raise AerloomError(f"{name} ({kinds[0]}): cannot be folded without running statistics; track them in training")
        scale = 1 / np.sqrt(numbers(module.running_var).astype(float) + module.eps)
        shift = np.zeros_like(scale)
        if module.weight is not None:
            scale, shift = scale * numbers(module.weight), numbers(module.bias).astype(float)
        return Node(name, "BatchNorm", {"scale": scale, "bias": shift - numbers(module.running_mean) * scale})
    if "Flatten" in kinds:
        return Node(name, "Flatten", {"start_dim": module.start_dim, "end_dim": module.end_dim})
    if "Identity" in kinds or any(kind.startswith("Dropout") for kind in kinds):
        return Node(name, "Identity")  # trained networks drop nothing
    if hint := next((HINTS[kind] for kind in kinds if kind in HINTS), None):
        raise AerloomError(f"{name} ({kinds[0]}): {hint}")
    return None


def _given(**fields: Any) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None}
