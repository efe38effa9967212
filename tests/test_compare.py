"""Datasets through golden and chip: the answer does not depend on the pieces, nor on who works on them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aerloom import Fabric, place, quantize
from aerloom.host import compare
from aerloom.host.dataset import CHUNK, pieces, spikes_of
from aerloom.host.jobs import Workers
from aerloom.host.measure import accuracies, accuracy, costs, early, latency
from aerloom.models import golden, zoo
from aerloom.models.metrics import metrics
from aerloom.sim.cycles import cycles

SHARED = Path(os.environ.get("AERLOOM_SHARED", Path(__file__).parents[2] / "shared")) / "data"
TWO = Fabric("floor", cores=2, lanes=4, update_lanes=1, weight_words=4096, rows=64, parameter_rows=256)


def test_pieces_hold_every_sample_once_whatever_their_size() -> None:
    exact, r = zoo.load("digits"), np.random.default_rng(0)
    values, labels = r.random((CHUNK + 130, 64)).astype(np.float32), r.integers(0, 10, CHUNK + 130)
    whole = [spikes_of(exact, values[:CHUNK], 0), spikes_of(exact, values[CHUNK:], 1)]
    for size in (CHUNK, 77, 1000):
        parts = [p.encoded(exact) for p in pieces(values, labels, size)]
        np.testing.assert_array_equal(np.concatenate([s for s, _ in parts]), np.concatenate(whole))
        np.testing.assert_array_equal(np.concatenate([n for _, n in parts]), labels)
        assert [len(p) for p in pieces(values, labels, size)] == [len(n) for _, n in parts]


@pytest.mark.parametrize("workers", [Workers(1), Workers(2)])
def test_golden_over_a_dataset(workers: Workers) -> None:
    exact = zoo.load("digits")
    values, labels = (a[:90] for a in zoo.samples("digits"))
    nets = [quantize(exact, bits).network for bits in (2, 8)]
    trace = golden.run(nets[1], spikes_of(exact, values))
    seen: list[int] = []
    both = accuracies(nets, pieces(values, labels, 20), workers, seen.append)
    assert both[1] == accuracy(nets[1], pieces(values, labels)) == np.mean(golden.classes(nets[1], trace) == labels)
    assert both[0] != both[1] and seen[-1] == 180
    found = costs(nets[1], pieces(values, labels, 20), workers)
    assert found.pop("accuracy") == pytest.approx(both[1])
    expected = metrics(nets[1], trace)
    assert found.pop("synaptic_operations") == pytest.approx(expected.pop("synaptic_operations"))
    assert found == pytest.approx(expected)


def test_differing_counts_places() -> None:
    net = quantize(zoo.load("digits"), 8).network
    trace = golden.run(net, spikes_of(zoo.load("digits"), zoo.samples("digits")[0][:3]))
    spikes = {name: trace.spikes[name][1:].copy() for name in net.population}
    assert compare.differing(spikes, trace, 1) == 0
    spikes["hidden"][0, 3, 5] ^= 1
    spikes["output"][1, 24, 2:5] ^= 1
    assert compare.differing(spikes, trace, 1) == 4


@pytest.mark.parametrize("workers", [Workers(1), Workers(2)])
def test_samples_that_are_left_early(workers: Workers) -> None:
    exact = zoo.load("digits")
    net, (values, labels) = quantize(exact, 8).network, (a[:90] for a in zoo.samples("digits"))
    decided, hasty, patient = early(net, pieces(values, labels, 20), ["decided", 1, 25], workers)
    assert decided["accuracy"] == patient["accuracy"] == accuracy(net, pieces(values, labels)) != hasty["accuracy"]
    assert hasty["steps"] < decided["steps"] == patient["steps"] < 25


@pytest.mark.parametrize("workers", [Workers(1), Workers(2)])
def test_cycles_over_a_dataset(workers: Workers) -> None:
    exact = zoo.load("digits")
    net, (values, labels) = quantize(exact, 8).network, (a[:30] for a in zoo.samples("digits"))
    placement, data = place(net, Fabric.preset("medium")), pieces(values, labels, 8)
    whole, left = latency(placement, data, ["decided", 3], workers)
    ends = cycles(placement, golden.run(net, spikes_of(exact, values)), alone=True)
    np.testing.assert_array_equal(whole, ends[:, -1])
    assert left.shape == (2, 30) and np.all(left[1] <= left[0]) and np.all(left[0] <= whole)
    assert left[0].mean() < whole.mean()
    assert all(cycle in ends[n] for row in left for n, cycle in enumerate(row))


def test_a_chip_over_a_dataset(chips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece, many here, and many by other processes: the same counts."""
    exact = zoo.load("digits")
    net = quantize(exact, 4).network
    values, labels = (a[:12] for a in zoo.samples("digits"))
    device = chips(TWO)
    device.load(net, watch=list(net.population))

    def run(size: int, workers: Workers, worth: float) -> Any:
        monkeypatch.setattr(compare, "WORTH", worth)
        seen: list[int] = []
        total, first, cycles = compare.compare_all(device, pieces(values, labels, size), exact=exact, workers=workers,
                                                   progress=seen.append)
        assert seen[-1] == total.images == 12
        return total.to_dict(), first, cycles

    whole, first, cycles = run(12, Workers(1), 1e9)
    assert whole["mismatches"] == 0 and whole["accuracy_golden"] == whole["accuracy_chip"] > 0.7
    for size, workers, worth in ((5, Workers(1), 1e9), (4, Workers(2), 0)):
        again, first_again, cycles_again = run(size, workers, worth)
        assert again == whole
        np.testing.assert_array_equal(cycles_again, cycles)
        for name, spikes in first.items():
            np.testing.assert_array_equal(first_again[name], spikes)


@pytest.mark.full
@pytest.mark.skipif(not (SHARED / "mnist").exists(), reason="the MNIST files are not here (shared/data/mnist)")
@pytest.mark.parametrize("name", ["mnist", "mnist-conv"])
def test_a_chip_over_all_of_mnist(chips: Any, name: str) -> None:
    """Every spike and membrane of 10,000 images, on all cores."""
    exact = zoo.load(name)
    device = chips(Fabric.preset("medium"))
    net = quantize(exact, 8).network
    device.load(net, watch=list(net.population))
    data = pieces(*zoo.samples(exact, SHARED / "mnist"), 50)
    total, _, _ = compare.compare_all(device, data, workers=Workers())
    assert total.images == 10_000 and total.mismatches == 0
    assert total.accuracy("chip") == total.accuracy("golden") > 0.98


def test_a_chip_that_differs_is_found(chips: Any) -> None:
    """Golden runs another network than the chip: every piece tells."""
    net, other = (quantize(zoo.load("digits"), bits).network for bits in (4, 2))
    values, labels = (a[:4] for a in zoo.samples("digits"))
    device = chips(TWO)
    placement = device.load(net, watch=list(net.population))
    placement.network = other
    total, _, _ = compare.compare_all(device, pieces(values, labels, 2), workers=Workers(1))
    assert total.mismatches > 100
