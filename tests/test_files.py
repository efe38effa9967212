"""Files of arrays: read whole, or one sentence that says what is wrong with them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aerloom import AerloomError, Network, load, quantize, zoo
from aerloom.models import files
from aerloom.models.files import read_arrays, write_arrays


def test_archives_take_any_name(tmp_path: Path) -> None:
    arrays = {name: np.arange(3) for name in ("file", "args", "allow_pickle", "a.b")}
    write_arrays(tmp_path / "x.npz", arrays)
    found = read_arrays(tmp_path / "x.npz")
    assert {name: array.tolist() for name, array in found.items()} == {name: [0, 1, 2] for name in arrays}
    np.save(tmp_path / "x.npy", np.eye(3))
    np.testing.assert_array_equal(read_arrays(tmp_path / "x.npy"), np.eye(3))


def whole(path: Path) -> bytes:
    quantize(zoo("digits"), 8).network.save(path)
    return path.read_bytes()


def flipped(data: bytes) -> bytes:
    return data[:4000] + bytes([data[4000] ^ 1]) + data[4001:]


def pickled(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([{}], object), allow_pickle=True)  # to be refused


def pickled_inside(path: Path) -> None:
    np.savez(path, allow_pickle=True, network=np.array([{}], object))  # to be refused


def changed(**arrays: object) -> Callable[[Path], None]:
    """A network with other arrays in it; None: without them."""
    def make(path: Path) -> None:
        whole(path)
        kept = read_arrays(path) | {name.replace("__", "."): array for name, array in arrays.items()}
        np.savez(path, **{name: array for name, array in kept.items() if array is not None})

    return make


def folder(path: Path) -> None:
    path.mkdir()


W = "projections__0__weights"
DAMAGED = "damaged: it is cut short, or bytes of it are wrong"
AGAIN = "import, convert or quantize it again"


@pytest.mark.parametrize("make, says", [
    (lambda path: None, "there is no such file"),
    (folder, "cannot be read: Is a directory"),
    (lambda path: path.write_bytes(b""), f"damaged: it is empty; {AGAIN}"),
    (lambda path: path.write_text("hello"), f"damaged: it does not begin as one; {AGAIN}"),
    (lambda path: path.write_bytes(whole(path)[:5000]), DAMAGED),
    (lambda path: path.write_bytes(flipped(whole(path))), DAMAGED),
    (lambda path: path.write_bytes(b"\x93NUMPY"), DAMAGED),
    (lambda path: path.write_bytes(b"\x80\x04N."), "damaged: it does not begin as one"),  # a pickle
    (pickled, "damaged: Python objects are in it, which are never loaded"),
    (pickled_inside, "damaged: Python objects are in it, which are never loaded"),
    (lambda path: np.savez(path), "not an aerloom network: it holds other arrays"),
    (lambda path: np.savez(path, images=np.eye(3)), "not an aerloom network: it holds other arrays"),
    (lambda path: np.savez(path, network=np.eye(3)), "damaged: its parts do not fit together"),
    (lambda path: np.savez(path, network=np.frombuffer(b'{"aerloom": 99}', np.uint8)), "made by a newer aerloom"),
    (changed(**{W: None}), "damaged: its parts do not fit together"),
    (changed(projections__0__colour=np.eye(3)), "damaged: its parts do not fit together"),
    (changed(**{W: np.full((64, 64), np.nan)}), "input → hidden: weights hold NaN or infinity"),
    (changed(**{W: np.full((64, 64), "a")}), "input → hidden: weights must be a matrix of numbers, not <U1 (64, 64)"),
    (changed(**{W: np.eye(64, dtype=complex)}), "input → hidden: weights must be a matrix of numbers, not complex128"),
    (changed(**{W: np.eye(3, dtype=np.int8)}), "input → hidden: weights must connect (64, 64)"),
])
@pytest.mark.parametrize("read", [load, Network.load])
def test_what_is_no_network(read: Callable[[Path], Network], make: Callable[[Path], None], says: str,
                            tmp_path: Path) -> None:
    make(path := tmp_path / "net.npz")
    with pytest.raises(AerloomError, match=re.escape(f"{path}: ")) as refused:
        read(path)
    assert says in str(refused.value) and "allow_pickle" not in str(refused.value)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"...")
    with pytest.raises(AerloomError, match="not an aerloom network, or damaged: other things than arrays are in it"):
        load(tmp_path / "model.pt")


def test_what_the_system_forbids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root may read everything, the refusal is planted."""
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files.Path, "read_bytes", refuse)
    with pytest.raises(AerloomError, match=r"net\.npz: cannot be read: Permission denied"):
        read_arrays(tmp_path / "net.npz")
