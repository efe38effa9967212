"""What a board is: data. Each family's boards are in a file of their own, and :data:`BOARDS` has them all."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..models.errors import AerloomError
from ..models.fabric import Fabric

__all__ = ["BAUD", "FTDI", "Board", "Family", "Resources"]

#: Bits per second, of those that :data:`aerloom.host.serial.BAUDS` tries: what most adapters can do, and the most of an
#: FT231X. An FT2232H could be faster, but not from the clock of a small chip.
BAUD, FTDI = 1_000_000, 3_000_000


@dataclass(frozen=True)
class Resources:
    """What a device has, or what a design takes of it."""

    lut: int  #: four-input look-up tables, those used as carry chains and small memories included
    ff: int
    bram: int  #: blocks of :attr:`Family.shapes`
    dsp: int = 0
    spram: int = 0  #: 256-kbit single-port memories

    def over(self, have: Resources) -> dict[str, tuple[int, int]]:
        """What is too much: need and have by name."""
        pairs = {name: (getattr(self, name), getattr(have, name)) for name in self.__dataclass_fields__}
        return {name: pair for name, pair in pairs.items() if pair[0] > pair[1]}


@dataclass(frozen=True)
class Family:
    """How a family of devices is built for, with tools from PyPI alone."""

    name: str
    synthesis: tuple[str, ...]  #: Yosys commands, behind those of ``spare_blocks``
    tidies: str = ""  #: the stage of synthesis before which a design is tidied and tried again, where Yosys gives up
    #: changes Yosys' netlist, as write_json has it; no part of what builds are kept by, as its text would be an address
    refine: Callable[[dict[str, Any]], object] | None = field(default=None, repr=False)
    route: str = ""  #: nextpnr; empty: a Vivado project is written instead
    placing: tuple[str, ...] = ()  #: options for it on every board
    pack: str = ""
    suffix: str = ""  #: of the bitstream
    constraints: str = ""  #: suffix of the file that Amaranth writes
    shapes: tuple[tuple[int, int], ...] = ()  #: bits and words that a block of RAM can have
    block_cost: int = 128  #: as Yosys weighs a block against small memories made of look-up tables (4 for 16×4 bits)
    lutram: bool = True
    #: a flip-flop comes with a look-up table, which a neighbour can use only if it makes what the flip-flop keeps
    paired: bool = field(default=False, repr=False)
    #: kinds of tables that are in blocks of RAM, however few words they have, while there are blocks: the first that gets
    #: none is the last
    spare_blocks: tuple[str, ...] = ()
    large: tuple[int, int] = (0, 0)  #: bits and words of the memories that weights go to; (0, 0): they go to blocks of RAM
    cells: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: names in nextpnr's report, by resource

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def commands(self) -> tuple[str, ...]:
        """All that Yosys does: tables that are to be in blocks of RAM are marked first."""
        kinds = " ".join(f"a:{kind}" for kind in self.spare_blocks)
        return (f'setattr -set ram_style "block" {kinds}',) * bool(kinds) + self.synthesis


@dataclass(frozen=True)
class Board:
    """A board.

    Parameters
    ----------
    platform
        ``module:Class`` of amaranth-boards, or of :mod:`aerloom.boards.platforms` where it has none.
    clock
        Hz, of the board's oscillator.
    fabric
        What is built unless something else is asked for.
    options
        For place and route, and for the packer.
    flash
        Commands that load the bitstream ``{}``, best first.
    uart
        Where the host is connected: in words, as it is printed.
    """

    name: str
    title: str
    family: Family
    device: str
    platform: str
    clock: float
    resources: Resources
    fabric: Fabric
    options: tuple[str, ...] = ()
    pack_options: tuple[str, ...] = ()
    flash: tuple[tuple[str, ...], ...] = ()
    uart: str = "USB"
    baud: int = BAUD

    @cached_property
    def platform_class(self) -> Any:
        """The class of amaranth-boards; raises :class:`AerloomError` where that package is too old to have it."""
        module, name = self.platform.split(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as e:
            raise AerloomError(f"board {self.name} needs {self.platform}: install a newer amaranth-boards ({e})") from e

    @property
    def weights(self) -> tuple[int, int]:
        """8-bit and 4-bit weights that the default Fabric holds."""
        stored = self.fabric.cores * self.fabric.weight_words * self.fabric.lanes
        return stored * self.fabric.weight_bits // 8, stored * self.fabric.weight_bits // 4
