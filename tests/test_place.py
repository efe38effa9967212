"""Placement: proofs, refusals with advice, and the order in which the host sends."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import networks, planar

from aerloom import AerloomError, Fabric, Input, Network, Population, Projection, place
from aerloom.models.fabric import PACKET, PRESETS, Field, Record
from aerloom.models.order import plan
from aerloom.models.place import CLOCK, Placement, host_order, signed_bits, split, sum_range
from aerloom.models.window import Window

TINY = Fabric.preset("tiny")


def chain(*delays: int, size: int = 3) -> Network:
    names = ["in", *(f"p{n}" for n in range(len(delays)))]
    w = np.ones((size, size), np.int8)
    return Network(
        (Input("in", (size,)),),
        tuple(Population(n, (size,)) for n in names[1:]),
        tuple(Projection(a, b, w, d) for a, b, d in zip(names, names[1:], delays, strict=False)),
    )


@given(st.integers(-(2**20), 2**20), st.integers(-(2**20), 2**20))
def test_signed_bits(a: int, b: int) -> None:
    low, high = sorted((a, b))
    bits = signed_bits(low, high)
    assert -(1 << bits - 1) <= low and high < 1 << bits - 1
    assert bits == 1 or not (-(1 << bits - 2) <= low and high < 1 << bits - 2)


@given(st.data())
def test_records_pack_and_unpack(data: st.DataObject) -> None:
    widths = data.draw(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=6))
    record = Record(**{f"f{n}": Field(w, s) for n, (w, s) in enumerate(widths)})
    values = {name: data.draw(st.integers(*f.limits)) for name, f in record.fields.items()}
    word = record.pack(**values)
    assert word >> record.width == 0 and record.unpack(word) == values
    chunks = split([word], record.chunks)
    assert sum(int(c) << 16 * n for n, c in enumerate(chunks[0])) == word


def test_packets_are_32_bits() -> None:
    assert PACKET.width == 32
    with pytest.raises(ValueError, match="key must be in 0 … 1023, not 1024"):
        PACKET.pack(key=1024)


def test_the_largest_sum_counts_every_projection_and_spike() -> None:
    net = Network(
        (Input("a", (2,), 3), Input("b", (1,))),
        (Population("p", (2,)),),
        (Projection("a", "p", np.array([[1, -2], [3, 4]], np.int8)), Projection("b", "p", np.array([[5], [-6]], np.int8))),
    )
    assert sum_range(net, net.population["p"]) == (-6, 21)


def test_the_proof_is_tight() -> None:
    """One more than the sums hold is refused, the largest is not."""
    def net(total: int) -> Network:
        w = np.full((1, 64), 127, np.int16)
        w[0, -1] += total - 64 * 127
        return Network((Input("in", (64,)),), (Population("p", (1,)),), (Projection("in", "p", w),))

    fabric = dataclasses.replace(TINY, sum_bits=14)
    assert sum_range(net(8191 - 64), net(8191 - 64).populations[0])[1] == 8127
    place(net(8128), fabric)
    small = dataclasses.replace(TINY, sum_bits=13)
    with pytest.raises(AerloomError, match="p: its largest sum of weights needs sum_bits 14, and the Fabric has 13"):
        place(net(8128), small)


@pytest.mark.parametrize("change, network, says", [
    ({"weight_words": 5}, chain(0), "core 0 needs weight_words 9, and the Fabric has 5. It fits on: tiny"),
    ({"populations": 1}, chain(0, 0), "populations 2, and the Fabric has 1"),
    ({"keys": 2, "inputs": 1}, chain(0, 0), "the network needs keys 3, and the Fabric has 2"),
    ({"rows": 1}, chain(0, 0), "rows 2, and the Fabric has 1"),
    ({"projections": 1}, chain(0, 0), "projections 2, and the Fabric has 1"),
    ({"state_bits": 12}, chain(0), "state_bits 18, and the Fabric has 12"),
    ({}, chain(15, size=9), "rows 45, and the Fabric has 16"),  # the delay line: 14 copies of three rows
])
def test_says_what_does_not_fit(change: dict[str, int], network: Network, says: str) -> None:
    with pytest.raises(AerloomError, match=says):
        place(network, dataclasses.replace(TINY, lanes=1, update_lanes=1, **change) if "weight_words" in change
              else dataclasses.replace(TINY, **change))


def test_names_every_problem_at_once() -> None:
    with pytest.raises(AerloomError, match=r"populations 2.*projections 2"):
        place(chain(0, 0), dataclasses.replace(TINY, populations=1, projections=1))


def test_floating_point_is_not_placed() -> None:
    net = Network((Input("in", (1,)),), (Population("p", (1,)),), (Projection("in", "p", np.ones((1, 1))),))
    with pytest.raises(AerloomError, match="quantize the network"):
        place(net, TINY)


def test_a_delay_everywhere_needs_a_clock() -> None:
    assert host_order(chain(0, 0)) == ["in"]
    assert host_order(chain(1, 1)) == [CLOCK, "in"]


def test_inputs_are_sent_in_an_order_that_cannot_wait_for_itself() -> None:
    w = np.ones((1, 1), np.int8)
    net = Network(
        (Input("late", (1,)), Input("now", (1,))), (Population("p", (1,)),),
        (Projection("late", "p", w, 1), Projection("now", "p", w)),
    )
    assert host_order(net) == ["now", "late"]


def test_delays_that_wait_for_each_other_get_a_delay_line() -> None:
    w = np.ones((1, 1), np.int8)
    net = Network(
        (Input("in", (1,)),), (Population("a", (1,)), Population("b", (1,))),
        (Projection("in", "a", w), Projection("a", "b", w), Projection("in", "b", w, 1)),
    )
    made = plan(net)
    assert [made.held[q] for q in net.projections] == [0, 0, 1] and not any(made.late.values())
    assert made.order == [CLOCK, "in"]
    assert [(part.source, part.stages) for part in place(net, TINY).parts] == [
        ("clock", 0), ("in", 0), ("a", 0), ("b", 0), ("in delayed", 1)]


@given(networks())
def test_a_delay_is_what_a_line_holds_and_the_step_between(network: Network) -> None:
    made = plan(network)
    assert all(made.held[q] + made.late[q] == q.delay for q in network.projections)
    assert set(made.order) - {CLOCK} == {i.name for i in network.inputs}


@pytest.mark.parametrize("cores", range(1, 9))
def test_every_neuron_has_one_place(cores: int) -> None:
    placement = place(chain(0, 0, size=29), dataclasses.replace(TINY, cores=cores))
    for name in ("p0", "p1"):
        assert sorted(np.concatenate([p.neurons for p in placement.parts if p.source == name])) == list(range(29))
    for core in placement.cores:
        rows = [r for p in core.parts for r in range(p.row, p.row + p.rows)]
        assert len(rows) == len(set(rows)) and all(r < TINY.rows for r in rows)


@given(planar(), st.integers(1, 4))
def test_every_neuron_of_planes_has_one_place_and_one_index(network: Network, cores: int) -> None:
    placement = Placement(network, dataclasses.replace(TINY, cores=cores))
    for name, source in network.sources.items():
        parts = [p for p in placement.parts if p.source == name]
        assert sorted(np.concatenate([p.neurons for p in parts])) == list(range(source.size))
        for p in parts:
            assert len(set(p.index.tolist())) == len(set(p.seat.tolist())) == p.size
            np.testing.assert_array_equal(p.find(p.index), np.arange(p.size))
            assert p.find(np.array([p.indices, 1 << 18])).tolist() == [-1, -1]
            np.testing.assert_array_equal(p.grid.seats.reshape(-1)[p.seat], p.neurons)
    for core in placement.cores:
        rows = [r for p in core.parts for r in range(p.row, p.row + p.rows)]
        assert len(rows) == len(set(rows)) == core.rows


def test_weights_stay_shared() -> None:
    """A convolution stores its kernel once per core, however many positions and parts there are."""
    window = Window((3, 9, 9), (3, 3), padding=(1, 1))
    net = Network(
        (Input("in", window.shape),), (Population("a", (6, 9, 9)), Population("b", (6, 9, 9))),
        (Projection("in", "a", np.arange(162).reshape(6, 3, 3, 3).astype(np.int8) % 7, 0, window),
         Projection("a", "b", np.arange(324).reshape(6, 6, 3, 3).astype(np.int8) % 5, 0,
                    Window((6, 9, 9), (3, 3), padding=(1, 1)))),
    )
    rows = -(-6 // TINY.lanes)
    for cores in (1, 3):
        for core in Placement(net, dataclasses.replace(TINY, cores=cores)).cores:
            assert core.words == rows * 9 * (3 + 6)


def test_the_largest_sum_of_a_convolution_is_exact() -> None:
    window = Window((1, 2, 2), (3, 3), padding=(1, 1))
    q = Projection("in", "p", np.full((1, 1, 3, 3), 5, np.int8), 0, window)
    net = Network((Input("in", (1, 2, 2), 3),), (Population("p", (1, 2, 2)),), (q,))
    assert sum_range(net, net.populations[0]) == (0, 3 * 4 * 5)  # nine weights, but no window holds more than four


@pytest.mark.parametrize("projections, says", [
    ([Projection("in", "p", np.ones((1, 1, 2, 2), np.int8), 0, Window((1, 3, 3), (2, 2)), Window((1, 4, 4), (2, 2)))],
     r"in → p: pooling windows of \(2, 2\) that overlap \(stride \(1, 1\)\) before a convolution"),
    ([Projection("in", "p", np.ones((1, 4), np.int8), 0, None, Window((1, 4, 4), (2, 2), dilation=(2, 2)))],
     r"in → p: pooling windows with dilation \(2, 2\)"),
    ([Projection("in", "p", np.ones((1, 1, 1, 16), np.int8), 0, Window((1, 1, 16), (1, 16))),
      Projection("in", "p", np.ones((1, 1, 4, 4), np.int8), 0, Window((1, 4, 4), (4, 4)))],
     r"takes in as planes \(channels, y, x\) of \(1, 4, 4\), but in → p as \(1, 1, 16\)"),
])
def test_refuses_by_name(projections: list[Projection], says: str) -> None:
    size = projections[0].shape[0]
    net = Network((Input("in", (16,)),), (Population("p", (size,)),), tuple(projections))
    with pytest.raises(AerloomError, match=says):
        place(net, TINY)


def test_a_synaptic_filter_needs_currents() -> None:
    def net(*decays: int | None) -> Network:
        populations = tuple(Population(f"p{n}", (2,), decay_i=decay) for n, decay in enumerate(decays))
        return Network((Input("in", (2,)),), populations, tuple(Projection("in", p.name, np.ones((2, 2), np.int8))
                                                                for p in populations))

    fabric = dataclasses.replace(TINY, currents=False)
    place(net(None, None), fabric)
    with pytest.raises(AerloomError, match=r"p1: its synaptic filter needs currents, and the Fabric has none\. It fits"):
        place(net(None, 0), fabric)


@pytest.mark.parametrize("cores", [*range(1, 10), 16, 33, 64])
def test_the_tree_reaches_every_core_once(cores: int) -> None:
    fabric = dataclasses.replace(TINY, cores=cores)
    routers = {r.node: r for r in fabric.tree()}
    assert sorted(routers) == list(range(cores, cores + fabric.routers))
    for core in range(cores):
        at = routers[cores]
        while (branch := at.branches[at.port(core) - 1]).cores[1] - branch.cores[0] > 1:
            at = routers[branch.routers[0]]
        assert branch.cores == (core, core + 1)
    assert routers[cores].port(None) == 0


@pytest.mark.parametrize("change, says", [
    ({"lanes": 3}, "lanes must be a power of two, not 3"),
    ({"lanes": 0}, "lanes must be an integer of at least 1, not 0"),
    ({"update_lanes": 8}, "update_lanes must be at most 4, not 8"),
    ({"cores": 65}, "cores must be at most 64"),
    ({"weight_bits": 32}, "weight_bits must be at most 16"),
    ({"rows": 1.5}, "rows must be an integer of at least 1, not 1.5"),
    ({"pipelined": 2}, "pipelined must be true or false, not 2"),
    ({"currents": 1}, "currents must be true or false, not 1"),
    ({"queue": -1}, "queue must be an integer of at least 0, not -1"),
])
def test_a_fabric_checks_its_sizes(change: dict[str, int], says: str) -> None:
    with pytest.raises(AerloomError, match=says):
        dataclasses.replace(TINY, **change)


def test_presets_differ() -> None:
    assert len({f.digest for f in PRESETS.values()}) == len(PRESETS)
