"""Trained networks that ship with aerloom, and the data to try them on.

Each is a floating-point network in ``NAME.npz``, with a card in ``NAME.md`` and the script that trained it in
``train/``. Its ``meta`` says which data it is for, and how their samples are encoded.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AerloomError
from ..files import read_arrays
from ..network import Network

HERE = Path(__file__).parent
NAMES = ("digits", "mnist", "mnist-conv")
SHIPPED = ("digits",)  #: data that ship with aerloom

Samples = tuple[NDArray[np.float32], NDArray[np.uint8]]  #: values in 0 … 1, (samples, inputs), and labels


def load(name: str) -> Network:
    """The network ``name`` as it was trained, in floating point."""
    return Network.load(_file(name, "npz"))


def card(name: str) -> str:
    """What a network was trained on and how well it does, in Markdown."""
    return _file(name, "md").read_text(encoding="utf-8")


def samples(network: Network | str, folder: str | os.PathLike[str] | None = None) -> Samples:
    """The test samples that a network, of the zoo by its name, was not trained on; its ``meta`` says which ``data``.

    Those of ``digits`` ship with aerloom. MNIST is the user's own copy: ``folder`` holds
    ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, plain or ``.gz``.
    """
    data = _data(load(network) if isinstance(network, str) else network)
    if data in SHIPPED:
        return _shipped(data)
    if data in FOREIGN:
        return FOREIGN[data](folder)
    raise AerloomError("the network does not say which data it is for; give some with --samples")


def has_samples(network: Network, folder: str | os.PathLike[str] | None = None) -> bool:
    """Whether :func:`samples` has any: they ship, or a ``folder`` is given for those that do not."""
    data = _data(network)
    return data in SHIPPED or (data in FOREIGN and folder is not None)


def encoding(network: Network) -> dict[str, Any]:
    """How samples of a network are encoded: ``name`` and ``steps``, and options of that encoder."""
    if "encoding" not in network.meta:
        raise AerloomError("the network does not say how its samples are encoded; give spikes instead")
    return dict(network.meta["encoding"])


def read_idx(folder: str | os.PathLike[str], name: str) -> NDArray[np.uint8]:
    """An array of bytes in the IDX format of the MNIST files (LeCun, Cortes, Burges), plain or gzip-compressed."""
    for path, opened in ((Path(folder) / f"{name}.gz", gzip.open), (Path(folder) / name, open)):
        try:
            with opened(path, "rb") as file:
                raw = file.read()
        except FileNotFoundError:
            continue
        except (OSError, EOFError, zlib.error) as e:
            raise AerloomError(f"{path}: cannot be read: {getattr(e, 'strerror', None) or e}") from None
        if len(raw) < 4 or raw[:3] != b"\0\0\x08" or not raw[3] or len(raw) < 4 + 4 * raw[3]:
            raise AerloomError(f"{path}: not an IDX file of bytes")
        shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4).astype(np.int64)
        data = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
        if data.size != np.prod(shape):
            raise AerloomError(f"{path}: truncated: {data.size} bytes of {np.prod(shape)}")
        return data.reshape(shape)
    raise AerloomError(f"{folder}: there is no {name}.gz and no {name}")


def _data(network: Network) -> str:
    return str(network.meta.get("data", ""))


def _shipped(data: str) -> Samples:
    arrays: Any = read_arrays(HERE / f"{data}_test.npz")
    return arrays["images"].astype(np.float32) / np.float32(arrays["white"]), arrays["labels"]


def _mnist(folder: str | os.PathLike[str] | None) -> Samples:
    if folder is None:
        raise AerloomError(
            "the MNIST images do not ship with aerloom; give the folder that has t10k-images-idx3-ubyte.gz (--data)"
        )
    images, labels = read_idx(folder, "t10k-images-idx3-ubyte"), read_idx(folder, "t10k-labels-idx1-ubyte")
    if len(images) != len(labels) or images.ndim != 3:
        raise AerloomError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together")
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels


FOREIGN = {"mnist": _mnist}  #: data that do not, and what reads them from a folder of the user's


def _file(name: str, suffix: str) -> Path:
    if name not in NAMES:
        raise AerloomError(f"there is no network {name!r} in the zoo; there are {', '.join(NAMES)}")
    return HERE / f"{name}.{suffix}"
