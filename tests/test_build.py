"""From graphs to networks: what folds, what is said, what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import AerloomError
from aerloom.models import golden
from aerloom.models.build import Build, build
from aerloom.models.fold import Synapses, apply
from aerloom.models.graph import Graph, Node
from aerloom.models.semantics import semantics


def chain(*nodes, shape=(12,)):
    """input → nodes → output, in that order."""
    ends = Node("input", "Input", {"shape": shape}), Node("output", "Output")
    named = {n.name: n for n in (ends[0], *nodes, ends[1])}
    return Graph(named, list(zip(list(named), list(named)[1:], strict=False)))


def lif(name="lif", size=4, **fields):
    ones = np.ones(size)
    return Node(name, "LIF", {"tau": 1e-3 * ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones} | fields)


def linear(name, out, into, r=None, bias=False):
    r = r or np.random.default_rng(0)
    fields = {"weight": r.normal(0, 1, (out, into))} | ({"bias": r.normal(0, 1, out)} if bias else {})
    return Node(name, "Affine" if bias else "Linear", fields)


@st.composite
def linear_chains(draw):
    """Up to four linear layers in a row over any shape, biases included."""
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(6,), (2, 6, 6), (3, 4, 5), (4, 7)]))
    nodes, start = [], shape
    for n in range(draw(st.integers(1, 4))):
        kinds = ["Scale", "Linear", "Affine", "Flatten", "Identity", "BatchNorm"]
        if len(shape) == 3 and min(shape[1:]) > 2:
            kinds += ["Conv2d", "Conv2d", "SumPool2d", "AvgPool2d"]
        if len(shape) == 2 and shape[1] > 2:
            kinds += ["Conv1d", "Conv1d"]
        kind, name, size = draw(st.sampled_from(kinds)), f"n{n}", math.prod(shape)
        if kind in ("Linear", "Affine"):
            node = linear(name, draw(st.integers(1, 5)), size, r, kind == "Affine")
        elif kind in ("Scale", "BatchNorm"):
            count = draw(st.sampled_from([1, shape[0], size])) if kind == "Scale" else shape[0]
            bias = {"bias": r.normal(0, 1, count)} if kind != "Scale" else {}
            node = Node(name, kind, {"scale": r.normal(1, 0.3, count)} | bias)
        elif kind.startswith("Conv"):
            groups = draw(st.sampled_from([g for g in (1, 2, shape[0]) if shape[0] % g == 0]))
            kernel = (3,) if kind == "Conv1d" else (2, 3)
            node = Node(name, kind, {"weight": r.normal(0, 1, (groups * 2, shape[0] // groups, *kernel)),
                                     "stride": draw(st.integers(1, 2)), "padding": draw(st.integers(0, 1)),
                                     "groups": groups, "dilation": 1})
            if draw(st.booleans()):
                node.fields["bias"] = r.normal(0, 1, groups * 2)
        else:
            node = Node(name, kind, {"kernel_size": 2, "stride": draw(st.integers(1, 2))} if "Pool" in kind else {})
        nodes.append(node)
        shape = node.shape(shape)
    return start, nodes, shape, r


@settings(max_examples=200, deadline=None)
@given(linear_chains())
def test_layers_fold_into_one_projection(made):
    start, nodes, end, r = made
    x = r.integers(0, 3, (5, math.prod(start))).astype(float)
    wanted, shape = x, start
    for node in nodes:
        wanted = apply(node, wanted, shape)
        if (bias := node.fields.get("bias")) is not None:
            after = node.shape(shape)
            wanted = wanted + (bias if len(bias) == math.prod(after) else np.repeat(bias, math.prod(after) // len(bias)))
        shape = node.shape(shape)
    size = math.prod(end)
    graph = chain(*nodes, Node("i", "I", {"r": np.ones(end)}), shape=start)
    try:
        net = build(graph, semantics("nir"))
    except AerloomError as e:
        assert "scaled differently after pooling" in str(e)
        return
    trace = golden.run(net.replace(inputs=[type(net.inputs[0])("input", start, 2)]), x[:, None].astype(np.uint8))
    np.testing.assert_allclose(trace.state["i"].v, wanted.reshape(5, size), rtol=1e-4, atol=1e-4)
    assert len(net.projections) == 1


def test_a_path_starts_as_one_to_one():
    s = Synapses((3,))
    s.finish()
    np.testing.assert_array_equal(s.weights, np.ones(3))


def test_recurrence_skips_and_several_ends():
    r = np.random.default_rng(0)
    nodes = [Node("a", "Input", {"shape": (5,)}), Node("b", "Input", {"shape": (3,)}), linear("wa", 4, 5, r, True),
             linear("wb", 4, 3, r), lif("one", r=np.full(4, 10.0)), linear("rec", 4, 4, r, True), linear("w2", 2, 4, r),
             lif("two", 2), linear("back", 4, 2, r), linear("skip", 2, 5, r), Node("x", "Output"), Node("y", "Output"),
             linear("read", 3, 2, r)]
    edges = [("a", "wa"), ("b", "wb"), ("wa", "one"), ("wb", "one"), ("one", "rec"), ("rec", "one"), ("one", "w2"),
             ("w2", "two"), ("two", "back"), ("back", "one"), ("a", "skip"), ("skip", "two"), ("one", "x"), ("two", "read"),
             ("read", "y")]
    net = build(Graph({n.name: n for n in nodes}, edges), semantics("snntorch"))
    delays = {str(q): q.delay for q in net.projections}
    assert delays == {"a → one": 0, "b → one": 0, "one → one": 1, "two → one": 1, "one → two": 0, "a → two": 0,
                      "two → y": 0}
    assert net.outputs == ("one", "y") and not net.population["y"].spiking
    np.testing.assert_allclose(net.population["one"].bias, nodes[2].fields["bias"] + nodes[5].fields["bias"], rtol=1e-5)


def test_delays_are_steps():
    made = Build(chain(linear("w", 4, 12), Node("d", "Delay", {"delay": np.full(4, 3e-4)}), lif()), semantics("nir"))
    assert made.network.projections[0].delay == 3 and made.findings["d"].outcome == "folded"
    made = Build(chain(linear("w", 4, 12), Node("d", "Delay", {"delay": np.full(4, 2.4e-4)}), lif()), semantics("nir"))
    assert made.network.projections[0].delay == 2
    assert made.findings["d"].outcome == "approximated" and "2.400 steps" in made.findings["d"].text


def test_v_leak_beside_a_bias_behind_a_filter():
    """Two constants, one bias: the membrane is measured from where it leaks to."""
    r = np.random.default_rng(0)
    w, n = linear("w", 4, 12, r, True), np.ones(4)
    node = Node("c", "CubaLIF", {"tau_mem": 1e-3 * n, "tau_syn": 4e-4 * n, "r": 3 * n, "v_leak": 0.2 * n, "v_threshold": n,
                                 "w_in": n})
    net = build(chain(w, node), semantics("norse", dt=1e-4))
    x = (r.random((3, 40, 12)) < 0.3).astype(np.uint8)
    i = v = np.zeros((3, 4))
    v = v + 0.2  # norse starts at v_leak
    for t in range(40):
        j = i + x[:, t] @ w.fields["weight"].T + w.fields["bias"]
        v = v + 0.1 * (0.2 - v) + 0.3 * j
        i = j * 0.75
        s = v > 1
        v = np.where(s, 0, v)
        np.testing.assert_array_equal(golden.run(net, x).spikes["c"][:, t], s)


def conv(shape=(1, 4, 4), **fields):
    return lambda: chain(Node("c", "Conv2d", fields), lif(), shape=shape)


def fed(*nodes):
    return lambda: chain(linear("w", 4, 12), *nodes)


@pytest.mark.parametrize("graph, node, says", [
    (lambda: chain(linear("w", 4, 11), lif()), "w", r"takes 11 inputs, but 12 \(12,\) arrive"),
    (lambda: chain(linear("w", 5, 12), lif()), "lif", "it gets 5 numbers from w, but has 4 neurons"),
    (fed(lif(tau=np.zeros(4))), "lif", "tau must be above 0"),
    (fed(lif(tau=np.full(4, 1e-5))), "lif", "too long for forward Euler"),
    (fed(Node("r", "ReLU")), "r", "no spiking network; aerloom.convert"),
    (fed(Node("d", "Delay", {"delay": np.arange(4) * 1e-4}), lif()), "d", "delays of single neurons"),
    (conv((12,), weight=np.ones((1, 1, 3, 3))), "c", r"its input must be \(channels, y, x\)"),
    (conv(weight=np.ones((1, 1, 9, 9))), "c", "does not fit planes"),
    (conv(weight=np.ones((1, 2, 3, 3))), "c", "takes 2 channels"),
    (conv(weight=np.ones((1, 1, 3, 3)), padding="same", stride=2), "c", "'same' needs stride 1"),
])
def test_refusals_name_the_node(graph, node, says):
    made = Build(graph(), semantics("nir"))
    assert made.network is None and made.refused[0].node == node
    with pytest.raises(AerloomError, match=f"{node} .*{says}"):
        build(graph(), semantics("nir"))


def test_cycles_without_neurons_and_lost_populations():
    w = [linear("a", 4, 4), linear("b", 4, 4), lif(), Node("i", "Input", {"shape": (4,)}), lif("lost")]
    cycle = Graph({n.name: n for n in w[:4]}, [("i", "a"), ("a", "b"), ("b", "a"), ("b", "lif")])
    with pytest.raises(AerloomError, match="cycle without a neuron"):
        build(cycle, semantics("nir"))
    lost = Graph({n.name: n for n in w}, [("i", "a"), ("a", "lif"), ("lost", "b"), ("b", "lost")])
    with pytest.raises(AerloomError, match="lost: no input leads there"):
        build(lost, semantics("nir"))
    with pytest.raises(AerloomError, match="names 'nobody', which is not a node"):
        Graph({"i": w[3]}, [("i", "nobody")])


@pytest.mark.parametrize("kind, says", [
    ("MaxPool2d", "SumPool2d, AvgPool2d or a stride"), ("Softmax", "leave it out"), ("Quux", "aerloom knows no Quux"),
])
def test_unknown_kinds(kind, says):
    with pytest.raises(AerloomError, match=says):
        Node("n", kind)
