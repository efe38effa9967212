"""Words for people."""

from __future__ import annotations

__all__ = ["counted"]


def counted(n: int, noun: str) -> str:
    """``1 core``, ``1,200 cores``: for nouns with a plural in s."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
