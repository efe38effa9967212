"""Fine-tuning: a trained network learns to be right with the integers that quantisation makes of it.

The forward pass of every batch is that of the integer network which :func:`aerloom.models.quantize.quantize` makes of
the weights as they are then; :func:`aerloom.models.golden.fire` takes its steps. Gradients go straight through: a
rounded weight counts as the weight, a rounded membrane as the membrane, and a spike has the slope of an arctangent. A
reset counts as a constant, as its slope would only add noise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import golden
from .errors import AerloomError
from .network import DECAY_ONE, Network
from .quantize import quantize

Array = NDArray[Any]
Samples = Array | Mapping[str, Array]
Tensor = Any  #: of torch, which is imported only where it is used


def finetune(
    network: Network,
    samples: Samples,
    labels: ArrayLike,
    *,
    bits: int = 4,
    epochs: int = 1,
    lr: float = 1e-4,
    batch: int = 128,
    seed: int = 0,
    per_neuron: bool = True,
    state_bits: int = 18,
    rounding: str = "floor",
    encode: Callable[[Any, int], Samples] = lambda samples, number: samples,
    progress: Callable[[float, float], None] = lambda done, loss: None,
) -> Network:
    """A floating-point network that does better once it is quantised: its weights are trained, all else is as it was.

    ``bits``, ``per_neuron``, ``state_bits`` and ``rounding`` are those the result is to be quantised with: what trains is
    the network that :func:`quantize` then makes. ``samples`` are spikes as :func:`golden.run` takes them or, with
    ``encode``, arrays of anything that ``encode(samples[chosen], number)`` turns into spikes, anew for every batch;
    ``number`` is a seed for it. ``labels`` are neurons of the first output, as :func:`golden.classes` finds them.

    Trains by AdamW at a rate that falls from ``lr`` to zero. ``progress`` is called after each batch, with the share that
    is done and the loss. The same arguments give the same weights on the same machine. Raises :class:`AerloomError` for
    what cannot be trained, and where PyTorch is missing.
    """
    labels = _check(network, samples, np.asarray(labels), epochs, lr, batch)
    torch = _torch()
    weights = [torch.tensor(q.weights.astype(np.result_type(q.weights, np.float32))) for q in network.projections]
    # Scales drift as the weights do. Here they only size gradients, so those of the start serve to the end.
    start = quantize(network, bits, per_neuron=per_neuron, state_bits=state_bits)  # raises for what cannot be quantised
    scales = {name: torch.from_numpy(scale) for name, scale in start.scales.items()}
    batches = math.ceil(len(labels) / batch)
    optimiser = torch.optim.AdamW([w.requires_grad_() for w in weights], lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    random = np.random.default_rng(seed)
    for epoch in range(epochs):
        for n, chosen in enumerate(np.array_split(random.permutation(len(labels)), batches)):
            now = _with(network, weights)
            integer = quantize(now, bits, per_neuron=per_neuron, state_bits=state_bits, rounding=rounding).network
            rounded = [through(torch.tensor(q.weights), w, scales[q.target].view(-1, *[1] * (w.ndim - 1)))
                       for q, w in zip(integer.projections, weights, strict=True)]
            taken = {i: a[chosen] for i, a in samples.items()} if isinstance(samples, Mapping) else samples[chosen]
            spikes = encode(taken, int(random.integers(1 << 31)))
            sent, membranes = forward(integer, spikes, rounded)
            p = integer.population[integer.outputs[0]]
            # What golden.classes compares; a membrane in about the units of the weights
            logits = sent[p.name].sum(0) if p.spiking else membranes[p.name] / (scales[p.name].median() * 2**p.shift)
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels[chosen]))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            progress((epoch + (n + 1) / batches) / epochs, loss.item())
    how = {"bits": bits, "epochs": epochs, "lr": lr, "seed": seed, "per_neuron": per_neuron}
    return _with(network, weights).replace(meta=network.meta | {"finetuned": how})


def forward(network: Network, spikes: Samples, weights: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """:func:`golden.run` of an integer network, with gradients.

    ``weights`` are its integers, projection by projection, as tensors that may have a history. Returns the spikes of
    inputs and populations ``(steps, batch, neurons)``, and the membranes after the last step ``(batch, neurons)``.
    """
    torch = _torch()
    largest = max(golden.largest_sum(network, p.name) for p in network.populations)
    kind = torch.float32 if largest < 2**24 else torch.float64  # that holds every sum exactly
    pairs = [(q, w.to(kind)) for q, w in zip(network.projections, weights, strict=True)]
    sent = {i: torch.tensor(a, dtype=kind).transpose(0, 1) for i, a in golden.check_spikes(network, spikes).items()}
    steps, batch, _ = next(iter(sent.values())).shape
    membranes = {}
    for group in golden.groups(network):
        cells = {name: _Cell(network, name, batch, kind) for name in group}
        drives = {name: torch.zeros(steps, batch, network.population[name].size, dtype=kind) for name in group}
        for q, w in pairs:
            if q.target in group and q.source not in group:
                late = torch.nn.functional.pad(sent[q.source], (0, 0, 0, 0, q.delay, 0))[:steps]
                drives[q.target] = drives[q.target] + _deliver(late, w)
        loops = [(q, w) for q, w in pairs if q.target in group and q.source in group]
        for t in range(steps):
            for name, cell in cells.items():
                due = [(cells[q.source].sent[t - q.delay], w) for q, w in loops if q.target == name and q.delay <= t]
                cell.step(sum((_deliver(*d) for d in due), drives[name][t]))
        for name, cell in cells.items():
            sent[name], membranes[name] = torch.stack(cell.sent), cell.v
    return sent, membranes


class _Cell:
    """A population in the middle of a run: golden's state, and the same values as tensors that gradients go through."""

    def __init__(self, network: Network, name: str, batch: int, kind: Any) -> None:
        rule = self.rule = golden.Rule(network.population[name], network, golden.largest_sum(network, name))
        self.number: Callable[[Any], Tensor] = lambda x: _torch().as_tensor(x).to(kind)
        self.state = rule.rest(batch)
        self.v, self.i = self.number(self.state.v), self.number(0)
        self.sent: list[Tensor] = []  #: spikes of each step so far
        self.decay_v, self.decay_i = (1 if d is None else self.number(d) / DECAY_ONE for d in (rule.decay_v, rule.decay_i))
        self.bias = self.number(rule.bias if rule.decay_i is None or rule.bias_late else 0)  # else the current has it
        self.threshold, self.reset_by, self.reset_to = map(self.number, (rule.threshold, rule.reset_by, rule.reset_to))
        self.limits = self.number(rule.min_v), self.number(rule.max_v)
        self.width = self.threshold.abs().clamp(min=1)  # of a spike's slope; the threshold may be 0

    def step(self, drive: Tensor) -> None:
        """A step of golden with summed weights ``(batch, neurons)``; and its equations without rounding, for gradients."""
        rule, state, p = self.rule, self.state, self.rule.population
        drive = drive * 2**p.shift
        exact = drive.detach().numpy().astype(rule.dtype)
        out, after = np.zeros(exact.shape, np.uint8), state.after
        golden.fire(state, exact if rule.bias_late else exact + rule.bias, rule, out)

        if state.i is not None:
            drive = self.i = through(self.number(state.i), self.decay_i * self.i + drive)
        v = self.decay_v * self.v + drive + self.bias
        late = self.number(after) if p.reset_delay else 0
        v = (v - self.reset_by * late if p.reset == "subtract" else v).clamp(*self.limits)
        if p.reset_delay and p.reset == "value":
            v = v.where(late == 0, self.reset_to)
        moves = self.number(after) == 0 if p.refractory else 1
        v = v.where(moves, self.v) if p.refractory else v

        spikes, before = self.number(out), v.detach()
        self.v = through(self.number(state.v), v, spikes == 0 if p.reset == "value" and not p.reset_delay else 1)
        if p.spiking:  # the slope is that at the threshold or, of several spikes, at its nearest multiple that counts
            nearest = (before / self.threshold).round().clamp(1, p.max_spikes) if p.max_spikes > 1 else 1
            distance = (before - nearest * self.threshold) / self.width
            spikes = through(spikes, v, moves / (1 + (math.pi * distance) ** 2) / self.width)
        self.sent.append(spikes)


