"""The networks that ship: they load, they are as good as their cards say, and foreign data is refused by name."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aerloom.host.dataset import pieces, spikes_of
from aerloom.host.jobs import Workers
from aerloom.host.measure import accuracy
from aerloom.models import golden, zoo
from aerloom.models.errors import AerloomError
from aerloom.models.quantize import find_scale, quantize
from aerloom.models.text import percent

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"MNIST: there is no folder {MNIST}")

IDX = b"\0\0\x08\x02" + bytes([0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(6))  # bytes, in 2 rows of 3


RATE = {"name": "rate", "steps": 25, "max_rate": 1.0}
LATENCY = {"name": "latency", "steps": 8, "threshold": 0.01}


@pytest.mark.parametrize(
    "name, shape, neurons, encoding",
    [
        ("digits", (8, 8), (64, 10), RATE),
        ("mnist", (28, 28), (128, 10), RATE),
        ("mnist-conv", (1, 28, 28), (784, 128, 10), LATENCY),
    ],
)
def test_networks_load(name, shape, neurons, encoding):
    network = zoo.load(name)
    assert not network.is_integer
    assert [i.shape for i in network.inputs] == [shape]
    assert tuple(p.size for p in network.populations) == neurons
    assert network.outputs == ("output",)
    assert network.meta["name"] == name and network.meta["what"]
    assert zoo.encoding(network) == encoding
    assert zoo.card(name).startswith(f"# {name}\n")


def test_every_name_loads():
    assert {name: zoo.load(name).meta["name"] for name in zoo.NAMES} == {name: name for name in zoo.NAMES}


def test_samples_of_digits_ship():
    assert zoo.has_samples(zoo.load("digits"))
    values, labels = zoo.samples("digits")
    assert values.shape == (450, 64) and values.dtype == np.float32
    assert values.min() == 0 and values.max() == 1
    assert set(labels.tolist()) == set(range(10)) and len(labels) == 450


def measured(name, bits, count=None):
    """Accuracy by golden on the first test samples, encoded as the command line does."""
    network = zoo.load(name)
    values, labels = (a[:count] for a in zoo.samples(name, MNIST))
    return accuracy(quantize(network, bits).network, pieces(values, labels), Workers())


@pytest.mark.parametrize("bits, least", [(8, 0.97), (2, 0.95)])
def test_digits_are_recognised(bits, least):
    assert measured("digits", bits) >= least


def test_the_card_of_digits_says_what_its_command_prints():
    """Each row of the table: accuracy, spikes and operations, calibrated as `aerloom quantize` does."""
    network = zoo.load("digits")
    values, labels = zoo.samples("digits")
    ((spikes, _),) = (piece.encoded(network) for piece in pieces(values, labels))
    rows = [line.strip("| ").split(" | ") for line in zoo.card("digits").splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["float", "8 bits", "6 bits", "4 bits", "2 bits"]
    for width, *said in rows:
        net = network if width == "float" else quantize(network, int(width[0]), calibration=spikes).network
        trace = golden.run(net, spikes)
        right = np.mean(golden.classes(net, trace) == labels)
        counts = [f"{trace.spikes[name].sum() / len(labels):,.1f}" for name in net.sources]
        assert said == [percent(right), *counts, f"{trace.synaptic_operations / len(labels):,.0f}"], width


@needs_mnist
@pytest.mark.parametrize(
    "name, bits, count, least",
    [
        ("mnist", 8, 10_000, 0.98),
        ("mnist", 4, 2000, 0.97),
        ("mnist", 2, 2000, 0.965),
        ("mnist-conv", 8, 10_000, 0.98),
        ("mnist-conv", 4, 2000, 0.97),
        pytest.param("mnist", 4, 10_000, 0.977, marks=pytest.mark.full),
        pytest.param("mnist", 2, 10_000, 0.97, marks=pytest.mark.full),
        pytest.param("mnist-conv", 4, 10_000, 0.98, marks=pytest.mark.full),
    ],
)
def test_mnist_is_recognised(name, bits, count, least):
    assert measured(name, bits, count) >= least


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_training_computes_what_golden_computes(kind):
    torch = pytest.importorskip("torch")
    from aerloom.models.zoo.train import snn

    torch.manual_seed(0)
    if kind == "dense":
        layers = {"hidden": torch.nn.Linear(12, 9), "output": torch.nn.Linear(9, 5)}
        net = snn.SpikingNet((12,), layers, snn.DECAYS, snn.Rate(25, seed=0))
    else:
        layers = {
            "conv1": torch.nn.Conv2d(1, 3, (4, 3), stride=(2, 1), padding=(1, 0)),
            "conv2": torch.nn.Conv2d(3, 4, 3, stride=2),
            "output": torch.nn.Linear(8, 5),
        }
        net = snn.SpikingNet((1, 9, 8), layers, [0.9375, 1, 0.96875], snn.Latency(20))
    with torch.no_grad():
        for layer in list(layers.values())[:-1]:
            layer.weight.mul_(3)  # so that it spikes
    pixels = torch.rand(40, *net.shape)
    spikes = net.encode(pixels)
    network = net.to_network()
    net.encode = lambda pixels: spikes
    for bits in (None, 8, 2):
        net.find_scales([bits])
        rounded = network if bits is None else dequantized(network, bits)
        trace = golden.run(rounded, spikes.numpy().swapaxes(0, 1))
        counts = trace.spikes["output"].sum(axis=1)
        assert counts.sum() > 40
        np.testing.assert_array_equal(net(pixels, [bits]).detach().numpy(), counts)


def dequantized(network, bits):
    """The floating-point network with its weights rounded as ``quantize`` rounds them."""
    integers = quantize(network, bits).network.projections
    pairs = zip(network.projections, integers, strict=True)
    rounded = []
    for p, q in pairs:
        scale = find_scale(p.weights.reshape(len(p.weights), -1), bits)
        rounded.append(replace(p, weights=q.weights / scale.reshape(-1, *[1] * (p.weights.ndim - 1))))
    return network.replace(projections=rounded)


def test_training_encodes_by_latency_as_the_host_does():
    torch = pytest.importorskip("torch")
    from aerloom.models.zoo.train import snn

    code, values = snn.Latency(8), np.arange(256, dtype=np.float32).reshape(1, 256) / 255
    spikes = spikes_of(zoo.load("digits").replace(meta={"encoding": code.meta}), values)
    np.testing.assert_array_equal(code(torch.tensor(values)).numpy().swapaxes(0, 1), spikes)


def test_read_idx_plain_and_compressed(tmp_path):
    (tmp_path / "plain").write_bytes(IDX)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(IDX))
    for name in ("plain", "packed"):
        np.testing.assert_array_equal(zoo.read_idx(tmp_path, name), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(IDX[:3], id="part of the magic number"),
        pytest.param(IDX[:9], id="part of the shape"),
        pytest.param(IDX[:-1], id="a byte missing"),
        pytest.param(IDX + b"\0", id="a byte too many"),
        pytest.param(b"\0\0\x0d" + IDX[3:], id="floats"),
        pytest.param(b"PK\3\4" + IDX, id="foreign"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_read_idx_names_a_broken_file(tmp_path, data, packed):
    file = tmp_path / ("images.gz" if packed else "images")
    file.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(AerloomError, match=file.name):
        zoo.read_idx(tmp_path, "images")


@pytest.mark.parametrize(
    "data",
    [gzip.compress(IDX)[:-9], gzip.compress(IDX)[:12] + b"\xff" * 20, IDX],
    ids=["truncated", "damaged", "not compressed"],
)
def test_read_idx_names_a_broken_archive(tmp_path, data):
    (tmp_path / "images.gz").write_bytes(data)
    with pytest.raises(AerloomError, match=r"images\.gz"):
        zoo.read_idx(tmp_path, "images")


def test_read_idx_names_a_missing_file(tmp_path):
    with pytest.raises(AerloomError, match="images"):
        zoo.read_idx(tmp_path, "images")


def test_images_and_labels_must_belong_together(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + bytes([0, 0, 0, 1] * 3) + b"\7")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + bytes([0, 0, 0, 2]) + b"\1\2")
    with pytest.raises(AerloomError, match="belong together"):
        zoo.samples("mnist", tmp_path)


@pytest.mark.parametrize("function", [zoo.load, zoo.card, zoo.samples])
def test_unknown_name(function):
    with pytest.raises(AerloomError, match=r"'cifar'.*digits, mnist"):
        function("cifar")


@pytest.mark.parametrize("name", ["mnist", "mnist-conv"])
def test_mnist_needs_a_folder(name):
    assert not zoo.has_samples(zoo.load(name)) and zoo.has_samples(zoo.load(name), "a folder")
    with pytest.raises(AerloomError, match="--data"):
        zoo.samples(name)


@pytest.mark.parametrize("meta", [{}, {"data": "cifar"}, {"data": ["mnist"]}])
def test_a_network_for_unknown_data(meta):
    network = zoo.load("digits").replace(meta=meta)
    assert not zoo.has_samples(network, "a folder")
    with pytest.raises(AerloomError, match="which data"):
        zoo.samples(network)


def test_a_network_without_encoding():
    network = zoo.load("digits")
    with pytest.raises(AerloomError, match="encoded"):
        zoo.encoding(network.replace(meta={}))
