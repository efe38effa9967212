"""Real bitstreams, of small chips: minutes each, so they are `full`; skipped by name without the tools."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from amaranth.lib import wiring
from netlist import need
from typer.testing import CliRunner

from aerloom import connect
from aerloom.boards import build as builds
from aerloom.boards import clocks, report, tools
from aerloom.boards.board import Board, Resources
from aerloom.boards.catalogue import find
from aerloom.boards.tailor import grown
from aerloom.host import picture
from aerloom.host.cli import boards as cli
from aerloom.models import golden, zoo
from aerloom.models.contents import baked
from aerloom.models.errors import AerloomError, AerloomWarning
from aerloom.models.fabric import Fabric
from aerloom.models.place import place
from aerloom.models.quantize import quantize
from aerloom.sim import build as sim_build

TINY = Fabric.preset("tiny")
BUILDS = {
    "ulx3s-25f": replace(TINY, lanes=8),
    "tang-nano-20k": TINY,
    "ice40-hx8k": find("ice40-hx8k").fabric,
}


@pytest.mark.full
@pytest.mark.parametrize("name", BUILDS)
def test_bitstream(name: str, tmp_path: Path) -> None:
    board, fabric = find(name), BUILDS[name]
    need("yosys", board.family.route, board.family.pack)
    made = builds.build(board, fabric, tmp_path)
    assert made.fmax is not None and made.fmax >= made.clock > 0 and made.slack is not None and made.slack >= 0
    assert (tmp_path / made.bitstream).stat().st_size > 10_000
    assert not made.used.over(made.have) and made.used.lut > 1000 and made.used.ff > 1000 and made.used.bram > 0
    assert made.path and sum(m["lut"] for m in made.modules.values()) > 1000
    assert any("neurons" in module for module in made.modules) and any("synapses" in module for module in made.modules)
    picture.utilisation(tmp_path / "utilisation.png", made.as_dict(), json.loads((tmp_path / "floor.json").read_text()))
    assert (tmp_path / "utilisation.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.full
@pytest.mark.parametrize("name", ["arty-a7-35", "pynq-z2"])
def test_vivado_project_is_sound(name: str, tmp_path: Path) -> None:
    """Yosys reads the design that the project is of, and finds everything that it names."""
    need("yosys")
    made = builds.build(find(name), replace(TINY, weight_words=64), tmp_path)
    assert made.fmax is None and made.bitstream == ""
    script = (tmp_path / "top.tcl").read_text()
    assert made.device.replace("-1L", "") in script.replace("{", "").replace("}", "") and "top.xdc" in script
    assert b"uart" in (tmp_path / "top.xdc").read_bytes()
    tools.run("yosys", ["-q", "-p", "read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v; read_verilog top.v; "
                                    "hierarchy -check -top top; proc; check -assert"], tmp_path)


@pytest.mark.full
def test_build_that_does_not_fit(tmp_path: Path) -> None:
    board = find("icebreaker")
    need("yosys", "nextpnr-ice40", "icepack")
    with pytest.raises(AerloomError, match=r"does not fit on icebreaker: its memories take \d+ blocks of RAM.* has 30;"):
        builds.build(board, replace(board.fabric, parameter_rows=2048), tmp_path / "memories")
    with pytest.raises(AerloomError, match=r"nextpnr-ice40 failed(.|\n)*Its log: .*nextpnr-ice40.log") as caught:
        builds.build(replace(board, options=("--up5k", "--package", "none")), board.fabric, tmp_path)
    assert Path(str(caught.value).rpartition("Its log: ")[2]).is_file()


def test_command_line() -> None:
    """What needs no tools: the list, a network that does not fit, a board that does not exist."""
    app = typer.Typer()
    app.command()(cli.boards)
    app.command()(cli.build)
    app.command()(cli.flash)
    run = CliRunner().invoke
    listed = {b["board"]: b for b in json.loads(run(app, ["boards", "--json"]).stdout)["boards"]}
    assert listed["ulx3s-85f"]["lanes"] == 16 and listed["ulx3s-85f"]["synapses_4"] == 2 * listed["ulx3s-85f"]["synapses_8"]
    assert run(app, ["boards"]).exit_code == 0
    for arguments, text in ((["build", "mnist-conv", "--board", "icebreaker", "-o", "x"], "does not fit on icebreaker: "),
                            (["build", "digits", "--board", "nothing", "-o", "x"], "no board is called 'nothing'"),
                            (["flash", "nowhere"], "nowhere: there is no such file or folder"),
                            (["flash", __file__], "does not say which board")):
        assert text in str(run(app, arguments).exception)


@pytest.mark.parametrize("options", [["--bake"], []])
def test_bake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str]) -> None:
    """What a build is asked for: a chip with the network inside, in samples of as many steps as it says; or empty."""
    asked: dict[str, Any] = {}

    def build(board: Board, fabric: Fabric, out: Path, **options: Any) -> None:
        asked.update(options, fabric=fabric)
        raise AerloomError("enough")

    monkeypatch.setattr(builds, "build", build)
    app = typer.Typer()
    app.command()(cli.build)
    result = CliRunner().invoke(app, ["digits", "--board", "ulx3s-85f", *options, "-o", str(tmp_path)])
    assert str(result.exception) == "enough"
    digits = quantize(zoo.load("digits"), 8).network
    inside = baked(place(digits, asked["fabric"]), steps=25)
    assert asked["contents"].digest == (inside.digest if options else "")


def test_timing_not_met(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clock that was asked for is an error that says which one would do; otherwise the clock is lowered."""
    board = find("ulx3s-25f")
    tried: list[float] = []

    def attempt(job: builds.Job, setting: clocks.Setting, work: Path, told: Callable[[str], object]) -> report.Report:
        tried.append(setting.frequency)
        (work / "route.log").write_text("a log")
        return report.Report(board.name, board.device, {"lanes": 1, "cores": 1}, setting.frequency, job.baud, 20e6,
                             Resources(1, 1, 1), board.resources, [{"at": "from.here"}, {"at": "to.there"}])

    monkeypatch.setattr(builds, "once", attempt)
    monkeypatch.setattr(tools, "version", lambda name: name)
    monkeypatch.setattr(tools, "command", lambda name: [name])
    with pytest.raises(AerloomError, match=r"timing allows 20 MHz; build it with --clock 17.86\. .*from.here → to.there"):
        builds.build(board, board.fabric, tmp_path / "out", clock=50e6, baud=1_000_000, cache=tmp_path / "cache")
    assert (tmp_path / "out/route.log").read_text() == "a log"
    with pytest.warns(AerloomWarning, match="MHz is too fast for it: timing allows 20 MHz; once more at"):
        made = builds.build(board, board.fabric, tmp_path / "out", cache=tmp_path / "cache")
    assert made.clock <= 20e6 and len(tried) == 3
    assert builds.build(board, board.fabric, tmp_path / "again", cache=tmp_path / "cache") == made and len(tried) == 3


