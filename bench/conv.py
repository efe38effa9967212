"""``python -m bench.conv``: a small convolutional network for MNIST, trained as one of ReLU and converted.

The conv row of the table of boards; a minute of training (torch), seconds of conversion.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

import aerloom
from aerloom.models.zoo import read_idx

STEPS = 16
EPOCHS, BATCH = 3, 100


def trained(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Two convolutions by strides and a readout: 28 × 28 → 8 × 12 × 12 → 16 × 5 × 5 → 10."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
                        nn.Flatten(), nn.Linear(400, 10))
    batches = len(images) // BATCH
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, EPOCHS * batches)
    for _ in range(EPOCHS):
        for pick in torch.randperm(len(images))[: batches * BATCH].split(BATCH):
            loss = nn.functional.cross_entropy(net(images[pick]), labels[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.conv", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the MNIST files")
    parser.add_argument("-o", "--output", type=Path, default=Path("mnist-conv.npz"))
    options = parser.parse_args()
    images = read_idx(options.data, "train-images-idx3-ubyte").astype(np.float32)[:, None] / 255
    labels = read_idx(options.data, "train-labels-idx1-ubyte")
    net = trained(torch.tensor(images), torch.tensor(labels.astype(np.int64)))
    found = aerloom.convert(net, images[:1000], labels=labels[:1000], steps=STEPS)
    found.network.save(options.output)
    print(f"{options.output}: {found.steps} steps, {found.curve[-1]:.4f} of the images that it was scaled by")


if __name__ == "__main__":
    main()
