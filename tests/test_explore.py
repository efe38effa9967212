"""Exploration: the front, the choice, predictions against the tools that they come from, builds that are interrupted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import aerloom
from typer.testing import CliRunner

from aerloom import AerloomError, Fabric, place
from aerloom.host import explore, picture
from aerloom.host.cli import app
from aerloom.host.cli import explore as command
from aerloom.host.dataset import pieces
from aerloom.host.explore import Point, Space, choose, front
from aerloom.host.jobs import Workers
from aerloom.models import fabrics, zoo
from aerloom.models.network import Network

SMALL = Space(lanes=(4, 16), cores=(1, 2), update_lanes=(1, 8), bits=(2, 8))


def point(accuracy: float, cycles: float, lut: int, problems: tuple[str, ...] = ()) -> Point:
    return Point(Fabric(f"{accuracy}-{cycles}-{lut}"), 8, 18, accuracy, cycles, lut, 0, 1e6, problems)


@given(st.lists(st.builds(point, st.sampled_from((0.9, 0.95, 0.99)), st.integers(1, 4), st.integers(1, 4),
                          st.sampled_from(((), (), ("too large",)))), max_size=20))
def test_front(found: list[Point]) -> None:
    best = front(found)
    keys = [(1 - p.accuracy, p.cycles, p.lut) for p in found if not p.problems]
    least = {key for key in keys if not any(other != key and all(np.less_equal(other, key)) for other in keys)}
    assert sorted((1 - p.accuracy, p.cycles, p.lut) for p in best) == sorted(least) and not any(p.problems for p in best)


def test_choice() -> None:
    right, fast, small, middle = best = [point(0.99, 100, 900), point(0.95, 10, 500), point(0.9, 80, 100),
                                         point(0.987, 50, 300)]
    assert [choose(best, by) for by in ("accuracy", "latency", "lut", "balance")] == [right, fast, small, middle]
    with pytest.raises(AerloomError, match="chosen by accuracy, latency, lut, balance, not by 'price'"):
        choose(best, "price")
    with pytest.raises(AerloomError, match="no chip fits"):
        choose([])


@pytest.fixture(scope="module")
def found() -> list[Point]:
    values, labels = zoo.samples("digits")
    told: list[Any] = []
    out = explore.points(zoo.load("digits"), "ulx3s-85f", SMALL, pieces(values[:120], labels[:120]), Workers(1),
                         lambda *a: told.append(a))
    assert ("samples", 240, 240) in told and ("chips", 12, 12) in told
    return out


def test_predictions(found: list[Point]) -> None:
    assert len(found) == 12  # 8 neurons cannot be updated at once by 4 lanes
    values, labels = zoo.samples("digits")
    data = pieces(values[:120], labels[:120])
    made = explore.networks(zoo.load("digits"), SMALL, data[0].encoded(zoo.load("digits"))[0])
    for p in found:
        place(made[p.bits, p.state_bits], p.fabric)  # raises where it does not fit
        assert p.fabric.weight_bits == p.bits and p.accuracy > 0.9 and p.lut > 1000 and p.latency == p.cycles / p.fmax
    by = {(p.fabric.cores, p.fabric.lanes, p.fabric.update_lanes, p.bits): p for p in found}
    assert len(by) == 12
    assert by[1, 16, 1, 8].cycles < by[1, 4, 1, 8].cycles and by[1, 16, 8, 8].cycles < by[1, 16, 1, 8].cycles
    assert by[2, 16, 1, 8].lut > by[1, 16, 1, 8].lut


def test_picture(found: list[Point], tmp_path: Path) -> None:
    picture.landscape(tmp_path / "a.png", found, front(found), choose(front(found)), "digits")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


class Builder:
    """Stands for the tools that build: says what they made, refuses one size, and ends early when it is told to."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.interrupt_at = ""

    def build(self, board: str, fabric: Fabric, out: Path, **options: Any) -> dict[str, Any]:
        if fabric.name == self.interrupt_at:
            raise KeyboardInterrupt
        self.seen.append(fabric.name)
        if fabric.lanes == 16:
            raise AerloomError("too large for it")
        return {"used": {"lut": 123, "bram": 4}, "fmax": 5e7}


def test_builds(found: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder, best, done = Builder(), front(found), []
    monkeypatch.setattr(explore, "tools", lambda name: builder)
    builder.interrupt_at = best[-1].fabric.name
    with pytest.raises(KeyboardInterrupt):
        explore.build(best, "ulx3s-85f", tmp_path, Workers(1), lambda n, p: done.append((n, p)))
    assert [n for n, _ in done] == list(range(len(best) - 1))  # those before it were told of
    builder.interrupt_at = ""
    made = explore.build(best, "ulx3s-85f", tmp_path)
    assert len({p.fabric.lanes for p in made}) == 2
    for before, p in zip(best, made, strict=True):
        if p.fabric.lanes == 16:
            assert p == dataclasses.replace(before, problems=("too large for it",))
        else:
            assert (p.lut, p.bram, p.fmax, p.built) == (123, 4, 5e7, True) and p.latency == p.cycles / 5e7


def test_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = aerloom("explore", "digits", "--images", 60, "--lanes", "4,16", "--cores", 1, "--update-lanes", 1, "--bits",
                     "2,8", "-o", out, "--jobs", 1, "--choose", "latency", "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer == json.loads((out / "explore.json").read_text()) and len(answer["points"]) == 4
    assert (out / "explore.png").read_bytes().startswith(b"\x89PNG")
    chosen = fabrics.read(out / "fabric.json")
    assert dataclasses.asdict(chosen) == answer["chosen"]["fabric"] and chosen.lanes == 16
    network = Network.load(out / "network.npz")
    place(network, chosen)
    fits = json.loads(aerloom("fit", out / "network.npz", "--fabric", out / "fabric.json", "--json").stdout)
    assert fits[str(out / "fabric.json")]["fits"]
    np.testing.assert_array_equal(answer["chosen"]["latency"], min(p["latency"] for p in answer["front"]))


@pytest.mark.parametrize("arguments, says", [
    (["--lanes", "4,x"], "--lanes must be numbers"), (["--board", "abacus"], "abacus"),
    (["--lanes", "3"], "lanes to try must be a power of two"),
    (["--lanes", "0,4"], "lanes to try must be at least 1, not 0"),
    (["--state-bits", "-1"], "state bits to try must be"),
    (["--lanes", "2", "--update-lanes", "4"], "a core of 2 lanes cannot update 4 neurons"),
    (["--choose", "price", "--lanes", "4", "--cores", "1"], "a point is chosen by"), (["--jobs", "0"], "jobs must be"),
])
def test_one_sentence(arguments: list[str], says: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["explore", "digits", "--images", "20", "-o", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, AerloomError) and says in str(result.exception)
    assert not result.stdout and not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--choose", "price"], ["--board", "abacus"]])
def test_what_there_is_not_is_said_before_anything_is_measured(arguments: list[str], tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "points", lambda *_: pytest.fail("measured"))
    result = CliRunner().invoke(app, ["explore", "digits", "-o", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, AerloomError) and not (tmp_path / "out").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("kept")
    result = CliRunner().invoke(app, ["explore", "digits", "--images", "20", "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, AerloomError) and "cannot be made a folder: File exists" in str(result.exception)
