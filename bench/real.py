"""Real networks, quantized, and spikes for them: recorded, of images, and one made up for its delays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import aerloom
from aerloom.models import zoo
from aerloom.models.convert import Converted, convert, forward
from aerloom.models.draft import Draft
from aerloom.models.errors import AerloomError
from aerloom.models.graph import Graph
from aerloom.models.network import Input, Network, Population, Projection
from aerloom.models.quantize import quantize

Spikes = NDArray[np.uint8]
#: Files of the NIR paper and recordings of event cameras, which are not ours to give
SHARED = Path(os.environ.get("AERLOOM_SHARED", Path(__file__).parents[2] / "shared")) / "data"
#: How the Braille networks of the NIR paper were trained
BRAILLE: dict[str, dict[str, Any]] = {
    "bias_zero": {"reset": "value", "reset_delay": 0}, "noBias_subtract": {"reset_delay": 0}}
STEPS = 60  # of 1 ms, of an N-MNIST recording


def shared(name: str) -> Path:
    """A file of the shared data; raises :class:`AerloomError` where it is not here."""
    if not (path := SHARED / name).exists():
        raise AerloomError(f"{name} is not here: AERLOOM_SHARED must name the folder that has it under data/")
    return path


def braille(file: str, samples: int = 3) -> tuple[Network, Spikes]:
    """Recurrent, with a synaptic filter; recorded touch, 256 steps ``(samples, steps, 12)``. ``file``: of BRAILLE."""
    exact = aerloom.load(shared(f"nir/03_rnn/braille_noDelay_{file}.nir"), "snntorch", **BRAILLE[file])
    with np.load(shared("nir/03_rnn/braille7_l2mu_unique.npz")) as archive:
        spikes = np.unpackbits(archive["x"][:samples], axis=-1)[..., :12]
    return quantize(exact, 8).network, spikes


def n_mnist(samples: int = 2) -> tuple[Network, Spikes]:
    """The convolutional network of the NIR paper, recordings of an event camera ``(samples, STEPS, 2, 34, 34)``."""
    exact = aerloom.load(shared("nir/02_cnn/cnn_sinabs.nir"), "sinabs", max_spikes=1)
    with np.load(shared("nmnist/nmnist_small.npz")) as archive:
        a = {k: archive[f"test_{k}"] for k in ("t", "x", "y", "p", "offsets")}
    spikes = np.zeros((samples, STEPS, 2, 34, 34), np.uint8)
    for n in range(samples):
        at = slice(a["offsets"][n], a["offsets"][n + 1])
        step = a["t"][at] // 1000
        k = step < STEPS
        spikes[n, step[k], a["p"][at][k], a["y"][at][k], a["x"][at][k]] = 1
    return quantize(exact, 8).network, spikes


def converted() -> tuple[Converted, NDArray[Any], NDArray[Any]]:
    """A ReLU network of MNIST's kind, converted, with images to try it on and their labels."""
    x, y = zoo.samples("digits")
    images = np.kron(x.reshape(-1, 1, 8, 8), np.ones((1, 1, 2, 2))).astype(np.float32)
    made = convert(_cnn(images[:300], y[:300]), images[:300], labels=y[:300], steps=16, levels=7)
    return made, images[300:], y[300:]


def _cnn(images: NDArray[Any], labels: NDArray[Any]) -> Graph:
    """Two convolutions of random filters, average pooling after each, and a linear readout fitted by least squares."""
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

    filters: list[NDArray[Any]] = []
    *_, (_, features) = forward(drawn(), images)
    one = np.hstack([features, np.ones((len(features), 1))])
    fit = np.linalg.solve(one.T @ one + np.eye(one.shape[1]), one.T @ np.eye(10)[labels])
    return drawn(fit[:-1].T.astype(np.float32), fit[-1].astype(np.float32))


def delayed() -> tuple[Network, Spikes]:
    """A population that hears each of sixteen groups of neurons with a delay of its own, 0 … 15 steps, and itself with 15;
    a wave whose spikes all arrive at once, and chance."""
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
    spikes = np.zeros((2, 40, 16), np.uint8)
    spikes[0, 15 - np.arange(16), np.arange(16)] = 1
    spikes[1] = r.random((40, 16)) < 0.2
    return net, spikes
