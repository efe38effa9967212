"""Tools from PyPI (YoWASP): finding them, running them, and saying what went wrong."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

from ..models.errors import AerloomError

__all__ = ["command", "last_lines", "run", "version"]

MISSING = "{} is not installed: pip install 'aerloom[boards]'"


def command(name: str) -> list[str]:
    """How to start a tool; raises :class:`AerloomError` saying what to install.

    The one of this Python's environment, else of PATH. A Yosys or nextpnr of the system is not taken: distributions have
    versions years old, which reject what Amaranth writes.
    """
    program = name if name.startswith("gowin_") else f"yowasp-{name}"
    here = Path(sys.executable).parent / program
    if path := str(here) if here.exists() else shutil.which(program):
        return [path]
    raise AerloomError(MISSING.format(program))


@lru_cache
def version(name: str) -> str:
    """Of Yosys or a nextpnr: that of its package, or of another environment's what it says about itself."""
    program = command(name)[0]
    if Path(program).parent == Path(sys.executable).parent:
        return f"{name} {importlib.metadata.version(f'yowasp-{name}')}"
    done = subprocess.run([program, "-V" if name == "yosys" else "--version"], capture_output=True, text=True)
    said = re.search(r"Yosys [\d.+]+|Version [^\s)]+", done.stdout + done.stderr)
    return f"{name} {said[0] if said else Path(program).stat().st_mtime_ns}"


def run(name: str, arguments: list[str], folder: Path) -> float:
    """Run a tool in `folder`, its output into ``NAME.log`` there; gives the seconds it took.

    Raises :class:`AerloomError` with its last lines and the log's path. File names must be relative: the tools see a file
    system of their own.
    """
    log = folder / f"{name}.log"
    began = time.monotonic()
    with log.open("w") as out:
        out.write(" ".join([name, *arguments]) + "\n\n")
        out.flush()
        code = subprocess.run([*command(name), *arguments], cwd=folder, stdout=out, stderr=subprocess.STDOUT).returncode
    if code:
        raise AerloomError(f"{name} failed ({code}):\n{last_lines(log.read_text(errors='replace'))}\nIts log: {log}")
    return time.monotonic() - began


def last_lines(text: str, count: int = 8) -> str:
    """The errors in a log, else its end."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return "\n".join(f"  {line[:300]}" for line in (errors or lines)[-count:])
