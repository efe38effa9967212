"""Fabrics in files, beside the presets."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from .errors import AerloomError
from .fabric import PRESETS, Fabric
from .files import reading, write_whole

__all__ = ["named", "read", "write"]


def named(name: str) -> Fabric:
    """The preset called ``name``, or the Fabric of the file ``name``."""
    return read(Path(name)) if name not in PRESETS and name.endswith(".json") else Fabric.preset(name)


def read(path: Path) -> Fabric:
    """A Fabric from a file that :func:`write` wrote: its sizes by name, in JSON. Those left out are the defaults."""
    try:
        with reading(path):
            sizes = json.loads(path.read_text())
    except ValueError as e:
        raise AerloomError(f"{path}: not a Fabric in JSON ({e})") from None
    if not isinstance(sizes, dict):
        raise AerloomError(f"{path}: not a Fabric: it must be an object of sizes by name")
    if unknown := sizes.keys() - {f.name for f in dataclasses.fields(Fabric)}:
        raise AerloomError(f"{path}: a Fabric has no {sorted(unknown)[0]!r}")
    if not isinstance(sizes.setdefault("name", path.stem), str):
        raise AerloomError(f"{path}: not a Fabric: its name must be text, not {sizes['name']!r}")
    return Fabric(**sizes)


def write(fabric: Fabric, path: Path) -> None:
    """Write a Fabric for :func:`read`."""
    write_whole(path, (json.dumps(dataclasses.asdict(fabric), indent=1) + "\n").encode())
