"""The neuron computes golden.fire: everywhere at toy width, and for any options at full width."""

import dataclasses
import itertools

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom.hdl.neuron import Neuron, due, fired, needed
from aerloom.hdl.shapes import layout
from aerloom.hdl.staged import Staged
from aerloom.models import golden
from aerloom.models.fabric import Fabric, Field, Record
from aerloom.models.network import PER_NEURON, Input, Network, Population, Projection
from aerloom.models.place import neuron_values
from aerloom.sim.engine import open_engine
from tests.networks import populations
from tests.wrap import Plain, many

TOYS = {
    f"{spike_bits}-{'filtered' if currents else 'plain'}": Fabric(
        state_bits=4, sum_bits=4, spike_bits=spike_bits, refractory_bits=refractory_bits, currents=currents)
    for spike_bits, refractory_bits in ((1, 2), (2, 1)) for currents in (True, False)
}


class Fed(wiring.Component):
    """A neuron that gets its parameters with its state, and each when it needs it."""

    def __init__(self, fabric):
        self.fabric = fabric
        members = {**due(fabric).members, "parameters": layout(fabric.neuron_record)}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(members), always_ready=True)),
            "o": Out(stream.Signature(fired(fabric), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.neuron = neuron = Neuron(self.fabric)
        wiring.connect(m, neuron.o, wiring.flipped(self.o))
        m.d.comb += neuron.i.valid.eq(self.i.valid)
        m.d.comb += [getattr(neuron.i.payload, name).eq(getattr(self.i.payload, name)) for name in due(self.fabric).members]
        for name, stage in needed(self.fabric).items():
            waits = Staged(m, name, 0, getattr(self.i.payload.parameters, name))
            m.d.comb += getattr(neuron.parameters, name).eq(waits[stage])
        return m


class Kept(wiring.Component):
    """A neuron that stays with its parameters until it has fired, and so one after the other."""

    def __init__(self, fabric):
        self.fabric = fabric
        members = {**due(fabric).members, "parameters": layout(fabric.neuron_record)}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(members))),
            "o": Out(stream.Signature(fired(fabric), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.neuron = neuron = Neuron(self.fabric)
        wiring.connect(m, neuron.o, wiring.flipped(self.o))
        kept, there, comes = Signal(self.i.payload.shape()), Signal(), Signal()
        m.d.comb += [self.i.ready.eq(~there), neuron.i.valid.eq(comes), neuron.parameters.eq(kept.parameters)]
        m.d.comb += [getattr(neuron.i.payload, name).eq(getattr(kept, name)) for name in due(self.fabric).members]
        m.d.sync += [comes.eq(self.i.valid & ~there), there.eq((self.i.valid | there) & ~neuron.o.valid)]
        with m.If(~there):
            m.d.sync += kept.eq(self.i.payload)
        return m


def network_of(population, state_bits):
    """A network around one population."""
    weights = np.zeros((population.size, 1), np.int8)
    projection = Projection("in", population.name, weights)
    return Network((Input("in", (1,)),), (population,), (projection,), state_bits=state_bits)


def fire(population, fabric, sums, fresh, v, i, after):
    """What golden makes of neurons in this state: spikes, v, i, after, and how many were clipped."""
    network = network_of(population, fabric.state_bits)
    rule = golden.Rule(population, network, largest=1 << fabric.sum_bits - 1)
    rest = golden.State(np.broadcast_to(rule.v0, v.shape), np.zeros_like(v), np.zeros_like(v))
    start = [np.where(fresh, a, b) for a, b in zip((rest.v, rest.i, rest.after), (v, i, after), strict=True)]
    filtered, remembers = population.decay_i is not None, population.refractory or population.reset_delay
    state = golden.State(
        start[0].astype(rule.dtype)[None],
        start[1].astype(rule.dtype)[None] if filtered else None,
        start[2][None] if remembers else None,
    )
    drive = (sums.astype(rule.dtype) << population.shift) + (0 if rule.bias_late else rule.bias)
    spikes = np.zeros((1, v.size), np.uint8)
    golden.fire(state, drive[None], rule, spikes)
    none = np.zeros_like(v)
    now = [none if x is None else x[0] for x in (state.v, state.i, state.after)]
    return np.stack([spikes[0], *now]).astype(int), state.clipped


def update(simulation, population, fabric, sums, fresh, v, i, after):
    """What the hardware makes of them."""
    network = network_of(population, fabric.state_bits)
    values = neuron_values(network, population, 0)
    values |= {name: x for name in PER_NEURON if isinstance(x := getattr(population, name), np.ndarray)}
    record = Record(
        sum=Field(fabric.sum_bits, signed=True),
        fresh=1,
        state=fabric.state_record.width,
        parameters=fabric.neuron_record.width,
    )

    def wide(x):  # Python integers, as words are longer than NumPy's
        return x.astype(object) if isinstance(x, np.ndarray) else x

    words = record.pack(
        sum=wide(sums),
        fresh=wide(fresh),
        state=fabric.state_record.pack_known(v=wide(v), i=wide(i), after=wide(after)),
        parameters=fabric.neuron_record.pack_known(**{name: wide(x) for name, x in values.items()}),
    )
    out = simulation.exchange({"i": words.tolist()}, {"o": v.size})["o"]
    record = Record(state=fabric.state_record.width, spikes=fabric.spike_bits, clipped=1)
    came = record.unpack(np.array(out, object))
    state = fabric.state_record.unpack(came["state"])
    i = state.get("i", np.zeros_like(state["v"]))
    return np.stack([came["spikes"], state["v"], i, state["after"]]).astype(int), sum(came["clipped"])


def longest(population):
    """The most that a spike can leave to do."""
    return population.spiking * (population.refractory or population.reset_delay * population.max_spikes)


def agree(simulation, population, fabric, *vectors):
    """Compare the two."""
    expected, clips = fire(population, fabric, *vectors)
    given, clipped = update(simulation, population, fabric, *vectors)
    np.testing.assert_array_equal(given, expected, err_msg=f"spikes, v, i, after of {population}")
    assert clipped == clips


def toy_populations(r, fabric):
    """All combinations of the options; the other parameters are random for each of 256 neurons."""
    low, high, size = -8, 7, 256

    def some(a, b):
        return r.integers(a, b + 1, size)

    paths = ((False, "membrane"), (True, "membrane"), (True, "current"))[: None if fabric.currents else 1]
    for reset, rounding, (filtered, bias_at), limits in itertools.product(
        ("subtract", "value", "none"), ("floor", "trunc"), paths, (False, True)
    ):
        for refractory, reset_delay in ((0, 0), (0, 1), *((n, 0) for n in range(1, 1 << fabric.refractory_bits))):
            for max_spikes, shift in itertools.product(range(1, 1 << fabric.spike_bits), (0, 1, 7)):
                threshold = some(1 if max_spikes > 1 else low, high)
                # no reset may leave the state range; a late one is clipped
                most = np.minimum(threshold + -low // max_spikes, high)
                yield Population(
                    "p",
                    (size,),
                    decay_v=r.choice([0, 1, 2048, 3000, 4095, 4096, 4096], size),
                    decay_i=r.choice([0, 1, 2048, 3000, 4095, 4096, 4096], size) if filtered else None,
                    bias=some(low, high),
                    bias_at=bias_at,
                    threshold=threshold,
                    reset=reset,
                    reset_by=some(low, high) if reset_delay else r.integers(0, most + 1),
                    reset_to=some(low, high),
                    reset_delay=reset_delay,
                    max_spikes=max_spikes,
                    refractory=refractory,
                    v0=some(low, high),
                    min_v=some(low, 0) if limits else None,
                    max_v=some(0, high) if limits else None,
                    rounding=rounding,
                    shift=shift,
                )


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_every_membrane_and_sum_at_toy_width_under_every_option(engine, toy, stall):
    fabric = TOYS[toy]
    r = np.random.default_rng(fabric.spike_bits)
    v, sums = (x.reshape(-1) - 8 for x in np.meshgrid(np.arange(16), np.arange(16)))
    every = 41 if engine != "compiled" else 7 if stall else 1
    with open_engine(Plain(Fed(fabric)), engine, stall=stall) as simulation:
        for population in itertools.islice(toy_populations(r, fabric), 0, None, every):
            i = r.integers(-8, 8, v.size) if population.decay_i is not None else np.zeros_like(v)
            fresh = (r.random(v.size) < 0.1).astype(int)
            after = r.integers(0, longest(population) + 1, v.size)
            agree(simulation, population, fabric, sums, fresh, v, i, after)


@pytest.mark.parametrize("toy", TOYS)
def test_neurons_one_after_the_other(toy):
    """Some of the options, each for every membrane and some sums."""
    fabric, r = dataclasses.replace(TOYS[toy], pipelined=False), np.random.default_rng(0)
    v = np.arange(256) % 16 - 8
    with open_engine(Plain(Kept(fabric)), "amaranth", stall=0.3) as simulation:
        for population in itertools.islice(toy_populations(r, fabric), 0, None, 101 if fabric.currents else 41):
            i = r.integers(-8, 8, v.size) if population.decay_i is not None else np.zeros_like(v)
            after = r.integers(0, longest(population) + 1, v.size)
            sums, fresh = r.integers(-8, 8, v.size), (r.random(v.size) < 0.1).astype(int)
            agree(simulation, population, fabric, sums, fresh, v, i, after)


@pytest.mark.parametrize("stall", [0.2])
def test_any_options_at_full_width(engine, stall):
    fabric = Fabric()
    with open_engine(Plain(Fed(fabric)), engine, stall=stall) as simulation:

        @settings(max_examples=many(engine, 300), deadline=None)
        @given(st.data())
        def check(drawn):
            population = drawn.draw(populations("p", drawn.draw(st.booleans()), fabric.state_bits))
            n = population.size

            def some(low, high):
                edges = st.sampled_from((low, high, 0))
                return np.array(drawn.draw(st.lists(edges | st.integers(low, high), min_size=n, max_size=n)))

            half = 1 << fabric.state_bits - 1
            i = some(-half, half - 1) if population.decay_i is not None else np.zeros(n, int)
            sums, v = some(-(1 << fabric.sum_bits - 1), (1 << fabric.sum_bits - 1) - 1), some(-half, half - 1)
            agree(simulation, population, fabric, sums, some(0, 1), v, i, some(0, longest(population)))

        check()


@pytest.mark.parametrize("toy", TOYS)
def test_an_update_takes_a_clock(engine, toy):
    fabric = TOYS[toy]
    population = Population("p", (50,))
    zeros = np.zeros(50, int)
    with open_engine(Plain(Fed(fabric)), engine) as simulation:
        update(simulation, population, fabric, zeros, zeros, zeros, zeros, zeros)
        assert simulation.cycles == 50 + Neuron.latency(fabric)
