"""From a graph and a semantics to a network, and what became of every node on the way.

What stands between two populations folds into one projection (:mod:`aerloom.models.fold`), and the biases on the way
become the bias of the target. What does not fold exactly is said, node by node, before it is done
(:attr:`Build.findings`): nothing is approximated in silence.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError, AerloomWarning
from .fold import Synapses, apply, per_channel, spread
from .graph import Graph, Node, Shape
from .network import Input, Network, Population, Projection
from .semantics import NIR_DT, Neuron, Semantics, hint, rule
from .text import counted
from .window import Window

Array = NDArray[Any]

ONE = "(always)"  #: a neuron that spikes in every step, for biases that begin to act late
PATHS = 64  #: ways from sources to one target


@dataclass(frozen=True)
class Finding:
    """What becomes of a node: ``outcome`` is "taken", "folded", "approximated" or "refused", ``text`` says how."""

    node: str
    kind: str
    outcome: str
    text: str


class Build:
    """The network of a graph under a semantics; see :func:`build` and :func:`check`."""

    def __init__(self, graph: Graph, semantics: Semantics, name: str = "") -> None:
        self.graph, self.semantics = graph, semantics
        self.findings: dict[str, Finding] = {}
        self.rules: dict[str, Neuron] = {}
        self.notes: list[str] = []
        _ = graph.shapes  # adds to what is refused
        for node, reason in graph.refused.items():
            self._find(node, "refused", reason)
        self.targets: list[str] = [n for n, node in graph.nodes.items() if node.stateful]
        self.readouts = {n: sources for n, node in graph.nodes.items() if node.kind == "Output"
                         and (sources := self._readout(n))}
        self._neurons()
        projections, populations = [], []
        for target in [*self.targets, *self.readouts]:
            try:
                population, into = self._population(target)
                populations.append(population)
                projections += into
            except AerloomError as e:
                self._refuse(target, e)
        self._ends()
        order = self.graph.order()
        self.findings = dict(sorted(self.findings.items(), key=lambda item: order.index(item[0])))
        self.network: Network | None = None
        if not self.refused:
            try:
                self.network = self._network(populations, projections)
            except AerloomError as e:
                self.findings[""] = Finding("the network", "", "refused", str(e))

    @property
    def looks_like(self) -> str | None:
        """The framework whose files have such fields, where they give it away."""
        return hint([self.graph.nodes[n] for n in self.targets])

    @property
    def refused(self) -> list[Finding]:
        return [f for f in self.findings.values() if f.outcome == "refused"]

    def _find(self, node: str, outcome: str, text: str) -> None:
        before = self.findings.get(node)
        kind = self.graph.nodes[node].kind if node in self.graph.nodes else ""
        if before and before.outcome == outcome and text not in before.text:
            text = f"{before.text}; {text}"
        elif before and before.outcome in ("refused", "approximated"):
            return  # what is worse is what a user has to know
        self.findings[node] = Finding(node, kind, outcome, text)

    def _refuse(self, node: str, error: AerloomError) -> None:
        """The node that the error names, else this one, is refused."""
        text = str(error)
        named = max((n for n, x in self.graph.nodes.items() if text.startswith(f"{x}: ")), key=len, default=node)
        self._find(named, "refused", text.removeprefix(f"{self.graph.nodes[named]}: "))

    def _neurons(self) -> None:
        for name in self.targets:
            node = self.graph.nodes[name]
            try:
                if node.kind == "ReLU":
                    raise AerloomError(f"{node}: this is no spiking network; aerloom.convert makes one of it")
                self.rules[name] = rule(node, self.semantics, recurrent=self._recurrent(name))
            except AerloomError as e:
                self._refuse(name, e)

    def _recurrent(self, name: str) -> bool:
        try:
            return any(source == name for source, _ in self._paths(name))
        except AerloomError:
            return False  # said when the paths are folded

    # --- paths

    def _paths(self, target: str, seen: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
        """Every source that reaches a node without another population between, and the nodes on the way."""
        for a in self.graph.before(target):
            if a in self.graph.refused:
                raise AerloomError(f"{target}: its input {a} is refused")
            node = self.graph.nodes[a]
            if node.stateful or node.kind == "Input":
                yield a, []
            elif a in seen:
                around = " → ".join([*seen[seen.index(a):], a][::-1])
                raise AerloomError(f"{node}: a cycle without a neuron in it: {around}")
            else:
                for source, way in self._paths(a, (*seen, a)):
                    yield source, [*way, a]

    def _shape(self, name: str) -> Shape:
        if (shape := self.graph.shapes.get(name)) is None:
            raise AerloomError(f"{self.graph.nodes[name]}: its shape is not in the file and does not follow from it")
        return shape

    def _fold(self, source: str, way: list[str], target: str) -> Projection:
        out = Synapses(self._shape(source))
        shape = out.shape
        for name in way:
            node = self.graph.nodes[name]
            if node.kind == "Delay":
                out.steps += self._steps(node)
            out.add(node, shape)
            shape = node.shape(shape) or shape
        weights = out.finish()
        for name in way:
            self._find(name, "folded", _folded(self.graph.nodes[name], source, target, out.notes.get(name)))
        return Projection(source, target, weights, out.steps, out.window, out.pool)

    def _steps(self, node: Node) -> int:
        delay = node.fields["delay"].reshape(-1)
        if np.any(delay != delay[0]) or delay[0] < 0:
            raise AerloomError(f"{node}: delays of single neurons ({delay.min():g} … {delay.max():g}) are not possible; "
                               "one delay of 0 or more per projection is")
        dt = self.semantics.dt or (1.0 if self.semantics.name == "sinabs" else NIR_DT)
        steps = delay[0] / dt
        if abs(steps - round(steps)) > 1e-3:
            self._find(node.name, "approximated", f"{steps:.3f} steps of {dt:g} become {round(steps)}")
        return round(steps)

    def _bias(self, target: str, seen: tuple[str, ...] = ()) -> Array | None:
        """What the biases of the linear nodes before a node add up to at it, per neuron."""
        total: Array | None = None
        for a in self.graph.before(target):
            node = self.graph.nodes[a]
            if node.stateful or node.kind == "Input" or a in seen:
                continue
            sources = self.graph.before(a)
            shape = self._shape(sources[0]) if sources else ()
            bias = self._bias(a, (*seen, a))
            part = None if bias is None else apply(node, bias[None].astype(float), shape)[0]
            if (own := node.fields.get("bias")) is not None:
                own = spread(node, "bias", self._shape(a))
                part = own if part is None else part + own
            if part is not None:
                total = part if total is None else total + part
        return total

    # --- populations

    def _population(self, name: str) -> tuple[Population, list[Projection]]:
        node = self.graph.nodes[name]
        sources = list(self._paths(name))
        if not sources:
            raise AerloomError(f"{node}: nothing leads to it")
        if len(sources) > PATHS:
            raise AerloomError(f"{node}: {len(sources)} ways lead to it; {PATHS} are the most")
        if name in self.readouts:
            neuron, shape = Neuron({"decay_v": 0.0, "reset": "none"}), self._shape(self.graph.before(name)[0])
            self._find(name, "taken", f"a readout of {math.prod(shape)}: its membrane is what arrives in a step")
        elif name not in self.rules:
            raise AerloomError(f"{node}: its rule is refused")
        else:
            neuron, shape = self.rules[name], self._shape(name)
        folded = [(way, self._fold(source, way, name)) for source, way in sources]
        size = math.prod(shape)
        for way, q in folded:
            if q.shape[0] != size:
                raise AerloomError(f"{node}: it gets {counted(q.shape[0], 'number')} from "
                                   f"{way[-1] if way else 'its source'}, but has {counted(size, 'neuron')} {shape}")
        fields = {k: _flat(node, k, v, shape) for k, v in neuron.population.items()}
        gain = _flat(node, "r", neuron.gain, shape)
        if any(q.window is not None for _, q in folded) and per_channel(gain, shape) is None:
            fields, gain = _scaled(fields, 1 / gain), 1.0  # shared weights cannot take it; the membrane's unit can
        bias = self._bias(name)
        if bias is not None:
            fields = self._with_bias(node, fields, bias * gain if np.any(gain != 1) else bias)
        late: list[Projection] = []
        if (steps := self.semantics.bias_delay) and np.any(fields.get("bias", 0) != 0) and name in self.targets:
            if fields.get("decay_i") is not None and fields.get("bias_at") != "current":
                raise AerloomError(f"{node}: a v_leak {steps} steps late, behind a synaptic filter, is not possible; "
                                   "give bias_delay=0")
            weights = _numpy(np.broadcast_to(fields.pop("bias"), size))[:, None]
            late = [Projection(ONE, name, np.array(weights), steps)]
        population = Population(name, shape, **{k: _numpy(v) for k, v in fields.items()})
        projections = late
        for _, q in folded:
            weights = q.weights if np.all(gain == 1) else _times(q.weights, np.broadcast_to(gain, size), q.window, shape)
            delay = q.delay + (self.semantics.spike_delay if name not in self.readouts else 0)
            projections.append(dataclasses.replace(q, weights=_numpy(weights), delay=delay))
        if name in self.targets:
            self._find(name, "taken", taken(population))
            self.notes += neuron.said
            for text in neuron.approximated:
                self._find(name, "approximated", text)
        return population, projections

    def _with_bias(self, node: Node, fields: dict[str, Any], bias: Array) -> dict[str, Any]:
        """The fields with the bias of the layers before: it takes the way that their weights take."""
        own = fields.get("bias", 0.0)
        if fields.get("decay_i") is None or fields.get("bias_at") == "current":
            return fields | {"bias": own + bias}
        out = fields | {"bias": bias, "bias_at": "current"}
        if np.any(own != 0):  # a leak towards v_leak as well: measure v from there
            leak = own / (1 - fields["decay_v"])
            if fields.get("max_spikes", 1) > 1:
                raise AerloomError(f"{node}: v_leak, a bias of its input and several spikes per step at once are not "
                                   "possible; give max_spikes=1")
            out["reset_by"] = fields.get("threshold", 1.0)
            for name in ("threshold", "reset_to", "v0", "min_v"):
                if name in ("threshold", "v0") or out.get(name) is not None:
                    out[name] = out.get(name, float(name == "threshold")) - leak
        return out

    def _readout(self, name: str) -> list[str]:
        """The nodes before an Output, where they are not populations (or a flattening of one)."""
        return [a for a in self.graph.before(name) if self._plain_source(a) is None]

    def _plain_source(self, name: str) -> str | None:
        while name in self.graph.nodes and self.graph.nodes[name].kind in ("Flatten", "Identity"):
            before = self.graph.before(name)
            if len(before) != 1:
                return None
            name = before[0]
        return name if name in self.graph.nodes and self.graph.nodes[name].stateful else None

    def _ends(self) -> None:
        for name, node in self.graph.nodes.items():
            if node.kind == "Input":
                if (shape := self.graph.shapes.get(name)) is None:
                    self._find(name, "refused", "its shape is not in the file; give it there")
                else:
                    self._find(name, "taken", f"an input of {counted(math.prod(shape), 'neuron')} {shape}")
            elif node.kind == "Output" and name not in self.readouts:
                self._find(name, "taken", f"spikes of {', '.join(self._outputs(name)) or 'nothing'}")
            elif name not in self.findings:
                self._find(name, "folded", "leads nowhere; left out")

    def _outputs(self, name: str) -> list[str]:
        return [s for a in self.graph.before(name) if (s := self._plain_source(a))]

    def _network(self, populations: list[Population], projections: list[Projection]) -> Network:
        inputs = [Input(n, self._shape(n)) for n, node in self.graph.nodes.items() if node.kind == "Input"]
        ends = [n for n, node in self.graph.nodes.items() if node.kind == "Output"]
        outputs = dict.fromkeys(s for n in ends for s in ([n] if n in self.readouts else self._outputs(n)))
        if not inputs or not populations:
            raise AerloomError(f"the graph has no {'input' if not inputs else 'neurons'}")
        if not outputs:
            outputs = dict.fromkeys(p.name for p in populations if not any(q.source == p.name for q in projections))
        projections = self._close_cycles([i.name for i in inputs], [p.name for p in populations], projections)
        if any(q.source == ONE for q in projections):
            first = inputs[0]
            populations.append(Population(ONE, (1,), decay_v=0.0, threshold=-1.0, reset="value"))
            projections.append(Projection(first.name, ONE, np.zeros((1, first.size), np.float32)))
        meta = {"origin": self.graph.origin, "semantics": dataclasses.asdict(self.semantics), "notes": self.notes,
                "looks_like": self.looks_like}
        return Network(tuple(inputs), tuple(populations), tuple(projections), tuple(outputs), meta=meta)

    def _close_cycles(self, inputs: list[str], names: list[str], projections: list[Projection]) -> list[Projection]:
        """A delay of one step where a projection leads back: to a population as far from the input, or nearer."""
        far = dict.fromkeys(inputs, 0)
        todo = list(inputs)
        for name in todo:
            for q in projections:
                if q.source == name and q.target not in far:
                    far[q.target] = far[name] + 1
                    todo.append(q.target)
        if lost := [n for n in names if n not in far]:
            raise AerloomError(f"{', '.join(lost)}: no input leads there")
        rank = {n: (far[n], k) for k, n in enumerate(names)}
        after = {n: {q.target for q in projections if q.source == n} for n in names}

        def leads(a: str, b: str) -> bool:
            seen, todo = {a}, [a]
            while todo:
                for n in after.get(todo.pop(), set()) - seen:
                    seen.add(n)
                    todo.append(n)
            return b in seen

        out = []
        for q in projections:
            back = q.source in rank and rank[q.target] <= rank[q.source] and leads(q.target, q.source)
            if back and q.delay == 0:
                self.notes.append(f"{q}: recurrent, so its spikes count one step later")
                q = dataclasses.replace(q, delay=1)
            out.append(q)
        return out


def _flat(node: Node, name: str, value: Any, shape: Shape) -> Any:
    """A parameter of a population: one number, or one per neuron."""
    if isinstance(value, str | bool | int) or value is None:
        return value
    array = np.asarray(value, float)
    if array.size == 1:
        return float(array.reshape(()))
    flat = spread(Node(node.name, "Identity", {name: array}), name, shape)
    return float(flat[0]) if np.all(flat == flat[0]) else flat


def _scaled(fields: dict[str, Any], k: Any) -> dict[str, Any]:
    """The same population with its membrane in a unit ``k`` times as small."""
    own = {"bias": 0.0, "threshold": 1.0, "reset_to": 0.0, "v0": 0.0} | {k: v for k, v in fields.items() if v is not None}
    values = ("bias", "threshold", "reset_by", "reset_to", "v0", "min_v", "max_v")
    return fields | {n: own[n] * k for n in values if n in own}


def _numpy(value: Any) -> Any:
    with np.errstate(over="ignore"):  # infinity is refused where it arrives
        return value.astype(np.float32) if isinstance(value, np.ndarray) else value


def _times(weights: Array, gain: Array, window: Window | None, shape: Shape) -> Array:
    if window is None:
        return (weights.T * gain).T
    channels = per_channel(gain, (len(weights), gain.size // len(weights)))
    assert channels is not None
    return weights * channels[:, None, None, None]


def _folded(node: Node, source: str, target: str, note: str | None) -> str:
    """What becomes of a linear node, where ``note`` does not say it already."""
    way = f"{source} → {target}"
    what = {"SumPool2d": "spikes of a window are summed on the way",
            "AvgPool2d": "spikes of a window are summed, and 1/area goes into the weights of",
            "Flatten": "order of the neurons on the way", "Delay": "delay of", "Identity": "nothing to do on the way"}
    bias = f", its bias into that of {target}" if node.fields.get("bias") is not None else ""
    return f"{way}: {note}{bias}" if note else f"{what.get(node.kind, 'weights of')} {way}{bias}"


def taken(p: Population) -> str:
    """A population in words."""
    def text(value: Any) -> str:
        return f"{value:.6g}" if not isinstance(value, np.ndarray) else f"{value.min():.6g} … {value.max():.6g}"

    words = [f"{counted(p.size, 'neuron')} {p.shape}"]
    words.append("nothing leaks" if p.decay_v is None else f"decay {text(p.decay_v)}")
    if p.decay_i is not None:
        words.append(f"synaptic decay {text(p.decay_i)}")
    if not p.spiking:
        return ", ".join([*words, "a readout without spikes"])
    words.append(f"spike at v {'>' if p.strict else '≥'} {text(p.threshold)}")
    words.append({"subtract": "subtracts", "value": f"resets to {text(p.reset_to)}"}[p.reset])
    words.append("one step later" if p.reset_delay else "at once")
    return ", ".join(words + ([f"up to {p.max_spikes} spikes a step"] if p.max_spikes > 1 else []))


def build(graph: Graph, semantics: Semantics) -> Network:
    """The floating-point network of a graph; :class:`AerloomError` names every node that cannot be taken, and why."""
    made = Build(graph, semantics)
    if made.network is None:
        reasons = "; ".join(f"{f.node}{f' ({f.kind})' if f.kind else ''}: {f.text}" for f in made.refused)
        raise AerloomError(f"{graph.origin}: {reasons}" if graph.origin else reasons)
    for finding in made.findings.values():
        if finding.outcome == "approximated":
            warnings.warn(f"{finding.node}: approximated: {finding.text}", AerloomWarning, stacklevel=3)
    return made.network
