"""NIR files and objects, whole, odd and broken; and the recorded traces of the NIR paper."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import AerloomError, AerloomWarning, check, load, quantize
from aerloom.models import golden

h5py = pytest.importorskip("h5py")
SHARED = Path(os.environ.get("AERLOOM_SHARED", Path(__file__).parents[2] / "shared")) / "data"
ONE, TWO = (SHARED / "nir" / "01_lif", SHARED / "nir" / "02_cnn")
THREE = SHARED / "nir" / "03_rnn"
paper = pytest.mark.skipif(not ONE.exists(), reason="the files of the NIR paper are not here (shared/data/nir)")


def write(path, nodes, edges, **top):
    """A NIR file of ``{name: fields}``; a field that is a mapping is a group."""
    def put(group, values):
        for name, value in values.items():
            if isinstance(value, dict):
                put(group.create_group(name), value)
            else:
                group[name] = value
    with h5py.File(path, "w") as file:
        file["version"] = "1.0"
        put(file.create_group("node"), {"type": "NIRGraph", "nodes": nodes, "edges": np.array(edges, dtype="S"), **top})
    return path


LIF = {"type": "LIF", "tau": np.full(4, 1e-3), "r": np.full(4, 10.0), "v_leak": np.zeros(4), "v_threshold": np.ones(4)}
PLAIN = {"i": {"type": "Input", "shape": [3]}, "w": {"type": "Linear", "weight": np.eye(4, 3)}, "n": LIF,
         "o": {"type": "Output", "shape": [4]}}
EDGES = [("i", "w"), ("w", "n"), ("n", "o")]


def spikes_of(path, x, **options):
    net = load(path, "nir", **options)
    return golden.run(net, x).spikes[net.outputs[0]]


def test_odd_files_mean_what_they_say(tmp_path):
    """Scalars, missing v_reset, missing shapes, subgraphs and the names of what is in them."""
    x = np.random.default_rng(0).random((2, 30, 3)) < 0.5
    plain = spikes_of(write(tmp_path / "plain.nir", PLAIN, EDGES), x)
    assert plain.any()
    scalar = {k: v if isinstance(v, str) else np.float32(v[0]) for k, v in LIF.items()}
    odd = PLAIN | {"n": scalar, "i": {"type": "Input", "shape": np.array([1, 3])}}
    np.testing.assert_array_equal(spikes_of(write(tmp_path / "scalar.nir", odd, EDGES), x), plain)
    shapeless = PLAIN | {"i": {"type": "Input"}}
    np.testing.assert_array_equal(spikes_of(write(tmp_path / "shapeless.nir", shapeless, EDGES), x), plain)
    inside = {"input": {"type": "Input", "shape": [4]}, "n": LIF, "output": {"type": "Output"}}
    inner = {"type": "NIRGraph", "nodes": inside,
             "edges": np.array([("input", "n"), ("n", "output")], dtype="S")}
    for k, ends in enumerate([(("w", "sub"), ("sub", "o")), (("w", "sub.n"), ("sub.n", "o"))]):
        nested = {k: v for k, v in PLAIN.items() if k != "n"} | {"sub": inner}
        file = write(tmp_path / f"nested{k}.nir", nested, [("i", "w"), *ends])
        np.testing.assert_array_equal(spikes_of(file, x), plain)


def test_objects_of_the_nir_package():
    nir = pytest.importorskip("nir")
    r = np.random.default_rng(0)
    ones = np.ones(5)
    graph = nir.NIRGraph.from_list(
        nir.Affine(r.normal(0, 1, (5, 3)), ones * 0.1), nir.LIF(ones * 1e-3, ones * 10, ones * 0, ones))
    net = load(graph, "snntorch")
    assert net.population["lif"].reset_delay == 1 and net.inputs[0].size == 3
    np.testing.assert_allclose(net.population["lif"].bias, 0.1, rtol=1e-6)


@pytest.mark.parametrize("change, says", [
    ({"n": LIF | {"tau": np.full(4, np.nan)}}, r"n: .*tau holds NaN|n \(LIF\): tau holds NaN"),
    ({"n": {"type": "LIF", "r": np.ones(4)}}, "tau and v_leak and v_threshold missing"),
    ({"n": LIF | {"type": "Wiggle"}}, "aerloom knows no Wiggle"),
    ({"w": {"type": "Linear", "weight": np.ones(3)}}, "weight must have 2 dimensions"),
    ({"w": {"type": "Linear", "weight": np.ones((4, 7))}}, "takes 7 inputs"),
    ({"n": LIF | {"v_threshold": np.ones(3)}}, "must have 1, 4 or 4 values|must have 1"),
    ({"i": {"type": "Linear", "weight": np.eye(3)}}, "nothing leads to it|no input"),
])
def test_broken_graphs(tmp_path, change, says):
    file = write(tmp_path / "broken.nir", PLAIN | change, EDGES)
    with pytest.raises(AerloomError, match=says) as caught:
        load(file, "nir")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert check(file, "nir").refused


def test_enormous_arrays_are_not_read(tmp_path):
    with h5py.File(tmp_path / "big.nir", "w") as file:
        file["node/type"] = "NIRGraph"
        file.create_dataset("node/nodes/w/weight", (1 << 20, 1 << 20), "f4", chunks=(1, 1024))
        file["node/nodes/w/type"] = "Linear"
    with pytest.raises(AerloomError, match="4,096 GiB in one array"):
        load(tmp_path / "big.nir", "nir")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files(tmp_path_factory, data):
    """Cut short, overwritten or with bytes changed: a network, or one sentence."""
    folder = tmp_path_factory.mktemp("damaged")
    whole = bytearray(write(folder / "whole.nir", PLAIN, EDGES).read_bytes())
    r = random.Random(data.draw(st.integers(0, 2**32 - 1)))
    how = data.draw(st.sampled_from(["cut", "bytes", "block"]))
    if how == "cut":
        whole = whole[:r.randrange(len(whole))]
    else:
        at = r.randrange(len(whole))
        for k in range(1 if how == "bytes" else 64):
            if at + k < len(whole):
                whole[at + k] = r.randrange(256)
    file = folder / "damaged.nir"
    file.write_bytes(whole)
    try:
        load(file, "nir")
    except AerloomError as e:
        assert "damaged.nir" in str(e) and "\n" not in str(e)


ONES = np.ones(4)
FIELDS = {"tau": 1e-3 * ONES, "tau_mem": 1e-3 * ONES, "tau_syn": 5e-4 * ONES, "r": 10 * ONES, "v_leak": 0 * ONES,
          "v_threshold": ONES, "threshold": ONES, "w_in": 5 * ONES}


@pytest.mark.parametrize("kind, fields, spiking", [
    ("I", "r", False), ("IF", "r v_threshold", True), ("LI", "tau r v_leak", False),
    ("LIF", "tau r v_leak v_threshold", True),
    ("CubaLI", "tau_mem tau_syn r v_leak w_in", False), ("CubaLIF", "tau_mem tau_syn r v_leak v_threshold w_in", True),
    ("Threshold", "threshold", True),
])
def test_every_neuron_of_nir(tmp_path, kind, fields, spiking):
    """By the equations of the specification, forward Euler, written again in loops."""
    node = {"type": kind} | {name: FIELDS[name] for name in fields.split()}
    weights = np.random.default_rng(1).normal(0.1, 0.5, (4, 3))
    net = load(write(tmp_path / "n.nir", PLAIN | {"n": node, "w": {"type": "Linear", "weight": weights}}, EDGES), "nir")
    x = np.random.default_rng(0).random((1, 30, 3)) < 0.5
    trace = golden.run(net, x, membranes=["n"])
    v, i = np.zeros(4), np.zeros(4)
    for t in range(30):
        a = weights @ x[0, t]
        if "tau_syn" in fields:
            i = i + 0.2 * (-i + 5 * a)
            a = i
        if kind == "Threshold":
            v = a
        elif kind in ("I", "IF"):
            v = v + 10 * a
        else:
            v = v + 0.1 * (-v + 10 * a)
        s = v > 1
        if spiking:
            v = np.where(s, 0, v)
            np.testing.assert_array_equal(trace.spikes["n"][0, t], s)
        if kind != "Threshold":
            np.testing.assert_allclose(trace.membranes["n"][0, t], v, rtol=1e-4, atol=1e-5)
    assert net.population["n"].spiking == spiking


@pytest.mark.parametrize("call, says", [
    (lambda p: load(p.rename(p.with_suffix(".onnx"))), "aerloom.convert"),
    (lambda p: load(p, "brian"), "no semantics is called 'brian'; there are nir, snntorch"),
    (lambda p: load(p, "nir", dt=-1), "dt must be a time above 0"),
    (lambda p: load(p, "nir", tau=3), "semantics have no 'tau'; there are"),
    (lambda p: load(p, "nir", reset="never"), "reset must be one of"),
    (lambda p: load(p.with_name("none.nir"), "nir"), "none.nir: there is no such file"),
    (lambda p: load(p.parent, "nir"), "cannot be read"),
])
def test_refuses(tmp_path, call, says):
    with pytest.raises(AerloomError, match=says):
        call(write(tmp_path / "plain.nir", PLAIN, EDGES))


# --- the NIR paper (Pedersen et al. 2024): one LIF neuron on eleven platforms, a recurrent layer on four


@paper
@pytest.mark.parametrize("platform, file, semantics, changes", [
    ("exact", "norse", "nir", {}), ("norse", "norse", "norse", {"dt": 1e-4}), ("snntorch", "norse", "snntorch", {}),
    ("nengo", "norse", "nengo", {}), ("spinnaker2", "norse", "nir", {}), ("lava_cpu_float", "norse", "lava", {}),
    ("lava_cpu_fixed", "norse", "lava", {}), ("lava_loihi_fixed", "norse", "lava", {}), ("spyx", "norse", "spyx", {}),
    ("rockpool", "rockpool", "rockpool", {}), ("rockpool", "norse", "rockpool", {}), ("sinabs", "norse", "sinabs", {}),
])
def test_one_neuron(platform, file, semantics, changes):
    recorded = np.genfromtxt(ONE / f"lif_{platform}.csv", delimiter=",")[:, -1]
    recorded = recorded[~np.isnan(recorded)].astype(bool)
    x = np.load(ONE / "input_spikes.npy").reshape(1, -1, 1)
    net = load(ONE / f"lif_{file}.nir", semantics, **changes)
    spikes = golden.run(net, x).spikes[net.outputs[0]][0, :, 0]
    np.testing.assert_array_equal(np.flatnonzero(spikes), np.flatnonzero(recorded))


BRAILLE = [("snntorch", "bias_zero", "snntorch", {"reset": "value", "reset_delay": 0}), ("spyx", "bias_zero", "spyx", {}),
           ("spyx", "noBias_subtract", "spyx", {}), ("norse", "noBias_subtract", "norse", {"dt": 1e-4})]


@paper
@pytest.mark.parametrize("platform, file, semantics, changes", BRAILLE)
def test_braille_hidden_layer(platform, file, semantics, changes):
    x = np.load(THREE / "braille_ds_test_0_input_256x12.npy")[None]
    net = load(THREE / f"braille_noDelay_{file}.nir", semantics, **changes)
    recorded = np.load(THREE / f"{platform}_activity_noDelay_{file}.npy")
    np.testing.assert_array_equal(golden.run(net, x).spikes["lif1.lif"][0], recorded)


@paper
@pytest.mark.parametrize("file, semantics, changes, exact, integer", [
    ("bias_zero", "snntorch", {"reset": "value", "reset_delay": 0}, 0.963, 0.955),
    ("noBias_subtract", "snntorch", {"reset_delay": 0}, 0.973, 0.97),
])
def test_braille_accuracy(file, semantics, changes, exact, integer):
    with np.load(THREE / "braille7_l2mu_unique.npz") as archive:
        x, y = np.unpackbits(archive["x"], axis=-1)[..., :12], archive["y"]
    with pytest.warns(AerloomWarning) if file == "noBias_subtract" else np.errstate():
        net = load(THREE / f"braille_noDelay_{file}.nir", semantics, **changes)
    assert np.mean(golden.classes(net, golden.run(net, x)) == y) >= exact
    made = quantize(net, 8).network
    assert np.mean(golden.classes(made, golden.run(made, x)) == y) >= integer


@paper
@pytest.mark.full  # a minute and a half
@pytest.mark.parametrize("most, exact, integer", [(1, 98, 98), (15, 100, 99)])
def test_n_mnist(most, exact, integer):
    with np.load(SHARED / "nmnist" / "nmnist_small.npz") as archive:
        a = {k: archive[f"test_{k}"] for k in ("t", "x", "y", "p", "offsets", "label")}
    net = load(TWO / "cnn_sinabs.nir", "sinabs", max_spikes=most)
    made = quantize(net, 8).network
    right = {net: 0, made: 0}
    for first in range(0, 100, 20):
        x = np.zeros((20, 300, 2, 34, 34), np.uint8)
        for n in range(20):
            at = slice(a["offsets"][first + n], a["offsets"][first + n + 1])
            step = a["t"][at] // 1000
            kept = step < 300
            x[n, step[kept], a["p"][at][kept], a["y"][at][kept], a["x"][at][kept]] = 1
        for one in right:
            right[one] += int(np.sum(golden.classes(one, golden.run(one, x)) == a["label"][first:first + 20]))
    assert right[net] >= exact and right[made] >= integer, right
