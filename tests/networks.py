"""Networks for tests: hypothesis strategies that make small integer networks with every option of the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from aerloom import AerloomError, Input, Network, Population, Projection
from aerloom.models.place import host_order


@st.composite
def values(draw: st.DrawFn, low: int, high: int, size: int) -> Any:
    """One value for a population, or one per neuron."""
    if draw(st.integers(0, 3)):
        return draw(st.integers(low, high))
    return np.array(draw(st.lists(st.integers(low, high), min_size=size, max_size=size)))


@st.composite
def populations(draw: st.DrawFn, name: str, readout: bool, state_bits: int) -> Population:
    """A population with any combination of options that the contract allows."""
    size = draw(st.integers(1, 9))
    high = (1 << state_bits - 1) - 1
    reset = "none" if readout else draw(st.sampled_from(("subtract", "value")))
    refractory = draw(st.sampled_from((0, 0, 1, 3)))
    max_spikes = draw(st.sampled_from((1, 1, 2, 7)))
    limits = draw(st.booleans())
    threshold = draw(values(1 if max_spikes > 1 else -3, 60, size))
    most = min(60, int(np.min(threshold)) + high // max_spikes)  # no reset may leave the state range
    own = draw(st.booleans()) or int(np.min(threshold)) < 0
    return Population(
        name,
        (size,),
        decay_v=draw(values(0, 4096, size)),
        decay_i=draw(st.none() | values(0, 4096, size)),
        bias=draw(values(-20, 20, size)),
        bias_at=draw(st.sampled_from(("membrane", "current"))),
        threshold=threshold,
        reset=reset,
        reset_by=draw(values(0, most, size)) if own else None,
        reset_to=draw(values(-20, 20, size)),
        reset_delay=0 if refractory else draw(st.integers(0, 1)),
        max_spikes=max_spikes,
        refractory=refractory,
        v0=draw(values(-30, 30, size)),
        min_v=draw(values(-high, -31, size)) if limits else None,
        max_v=draw(values(61, high, size)) if limits else None,
        rounding=draw(st.sampled_from(("floor", "trunc"))),
        shift=draw(st.sampled_from((0, 0, 0, 1, 7))),
    )


@st.composite
def networks(draw: st.DrawFn, weight_bits: int = 8) -> Network:
    """A graph of dense layers: skip connections, self-recurrence and feedback, several inputs and outputs."""
    state_bits = draw(st.sampled_from((8, 12, 18)))
    inputs = [
        Input(f"in{n}", (draw(st.integers(1, 9)),), draw(st.sampled_from((1, 1, 2))))
        for n in range(draw(st.integers(1, 2)))
    ]
    count = draw(st.integers(1, 4))
    readout = draw(st.booleans())
    layers = [draw(populations(f"p{n}", readout and n == count - 1, state_bits)) for n in range(count)]
    high = (1 << weight_bits - 1) - 1
    projections: list[Projection] = []

    def join(source: Input | Population, target: Population, delay: int) -> None:
        seed, density = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from((0.3, 1.0)))
        r = np.random.default_rng(seed)
        shape = (target.size, source.size)
        weights = r.integers(-high - 1, high + 1, shape) * (r.random(shape) < density)
        if target.size == source.size and draw(st.booleans()):
            weights = weights.diagonal()  # one to one
        projections.append(Projection(source.name, target.name, weights.astype(np.int16), delay))

    everywhere = draw(st.sampled_from((None, None, None, 0, 1)))  # one delay for all projections, or a mixture
    for n, target in enumerate(layers):
        before: list[Input | Population] = [*inputs, *layers[:n]]
        chosen = draw(st.lists(st.sampled_from(before), min_size=1, max_size=3, unique_by=lambda x: x.name))
        for source in chosen:
            delay = draw(st.sampled_from((0, 0, 1))) if everywhere is None else everywhere
            join(source, target, delay)
        if target.spiking and draw(st.integers(0, 2)) == 0:
            join(target, draw(st.sampled_from([x for x in layers[: n + 1]])), 1)  # to itself, or back
    network = Network(
        tuple(inputs), tuple(layers), tuple(projections), tuple(x.name for x in layers[-2:]), state_bits=state_bits
    )
    try:
        host_order(network)
    except AerloomError:  # delays that no chip can run: everything at one delay instead
        projections[:] = [
            Projection(p.source, p.target, p.weights, int(p.delay == 1 and not before_in(layers, p)))
            for p in projections
        ]
        network = network.replace(projections=tuple(projections))
    return network


def before_in(layers: list[Population], p: Projection) -> bool:
    """Whether a projection leads forward."""
    names = [x.name for x in layers]
    return p.source not in names or names.index(p.source) < names.index(p.target)


@st.composite
def samples(draw: st.DrawFn, network: Network) -> dict[str, np.ndarray]:
    """Spikes for each input, ``(batch, steps, neurons)``."""
    batch, steps = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate = draw(st.sampled_from((0.1, 0.5, 1.0)))
    return {
        i.name: (r.integers(1, i.max_spikes + 1, (batch, steps, i.size)) * (r.random((batch, steps, i.size)) < rate))
        .astype(np.uint8)
        for i in network.inputs
    }
