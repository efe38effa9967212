# amaranth: UnusedElaboratable=no
# (a chip stays unused where the engine for it is unknown, or cannot run here)
"""A link to a chip that is being simulated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..hdl.chip import Chip
from ..hdl.joined import Joined
from ..host.link import KIND_SHIFT, REPLIES
from ..models.contents import EMPTY, Contents
from ..models.fabric import Fabric
from ..models.packets import Words
from .engine import Engine, open_engine

SILENT = 10_000_000  # clock cycles in which no packet needs to move: a chip may be busy with a whole image


class SimLink:
    """The chip's two streams, driven by a simulation engine. Time stands still between exchanges."""

    def __init__(self, fabric: Fabric, engine: Engine) -> None:
        self.fabric, self.engine = fabric, engine

    def exchange(self, words: Words, replies: int, progress: Callable[[int], Any] | None = None) -> Words:
        """See :class:`aerloom.host.link.Link`."""
        self.engine.progress = progress
        return np.asarray(self.engine.exchange({"i": words}, {"o": replies})["o"], np.uint32)

    def close(self) -> None:
        """End the simulation."""
        self.engine.close()


def connect(fabric: Fabric | None = None, engine: str = "compiled", contents: Contents = EMPTY, **options: Any) -> SimLink:
    """Simulate the chip, or the chips, of ``fabric`` (the preset ``medium`` by default) on one of
    :data:`aerloom.sim.engine.ENGINES`.

    ``contents`` are those of its memories from the start, of :func:`aerloom.models.contents.baked`.
    """
    fabric = fabric or Fabric.preset("medium")
    replies = sum(1 << int(kind) for kind in REPLIES)
    chip = Chip(fabric, contents) if fabric.chips == 1 else Joined(fabric, contents)
    return SimLink(fabric, open_engine(chip, engine, counted={"o": (KIND_SHIFT, replies)}, **{"budget": SILENT} | options))
