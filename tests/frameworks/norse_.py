"""Networks of Norse, their exports and their spikes: `python tests/frameworks/norse_.py`."""

from importlib.metadata import version

import norse.torch as snn
import torch
from norse.torch.functional.reset import reset_subtract
from norse.torch.module.snn import SNNCell, SNNRecurrentCell
from norse.torch.utils.export_nir import to_nir
from record import Recorder, grid, listen, weighted
from torch import nn

recorder = Recorder("norse", version("norse"))
NETWORKS, build = recorder.networks, recorder.build


def inverses(n: int, low: float = 50.0, high: float = 400.0) -> torch.Tensor:
    """Inverse time constants in 1/s: with the step of 1 ms, decays of 0.95 to 0.6."""
    return torch.linspace(low, high, n)


def dense(*cells: nn.Module, gain: float = 1.0) -> nn.Module:
    """20-16-8 with biases."""
    return snn.SequentialState(weighted(nn.Linear(20, 16), -0.6 * gain, 0.9 * gain), cells[0],
                               weighted(nn.Linear(16, 8), -0.8 * gain, 1.0 * gain), cells[1])


def box(n: int, **options: object) -> nn.Module:
    p = snn.LIFBoxParameters(tau_mem_inv=inverses(n), v_leak=torch.linspace(-0.1, 0.1, n), v_th=torch.linspace(0.3, 0.5, n),
                             v_reset=torch.zeros(n))
    return snn.LIFBoxCell(p._replace(**options))


@recorder.network("20-16-8 dense, LIFBoxCell, per-neuron tau_mem_inv, v_leak and v_th; reset to 0", (20,))
def lifbox_dense() -> nn.Module:
    return dense(box(16), box(8))


@recorder.network("20-16-8 dense, LIFBoxCell, reset to -0.25", (20,), v_reset=-0.25, lost=("v_reset",))
def lifbox_reset() -> nn.Module:
    return dense(box(16, v_reset=torch.full((16,), -0.25)), box(8, v_reset=torch.full((8,), -0.25)))


@recorder.network("20-16-8 dense, LIFBoxCell, reset_subtract", (20,), reset="subtract", lost=("reset",))
def lifbox_subtract() -> nn.Module:
    return dense(box(16, reset_method=reset_subtract), box(8, reset_method=reset_subtract))


@recorder.network("20-16-8 dense, LIFBoxCell of scalar parameters", (20,))
def lifbox_scalar() -> nn.Module:
    return dense(*(snn.LIFBoxCell(snn.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.4)))
                   for _ in range(2)))


@recorder.network("20-16-8 dense, LIFCell (a synaptic filter), per-neuron tau_syn_inv, tau_mem_inv, v_th", (20,))
def lif_dense() -> nn.Module:
    return dense(*(snn.LIFCell(snn.LIFParameters(tau_syn_inv=inverses(n, 200.0, 700.0), tau_mem_inv=inverses(n),
                                                 v_leak=torch.zeros(n), v_th=torch.linspace(0.8, 1.2, n)))
                   for n in (16, 8)), gain=0.7)


@recorder.network("20-16-8 dense, IAFCell, per-neuron v_th", (20,))
def iaf_dense() -> nn.Module:
    return dense(*(snn.IAFCell(snn.IAFParameters(v_th=torch.linspace(0.8, 1.2, n), v_reset=torch.zeros(n)))
                   for n in (16, 8)), gain=0.25)


@recorder.network("2x8x8, Conv2d 2-4 k3 p1 of 2 groups, LIFBoxCell, Conv2d 4-4 k3 s2, LIFBoxCell", (2, 8, 8))
def lifbox_conv() -> nn.Module:
    def cell(*shape: int) -> nn.Module:
        p = snn.LIFBoxParameters(tau_mem_inv=inverses(torch.Size(shape).numel()).reshape(shape), v_leak=torch.zeros(shape),
                                 v_th=torch.full(shape, 0.4))
        return snn.LIFBoxCell(p)
    return snn.SequentialState(weighted(nn.Conv2d(2, 4, 3, padding=1, groups=2), -0.8, 1.5), cell(4, 8, 8),
                               weighted(nn.Conv2d(4, 4, 3, stride=2), -0.7, 0.8), cell(4, 3, 3))


@recorder.network("2x8x8, Conv2d 2-4 k3 p1, LIFBoxCell, AvgPool2d 2, Flatten, Linear 64-5, LIFBoxCell", (2, 8, 8))
def lifbox_pool() -> nn.Module:
    p = snn.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.403))
    return snn.SequentialState(weighted(nn.Conv2d(2, 4, 3, padding=1), -0.6, 1.0), snn.LIFBoxCell(p), nn.AvgPool2d(2),
                               nn.Flatten(), weighted(nn.Linear(64, 5), -0.3, 0.5), snn.LIFBoxCell(p))


@recorder.network("20-16-8, LIFRecurrentCell with its own input and recurrent weights and no autapses, LIFBoxCell", (20,))
def lif_recurrent() -> nn.Module:
    p = snn.LIFParameters(tau_syn_inv=inverses(16, 200.0, 700.0), tau_mem_inv=inverses(16), v_leak=torch.tensor(0.0))
    first = snn.LIFRecurrentCell(20, 16, p, input_weights=nn.Parameter(grid(16, 20, low=-0.3, high=0.5)),
                                 recurrent_weights=nn.Parameter(grid(16, 16, low=-0.7, high=0.7)))
    return snn.SequentialState(first, weighted(nn.Linear(16, 8), -0.8, 1.0), box(8))


@recorder.network("16-16-8, RecurrentSequential of Linear 16-16 and LIFBoxCell (the spikes are added to the next input), "
                  "Linear 16-8, LIFBoxCell", (16,))
def lifbox_recurrent() -> nn.Module:
    loop = snn.RecurrentSequential(weighted(nn.Linear(16, 16), -0.6, 0.8), box(16))
    return snn.SequentialState(loop, weighted(nn.Linear(16, 8), -0.6, 1.2), box(8))


def run(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    heard, state = listen(net, (SNNCell, SNNRecurrentCell)), None
    for step in x.unbind(1):
        _, state = net(step, state)
    return [torch.stack(h, 1) for h in heard]


def export(net: nn.Module, sample: torch.Tensor) -> object:
    """Convolutions without the batch, and with their input_shape inferred: `nir.write` refuses None."""
    if not isinstance(net[0], nn.Conv2d) or any(isinstance(m, nn.Flatten) for m in net):
        return to_nir(net, sample)
    graph = to_nir(net, sample[0])
    graph.infer_types()
    return graph


if __name__ == "__main__":
    recorder.record(run, export)
