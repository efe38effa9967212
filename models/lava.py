"""Networks of Lava-DL: the ``netx`` HDF5 files that SLAYER exports and Lava runs on Loihi, bit for bit.

The layout is what ``export_hdf5`` writes (lava-nc/lava-dl: slayer/block/base.py, slayer/neuron/cuba.py) and Lava reads
(netx/hdf5.py, netx/utils.py). Shapes are (channels, y, x), not (x, y, z) as the README of netx has it::

    layer/<n>/type             input, flatten, dense, dense_rec or conv; n = 0, 1, … from input to output
             /shape            (neurons,), (neurons, 1, 1) or (channels, y, x)
             /weight           dense (out, in); conv (out, in per group, y, x), correlated as in torch
             /weight_rec       dense_rec: (out, out)
             /stride, padding, dilation (y, x); groups
             /bias, delay      optional: one number, or one per channel
             /neuron/…         type (CUBA, or LOIHI in older files), iDecay, vDecay, vThMant, refDelay: one, or per channel

The rule is that of Lava's fixed-point LIF (lava-nc/lava: proc/lif/models.py, PyLifModelBitAcc), with states of 24 bits
and D(x, d) = x · (4096 − d) / 4096 rounded toward zero::

    u ← D(u, iDecay) + a · 2^6         v ← D(v, vDecay) + u + bias · 2^6         s = v > vThMant · 2^6, v ← 0 where s

v is clipped to ±(2^23 − 1) as there. Where Lava wraps an overflowing u, aerloom clips it and counts a saturation.
Time: a Dense or Conv process sends in step t what the spikes of step t − 1 add up to (proc/dense/models.py: ``a_buff``),
and netx puts one before every layer; so each layer, the first included, sees spikes one step after they were sent.
"""

from __future__ import annotations

import contextlib
import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .network import DECAY_ONE, Input, Network, Population, Projection
from .nir import hdf5
from .window import Window

SHIFT, STATE_BITS = 6, 24  #: weights, biases and thresholds count 2^6 on the scale of the states
WEIGHTS = (-256, 255)  #: what Loihi's synapses hold
LARGEST = 1 << 28  #: numbers in a dataset: a small file may claim to hold many more
ENCODER = {"weight": 64, "bias": 0, "neuron/iDecay": None, "neuron/vDecay": None, "neuron/vThMant": None}  #: defaults
AGAIN = "export the network again with export_hdf5"
Shape = tuple[int, ...]


def is_netx(path: str | os.PathLike[str]) -> bool:
    """Whether a file is HDF5 with the group ``layer`` of netx; a NIR file has a group ``node`` instead."""
    h5py = hdf5()
    with contextlib.suppress(Exception), h5py.File(path, "r") as file:  # whatever the damage leads to
        return "layer" in file
    return False


def read(path: str | os.PathLike[str], *, delay: int = 1, input_shape: Shape | None = None) -> Network:
    """The integer network in the netx file ``path``; its populations are named by type and number of the layer: dense1.

    ``delay`` is the number of steps from layer to layer: 1 as in Lava. With 0 the answer is Lava's, a step earlier for
    each layer, where there are no biases or where Lava resets each layer a step after the one before. ``input_shape``
    is for files that start with a convolution and have no input layer.

    * The spikes are those that an input layer sends, as with ``skip_layers=1`` in netx. Its neuron, which makes them
      from analog values, is left to the host: ``meta["encoder"]`` has its fields.
    * A ``delay`` dataset must hold one number. It delays what the layer receives, as netx does; SLAYER delays what it
      sends, which differs by when a bias starts.
    * refDelay k means k − 1 steps in which v is held at 0 (as nengo/nengo-loihi: emulator/interface.py); netx ignores
      it, and SLAYER exports 1. A dense layer without neuron sums up and never spikes, as in netx: a readout.

    Raises :class:`AerloomError`, which names the file and the layer, for anything missing, damaged or not of this kind.
    """
    try:
        with hdf5().File(path, "r") as file:
            layers = file.get("layer", ())
            if not len(layers) or not hasattr(layers, "keys"):
                raise AerloomError("not a netx file: it has no group 'layer' with layers; a NIR file has 'node'")
            return _network(layers, delay, input_shape)
    except FileNotFoundError:
        raise AerloomError(f"{path}: there is no such file") from None
    except Exception as e:  # h5py raises whatever the damage leads to
        damage = f"not HDF5, or damaged ({type(e).__name__}: {e})"
        raise AerloomError(f"{path}: {e if isinstance(e, AerloomError) else damage}") from None


