"""Files that a reader finds whole, or as they were before."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError

__all__ = ["foldable", "folder", "read_arrays", "reading", "writable", "write_arrays", "write_whole"]

NPY = b"\x93NUMPY"  # how an array begins
STARTS = (NPY, b"PK\x03\x04", b"PK\x05\x06")  # an array, an archive, an archive of nothing
ADVICE = "make it again, or save arrays of numbers with numpy.save or numpy.savez"
PICKLED = "Python objects are in it, which are never loaded, as they may run code"


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the system has against a file, as :class:`AerloomError`."""
    try:
        yield
    except FileNotFoundError:
        raise AerloomError(f"{path}: there is no such file") from None
    except OSError as e:
        raise AerloomError(f"{path}: cannot be read: {e.strerror or e}") from None


def read_arrays(path: str | os.PathLike[str], what: str = "a NumPy file", advice: str = ADVICE
                ) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The array in a NumPy file, or those of an archive by name. Pickles are refused.

    Raises :class:`AerloomError`: that it is not ``what``, or damaged, in which way, and as ``advice`` what to do.
    """
    with reading(path):
        raw = Path(path).read_bytes()
    try:
        return _arrays(raw)
    except AerloomError as e:
        problem = str(e)
    except Exception as e:  # NumPy, zipfile and zlib raise whatever the damage leads to
        problem = PICKLED if "Object arrays" in str(e) else "it is cut short, or bytes of it are wrong"
    raise AerloomError(f"{path}: not {what}, or damaged: {problem}; {advice}")


def _arrays(raw: bytes) -> NDArray[Any] | dict[str, NDArray[Any]]:
    if not raw.startswith(STARTS):
        raise AerloomError("it does not begin as one" if raw else "it is empty")
    if raw.startswith(NPY):
        return _array(raw)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        if not all(name.endswith(".npy") for name in archive.namelist()):
            raise AerloomError("other things than arrays are in it")
        return {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}  # and checks its CRC


def _array(raw: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    return array


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a NumPy archive without pickles, for :func:`numpy.load`; arrays may have any name, ``file`` too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    write_whole(path, buffer.getvalue())


def folder(path: str | os.PathLike[str]) -> Path:
    """The folder ``path``, made where it is not there; :class:`AerloomError` where it cannot be made."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise AerloomError(f"{path}: cannot be made a folder: {e.strerror or e}") from None
    return Path(path)


def foldable(path: str | os.PathLike[str]) -> None:
    """Raises :class:`AerloomError` where :func:`folder` could not make it: for asking before the work."""
    place = Path(path).absolute()
    while not os.path.exists(place):
        place = place.parent
    if not os.path.isdir(place):
        problem = errno.EEXIST if place == Path(path).absolute() else errno.ENOTDIR
    elif not os.access(place, os.W_OK | os.X_OK):
        problem = errno.EACCES
    else:
        return
    raise AerloomError(f"{path}: cannot be made a folder: {os.strerror(problem)}")


def writable(path: str | os.PathLike[str]) -> None:
    """Raises :class:`AerloomError` where :func:`write_whole` could not write: for asking before the work."""
    place = os.path.dirname(path) or os.curdir
    if os.path.isdir(path):
        problem = errno.EISDIR
    elif not os.path.isdir(place):
        problem = errno.ENOTDIR if os.path.exists(place) else errno.ENOENT
    elif not os.access(place, os.W_OK | os.X_OK):
        problem = errno.EACCES
    else:
        return
    raise AerloomError(f"{path}: cannot be written: {os.strerror(problem)}")


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader finds all of it, or what was there before.

    Raises :class:`AerloomError` where it cannot be written.
    """
    path = Path(path)
    part = path.parent / f".{path.name}.{os.getpid()}"
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as e:
        raise AerloomError(f"{path}: cannot be written: {e.strerror or e}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
