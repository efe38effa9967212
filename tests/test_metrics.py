"""Distances of spike trains, and the counts of NeuroBench."""

import numpy as np
import pytest

from aerloom import Input, Network, Population, Projection, quantize
from aerloom.models import golden
from aerloom.models.metrics import connection_sparsity, footprint, metrics, van_rossum
from aerloom.models.window import Window


def train(*times: int) -> np.ndarray:
    out = np.zeros((1, 200, 1), np.uint8)
    out[0, list(times)] = 1
    return out


def test_van_rossum() -> None:
    assert van_rossum(train(3, 50), train(3, 50)) == 0
    assert van_rossum(train(3, 50), train(3)) == pytest.approx(1)  # one spike more
    assert van_rossum(train(3), train(150)) == pytest.approx(2**0.5, abs=1e-3)  # far apart: two
    assert van_rossum(train(3), train(4)) < van_rossum(train(3), train(9)) < 2**0.5
    assert van_rossum(train(199), train()) == pytest.approx(1)  # what is left after the end counts


def network(r: np.random.Generator) -> Network:
    conv = r.normal(0, 1, (2, 1, 2, 2)).astype(np.float32)
    conv[0, 0, 0, 0] = 0
    dense = r.normal(0, 1, (3, 18)).astype(np.float32) * (r.random((3, 18)) < 0.5)
    return Network(
        (Input("in", (1, 4, 4)),), (Population("a", (2, 3, 3)), Population("b", (3,))),
        (Projection("in", "a", conv, 0, Window((1, 4, 4), (2, 2))), Projection("a", "b", dense)))


def test_counts_by_loops() -> None:
    r = np.random.default_rng(0)
    net = network(r)
    spikes = (r.random((2, 6, 1, 4, 4)) < 0.5).astype(np.uint8)
    trace, effective = golden.run(net, spikes), 0
    for y, x, j, i in np.ndindex(3, 3, 2, 2):
        present = int(np.count_nonzero(net.projections[0].weights[:, 0, j, i]))
        effective += int(spikes[:, :, 0, y + j, x + i].sum()) * present
    effective += int((trace.spikes["a"].sum(axis=(0, 1)) * np.count_nonzero(net.projections[1].weights, axis=0)).sum())
    found = metrics(net, golden.run(net, spikes))
    assert found["synaptic_operations"] == {
        "dense": 6 * (9 * 8 + 54), "effective_acs": effective / 2, "effective_macs": 0}
    assert found["connection_sparsity"] == connection_sparsity(net) == np.mean(
        np.concatenate([q.weights.ravel() for q in net.projections]) == 0)
    active = sum(np.count_nonzero(trace.spikes[n]) for n in "ab")
    assert found["activation_sparsity"] == pytest.approx(1 - active / (2 * 6 * 21))
    assert footprint(quantize(net, 4).network) < footprint(quantize(net, 8).network) < footprint(net)


def test_neurobench_counts_the_same() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("neurobench")
    from neurobench.metrics.static import ConnectionSparsity, Footprint
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import TorchModel

    r = np.random.default_rng(1)
    weights = network(r).projections[1].weights
    layer = torch.nn.Linear(18, 3, bias=False)
    layer.weight.data = torch.tensor(weights)
    model = TorchModel(torch.nn.Sequential(layer))
    net = Network((Input("in", (18,)),), (Population("b", (3,)),), (Projection("in", "b", weights),))
    assert ConnectionSparsity()(model) == pytest.approx(connection_sparsity(net), abs=1e-4)  # it rounds
    assert Footprint()(model) == weights.size * 4
    spikes = (r.random((5, 1, 18)) < 0.4).astype(np.uint8)
    model.register_hooks()
    x = torch.tensor(spikes[:, 0].astype(np.float32))
    theirs = SynapticOperations()(model, model(x), (x, None))
    ours = metrics(net, golden.run(net, spikes))["synaptic_operations"]
    assert theirs["Effective_ACs"] == pytest.approx(ours["effective_acs"]) and theirs["Dense"] == ours["dense"]
