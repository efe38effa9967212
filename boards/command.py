"""What the command line reaches through the entry point `boards` of the group `aerloom.tools`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..models.contents import Contents
from ..models.fabric import Fabric
from ..models.golden import Trace
from ..models.network import Network
from . import build as builds
from .catalogue import BOARDS, find
from .estimate import estimate
from .fit import fit_on
from .flash import command as flash_command
from .flash import flash
from .tailor import bare as bare_fabric

__all__ = ["BOARDS", "bare", "build", "find", "fit", "flash_board", "listing"]


def listing() -> list[dict[str, Any]]:
    """Every board, and what its default Fabric holds there."""
    return [
        {
            "board": b.name, "title": b.title, "device": b.device, "clock": b.clock, "baud": b.baud, "uart": b.uart,
            "resources": b.resources.__dict__, "fabric": b.fabric.name, "sizes": dataclasses.asdict(b.fabric),
            "cores": b.fabric.cores, "lanes": b.fabric.lanes,
            "neurons": b.fabric.cores * b.fabric.neurons, "synapses_8": b.weights[0], "synapses_4": b.weights[1],
            "fits": not (guess := estimate(b.fabric, b.family)).used.over(b.resources), "fmax": guess.fmax,
            "bitstream": bool(b.family.route),
        }
        for b in BOARDS.values()
    ]


def fit(network: Network, board: str, fabric: Fabric | None = None, trace: Trace | None = None) -> dict[str, Any]:
    """:func:`~aerloom.boards.fit.fit_on`, as plain data."""
    return fit_on(network, board, fabric, trace).as_dict()


def bare(network: Network, name: str, **sizes: int) -> Fabric:
    """:func:`~aerloom.boards.tailor.bare`, the Fabric alone."""
    return bare_fabric(network, name, **sizes)[0]


def build(board: str, fabric: Fabric | None, out: Path, *, clock: float | None, baud: int | None, seed: int,
          contents: Contents, told: Callable[[str], object]) -> dict[str, Any]:
    """:func:`~aerloom.boards.build.build`, as plain data."""
    found = find(board)
    made = builds.build(found, fabric or found.fabric, out, clock=clock, baud=baud, seed=seed, contents=contents, told=told)
    return made.as_dict()


def flash_board(board: str, bitstream: Path, only_tell: bool = False) -> list[str]:
    """:func:`~aerloom.boards.flash.flash`; ``only_tell``: gives the command and runs nothing."""
    return flash_command(find(board), bitstream)[0] if only_tell else flash(find(board), bitstream)
