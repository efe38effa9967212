"""Networks for tests: hypothesis strategies that make small integer networks with every option of the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from aerloom import AerloomError, Input, Network, Population, Projection
from aerloom.models.window import Window


@st.composite
def values(draw: st.DrawFn, low: int, high: int, size: int) -> Any:
    """One value for a population, one per channel, or one per neuron."""
    if draw(st.integers(0, 3)):
        return draw(st.integers(low, high))
    if size > 9:  # planes: their own values from a seed, or alike in each of the first channels there may be
        r, same = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.sampled_from((1, 1, size)))
        channels = next(n for n in range(5, 0, -1) if size % n == 0)
        own = r.integers(low, high + 1, channels if same == 1 else size)
        return np.repeat(own, size // len(own))
    return np.array(draw(st.lists(st.integers(low, high), min_size=size, max_size=size)))


@st.composite
def populations(
    draw: st.DrawFn, name: str, readout: bool, state_bits: int, shape: tuple[int, ...] | None = None
) -> Population:
    """A population with any combination of options that the contract allows."""
    shape = shape or (draw(st.integers(1, 9)),)
    size = int(np.prod(shape))
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
        shape,
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
        seed, density = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from((0.03, 0.3, 1.0)))
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
            delay = draw(st.sampled_from((0, 0, 0, 1, 1, 2, 15))) if everywhere is None else everywhere
            join(source, target, delay)
        if target.spiking and draw(st.integers(0, 2)) == 0:
            back = draw(st.sampled_from(layers[: n + 1]))  # to itself, or further
            join(target, back, draw(st.sampled_from((1, 1, 1, 2, 5))))
    return Network(
        tuple(inputs), tuple(layers), tuple(projections), tuple(x.name for x in layers[-2:]), state_bits=state_bits
    )


@st.composite
def windows(draw: st.DrawFn, channels: int) -> Window:
    """Any window over planes of some channels; some have one line."""
    kernel, stride, dilation = (list(draw(st.tuples(*[st.integers(1, most)] * 2))) for most in (3, 3, 3))
    padding = list(draw(st.tuples(*[st.integers(0, 2)] * 4)))
    sizes = [draw(st.integers(1, 4)) for _ in range(2)]
    if draw(st.integers(0, 3)) == 0:  # one-dimensional
        kernel[0] = stride[0] = dilation[0] = sizes[0] = 1
        padding[0] = padding[2] = 0
    y, x = ((k - 1) * d + n for k, d, n in zip(kernel, dilation, sizes, strict=True))
    return Window((channels, y, x), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))


@st.composite
def pools(draw: st.DrawFn, planes: tuple[int, int, int], overlap: bool = False) -> Window:
    """Windows whose sums have planes of this shape; what they leave out, and padding, included. They may ``overlap``."""
    channels, *sizes = planes
    kernel = draw(st.tuples(*[st.integers(1, 4 if overlap else 2)] * 2))
    stride = tuple(max(1, k + draw(st.sampled_from((0, 0, 0, 1, -1, -2) if overlap else (0, 0, 0, 1)))) for k in kernel)
    padding = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    rest = [draw(st.integers(0, s - 1)) for s in stride]
    y, x = (max(1, (n - 1) * s + k - 2 * p + r)
            for n, k, s, p, r in zip(sizes, kernel, stride, padding, rest, strict=True))
    return Window((channels, y, x), kernel, stride, padding)


def convolved(r: np.random.Generator, window: Window, groups: int, outs: int) -> np.ndarray:
    """Random weights."""
    return r.integers(-40, 60, (groups * outs, window.shape[0] // groups, *window.kernel)).astype(np.int16)


@st.composite
def planar(draw: st.DrawFn) -> Network:
    """Convolutions with all that they can have, one after the other from an input on; recurrence, pools, one-to-one and
    dense projections among them, delays of up to 15 steps."""
    state_bits = draw(st.sampled_from((12, 18)))
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    delays = st.sampled_from((0, 0, 0, 0, 1, 2, 3, 15))
    channels = draw(st.integers(1, 6))
    layers: list[Population] = []
    projections: list[Projection] = []
    source: Input | Population | None = None
    for n in range(draw(st.integers(1, 2))):
        groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        outs = draw(st.integers(1, max(1, 9 // groups)))
        pool = None
        if source is None:
            window = draw(windows(channels))
            if draw(st.booleans()):
                pool = draw(pools(window.shape))
                if pool.size != window.shape[1:]:
                    pool = None
            source = first = Input("in", pool.shape if pool else window.shape, draw(st.sampled_from((1, 1, 2))))
        else:
            window, planes = None, source.shape
            for _ in range(10):  # one that takes the planes that there are
                some = draw(windows(channels))
                try:
                    if draw(st.booleans()):
                        pool = Window(planes, (2, 1), (2, 1))
                        planes = (channels, *pool.size)
                    window = Window(planes, some.kernel, some.stride, some.padding, some.dilation)
                    break
                except AerloomError:
                    pool, planes = None, source.shape
            if window is None:
                window = Window(planes, (1, 1))
        target = draw(populations(f"p{n}", False, state_bits, (groups * outs, *window.size)))
        layers.append(target)
        projections.append(Projection(source.name, target.name, convolved(r, window, groups, outs), draw(delays),
                                      window, pool))
        channels = groups * outs
        again = draw(st.integers(0, 5))
        if again == 0:  # recurrent convolution
            own = Window(target.shape, (3, 3), padding=(1, 1))
            projections.append(Projection(target.name, target.name, convolved(r, own, 1, channels), 1 + draw(delays), own))
        elif again == 1:  # one to one, with itself
            weights = r.integers(-90, 90, target.size) if draw(st.booleans()) else np.full(target.size, -7)
            projections.append(Projection(target.name, target.name, weights.astype(np.int16), 1 + draw(delays)))
        elif again == 2:  # dense into planes, past everything
            weights = r.integers(-9, 20, (target.size, first.size)).astype(np.int16)
            projections.append(Projection("in", target.name, weights, draw(delays)))
        source = target
    flat = draw(st.integers(0, 3))
    if flat:
        pool = Window(source.shape, (1, 2), (1, draw(st.integers(1, 2)))) if flat == 1 and source.shape[2] > 1 else None
        size = int(np.prod((channels, *pool.size))) if pool else source.size
        out = draw(populations("out", draw(st.booleans()), state_bits))
        layers.append(out)
        weights = r.integers(-40, 60, (out.size, size)).astype(np.int16)
        projections.append(Projection(source.name, "out", weights, draw(delays), None, pool))
    if flat == 2:
        same = draw(populations("same", False, state_bits, layers[0].shape))
        layers.append(same)
        projections.append(Projection("p0", "same", r.integers(-90, 90, same.size).astype(np.int16), draw(delays)))
    return Network((first,), tuple(layers), tuple(projections), state_bits=state_bits)


@st.composite
def samples(draw: st.DrawFn, network: Network) -> dict[str, np.ndarray]:
    """Spikes for each input, ``(batch, steps, neurons)``."""
    most = 20 if any(q.delay > 7 for q in network.projections) else 8
    batch, steps = draw(st.integers(1, 3)), draw(st.integers(1, most))
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate = draw(st.sampled_from((0.1, 0.5, 1.0)))
    return {
        i.name: (r.integers(1, i.max_spikes + 1, (batch, steps, i.size)) * (r.random((batch, steps, i.size)) < rate))
        .astype(np.uint8)
        for i in network.inputs
    }
