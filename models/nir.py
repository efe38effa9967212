"""NIR files and objects to a :class:`~aerloom.models.graph.Graph`.

A ``.nir`` is HDF5, and is read as such: ``nir.read`` refuses files that its own exporters wrote (missing ``v_reset``,
shapes, edges into a subgraph), and an importer has to live with those. Objects of the ``nir`` package are taken too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import AerloomError
from .files import reading
from .graph import Graph, Node

LARGEST = 1 << 31  #: bytes of an array that is still read
SEPARATOR = "."  #: between the names of a subgraph and of a node in it
IGNORED = ("type", "name", "nodes", "edges", "metadata", "input_shape", "output_type")


def read(path: str | os.PathLike[str]) -> Graph:
    """The graph in a NIR file; raises :class:`AerloomError` for a file that is not one, or is damaged."""
    h5py = hdf5()
    with reading(path), open(path, "rb"):
        is_hdf5 = h5py.is_hdf5(path)
    if not is_hdf5:
        raise AerloomError(f"{path}: not a NIR file, or damaged: it does not begin as HDF5 does")
    try:
        with h5py.File(path, "r") as file:
            if "node" not in file:
                raise AerloomError(f"no NIR graph in it: it has {', '.join(file) or 'nothing'} and no 'node'")
            return from_dict(_contents(file["node"], h5py), str(path))
    except AerloomError as e:
        raise AerloomError(f"{path}: {e}") from None
    except Exception as e:  # h5py raises whatever the damage leads to
        raise AerloomError(f"{path}: not a NIR file, or damaged ({type(e).__name__}: {e})") from None


def hdf5() -> Any:
    """The h5py package; raises :class:`AerloomError` where it is missing."""
    try:
        import h5py
    except ImportError:
        raise AerloomError("reading this file needs h5py: pip install 'aerloom[nir]'") from None
    return h5py


def from_object(graph: Any) -> Graph:
    """The graph of a ``nir.NIRGraph``."""
    return from_dict(graph.to_dict(), f"{type(graph).__module__}.{type(graph).__name__}")


def _contents(group: Any, h5py: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            out[name] = _contents(item, h5py)
        elif item.nbytes > LARGEST:
            raise AerloomError(f"{item.name}: {item.nbytes / 2**30:,.0f} GiB in one array; the file is damaged")
        else:
            out[name] = _plain(item[()])
    return out


def _plain(value: Any) -> Any:
    """bytes as text, also in arrays of them."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return [_plain(v) for v in value.tolist()] if value.ndim else _plain(value.item())
    return [_plain(v) for v in value] if isinstance(value, list) else value


def from_dict(graph: Mapping[str, Any], origin: str = "") -> Graph:
    """The graph of what ``NIRGraph.to_dict`` gives; subgraphs are laid open, their nodes called ``subgraph.node``."""
    nodes: dict[str, Node] = {}
    refused: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    _lay_open(graph, "", nodes, refused, edges)
    return Graph(nodes, edges, origin, refused)


def _lay_open(graph: Mapping[str, Any], prefix: str, nodes: dict[str, Node], refused: dict[str, str],
              edges: list[tuple[str, str]]) -> None:
    inside = graph.get("nodes")
    if not isinstance(inside, Mapping) or not inside:
        raise AerloomError(f"{prefix or 'the graph'} has no nodes")
    ends: dict[str, dict[str, list[str]]] = {}  # of subgraphs: the names that edges into and out of them mean
    for name, fields in inside.items():
        full, kind = prefix + name, str(fields.get("type", "of no type"))
        if kind == "NIRGraph":
            _lay_open(fields, full + SEPARATOR, nodes, refused, edges)
            own = [n for n in nodes if n.startswith(full + SEPARATOR) and SEPARATOR not in n[len(full) + 1:]]
            ends[name] = {k: [n for n in own if nodes[n].kind == k] for k in ("Input", "Output")}
            for n in own:
                if nodes[n].kind in ("Input", "Output"):
                    nodes[n] = Node(n, "Identity")
        else:
            try:
                nodes[full] = Node(full, kind, {k: v for k, v in fields.items() if k not in IGNORED})
                _own_up(nodes[full], fields)
            except AerloomError as e:
                refused[full] = str(e)
    for edge in graph.get("edges", ()):
        if len(edge) != 2:
            raise AerloomError(f"an edge must be two names, not {edge!r}")
        a, b = map(str, edge)
        for source in _meant(a, "Output", ends, prefix, nodes | refused):
            edges += [(source, target) for target in _meant(b, "Input", ends, prefix, nodes | refused)]


def _own_up(node: Node, fields: Mapping[str, Any]) -> None:
    """Shapes of an Input, whichever way they are written."""
    if node.kind == "Input":
        shape = fields.get("shape", fields.get("input_type", fields.get("output_type")))
        node.fields["shape"] = next(iter(shape.values()), None) if isinstance(shape, Mapping) else shape


def _meant(name: str, end: str, ends: Mapping[str, Any], prefix: str, known: Mapping[str, Any]) -> list[str]:
    """The nodes that a name in an edge means: itself, the ends of a subgraph, or a node inside one (``sub.node``)."""
    if name in ends:
        if not ends[name][end]:
            raise AerloomError(f"subgraph {prefix}{name} has no {end} for the edge that names it")
        return list(ends[name][end])
    if prefix + name not in known and name in known:
        return [name]  # an edge in a subgraph that calls its node by the full name
    if prefix + name not in known and (inner := name.partition(SEPARATOR))[0] in ends and prefix + inner[2] in known:
        return [prefix + inner[2]]
    return [prefix + name]