def _network(layers: Any, delay: int, shape: Shape | None) -> Network:
    populations, projections = list[Population](), list[Projection]()
    meta: dict[str, Any] = {"source": "lava-dl netx"}
    source, first = "input", shape
    for n in range(len(layers)):
        layer, kind = layers.get(str(n), {}), "missing"
        try:
            kind = _text(layer, "type")
            name, own = f"{kind}{n}", tuple(_numbers(layer, "shape", 1, LARGEST).ravel().tolist())
            if kind == "input" and n == 0:
                shape = first = own
                if "neuron" in layer:
                    _check_neuron(layer)
                    meta["encoder"] = {k: int(_each(layer, k, (1,), -1 << 16, 1 << 31, d)[0]) for k, d in ENCODER.items()}
            elif kind == "flatten":
                shape = (math.prod(shape or own),)
            elif kind in ("dense", "dense_rec", "conv"):
                weights, window, target = _weights(layer, "weight", kind == "conv", shape, own)
                shape, first = target, first or (weights.shape[1],)
                wait = _numbers(layer, "delay", 0, 62, 0)
                if wait.min() != wait.max() or (kind == "dense_rec" and wait.any()):
                    raise AerloomError("'delay' must be equal for all neurons, 0 with recurrence; train with delay=False")
                populations.append(_population(layer, name, target))
                projections.append(Projection(source, name, weights, delay + int(wait.min()), window))
                if kind == "dense_rec":
                    projections.append(Projection(name, name, _weights(layer, "weight_rec", False, target, own)[0], 1))
                source = name
            else:
                raise AerloomError("cannot be read; input (as layer 0), flatten, dense, dense_rec and conv can")
        except AerloomError as e:
            raise AerloomError(f"layer {n} ({kind}): {e}") from None
    return Network((Input("input", first or ()),), tuple(populations), tuple(projections), (), STATE_BITS, meta)


def _weights(layer: Any, key: str, conv: bool, shape: Shape | None, own: Shape) -> tuple[Any, Window | None, Shape]:
    """Weights from ``shape`` (None: not known) to ``own``, the windows of a convolution, and the neurons of the layer."""
    weights = _numbers(layer, key, *WEIGHTS).astype(np.int16)
    if not conv:
        outs = math.prod(own)
        ins = weights.size // outs if shape is None else math.prod(shape)
        if weights.size != outs * ins or (weights.ndim > 1 and len(weights) != outs):  # one row or column is written flat
            raise AerloomError(f"{key!r} must be {(outs, ins)} (neurons, inputs), not {weights.shape}; {AGAIN}")
        return weights.reshape(outs, ins), None, (outs,)
    if shape is None or len(shape) != 3:
        raise AerloomError(f"needs (channels, y, x) before it, not {shape}; give input_shape if there is no input layer")
    if weights.ndim == 5:  # SLAYER's kernels have a time axis of 1
        weights = weights[..., 0]
    groups = int(_each(layer, "groups", (1,), 1, LARGEST)[0])
    if weights.ndim != 4 or weights.shape[1] * groups != shape[0] or len(weights) % groups:
        raise AerloomError(f"'weight' {weights.shape} must connect {shape[0]} channels in {groups} groups; {AGAIN}")
    steps: list[Any] = [_each(layer, k, (2,), k != "padding", 1 << 16) for k in ("stride", "padding", "dilation")]
    window = Window((shape[0], shape[1], shape[2]), (weights.shape[2], weights.shape[3]), *steps)
    if own != (target := (len(weights), *window.size)):
        raise AerloomError(f"'shape' must be {target} (channels, y, x) by its windows, not {own}; {AGAIN}")
    return weights, window, target