def test_what_is_interrupted_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def attempt(job: builds.Job, setting: clocks.Setting, work: Path, told: Callable[[str], object]) -> report.Report:
        (work / "top.json").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(builds, "once", attempt)
    monkeypatch.setattr(tools, "version", lambda name: name)
    monkeypatch.setattr(tools, "command", lambda name: [name])
    board = find("ulx3s-25f")
    with pytest.raises(KeyboardInterrupt):
        builds.build(board, board.fabric, tmp_path / "out", cache=tmp_path / "cache")
    assert [path.name for path in tmp_path.rglob("*")] == ["cache"]


# --- what the synthesis script takes for granted


@pytest.mark.full
def test_no_read_of_a_word_that_is_being_written_matters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A chip whose memories give the new word there, where Amaranth's give the old one, computes the same."""
    digits = quantize(zoo.load("digits"), 8).network
    design, changed = sim_build.design, []

    def transparent(dut: wiring.Component) -> str:
        text, count = re.subn(r"parameter \\TRANSPARENCY_MASK 1'0", r"parameter \\TRANSPARENCY_MASK 1'1", design(dut))
        assert "TRANSPARENCY_MASK 2'" not in text
        changed.append(count)
        return text

    monkeypatch.setattr(sim_build, "design", transparent)
    monkeypatch.setattr(sim_build, "identity", transparent)
    fabric = grown(digits, replace(Fabric.preset("tiny"), state_bits=18, sum_bits=20))[0]
    spikes = np.random.default_rng(1).integers(0, 2, (4, 25, digits.inputs[0].size), np.uint8)
    with connect("sim", fabric, engine="compiled", cache=tmp_path) as device:
        device.load(digits)
        result = device.run(spikes)
    assert changed and changed[0] > 15
    np.testing.assert_array_equal(result.spikes[digits.outputs[0]], golden.run(digits, spikes).spikes[digits.outputs[0]])
