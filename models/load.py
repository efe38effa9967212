"""Networks from the files and objects of every framework of the field."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import lava, live, nir
from . import semantics as rules
from .build import Build, Finding, build
from .errors import AerloomError, AerloomWarning
from .files import reading
from .graph import Graph
from .network import Network
from .semantics import Semantics

ZIP = b"PK\x03\x04"  # how a NumPy archive begins
HDF5 = b"\x89HDF"


def load(
    source: Any, semantics: str | Semantics | None = None, *, shape: Sequence[int] | None = None, **changes: Any
) -> Network:
    """The network in ``source``, under a named semantics.

    ``source`` is a path or an object:

    * an aerloom network (``.npz``), or a Lava-DL ``netx`` file (HDF5): these say all of it themselves
    * a NIR file, or a ``nir.NIRGraph``: ``semantics`` names the framework whose rules the neurons follow (one of
      :data:`aerloom.models.semantics.PRESETS`)
    * a module of snnTorch, Norse, SpikingJelly, Sinabs or Rockpool with its layers in sequence; ``shape`` is that of one
      input where the first layer does not say it

    Without ``semantics`` a NIR file is read by the text of its specification with forward Euler and dt = 1e-4, and an
    :class:`AerloomWarning` says so. ``changes`` replace single fields of the semantics, as ``dt=1e-3``. What was in force,
    and what is worth knowing, is in the network's ``meta``. Raises :class:`AerloomError` that names every node that cannot
    be taken, and why.
    """
    if isinstance(source, str | os.PathLike) and (ready := _ready(Path(source), semantics, changes)) is not None:
        return ready
    chosen = rules.semantics(semantics, **changes)
    graph = read(source, shape, chosen)
    if semantics is None and isinstance(source, str | os.PathLike):
        warnings.warn(stated(graph, chosen), AerloomWarning, stacklevel=2)
    return build(graph, chosen)


def check(
    source: Any, semantics: str | Semantics | None = None, *, shape: Sequence[int] | None = None, **changes: Any
) -> Build:
    """What :func:`load` would make of every node, before any of it is made: see :attr:`Build.findings`."""
    chosen = rules.semantics(semantics, **changes)
    return Build(read(source, shape, chosen), chosen)


def read(source: Any, shape: Sequence[int] | None = None, semantics: Semantics | None = None) -> Graph:
    """The graph of a NIR file or of an object."""
    if isinstance(source, str | os.PathLike):
        return nir.read(source)
    if hasattr(source, "nodes") and hasattr(source, "edges") and hasattr(source, "to_dict"):
        return nir.from_object(source)
    return live.graph(source, shape)


def stated(graph: Graph, semantics: Semantics) -> str:
    """Which rules are in force, and whose the file seems to be."""
    looks = rules.hint(list(graph.nodes.values()))
    whose = f"; its fields look like those of {looks}" if looks and looks != semantics.name else ""
    return (f"{graph.origin}: read as semantics={semantics.name!r}: {semantics.describe()}{whose}. A NIR file does not say "
            f"which rules its neurons follow; name the framework it was trained in: {', '.join(rules.PRESETS)}")


def _ready(path: Path, semantics: Any, changes: dict[str, Any]) -> Network | None:
    """The network of a file that needs no semantics."""
    with reading(path), path.open("rb") as file:
        start = file.read(4)
    if start == ZIP or (start != HDF5 and path.suffix == ".npz"):
        made = Network.load(path)
    elif start == HDF5 and lava.is_netx(path):
        made = lava.read(path)
    elif path.suffix == ".onnx":
        raise AerloomError(f"{path}: an ONNX network does not spike; aerloom.convert makes one of it that does")
    else:
        return None
    if semantics not in (None, "lava") or changes:
        raise AerloomError(f"{path}: says itself how its neurons run; semantics cannot be given")
    return made


__all__ = ["Finding", "check", "load", "read", "stated"]
