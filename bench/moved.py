"""What moved since the last commit, and all figures as a table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NOISE = 0.1  #: speeds that differ by less are the same


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Everything in nested JSON, by the way to it; members of lists by what ``when`` or their number says."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from leaves(inner, (*path, str(name)))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for n, inner in enumerate(value):
            yield from leaves(inner, (*path, str(inner.get("when", n)) if isinstance(inner, Mapping) else str(n)))
    else:
        yield ", ".join(path), value


def committed(path: Path) -> dict[str, Any] | None:
    """What the last commit has in a file of results; None where there is none, or no repository."""
    done = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def moved(before: Mapping[str, Any], now: Mapping[str, Any], noise: float = NOISE) -> list[tuple[str, Any, Any]]:
    """Figures that differ, as (which, before, now): numbers by more than ``noise`` of what they were, unless they are
    whole; None where there was, or is, no such figure."""
    old, new = dict(leaves(before)), dict(leaves(now))
    out = []
    for name in dict.fromkeys([*old, *new]):
        a, b = old.get(name), new.get(name)
        if isinstance(a, float) and isinstance(b, (int, float)):
            if abs(b - a) > noise * abs(a):
                out.append((name, a, b))
        elif a != b:
            out.append((name, a, b))
    return out


def markdown(results: Path) -> str:
    """Every figure of a folder of results."""
    lines = ["# Figures", "", "Made by `python -m bench`; speeds are ratios to what ran beside them, on one thread."]
    for path in sorted(results.glob("*.json")):
        made = json.loads(path.read_text())
        lines += ["", f"## {path.stem}", "", made["what"], *tables(made["result"])]
    return "\n".join(lines) + "\n"


def tables(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown: what is alike in rows, the rest one by one."""
    single = {k: v for k, v in result.items() if not isinstance(v, Mapping) and not _records(v)}
    rows = {k: v for k, v in result.items() if isinstance(v, Mapping)}
    columns = {name for row in rows.values() for name in row}
    if 2 * sum(map(len, rows.values())) < len(rows) * len(columns):  # they have little in common
        single |= {f"{k}, {name}": value for k, row in rows.items() for name, value in row.items()}
        rows = {}
    if single:
        yield from ("", "| | |", "|---|---|", *(f"| {name} | {_text(value)} |" for name, value in single.items()))
    if rows:
        yield from _table([{"": name} | dict(row) for name, row in rows.items()])
    for name, records in result.items():
        if _records(records):
            yield from ("", f"{name}:", *_table(records))


def _records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(inner, Mapping) for inner in value)


def _table(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    yield from ("", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|")
    for row in rows:
        yield f"| {' | '.join(_text(row.get(name, '')) for name in columns)} |"


def _text(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
    return text.replace("|", "/").replace("\n", " ")
