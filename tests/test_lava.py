"""Lava-DL's netx files: what they compute, bit for bit, and what of them is refused by name."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aerloom import AerloomError, Network
from aerloom.models import golden, lava

h5py = pytest.importorskip("h5py")
Fields = dict[str, Any]

RECORDED = Path(__file__).parents[2] / "shared" / "data" / "nir" / "01_lif"
NEURON = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 80, "refDelay": 1, "gradedSpike": False}


def write(path: Path, layers: list[Fields]) -> Path:
    """A file as SLAYER's ``export_hdf5`` lays it out: strings of bytes, and whole numbers in float32."""
    with h5py.File(path, "w") as file:
        for n, layer in enumerate(layers):
            group = file.create_group(f"layer/{n}")
            group.create_dataset("type", (1,), "S10", [layer["type"].encode()])
            for key, value in layer.items():
                if key == "neuron":
                    for k, v in value.items():
                        group.create_dataset(f"neuron/{k}", data=v)
                elif key in ("weight", "weight_rec", "bias", "delay"):
                    group.create_dataset(key, data=np.asarray(value, np.float32))
                elif key != "type":
                    group.create_dataset(key, data=value)
        file.create_dataset("simulation/Ts", data=1)
    return path


def dense(matrix: Any, **more: Any) -> Fields:
    fields = {"type": "dense", "shape": [len(matrix)], "weight": matrix, "neuron": NEURON} | more
    return {k: v for k, v in fields.items() if v is not None}


def conv(weight: Any, shape: Any, **more: Any) -> Fields:
    return {"type": "conv", "shape": shape, "weight": weight, "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1],
            "groups": 1, "neuron": NEURON} | more


def keep(x: int, decay: int) -> int:
    """What a decay of 12 bits leaves of x, rounded toward zero."""
    return abs(x) * (4096 - decay) // 4096 * (1 if x > 0 else -1)


