"""Real networks through the chip, bit for bit: every spike of every population in every step, every final membrane."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aerloom
from aerloom import Fabric, Network, quantize, zoo
from aerloom.host import encode
from aerloom.host.compare import compare
from aerloom.models.zoo import samples

SHARED = Path(os.environ.get("AERLOOM_SHARED", Path(__file__).parents[2] / "shared")) / "data"
shared = pytest.mark.skipif(not SHARED.exists(), reason="the recordings are not here (shared/data)")
#: Several small cores, each of which can hold a whole network
CORES = Fabric("several", cores=4, lanes=4, update_lanes=1, weight_words=1 << 15, rows=64, parameter_rows=256, keys=64)


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
