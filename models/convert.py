"""A trained ReLU network to a spiking one, without training again.

An integrate-and-fire neuron that resets by subtraction spikes at the rate of its summed input, from 0 up to one spike per
step: a ReLU, clipped at its threshold (Rueckauer et al., Frontiers in Neuroscience 2017). With λ the largest activation of
a layer on samples, or a high percentile of them, the network is that of Diehl et al. (IJCNN 2015)::

    a_l = relu(W_l a_{l−1} + b_l)      →      weights W_l λ_{l−1} / λ_l,  bias b_l / λ_l in every step,  threshold 1

so that the spikes of T steps approach T · a_l / λ_l. A membrane that starts at half the threshold rounds to the nearest
instead of down, which makes the mean error zero (Bu et al., ICLR 2022). What follows the last ReLU becomes a readout.

:func:`encode` says how analog inputs enter a chip that takes spikes alone. A constant current would be a bias that differs
from sample to sample; several spikes per step, or evenly spaced ones, do the same with one network for all samples.
"""

from __future__ import annotations

import dataclasses
import graphlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import ann, golden, onnx
from .build import build
from .errors import AerloomError
from .fold import apply, spread
from .graph import Graph, Node
from .network import Network
from .semantics import semantics
from .text import counted

Array = NDArray[Any]

CODINGS = {"direct": "direct", "rate": "even", "even": "even"}  #: by name, that of the encoder
LONGEST = 64  #: steps tried where none are given
KEPT = 1 << 24  #: activations of a layer that a percentile is taken of


@dataclass(frozen=True, eq=False)
class Converted:
    """A spiking network, and how well it does on the samples it was balanced with."""

    network: Network  #: floating point; its ``meta`` has the encoding, with the chosen number of steps
    steps: int  #: chosen: the fewest whose accuracy is within the tolerance of the best
    curve: Array  #: accuracy after each step 1 … T; without labels, agreement with the classes of the ANN
    ann: float  #: what the ANN itself reaches
    thresholds: dict[str, Array]  #: λ by layer: one, or one per channel

    def encode(self, values: ArrayLike, steps: int | None = None) -> NDArray[np.uint8]:
        """Spikes of ``values`` as this network takes them, ``(batch, steps, …)``."""
        e = self.network.meta["encoding"]
        return encode(values, steps or self.steps, e["name"], e.get("levels", 1))


def convert(
    model: Any,
    samples: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    steps: int | None = None,
    coding: str = "direct",
    levels: int = 15,
    percentile: float = 99.9,
    per_channel: bool = False,
    max_spikes: int = 1,
    v0: float = 0.5,
    readout: str = "membrane",
    normalisation: tuple[ArrayLike, ArrayLike] | None = None,
    tolerance: float = 0.001,
) -> Converted:
    """The spiking network of a ReLU network.

    ``model`` is a ``torch.nn.Module``, a path of an ONNX file, or a :class:`Graph` with ReLU nodes. ``samples``
    ``(n, *shape)`` in 0 … 1 are typical inputs, some hundreds, of which ``percentile`` of the activations above 0 sets each
    λ. Up to ``steps`` steps are run (64 by default), and the fewest within ``tolerance`` of the best accuracy are chosen.

    ``max_spikes``: a neuron sends up to so many spikes per step, each worth λ / max_spikes, which does as well as so many
    times as many steps. ``readout``: the class is the neuron with the largest "membrane", that integrates and never spikes,
    or with most "spikes". ``normalisation``: (mean, std) of all inputs or of each channel, where the model was trained on
    (x − mean) / std. ``v0``: the membranes at the start, in thresholds.

    Raises :class:`AerloomError` for what cannot be converted, by the name of the node.
    """
    x = np.asarray(samples, np.float32)
    if x.ndim < 2 or not len(x):
        raise AerloomError(f"samples must be (n, …), some hundreds of typical inputs, not {x.shape}")
    if readout not in ("membrane", "spikes"):
        raise AerloomError(f"readout must be 'membrane' or 'spikes', not {readout!r}")
    if not 0 < percentile <= 100 or not 0 <= v0 <= 1 or not 1 <= max_spikes <= 255:
        raise AerloomError(f"percentile must be in 0 … 100, v0 in 0 … 1 of the threshold and max_spikes in 1 … 255, "
                           f"not {percentile}, {v0} and {max_spikes}")
    encode(x[:1], 1 if steps is None else steps, coding, levels)
    graph = _of(model, x.shape[1:])
    if normalisation is not None:
        mean, std = (np.asarray(a, np.float32) for a in normalisation)
        graph = _insert(graph, _input(graph), Node("normalised", "BatchNorm", {"scale": 1 / std, "bias": -mean / std}))
    found, logits = balance(graph, x, percentile, per_channel)
    exact = logits.argmax(axis=1)
    truth = exact if labels is None else np.asarray(labels)
    most = levels if coding == "direct" else 1
    encoding = {"name": CODINGS[coding], "steps": steps or LONGEST} | ({"levels": levels} if coding == "direct" else {})
    network = build(_spiking(graph, found, logits, most, percentile, max_spikes, v0, readout), semantics("nir"))
    network = network.replace(inputs=[dataclasses.replace(i, max_spikes=most) for i in network.inputs],
                              meta={"origin": graph.origin, "encoding": encoding})
    over_time = evaluate(_ranged(network, steps or LONGEST, logits), x, truth)
    chosen = int(np.argmax(over_time >= over_time.max() - tolerance)) + 1 if steps is None else steps
    network = _ranged(network.replace(meta=network.meta | {"encoding": encoding | {"steps": chosen}}), chosen, logits)
    return Converted(network, chosen, over_time, float(np.mean(exact == truth)), found)


