"""What the scripts beside this share: seeded networks, seeded spikes in, every layer's spikes out, two files a network."""

import inspect
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import nir
import numpy as np
import torch
from torch import nn

sys.modules["samna"] = None  # a driver that rockpool looks for: importing it runs pip
HERE = Path(__file__).parent / "recordings"


def grid(*shape: int, low: float, high: float) -> torch.Tensor:
    """Random multiples of 1/64: their sums are exact in float32, so no order of addition changes a spike."""
    return (torch.empty(*shape).uniform_(low, high) * 64).round() / 64


def weighted(layer: nn.Module, low: float, high: float) -> nn.Module:
    """That layer with weights, and biases if it has any, from the grid; a bias is at most a tenth of a weight."""
    for p in layer.parameters():
        p.data = grid(*p.shape, low=low, high=high) if p.ndim > 1 else grid(*p.shape, low=low / 10, high=high / 10)
    return layer


def listen(net: nn.Module, kinds: type | tuple[type, ...]) -> list[list[torch.Tensor]]:
    """One list a module of `kinds`, in order, that fills with what the module puts out."""
    heard: list[list[torch.Tensor]] = []
    for module in filter(lambda m: isinstance(m, kinds), nn.Module.modules(net)):
        heard.append([])
        module.register_forward_hook(lambda _m, _i, out, to=heard[-1]: to.append(out[0] if isinstance(out, tuple) else out))
    return heard


def write(path: Path, graph: nir.NIRGraph) -> None:
    """What `nir.write` writes, every name, type, shape and value, in a third of the bytes."""
    graph.edges.sort()  # they come out of a set
    plain = {"compression": None} if "compression" in inspect.signature(nir.write).parameters else {}  # or 0-d is refused
    nir.write(path, graph, **plain)
    with h5py.File(path) as file:
        found: dict[str, h5py.Dataset | h5py.Group] = {}
        file.visititems(found.__setitem__)
        values = {k: (v[()], v.dtype) for k, v in found.items() if isinstance(v, h5py.Dataset)}
    with h5py.File(path, "w", libver="latest") as file:
        for name, (value, dtype) in values.items():
            packed = "gzip" if dtype.kind == "f" and value.size > 64 else None
            file.create_dataset(name, data=value, dtype=dtype, compression=packed)


class Recorder:
    """The networks of one framework; `networks` maps a name to its builder, `build` seeds and calls it."""

    def __init__(self, framework: str, version: str):
        self.framework, self.version = framework, version
        self.networks: dict[str, Callable[[], nn.Module]] = {}
        self.notes: dict[str, tuple[tuple[int, ...], dict]] = {}

    def network(self, layers: str, shape: tuple[int, ...], lost: tuple[str, ...] = (), **overrides: object) -> Callable:
        """Names a builder: what it builds, the shape of its input, what its export loses, what is not the default."""
        def add(builder: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
            name = f"{self.framework}_{builder.__name__}"
            self.networks[name] = builder
            self.notes[name] = shape, {"overrides": overrides, "layers": layers, "exporter_lost": list(lost)}
            return builder
        return add

    def build(self, name: str) -> nn.Module:
        torch.manual_seed(zlib.crc32(name.encode()))
        return self.networks[name]()

    def record(self, run: Callable[[nn.Module, torch.Tensor], list[torch.Tensor]], export: Callable) -> None:
        """Write NAME.npz, and NAME.nir where the framework can export the network, of every network."""
        for name, (shape, note) in self.notes.items():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            x = (torch.rand(4, 50, *shape, generator=generator) < 0.3).float()
            net = self.build(name)
            params = {f"param_{k}": v.detach().numpy().copy() for k, v in nn.Module.state_dict(net).items()}
            with torch.no_grad():
                spikes = [s.numpy().astype(np.uint8) for s in run(net, x)]
            about = {"framework": self.framework, "version": self.version, "semantics": self.framework, **note}
            (HERE / f"{name}.nir").unlink(missing_ok=True)
            try:
                write(HERE / f"{name}.nir", export(self.build(name), torch.zeros(1, *shape)))
            except Exception as error:
                about["refused"] = f"{type(error).__name__}: {error}"
                (HERE / f"{name}.nir").unlink(missing_ok=True)
            arrays = {f"spikes_{i}": s for i, s in enumerate(spikes)} | params
            np.savez_compressed(HERE / f"{name}.npz", input=x.numpy().astype(np.uint8), about=json.dumps(about), **arrays)
            rates = [float((s > 0).mean()) for s in spikes]
            print(f"{name:32}", *map("{:.0%}".format, rates), "max", *(s.max() for s in spikes), about.get("refused", ""))
            if not all(0.03 <= r <= 0.5 for r in rates):
                print("  a layer is silent or saturated")
