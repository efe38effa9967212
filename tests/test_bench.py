"""The benches' own bookkeeping: what moved, and the table of figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_chip import roomy

import bench.__main__ as command
from aerloom import AerloomError, Device, quantize, zoo
from aerloom.host.dataset import spikes_of
from aerloom.models import golden
from aerloom.models.network import Network
from aerloom.models.zoo import samples
from bench import boards, moved

ROOT = Path(__file__).parent.parent


def test_what_moved() -> None:
    before = {"a": {"cycles": 100, "ratio": 2.0, "gone": 1}, "curve": [{"when": 1, "accuracy": 0.5}], "same": 0.0}
    now = {"a": {"cycles": 101, "ratio": 2.1, "new": 3}, "curve": [{"when": 1, "accuracy": 0.7}], "same": 0.0}
    assert moved.moved(before, now) == [("a, cycles", 100, 101), ("a, gone", 1, None), ("curve, 1, accuracy", 0.5, 0.7),
                                        ("a, new", None, 3)]
    assert ("a, ratio", 2.0, 2.1) in moved.moved(before, now, 0.01)
    assert moved.moved(before, before) == []


def test_what_was_committed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=tmp_path, check=True,
                       capture_output=True)

    file = tmp_path / "speed.json"
    assert moved.committed(file) is None
    git("init")
    file.write_text('{"result": 1}')
    assert moved.committed(file) is None
    git("add", "."), git("commit", "-m", "x")
    file.write_text('{"result": 2}')
    assert moved.committed(file) == {"result": 1}


def test_the_table_has_every_figure(tmp_path: Path) -> None:
    found = {"16 lanes": {"mops_per_klut": 1900, "exact": True}, "32 lanes": {"mops_per_klut": 1360.5},
             "tools": ["yosys 1"], "curve": [{"when": 1, "steps": 2.5}]}
    (tmp_path / "density.json").write_text(json.dumps({"what": "How dense.", "result": found}))
    (tmp_path / "router.json").write_text(json.dumps({"what": "", "result": {"area": {"LUTs": 9}, "speed": {"least": 1.5},
                                                                            "others": {"LUTs of X": 60}}}))
    lines = moved.markdown(tmp_path).splitlines()
    for line in ("## density", "How dense.", "| tools | ['yosys 1'] |", "|  | mops_per_klut | exact |",
                 "| 16 lanes | 1,900 | True |", "| 32 lanes | 1,360.5 |  |", "curve:", "| when | steps |", "| 1 | 2.5 |",
                 "| area, LUTs | 9 |", "| speed, least | 1.5 |"):
        assert line in lines, line


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, cwd=ROOT)


def test_help() -> None:
    text = run("--help").stdout
    for name in command.BENCHES:
        assert re.search(rf"^  {name} +\w", text, re.M), f"{name} is not explained"
    assert "[]" not in text and "[NAME ...]" in text


def test_what_cannot_be_run() -> None:
    for arguments, says in ((["speed"], "there is no bench 'speed'; there are golden, "),
                            (["early"], "early: this bench needs the MNIST files: --data DIR")):
        done = run(*arguments)
        assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr


def test_rows_of_the_table_of_boards_have_an_order() -> None:
    rows = [{"network": network, "board": board} for network in ("mnist", "digits", "mine.npz")
            for board in ("ulx3s-85f", "icebreaker", "orangecrab-25f")]
    assert sorted(rows[::-1], key=boards.place_of) == rows


@pytest.fixture(scope="module")
def digits() -> Network:
    return quantize(zoo("digits"), 8).network


def test_what_a_row_counts(chips: Callable[..., Device], digits: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chip that takes images or spikes; and a row tells where the chip is not golden."""
    device, images = roomy(chips, 1), samples("digits")[0][:4]
    trace = golden.run(digits, spikes_of(digits, images))
    spikes, seen = (boards.simulated(device, digits, trace, some) for some in (None, images))
    assert (spikes["mismatches"], seen["mismatches"], seen["answers that differ"]) == (0, 0, 0)
    assert spikes["cycles"] != seen["cycles"] > 25 * 64 and "answers that differ" not in spikes
    other = golden.run(digits, np.roll(spikes_of(digits, images), 1, axis=0))
    other.spikes["input"] = trace.spikes["input"]
    assert boards.simulated(device, digits, other)["mismatches"] > 0
    monkeypatch.setattr(device, "infer", lambda images: np.arange(len(images)))
    assert boards.simulated(device, digits, trace, images)["answers that differ"] > 0


def test_networks_as_a_chip_sees_them(digits: Network) -> None:
    seen = boards.as_chip(digits)
    assert seen.meta["encoding"] == {"name": "lfsr", "steps": 25} and digits.meta["encoding"]["name"] == "rate"
    assert boards.as_chip(zoo("mnist-conv")).meta == zoo("mnist-conv").meta
    weak = digits.replace(meta=digits.meta | {"encoding": {"name": "rate", "steps": 25, "max_rate": 0.5}})
    with pytest.raises(AerloomError, match="no max_rate but 1"):
        boards.as_chip(weak)
