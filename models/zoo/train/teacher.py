"""What the networks for MNIST learn from: its training images, and a teacher that is not spiking.

The last :data:`HELD_OUT` images validate; nothing reads the test set.
"""

from __future__ import annotations

import os
import time
from functools import partial

import torch
from torch import Tensor, nn

from .. import read_idx
from .snn import random_affine

HELD_OUT = 5000
augment = partial(random_affine, degrees=8.0, shift=1.5, zoom=0.08)


def read(folder: str | os.PathLike[str]) -> tuple[Tensor, Tensor]:
    """The 60,000 training images ``(samples, 28, 28)`` in 0 … 1, and their labels."""
    images = torch.tensor(read_idx(folder, "train-images-idx3-ubyte")).float() / 255
    return images, torch.tensor(read_idx(folder, "train-labels-idx1-ubyte")).long()


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