def _population(layer: Any, name: str, shape: Shape) -> Population:
    common: dict[str, Any] = {"rounding": "trunc", "shift": SHIFT, "min_v": 1 - (1 << STATE_BITS - 1)}
    common["bias"] = _each(layer, "bias", shape, -4096, 4095, 0) << SHIFT
    if "neuron" not in layer:
        return Population(name, shape, decay_v=0, decay_i=DECAY_ONE, reset="none", **common)
    _check_neuron(layer)
    leak, fade = (_each(layer, f"neuron/{key}", shape, 0, DECAY_ONE) for key in ("vDecay", "iDecay"))
    common["decay_v"] = DECAY_ONE - leak if leak.any() else None
    common["decay_i"] = DECAY_ONE - fade if np.any(fade < DECAY_ONE) else None  # else u is the sum: nothing to keep
    threshold = (_each(layer, "neuron/vThMant", shape, 0, 1 << 31) << SHIFT) + 1
    if threshold.min() >= 1 << STATE_BITS - 1:  # v stays below
        return Population(name, shape, reset="none", **common)
    refractory = int(_each(layer, "neuron/refDelay", (1,), 1, 64, 1)[0]) - 1
    return Population(name, shape, threshold=threshold, reset="value", refractory=refractory, **common)


def _check_neuron(layer: Any) -> None:
    """Refuse what Lava does not make a plain LIF process of."""
    if (kind := _text(layer, "neuron/type")) not in ("CUBA", "LOIHI"):
        raise AerloomError(f"{kind} neurons are not leaky integrate-and-fire; train with the blocks of slayer.block.cuba")
    for key in ("gradedSpike", "messageBits", "weight_exp", "wgtExp"):
        if _numbers(layer, f"neuron/{key}", -64, 64, 0).any():
            raise AerloomError(f"'neuron/{key}' must be 0: spikes of one bit, and weights that count 2^{SHIFT}")


def _text(layer: Any, key: str) -> str:
    if key not in layer:
        raise AerloomError(f"{key!r} is missing; {AGAIN}")
    return str(np.ravel(layer[key].asstr()[()])[0])


def _numbers(layer: Any, key: str, low: int, high: int, default: int | None = None) -> NDArray[np.int64]:
    """The whole numbers of a dataset, one dimension at least; they are stored in whatever type the exporter used."""
    node = layer.get(key)
    if node is None and default is not None:
        return np.array([default])
    if node is None or hasattr(node, "keys"):
        raise AerloomError(f"{key!r} is {'missing' if node is None else 'complex (resonate and fire)'}; {AGAIN}")
    if node.dtype.kind not in "biuf" or not 0 < node.size <= LARGEST:
        raise AerloomError(f"{key!r} must hold numbers, not {node.dtype} of shape {node.shape}; {AGAIN}")
    value = np.atleast_1d(node[()])
    if np.any(value != np.trunc(value)) or value.min() < low or value.max() > high:  # NaN is no whole number either
        raise AerloomError(f"{key!r} must be whole numbers in {low} … {high}, not {value.min():g} … {value.max():g}; "
                           "export with the quantisation of SLAYER's blocks (pre_hook_fx)")
    return value.astype(np.int64)


def _each(layer: Any, key: str, shape: Shape, low: int, high: int, default: int | None = None) -> NDArray[np.int64]:
    """One number for each neuron of ``shape``, where the file has one per channel or one for all."""
    value = _numbers(layer, key, low, high, default).ravel()
    if value.size not in (1, shape[0]):
        raise AerloomError(f"{key!r} must hold 1 or {shape[0]} numbers, not {value.size}; {AGAIN}")
    return np.repeat(value, math.prod(shape) // value.size)
