"""Fabrics that take a network: the board's own, made larger where the network needs it, and leaner ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..models.errors import AerloomError
from ..models.fabric import Fabric
from ..models.image import vision
from ..models.network import Network
from ..models.place import Placement, signed_bits

__all__ = ["bare", "grown", "seeing", "tailored"]

ROUNDS = 8
LEAST_LANES = 4
SHRINKABLE = ("update_lanes", "weight_words", "rows", "parameter_rows", "populations", "projections", "places", "inputs",
              "sum_bits", "state_bits", "spike_bits", "refractory_bits")
EXACT = ("state_bits", "sum_bits", "spike_bits", "refractory_bits", "currents")  # others are powers of two, as RAM is


def grown(network: Network, fabric: Fabric) -> tuple[Fabric, Placement]:
    """The Fabric with whatever the network needs more of; it may be too large for any board."""
    placement = Placement(network, fabric)
    for _ in range(ROUNDS):
        if not placement.problems:
            break
        needs: dict[str, int] = {}
        for problem in placement.problems:
            needs[problem.size] = max(needs.get(problem.size, 0), problem.need)
        sizes: dict[str, Any] = {n: v if n in EXACT else 1 << (v - 1).bit_length() for n, v in needs.items()}
        try:
            fabric = replace(fabric, name=f"{fabric.name.removesuffix('+')}+", **sizes)
        except AerloomError:  # more than any Fabric can have
            break
        placement = Placement(network, fabric)
    return fabric, placement


def seeing(network: Network, fabric: Fabric) -> Fabric:
    """The Fabric with an encoder for the network's images and a readout for its answers; as it is where no chip makes the
    spikes of the network's encoding."""
    sizes: dict[str, Any] = vision(network)
    try:
        return replace(fabric, name=f"{fabric.name}-vision", **sizes) if sizes else fabric
    except AerloomError:  # more than any Fabric can have
        return fabric


def tailored(network: Network, fabric: Fabric) -> Iterator[tuple[Fabric, Placement]]:
    """Fabrics for the network, in the order in which one would want them: the board's own, grown; with weights as narrow
    as the network's; with fewer lanes; and with nothing that this network does not need."""
    yield grown(network, fabric)
    bits = max((signed_bits(int(q.weights.min()), int(q.weights.max())) for q in network.projections), default=1)
    narrow = min(fabric.weight_bits, 1 << (bits - 1).bit_length())
    widths = [lanes for n in range(fabric.lanes.bit_length()) if (lanes := fabric.lanes >> n) >= LEAST_LANES]
    for lanes in widths or [fabric.lanes]:
        lean = replace(fabric, name=f"{fabric.name}-{lanes}x{narrow}", lanes=lanes, weight_bits=narrow,
                       update_lanes=min(lanes, fabric.update_lanes))
        if (lanes, narrow) != (fabric.lanes, fabric.weight_bits):
            yield grown(network, lean)
    yield bare(network, f"{fabric.name}-bare", lanes=lean.lanes, weight_bits=narrow, pipelined=fabric.pipelined,
               pixels=fabric.pixels, classes=fabric.classes)


def bare(network: Network, name: str, **sizes: int) -> tuple[Fabric, Placement]:
    """A Fabric of these sizes with nothing that the network does not need."""
    least: dict[str, Any] = dict.fromkeys(SHRINKABLE, 1) | {"keys": 2, "places": 0, "currents": False} | sizes
    fabric, placement = grown(network, Fabric(name, **least))
    return replace(fabric, name=name), placement
