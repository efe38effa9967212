"""Every board there is."""

from ..models.errors import AerloomError
from . import amd, ecp5, gowin, ice40
from .board import Board

__all__ = ["BOARDS", "find"]

BOARDS = {board.name: board for family in (ecp5, ice40, gowin, amd) for board in family.BOARDS}


def find(name: str) -> Board:
    """The board called `name`; raises :class:`AerloomError` naming the boards there are."""
    try:
        return BOARDS[name]
    except KeyError:
        raise AerloomError(f"no board is called {name!r}; there are {', '.join(BOARDS)}") from None
