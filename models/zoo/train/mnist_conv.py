"""Train the network ``mnist-conv``: two convolutions by strides and a dense layer, for float, 8, 6, 4 and 2 bit weights.

A pixel spikes once, so an image is some 140 spikes; no neuron leaks, so that early spikes count as much as late ones. The
planes are small, since what a chip does in a step is mostly to update neurons, and 16 channels fill its lanes. A
convolutional network that is not spiking learns first, and is the teacher; both learn from 55,000 images, and the 5,000
kept back validate. Nothing reads the test set.

    python -m aerloom.models.zoo.train.mnist_conv --mnist DIR --out mnist-conv.npz
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import nn

from .snn import Latency, SpikingNet, prepared, train
from .teacher import HELD_OUT, augment, distillation, read, train_teacher

STEPS = 8
WIDTHS = (None, None, 4, 2)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the zoo's convolutional network for MNIST.")
    parser.add_argument("--mnist", required=True, help="folder of train-images-idx3-ubyte.gz and its labels")
    args = prepared(parser, "mnist-conv.npz")

    images, labels = read(args.mnist)
    (images, held_out), (labels, held_labels) = (a.split((len(a) - HELD_OUT, HELD_OUT)) for a in (images, labels))
    teacher = train_teacher(images, labels)
    layers = {
        "conv1": nn.Conv2d(1, 16, 8, stride=4, padding=2),  # 16 × 7 × 7
        "conv2": nn.Conv2d(16, 32, 5, stride=2),  # 32 × 2 × 2
        "output": nn.Linear(128, 10),
    }
    net = SpikingNet((1, 28, 28), layers, [1.0] * len(layers), Latency(STEPS))
    adam = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.1)
    loss = partial(distillation, teacher)
    train(net, images, labels, augment, loss, adam, widths=WIDTHS, epochs=18, batch=128, rescale=20)
    net.validate(held_out, held_labels)

    what = "handwritten digits, 28 \N{MULTIPLICATION SIGN} 28 (MNIST), convolutional"
    net.to_network(name="mnist-conv", what=what, data="mnist").save(args.out)


if __name__ == "__main__":
    main()
