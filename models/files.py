"""Files that a reader finds whole, or as they were before."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError

__all__ = ["write_arrays", "write_whole"]


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a NumPy archive without pickles, for :func:`numpy.load`; arrays may have any name, ``file`` too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader finds all of it, or what was there before.

    Raises :class:`AerloomError` where it cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as e:
        raise AerloomError(f"{path}: cannot be written: {e.strerror or e}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
