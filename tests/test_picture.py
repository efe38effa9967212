"""Pictures: whole files, and nothing in them that was not said."""

from pathlib import Path

import numpy as np
import pytest

from aerloom import Fabric, Input, Network, Population, Projection, place, quantize, zoo
from aerloom.host import picture
from aerloom.host.explore import Point
from aerloom.models.floor import loads


def test_no_point_of_a_sweep_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(picture, "_save", lambda figure, path: figures.append(figure))
    picture.curves(tmp_path / "a.png", [2, 4, 8], {"a": [0.5, 0.9, 0.9], "b": [0.98, 1.0, 1.0]})
    bottom, top = figures[0].axes[0].get_ylim()
    assert bottom < 50 and top > 100


@pytest.mark.parametrize("reset", ["subtract", "none"])
def test_only_an_output_that_spikes_has_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reset: str) -> None:
    network = Network((Input("in", (4,)),), (Population("out", (3,), reset=reset),),
                      (Projection("in", "out", np.ones((3, 4), np.float32)),))
    drawn = []
    votes = picture._votes
    monkeypatch.setattr(picture, "_votes", lambda axis, counts, *rest: (drawn.append(counts), votes(axis, counts, *rest)))
    spikes = {"in": np.ones((5, 4), np.uint8), "out": np.eye(5, 3, dtype=np.uint8)}
    picture.raster(tmp_path / "a.png", network, spikes, values=np.ones((2, 2)), label=1, cycles=np.arange(5))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [counts.tolist() for counts in drawn] == ([[1, 1, 1]] if reset == "subtract" else [])


@pytest.mark.parametrize("most", [5_300, 60_000])
def test_axes_of_chips_have_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """However near or far from each other they are, and where all are equally right."""
    figures = []
    monkeypatch.setattr(picture, "_save", lambda figure, path: figures.append(figure))
    chips = [Point(Fabric(f"chip {lut}"), 2, 17, 0.975, float(lut), lut, 12, 9e7) for lut in (5_200, most)]
    picture.landscape(tmp_path / "a.png", chips, chips, chips[0])
    left, right = figures[0].axes[:2]
    for axis in (left.xaxis, left.yaxis, right.xaxis, right.yaxis):
        first, last = axis.get_view_interval()
        shown = [axis.get_major_formatter()(at) for at in axis.get_majorticklocs() if first <= at <= last]
        assert len(set(shown)) == len(shown) >= 3, shown
    assert 97.5 < right.get_ylim()[1] < 98


def test_axes_of_a_floorplan_fit_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(picture, "_save", lambda figure, path: figures.append(figure))
    placement = place(quantize(zoo("digits"), 8).network, Fabric.preset("small"))
    picture.floorplan(tmp_path / "a.png", placement, loads(placement, None))
    words = figures[0].axes[0].xaxis
    assert [words.get_major_formatter()(at) for at in words.get_majorticklocs()][1] == "4,000"
