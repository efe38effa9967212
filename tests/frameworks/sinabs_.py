"""Networks of Sinabs, their exports and their spikes: `python tests/frameworks/sinabs_.py`."""

from importlib.metadata import version

import sinabs.layers as sl
import torch
from record import Recorder, listen, weighted
from sinabs.activation import MaxSpike, MembraneReset, SingleSpike
from sinabs.layers.reshape import SqueezeMixin
from sinabs.layers.stateful_layer import StatefulLayer
from sinabs.nir import to_nir
from torch import nn

recorder = Recorder("sinabs", version("sinabs"))
NETWORKS, build = recorder.networks, recorder.build


def taus(*shape: int, low: float = 2.0, high: float = 12.0) -> torch.Tensor:
    """Time constants in steps."""
    return torch.linspace(low, high, torch.Size(shape).numel()).reshape(shape)


def dense(first: nn.Module, second: nn.Module, gain: float = 1.0) -> nn.Module:
    """20-16-8, biases in the first layer."""
    return nn.Sequential(weighted(nn.Linear(20, 16), -1.5 * gain, 2.5 * gain), first,
                         weighted(nn.Linear(16, 8, bias=False), -2.0 * gain, 2.5 * gain), second)


def lifs(**options: object) -> list[nn.Module]:
    return [sl.LIF(tau_mem=taus(n), spike_threshold=torch.linspace(0.8, 1.2, n), **options) for n in (16, 8)]


@recorder.network("20-16-8 dense, LIF, per-neuron tau_mem and threshold", (20,))
def lif_dense() -> nn.Module:
    return dense(*lifs())


@recorder.network("20-16-8 dense, LIFSqueeze of scalar parameters, the spikes of a step unlimited", (20,))
def lif_scalar() -> nn.Module:
    return dense(*(sl.LIFSqueeze(tau_mem=tau, batch_size=1) for tau in (5.0, 3.0)), gain=1.2)


@recorder.network("20-16-8 dense, LIF norm_input=False", (20,), gain="one", lost=("norm_input",))
def lif_whole_input() -> nn.Module:
    return dense(*lifs(norm_input=False), gain=0.1)


@recorder.network("20-16-8 dense, LIF SingleSpike", (20,), max_spikes=1, lost=("spike_fn",))
def lif_single() -> nn.Module:
    return dense(*lifs(spike_fn=SingleSpike))


@recorder.network("20-16-8 dense, LIF MaxSpike(2)", (20,), max_spikes=2, lost=("spike_fn",))
def lif_two() -> nn.Module:
    return dense(*lifs(spike_fn=MaxSpike(2)), gain=0.8)


@recorder.network("20-16-8 dense, LIF min_v_mem=-0.5", (20,), min_v=-0.5, lost=("min_v_mem",))
def lif_floor() -> nn.Module:
    return dense(*lifs(min_v_mem=-0.5))


@recorder.network("20-16-8 dense, LIF SingleSpike, reset to 0 (MembraneReset)", (20,), reset="value", max_spikes=1,
                  lost=("reset_fn", "spike_fn"))
def lif_reset() -> nn.Module:
    return dense(*lifs(spike_fn=SingleSpike, reset_fn=MembraneReset()))


@recorder.network("20-16-8 dense, LIF with tau_syn 2 and 4", (20,), tau_syn=[2.0, 4.0], lost=("tau_syn",))
def lif_synaptic() -> nn.Module:
    first, second = (sl.LIF(tau_mem=taus(n), tau_syn=s, spike_threshold=torch.ones(n)) for n, s in ((16, 2.0), (8, 4.0)))
    return dense(first, second, gain=0.5)


@recorder.network("20-16-8 dense, IAF, thresholds 1 and 1.5", (20,))
def iaf_dense() -> nn.Module:
    return dense(sl.IAF(), sl.IAF(spike_threshold=torch.tensor(1.5)), gain=0.18)


@recorder.network("20-16-8 dense, IAF SingleSpike, min_v_mem=-1", (20,), max_spikes=1, min_v=-1.0,
                  lost=("spike_fn", "min_v_mem"))
def iaf_single() -> nn.Module:
    return dense(*(sl.IAF(spike_fn=SingleSpike, min_v_mem=-1.0) for _ in range(2)), gain=0.1)


@recorder.network("2x8x8, Conv2d 2-4 k3 p1 of 2 groups, IAFSqueeze, SumPool2d 2, Conv2d 4-4 k3 s2 p1, LIFSqueeze, Flatten, "
                  "Linear 16-5, IAFSqueeze", (2, 8, 8))
def iaf_conv() -> nn.Module:
    middle = sl.LIFSqueeze(batch_size=1, tau_mem=taus(4, 2, 2), spike_threshold=torch.ones(4, 2, 2))
    first = weighted(nn.Conv2d(2, 4, 3, padding=1, groups=2, bias=False), -0.2, 0.25)
    return nn.Sequential(first, sl.IAFSqueeze(batch_size=1), sl.SumPool2d(2),
                         weighted(nn.Conv2d(4, 4, 3, stride=2, padding=1), -0.6, 0.8), middle,
                         nn.Flatten(), weighted(nn.Linear(16, 5), -0.3, 0.5), sl.IAFSqueeze(batch_size=1))


@recorder.network("20-16-8, LIFRecurrent of a Linear 16-16, LIF", (20,))
def lif_recurrent() -> nn.Module:
    loop = weighted(nn.Linear(16, 16, bias=False), -1.0, 1.0)
    return dense(sl.LIFRecurrent(tau_mem=taus(16), rec_connect=loop), sl.LIF(tau_mem=3.0))


def run(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    batch, steps = x.shape[:2]
    heard = listen(net, StatefulLayer)
    squeezed = any(isinstance(m, SqueezeMixin) for m in net)
    for one in x.unbind(0):  # the layers named Squeeze take the steps for a batch
        nn.Module.apply(net, lambda m: m.reset_states() if isinstance(m, StatefulLayer) else None)
        net(one if squeezed else one[None])
    return [torch.stack(h).reshape(batch, steps, *h[0].shape[1 if squeezed else 2 :]) for h in heard]


def export(net: nn.Module, sample: torch.Tensor) -> object:
    """With the input_shape of convolutions inferred: `nir.write` refuses None."""
    squeezed = any(isinstance(m, SqueezeMixin) for m in net)
    graph = to_nir(net, sample if squeezed else sample[None])
    if isinstance(net[0], nn.Conv2d):
        graph.infer_types()
    return graph


if __name__ == "__main__":
    recorder.record(run, export)
