"""Modules of snnTorch, Norse, SpikingJelly, Sinabs and Rockpool to a graph, with what their NIR exports lose.

A live module says everything about its neurons, so they become nodes of the kind ``Population``, and no semantics is
needed. tests/frameworks compares them with the frameworks, spike for spike. No framework is imported: modules are known by
the names of their classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import AerloomError
from .graph import Graph, Node
from .layers import classes, layer, numbers
from .semantics import HELD, SEVERAL

SEQUENCES = ("Sequential", "SequentialState", "TorchSequential", "SequentialMixin")


def graph(module: Any, shape: Sequence[int] | None = None) -> Graph:
    """The graph of a module whose layers follow each other; ``shape`` is that of its input (one step of one sample).

    Raises :class:`AerloomError` with the name of a layer that cannot be taken.
    """
    made = Graph({"input": Node("input", "Input")}, [], type(module).__module__.split(".")[0])
    last = _add(made, "", module, "input")
    made.nodes["output"] = Node("output", "Output")
    made.edges.append((last, "output"))
    if shape is None:
        first = next((n for n in made.nodes.values() if "weight" in n.fields), None)
        if first is None or first.kind not in ("Linear", "Affine"):
            raise AerloomError(f"{made.origin}: the shape of the input does not follow from the first layer; give shape=…")
        shape = (first.weights.shape[1],)
    made.nodes["input"].fields["shape"] = np.array(shape)
    return made


def _add(graph: Graph, prefix: str, module: Any, last: str) -> str:
    """Append what a module does behind the node ``last``; the name of the node that is last then."""
    kinds = classes(module)
    if "spiking_model" in getattr(module, "_modules", {}):  # sinabs.Network
        return _add(graph, prefix, module.spiking_model, last)
    if any(kind in SEQUENCES for kind in kinds):
        for key, child in module._modules.items():
            last = _add(graph, f"{prefix}{key}.", child, last)
        return last
    name = prefix.rstrip(".") or "layer"
    if (node := layer(name, module)) is None:
        maker = next((NEURONS[kind] for kind in kinds if kind in NEURONS), None)
        if maker is None and any("ReLU" in kind for kind in kinds):
            raise AerloomError(f"{name} ({kinds[0]}): this is no spiking network; aerloom.convert makes one of it")
        if maker is None:
            raise AerloomError(f"{name} ({kinds[0]}): aerloom knows no such layer; give the layers in their order as a "
                               "Sequential, or export the network to NIR")
        return maker(graph, name, module, last)
    _append(graph, node, last)
    return name


def _append(graph: Graph, node: Node, last: str) -> None:
    graph.nodes[node.name] = node
    graph.edges.append((last, node.name))


def _population(graph: Graph, name: str, last: str, gain: Any = 1.0, recurrent: Node | None = None,
                approximated: tuple[str, ...] = (), **fields: Any) -> str:
    """Append a population, with what connects it to itself."""
    fields = {k: v if isinstance(v, str | bool | int) or v is None else numbers(v).astype(float) for k, v in fields.items()}
    _append(graph, Node(name, "Population", {"population": fields, "gain": gain, "approximated": approximated}), last)
    if recurrent is not None:
        _append(graph, recurrent, name)
        graph.edges.append((recurrent.name, name))
    return name


def _weights(name: str, weight: Any, bias: Any = None) -> Node:
    fields = {"weight": numbers(weight)} | ({} if bias is None else {"bias": numbers(bias)})
    return Node(f"{name}.recurrent", "Linear" if bias is None else "Affine", fields)


def _loop(name: str, module: Any) -> Node:
    node = layer(f"{name}.recurrent", module)
    if node is None:
        raise AerloomError(f"{name}: its recurrent connection {type(module).__name__} must be a Linear or Conv2d layer")
    return node


def _refuse(name: str, module: Any, **wrong: bool) -> None:
    if found := [what for what, is_so in wrong.items() if is_so]:
        raise AerloomError(f"{name} ({type(module).__name__}): {', '.join(found)} is not possible here")


# --- snnTorch


def _snntorch(graph: Graph, name: str, m: Any, last: str) -> str:
    kinds = classes(m)
    filtered, recurrent = any("Synaptic" in k for k in kinds), kinds[0].startswith("R")
    _refuse(name, m, inhibition=bool(m.inhibition), state_quant=bool(m.state_quant),
            graded_spikes_factor=float(numbers(m.graded_spikes_factor).max()) != 1)
    late = bool(m.reset_delay) or "RSynaptic" in kinds  # which resets late whatever it is told (1.0.0)
    if m.reset_mechanism == "zero" and not (recurrent or filtered):
        late = False  # zero before the decay is zero at once
    loop = None
    if recurrent:
        loop = _loop(name, m.recurrent) if m.all_to_all else Node(
            f"{name}.recurrent", "Scale", {"scale": numbers(m.recurrent.V if hasattr(m.recurrent, "V") else m.V)})
    return _population(
        graph, name, last, recurrent=loop, approximated=() if late or m.reset_mechanism != "subtract" else (HELD,),
        decay_v=np.clip(numbers(m.beta), 0, 1),
        decay_i=np.clip(numbers(m.alpha), 0, 1) if filtered else None, bias_at="current" if filtered else "membrane",
        threshold=m.threshold, strict=True, reset="value" if m.reset_mechanism == "zero" else "subtract",
        reset_by=0.0 if m.reset_mechanism == "none" else m.threshold, reset_delay=int(late))


# --- Norse


def _norse_box(graph: Graph, name: str, m: Any, last: str) -> str:
    k = m.dt * numbers(m.p.tau_mem_inv).astype(float)
    subtract = getattr(m.p, "reset_method", None) is not None and "subtract" in m.p.reset_method.__name__
    return _population(
        graph, name, last, k, decay_v=1 - k, bias=k * numbers(m.p.v_leak), v0=m.p.v_leak, threshold=m.p.v_th, strict=True,
        reset="subtract" if subtract else "value", reset_to=0.0 if subtract else m.p.v_reset)


def _norse_lif(graph: Graph, name: str, m: Any, last: str) -> str:
    """With a synaptic filter; the recurrent one has the weights of its input too."""
    loop = None
    if hasattr(m, "input_weights"):
        node = Node(f"{name}.input", "Linear", {"weight": numbers(m.input_weights)})
        _append(graph, node, last)
        weights = numbers(m.recurrent_weights)
        last, loop = node.name, _weights(name, weights if m.autapses else weights * (1 - np.eye(len(weights))))
    k = m.dt * numbers(m.p.tau_mem_inv).astype(float)
    leak = numbers(m.p.v_leak)
    fields: dict[str, Any] = {"reset": "none"} if "LICell" in classes(m) or "LI" in classes(m) else {
        "threshold": numbers(m.p.v_th) - leak, "strict": True, "reset": "value", "reset_to": numbers(m.p.v_reset) - leak}
    return _population(  # measured from v_leak, where the membrane starts
        graph, name, last, k, loop, decay_v=1 - k, decay_i=1 - m.dt * numbers(m.p.tau_syn_inv).astype(float),
        bias_at="current", **fields)


def _norse_iaf(graph: Graph, name: str, m: Any, last: str) -> str:
    return _population(graph, name, last, threshold=m.p.v_th, strict=True, reset="value", reset_to=m.p.v_reset)


# --- Sinabs


def _sinabs(graph: Graph, name: str, m: Any, last: str) -> str:
    integrates = any(k.startswith("IAF") for k in classes(m))
    alpha = None if integrates else np.exp(-1 / numbers(m.tau_mem).astype(float))
    gain = np.asarray(1.0) if alpha is None or not m.norm_input else 1 - alpha
    filter_ = getattr(m, "tau_syn", None)
    beta = None if filter_ is None else np.exp(-1 / numbers(filter_).astype(float))
    loop = None
    if (connect := getattr(m, "rec_connect", None)) is not None:
        loop = _loop(name, connect)
        _refuse(name, m, **{"a bias in rec_connect, which Sinabs leaves out in the first step,": "bias" in loop.fields})
    fields: dict[str, Any] = {"reset": "none"}
    if m.spike_fn is not None:
        reset, most = _called(m.reset_fn), getattr(m.spike_fn, "max_num_spikes_per_bin", 0)
        spikes = {"SingleSpike": 1, "MultiSpike": SEVERAL}.get(_called(m.spike_fn), most)
        _refuse(name, m, **{_called(m.spike_fn): not spikes, reset: reset not in ("MembraneSubtract", "MembraneReset")})
        by, to = getattr(m.reset_fn, "subtract_value", None), getattr(m.reset_fn, "reset_value", 0.0)
        fields = {"threshold": m.spike_threshold, "max_spikes": int(spikes),
                  "reset": "subtract" if reset == "MembraneSubtract" else "value",
                  "reset_by": m.spike_threshold if by is None else by, "reset_to": to}
    return _population(
        graph, name, last, gain if beta is None else gain * beta, loop, decay_v=alpha, decay_i=beta, min_v=m.min_v_mem,
        bias_at="membrane" if beta is None else "current", **fields)


def _called(thing: Any) -> str:
    return str(getattr(thing, "__name__", type(thing).__name__))


# --- Rockpool


def _rockpool(graph: Graph, name: str, m: Any, last: str) -> str:
    filtered = "LIFTorch" in classes(m)
    dt = float(numbers(m.dt))

    def decay(leak: str, tau: str) -> Any:
        if getattr(m, "leak_mode", "taus") == "decays":
            return numbers(getattr(m, leak)).astype(float)
        return np.exp(-dt / numbers(getattr(m, tau)).astype(float))

    alpha = decay("alpha", "tau_mem")
    beta = decay("beta", "tau_syn") if filtered else None
    _refuse(name, m, noise_std=bool(numbers(m.noise_std) != 0), **{
        "several synapses per neuron": filtered and m.n_synapses != 1,
        "leak_mode bitshifts": getattr(m, "leak_mode", "taus") == "bitshifts"})
    most = float(numbers(m.max_spikes_per_dt))
    size = int(m.size_out)
    weights = getattr(m, "w_rec", None) if filtered else None
    loop = None if weights is None else _weights(name, numbers(weights).reshape(size, size).T)
    return _population(
        graph, name, last, 1.0 if beta is None else beta.reshape(-1), loop, decay_v=alpha.reshape(-1),
        decay_i=None if beta is None else beta.reshape(-1), bias=numbers(m.bias).reshape(-1),
        bias_at="membrane", threshold=m.threshold, max_spikes=int(min(most, SEVERAL)))


# --- SpikingJelly


def _spikingjelly(graph: Graph, name: str, m: Any, last: str) -> str:
    kinds = classes(m)
    rest = 0.0 if m.v_reset is None else m.v_reset
    fields: dict[str, Any] = {"threshold": m.v_threshold, "reset": "subtract" if m.v_reset is None else "value",
                              "reset_to": rest, "v0": rest}
    if "CUBALIFNode" in kinds:
        return _population(graph, name, last, decay_v=m.v_decay, decay_i=m.c_decay, bias_at="current", **fields)
    if "IFNode" in kinds:
        return _population(graph, name, last, **fields)
    tau = 1 / numbers(m.w.sigmoid()).astype(float) if hasattr(m, "w") else numbers(m.tau).astype(float)
    return _population(graph, name, last, 1 / tau if m.decay_input else 1.0, decay_v=1 - 1 / tau, bias=rest / tau, **fields)


def _spikingjelly_loop(graph: Graph, name: str, m: Any, last: str) -> str:
    """LinearRecurrentContainer: its Linear reads the input and, one step later, the spikes of the neurons in it."""
    weights = numbers(m.rc.weight)
    size = weights.shape[1] - len(weights)
    bias = None if m.rc.bias is None else numbers(m.rc.bias)
    node = Node(f"{name}.input", "Linear" if bias is None else "Affine",
                {"weight": weights[:, :size]} | ({} if bias is None else {"bias": bias}))
    _append(graph, node, last)
    out = _add(graph, f"{name}.neurons.", m.sub_module, node.name)
    loop = _weights(name, weights[:, size:])
    _append(graph, loop, out)
    graph.edges.append((loop.name, out))
    return out


Maker = Callable[[Graph, str, Any, str], str]
NEURONS: dict[str, Maker] = (
    dict.fromkeys(("Leaky", "RLeaky", "Synaptic", "RSynaptic"), _snntorch)
    | dict.fromkeys(("LIFBoxCell", "LIFBox"), _norse_box)
    | dict.fromkeys(("LIFCell", "LIFRecurrentCell", "LICell"), _norse_lif)
    | {"IAFCell": _norse_iaf}
    | dict.fromkeys(("IAF", "LIF", "LIFSqueeze", "IAFSqueeze", "LIFRecurrent", "IAFRecurrent", "ExpLeak"), _sinabs)
    | dict.fromkeys(("LIFTorch", "LIFNeuronTorch"), _rockpool)
    | dict.fromkeys(("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode"), _spikingjelly)
    | {"LinearRecurrentContainer": _spikingjelly_loop}
)