def loihi(sums: list[list[int]], neuron: Fields, bias: list[int]) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Spikes and v of every step, and the last u, of a layer that receives ``sums``: the rule, one number at a time."""
    u, v, held = [0] * len(bias), [0] * len(bias), [0] * len(bias)
    spikes, membranes = [], []
    for a in sums:
        out = [0] * len(bias)
        for k in range(len(bias)):
            u[k] = keep(u[k], neuron["iDecay"]) + a[k] * 64
            if held[k]:
                held[k] -= 1
                continue
            v[k] = max(min(keep(v[k], neuron["vDecay"]) + u[k] + bias[k] * 64, 2**23 - 1), 1 - 2**23)
            if v[k] > neuron["vThMant"] * 64:
                out[k], v[k], held[k] = 1, 0, neuron["refDelay"] - 1
        spikes.append(out)
        membranes.append(list(v))
    return spikes, membranes, u


def late(spikes: list[list[int]], steps: int) -> list[list[int]]:
    """The same spikes some steps later."""
    return ([[0] * len(spikes[0])] * steps + spikes)[: len(spikes)]


def matrix(layer: Fields, source: tuple[int, ...]) -> list[list[int]]:
    """The weights (neurons, inputs) of a layer: a convolution, spelled out place by place."""
    if layer["type"] == "dense":
        return np.asarray(layer["weight"]).tolist()
    weight = np.asarray(layer["weight"])
    (outs, height, width), (channels, ys, xs) = layer["shape"], source
    per = weight.shape[1]
    rows = []
    for o, y, x in itertools.product(range(outs), range(height), range(width)):
        row = np.zeros(source, int)
        for c, ky, kx in itertools.product(range(per), range(weight.shape[2]), range(weight.shape[3])):
            at_y = y * layer["stride"][0] + ky * layer["dilation"][0] - layer["padding"][0]
            at_x = x * layer["stride"][1] + kx * layer["dilation"][1] - layer["padding"][1]
            if 0 <= at_y < ys and 0 <= at_x < xs:
                row[o // (outs // layer["groups"]) * per + c, at_y, at_x] += weight[o, c, ky, kx].item()
        rows.append(row.ravel().tolist())
    assert channels == per * layer["groups"]
    return rows


def check(network: Network, layers: list[Fields], shape: tuple[int, ...], spikes: np.ndarray) -> None:
    """Compare spikes, v and u of every layer with the rule."""
    trace = golden.run(network, spikes[None], membranes=list(network.population))
    sent = spikes.reshape(len(spikes), -1).tolist()
    for population, layer in zip(network.populations, [q for q in layers if "weight" in q], strict=True):
        weights, out = matrix(layer, shape), tuple(layer["shape"])
        bias = np.broadcast_to(layer.get("bias", 0), out[:1]).repeat(int(np.prod(out[1:]))).tolist()
        seen = late(sent, 1 + int(np.max(layer.get("delay", 0))))
        sums = [[sum(w for w, s in zip(row, step, strict=True) if s) for row in weights] for step in seen]
        sent, v, u = loihi(sums, layer["neuron"], bias)
        np.testing.assert_array_equal(trace.spikes[population.name][0], sent)
        np.testing.assert_array_equal(trace.membranes[population.name][0], v)
        if (i := trace.state[population.name].i) is not None:
            np.testing.assert_array_equal(i[0], u)
        else:
            assert u == [64 * a for a in sums[-1]]
        shape = out


@st.composite
def neurons(draw: st.DrawFn) -> Fields:
    decays = st.one_of(st.sampled_from([0, 1, 4095, 4096]), st.integers(0, 4096))
    return NEURON | {"type": draw(st.sampled_from(["CUBA", "LOIHI"])), "iDecay": draw(decays), "vDecay": draw(decays),
                     "vThMant": draw(st.integers(0, 500)), "refDelay": draw(st.sampled_from([1, 1, 2, 4]))}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_dense_layers_follow_the_fixed_point_rule(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    layers: list[Fields] = [{"type": "input", "shape": [sizes[0]]}]
    for ins, outs in itertools.pairwise(sizes):
        optional: Fields = {}
        if data.draw(st.booleans()):
            optional["bias"] = rng.integers(-60, 60, outs if data.draw(st.booleans()) else 1)
        if data.draw(st.booleans()):
            optional["delay"] = np.full(outs, data.draw(st.integers(0, 3)))
        layers.append(dense(2 * rng.integers(-128, 128, (outs, ins)), neuron=data.draw(neurons()), **optional))
    path = write(tmp_path_factory.mktemp("net") / "net.net", layers)
    spikes = (rng.random((20, sizes[0])) < 0.4).astype(np.uint8)
    network = lava.read(path)
    assert network.state_bits == 24 and lava.is_netx(path)
    check(network, layers, (sizes[0],), spikes)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_convolutions_follow_the_fixed_point_rule(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    groups, per, outs = (data.draw(st.integers(1, 2)) for _ in range(3))
    source = groups * per, data.draw(st.integers(3, 6)), data.draw(st.integers(3, 6))
    kernel, stride, dilation = ([data.draw(st.integers(1, 2)) for _ in "yx"] for _ in range(3))
    padding = [data.draw(st.integers(0, 2)) for _ in "yx"]
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(source[1:], padding, dilation, kernel, stride, strict=True)]
    shape = groups * outs, *size
    layers = [
        {"type": "input", "shape": source},
        conv(2 * rng.integers(-128, 128, (shape[0], per, *kernel)), shape, stride=stride, padding=padding,
             dilation=dilation, groups=groups, neuron=data.draw(neurons()), bias=rng.integers(-60, 60, shape[0])),
        {"type": "flatten", "shape": [int(np.prod(shape)), 1, 1]},
        dense(2 * rng.integers(-128, 128, (2, int(np.prod(shape)))), neuron=data.draw(neurons())),
    ]
    path = write(tmp_path_factory.mktemp("net") / "net.net", layers)
    check(lava.read(path), layers, source, (rng.random((12, *source)) < 0.4).astype(np.uint8))


def test_membranes_stop_at_the_limits_of_lava(tmp_path: Path) -> None:
    layers = [dense([[-256] * 6, [254] * 6], neuron=NEURON | {"iDecay": 0, "vDecay": 0, "vThMant": 2**17 - 1})]
    network, spikes = lava.read(write(tmp_path / "net.net", layers)), np.ones((40, 6), np.uint8)
    check(network, layers, (6,), spikes)
    trace = golden.run(network, spikes[None], membranes=["dense0"])
    assert trace.membranes["dense0"].min() == 1 - 2**23 and trace.spikes["dense0"].any()


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded traces of NIR's paper are not here")
@pytest.mark.parametrize("platform", ["cpu", "loihi"])
def test_recorded_traces_of_lava_are_reproduced(platform: str, tmp_path: Path) -> None:
    neuron = NEURON | {"iDecay": 4096, "vDecay": 163, "vThMant": 25}
    network = lava.read(write(tmp_path / "net.net", [dense([[10]], neuron=neuron)]))
    trace = golden.run(network, np.load(RECORDED / "input_spikes.npy")[None, :, None], membranes=["dense0"])
    _, v, spikes = np.loadtxt(RECORDED / f"lif_lava_{platform}_fixed.csv", delimiter=",").astype(int).T
    np.testing.assert_array_equal(trace.spikes["dense0"][0, :, 0], spikes)
    # The chip keeps its refractory counter in v: 128 in the step of a spike
    np.testing.assert_array_equal(trace.membranes["dense0"][0, :, 0], v - 128 * spikes * (platform == "loihi"))


def test_the_kernels_may_have_slayers_time_axis(tmp_path: Path) -> None:
    weight = np.arange(12).reshape(2, 1, 2, 3, 1)
    layers = [{"type": "input", "shape": [1, 3, 4]}, conv(weight, [2, 2, 2])]
    network = lava.read(write(tmp_path / "net.net", layers))
    np.testing.assert_array_equal(network.projections[0].weights, weight[..., 0])
    assert network.outputs == ("conv1",) and network.population["conv1"].shape == (2, 2, 2)
    bare = lava.read(write(tmp_path / "net.net", layers[1:]), input_shape=(1, 3, 4))
    assert bare.inputs == network.inputs and bare.projections[0].window == network.projections[0].window


def test_recurrence_comes_a_step_later(tmp_path: Path) -> None:
    neuron = NEURON | {"vThMant": 9, "iDecay": 4096, "vDecay": 4096}
    layer = dense([[10], [0]], type="dense_rec", weight_rec=[[0, 0], [10, 0]], neuron=neuron)
    trace = golden.run(lava.read(write(tmp_path / "net.net", [layer])), np.array([[[1], [0], [0], [0]]], np.uint8))
    np.testing.assert_array_equal(trace.spikes["dense_rec0"][0], [[0, 0], [1, 0], [0, 1], [0, 0]])


def test_parameters_may_be_per_channel(tmp_path: Path) -> None:
    neuron = NEURON | {"iDecay": [4096, 2048], "vDecay": [0, 5]}
    path = write(tmp_path / "net.net", [conv(np.ones((2, 1, 2, 2)), [2, 1, 2], neuron=neuron, bias=[3, -1])])
    p = lava.read(path, input_shape=(1, 2, 3)).populations[0]
    np.testing.assert_array_equal(p.decay_i, [0, 0, 2048, 2048])
    np.testing.assert_array_equal(p.decay_v, [4096, 4096, 4091, 4091])
    np.testing.assert_array_equal(p.bias, [192, 192, -64, -64])


def test_a_layer_that_cannot_spike_is_a_readout(tmp_path: Path) -> None:
    layers = [dense(np.full((3, 2), 5)), dense(np.full((1, 3), -7), neuron=None)]
    network = lava.read(write(tmp_path / "net.net", layers))
    assert [p.spiking for p in network.populations] == [True, False]
    trace = golden.run(network, np.ones((1, 9, 2), np.uint8))
    # A spike counts from the next step on; nothing is forgotten
    assert trace.state["dense1"].v[0, 0] == -7 * 64 * int(trace.spikes["dense0"][0, :-1].sum())
    for threshold in 2**17 - 1, 2**17:  # the first that no v of 24 bits is above
        layer = dense([[1]], neuron=NEURON | {"vThMant": threshold})
        assert lava.read(write(tmp_path / "net.net", [layer])).populations[0].spiking == (threshold < 2**17)


def test_delays_and_the_encoder_are_kept(tmp_path: Path) -> None:
    encoder = {"type": "input", "shape": [2], "weight": [36], "bias": [34], "neuron": NEURON}
    layers = [encoder, dense(np.ones((3, 2)), delay=np.full(3, 5)), dense(np.ones(3)[None], weight=np.ones(3))]
    path = write(tmp_path / "net.net", layers)
    assert [p.delay for p in lava.read(path).projections] == [6, 1]
    assert [p.delay for p in lava.read(path, delay=0).projections] == [5, 0]
    assert lava.read(path).meta["encoder"] == {
        "weight": 36, "bias": 34, "neuron/iDecay": 1024, "neuron/vDecay": 128, "neuron/vThMant": 80}


W = np.ones((2, 3), int)
INPUT = {"type": "input", "shape": [3]}
KERNEL = np.ones((2, 1, 2, 2))
PLANES = {"type": "input", "shape": [1, 4, 4]}


@pytest.mark.parametrize(("layers", "text"), [
    ([INPUT, dense(W, neuron=NEURON | {"type": "RF_PHASE"})], r"layer 1 \(dense\): RF_PHASE neurons are not leaky"),
    ([INPUT, dense(W, neuron=NEURON | {"type": "SDNN"})], "SDNN neurons"),
    ([INPUT | {"neuron": {"type": "ALIF"}}, dense(W)], r"layer 0 \(input\): ALIF neurons"),
    ([INPUT, dense(W, neuron={"type": "CUBA", "iDecay": 1, "vDecay": 1})], "'neuron/vThMant' is missing"),
    ([INPUT, dense(W, neuron=NEURON | {"gradedSpike": True})], "'neuron/gradedSpike' must be 0"),
    ([INPUT, dense(W, neuron=NEURON | {"weight_exp": -1.0})], "'neuron/weight_exp' must be 0"),
    ([INPUT, dense(W, neuron=NEURON | {"vDecay": 4097})], "'neuron/vDecay' must be whole numbers in 0 … 4096"),
    ([INPUT, dense(W, neuron=NEURON | {"refDelay": 0})], "'neuron/refDelay' must be"),
    ([INPUT, dense(W, neuron=NEURON | {"iDecay": [1, 2, 3]})], "'neuron/iDecay' must hold 1 or 2 numbers, not 3"),
    ([INPUT, dense(W, neuron=NEURON | {"iDecay": "much"})], "'neuron/iDecay' must hold numbers"),
    ([INPUT, {"type": "average", "shape": [1]}], r"layer 1 \(average\): cannot be read"),
    ([INPUT, dense(W), {"type": "concat", "shape": [1]}], r"layer 2 \(concat\): cannot be read"),
    ([INPUT, dense(W), INPUT], r"layer 2 \(input\): cannot be read; input \(as layer 0\)"),
    ([INPUT], "at least one input and one population"),
    ([INPUT, dense(W, weight=None)], "'weight' is missing"),
    ([INPUT, dense(W, weight=W.T)], r"'weight' must be \(2, 3\)"),
    ([INPUT, dense(W[:, :2])], r"'weight' must be \(2, 3\)"),
    ([INPUT, dense(W + 0.5)], "'weight' must be whole numbers"),
    ([INPUT, dense(W * np.nan)], "'weight' must be whole numbers in -256 … 255, not nan"),
    ([INPUT, dense(W * np.inf)], "'weight' must be whole numbers in -256 … 255, not inf"),
    ([INPUT, dense(300 * W)], "'weight' must be whole numbers in -256 … 255, not 300"),
    ([INPUT, dense(np.ones((2, 0)))], "'weight' must hold numbers"),
    ([INPUT, dense(W, bias=[1, 2, 3])], "'bias' must hold 1 or 2 numbers"),
    ([INPUT, dense(W, delay=[1, 2])], "'delay' must be equal for all neurons"),
    ([INPUT, dense(W, delay=[63, 63])], "'delay' must be whole numbers in 0 … 62"),
    ([INPUT, dense(W, type="dense_rec", weight_rec=np.eye(2), delay=1)], "0 with recurrence"),
    ([INPUT, dense(W, type="dense_rec", weight_rec=W)], r"'weight_rec' must be \(2, 2\)"),
    ([INPUT, dense(W, neuron=None), dense(np.ones((1, 2)))], "readout"),
    ([conv(KERNEL, [2, 3, 3])], r"layer 0 \(conv\): needs \(channels, y, x\) before it, not None; give input_shape"),
    ([INPUT, conv(KERNEL, [2, 3, 3])], r"needs \(channels, y, x\) before it, not \(3,\)"),
    ([PLANES, conv(KERNEL, [2, 3, 4])], r"'shape' must be \(2, 3, 3\) \(channels, y, x\) by its windows, not \(2, 3, 4\)"),
    ([PLANES, conv(KERNEL, [2, 3, 3], groups=2)], "must connect 1 channels in 2 groups"),
    ([PLANES, conv(KERNEL, [2, 3, 3], dilation=[9, 9])], r"layer 1 \(conv\): a window of"),
    ([PLANES, conv(KERNEL, [2, 3, 3], stride=[1, 1, 1])], "'stride' must hold 1 or 2 numbers"),
    ([PLANES, conv(KERNEL[0, 0], [2, 3, 3])], r"'weight' \(2, 2\) must connect"),
])
def test_what_cannot_be_read_is_named(layers: list[Fields], text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "net.net", layers)
    with pytest.raises(AerloomError, match=text) as e:
        lava.read(path)
    assert str(e.value).startswith(str(path))


def test_complex_weights_and_missing_layers(tmp_path: Path) -> None:
    path = write(tmp_path / "net.net", [INPUT, dense(W, weight=None)])
    with h5py.File(path, "a") as file:
        file["layer/1/weight/real"] = W
    with pytest.raises(AerloomError, match="'weight' is complex"):
        lava.read(path)
    with h5py.File(path, "a") as file:
        file.move("layer/1", "layer/2")
    with pytest.raises(AerloomError, match=r"layer 1 \(missing\): 'type' is missing"):
        lava.read(path)


def test_foreign_files(tmp_path: Path) -> None:
    nir, text = tmp_path / "net.nir", tmp_path / "net.txt"
    with h5py.File(nir, "w") as file:
        file.create_group("node/nodes")
    text.write_text("no network")
    assert not lava.is_netx(nir) and not lava.is_netx(text) and not lava.is_netx(tmp_path / "none")
    for path, message in ((nir, "not a netx file: .*NIR"), (text, "not HDF5"), (tmp_path, "not HDF5"),
                          (tmp_path / "none", "there is no such file")):
        with pytest.raises(AerloomError, match=message):
            lava.read(path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_say_so(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("net") / "net.net", [INPUT, dense(W)])
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if cut := data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1:])
    try:
        lava.read(path)
        assert not cut  # a bit that does not matter, or another number
    except AerloomError as e:
        assert str(path) in str(e)


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(AerloomError, match=r"pip install 'aerloom\[nir\]"):
        lava.read(tmp_path / "net.net")
