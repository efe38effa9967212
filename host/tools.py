"""What the host asks for and may not import: parts of aerloom that need its hardware description."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from ..models.errors import AerloomError


def tools(name: str) -> Any:
    """The entry point ``name`` of the group ``aerloom.tools``; :class:`AerloomError` where that part is not installed."""
    entries = importlib.metadata.entry_points(group="aerloom.tools", name=name)
    if not entries:
        raise AerloomError(f"{name} need the whole of aerloom: pip install 'aerloom[boards]'")
    return next(iter(entries)).load()
