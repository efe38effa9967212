"""Networks of snnTorch, their exports and their spikes: `python tests/frameworks/snntorch_.py`."""

import snntorch as snn
import torch
from record import Recorder, grid, listen, weighted
from snntorch.export_nir import export_to_nir
from torch import nn

recorder = Recorder("snntorch", snn.__version__)
NETWORKS, build = recorder.networks, recorder.build


def decays(*shape: int, low: float = 0.6, high: float = 0.95) -> torch.Tensor:
    return torch.linspace(low, high, torch.Size(shape).numel()).reshape(shape)


def dense(neuron: type, **options: object) -> nn.Sequential:
    """20-16-8, biases in the first layer."""
    def layer(n: int) -> nn.Module:
        synaptic = {"alpha": decays(n, low=0.3, high=0.8)} if neuron is snn.Synaptic else {}
        return neuron(beta=decays(n), threshold=torch.linspace(0.8, 1.2, n), init_hidden=True, **synaptic, **options)
    gain = 0.4 if neuron is snn.Synaptic else 1.0
    first = weighted(nn.Linear(20, 16), -0.3 * gain, 0.4 * gain)
    second = weighted(nn.Linear(16, 8, bias=False), -0.4 * gain, 0.6 * gain)
    return nn.Sequential(first, layer(16), second, layer(8))


def recurrent(neuron: type, **options: object) -> nn.Sequential:
    """20-16-8, the 16 connected to each other, with biases; both layers reset alike."""
    alike = {k: v for k, v in options.items() if k.startswith("reset")}
    synaptic = {"alpha": decays(16, low=0.3, high=0.8)} if neuron is snn.RSynaptic else {}
    if "V" not in options:
        options["linear_features"] = 16
    middle = neuron(beta=decays(16), init_hidden=True, **synaptic, **options)
    if "V" not in options:
        weighted(middle.recurrent, -0.3, 0.3)
    last = snn.Leaky(decays(8), torch.ones(8), init_hidden=True, **alike)
    return nn.Sequential(weighted(nn.Linear(20, 16), -0.3, 0.4), middle, weighted(nn.Linear(16, 8), -0.4, 0.6), last)


@recorder.network("20-16-8 dense, Leaky, per-neuron beta and threshold, biases; subtract, delayed", (20,))
def leaky_dense() -> nn.Module:
    return dense(snn.Leaky)


@recorder.network("20-16-8 dense, Leaky, strong weights: twice the threshold is crossed; reset_delay=False", (20,),
                  reset_delay=0, lost=("reset_delay",))
def leaky_at_once() -> nn.Module:
    net = dense(snn.Leaky, reset_delay=False)
    net[0].weight.data = grid(16, 20, low=-1.0, high=1.125)
    return net


@recorder.network("20-16-8 dense, Leaky, reset to zero", (20,), reset="value", lost=("reset",))
def leaky_zero() -> nn.Module:
    return dense(snn.Leaky, reset_mechanism="zero")


@recorder.network("2x8x8, Conv2d 2-4 k3 p1 of 2 groups, Leaky, AvgPool2d 2, Conv2d 4-4 k3 s2 p1 without bias, "
                  "Leaky, Flatten, Linear 16-5, Leaky", (2, 8, 8))
def leaky_conv() -> nn.Module:
    def leaky(*shape: int) -> nn.Module:
        return snn.Leaky(beta=decays(*shape), threshold=torch.ones(shape), init_hidden=True)
    return nn.Sequential(
        weighted(nn.Conv2d(2, 4, 3, padding=1, groups=2), -0.4, 0.6), leaky(4, 8, 8), nn.AvgPool2d(2),
        weighted(nn.Conv2d(4, 4, 3, stride=2, padding=1, bias=False), -0.4, 0.7), leaky(4, 2, 2),
        nn.Flatten(), weighted(nn.Linear(16, 5), -0.4, 0.6), leaky(5))


@recorder.network("20-16-8 dense, Synaptic, per-neuron alpha, beta, threshold", (20,))
def synaptic_dense() -> nn.Module:
    return dense(snn.Synaptic)


@recorder.network("20-16-8 dense, Synaptic, reset to zero", (20,), reset="value", lost=("reset",))
def synaptic_zero() -> nn.Module:
    return dense(snn.Synaptic, reset_mechanism="zero")


@recorder.network("20-16-8, RLeaky with its own Linear, Leaky", (20,))
def rleaky_dense() -> nn.Module:
    return recurrent(snn.RLeaky)


@recorder.network("20-16-8, RLeaky with its own Linear, Leaky, reset to zero", (20,), reset="value", lost=("reset",))
def rleaky_zero() -> nn.Module:
    return recurrent(snn.RLeaky, reset_mechanism="zero")


@recorder.network("20-16-8, RLeaky with its own Linear, Leaky, reset_delay=False", (20,),
                  reset_delay=0, lost=("reset_delay",))
def rleaky_at_once() -> nn.Module:
    return recurrent(snn.RLeaky, reset_delay=False)


@recorder.network("20-16-8, RLeaky one to one (V per neuron), Leaky", (20,))
def rleaky_one_to_one() -> nn.Module:
    return recurrent(snn.RLeaky, all_to_all=False, V=torch.linspace(-0.5, 0.25, 16))


@recorder.network("20-16-8, RSynaptic with its own Linear, Leaky", (20,))
def rsynaptic_dense() -> nn.Module:
    return recurrent(snn.RSynaptic)


@recorder.network("20-16-8, RSynaptic with its own Linear, Leaky, reset to zero", (20,), reset="value", lost=("reset",))
def rsynaptic_zero() -> nn.Module:
    return recurrent(snn.RSynaptic, reset_mechanism="zero")


def run(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    heard = listen(net, snn.SpikingNeuron)
    for step in x.unbind(1):
        net(step)
    return [torch.stack(h, 1) for h in heard]


if __name__ == "__main__":
    recorder.record(run, lambda net, sample: export_to_nir(net, sample, ignore_dims=[0]))
