"""Networks: what they refuse, and files that survive everything or say what is wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import networks

from aerloom import AerloomError, Input, Network, Population, Projection

W = np.ones((2, 3), np.int8)


def build(populations: tuple[Population, ...] = (Population("p", (2,)),), weights: np.ndarray = W,
          **options: object) -> Network:
    return Network((Input("in", (3,)),), populations, (Projection("in", "p", weights),), **options)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(network=networks())
def test_files_keep_everything(network: Network, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("net") / "net.npz"
    network = network.replace(meta={"name": "x", "n": [1, 2]})
    network.save(path)
    again = Network.load(path)
    assert again.hash == network.hash and again.meta == network.meta
    assert [vars(p).keys() for p in again.populations] == [vars(p).keys() for p in network.populations]
    assert again.projections[0].weights.dtype == network.projections[0].weights.dtype


def test_the_hash_sees_every_parameter() -> None:
    hashes = {
        build().hash,
        build((Population("p", (2,), threshold=2),)).hash,
        build((Population("p", (2,), threshold=np.array([1, 2])),)).hash,
        build(weights=2 * W).hash,
        build(weights=W.astype(np.int16)).hash,
        build(state_bits=17).hash,
    }
    assert len(hashes) == 6
    assert build(meta={"a": 1}).hash == build().hash


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_say_so(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("net") / "net.npz"
    build().save(path)
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :])
    try:
        assert Network.load(path).hash == build().hash  # a bit that does not matter, of a zip file's dates
    except AerloomError as e:
        assert str(path) in str(e)


def test_saving_is_all_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(AerloomError, match="cannot be written"):
        build().save(tmp_path / "file" / "net.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_constant_arrays_fold() -> None:
    p = Population("p", (2,), threshold=np.array([7, 7]), bias=np.array([1, 2]))
    assert p.threshold == 7 and isinstance(p.bias, np.ndarray)


NAN = np.array([[np.nan, 1, 1], [1, 1, 1]], np.float32)


@pytest.mark.parametrize("make, says", [
    (lambda: build(weights=NAN), "in → p: weights hold NaN or infinity"),
    (lambda: build(weights=np.ones((3, 2), np.int8)),
     r"in → p: weights must connect \(2, 3\) \(target, source\), not \(3, 2\)"),
    (lambda: build(weights=np.ones((2, 3), object)), "weights must be a matrix of numbers"),
    (lambda: build((Population("p", (2,), bias=np.inf),)), "p: bias holds NaN or infinity"),
    (lambda: build((Population("p", (2,), bias=[1, 2, 3]),)), "p: bias must have 1 or 2 values, not 3"),
    (lambda: build((Population("p", (2,), bias="x"),)), "p: bias must be a number"),
    (lambda: build((Population("p", (2,), reset="zero"),)), "p: reset must be one of"),
    (lambda: build((Population("p", (2,), reset_delay=1, refractory=2),)), "refractory steps need reset_delay = 0"),
    (lambda: build((Population("p", (2,), max_spikes=3, threshold=0),)), "need a threshold above 0"),
    (lambda: build((Population("p", (2,), decay_v=5000),)), "p: decay_v must be in 0 … 4096"),
    (lambda: build((Population("p", (2,), threshold=0.5),)), "p: threshold must be integer, like the weights"),
    (lambda: build((Population("p", (2,), v0=1 << 17),)), "p: v0 must be in -131072 … 131071"),
    (lambda: build((Population("p", (2,)), Population("q", (1,)))), "q: nothing projects into it"),
    (lambda: build((Population("p", (2,), threshold=-1),)), "p: reset_by must be at least 0"),
    (lambda: build((Population("p", (2,), threshold=1, reset_by=120, max_spikes=3),), state_bits=8),
     "no reset leaves the state range"),
    (lambda: build((Population("in", (2,)),)), "in occurs twice"),
    (lambda: build(outputs=("q",)), "output 'q' is not a population; there are p"),
    (lambda: Population("p", (0,)), "p: shape must be positive"),
    (lambda: Projection("a", "b", W, -1), "a → b: delay must be 0 or more"),
    (lambda: Network((), (), ()), "needs at least one input and one population"),
    (lambda: Network((Input("in", (3,)),), (Population("p", (2,)),), (Projection("in", "q", W),)),
     "in → q: there is no such target"),
    (lambda: Network((Input("in", (3,)),), (Population("p", (2,)), Population("q", (2,))), (
        Projection("in", "p", W), Projection("p", "q", np.ones((2, 2), np.int8)),
        Projection("q", "p", np.ones((2, 2), np.int8)))), "cycle .* needs a projection with delay"),
])
def test_refuses(make: Callable[[], object], says: str) -> None:
    with pytest.raises(AerloomError, match=says):
        make()
