"""Words for people."""

from __future__ import annotations

__all__ = ["counted", "percent"]


def counted(n: int, noun: str) -> str:
    """``1 core``, ``1,200 cores``: for nouns with a plural in s."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def percent(value: float | None) -> str:
    """``98.65 %`` of a share; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.2f} %"
