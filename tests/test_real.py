"""Real networks through the chip, bit for bit: every spike of every population in every step, every final membrane."""

from typing import Any

import numpy as np
import pytest
from test_chip import ROOMY
from test_chip import check as check_all

from aerloom import Fabric, Network, quantize, zoo
from aerloom.host import encode
from aerloom.host.compare import compare
from aerloom.host.dataset import spikes_of
from aerloom.models import golden
from aerloom.models.zoo import samples
from bench import real

shared = pytest.mark.skipif(not real.SHARED.exists(), reason="the recordings are not here (shared/data)")
#: Several small cores, each of which can hold a whole network
CORES = Fabric("several", cores=8, lanes=4, update_lanes=1, weight_words=1 << 15, rows=64, parameter_rows=256, keys=64,
               queue=256)


def same(device: Any, network: Network, spikes: np.ndarray, cores: int | None = None) -> Any:
    device.load(network, watch=list(network.population), cores=cores)
    answer, _, _ = compare(device, spikes)
    assert answer.mismatches == 0
    return answer


@shared
@pytest.mark.parametrize("file", real.BRAILLE)
@pytest.mark.filterwarnings("ignore::aerloom.AerloomWarning")
def test_braille(chips: Any, file: str) -> None:
    """Recurrent, with a synaptic filter and a bias through it; 256 steps of recorded touch."""
    assert same(chips(Fabric()), *real.braille(file)).spikes_per_inference["lif1.lif"] > 50


def enlarged(number: int) -> np.ndarray:
    """The digits that ship, in MNIST's size: ``(number, 28, 28)``."""
    values = np.kron(samples("digits")[0][:number].reshape(-1, 8, 8), np.ones((1, 3, 3)))
    return np.pad(values, ((0, 0), (2, 2), (2, 2)))


@pytest.mark.full  # a chip of eight cores takes two minutes to build
@pytest.mark.parametrize("cores", [1, 2, 4, 8])
def test_mnist_on_cores(chips: Any, cores: int) -> None:
    """The zoo's network on images of MNIST's size: the same bits however it is cut."""
    spikes = encode.rate(enlarged(2).reshape(2, -1), 25)
    same(chips(CORES, quick=True), quantize(zoo("mnist"), 8).network, spikes, cores)


def test_the_zoos_convolutions(chips: Any) -> None:
    """On images of MNIST's size, as spikes and as images: a chip with an encoder makes the same spikes of them."""
    network, images = quantize(zoo("mnist-conv"), 8).network, enlarged(4)[:, None]
    spikes = spikes_of(network, images)
    device = chips(ROOMY, quick=True)
    answer = same(device, network, spikes)
    assert min(answer.spikes_per_inference[name] for name in ("conv1", "conv2", "output")) > 5
    np.testing.assert_array_equal(
        device.infer(images=images), golden.classes(network, golden.run(network, spikes)))


@shared
@pytest.mark.full  # the chip takes a minute to build
def test_n_mnist(chips: Any) -> None:
    """The convolutional network of the NIR paper on recordings of an event camera."""
    assert same(chips(Fabric.preset("planes")), *real.n_mnist()).spikes_per_inference["1"] > 100


def test_a_converted_cnn(chips: Any) -> None:
    """From a ReLU network to the chip: convolutions, pooling, a readout; it answers as it did."""
    made, images, labels = real.converted()
    assert made.ann > 0.9 and made.curve[-1] > made.ann - 0.05
    device = chips(ROOMY, quick=True)
    net = quantize(made.network, 8).network
    spikes = made.encode(images[:3])
    run = check_all(device, net, {net.inputs[0].name: spikes.reshape(3, 16, -1)})
    assert run.spikes["relu1"].sum() > 1000
    assert (device.infer(made.encode(images[:20])) == labels[:20]).mean() > 0.7


def test_axonal_delays(chips: Any) -> None:
    """Sixteen delays at once: a wave that is met by one that runs against it."""
    net, wave = real.delayed()
    run = check_all(chips(ROOMY, quick=True), net, {"in": wave})
    assert run.spikes["hidden"][0, :15].sum() < run.spikes["hidden"][0, 15].sum()
