"""Words for people."""

from aerloom.models.text import counted, percent


def test_singular_and_plural() -> None:
    assert [counted(n, "core") for n in (0, 1, 2, 1200)] == ["0 cores", "1 core", "2 cores", "1,200 cores"]


def test_shares() -> None:
    assert [percent(share) for share in (0.98654, 1.0, None)] == ["98.65 %", "100.00 %", "–"]
