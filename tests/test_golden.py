"""The golden model against the contract written out once more, neuron by neuron, in plain Python."""

from fractions import Fraction
from math import floor, trunc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks, samples

from aerloom import AerloomError, Input, Network, Population, Projection
from aerloom.models import golden


def plain(network: Network, spikes: dict[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Spikes (steps, neurons) and final membranes of one sample: loops, exact fractions, and no NumPy arithmetic."""
    steps = len(next(iter(spikes.values())))
    low, high = network.state_range
    sent = {name: [list(map(int, row)) for row in a] for name, a in spikes.items()}
    sent |= {p.name: [] for p in network.populations}
    of = {p.name: [lambda x, n=n: int(x[n]) if isinstance(x, np.ndarray) else x for n in range(p.size)]
          for p in network.populations}
    v = {p.name: [at(p.v0) for at in of[p.name]] for p in network.populations}
    i = {p.name: [0] * p.size for p in network.populations}
    rests = {p.name: [0] * p.size for p in network.populations}
    before = {p.name: [0] * p.size for p in network.populations}
    for t in range(steps):
        for name in network.order:
            p = network.population[name]
            down = floor if p.rounding == "floor" else trunc
            row = []
            for n, at in enumerate(of[name]):
                a = sum(
                    int(np.diag(q.weights)[n, m] if q.weights.ndim == 1 else q.weights[n, m]) * s
                    for q in network.into(name)
                    if t >= q.delay
                    for m, s in enumerate(sent[q.source][t - q.delay])
                ) * 2**p.shift
                if p.decay_i is not None:
                    a += at(p.bias) if p.bias_at == "current" else 0
                    a = i[name][n] = min(max(down(Fraction(i[name][n] * at(p.decay_i), 4096)) + a, low), high)
                b = 0 if p.decay_i is not None and p.bias_at == "current" else at(p.bias)
                new = down(Fraction(v[name][n] * at(p.decay_v), 4096)) + a + b
                if p.reset_delay and p.reset == "subtract":
                    new -= at(p.reset_by) * before[name][n]
                new = max(new, low if p.min_v is None else at(p.min_v))
                new = min(new, high if p.max_v is None else at(p.max_v))
                if p.reset_delay and p.reset == "value" and before[name][n]:
                    new = at(p.reset_to)
                s = 0
                if rests[name][n]:
                    rests[name][n] -= 1
                    new = v[name][n]
                elif p.reset != "none" and new >= at(p.threshold):
                    s = 1 if p.max_spikes == 1 else min(new // at(p.threshold), p.max_spikes)
                    rests[name][n] = p.refractory
                before[name][n] = s
                if s and not p.reset_delay:
                    new = new - at(p.reset_by) * s if p.reset == "subtract" else at(p.reset_to)
                v[name][n] = new
                row.append(s)
            sent[name].append(row)
    return sent, v


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_contract(data: st.DataObject) -> None:
    network = data.draw(networks())
    spikes = data.draw(samples(network))
    trace = golden.run(network, spikes)
    for n in range(len(next(iter(spikes.values())))):
        sent, v = plain(network, {name: a[n] for name, a in spikes.items()})
        for p in network.populations:
            np.testing.assert_array_equal(trace.spikes[p.name][n], sent[p.name])
            np.testing.assert_array_equal(trace.state[p.name].v[n], v[p.name])


@pytest.mark.parametrize("rounding, down", [("floor", floor), ("trunc", trunc)])
def test_decay_of_every_small_value(rounding: str, down: Any) -> None:
    p = Population("p", (1,), decay_v=1, rounding=rounding)
    network = Network((Input("in", (1,)),), (p,), (Projection("in", "p", np.ones((1, 1), np.int8)),))
    rule, x = golden.Rule(p, network, 1), np.arange(-300, 300)
    for factor in (0, 1, 13, 2048, 3900, 4095, 4096):
        found = rule.decay(x.astype(rule.dtype), np.asarray(factor, rule.dtype))
        assert found.tolist() == [down(Fraction(int(v) * factor, 4096)) for v in x]


def test_delay_longer_than_a_step() -> None:
    net = Network(
        (Input("in", (1,)),), (Population("p", (1,), threshold=1),),
        (Projection("in", "p", np.ones((1, 1), np.int8), delay=3),),
    )
    spikes = np.array([1, 0, 1, 0, 0, 0, 0]).reshape(1, 7, 1)
    assert golden.run(net, spikes).spikes["p"].ravel().tolist() == [0, 0, 0, 1, 0, 1, 0]


def test_sums_beyond_float32_stay_exact() -> None:
    weights = np.full((1, 1024), 32767, np.int16)
    weights[0, 0] = 32766
    net = Network(
        (Input("in", (1024,), 255),), (Population("p", (1,), reset="none"),), (Projection("in", "p", weights),),
        state_bits=32,
    )
    spikes = np.full((1, 1, 1024), 255, np.uint8)
    exact = 255 * (1023 * 32767 + 32766)
    assert exact > 2**31 - 1
    assert golden.run(net, spikes).state["p"].v[0, 0] == 2**31 - 1  # clipped, not wrapped
    small = golden.integrate([(net.projections[0], spikes)], exact)
    assert int(small[0, 0, 0]) == exact


def test_floating_point_runs_the_same_equations() -> None:
    r = np.random.default_rng(0)
    w = r.normal(0, 0.5, (5, 8)).astype(np.float32)
    p = Population("p", (5,), decay_v=0.9, decay_i=0.8, bias=0.05, threshold=1.0, reset="value", reset_to=0.1)
    net = Network((Input("in", (8,)),), (p,), (Projection("in", "p", w),))
    spikes = (r.random((2, 20, 8)) < 0.4).astype(np.uint8)
    out = golden.run(net, spikes).spikes["p"]
    v, i = np.zeros((2, 5), np.float32), np.zeros((2, 5), np.float32)
    for t in range(20):
        i = i * np.float32(0.8) + spikes[:, t] @ w.T
        v = v * np.float32(0.9) + i + np.float32(0.05)
        s = v >= 1
        v[s] = 0.1
        np.testing.assert_array_equal(out[:, t], s)
    assert out.sum() > 10


def test_groups_keep_cycles_together_and_everything_else_apart() -> None:
    w = np.ones((1, 1), np.int8)
    layers = tuple(Population(n, (1,)) for n in "abcd")
    net = Network((Input("in", (1,)),), layers, (
        Projection("in", "a", w), Projection("a", "b", w), Projection("b", "c", w), Projection("c", "b", w, 1),
        Projection("c", "d", w),
    ))
    assert golden.groups(net) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("spikes, says", [
    (np.zeros((1, 2, 3)), r"shape \(batch, steps, 4\), not \(1, 2, 3\)"),
    (np.zeros((2, 4)), "must have the shape"),
    (np.zeros((1, 0, 4)), "empty"),
    (np.full((1, 2, 4), 2), "0 … 1 per step"),
    (np.full((1, 2, 4), -1), "0 … 1 per step"),
    (np.full((1, 2, 4), np.nan), "0 … 1 per step"),
    (np.full((1, 2, 4), 0.5), "whole numbers"),
    (np.full((1, 2, 4), "x"), "must be numbers"),
    ({"other": np.zeros((1, 2, 4))}, "does not have as inputs"),
    ({}, "no spikes given"),
])
def test_refuses_spikes_that_do_not_fit(spikes: Any, says: str) -> None:
    net = Network(
        (Input("in", (4,)),), (Population("p", (1,)),), (Projection("in", "p", np.ones((1, 4), np.int8)),)
    )
    with pytest.raises(AerloomError, match=says):
        golden.run(net, spikes)


