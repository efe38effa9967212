"""The floorplan: what it says of memories is the placement's, and its cycles are those the lanes add in on a chip."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aerloom import Device, Fabric, Input, Network, Population, Projection, place, quantize, zoo
from aerloom.host import picture
from aerloom.models import golden
from aerloom.models.floor import loads
from aerloom.models.window import Window


def convolutional(r: np.random.Generator) -> Network:
    """Planes, a recurrent population, and a delay."""
    pool = Window((5, 4, 4), (2, 2), (2, 2))
    return Network(
        (Input("in", (2, 6, 6)),),
        (Population("conv", (5, 4, 4), threshold=9), Population("dense", (7,), threshold=20, decay_v=3000)),
        (Projection("in", "conv", r.integers(-8, 9, (5, 2, 3, 3)).astype(np.int8), 0, Window((2, 6, 6), (3, 3))),
         Projection("conv", "dense", r.integers(-8, 9, (7, 20)).astype(np.int8), 0, None, pool),
         Projection("dense", "dense", r.integers(-8, 9, (7, 7)).astype(np.int8), 3)))


@pytest.mark.parametrize("name", ["digits", "convolutional"])
@pytest.mark.parametrize("cores", [1, 2])
def test_cycles_are_those_of_the_chip(chips: Callable[..., Device], name: str, cores: int) -> None:
    r = np.random.default_rng(0)
    net = quantize(zoo("digits"), 8).network if name == "digits" else convolutional(r)
    fabric = Fabric("floor", cores=2, lanes=4, update_lanes=1, weight_words=4096, rows=64, parameter_rows=256)
    spikes = (r.random((1, 12, *net.inputs[0].shape)) < 0.3).astype(np.uint8)
    device = chips(fabric)
    placement = device.load(net, cores=cores)
    device.run(spikes)
    expected = loads(placement, golden.run(net, spikes))
    assert len(expected) == cores
    adding = 12 * sum(sum(core.adding.values()) for core in expected)
    if name == "digits":  # spikes of the last steps into a delay line fall off its end
        assert adding == pytest.approx(device.counters()["adding_cycles"])
    else:
        assert adding == pytest.approx(device.counters()["adding_cycles"], rel=0.15)
    assert [sum(core.words.values()) for core in expected] == [c.words for c in placement.cores[:cores]]
    assert [sum(core.rows.values()) for core in expected] == [c.rows for c in placement.cores[:cores]]


@pytest.mark.parametrize("cores", [2, 4])
def test_cores_share_what_happens_in_a_corner(cores: int) -> None:
    r = np.random.default_rng(1)
    window = Window((2, 16, 16), (3, 3), padding=(1, 1))
    net = Network((Input("in", (2, 16, 16)),), (Population("conv", (5, 16, 16), threshold=9),),
                  (Projection("in", "conv", r.integers(-8, 9, (5, 2, 3, 3)).astype(np.int8), 0, window),))
    spikes = np.zeros((1, 50, 2, 16, 16), np.uint8)
    spikes[..., 4:12, :5] = r.random((50, 2, 8, 5)) < 0.4
    fabric = Fabric("floor", cores=cores, lanes=4, update_lanes=1, rows=512)
    adding = [sum(core.adding.values()) for core in loads(place(net, fabric), golden.run(net, spikes))]
    assert max(adding) < 1.1 * np.mean(adding)


def test_picture(tmp_path: Path) -> None:
    net = quantize(zoo("digits"), 8).network
    placement = place(net, Fabric.preset("quad"))
    spikes = np.ones((1, 3, 64), np.uint8)
    picture.floorplan(tmp_path / "floor.png", placement, loads(placement, golden.run(net, spikes)), "digits")
    assert (tmp_path / "floor.png").read_bytes().startswith(b"\x89PNG")
