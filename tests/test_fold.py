"""Pooling and convolution as one convolution, beside plain loops over one layer after the other."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from aerloom import AerloomError, Device, Fabric, load, quantize
from aerloom.host.cli import app
from aerloom.models import golden
from aerloom.models.build import Build
from aerloom.models.fold import joined
from aerloom.models.graph import Graph, Node
from aerloom.models.place import place
from aerloom.models.semantics import semantics
from aerloom.models.window import Window

TINY = Fabric.preset("tiny")


def plainly(window: Window, weights: np.ndarray, planes: np.ndarray, around: int = 0) -> np.ndarray:
    """A convolution of planes ``(channels, y, x)`` by its definition, in float64; with ``around``, so many windows beyond
    the edges along x too."""
    outs, inputs, *kernel = weights.shape
    each, far = outs // (len(planes) // inputs), 99
    zeros_around = np.pad(planes, ((0, 0), (far, far), (far, far)))
    at = [np.arange(-n, size + n) * stride - padding + far for n, size, stride, padding in
          zip((0, around), window.size, window.stride, window.padding, strict=False)]
    out = np.zeros((outs, len(at[0]), len(at[1])))
    for o, c, j, i in np.ndindex(outs, inputs, *kernel):
        rows, columns = (n + k * d for n, k, d in zip(at, (j, i), window.dilation, strict=True))
        out[o] += weights[o, c, j, i] * zeros_around[o // each * inputs + c][np.ix_(rows, columns)]
    return out


@st.composite
def windows(draw: st.DrawFn, shape: tuple[int, int, int], flat: bool) -> Window:
    """Any windows over planes; ``flat``: along x alone."""
    kernel, stride, dilation, before, behind = (
        (draw(st.integers(low, most)) if not flat else low, draw(st.integers(low, most)))
        for low, most in ((1, 4), (1, 3), (1, 3), (0, 3), (0, 3)))
    kernel = tuple(min(k, (n + a + b - 1) // d + 1)
                   for k, n, a, b, d in zip(kernel, shape[1:], before, behind, dilation, strict=True))
    return Window(shape, kernel, stride, (*before, *behind), dilation)


@st.composite
def pairs(draw: st.DrawFn, flat: bool = False) -> tuple[Window, np.ndarray, Window, np.ndarray, np.random.Generator]:
    """Two convolutions one after the other, in any groups; the first may be a pooling."""
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.sampled_from((1, 2, 4)))
    first = draw(windows((channels, 1 if flat else draw(st.integers(1, 8)), draw(st.integers(1, 9))), flat))
    groups = draw(st.sampled_from([g for g in (1, 2, 4) if channels % g == 0]))
    inner = r.normal(0, 1, (groups * draw(st.sampled_from((1, 2))), channels // groups, *first.kernel))
    if draw(st.booleans()):
        inner = np.ones((channels, 1, *first.kernel))
    second = draw(windows((len(inner), *first.size), flat))
    groups = draw(st.sampled_from([g for g in (1, 2, 4) if len(inner) % g == 0]))
    return first, inner, second, r.normal(0, 1, (groups * 2, len(inner) // groups, *second.kernel)), r


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_two_convolutions_are_one(made: tuple[Window, np.ndarray, Window, np.ndarray, np.random.Generator]) -> None:
    first, inner, second, outer, r = made
    if (one := joined(first, inner, second, outer)) is None:
        return
    planes = r.integers(0, 4, first.shape).astype(float)
    assert one[0].size == second.size
    np.testing.assert_allclose(plainly(*one, planes), plainly(second, outer, plainly(first, inner, planes)),
                               rtol=1e-12, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(pairs(flat=True))
def test_they_stay_two_where_zeros_beyond_the_edge_make_a_difference(
    made: tuple[Window, np.ndarray, Window, np.ndarray, np.random.Generator]
) -> None:
    """And nowhere else: where one convolution would do, it is made."""
    first, inner, second, outer, _ = made
    planes, inner, outer, around = np.ones(first.shape), np.ones_like(inner), np.ones_like(outer), 9
    sums = plainly(first, inner, planes, around)[:, :, around - second.padding[1]:]
    beyond = plainly(Window(sums.shape, second.kernel, second.stride, (0, 0), second.dilation), outer, sums)
    differs = np.any(beyond[:, :, : second.size[1]] != plainly(second, outer, plainly(first, inner, planes)))
    assert (joined(first, inner, second, outer) is None) == differs


def net(pool: dict[str, object], conv: dict[str, object], shape: tuple[int, ...], kind: str = "SumPool2d",
        size: tuple[int, ...] = (5, 2, 2)) -> Graph:
    """input → pool → conv → spiking neurons → dense → spiking neurons."""
    r = np.random.default_rng(3)
    neuron = {"tau": 1e-3, "r": 10.0, "v_leak": 0.0}
    nodes = (Node("input", "Input", {"shape": shape}), Node("pool", kind, pool), Node("conv", "Conv2d", conv),
             Node("map", "LIF", {k: np.full(size, v) for k, v in (neuron | {"v_threshold": 2.0}).items()}),
             Node("flat", "Flatten", {"start_dim": 0}), Node("w", "Linear", {"weight": r.normal(0, 1, (3, np.prod(size)))}),
             Node("out", "LIF", {k: np.full(3, v) for k, v in (neuron | {"v_threshold": 1.0}).items()}),
             Node("output", "Output"))
    return Graph({n.name: n for n in nodes}, list(itertools.pairwise(n.name for n in nodes)))


POOL = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}
CONV = {"weight": np.random.default_rng(1).normal(0, 1, (5, 2, 3, 3)), "stride": 2, "padding": 1, "groups": 1,
        "dilation": 1}


def nir_file(path: Path, graph: Graph) -> Path:
    with pytest.importorskip("h5py").File(path, "w") as file:
        for node in graph.nodes.values():
            for field, value in {"type": node.kind, **node.fields}.items():
                file[f"node/nodes/{node.name}/{field}"] = value
        file["node/type"] = "NIRGraph"
        file["node/edges"] = np.array(graph.edges, dtype="S")
    return path


@pytest.mark.parametrize("kind", ["SumPool2d", "AvgPool2d"])
def test_a_nir_file_with_windows_that_overlap(tmp_path: Path, chips: Callable[..., Device], kind: str) -> None:
    """Its spikes are those of the layers one after the other, and a chip takes it."""
    graph = net(POOL, CONV, (2, 7, 7), kind)
    network = load(nir_file(tmp_path / "net.nir", graph), "norse", dt=1e-4)
    assert network.projections[0].pool is None and network.projections[0].weights.shape == (5, 2, 7, 7)
    x = (np.random.default_rng(0).random((3, 20, 2, 7, 7)) < 0.3).astype(np.uint8)
    share = 1 / 9 if kind == "AvgPool2d" else 1.0
    pool = Window((2, 7, 7), (3, 3), (2, 2), (1, 1))
    spikes = np.zeros((3, 20, 5, 2, 2))
    for n, sample in enumerate(x):
        v = np.zeros((5, 2, 2))
        for t, planes in enumerate(sample):
            sums = plainly(pool, np.full((2, 1, 3, 3), share), planes)
            v = v + 0.1 * (10 * plainly(Window((2, 4, 4), (3, 3), (2, 2), (1, 1)), CONV["weight"], sums) - v)
            spikes[n, t] = v > 2
            v = np.where(v > 2, 0, v)
    assert 0.01 < spikes.mean() < 0.6
    trace = golden.run(network, x)
    np.testing.assert_array_equal(trace.spikes["map"], spikes.reshape(3, 20, 20))

    integer = quantize(network, 6).network
    device = chips(TINY)
    device.load(integer, watch=["map", "out"])
    expected, run = golden.run(integer, x), device.run(x)
    for name in ("map", "out"):
        np.testing.assert_array_equal(run.spikes[name], expected.spikes[name])
    assert expected.spikes["out"].any()


def test_check_tells_what_it_costs(tmp_path: Path) -> None:
    file = nir_file(tmp_path / "net.nir", net(POOL, CONV, (2, 7, 7)))
    result = CliRunner().invoke(app, ["check", str(file), "--semantics", "norse", "--json"])
    said = {f["node"]: (f["outcome"], f["text"]) for f in json.loads(result.stdout)["findings"]}
    assert said["pool"] == ("folded", "input → map: windows of (3, 3) overlap (stride (2, 2)), so they are one with the "
                                      "convolution: (3, 3) becomes (7, 7), 490 weights instead of 90, exact")
    assert said["conv"] == ("folded", "weights of input → map")


def test_windows_that_do_not_overlap_stay_a_pooling() -> None:
    made = Build(net({"kernel_size": 2, "stride": 2}, CONV, (2, 8, 8)), semantics("norse")).network
    assert made is not None and made.projections[0].pool == Window((2, 8, 8), (2, 2), (2, 2))
    assert made.projections[0].weights.shape == (5, 2, 3, 3)


def test_where_padding_makes_it_inexact_no_chip_takes_it() -> None:
    """Eight numbers, windows of three, two apart: beyond the edge one more would hold a number of the planes."""
    built = Build(net(POOL, CONV | {"stride": 1}, (2, 8, 8), size=(5, 4, 4)), semantics("norse"))
    assert built.findings["pool"].outcome == "folded" and "no chip holds it" in built.findings["pool"].text
    assert built.network is not None and built.network.projections[0].pool is not None
    with pytest.raises(AerloomError, match=r"input → map: pooling windows of \(3, 3\) that overlap .* leave the padding"):
        place(quantize(built.network, 6).network, TINY)


def test_a_pooling_after_a_convolution_is_one_with_it() -> None:
    graph = net({"kernel_size": 2, "stride": 2}, CONV | {"stride": 1}, (2, 4, 4))
    graph.edges = [("input", "conv"), ("conv", "pool"), ("pool", "map"), *graph.edges[3:]]
    graph.nodes["conv"].fields["bias"] = np.arange(5.0)
    built = Build(Graph(graph.nodes, graph.edges), semantics("norse"))
    assert built.network is not None and built.network.projections[0].weights.shape == (5, 2, 4, 4)
    assert "(3, 3) becomes (4, 4), 160 weights instead of 90" in built.findings["pool"].text
    np.testing.assert_allclose(built.network.population["map"].bias, np.repeat(np.arange(5), 4) * 4 * 10 * 1e-4 / 1e-3)
