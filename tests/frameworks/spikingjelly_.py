"""Networks of SpikingJelly, their exports and their spikes: `python tests/frameworks/spikingjelly_.py`."""

from importlib.metadata import version

import torch
from record import Recorder, grid, listen, weighted
from spikingjelly.activation_based import layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir
from torch import nn

recorder = Recorder("spikingjelly", version("spikingjelly"))
NETWORKS, build = recorder.networks, recorder.build


def dense(first: nn.Module, second: nn.Module, gain: float = 1.0) -> nn.Module:
    """20-16-8, biases in the first layer."""
    return nn.Sequential(weighted(layer.Linear(20, 16), -0.6 * gain, 0.9 * gain), first,
                         weighted(layer.Linear(16, 8, bias=False), -0.7 * gain, 1.1 * gain), second)


@recorder.network("20-16-8 dense, LIFNode and ParametricLIFNode, decay_input=True, v_reset=0", (20,))
def lif_dense() -> nn.Module:
    return dense(neuron.LIFNode(tau=2.0), neuron.ParametricLIFNode(init_tau=3.0, v_threshold=0.75))


@recorder.network("20-16-8 dense, LIFNode decay_input=True, v_reset=-0.3", (20,))
def lif_reset() -> nn.Module:
    return dense(neuron.LIFNode(tau=2.5, v_reset=-0.3, v_threshold=1.007),
                 neuron.LIFNode(tau=3.0, v_reset=-0.3, v_threshold=0.753), gain=1.2)


@recorder.network("20-16-8 dense, LIFNode decay_input=False, v_reset=0 and -0.3", (20,))
def lif_whole_input() -> nn.Module:
    return dense(neuron.LIFNode(tau=5.0, decay_input=False),
                 neuron.LIFNode(tau=3.0, decay_input=False, v_reset=-0.3), gain=0.4)


@recorder.network("20-16-8 dense, LIFNode soft reset (v_reset=None)", (20,), reset="subtract")
def lif_soft() -> nn.Module:
    return dense(neuron.LIFNode(tau=2.0, v_reset=None), neuron.LIFNode(tau=3.0, v_reset=None), gain=0.8)


@recorder.network("20-16-8 dense, IFNode, v_reset=0 and -0.25", (20,))
def if_dense() -> nn.Module:
    return dense(neuron.IFNode(), neuron.IFNode(v_reset=-0.25), gain=0.25)


@recorder.network("20-16-8 dense, CUBALIFNode, v_reset=0 and -0.25", (20,))
def cubalif_dense() -> nn.Module:
    second = neuron.CUBALIFNode(c_decay=0.6, v_decay=0.9, v_threshold=1.0, v_reset=-0.25)
    return dense(neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75), second, gain=0.1)


@recorder.network("2x8x8, Conv2d 2-4 k3 s2 p1, LIFNode, AvgPool2d 2, Flatten, Linear 16-5, LIFNode", (2, 8, 8))
def lif_conv() -> nn.Module:
    return nn.Sequential(weighted(layer.Conv2d(2, 4, 3, stride=2, padding=1), -0.4, 0.9), neuron.LIFNode(tau=2.0),
                         layer.AvgPool2d(2), layer.Flatten(),
                         weighted(layer.Linear(16, 5), -0.8, 1.5), neuron.LIFNode(tau=2.0))


@recorder.network("2x8x8, Conv2d 2-4 k3 of 2 groups, IFNode, Flatten, Linear 144-5, IFNode", (2, 8, 8))
def if_groups() -> nn.Module:
    return nn.Sequential(weighted(layer.Conv2d(2, 4, 3, groups=2), -0.2, 0.3), neuron.IFNode(),
                         layer.Flatten(), weighted(layer.Linear(144, 5), -0.2, 0.2), neuron.IFNode())


@recorder.network("20-16-8, LinearRecurrentContainer of an IFNode: a Linear of input and last spikes; LIFNode", (20,))
def if_recurrent() -> nn.Module:
    loop = layer.LinearRecurrentContainer(neuron.IFNode(), 16, 16)
    loop.rc.weight.data = torch.cat([torch.eye(16), grid(16, 16, low=-0.5, high=0.4)], 1)
    return nn.Sequential(weighted(layer.Linear(20, 16), -0.15, 0.25), loop,
                         weighted(layer.Linear(16, 8), -0.5, 1.2), neuron.LIFNode(tau=2.0))


def run(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    heard = listen(net, neuron.BaseNode)
    for step in x.unbind(1):
        net(step)
    return [torch.stack(h, 1) for h in heard]


if __name__ == "__main__":
    recorder.record(run, export_to_nir)