def _of(model: Any, shape: tuple[int, ...]) -> Graph:
    if isinstance(model, str | os.PathLike):
        model = onnx.read(model)
    graph = model if isinstance(model, Graph) else ann.graph(model, shape)
    for name, reason in graph.refused.items():
        raise AerloomError(f"{name}: {reason}")
    for node in graph.nodes.values():
        if node.stateful and node.kind != "ReLU":
            raise AerloomError(f"{node}: this is a spiking neuron already; only networks of ReLU are converted")
    wanted = graph.shapes[_input(graph)]
    if math.prod(wanted) != math.prod(shape):
        raise AerloomError(f"{graph.origin}: it takes inputs of {wanted}, but the samples are {shape}")
    return graph


def _input(graph: Graph) -> str:
    inputs = [n for n, node in graph.nodes.items() if node.kind == "Input"]
    if len(inputs) != 1 or sum(node.kind == "Output" for node in graph.nodes.values()) != 1:
        raise AerloomError(f"{graph.origin}: only networks of one input and one output are converted")
    return inputs[0]


def forward(graph: Graph, values: Array) -> Iterator[tuple[str, Array]]:
    """What an ANN computes: the name of each node and its output ``(n, numbers)``, in the order in which data flows."""
    order = graphlib.TopologicalSorter({name: graph.before(name) for name in graph.nodes})
    held: dict[str, Array] = {}
    try:
        names = list(order.static_order())
    except graphlib.CycleError:
        raise AerloomError(f"{graph.origin}: it is recurrent; only feed-forward networks are converted") from None
    uses = {name: len(graph.after(name)) for name in names}
    for name in names:
        node, before = graph.nodes[name], graph.before(name)
        x = values.reshape(len(values), -1) if not before else held[before[0]]
        for other in before[1:]:
            x = x + held[other]
        if node.kind == "ReLU":
            x = np.clip(x, 0, node.fields.get("max"))
            if levels := node.fields.get("levels"):
                x = np.floor(x * (levels / node.fields["max"]) + 0.5) * (node.fields["max"] / levels)
        else:
            x = apply(node, x, graph.shapes[before[0]] if before else graph.shapes[name])
            if node.fields.get("bias") is not None:
                x = x + spread(node, "bias", graph.shapes[name])
        held[name] = x.astype(np.float32, copy=False)
        yield name, held[name]
        for a in before:
            uses[a] -= 1
            if not uses[a]:
                del held[a]


def balance(graph: Graph, values: Array, percentile: float, per_channel: bool = False) -> tuple[dict[str, Array], Array]:
    """λ of every ReLU on ``values`` ``(n, …)``, one or one per channel, and the outputs ``(n, outputs)`` of the ANN.

    λ is the percentile of the activations above 0: what is larger is cut off, and the rest gets finer steps. A clipped ReLU
    has at most its maximum, and one that was trained with levels exactly that.
    """
    seen: dict[str, list[Array]] = {name: [] for name, node in graph.nodes.items() if node.kind == "ReLU"}
    logits = []
    batch = 100
    for first in range(0, len(values), batch):
        for name, a in forward(graph, values[first:first + batch]):
            if name in seen:
                every = math.ceil(a.size * math.ceil(len(values) / batch) / KEPT)
                seen[name].append(a[:: min(every, len(a))])
            elif graph.nodes[name].kind == "Output":
                logits.append(a)
    found = {}
    for name, parts in seen.items():
        most, shape = graph.nodes[name].fields.get("max"), graph.shapes[name]
        activations = np.concatenate(parts)
        if not np.any(activations > 0):
            raise AerloomError(f"{graph.nodes[name]}: never above 0 on these samples; give typical ones")
        lam = np.array([_above(activations, percentile)], np.float32)
        if per_channel:
            channels = activations.reshape(len(activations), shape[0], -1).transpose(1, 0, 2)
            lam = np.array([_above(c, percentile) or lam[0] for c in channels], np.float32)
        if most is not None:
            lam = np.full_like(lam, most) if graph.nodes[name].fields.get("levels") else np.minimum(lam, np.float32(most))
        found[name] = lam
    return found, np.concatenate(logits)


def _above(activations: Array, percentile: float) -> float:
    above = activations[activations > 0]
    return float(np.percentile(above, percentile)) if above.size else 0.0


