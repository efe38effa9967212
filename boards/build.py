"""From a Fabric and a board to a bitstream, kept by the hash of all that it was made from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..hdl.board import fingerprint
from ..models.contents import EMPTY, Contents
from ..models.errors import AerloomError, AerloomWarning
from ..models.fabric import Fabric
from ..models.files import folder
from . import clocks, report, tools
from .board import Board
from .estimate import estimate, suited
from .report import Report
from .synthesis import synthesise
from .top import Top

__all__ = ["Job", "build", "once", "prepare"]

ATTEMPTS = 4  # at slower and slower clocks
MARGIN = 0.92  # of what is expected or the last attempt reached, as each is placed differently
Told = Callable[[str], object]


@dataclass(frozen=True)
class Job:
    """What is to be built: a chip, what is in it from the start, for a board. ``seed``: of placement."""

    board: Board
    fabric: Fabric
    contents: Contents
    baud: int
    seed: int


def prepare(job: Job, setting: clocks.Setting) -> dict[str, bytes]:
    """The files that Amaranth writes for a board: the design and its constraints."""
    pll = clocks.pll(job.board, setting)
    top = Top(job.fabric, setting.frequency, job.baud, pll, contents=job.contents)
    plan = job.board.platform_class().prepare(top, "top")
    return {name: text.encode() if isinstance(text, str) else text for name, text in plan.files.items()}


def build(board: Board, fabric: Fabric, out: Path | str, *, clock: float | None = None, baud: int | None = None,
          seed: int = 1, contents: Contents = EMPTY, cache: Path | str | None = None, told: Told = lambda step: None
          ) -> Report:
    """Make a bitstream of `fabric` for `board`, and put it, its report and its logs into the folder `out`.

    The chip's memories begin with `contents` (of :func:`aerloom.models.contents.baked`), and can be loaded over. Its clock
    is `clock` Hz, or what timing supports. ``told`` hears which step begins; an :class:`AerloomWarning` says where
    timing was not met and a slower clock is tried. What was built before, by the same tools, is taken from the cache.

    Raises :class:`AerloomError` where a tool is missing or fails, the design does not fit, or `clock` is too fast for it.
    """
    board = suited(board, fabric)
    out, job = Path(out), Job(board, fabric, contents, baud or board.baud, seed)
    if not board.family.route:
        return _project(job, out, clock, told)
    tools.command(board.family.pack)  # comes with nextpnr, in the same version
    versions = [tools.version(name) for name in ("yosys", board.family.route)]
    made = cache_folder(cache) / identity(job, clock, versions)
    if not (made / "aerloom.json").exists():
        setting = clocks.fastest(board, clock or estimate(fabric, board.family).fmax * MARGIN, job.baud)
        if clock and abs(setting.frequency - clock) > 0.05 * clock:
            raise AerloomError(f"board {board.name} makes {setting.frequency / 1e6:.4g} MHz, but not {clock / 1e6:.4g} MHz")
        made.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(ATTEMPTS):
            work = Path(tempfile.mkdtemp(prefix="build-", dir=made.parent))
            try:
                done = once(job, setting, work, told)
            except AerloomError as e:
                raise AerloomError(_keep_logs(work, out, str(e))) from None
            except BaseException:  # Ctrl-C
                shutil.rmtree(work, ignore_errors=True)
                raise
            if done.fmax is not None and done.fmax >= setting.frequency:
                break
            assert done.fmax is not None
            reached = f"{setting.frequency / 1e6:.4g} MHz is too fast for it: timing allows {done.fmax / 1e6:.4g} MHz"
            slower = clocks.fastest(board, done.fmax * MARGIN, job.baud)
            if clock or attempt == ATTEMPTS - 1:
                raise AerloomError(_keep_logs(
                    work, out, f"{reached}; build it with --clock {slower.frequency / 1e6:.4g}. Its slowest path: "
                    + " → ".join(hop["at"] for hop in done.path[:1] + done.path[-1:]) + f". The log: {work / 'route.log'}"))
            shutil.rmtree(work)
            warnings.warn(f"{reached}; once more at {slower.frequency / 1e6:.4g} MHz", AerloomWarning, stacklevel=2)
            setting = slower
        (work / "aerloom.json").write_text(json.dumps(
            done.as_dict() | {"tools": versions, "bitstream": f"aerloom-{board.name}.{board.family.suffix}"}))
        try:
            os.replace(work, made)
        except OSError:  # somebody else was faster
            shutil.rmtree(work)
    return _deliver(made, out)


def cache_folder(cache: Path | str | None) -> Path:
    return Path(cache) if cache else Path(platformdirs.user_cache_dir("aerloom")) / "boards"


def identity(job: Job, clock: float | None, versions: list[str]) -> str:
    """Equal for builds that give the same bits."""
    steps = ("build.py", "carry.py", "clocks.py", "fanout.py", "floorplan.py", "netlist.py", "outreg.py", "resets.py",
             "synthesis.py", "top.py")
    flow = b"".join(Path(__file__).with_name(name).read_bytes() for name in steps)
    parts = (fingerprint(job.fabric, job.contents), hashlib.sha256(flow).hexdigest(), repr(job.board),
             json.dumps(dataclasses.asdict(job.fabric)), f"{clock} {job.baud} {job.seed}", *versions)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def once(job: Job, setting: clocks.Setting, work: Path, told: Told) -> Report:
    """All that a build takes, in the folder ``work``, whether timing allows the clock or not."""
    board, family, seconds = job.board, job.board.family, {}
    told("elaborate")
    began = time.monotonic()
    for name, text in prepare(job, setting).items():
        if name.endswith((".il", f".{family.constraints}")):
            (work / name).write_bytes(text)
    seconds["elaborate"] = time.monotonic() - began
    told("synthesis")
    netlist, seconds["synthesis"] = synthesise(family, work)
    if (blocks := sum(part["bram"] for part in report.by_module(netlist).values())) > board.resources.bram:
        raise AerloomError(f"{job.fabric.name} does not fit on {board.name}: its memories take {blocks} blocks of RAM, and "
                           f"the board has {board.resources.bram}; fewer weight_words or rows need fewer")
    told("place and route")
    constraints = f"top.{family.constraints}"
    ways = {"ecp5": ["--lpf", constraints, "--textcfg", "top.config"], "gowin": ["--vopt", f"cst={constraints}"]}
    seconds["place and route"] = tools.run(
        family.route,
        [*board.options, *family.placing, "--json", "top.json", "--report", "report.json", "--write", "routed.json",
         "--seed", str(job.seed), "--freq", f"{setting.frequency / 1e6:.6f}", "--timing-allow-fail",
         "-q", "-l", "route.log", *ways.get(family.name, ["--pcf", constraints, "--asc", "top.asc"])],
        work,
    )
    told("pack")
    bits = f"aerloom-{board.name}.{family.suffix}"
    packing = {"ecp5": ["top.config", bits], "gowin": ["-o", bits, "routed.json"]}.get(family.name, ["top.asc", bits])
    seconds["pack"] = tools.run(family.pack, [*board.pack_options, *packing], work)
    facts = report.measured(board, work)
    (work / "floor.json").write_text(json.dumps(facts.pop("placed")))
    for name in ("top.json", "routed.json", "top.il", "top.asc", "top.config"):  # tens of megabytes
        (work / name).unlink(missing_ok=True)
    return Report(board=board.name, device=board.device, fabric=dataclasses.asdict(job.fabric), clock=setting.frequency,
                  baud=job.baud, baked=job.contents.digest, have=board.resources,
                  seconds={k: round(v, 1) for k, v in seconds.items()}, **facts)


def _keep_logs(work: Path, out: Path, message: str) -> str:
    """The message, with the logs where it says they are: in `out`."""
    folder(out)
    for log in work.glob("*.log"):
        shutil.copy(log, out)
    shutil.rmtree(work, ignore_errors=True)
    return message.replace(str(work), str(out))


def _deliver(made: Path, out: Path) -> Report:
    folder(out)
    for path in made.iterdir():
        if path.suffix != ".ys":
            shutil.copy(path, out)
    return Report.from_dict(json.loads((out / "aerloom.json").read_text()))


def _project(job: Job, out: Path, clock: float | None, told: Told) -> Report:
    """A Vivado project: everything but the bitstream."""
    told("elaborate")
    board, guess = job.board, estimate(job.fabric, job.board.family)
    setting = clocks.fastest(board, clock or guess.fmax, job.baud)
    folder(out)
    for name, text in prepare(job, setting).items():
        (out / name).write_bytes(text)
    made = Report(board=board.name, device=board.device, fabric=dataclasses.asdict(job.fabric), clock=setting.frequency,
                  baud=job.baud, baked=job.contents.digest, fmax=None, used=guess.used, have=board.resources)
    (out / "aerloom.json").write_text(json.dumps(made.as_dict()))
    return made
