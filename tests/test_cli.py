"""The command line, as a user calls it: what it prints, and one sentence with exit code 2 where it cannot go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from aerloom import Input, Network, Population, Projection, zoo
from aerloom.models import golden
from aerloom.models.quantize import quantize
from aerloom.models.zoo import encoding as zoo_encoding
from aerloom.models.zoo import samples as zoo_samples

COMMAND = [sys.executable, "-m", "aerloom"]


def aerloom(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
            ) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=600, env=env)


def test_demo(tmp_path: Path) -> None:
    result = aerloom("demo", "--json", "--images", 5, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["mismatches"] == 0 and answer["images"] == 5
    assert answer["accuracy_golden"] == answer["accuracy_chip"] > 0.5
    assert answer["cycles_per_inference"] > 1000 and answer["synaptic_ops_per_inference"] > 10_000
    assert 0.3 < answer["lane_utilisation"] <= 1
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_quantize_then_fit_then_run(tmp_path: Path) -> None:
    file = tmp_path / f"{'long' * 25}.npz"  # so that a title would be folded, were this a terminal
    spikes, out = tmp_path / "in.npy", tmp_path / "out.npz"
    report = json.loads(aerloom("quantize", "digits", "-o", file, "--bits", 4, "--images", 100, "--json").stdout)
    assert report["bits"] == 4 and report["accuracy"]["golden"] > 0.9 and "input → hidden" in report["weights"]
    fits = json.loads(aerloom("fit", file, "--json").stdout)
    assert fits["medium"]["fits"] and not fits["tiny"]["fits"] and "weight_words" in fits["tiny"]["why"]
    assert "It fits on" not in fits["tiny"]["why"] and f"{file.stem}.npz in 4 bits" in aerloom("fit", file).stdout
    plan = json.loads(aerloom("fit", file, "--floorplan", tmp_path / "floor.png", "--json").stdout)["small"]
    assert plan["cores"][0]["bottleneck"] == "input → hidden" and (tmp_path / "floor.png").exists()
    np.save(spikes, np.random.default_rng(0).integers(0, 2, (3, 10, 64)))
    expected = golden.run(Network.load(file), np.load(spikes)).spikes
    for option, on in (("--on", "sim"), ("--port", "golden")):
        result = aerloom("run", file, spikes, "-o", out, option, on, "--watch", "hidden", "--watch", "output", "--json")
        assert result.returncode == 0, result.stderr
        with np.load(out) as got:
            for name in ("hidden", "output"):
                np.testing.assert_array_equal(got[name], expected[name])


def test_fit_on_boards(tmp_path: Path) -> None:
    fits = json.loads(aerloom("fit", "digits", "--json").stdout)["boards"]
    assert fits["ulx3s-85f"]["fits"] and not fits["ulx3s-85f"]["assumed"]  # the samples of digits ship with it
    assert not fits["ice40-hx8k"]["fits"] and "BRAM: about" in " ".join(fits["ice40-hx8k"]["problems"])
    one = json.loads(aerloom("fit", "digits", "--board", "ulx3s-85f", "--json").stdout)
    assert one == fits["ulx3s-85f"] and one["used"]["lut"] < one["have"]["lut"] and one["bound"] == "link"
    chosen = json.loads(aerloom("fit", "digits", "--board", "ulx3s-85f", "--fabric", "quad", "--json").stdout)
    assert chosen["fabric"]["name"] == "quad" and chosen["used"]["lut"] > one["used"]["lut"]
    assumed = json.loads(aerloom("fit", "mnist", "--board", "ulx3s-25f", "--json").stdout)
    assert assumed["assumed"] and not assumed["fits"] and "(--bits 4)" in assumed["problems"][0]
    assert json.loads(aerloom("fit", "mnist", "--bits", 4, "--board", "ulx3s-25f", "--json").stdout)["fits"]
    text = aerloom("fit", "mnist", "--board", "ulx3s-25f").stdout
    assert "does not fit" in text and "inferences/s, as the link allows" in text and "what to change" in text


def test_infer(tmp_path: Path) -> None:
    """Of shipped images; on a chip that has no encoder, and so on any."""
    ways = {on: aerloom("infer", "digits", "--images", 20, "--seed", 3, "--on", on, "--fabric", "medium", "--json")
            for on in ("golden", "sim")}
    assert all(result.returncode == 0 for result in ways.values()), ways
    exact, chip = (json.loads(result.stdout) for result in ways.values())
    assert exact["classes"] == chip["classes"] and exact["accuracy"] == chip["accuracy"] > 0.8
    assert chip["packets_down"] > 20 * 25 and chip["packets_up"] >= 20 * 25
    late = aerloom("infer", "digits", "--images", 20, "--encoder", "latency", "--on", "golden", "--json")
    assert json.loads(late.stdout)["classes"] != exact["classes"]
    digits = zoo("digits")
    encoding = {"name": "latency", "steps": zoo_encoding(digits)["steps"]}
    digits.replace(meta=digits.meta | {"encoding": encoding}).save(tmp_path / "late.npz")
    own = aerloom("infer", tmp_path / "late.npz", "--images", 20, "--on", "golden", "--json")
    assert json.loads(own.stdout) == json.loads(late.stdout)  # by default as the network says
    for options, says in ((("--encoder", "morse"), "no encoder 'morse' of images"), (("--steps", 0), "at least one step")):
        result = aerloom("infer", "digits", "--on", "golden", *options)
        assert result.returncode == 2 and says in result.stderr and not result.stdout


def test_zoo() -> None:
    assert json.loads(aerloom("zoo", "--json").stdout)["mnist"]["shape"] == "784-128-10"
    assert "Licence" in aerloom("zoo", "digits").stdout or "CC BY" in aerloom("zoo", "digits").stdout


def nir_file(path: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    ones = np.ones(4)
    with h5py.File(path, "w") as file:
        nodes = {"in": {"type": "Input", "shape": [64]}, "w": {"type": "Linear", "weight": np.eye(4, 64)},
                 "n": {"type": "LIF", "tau": ones * 1e-3, "r": ones * 10, "v_leak": ones * 0, "v_threshold": ones},
                 "out": {"type": "Output", "shape": [4]}}
        for name, fields in nodes.items():
            for field, value in fields.items():
                file[f"node/nodes/{name}/{field}"] = value
        file["node/type"] = "NIRGraph"
        file["node/edges"] = np.array([("in", "w"), ("w", "n"), ("n", "out")], dtype="S")
    return path


def test_check_then_import(tmp_path: Path) -> None:
    file, net = nir_file(tmp_path / "a.nir"), tmp_path / "net.npz"
    result = aerloom("check", file, "--semantics", "snntorch", "--json")
    answer = json.loads(result.stdout)
    assert result.returncode == 0 and answer["refused"] == 0 and answer["looks_like"] == "snntorch"
    assert [f["outcome"] for f in answer["findings"]] == ["taken", "folded", "taken", "taken"]
    result = aerloom("import", file, "-o", net, "--semantics", "snntorch", "--set", "reset=value", "--json")
    answer = json.loads(result.stdout)
    assert answer["semantics"]["reset"] == "value" and answer["hash"] == Network.load(net).hash
    stated = aerloom("import", file, "-o", net)
    assert stated.returncode == 0 and "note:" in stated.stderr and "semantics='nir'" in stated.stderr
    with pytest.importorskip("h5py").File(file, "a") as opened:
        opened["node/nodes/pool/type"] = "MaxPool2d"
    result = aerloom("check", file, "--json")
    assert result.returncode == 1 and json.loads(result.stdout)["refused"] == 1 and "SumPool2d" in result.stdout


def test_convert(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    r = np.random.default_rng(0)
    weights = [numpy_helper.from_array(r.normal(0, 0.3, shape).astype(np.float32), name)
               for name, shape in (("a", (12, 64)), ("b", (10, 12)))]
    nodes = [helper.make_node("Gemm", ["x", "a"], ["h"], transB=1), helper.make_node("Relu", ["h"], ["s"]),
             helper.make_node("Gemm", ["s", "b"], ["y"], transB=1)]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", k]) for n, k in (("x", 64), ("y", 10))]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)), tmp_path / "m.onnx")
    values, labels = zoo_samples("digits")
    np.savez(tmp_path / "data.npz", values=values, labels=labels)
    result = aerloom("convert", tmp_path / "m.onnx", "--samples", tmp_path / "data.npz", "-o", tmp_path / "net.npz",
                     "--picture", tmp_path / "curve.png", "--coding", "rate", "--json")
    answer = json.loads(result.stdout)
    assert abs(answer["curve"][-1] - answer["ann"]) < 0.03 and len(answer["curve"]) == 64
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    made = json.loads(aerloom("quantize", tmp_path / "net.npz", "--samples", tmp_path / "data.npz", "--json").stdout)
    assert abs(made["accuracy"]["golden"] - answer["ann"]) < 0.05


def test_sweep_and_report(tmp_path: Path) -> None:
    out = tmp_path / "sweep.png"
    answer = json.loads(aerloom("sweep", "digits", "--bits", "2,8", "--images", 60, "-o", out, "--json").stdout)
    assert len(answer["neuron"]) == len(answer["population"]) == 2 and answer["neuron"][1] > 0.9
    assert out.read_bytes().startswith(b"\x89PNG")
    answer = json.loads(aerloom("report", "digits", "--images", 60, "--early", "decided", "--fabric", "medium",
                                "--json").stdout)
    assert answer["early"]["accuracy"] == answer["accuracy"] and answer["early"]["steps"] < 25
    assert 2000 < answer["early"]["cycles"] < answer["cycles"]["mean"] < answer["cycles"]["most"]
    assert answer["synaptic_operations"]["dense"] == 25 * (64 * 64 + 64 * 10) and 0 < answer["activation_sparsity"] < 1
    samples = tmp_path / "mine.npz"
    np.savez(samples, spikes=np.ones((3, 5, 64), np.uint8), labels=np.zeros(3, int))
    assert json.loads(aerloom("report", "digits", "--samples", samples, "--json").stdout)["samples"] == 3


def test_json_has_no_infinity(tmp_path: Path) -> None:
    """Nothing bounds the membrane of integrate-and-fire neurons."""
    Network((Input("in", (4,)),), (Population("p", (2,)),), (Projection("in", "p", np.ones((2, 4), np.float32)),)).save(
        tmp_path / "net.npz")
    answer = json.loads(aerloom("quantize", tmp_path / "net.npz", "--json").stdout, parse_constant=pytest.fail)
    assert answer["populations"]["p"]["state_bits_at_most"] is None


def test_help_says_what_a_stranger_needs() -> None:
    text = aerloom("--help").stdout
    for command in ("demo", "zoo", "import", "check", "convert", "quantize", "sweep", "report", "fit", "explore", "sim",
                    "run"):
        assert f" {command} " in text
        assert "--json" in aerloom(command, "--help").stdout


def broken(tmp_path: Path) -> dict[str, Path]:
    names = ("names.npz", "foreign.npz", "cut.npz", "nan.npz", "spikes.npy", "pickle.npy", "wide.npy")
    files = {name: tmp_path / name for name in names}
    files["foreign.npz"].write_bytes(b"PK\x03\x04 but no archive")
    whole = tmp_path / "whole.npz"
    quantize(zoo("digits"), 8).network.save(whole)
    files["whole.npz"] = whole
    files["cut.npz"].write_bytes(whole.read_bytes()[:5000])
    files["spikes.npy"].write_bytes(b"\x93NUMPY")
    np.save(files["pickle.npy"], np.array([{}], object), allow_pickle=True)  # to be refused
    np.savez(files["names.npz"], spikes=np.ones((2, 5, 64), np.uint8), labels=np.array(["a", "b"]))
    np.save(files["wide.npy"], np.zeros((1, 5, 65)))
    np.savez(tmp_path / "classes.npz", spikes=np.ones((2, 5, 64), np.uint8), labels=np.array([50, -1]))
    np.save(tmp_path / "right.npy", np.zeros((1, 5, 64)))
    np.savez(tmp_path / "nan_values.npz", values=np.full((2, 64), np.nan), labels=np.array([1, 2]))
    (tmp_path / "true.json").write_text('{"lanes": true}')
    (tmp_path / "seven.json").write_text('{"name": 7}')
    (tmp_path / "broad.json").write_text('{"lanes": 1048576}')
    np.savez(tmp_path / "values.npz", values=np.ones((2, 64), np.float32))
    with np.load(whole) as archive:
        arrays = dict(archive)
    arrays["projections.0.weights"] = np.full((64, 64), np.nan, np.float32)
    np.savez(files["nan.npz"], **arrays)
    return files


@pytest.mark.parametrize("arguments, says", [
    (["fit", "none.npz"], "none.npz: there is no such file"),
    (["fit", "foreign.npz"], "foreign.npz: not an aerloom network, or damaged"),
    (["fit", "cut.npz"], "cut.npz: not an aerloom network, or damaged"),
    (["fit", "nan.npz"], "nan.npz: input → hidden: weights hold NaN or infinity"),
    (["fit", "digits", "--fabric", "vast"], "no Fabric is called 'vast'"),
    (["fit", "digits", "--board", "ulx4s"], "no board is called 'ulx4s'"),
    (["fit", "digits", "--board", "ulx3s-85f", "--floorplan", "out.npz"], "--board takes at most one --fabric"),
    (["fit", "digits", "--bits", "1"], "2 … 16 bits, not 1"),
    (["sim", "digits", "--fabric", "tiny"], "does not fit on Fabric tiny"),
    (["sim", "mnist"], "the MNIST images do not ship with aerloom"),
    (["sim", "mnist", "--data", "nowhere"], "nowhere: there is no t10k-images-idx3-ubyte.gz"),
    (["sim", "digits", "--engine", "abacus"], "no simulation engine 'abacus'"),
    (["demo", "--network", "cifar"], "no network 'cifar' in the zoo; there are digits, mnist"),
    (["run", "whole.npz", "spikes.npy", "-o", "out.npz"], "spikes.npy: not a NumPy file, or damaged: it is cut"),
    (["run", "whole.npz", "pickle.npy", "-o", "out.npz"], "pickle.npy: not a NumPy file, or damaged: Python"),
    (["run", "whole.npz", "wide.npy", "-o", "out.npz"], "spikes must have the shape"),
    (["run", "whole.npz", "wide.npy"], "Missing option"),
    (["quantize", "whole.npz", "-o", "out.npz"], "quantised already"),
    (["import", "spikes.npy", "-o", "out.npz"], "spikes.npy: not a NIR file, or damaged: it does not"),
    (["import", "whole.npz", "-o", "out.npz", "--semantics", "sinabs"], "says itself how its neurons run"),
    (["import", "spikes.npy", "-o", "out.npz", "--semantics", "brian"], "no semantics is called 'brian'"),
    (["import", "spikes.npy", "-o", "out.npz", "--set", "dt"], "must be FIELD=VALUE"),
    (["convert", "spikes.npy", "--samples", "whole.npz", "-o", "out.npz"], "it must have the array values"),
    (["check", "none.nir"], "none.nir: there is no such file"),
    (["sweep", "digits", "--bits", "two", "-o", "out.npz"], "--bits must be numbers"),
    (["report", "digits", "--early", "soon"], "a sample is left when it is 'decided'"),
    (["sim", "digits", "--jobs", "0"], "jobs must be at least 1"),
    (["fit", "digits", "--fabric", "whole.json"], "whole.json: there is no such file"),
    (["report", "whole.npz", "--samples", "wide.npy"], "it must have the arrays labels"),
    (["report", "whole.npz", "--samples", "names.npz"], "labels (n,) numbers of classes, not (2, 5, 64) and (2,) of <U1"),
    (["fit", "digits", "--cores", "0"], "Invalid value for '--cores'"),
    (["flash", "none", "--board", "ulx3s-85f"], "none: there is no such file or folder"),
    (["quantize", "digits", "--images", "20", "-o", "whole.npz/out.npz"], "cannot be written"),
    (["quantize", "digits", "--images", "20", "-o", "."], ".: cannot be written"),
    (["quantize", "digits", "--state-bits", "-1"], "states can have 2 … 32 bits, not -1"),
    (["quantize", "digits", "--state-bits", "99"], "states can have 2 … 32 bits, not 99"),
    (["quantize", "digits", "--scheduler", "here"], "a scheduler has an address as tcp://host:port, not 'here'"),
    (["quantize", "mnist", "--data", "whole.npz"], "t10k-images-idx3-ubyte.gz: cannot be read: Not a directory"),
    (["report", "digits", "--samples", "classes.npz"], "labels must be classes 0 … 9, as the network has, not -1 … 50"),
    (["fit", "digit"], "digit: there is no such file, and no such network in the zoo: digits, mnist"),
    (["check", "whole.npz"], "whole.npz: not a NIR file, or damaged: it does not begin as HDF5 does"),
    (["check", "."], ".: cannot be read: Is a directory"),
    (["convert", ".", "--samples", "values.npz", "-o", "out.npz"], ".: cannot be read: Is a directory"),
    (["run", "whole.npz", "right.npy", "-o", "out.npz", "--on", "golden", "--baked"], "--baked is for a chip that holds"),
    (["run", "whole.npz", "right.npy", "-o", "out.npz", "--on", "golden", "--fabric", "tiny"], "not fit on Fabric tiny"),
    (["run", "whole.npz", "right.npy", "-o", "out.npz", "--on", "golden", "--cores", "2"], "--cores are those of a chip"),
    (["run", "whole.npz", "right.npy", "-o", "out.npz", "--fabric", "tiny"], "does not fit on Fabric tiny"),
    (["run", "whole.npz", "right.npy", "-o", "out.npz", "--watch", "all"], "'all' is not a population"),
    (["run", "whole.npz", "right.npy", "-o", "nowhere/out.npz"], "nowhere/out.npz: cannot be written: No such file or dir"),
    (["infer", "whole.npz", "--on", "golden", "--fabric", "tiny"], "not fit on Fabric tiny"),
    (["infer", "digits", "--on", "virtual", "--fabric", "tiny"], "does not fit on Fabric tiny"),
    (["infer", "digits", "--on", "golden", "--steps", "9999999999999"], "not enough memory"),
    (["convert", "spikes.npy", "--samples", "values.npz", "-o", "out.npz", "--picture", "nowhere/curve.png"],
     "nowhere/curve.png: cannot be written: No such file or directory"),
    (["sim", "digits", "--picture", "whole.npz/a.png"], "whole.npz/a.png: cannot be written: Not a directory"),
    (["demo", "--picture", "."], ".: cannot be written: Is a directory"),
    (["sim", "digits", "--samples", "nan_values.npz"], "values to encode must be in 0 … 1, not nan … nan"),
    (["sweep", "digits", "-o", "nowhere/a.png"], "nowhere/a.png: cannot be written"),
    (["fit", "digits", "--floorplan", "nowhere/a.png"], "nowhere/a.png: cannot be written"),
    (["fit", "digits", "--fabric", "true.json"], "lanes must be an integer of at least 1, not True"),
    (["fit", "digits", "--fabric", "seven.json"], "its name must be text, not 7"),
    (["fit", "digits", "--fabric", "broad.json"], "lanes must be at most 4096, not 1048576"),
    (["virtual", "tiny", "--engine", "abacus"], "error: there is no simulation engine 'abacus'"),
    (["build", "digits", "--board", "arty-a7-35", "-o", "whole.npz"], "whole.npz: cannot be made a folder: File exists"),
])
def test_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], says: str) -> None:
    broken(tmp_path)
    result = aerloom(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert says in " ".join(result.stderr.split()), result.stderr
    assert "Traceback" not in result.stderr and not result.stdout
    assert not (tmp_path / "out.npz").exists()


def test_a_folder_that_may_not_be_looked_into(tmp_path: Path) -> None:
    """Neither a network from there nor a picture into it; a superuser may look everywhere."""
    closed = tmp_path / "closed"
    closed.mkdir(0)
    if os.access(closed, os.X_OK):
        pytest.skip("this user may look into every folder")
    for arguments in (["fit", "closed/net.npz"], ["fit", "digits", "--floorplan", "closed/a.png"]):
        result = aerloom(*arguments, cwd=tmp_path)
        assert result.returncode == 2 and "Permission denied" in result.stderr and "Traceback" not in result.stderr


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = aerloom("demo", cwd=tmp_path, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "file")})
    assert result.returncode == 2 and "is not writable" in result.stderr and "Traceback" not in result.stderr


def test_ctrl_c(tmp_path: Path) -> None:
    process = subprocess.Popen([*COMMAND, "demo", "--images", "450", "--engine", "amaranth"], cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err and not out
    assert not list(tmp_path.iterdir())


def test_ctrl_c_again_while_workers_end(tmp_path: Path) -> None:
    much = [*COMMAND, "explore", "digits", "--jobs", "2", "--bits", ",".join(map(str, range(2, 17)))]  # for a minute
    process = subprocess.Popen([*much, "--cores", "1,2,3,4,6,8,12,16"], cwd=tmp_path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(8)
    for pause in (0.5, 0.5, 0):
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err and not out


@pytest.mark.parametrize("imported", ["aerloom.host", "numpy", "typer", "aerloom.host.cli.common"])
def test_ctrl_c_while_it_starts(imported: str) -> None:
    process = subprocess.Popen([sys.executable, "-X", "importtime", "-m", "aerloom", "zoo"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:  # of each module, once it is imported
        if line.split("|")[-1].strip() == imported:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err and not out
