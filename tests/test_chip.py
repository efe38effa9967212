"""The chip, driven through the host's Device alone: golden = chip, in every spike, membrane and counter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import networks, planar, samples

from aerloom import AerloomError, Device, Fabric, Input, Network, Population, Projection, load, quantize
from aerloom.host.device import Run
from aerloom.models import golden
from aerloom.models.fabric import CHIP, PACKET, Kind, Space
from aerloom.models.place import Placement, address, packet
from aerloom.models.window import Window
from aerloom.sim.cycles import cycles

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TINY = Fabric.preset("tiny")
ROOMY = replace(TINY, weight_words=4096, rows=1024, parameter_rows=1024, populations=10, projections=64, places=512,
                sum_bits=20, pixels=1024, classes=16)
LEAN = replace(ROOMY, places=0, pipelined=False, pixels=0, classes=0)
SPARSE = replace(ROOMY, runs=128)
HOWEVER_LONG = settings(deadline=None, suppress_health_check=list(HealthCheck))


def roomy(chips: Callable[..., Device], cores: int) -> Device:
    """A chip that takes any network of the strategies; quick to build, as it is large.

    Several cores have queues, so short that they fill; on two no source is ahead.
    """
    return chips(replace(ROOMY, cores=cores, queue=0 if cores == 1 else 6, ahead=cores != 2), quick=True)


def check(device: Device, network: Network, spikes: dict[str, np.ndarray], cores: int | None = None) -> Run:
    """Load, run, and compare everything that can be seen."""
    device.load(network, watch=list(network.population), cores=cores)
    run, trace = device.run(spikes), golden.run(network, spikes)
    for name in network.population:
        np.testing.assert_array_equal(run.spikes[name], trace.spikes[name], err_msg=f"spikes of {name}")
    counters = device.counters()
    assert counters["strays"] == 0
    assert counters["cycles"] == run.cycles.max()
    if not device.fabric.readable:
        return run
    for name in network.population:
        np.testing.assert_array_equal(device.peek(name), trace.state[name].v[-1], err_msg=f"membrane of {name}")
        if (current := trace.state[name].i) is not None:
            np.testing.assert_array_equal(device.peek(name, "i"), current[-1], err_msg=f"current of {name}")
    assert counters["synaptic_operations"] == trace.synaptic_operations
    assert counters["saturations"] == sum(trace.saturations.values())
    assert counters["spikes_out"] == sum(int(trace.spikes[n].sum(dtype=int)) for n in network.population)
    return run


def unfiltered(network: Network) -> Network:
    """The same network without synaptic filters."""
    return network.replace(populations=[replace(p, decay_i=None) for p in network.populations])


def check_any(device: Device, strategy: st.SearchStrategy[Network], examples: int,
              further: Callable[[Network, dict[str, np.ndarray], Run], None] = lambda network, spikes, run: None) -> None:
    """:func:`check` so many networks that fit, and ``further`` what it found."""
    @settings(HOWEVER_LONG, max_examples=examples)
    @given(data=st.data())
    def some(data: st.DataObject) -> None:
        network = data.draw(strategy)
        assume(not Placement(network, device.fabric).problems)
        spikes = data.draw(samples(network))
        further(network, spikes, check(device, network, spikes))

    some()


@pytest.mark.parametrize("strategy", [networks, planar])
@pytest.mark.parametrize("cores, examples", [(1, 150), (2, 30), pytest.param(4, 100, marks=pytest.mark.full)])
def test_any_network(chips: Callable[..., Device], cores: int, examples: int, strategy: Callable[..., object]) -> None:
    device = roomy(chips, cores)
    check_any(device, strategy(), examples)


@pytest.mark.parametrize("simulator", ["amaranth", "cocotb", "icarus"])
def test_any_network_on_other_engines(chips: Callable[..., Device], simulator: str) -> None:
    device = chips(ROOMY, simulator)
    check_any(device, networks() | planar(), 3)


@pytest.mark.parametrize("simulator, currents, examples", [
    ("amaranth", True, 2), ("compiled", True, 40), ("amaranth", False, 3),
    pytest.param("compiled", False, 100, marks=pytest.mark.full)])
def test_any_dense_network_on_a_lean_chip(chips: Callable[..., Device], simulator: str, currents: bool, examples: int
                                          ) -> None:
    """Without places, and with neurons that are updated one after the other, perhaps without synaptic filters; the cycle
    model counts its clocks."""
    fabric = replace(LEAN, currents=currents, shallow=not currents)
    device = chips(fabric, simulator, **({} if simulator == "amaranth" else {"quick": True}))

    def count(network: Network, spikes: dict[str, np.ndarray], run: Run) -> None:
        trace = golden.run(network, spikes)
        np.testing.assert_array_equal(cycles(device.placement, trace, watch=list(network.population)), run.cycles)

    check_any(device, networks() if currents else networks().map(unfiltered), examples, count)
    if not currents:
        with pytest.raises(AerloomError, match="a neuron's state has v, after, not 'i'"):
            device.peek(next(iter(device.placement.network.population)), "i")
    window = Window((1, 4, 4), (3, 3))
    planes = Network((Input("in", (1, 4, 4)),), (Population("a", (2, 2, 2), threshold=5),),
                     (Projection("in", "a", np.ones((2, 1, 3, 3), np.int8), 0, window),))
    with pytest.raises(AerloomError, match="places"):
        device.load(planes)


@pytest.mark.parametrize("simulator, examples", [("amaranth", 3), ("compiled", 60)])
def test_any_network_on_a_chip_that_cannot_be_read(chips: Callable[..., Device], simulator: str, examples: int) -> None:
    """It runs like any other, in as many clocks as the cycle model says, and what it does not have is said."""
    fabric = replace(ROOMY, cores=2, places=0, pixels=0, classes=0, queue=0, readable=False)
    device = chips(fabric, simulator, **({} if simulator == "amaranth" else {"quick": True}))

    def count(network: Network, spikes: dict[str, np.ndarray], run: Run) -> None:
        trace = golden.run(network, spikes)
        np.testing.assert_array_equal(cycles(device.placement, trace, watch=list(network.population)), run.cycles)

    check_any(device, networks(), examples, count)
    assert device.counters() == {"cycles": device.counters()["cycles"], "strays": 0, "cores": []}
    population = next(iter(device.placement.network.population))
    for ask in (lambda: device.peek(population), lambda: device.weights(0, 0, 1)):
        with pytest.raises(AerloomError, match="nothing can be read from the cores of"):
            ask()


@pytest.mark.parametrize("simulator, examples", [("amaranth", 3), pytest.param("compiled", 200, marks=pytest.mark.full)])
def test_any_network_with_runs(chips: Callable[..., Device], simulator: str, examples: int) -> None:
    """Where the chip has room for sparse projections, they are walked over as such."""
    device = chips(SPARSE, simulator, **({} if simulator == "amaranth" else {"quick": True}))
    check_any(device, networks(), examples)
    pruned = dense(1)
    few = [replace(q, weights=q.weights * (np.random.default_rng(n).random(q.weights.shape) < 0.1))
           for n, q in enumerate(pruned.projections)]
    spikes = {"in": (np.random.default_rng(1).random((2, 8, 20)) < 0.4).astype(np.uint8)}
    check(device, pruned.replace(projections=few), spikes)
    assert any(link.code.channel_bits == 19 for link in device.placement.cores[0].links)


@pytest.mark.parametrize("seed", range(3))
def test_stalls_at_both_ends_change_nothing(chips: Callable[..., Device], seed: int) -> None:
    network = dense(seed)
    spikes = {"in": (np.random.default_rng(seed).random((3, 12, 20)) < 0.4).astype(np.uint8)}
    runs = [
        check(chips(TINY, stall=stall, seed=seed), network, spikes) for stall in (0.0, 0.3, 0.8)
    ]
    assert runs[0].cycles[-1, -1] < runs[2].cycles[-1, -1]


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), *(pytest.param((4, n), marks=pytest.mark.full) for n in (4, 1, 3))])
def test_the_cut_changes_nothing(chips: Callable[..., Device], sizes: tuple[int, int]) -> None:
    cores, used = sizes
    network = dense(7)
    spikes = {"in": (np.random.default_rng(1).random((2, 10, 20)) < 0.4).astype(np.uint8)}
    check(chips(replace(TINY, cores=cores)), network, spikes, cores=used)


def dense(seed: int) -> Network:
    """Two layers, a skip connection and recurrence."""
    r = np.random.default_rng(seed)

    def weights(n: int, m: int) -> np.ndarray:
        return r.integers(-20, 30, (n, m)).astype(np.int8)

    return Network(
        (Input("in", (20,)),),
        (
            Population("hidden", (17,), decay_v=3800, threshold=60),
            Population("out", (6,), decay_v=4000, decay_i=3000, threshold=r.integers(50, 90, 6)),
        ),
        (
            Projection("in", "hidden", weights(17, 20)),
            Projection("hidden", "hidden", weights(17, 17), delay=1),
            Projection("hidden", "out", weights(6, 17)),
            Projection("in", "out", weights(6, 20)),
        ),
    )


def planes(delay: int = 0) -> Network:
    """Convolution, pooling, recurrent convolution, flatten."""
    r = np.random.default_rng(9)

    def weights(*shape: int) -> np.ndarray:
        return r.integers(-20, 30, shape).astype(np.int8)

    own = Window((6, 3, 2), (3, 3), padding=(1, 1))
    return Network(
        (Input("in", (2, 6, 4)),),
        (
            Population("map", own.shape, decay_v=3800, threshold=60, bias=np.repeat(np.arange(6), 6)),
            Population("out", (6,), decay_v=4000, threshold=r.integers(50, 90, 6)),
        ),
        (
            Projection("in", "map", weights(6, 2, 3, 3), delay, Window((2, 6, 4), (3, 3), (2, 2), (1, 1))),
            Projection("map", "map", weights(6, 1, 3, 3), 1 + delay, own),
            Projection("map", "out", weights(6, 18), 0, None, Window(own.shape, (1, 2), (1, 2))),
        ),
    )


@pytest.mark.parametrize("cores, used", [
    (1, 1), (2, 1), (2, 2), pytest.param(4, 3, marks=pytest.mark.full), pytest.param(4, 4, marks=pytest.mark.full)])
def test_the_cut_of_planes_changes_nothing(chips: Callable[..., Device], cores: int, used: int) -> None:
    spikes = {"in": (np.random.default_rng(1).random((2, 7, 48)) < 0.2).astype(np.uint8)}
    check(roomy(chips, cores), planes(), spikes, cores=used)


@pytest.mark.parametrize("delay", [1, 2, 7, 14, 15])
def test_delays(chips: Callable[..., Device], delay: int) -> None:
    """Of an input and of a recurrence, in planes and flat; samples follow each other with nothing of the last one."""
    r = np.random.default_rng(delay)
    spikes = {"in": (r.random((3, delay + 6, 48)) < 0.2).astype(np.uint8)}
    check(roomy(chips, 1), planes(delay), spikes)
    net = dense(3)
    late = [replace(q, delay=q.delay + delay * n) for n, q in enumerate(net.projections[:2])]
    net = net.replace(projections=(*late, replace(net.projections[2], delay=delay), net.projections[3]))
    check(roomy(chips, 1), net, {"in": (r.random((3, delay + 6, 20)) < 0.4).astype(np.uint8)})


def test_garbage_for_planes_changes_nothing(chips: Callable[..., Device]) -> None:
    """Indices whose channel, x or y the input does not have."""
    device = roomy(chips, 1)
    few = Input("in", (3, 5, 6))  # three channels and six columns: the fields have room for more
    window = Window(few.shape, (3, 3))
    network = Network(
        (few,), (Population("p", (2, *window.size), threshold=3),),
        (Projection("in", "p", np.ones((2, 3, 3, 3), np.int8), 0, window),),
    )
    spikes = {"in": (np.random.default_rng(5).random((1, 4, 90)) < 0.2).astype(np.uint8)}
    expected = golden.run(network, spikes).spikes
    placement = device.load(network, watch=["p"])
    code = placement.parts[0].code
    garbage = [packet(Kind.SPIKE, 0, int(code.index(*map(np.array, where)))) for where in
               ((0, 0, 3), (4, 6, 0), (0, 7, 3), (5, 0, 0), (7, 7, 3), (100, 0, 0))]
    words = device._loaded().encode(golden.check_spikes(network, spikes))
    mixed = np.insert(words, [0, 0, 3, 3, 5, 9], np.array(garbage, np.uint32))
    link = device._link
    device._start(4)
    run = device._loaded().decode(link.exchange(mixed.astype(np.uint32), 4), 1, 4)
    np.testing.assert_array_equal(run.spikes["p"], expected["p"])
    assert device.counters()["strays"] == len(garbage)


def test_a_new_network_leaves_no_trace_of_the_old(chips: Callable[..., Device]) -> None:
    device, r = chips(TINY), np.random.default_rng(0)
    one, other = dense(1), Network(
        (Input("a", (3,)), Input("b", (5,))),
        (Population("only", (9,), threshold=3, v0=1),),
        (Projection("a", "only", r.integers(-3, 4, (9, 3)).astype(np.int8)),
         Projection("b", "only", r.integers(-3, 4, (9, 5)).astype(np.int8), 1)),
    )
    for _ in range(2):
        check(device, one, {"in": (r.random((1, 9, 20)) < 0.5).astype(np.uint8)})
        check(device, other, {"a": (r.random((2, 5, 3)) < 0.5).astype(np.uint8),
                              "b": (r.random((2, 5, 5)) < 0.5).astype(np.uint8)})


def test_a_break_in_mid_step_is_forgotten(chips: Callable[..., Device]) -> None:
    device, network = chips(TINY), dense(2)
    spikes = {"in": (np.random.default_rng(3).random((1, 6, 20)) < 0.5).astype(np.uint8)}
    device.load(network)
    link = device._link
    device._start(6)
    link.exchange(np.array([packet(Kind.SPIKE, 0, n) for n in (1, 2, 3, 5, 8)], np.uint32), 0)
    check(device, network, spikes)


def test_raw_garbage_is_counted_and_changes_nothing(chips: Callable[..., Device]) -> None:
    device, network = chips(TINY), dense(4)
    spikes = {"in": (np.random.default_rng(5).random((1, 8, 20)) < 0.5).astype(np.uint8)}
    expected = golden.run(network, spikes).spikes
    device.load(network, watch=["hidden", "out"])
    garbage = [
        packet(Kind.SPIKE, 0, 20),  # a neuron that does not exist
        packet(Kind.SPIKE, 0, (1 << 19) - 1),
        packet(Kind.SPIKE, 1, 0),  # an input that the network does not have
        packet(Kind.STEP, 3, 0),
        packet(Kind.SPIKE, TINY.inputs, 0),  # the first key that is no input's
        packet(Kind.SPIKE, 900, 0),  # a key that no source has
        packet(Kind.STEP, 5, 0),  # a key of the chip's own
        packet(Kind.CREDIT, 0, 0),  # what a host has no business to send
        packet(Kind.VALUE, 0, 0),
        packet(Kind.NONE, 0, 0),
        packet(Kind.WRITE, 500, 7),  # a node that does not exist
    ]
    link = device._link
    device._start(8)
    words = device._loaded().encode(golden.check_spikes(network, spikes))
    r = np.random.default_rng(6)
    mixed = np.insert(words, r.integers(0, len(words), len(garbage)), np.array(garbage, np.uint32))
    run = device._loaded().decode(link.exchange(mixed.astype(np.uint32), 2 * 8), 1, 8)
    for name in ("hidden", "out"):
        np.testing.assert_array_equal(run.spikes[name], expected[name])
    # a neuron beyond the end is counted by the core, the others at the entrance
    counters = device.counters()
    assert counters["strays"] == len(garbage)
    assert counters["cores"][0]["strays"] == 2
    check(device, network, spikes)


def test_reads_beyond_every_end_are_answered(chips: Callable[..., Device]) -> None:
    device = chips(TINY)
    for node in (0, CHIP):
        for space in range(16):
            ask = np.array([address(node, Space.KEYS) | space << 15, packet(Kind.READ, node, 3)], np.uint32)
            fields = PACKET.unpack(device._link.exchange(ask, 3))
            assert (fields["kind"] == Kind.VALUE).sum() == 3
    before = device.counters()["strays"]
    device._link.exchange(np.array([packet(Kind.READ, TINY.cores, 3)], np.uint32), 0)  # a router has nothing to say
    assert device.counters()["strays"] == before + 1


def test_cycles_of_a_dense_layer_are_those_of_its_spikes(chips: Callable[..., Device]) -> None:
    """One clock per spike and row, two per row of the sweep, and little more."""
    lanes, n, steps = TINY.lanes, 32, 10
    network = Network(
        (Input("in", (40,)),), (Population("p", (n,), threshold=10**4),),
        (Projection("in", "p", np.ones((n, 40), np.int8)),),
    )
    device = chips(TINY)
    device.load(network)
    run = device.run(np.ones((1, steps, 40), np.uint8))
    own = 40 * n // lanes + 2 * n // lanes
    per_step = np.diff(run.cycles[0])
    assert own < per_step.max() <= own + 25
    assert device.counters()["adding_cycles"] == steps * 40 * n // lanes


def test_cycles_of_a_convolution_are_those_of_its_windows(chips: Callable[..., Device]) -> None:
    """One clock for each window that holds the spike and each row of channels; in a sweep two for each row; little more."""
    window, steps = Window((2, 6, 6), (3, 3), padding=(1, 1)), 6
    network = Network(
        (Input("in", window.shape),), (Population("p", (6, 6, 6), threshold=10**4),),
        (Projection("in", "p", np.ones((6, 2, 3, 3), np.int8), 0, window),),
    )
    device = roomy(chips, 1)
    device.load(network)
    run = device.run(np.ones((1, steps, 72), np.uint8))
    rows = -(-6 // ROOMY.lanes)
    adding = int(window.count(np.ones((2, *window.size))).sum()) * rows
    own = adding + 36 * rows * 2
    assert own < np.diff(run.cycles[0]).max() <= own + 30
    assert device.counters()["adding_cycles"] == steps * adding


@pytest.mark.full
@pytest.mark.skipif(not SHARED.exists(), reason="../shared is absent: no N-MNIST here")
def test_n_mnist(chips: Callable[..., Device]) -> None:
    """NIR's N-MNIST network on one core: no spike, membrane or count differs."""
    with np.load(SHARED / "nmnist" / "nmnist_small.npz") as archive:
        a = {k: archive[f"test_{k}"] for k in ("t", "x", "y", "p", "offsets")}
    network = quantize(load(SHARED / "nir/02_cnn/cnn_sinabs.nir", "sinabs", max_spikes=1), 8).network
    device = chips(Fabric.preset("planes"), quick=True)
    for n in range(3):
        at = slice(*a["offsets"][n : n + 2])
        step = a["t"][at] // 1000
        spikes = np.zeros((1, int(step.max()) + 1, 2, 34, 34), np.uint8)
        spikes[0, step, a["p"][at], a["y"][at], a["x"][at]] = 1
        check(device, network, {"input": spikes[:, :100].reshape(1, 100, -1)})
