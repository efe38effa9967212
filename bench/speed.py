"""How fast: golden and the simulators, beside others in the same minute."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import aerloom
from aerloom.host import encode
from aerloom.models import golden, zoo
from aerloom.models.quantize import quantize

from .common import mnist_like, rate


def golden_() -> dict[str, Any]:
    """Inferences per CPU second on mnist (784-128-10, 25 steps): golden beside snnTorch and Norse."""
    import norse.torch as norse
    import snntorch
    import torch

    from aerloom.models import fast

    torch.set_num_threads(1)
    exact = zoo.load("mnist")
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


def engines() -> dict[str, Any]:
    """Clock cycles per CPU second of the simulators of one chip, driven through the host's Device."""
    net = quantize(zoo.load("digits"), 8).network
    values = zoo.samples("digits")[0][:20]
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
