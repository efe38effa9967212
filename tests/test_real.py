"""Real networks through the chip, bit for bit: every spike of every population in every step, every final membrane."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_chip import ROOMY
from test_chip import check as check_all

import aerloom
from aerloom import Fabric, Input, Network, Population, Projection, quantize, zoo
from aerloom.host import encode
from aerloom.host.compare import compare
from aerloom.models.convert import convert, forward
from aerloom.models.draft import Draft
from aerloom.models.graph import Graph
from aerloom.models.zoo import samples

SHARED = Path(os.environ.get("AERLOOM_SHARED", Path(__file__).parents[2] / "shared")) / "data"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the recordings are not here (shared/data)")
#: Several small cores, each of which can hold a whole network
CORES = Fabric("several", cores=4, lanes=4, update_lanes=1, weight_words=1 << 15, rows=64, parameter_rows=256, keys=64,
               queue=256)


def same(device: Any, network: Network, spikes: np.ndarray, cores: int | None = None) -> Any:
    device.load(network, watch=list(network.population), cores=cores)
    answer, _, _ = compare(device, spikes)
    assert answer.mismatches == 0
    return answer


@shared
@pytest.mark.parametrize("file, semantics", [
    ("bias_zero", {"reset": "value", "reset_delay": 0}), ("noBias_subtract", {"reset_delay": 0})])
@pytest.mark.filterwarnings("ignore::aerloom.AerloomWarning")
def test_braille(chips: Any, file: str, semantics: dict[str, Any]) -> None:
    """Recurrent, with a synaptic filter and a bias through it; 256 steps of recorded touch."""
    exact = aerloom.load(SHARED / "nir" / "03_rnn" / f"braille_noDelay_{file}.nir", "snntorch", **semantics)
    with np.load(SHARED / "nir" / "03_rnn" / "braille7_l2mu_unique.npz") as archive:
        x = np.unpackbits(archive["x"][:3], axis=-1)[..., :12]
    answer = same(chips(Fabric()), quantize(exact, 8).network, x)
    assert answer.spikes_per_inference["lif1.lif"] > 50


@pytest.mark.full  # a chip of four cores takes minutes to build
@pytest.mark.parametrize("cores", [1, 2, 4])
def test_mnist_on_cores(chips: Any, cores: int) -> None:
    """The zoo's network on images of MNIST's size: the same bits however it is cut."""
    values = np.kron(samples("digits")[0][:2].reshape(-1, 8, 8), np.ones((1, 3, 3)))
    spikes = encode.rate(np.pad(values, ((0, 0), (2, 2), (2, 2))).reshape(2, -1), 25)
    same(chips(CORES), quantize(zoo("mnist"), 8).network, spikes, cores)


@shared
@pytest.mark.full  # the chip takes a minute to build
def test_n_mnist(chips: Any) -> None:
    """The convolutional network of the NIR paper on recordings of an event camera."""
    with np.load(SHARED / "nmnist" / "nmnist_small.npz") as archive:
        a = {k: archive[f"test_{k}"] for k in ("t", "x", "y", "p", "offsets")}
    spikes = np.zeros((2, 60, 2, 34, 34), np.uint8)
    for n in range(2):
        at = slice(a["offsets"][n], a["offsets"][n + 1])
        step = a["t"][at] // 1000
        k = step < 60
        spikes[n, step[k], a["p"][at][k], a["y"][at][k], a["x"][at][k]] = 1
    exact = aerloom.load(SHARED / "nir" / "02_cnn" / "cnn_sinabs.nir", "sinabs", max_spikes=1)
    answer = same(chips(Fabric.preset("planes")), quantize(exact, 8).network, spikes)
    assert answer.spikes_per_inference["1"] > 100


def cnn(images: np.ndarray, labels: np.ndarray) -> Graph:
    """A ReLU network of MNIST's kind: two convolutions of random filters, average pooling after each, and a linear readout
    fitted by least squares."""
    r = np.random.default_rng(3)

    def drawn(*readout: Any) -> Graph:
        draft = Draft("a test")
        at = draft.add("input", "Input", shape=images.shape[1:])
        for n, (outs, ins) in enumerate([(6, 1), (10, 6)]):
            kernel = filters[n] if len(filters) > n else r.normal(0, 1 / 3, (outs, ins, 3, 3)).astype(np.float32)
            filters[n:n + 1] = [kernel]
            at = draft.add(f"conv{n}", "Conv2d", [at], weight=kernel, bias=np.zeros(outs, np.float32), stride=(1, 1),
                           padding=(1, 1), dilation=(1, 1), groups=1)
            at = draft.pool(f"pool{n}", draft.relu(f"relu{n}", at), 2, 2, 0)
        at = draft.flatten("flat", at)
        if readout:
            at = draft.dense("fc", at, *readout)
        draft.add("output", "Output", [at])
        return draft.finish()

    filters: list[np.ndarray] = []
    *_, (_, features) = forward(drawn(), images)
    one = np.hstack([features, np.ones((len(features), 1))])
    fit = np.linalg.solve(one.T @ one + np.eye(one.shape[1]), one.T @ np.eye(10)[labels])
    return drawn(fit[:-1].T.astype(np.float32), fit[-1].astype(np.float32))


def test_a_converted_cnn(chips: Any) -> None:
    """From a ReLU network to the chip: convolutions, pooling, a readout; it answers as it did."""
    x, y = samples("digits")
    images = np.kron(x.reshape(-1, 1, 8, 8), np.ones((1, 1, 2, 2))).astype(np.float32)
    made = convert(cnn(images[:300], y[:300]), images[:300], labels=y[:300], steps=16, levels=7)
    assert made.ann > 0.9 and made.curve[-1] > made.ann - 0.05
    device = chips(ROOMY, optimize=1)
    net = quantize(made.network, 8).network
    spikes = made.encode(images[300:303])
    run = check_all(device, net, {net.inputs[0].name: spikes.reshape(3, 16, -1)})
    assert run.spikes["relu1"].sum() > 1000
    assert (device.infer(made.encode(images[300:320])) == y[300:320]).mean() > 0.7


def test_axonal_delays(chips: Any) -> None:
    """A population that hears each of sixteen groups of neurons with a delay of its own, 0 … 15 steps, and itself with 15:
    a wave that is met by one that runs against it."""
    r = np.random.default_rng(2)
    weights = r.integers(-20, 40, (16, 10, 16)).astype(np.int8)
    group = np.eye(16, dtype=np.int8)
    net = Network(
        (Input("in", (16,)),),
        (Population("hidden", (10,), threshold=60, decay_v=3500), Population("out", (3,), threshold=50)),
        (*(Projection("in", "hidden", weights[n] * group[n], n) for n in range(16)),
         Projection("hidden", "hidden", r.integers(-30, 20, (10, 10)).astype(np.int8), 15),
         Projection("hidden", "out", r.integers(-20, 40, (3, 10)).astype(np.int8), 7)),
    )
    wave = np.zeros((2, 40, 16), np.uint8)
    wave[0, 15 - np.arange(16), np.arange(16)] = 1  # all arrive at once
    wave[1] = r.random((40, 16)) < 0.2
    run = check_all(chips(ROOMY, optimize=1), net, {"in": wave})
    assert run.spikes["hidden"][0, :15].sum() < run.spikes["hidden"][0, 15].sum()
