"""The compiled engine against the golden model: the whole trace, bit for bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks, planar, samples

from aerloom import AerloomError, Input, Network, Population, Projection, quantize, zoo
from aerloom.host import encode
from aerloom.models import fast, golden
from aerloom.models.window import Window

pytest.importorskip("numba")


def assert_same(a: golden.Trace, b: golden.Trace) -> None:
    """Both traces hold the same keys, types and values."""
    assert (a.saturations, a.synaptic_operations) == (b.saturations, b.synaptic_operations)
    for x, y in ((a.spikes, b.spikes), (a.membranes, b.membranes)):
        assert x.keys() == y.keys()
        for name in x:
            assert x[name].dtype == y[name].dtype
            np.testing.assert_array_equal(y[name], x[name], err_msg=name)
    assert a.state.keys() == b.state.keys()
    for name, one in a.state.items():
        other = b.state[name]
        assert one.clipped == other.clipped
        for x, y in ((one.v, other.v), (one.i, other.i), (one.after, other.after)):
            assert (x is None) == (y is None) and (x is None or x.dtype == y.dtype)
            np.testing.assert_array_equal(y, x, err_msg=name)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_network(data: st.DataObject) -> None:
    network = data.draw(st.one_of(networks(), networks(), planar()))
    spikes, threads = data.draw(samples(network)), data.draw(st.sampled_from((1, 1, 2)))
    names = data.draw(st.sets(st.sampled_from(list(network.population))))
    assert_same(golden.run(network, spikes, membranes=names), fast.run(network, spikes, membranes=names, threads=threads))


@st.composite
def pooled(draw: st.DrawFn) -> Network:
    """Pools that overlap, skip and pad, into convolutions of any groups, strides and dilations; two into a population."""
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def window(channels: int, y: int, x: int) -> Window:
        for _ in range(20):
            kernel, stride, dilation = (tuple(draw(st.tuples(*[st.integers(1, 3)] * 2))) for _ in range(3))
            padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
            try:
                return Window((channels, y, x), kernel, stride, padding, dilation)
            except AerloomError:
                continue
        return Window((channels, y, x), (1, 1))

    channels = draw(st.sampled_from((1, 2, 4, 6)))
    pool = window(channels, draw(st.integers(2, 8)), draw(st.integers(2, 8)))
    own = window(channels, *pool.size)
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 6) if channels % g == 0]))
    outs = groups * draw(st.integers(1, 4))
    a, b = Input("a", pool.shape, draw(st.sampled_from((1, 3)))), Input("b", own.shape)

    def weights(groups: int) -> np.ndarray:
        return r.integers(-90, 90, (outs, channels // groups, *own.kernel)).astype(np.int16)

    shape = (outs, *own.size)
    p = Population("p", shape, threshold=r.integers(1, 99, shape), v0=r.integers(-9, 9, shape))
    out = Population("out", (5,), reset="none")
    last = window(outs, *own.size)
    sums = outs * last.size[0] * last.size[1]
    return Network((a, b), (p, out), (
        Projection("a", "p", weights(groups), 0, own, pool),
        Projection("b", "p", weights(1), 1, own),  # its channels lie otherwise
        Projection("p", "out", r.integers(-90, 90, (5, sums)).astype(np.int8), 0, None, last),
        Projection("p", "p", r.integers(-90, 90, p.size).astype(np.int8), 2),
    ))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_pools_and_convolutions(data: st.DataObject) -> None:
    network = data.draw(pooled())
    spikes = data.draw(samples(network))
    assert_same(golden.run(network, spikes, membranes=["p"]), fast.run(network, spikes, membranes=["p"]))


@pytest.mark.parametrize("weights, state_bits", [(np.int8, 18), (np.int16, 18), (np.int16, 32), (np.int64, 40)])
def test_every_width_at_its_limits(weights: Any, state_bits: int) -> None:
    r = np.random.default_rng(1)
    size = np.iinfo(weights).max if weights != np.int64 else 2**31
    w = np.where(r.random((33, 1000)) < 0.8, size, -size - 1).astype(weights)  # sums go far beyond 16 bits
    p = Population("p", (33,), decay_v=4000, threshold=200_000 if state_bits > 18 else 100_000)
    net = Network((Input("in", (1000,)),), (p,), (Projection("in", "p", w),), state_bits=state_bits)
    spikes = (r.random((3, 6, 1000)) < np.array([0.01, 0.4, 1.0])[:, None, None]).astype(np.uint8)
    assert_same(golden.run(net, spikes), fast.run(net, spikes))


def test_digits_and_threads() -> None:
    net = quantize(zoo("digits"), 8).network
    spikes = encode.rate(np.random.default_rng(0).random((21, 64)), 25)
    one, two = fast.run(net, spikes), fast.run(net, spikes, threads=2)
    assert_same(golden.run(net, spikes), one)
    assert_same(one, two)
    assert_same(golden.run(net, spikes[:1]), fast.run(net, spikes[:1], threads=2))
    assert_same(golden.run(net, spikes[3:, :, ::-1]), fast.run(net, spikes[3:, :, ::-1]))  # not contiguous
    assert one.spikes[net.outputs[0]].any()


def test_refuses() -> None:
    exact = zoo("digits")
    net = quantize(exact, 8).network
    spikes = np.zeros((1, 2, 64), np.uint8)
    with pytest.raises(AerloomError, match="runs integer networks; quantize this one"):
        fast.run(exact, spikes)
    with pytest.raises(AerloomError, match="threads must be at least 1, not 0"):
        fast.run(net, spikes, threads=0)
    for wrong in (spikes + 2, spikes[:, :, :3], spikes[:, :0], {"other": spikes}, {}):
        with pytest.raises(AerloomError) as of_golden:
            golden.run(net, wrong)
        with pytest.raises(AerloomError) as of_fast:
            fast.run(net, wrong)
        assert str(of_fast.value) == str(of_golden.value)


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "numba", None)
    net = Network((Input("in", (1,)),), (Population("p", (1,)),), (Projection("in", "p", np.ones((1, 1), np.int8)),))
    with pytest.raises(AerloomError, match=r"pip install 'aerloom\[fast\]'"):
        fast.run(net, np.zeros((1, 1, 1)))
