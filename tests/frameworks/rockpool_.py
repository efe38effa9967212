"""Networks of Rockpool, their exports and their spikes: `python tests/frameworks/rockpool_.py`."""

from importlib.metadata import version

import torch
from record import Recorder, grid, listen
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules.torch import LIFNeuronTorch, LIFTorch, LinearTorch
from rockpool.nn.modules.torch.nir import to_nir
from torch import nn

recorder = Recorder("rockpool", version("rockpool"))
NETWORKS, build = recorder.networks, recorder.build


def taus(n: int, low: float = 2e-3, high: float = 20e-3) -> torch.Tensor:
    """Time constants in seconds; a step is 1 ms."""
    return torch.linspace(low, high, n)


def dense(first: nn.Module, second: nn.Module, gain: float = 1.0) -> nn.Module:
    """20-16-8, biases in the first layer."""
    w, bias = grid(20, 16, low=-0.3 * gain, high=0.4 * gain), grid(16, low=-0.05, high=0.05)
    return Sequential(LinearTorch((20, 16), weight=w, bias=bias, has_bias=True), first,
                      LinearTorch((16, 8), weight=grid(16, 8, low=-0.4 * gain, high=0.5 * gain)), second)


def lifs(kind: type, **options: object) -> list[nn.Module]:
    def lif(n: int, tau_syn: torch.Tensor) -> nn.Module:
        synaptic = {"tau_syn": tau_syn} if kind is LIFTorch else {}
        return kind(n, tau_mem=taus(n), threshold=torch.linspace(0.8, 1.2, n), **synaptic, **options)
    return [lif(16, taus(16, 1e-3, 4e-3)[:, None]), lif(8, torch.tensor(2e-3))]


@recorder.network("20-16-8 dense, LIFNeuronTorch, per-neuron tau_mem and threshold", (20,))
def lifneuron_dense() -> nn.Module:
    return dense(*lifs(LIFNeuronTorch))


@recorder.network("20-16-8 dense, LIFNeuronTorch, strong weights: several spikes a step", (20,))
def lifneuron_strong() -> nn.Module:
    return dense(*lifs(LIFNeuronTorch), gain=2.5)


@recorder.network("20-16-8 dense, LIFNeuronTorch with the neurons' own bias", (20,), lost=("bias",),
                  neuron_bias=[0.05, -0.05])
def lifneuron_bias() -> nn.Module:
    return dense(*(LIFNeuronTorch(n, tau_mem=taus(n), bias=b) for n, b in ((16, 0.05), (8, -0.05))))


@recorder.network("20-16-8 dense, LIFNeuronTorch max_spikes_per_dt=1", (20,), max_spikes=1, lost=("max_spikes_per_dt",))
def lifneuron_single() -> nn.Module:
    return dense(*lifs(LIFNeuronTorch, max_spikes_per_dt=torch.tensor(1.0)), gain=1.0)


@recorder.network("20-16-8 dense, LIFTorch, per-neuron tau_mem, tau_syn (the second layer's a scalar) and threshold", (20,))
def lif_dense() -> nn.Module:
    return dense(*lifs(LIFTorch), gain=0.8)


@recorder.network("20-16-8 dense, LIFTorch leak_mode=decays, alpha 0.75 and beta 0.5", (20,))
def lif_decays() -> nn.Module:
    return dense(*(LIFTorch(n, leak_mode="decays", alpha=torch.full((n,), 0.75), beta=torch.full((n, 1), 0.5),
                            threshold=torch.ones(n)) for n in (16, 8)))


@recorder.network("20-16-8, LIFTorch with w_rec, LIFTorch", (20,), lost=("w_rec",))
def lif_recurrent() -> nn.Module:
    loop = LIFTorch(16, tau_mem=taus(16), tau_syn=taus(16, 1e-3, 4e-3)[:, None], has_rec=True,
                    w_rec=grid(16, 16, low=-0.4, high=0.3))
    return dense(loop, lifs(LIFTorch)[1])


@recorder.network("20-16-8, 16 synapses for 8 LIFTorch neurons of two tau_syn, after a LIFNeuronTorch", (20,))
def lif_two_synapses() -> nn.Module:
    second = LIFTorch((16, 8), tau_mem=taus(8), tau_syn=torch.tensor([[1e-3, 4e-3]]))
    return Sequential(LinearTorch((20, 16), weight=grid(20, 16, low=-0.3, high=0.5)), lifs(LIFNeuronTorch)[0],
                      LinearTorch((16, 16), weight=grid(16, 16, low=-0.4, high=0.4)), second)


def run(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    heard = listen(net, (LIFTorch, LIFNeuronTorch))
    net(x)
    return [h[0] for h in heard]


if __name__ == "__main__":
    recorder.record(run, lambda net, sample: to_nir(net, sample))
