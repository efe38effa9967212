"""Train the network ``mnist``, 784-128-10, for float, 8, 6, 4 and 2 bit weights.

A small convolutional network learns first, and is the teacher. The spiking network then learns from labels and teacher,
on randomly transformed images: first on 55,000 of them, with half of each batch at 2 bits; then at a lower rate on all
60,000, with half of each batch in floating point. The 5,000 images kept back at first validate teacher and network in
between. Nothing reads the test set.

    python -m aerloom.models.zoo.train.mnist --mnist DIR --out mnist.npz
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import nn

from .snn import DECAYS, STEPS, Rate, SpikingNet, prepared, train
from .teacher import HELD_OUT, augment, distillation, read, train_teacher


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the zoo's network for MNIST.")
    parser.add_argument("--mnist", required=True, help="folder of train-images-idx3-ubyte.gz and its labels")
    args = prepared(parser, "mnist.npz")

    images, labels = read(args.mnist)
    held_out, held_labels = images[-HELD_OUT:], labels[-HELD_OUT:]
    teacher = train_teacher(images[:-HELD_OUT], labels[:-HELD_OUT])
    right = (teacher(held_out[:, None]).argmax(dim=1) == held_labels).float().mean()
    print(f"teacher: validation {right:.2%}")

    layers = {"hidden": nn.Linear(784, 128), "output": nn.Linear(128, 10)}
    net = SpikingNet((28, 28), layers, DECAYS, Rate(STEPS, args.seed))
    learn = partial(train, net, augment=augment, loss=partial(distillation, teacher), batch=256, rescale=20)
    # The decay keeps weights small that are rarely used: left to wander they would widen the range of a row, and so
    # coarsen its scale at few bits.
    adam = partial(torch.optim.AdamW, list(net.parameters()), weight_decay=0.3)
    learn(images[:-HELD_OUT], labels[:-HELD_OUT], optimiser=adam(lr=2e-3), widths=(None, 4, 2, 2), epochs=22)
    net.validate(held_out, held_labels)
    learn(images, labels, optimiser=adam(lr=1e-3), widths=(None, None, 4, 2), epochs=8)

    what = "handwritten digits, 28 \N{MULTIPLICATION SIGN} 28 (MNIST)"
    net.to_network(name="mnist", what=what, data="mnist").save(args.out)


if __name__ == "__main__":
    main()