def through(value: Tensor, source: Tensor, slope: Any = 1) -> Tensor:
    """Exactly ``value``, with ``slope`` times the gradient of ``source``."""
    return value + slope * (source - source.detach())


def _deliver(spikes: Tensor, weights: Tensor) -> Tensor:
    return spikes @ weights.T if weights.ndim == 2 else spikes * weights


def _with(network: Network, weights: Sequence[Tensor]) -> Network:
    new = zip(network.projections, weights, strict=True)
    return network.replace(projections=tuple(dataclasses.replace(q, weights=w.detach().numpy().copy()) for q, w in new))


def _check(network: Network, samples: Samples, labels: Array, epochs: int, lr: float, batch: int) -> NDArray[np.int64]:
    for q in network.projections:
        if q.weights.ndim not in (1, 2) or q.pool:
            raise AerloomError(f"{q}: dense and one-to-one weights can be fine-tuned, convolution and pooling cannot")
    if min(epochs, lr, batch) <= 0:
        raise AerloomError(f"epochs, lr and batch must be above 0, not {epochs}, {lr} and {batch}")
    counts = {len(a) for a in (samples.values() if isinstance(samples, Mapping) else [samples])}
    size = network.population[network.outputs[0]].size
    if labels.ndim != 1 or counts != {len(labels)} or not len(labels):
        raise AerloomError(f"fine-tuning needs one label per sample, not {labels.shape} for {sorted(counts)} samples")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= size:
        raise AerloomError(f"labels must be whole numbers 0 … {size - 1}, neurons of {network.outputs[0]}")
    return labels.astype(np.int64)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise AerloomError("fine-tuning needs PyTorch: `pip install aerloom[train]`") from None
    return torch
