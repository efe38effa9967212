"""Train the network ``digits``, 64-64-10, for float, 8, 6, 4 and 2 bit weights; write its test samples beside it.

    python -m aerloom.models.zoo.train.digits --out digits.npz
"""

from __future__ import annotations

import argparse
import io
from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from ...files import write_whole
from .snn import DECAYS, STEPS, Rate, SpikingNet, prepared, random_affine, train

WHITE = 16  #: the largest value of a pixel
WIDTHS = (None, 4, 2, 2)  # 2 bits need most practice


def loss(logits: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with smoothed labels."""
    return nn.functional.cross_entropy(logits, labels, label_smoothing=0.05)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Train the zoo's network for scikit-learn's digits; its test samples go to digits_test.npz beside it.")
    args = prepared(parser, "digits.npz")

    digits = load_digits()
    indices = np.arange(len(digits.target))
    learned, kept = train_test_split(indices, test_size=0.25, random_state=0, stratify=digits.target)
    kept.sort()
    images = torch.tensor(digits.images[learned] / WHITE, dtype=torch.float32)
    labels = torch.tensor(digits.target[learned])
    layers = {"hidden": nn.Linear(64, 64), "output": nn.Linear(64, 10)}
    net = SpikingNet((8, 8), layers, DECAYS, Rate(STEPS, args.seed))
    augment = partial(random_affine, degrees=8.0, shift=0.5, zoom=0.08)
    adam = torch.optim.Adam(net.parameters(), lr=4e-3)
    train(net, images, labels, augment, loss, adam, widths=WIDTHS, epochs=300, batch=128, rescale=1)

    what = "handwritten digits, 8 \N{MULTIPLICATION SIGN} 8 (UCI, scikit-learn)"
    net.to_network(name="digits", what=what, data="digits").save(args.out)
    pixels, answers = digits.data[kept].astype(np.uint8), digits.target[kept].astype(np.uint8)
    samples = io.BytesIO()
    np.savez_compressed(samples, images=pixels, labels=answers, white=np.uint8(WHITE))
    write_whole(args.out.with_name("digits_test.npz"), samples.getvalue())


if __name__ == "__main__":
    main()