def _insert(graph: Graph, after: str, node: Node) -> Graph:
    """The graph with a node between ``after`` and all that follows it."""
    edges = [(node.name if a == after else a, b) for a, b in graph.edges]
    out = Graph(graph.nodes | {node.name: node}, [*edges, (after, node.name)], graph.origin)
    out.shapes = graph.shapes | {node.name: graph.shapes[after]}
    return out


def _spiking(graph: Graph, found: Mapping[str, Array], logits: Array, levels: int, percentile: float, max_spikes: int,
             v0: float, readout: str) -> Graph:
    """The graph with neurons for ReLUs: what comes in counts in units of λ / max_spikes, and so does what goes out."""
    rule = {"threshold": 1.0, "v0": v0, "max_spikes": max_spikes}
    out = graph
    if levels > 1:
        out = _insert(out, _input(graph), Node("levels", "Scale", {"scale": 1 / levels}))
    for name, lam in found.items():
        out = _insert(out, name, Node(f"{name} value", "Scale", {"scale": lam / max_spikes}))
        out.nodes[name] = Node(name, "Population", {"population": rule, "gain": max_spikes / lam})
    end = next(n for n, node in graph.nodes.items() if node.kind == "Output")
    source, *more = graph.before(end)
    if more:
        raise AerloomError(f"{end}: several nodes lead to the output; only one is possible")
    if source in found:  # a ReLU is the output: its spikes
        out.edges = [(source if b == end else a, b) for a, b in out.edges]
        return out
    fields: dict[str, Any] = {"population": {"reset": "none"}}
    if readout == "spikes":
        fields = {"population": rule, "gain": max_spikes / (_above(logits, percentile) or 1.0)}
    return _insert(out, source, Node("readout", "Population", fields))


def _ranged(network: Network, steps: int, logits: Array) -> Network:
    """With the range that a readout needs in so many steps, for an integer membrane that grows with them would overflow."""
    reach = 1.25 * steps * float(np.abs(logits).max())
    limits: dict[str, Any] = {"min_v": -reach, "max_v": reach}
    return network.replace(populations=[p if p.spiking else dataclasses.replace(p, **limits) for p in network.populations])


def encode(values: ArrayLike, steps: int, coding: str = "direct", levels: int = 15) -> NDArray[np.uint8]:
    """Values x in 0 … 1 ``(batch, …)`` as spikes ``(batch, steps, …)`` that repeat on every machine.

    * "direct": round(x · levels) spikes at once, the same in every step; with weights of 1 / levels that is a constant
      current in that many levels. The input's ``max_spikes`` is ``levels``.
    * "rate" (or "even"): at most one spike per step, round(x · steps) of them, evenly spaced: ⌊(t + 1) x + ½⌋ − ⌊t x + ½⌋.
    """
    x = np.asarray(values, np.float32)
    if coding not in CODINGS:
        raise AerloomError(f"coding must be 'direct' or 'rate', not {coding!r}")
    if steps < 1 or not 1 <= levels <= 255:
        raise AerloomError(f"steps must be at least 1, and levels in 1 … 255, not {steps} and {levels}")
    if x.ndim < 2 or not x.size:
        raise AerloomError(f"values must be (batch, …), with at least one value, not {x.shape}")
    if not (x.min() >= 0 and x.max() <= 1):  # also refuses NaN
        raise AerloomError(f"inputs must be in 0 … 1, not {x.min():g} … {x.max():g}; fold the normalisation into the "
                           "first layer with convert(…, normalisation=(mean, std))")
    if coding == "direct":
        return np.repeat(np.round(x[:, None] * levels).astype(np.uint8), steps, axis=1)
    t = np.arange(steps + 1, dtype=np.float64).reshape(-1, *[1] * (x.ndim - 1))
    return np.diff(np.floor(t * x[:, None] + 0.5), axis=1).astype(np.uint8)


def curve(network: Network, spikes: Array | Mapping[str, Array], labels: ArrayLike) -> Array:
    """Accuracy after each step ``(steps,)`` of one golden run, had it ended there."""
    output = network.outputs[0]
    if network.population[output].spiking:
        answers = golden.run(network, spikes).spikes[output].cumsum(axis=1, dtype=np.int64)
    else:
        answers = golden.run(network, spikes, membranes=[output]).membranes[output]
    return np.asarray(np.mean(answers.argmax(axis=2) == np.asarray(labels)[:, None], axis=0))


def evaluate(network: Network, values: Array, labels: ArrayLike, batch: int = 100) -> Array:
    """:func:`curve` over the steps of a converted network's encoding, for values in batches that fit into memory."""
    e, truth = network.meta["encoding"], np.asarray(labels)
    if len(truth) != len(values):
        raise AerloomError(f"{counted(len(values), 'sample')}, but {counted(len(truth), 'label')}")
    total = np.zeros(e["steps"])
    for n in range(0, len(values), batch):
        part = values[n:n + batch]
        spikes = encode(part, e["steps"], e["name"], e.get("levels", 1))
        total += len(part) * curve(network, spikes, truth[n:n + batch])
    return total / len(values)
