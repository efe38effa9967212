"""Traffic and faults without mercy: nothing is lost, doubled or stuck, and nothing that went wrong is remembered."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import networks, planar, samples
from test_chip import ROOMY, TINY, dense

from aerloom import Device, Fabric, Input, Network, Population, Projection, connect, place
from aerloom.hdl.tree import Tree
from aerloom.models import golden
from aerloom.models.fabric import AXES, CHIP, CORE_COUNTERS, PACKET, Kind, Space
from aerloom.models.image import start
from aerloom.models.packets import store
from aerloom.models.place import Placement, address, packet
from aerloom.sim.engine import open_engine

FIVE = dataclasses.replace(TINY, cores=5, populations=16, projections=256, rows=64, weight_words=4096, parameter_rows=256)


# --- routers at full rate


def crowd(r: np.random.Generator) -> Network:
    """Populations of all sizes, joined at random: keys that one core hears, and keys that all hear."""
    sizes = r.permutation([3, 4, 5, 9, 20, 21, 33])
    names = [f"p{n}" for n in range(len(sizes))]
    joined = [(a, b) for a in ("in", *names) for b in names if r.random() < 0.35 or a == "in"]
    return Network(
        (Input("in", (7,)),), tuple(Population(n, (int(k),)) for n, k in zip(names, sizes, strict=True)),
        tuple(Projection(a, b, np.ones((sizes[names.index(b)], 7 if a == "in" else sizes[names.index(a)]), np.int8), 1)
              for a, b in joined),
    )


@pytest.mark.parametrize("count, stalls", [
    (20_000, (0.0, 0.5)), pytest.param(500_000, (0.0, 0.1, 0.5, 0.9), marks=pytest.mark.full)])
def test_routers_neither_lose_nor_double_nor_stick(count: int, stalls: tuple[float, ...]) -> None:
    """Every port sends all that may come from there, as fast as it is let, to whoever listens; in the long version ten
    million packets and more. What a port hears of another is what was sent, in its order."""
    total, host = 0, FIVE.cores
    placement = place(crowd(np.random.default_rng(1)), FIVE)
    hears = np.zeros((FIVE.keys, host + 1), bool)  # of each key: the cores, and the host
    homes = np.zeros(FIVE.keys, np.int64)
    for part in placement.parts:
        homes[part.key] = host if part.core is None else part.core
        hears[part.key, [link.target.core for link in placement.listeners(part)]] = True
        hears[part.key, host] = part.source in ("p1", "p2", "p4")
    inputs = [*(f"up{n}" for n in range(host)), "i"]
    outputs = [*(f"down{n}" for n in range(host)), "o"]
    for seed, stall in enumerate(stalls):
        r = np.random.default_rng(seed)
        with open_engine(Tree(FIVE), "compiled", stall=stall, seed=seed) as simulation:
            simulation.exchange({"i": placement.routes(["p1", "p2", "p4"])}, {}, drain=100)
            batch = min(count, 100_000)
            for _ in range(count // batch):
                sent = [_traffic(r, n, batch, placement, homes) for n in range(host + 1)]
                goes = [_goes(words, hears, homes, host) for words in sent]
                expect = {name: int(sum(g[:, n].sum() for g in goes)) for n, name in enumerate(outputs)}
                got = simulation.exchange(dict(zip(inputs, sent, strict=True)), expect, drain=100)
                for n, name in enumerate(outputs):
                    heard = np.asarray(got[name])
                    for source, (words, goal) in enumerate(zip(sent, goes, strict=True)):
                        of = heard[PACKET.unpack(heard)["index"] >> 16 == source]
                        np.testing.assert_array_equal(of, words[goal[:, n]], err_msg=f"{inputs[source]} to {name}")
                    assert len(heard) == expect[name]
                total += batch * (host + 1)
    assert total == count * (host + 1) * len(stalls)


def _traffic(r: np.random.Generator, port: int, count: int, placement: Placement, homes: np.ndarray) -> np.ndarray:
    """Packets that may enter at a port: its own SPIKEs and STEPs, CREDITs and VALUEs of cores, ADDRESSes of the host."""
    parts = placement.parts
    own = np.array([part.key for part in parts if homes[part.key] == port])
    other = [Kind.ADDRESS] if port == FIVE.cores else [Kind.CREDIT, Kind.VALUE]
    kind = r.choice([Kind.SPIKE] * 6 + [Kind.STEP] + other, count) if len(own) else r.choice(other, count)
    key = own[r.integers(0, len(own), count)] if len(own) else np.zeros(count, int)
    key = np.where(kind == Kind.CREDIT, r.integers(0, len(parts), count), key)
    key = np.where(kind == Kind.ADDRESS, r.integers(0, FIVE.cores, count), key)
    index = port << 16 | np.arange(count) % (1 << 16)
    return np.asarray(PACKET.pack(kind=kind.astype(np.uint32), key=key.astype(np.uint32), index=index.astype(np.uint32)),
                      np.uint32)


def _goes(words: np.ndarray, hears: np.ndarray, homes: np.ndarray, host: int) -> np.ndarray:
    """Of each packet the ports that it leaves by."""
    fields = PACKET.unpack(words)
    kind, key = fields["kind"], fields["key"]
    at = np.arange(host + 1)
    spikes = np.isin(kind, (Kind.SPIKE, Kind.STEP))[:, None] & hears[np.minimum(key, len(hears) - 1)]
    credits = (kind == Kind.CREDIT)[:, None] & (homes[np.minimum(key, len(homes) - 1)][:, None] == at)
    values = (kind == Kind.VALUE)[:, None] & (at == host)
    return spikes | credits | values | (kind == Kind.ADDRESS)[:, None] & (key[:, None] == at)


# --- faults


def garbage(r: np.random.Generator, fabric: Fabric, sizes: list[int], count: int) -> np.ndarray:
    """Packets that mean nothing to a chip whose inputs have such sizes."""
    nodes = fabric.cores + fabric.routers
    kind = r.choice([Kind.NONE, Kind.CREDIT, Kind.VALUE, Kind.SPIKE, Kind.STEP, Kind.ADDRESS, Kind.WRITE, Kind.READ], count)
    key, index = r.integers(0, 1 << 10, count), r.integers(0, 1 << 19, count)
    few = r.random(count) < 0.5  # keys that are nearly right
    key = np.where(few, r.integers(0, fabric.inputs + 2, count), key)
    spike, step = kind == Kind.SPIKE, kind == Kind.STEP
    known = key < len(sizes)
    beyond = np.array(sizes)[np.minimum(key, len(sizes) - 1)] + r.integers(0, 40, count)
    index = np.where(spike & known, beyond, index)
    key = np.where(step & known, len(sizes), key)
    key = np.where(kind >= Kind.ADDRESS, np.where(kind == Kind.VALUE, key, r.integers(nodes, CHIP, count)), key)
    return np.asarray(kind << 29 | key << 19 | index, np.uint32)


def nowhere(r: np.random.Generator, fabric: Fabric, count: int) -> np.ndarray:
    """WRITEs to where nothing can be written."""
    tables = {Space.KEYS, Space.PROJECTIONS, Space.POPULATIONS, Space.SOURCES, Space.WEIGHTS, Space.PARAMETERS, *AXES}
    out = []
    for _ in range(count):
        node, space = int(r.choice([*range(fabric.cores + fabric.routers), CHIP])), int(r.integers(0, 16))
        mine = {Space.GATES, Space.START} if node == CHIP else tables if node < fabric.cores else {Space.ROUTES}
        place = 1 << 14 if space in mine - {Space.START} else int(r.integers(0, 1 << 15))  # beyond the end
        if (node, space) != (CHIP, Space.START):
            out += [address(node, Space.KEYS, place) | space << 15, packet(Kind.WRITE, node, int(r.integers(0, 1 << 16)))]
    return np.array(out, np.uint32)


@pytest.mark.parametrize("count", [2_000, pytest.param(1_000_000, marks=pytest.mark.full)])
def test_garbage_of_every_kind_is_counted_and_changes_nothing(chips: Callable[..., Device], count: int) -> None:
    device, network, r = chips(TINY), dense(4), np.random.default_rng(count)
    spikes = {"in": (r.random((4, 20, 20)) < 0.5).astype(np.uint8)}
    expected = golden.run(network, spikes)
    device.load(network, watch=["hidden", "out"])
    device._start(20)
    words = device._loaded().encode(golden.check_spikes(network, spikes))
    bad = garbage(r, TINY, [20], count)
    assert set(bad >> 29) == set(range(8))
    order = np.sort(r.integers(0, len(words) + 1, count + 1))
    mixed = np.insert(np.insert(words, order[:-1], bad), 0, nowhere(r, TINY, 200))
    run = device._loaded().decode(device._link.exchange(mixed.astype(np.uint32), 2 * 80), 4, 20)
    device._expect(80)
    for name in ("hidden", "out"):
        np.testing.assert_array_equal(run.spikes[name], expected.spikes[name])
        np.testing.assert_array_equal(device.peek(name), expected.state[name].v[-1])
    assert device.counters()["strays"] == count
    run = device.run(spikes)
    np.testing.assert_array_equal(run.spikes["out"], expected.spikes["out"])


@pytest.mark.parametrize("breaks", [25, pytest.param(2_000, marks=pytest.mark.full)])
def test_a_reset_in_mid_step_recovers(chips: Callable[..., Device], breaks: int) -> None:
    """Wherever it comes: among spikes, in the middle of an image, twice in a row, while answers are on their way."""
    device, r = chips(TINY), np.random.default_rng(breaks)
    nets = [dense(2), dense(3)]
    spikes = {"in": (r.random((2, 6, 20)) < 0.5).astype(np.uint8)}
    expected = [golden.run(net, spikes) for net in nets]
    for n in range(breaks):
        net, other = nets[n % 2], nets[1 - n % 2]
        if n % 5 == 0:
            image = place(other, TINY).image
            device._link.exchange(image[: r.integers(0, len(image))], 0)
        device.load(net, watch=["hidden", "out"])
        for _ in range(1 + n % 3):
            device._start(6)
            words = device._loaded().encode(golden.check_spikes(net, spikes))
            device._link.exchange(words[: r.integers(1, len(words) + 1)], 0)
        run = device.run(spikes)
        for name in ("hidden", "out"):
            np.testing.assert_array_equal(run.spikes[name], expected[n % 2].spikes[name])


def test_a_full_last_core_has_its_tables_before_it_starts(chips: Callable[..., Device]) -> None:
    """START takes a shorter way than the last words of the last table."""
    fabric = dataclasses.replace(TINY, cores=4, lanes=1, populations=1, projections=4, weight_words=64, keys=8)
    net = Network((Input("in", (4,)),), (Population("p", (4,), threshold=2),),
                  (Projection("in", "p", np.ones((4, 4), np.int8)),))
    device, r = chips(fabric, "amaranth"), np.random.default_rng(0)
    device.load(net)
    for steps in (5, 3, 7):
        spikes = (r.random((3, steps, 4)) < 0.5).astype(np.uint8)
        np.testing.assert_array_equal(device.run(spikes).spikes["p"], golden.run(net, spikes).spikes["p"])


def test_loading_ends_what_is_under_way(chips: Callable[..., Device]) -> None:
    """The host hears the fast of two outputs, and loads another network while the slow one still works."""
    device, r = chips(TINY), np.random.default_rng(3)
    slow = Network(
        (Input("in", (20,)),), (Population("fast", (1,), threshold=3), Population("slow", (32,), threshold=3)),
        (Projection("in", "fast", np.ones((1, 20), np.int8)), Projection("in", "slow", np.ones((32, 20), np.int8)),
         Projection("slow", "slow", np.ones((32, 32), np.int8), 1)), outputs=("fast",),
    )
    spikes = (r.random((1, 8, 20)) < 0.9).astype(np.uint8)
    for _ in range(3):
        device.load(slow)
        device.run(spikes)
        device.load(dense(2))
        counters = device.counters()
        assert not any(counters[name] for name in CORE_COUNTERS)


def test_a_network_that_waits_is_silent(chips: Callable[..., Device], monkeypatch: pytest.MonkeyPatch) -> None:
    """A chip without a network is never at rest: nothing of that may be heard once there is one, nor in the first run."""
    device, heard, slots = chips(Fabric()), [], Fabric().populations
    network = Network(
        (Input("in", (12,)),), (Population("first", (38,), threshold=3), Population("second", (7,), threshold=3)),
        (Projection("in", "first", np.ones((38, 12), np.int8)), Projection("first", "second", np.ones((7, 38), np.int8))))
    exchange = device._exchange

    def listen(*asked: Any) -> Any:
        heard.append(exchange(*asked))
        return heard[-1]

    rows = store(0, Space.POPULATIONS, 0, Fabric().population_record, [0] * slots)
    for pause in range(24):
        device._write(np.concatenate([start(), rows]))
        device._write(start())
        device.load(network, watch=["first", "second"])
        device._write(np.concatenate([start(), np.repeat(rows[:1], pause), device.placement.samples(4)]))
        with monkeypatch.context() as patch:
            patch.setattr(device, "_exchange", listen)
            device._write(start())
    assert set(PACKET.unpack(np.concatenate(heard))["kind"]) == {Kind.VALUE}


@pytest.mark.parametrize("examples", [12, pytest.param(200, marks=pytest.mark.full)])
def test_a_network_leaves_no_trace(chips: Callable[..., Device], examples: int) -> None:
    """A chip in which everything was overwritten with noise does in every clock what a new one does."""
    used = chips(ROOMY, quick=True)

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def some(data: st.DataObject) -> None:
        network = data.draw(networks() | planar())
        assume(not place_problems(network))
        spikes = data.draw(samples(network))
        r = np.random.default_rng(data.draw(st.integers(0, 99)))
        used._exchange(start(), 0)  # nothing is under way while the tables are noise
        for node, space, words, chunks in memories(ROOMY):
            noise = r.integers(0, 1 << 16, words * chunks)
            used._exchange(np.append(address(node, space), packet(Kind.WRITE, node, noise)).astype(np.uint32), 0)
        used._exchange(place(network, ROOMY).image, 0)
        with connect("sim", ROOMY, quick=True) as new:
            seen = []
            for device in (used, new):
                device.load(network, watch=list(network.population))
                run = device.run(spikes)
                membranes = {name: device.peek(name).tolist() for name in network.population}
                seen.append(({n: a.tolist() for n, a in run.spikes.items()}, run.cycles.tolist(), membranes,
                             device.counters()))
        assert seen[0] == seen[1]

    some()


def place_problems(network: Network) -> bool:
    from aerloom.models.place import Placement

    return bool(Placement(network, ROOMY).problems)


def memories(fabric: Fabric) -> list[tuple[int, Space, int, int]]:
    """All that can be written: node, space, words and chunks in a word."""
    tables = [
        (Space.KEYS, fabric.keys, fabric.key_record.chunks),
        (Space.PROJECTIONS, fabric.projections, fabric.projection_record.chunks),
        (Space.POPULATIONS, fabric.populations, fabric.population_record.chunks),
        (Space.SOURCES, fabric.projections, fabric.source_record.chunks),
        *((space, depth, record.chunks) for space, record, depth in fabric.axes),
        (Space.WEIGHTS, fabric.weight_words, fabric.weight_chunks),
        (Space.PARAMETERS, fabric.parameter_rows, fabric.parameter_chunks),
    ]
    out = [(n, *table) for n in range(fabric.cores) for table in tables]
    out += [(router.node, Space.ROUTES, fabric.keys, 1) for router in fabric.tree()]
    return [*out, (CHIP, Space.GATES, fabric.inputs, fabric.gate_chunks)]
