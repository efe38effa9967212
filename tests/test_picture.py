"""Pictures: whole files, and nothing in them that was not said."""

from pathlib import Path

import numpy as np
import pytest

from aerloom import Input, Network, Population, Projection
from aerloom.host import picture


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
