"""Train the network ``mnist``, 784-128-10, for float, 8, 6, 4 and 2 bit weights.

A small convolutional network learns first, and is the teacher. The spiking network then learns from labels and teacher,
on randomly transformed images: first on 55,000 of them, with half of each batch at 2 bits; then at a lower rate on all
60,000, with half of each batch in floating point. The 5,000 images kept back at first validate teacher and network in
between. Nothing reads the test set.

    python -m aerloom.models.zoo.train.mnist --mnist DIR --out mnist.npz
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import read_idx
from .snn import SpikingNet, random_affine, train

HELD_OUT = 5000
augment = partial(random_affine, degrees=8.0, shift=1.5, zoom=0.08)


def train_teacher(images: Tensor, labels: Tensor, epochs: int = 8, batch: int = 128) -> nn.Module:
    """A convolutional classifier, 99.4 % right; by strides, as it runs on every batch and has to be cheap."""
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Flatten(), nn.Linear(48 * 49, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip
    batches = len(images) // batch
    optimiser = torch.optim.AdamW(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, epochs * batches)
    for epoch in range(epochs):
        for pick in torch.randperm(len(images))[: batches * batch].split(batch):
            loss = nn.functional.cross_entropy(net(augment(images[pick])[:, None]), labels[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"teacher, epoch {epoch + 1}/{epochs}  cpu {time.process_time():.0f} s", flush=True)
    return net.eval().requires_grad_(False)


def distillation(teacher: nn.Module, logits: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the labels (0.3) and, at temperature 2, with what the teacher makes of the images (0.7)."""
    soft = (teacher(seen[:, None]) / 2).softmax(dim=1)
    cross_entropy = nn.functional.cross_entropy
    return 0.3 * cross_entropy(logits, labels) + 0.7 * 2**2 * cross_entropy(logits / 2, soft)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the zoo's network for MNIST.")
    parser.add_argument("--mnist", required=True, help="folder of train-images-idx3-ubyte.gz and its labels")
    parser.add_argument("--out", type=Path, default=Path("mnist.npz"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.out.parent.is_dir():
        parser.error(f"there is no folder {args.out.parent}")
    torch.set_num_threads(1)  # so that sums, and the result, do not depend on the number of cores
    torch.manual_seed(args.seed)

    images = torch.tensor(read_idx(args.mnist, "train-images-idx3-ubyte")).float() / 255
    labels = torch.tensor(read_idx(args.mnist, "train-labels-idx1-ubyte")).long()
    held_out, held_labels = images[-HELD_OUT:], labels[-HELD_OUT:]
    teacher = train_teacher(images[:-HELD_OUT], labels[:-HELD_OUT])
    right = (teacher(held_out[:, None]).argmax(dim=1) == held_labels).float().mean()
    print(f"teacher: validation {right:.2%}")

    net = SpikingNet(784, 128, 10, args.seed)
    learn = partial(train, net, augment=augment, loss=partial(distillation, teacher), batch=256, rescale=20)
    # The decay keeps weights small that are rarely used: left to wander they would widen the range of a row, and so
    # coarsen its scale at few bits.
    adam = partial(torch.optim.AdamW, list(net.parameters()), weight_decay=0.3)
    learn(images[:-HELD_OUT], labels[:-HELD_OUT], optimiser=adam(lr=2e-3), widths=(None, 4, 2, 2), epochs=22)
    for bits in (None, 8, 6, 4, 2):
        print(f"{bits or 'float'}: validation {net.accuracy(held_out, held_labels, bits):.2%}")
    learn(images, labels, optimiser=adam(lr=1e-3), widths=(None, None, 4, 2), epochs=8)

    what = "handwritten digits, 28 \N{MULTIPLICATION SIGN} 28 (MNIST)"
    net.to_network((28, 28), name="mnist", what=what).save(args.out)


if __name__ == "__main__":
    main()
