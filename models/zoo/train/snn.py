"""A spiking classifier that learns, through time, to work at every weight width.

A layer computes :func:`aerloom.models.golden.fire` in floating point, with threshold 1 and reset by subtraction. One
set of weights serves all widths, so every training batch is shared out between several of them. Biases are not rounded:
the hardware keeps them at the resolution of the membrane.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...network import DECAY_ONE, Input, Network, Population, Projection
from ...quantize import find_scale, integer_range
from ...window import Window

STEPS = 25  #: of a sample, where pixels spike at rates
DECAYS = 0.9375, 0.96875  #: leak factor of a hidden layer and of the output

Widths = Sequence[int | None]  #: weight bits of equal parts of a batch; None: floating point


class Fire(torch.autograd.Function):
    """All steps of a layer: drive ``(steps, batch, neurons)`` and leak factor to spikes of the same shape.

    One autograd node for all steps: to keep only the membrane before the reset is several times faster than to let
    autograd record each step.
    """

    @staticmethod
    def forward(ctx: Any, drive: Tensor, decay: float) -> Tensor:
        before_reset, spikes = torch.empty_like(drive), torch.empty_like(drive)
        v = torch.zeros_like(drive[0])
        for t in range(len(drive)):
            u = torch.add(drive[t], v, alpha=decay, out=before_reset[t])
            torch.ge(u, 1.0, out=spikes[t])
            v = u - spikes[t]
        ctx.save_for_backward(before_reset)
        ctx.decay = decay
        return spikes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        gradient = gradient / (1.0 + (torch.pi * (u - 1.0)).square_())  # surrogate of the step: that of an arctangent
        # The reset counts as a constant: its surrogate gradient only adds noise.
        for t in range(len(u) - 2, -1, -1):
            gradient[t].add_(gradient[t + 1], alpha=ctx.decay)
        return gradient, None


class Rate:
    """Each pixel spikes in every step with a probability equal to its value."""

    def __init__(self, steps: int, seed: int) -> None:
        self.meta = {"name": "rate", "steps": steps, "max_rate": 1.0}
        self._steps, self._random = steps, np.random.Generator(np.random.SFC64(seed))

    def __call__(self, pixels: Tensor) -> Tensor:
        # One random byte per spike, as floats would take longer than the network itself. The rate is thereby rounded
        # to 256ths, at most 255.
        noise = self._random.integers(0, 256, (self._steps, *pixels.shape), np.uint8)
        limit = (256 * pixels).round().clamp(0, 255).to(torch.uint8)
        return (torch.from_numpy(noise) < limit).to(pixels.dtype)


class Latency:
    """Each pixel spikes once, the earlier the brighter; what is below 1 % never does: as the encoder "latency"."""

    def __init__(self, steps: int) -> None:
        self.meta = {"name": "latency", "steps": steps, "threshold": 0.01}
        self._steps = steps

    def __call__(self, pixels: Tensor) -> Tensor:
        when = ((1 - pixels) * (self._steps - 1)).round()
        step = torch.arange(self._steps).view(-1, *[1] * pixels.dim())
        return ((when == step) & (pixels >= self.meta["threshold"])).to(pixels.dtype)


class SpikingNet(nn.Module):
    """Dense and convolutional layers, one after the other; the class is the neuron of the last with most spikes."""

    def __init__(self, shape: tuple[int, ...], layers: Mapping[str, nn.Linear | nn.Conv2d], decays: Sequence[float],
                 encode: Rate | Latency) -> None:
        """``shape`` is that of a sample; each layer has a name and a leak factor per step; ``encode`` makes spikes
        ``(steps, …)`` of pixels in 0 … 1."""
        super().__init__()
        self.shape, self.layers, self.encode = shape, nn.ModuleDict(layers), encode
        self.decays = [round(d * DECAY_ONE) / DECAY_ONE for d in decays]  # what the hardware's factors can hold
        self._scale: dict[tuple[nn.Module, int], Tensor] = {}

    def find_scales(self, widths: Widths) -> None:
        """Choose, as :func:`aerloom.models.quantize.quantize` does, the scales for the weights as they are now."""
        for bits in {b for b in widths if b is not None}:
            for layer in self.layers.values():
                scale = find_scale(layer.weight.detach().flatten(1).numpy(), bits)
                self._scale[layer, bits] = torch.from_numpy(scale).float().view(-1, *[1] * (layer.weight.dim() - 1))

    def forward(self, pixels: Tensor, widths: Widths) -> Tensor:
        """Spike counts ``(batch, outputs)`` for pixels ``(batch, …)`` in 0 … 1."""
        spikes = self.encode(pixels.view(-1, *self.shape))
        for layer, decay in zip(self.layers.values(), self.decays, strict=True):
            parts = zip(spikes.tensor_split(len(widths), dim=1), widths, strict=True)
            drive = [self._drive(layer, part, bits) for part, bits in parts]
            spikes = Fire.apply(torch.cat(drive, dim=1), decay)
        return spikes.sum(dim=0)

    def _drive(self, layer: nn.Linear | nn.Conv2d, spikes: Tensor, bits: int | None) -> Tensor:
        weights = self._weights(layer, bits)
        if isinstance(layer, nn.Linear):
            return nn.functional.linear(spikes.flatten(2), weights, layer.bias)
        drive = nn.functional.conv2d(spikes.flatten(0, 1), weights, layer.bias, layer.stride, layer.padding)
        return drive.unflatten(0, spikes.shape[:2])

    def _weights(self, layer: nn.Linear | nn.Conv2d, bits: int | None) -> Tensor:
        if bits is None:
            return layer.weight
        exact, scale = layer.weight.detach(), self._scale[layer, bits]
        rounded = torch.clamp(torch.round(exact * scale), *integer_range(bits)) / scale
        return layer.weight + (rounded - exact)  # straight through: the gradient takes no notice of the rounding

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor, bits: int | None) -> float:
        """Share of right classes at one width."""
        self.find_scales([bits])
        pairs = zip(images.split(500), labels.split(500), strict=True)
        right = sum(int((self(x, [bits]).argmax(dim=1) == y).sum()) for x, y in pairs)
        return right / len(labels)

    def validate(self, images: Tensor, labels: Tensor) -> None:
        """Print how many of the images that were held out are right, at every width."""
        for bits in (None, 8, 6, 4, 2):
            print(f"{bits or 'float'}: validation {self.accuracy(images, labels, bits):.2%}")

    def to_network(self, **meta: str) -> Network:
        """The aerloom network, in floating point; ``meta`` is saved beside the encoding."""
        source, shape = "input", self.shape
        inputs, populations, projections = (Input(source, shape),), [], []
        for (name, layer), decay in zip(self.layers.items(), self.decays, strict=True):
            weights, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))
            window = None
            if isinstance(layer, nn.Conv2d):
                window = Window(shape, layer.kernel_size, layer.stride, layer.padding)
                bias = bias.repeat(math.prod(window.size))
            shape = (len(weights), *(window.size if window else ()))
            populations.append(Population(name, shape, decay_v=decay, bias=bias, threshold=1.0))
            projections.append(Projection(source, name, weights, window=window))
            source = name
        meta_ = meta | {"encoding": self.encode.meta}
        return Network(inputs, tuple(populations), tuple(projections), (source,), meta=meta_)


def train(
    net: SpikingNet,
    images: Tensor,
    labels: Tensor,
    augment: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    *,
    widths: Widths,
    epochs: int,
    batch: int,
    rescale: int,
) -> None:
    """Train on augmented images ``(samples, height, width)`` in 0 … 1, at a learning rate that falls to zero.

    ``loss`` takes logits, augmented images and labels. The scales of the weights are found anew every ``rescale``
    batches: they change slowly, and the search is costly.
    """
    batches = len(images) // batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    for epoch in range(epochs):
        total = 0.0
        for n, pick in enumerate(torch.randperm(len(images))[: batches * batch].split(batch)):
            if n % rescale == 0:
                net.find_scales(widths)
            seen = augment(images[pick])
            value = loss(net(seen, widths), seen, labels[pick])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            total += value.item()
        print(f"epoch {epoch + 1}/{epochs}  loss {total / batches:.4f}  cpu {time.process_time():.0f} s", flush=True)


def prepared(parser: argparse.ArgumentParser, out: str) -> argparse.Namespace:
    """The arguments of a script, which has ``--out`` and ``--seed`` besides its own; from here on everything follows from
    the seed."""
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.out.parent.is_dir():
        parser.error(f"there is no folder {args.out.parent}")
    torch.set_num_threads(1)  # so that sums, and the result, do not depend on the number of cores
    torch.manual_seed(args.seed)
    return args


def random_affine(images: Tensor, degrees: float, shift: float, zoom: float) -> Tensor:
    """Each image rotated, shifted (in pixels) and zoomed at random, at most so far."""
    n, h, w = images.shape
    angle, dx, dy, scale = torch.rand(4, n) * 2 - 1
    angle, scale = angle * degrees * torch.pi / 180, 1 + zoom * scale
    cos, sin = scale * angle.cos(), scale * angle.sin()
    theta = torch.stack([cos, -sin, dx * 2 * shift / w, sin, cos, dy * 2 * shift / h], dim=1)
    grid = nn.functional.affine_grid(theta.view(n, 2, 3), [n, 1, h, w], align_corners=False)
    return nn.functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
