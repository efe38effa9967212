"""Convolution and pooling, beside plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import AerloomError, Input, Network, Population, Projection
from aerloom.models import golden
from aerloom.models.window import Window


@st.composite
def windows(draw, channels=None):
    channels = channels or draw(st.integers(1, 4))
    kernel, stride, dilation = (draw(st.tuples(*[st.integers(1, most)] * 2)) for most in (3, 3, 2))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    y, x = ((k - 1) * d + draw(st.integers(1, 5)) for k, d in zip(kernel, dilation, strict=True))
    return Window((channels, y, x), kernel, stride, padding, dilation)


def taken(window, planes, c, wy, wx, ky, kx):
    """The number at a place of a window, by the definition."""
    top, left, *_ = window.padding
    y = wy * window.stride[0] + ky * window.dilation[0] - top
    x = wx * window.stride[1] + kx * window.dilation[1] - left
    return planes[c, y, x] if 0 <= y < window.shape[1] and 0 <= x < window.shape[2] else 0


@st.composite
def projections(draw):
    """Any projection with a window, between populations of the right sizes."""
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    window = draw(windows())
    channels = window.shape[0]
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    weights = r.integers(-8, 8, (groups * draw(st.integers(1, 3)), channels // groups, *window.kernel)).astype(np.int8)
    pool = None
    if draw(st.booleans()):
        size = draw(st.integers(1, 2))
        rest = draw(st.integers(0, size - 1))
        pool = Window((channels, window.shape[1] * size + rest, window.shape[2] * size), (size, size), (size, size))
        if pool.size != window.shape[1:]:
            pool = None
    return Projection("in", "p", weights, 0, window, pool), r


def plain(q, spikes):
    """The sums of one sample's spikes ``(source,)`` by loops over the definition."""
    planes = spikes.astype(int)
    if q.pool:
        planes = planes.reshape(q.pool.shape)
        planes = np.array([[[sum(taken(q.pool, planes, c, y, x, j, i) for j in range(q.pool.kernel[0])
                                 for i in range(q.pool.kernel[1]))
                             for x in range(q.pool.size[1])] for y in range(q.pool.size[0])]
                           for c in range(q.pool.shape[0])])
    planes = planes.reshape(q.window.shape)
    outs, inputs, ky, kx = q.weights.shape
    return np.array([
        sum(int(q.weights[o, c, j, i]) * taken(q.window, planes, o // (outs // q.groups) * inputs + c, y, x, j, i)
            for c in range(inputs) for j in range(ky) for i in range(kx))
        for o in range(outs) for y in range(q.window.size[0]) for x in range(q.window.size[1])])


@settings(max_examples=100, deadline=None)
@given(projections())
def test_projection_is_the_definition(made):
    q, r = made
    targets, sources = q.shape
    spikes = r.integers(0, 3, (3, sources)).astype(np.uint8)
    sums = golden.integrate([(q, spikes)], largest=q.largest * 2)
    np.testing.assert_array_equal(sums, [plain(q, s) for s in spikes])
    assert sums.shape == (3, targets) and abs(sums).max() <= 2 * q.largest

    ones = Projection("in", "p", np.ones_like(q.weights), 0, q.window, q.pool)
    reached = golden.integrate([(ones, np.eye(sources, dtype=np.uint8))], q.largest).sum(axis=1)
    np.testing.assert_array_equal(reached, q.fanout)


def test_network_with_a_convolution_is_the_network_of_its_dense_matrix(tmp_path):
    r = np.random.default_rng(0)
    window, pool = Window((2, 4, 4), (3, 3), padding=(1, 1)), Window((2, 8, 8), (2, 2), (2, 2))
    q = Projection("in", "p", r.integers(-8, 8, (3, 2, 3, 3)).astype(np.int8), 0, window, pool)
    dense = golden.integrate([(q, np.eye(128, dtype=np.uint8))], q.largest).T.astype(np.int16)
    p = Population("p", (3, 4, 4), threshold=9, bias=np.arange(48))
    nets = [Network((Input("in", (2, 8, 8)),), (p,), (one,)) for one in (q, Projection("in", "p", dense))]
    spikes = r.random((4, 6, 2, 8, 8)) < 0.3
    a, b = (golden.run(n, spikes) for n in nets)
    np.testing.assert_array_equal(a.spikes["p"], b.spikes["p"])
    assert a.spikes["p"].any()
    nets[0].save(tmp_path / "net.npz")
    loaded = Network.load(tmp_path / "net.npz")
    assert loaded.hash == nets[0].hash != nets[1].hash and loaded.projections[0].window == window


@pytest.mark.parametrize("make, says", [
    (lambda: Window((1, 2, 2), (3, 3)), "window of \\(3, 3\\) does not fit planes of \\(2, 2\\)"),
    (lambda: Window((1, 2), (1, 1)), "shape of a window must be \\(channels, y, x\\)"),
    (lambda: Window((1, 2, 2), (1, 1), (0, 1)), "stride of a window must be"),
    (lambda: Projection("a", "b", np.ones((1, 1, 2, 2)), 0), "weights of 4 dimensions, and no others, need a window"),
    (lambda: Projection("a", "b", np.ones((1, 2, 2, 2)), 0, Window((3, 4, 4), (2, 2))), "do not fit a window"),
    (lambda: Projection("a", "b", np.ones((1, 5)), 0, None, Window((1, 4, 4), (2, 2), (2, 2))),
     "pooling leaves \\(1, 2, 2\\)"),
])
def test_refuses(make, says):
    with pytest.raises(AerloomError, match=says):
        make()


def test_size_is_that_of_the_textbooks():
    assert Window((1, 34, 34), (5, 5), (2, 2), (1, 1)).size == (16, 16)
    assert math.prod(Window((2, 1, 9), (1, 3), dilation=(1, 2)).size) == 5
