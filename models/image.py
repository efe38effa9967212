"""The image of a placed network: the packets that fill the tables and memories of a chip."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .encode import Images, blank
from .fabric import CHIP, CHUNK, Fabric, Kind, Space, Start, route_record
from .grid import shapes
from .network import DECAY_ONE, Network, Population
from .packets import Words, address, packet, split, store, store_chunks

if TYPE_CHECKING:
    from .place import Core, Link, Part, Placement

__all__ = [
    "counted", "differs", "encodes", "image", "neuron_values", "parameter_sets", "parameters", "pictures", "routes",
    "samples", "settings", "start", "vision",
]


def image(placement: Placement) -> Words:
    """Packets that load the network: tables, weights and parameters."""
    return np.concatenate([_core(placement, n) for n in range(len(placement.cores))] + [_gates(placement)])


def samples(placement: Placement, steps: int) -> Words:
    """Packets that make a sample ``steps`` steps long (0: it never ends); the next START heeds them."""
    return np.concatenate([
        store(n, Space.POPULATIONS, 0, placement.fabric.population_record, _populations(placement, core, steps))
        for n, core in enumerate(placement.cores)
    ])


def start() -> Words:
    """Packets that start afresh. They overtake what is on its way to the cores, and end its way: first let those answer."""
    return np.array([address(CHIP, Space.START, Start.RESET), packet(Kind.WRITE, CHIP, 0)], np.uint32)


def routes(placement: Placement, watched: Collection[str]) -> Words:
    """Packets that set up the routers, so that the host hears the populations named."""
    fabric, out = placement.fabric, []
    for router in fabric.tree():
        record = route_record(router.ports)
        rows = []
        for part in placement.parts:
            heard = {link.target.core for link in placement.listeners(part)}
            if part.core is not None and part.source in watched:
                heard.add(None)
            home = router.port(part.core)
            # nothing goes back where it came from, as a router there has seen to it; a core itself is no router
            ports = {p for core in heard if (p := router.port(core)) != home or (core == part.core and router.leaf(p))}
            rows.append(record.pack(listeners=sum(1 << p for p in ports), home=home))
        rows += [0] * (fabric.keys - len(rows))
        out.append(store(router.node, Space.ROUTES, 0, record, rows))
    return np.concatenate(out)


def _gates(placement: Placement) -> Words:
    fabric, rows = placement.fabric, []
    for part in placement.parts:
        if part.core is None:
            links = placement.listeners(part)
            gate = fabric.gate_record.pack(known=1, credits=len(links), credits_first=_first(placement, links))
            rows.append(gate | _scan(part, fabric) << CHUNK * fabric.gate_record.chunks)
    rows += [0] * (fabric.inputs - len(rows))
    return store_chunks(CHIP, Space.GATES, 0, split(rows, fabric.gate_chunks))


def _scan(part: Part, fabric: Fabric) -> int:
    """How the encoder goes over the pixels of an input; 0 where it cannot."""
    if not fabric.pixels or part.size > fabric.pixels:
        return 0
    record, at, grid = fabric.scan_record, part.code, part.grid
    if grid.flat:
        return int(record.pack(known=1, pixels=part.size, columns=max(1, part.size), lines=1, step=1))
    _, lines, columns = grid.shape
    line, back = 1 << at.channel_bits + at.column_bits, (columns - 1) << at.channel_bits
    mask = (1 << record.fields["step"].width) - 1
    return int(record.pack(
        known=1, pixels=part.size, columns=columns, lines=lines, step=1 << at.channel_bits, step_line=line - back,
        step_plane=1 - back - (lines - 1) * line & mask))


def encodes(placement: Placement, images: Images) -> bool:
    """Whether the chip's encoder can send these images."""
    return _held(images) <= placement.fabric.pixels


def vision(network: Network) -> dict[str, int]:
    """Sizes of a Fabric that sends images in the network's own encoding, and counts its answers where they can be counted:
    none where no chip makes the spikes of that encoding."""
    images = blank(network)
    if images is None:
        return {}
    sizes, output = {"pixels": _held(images)}, network.population[network.outputs[0]]
    if output.spiking and shapes(network)[output.name] is None:
        sizes["classes"] = output.size
    return {name: 1 << (size - 1).bit_length() for name, size in sizes.items()}


def _held(images: Images) -> int:
    """Pixels that the encoder has to hold, each two of them in a word, as a range of a step is."""
    return 2 * (-(-images.intensities.shape[1] // 2) + (0 if images.ranges is None else images.steps))


def counted(placement: Placement, output: str, steps: int) -> Part | None:
    """The part whose spikes the chip's readout has to count, where it can count those of a population in so many steps."""
    parts = [part for part in placement.parts if part.source == output]
    fabric, population = placement.fabric, placement.network.population[output]
    if len(parts) > 1 or not parts[0].grid.flat or parts[0].size > fabric.classes or not population.spiking:
        return None
    return parts[0] if steps * population.max_spikes <= fabric.answer_record.fields["spikes"].limits[1] else None


def settings(placement: Placement, steps: int, output: Part | None, ranges: NDArray[np.uint8] | None) -> Words:
    """Packets behind those of :func:`start`: for the encoder the ranges of a code that has them, for the readout its
    ``output``."""
    if not placement.fabric.pixels and not placement.fabric.classes:
        return np.zeros(0, np.uint32)
    pixels = sum(part.size for part in placement.parts if part.core is None)
    at = -(-pixels // 2)
    set_ = [address(CHIP, Space.START, Start.STEPS)]
    set_ += [packet(Kind.WRITE, CHIP, n) for n in (steps, output.key if output else 0, at if ranges is not None else 0)]
    words = np.array(set_, np.uint32)
    return words if ranges is None else np.concatenate([words, store_chunks(CHIP, Space.IMAGE, at, ranges.view("<u2"))])


def pictures(images: Images) -> Words:
    """Packets of each image, for the encoder, ``(batch, packets)``."""
    pixels = images.intensities
    padded = np.pad(pixels, ((0, 0), (0, pixels.shape[1] % 2)))
    first = images.first.astype("<u4").view("<u2").reshape(-1, 2)

    def row(head: int, data: NDArray[Any]) -> Words:
        writes = packet(Kind.WRITE, CHIP, data.astype(np.uint32))
        return np.concatenate([np.full((len(data), 1), head), writes], axis=1).astype(np.uint32)

    return np.concatenate([row(address(CHIP, Space.IMAGE), padded.view("<u2")),
                           row(address(CHIP, Space.START, Start.DRAW), first)], axis=1)


def _core(placement: Placement, n: int) -> Words:
    """Everything in core ``n`` that does not depend on the run."""
    core, fabric = placement.cores[n], placement.fabric
    keys: list[int] = []
    links: list[int] = []
    sources: list[int] = []
    for part in placement.parts:
        mine = [link for link in core.links if link.source is part]
        home = part.core == n
        keys.append(
            fabric.key_record.pack(
                first=len(links) if mine else 0, more=max(0, len(mine) - 1), heard=int(bool(mine)),
                several=int(len(mine) > 1), home=int(home), slot=part.slot if home else 0
            )
        )
        links += [_link(placement, link) for link in mine]
    keys += [0] * (fabric.keys - len(keys))  # no trace of an earlier network
    for part in core.parts:
        sources += [fabric.source_record.pack(key=k.source.key) for k in core.links if k.target is part]
    out = [
        store(n, Space.KEYS, 0, fabric.key_record, keys),
        store(n, Space.PROJECTIONS, 0, fabric.projection_record, links),
        store(n, Space.SOURCES, 0, fabric.source_record, sources),
    ]
    for (space, record, _), entries in zip(fabric.axes, core.tables, strict=bool(fabric.places)):
        rows = [record.pack_known(**vars(e)) for e in entries]
        out.append(store(n, space, 0, record, rows))
    out.append(_parameters(placement, n))
    out += [_weights(n, words, at, fabric) for at, words in core.blocks]
    return np.concatenate(out)


def parameters(placement: Placement) -> Words:
    """Packets that load the parameters of neurons alone."""
    return np.concatenate([_parameters(placement, n) for n in range(len(placement.cores))])


def _parameters(placement: Placement, n: int) -> Words:
    chunks = placement.fabric.neuron_record.chunks
    sets = [word for part in placement.cores[n].parts for word in parameter_sets(placement, part)]
    return store_chunks(n, Space.PARAMETERS, 0, split(sets, chunks))


def _link(placement: Placement, link: Link) -> int:
    record, reach, at = placement.fabric.projection_record, link.reach, link.code
    common = {"row": link.target.row, "slot": link.target.slot, "late": int(link.late)}
    if placement.fabric.ahead:
        common["ahead"] = int(placement.ahead(link))
    if reach is None:  # STEPs alone; a spike is known and reaches nothing
        return int(record.pack(**common, sources=link.source.indices))
    common |= {"weights": link.weights, "stride": reach.stride, "sources": link.source.indices}
    if reach.tables is None:
        return int(record.pack(**common, rows=reach.rows, fanout=reach.fanout))

    def wrapped(**values: int) -> dict[str, int]:
        return {name: value & (1 << record.fields[name].width) - 1 for name, value in values.items()}

    steps = wrapped(row_y=reach.step_y[0], weights_y=reach.step_y[1], row_x=reach.step_x[0], weights_x=reach.step_x[1])
    y, x, c = link.tables
    return int(record.pack(
        **common, tabled=1, channel_bits=at.channel_bits, column_bits=at.column_bits, y=y, x=x, c=c, **steps))


def _populations(placement: Placement, core: Core, steps: int) -> list[int]:
    record, rows, fabric = placement.fabric.population_record, [], placement.fabric
    lane_bits = (fabric.update_lanes - 1).bit_length()
    source = parameter = 0
    for part in core.parts:
        into = [link for link in core.links if link.target is part]
        out = placement.listeners(part)
        at, grid = part.code, part.grid
        channels = grid.depth * fabric.groups
        next_position = (1 << at.channel_bits - lane_bits) - (channels - 1)
        next_line = ((1 << at.column_bits) - (grid.width - 1) << at.channel_bits - lane_bits) - (channels - 1)
        mode = placement.parameter_mode(part)
        rows.append(
            record.pack_known(
                key=part.key,
                row=part.row,
                final=part.seated - 1,
                parameters=parameter,
                each=int(mode != "shared"),
                repeat=int(mode == "channel"),
                relay=int(part.stages > 0),
                channels=channels,
                columns=grid.width,
                gap=next_position,
                gap_line=next_line,
                tokens=len(into),
                tokens_first=sum(not link.late for link in into),
                credits=len(out),
                credits_first=_first(placement, out),
                ahead=int(any(placement.ahead(link) for link in into)),
                sources=source,
                source_count=len(into),
                steps=steps,
            )
        )
        source += len(into)
        parameter += placement.parameter_rows(part)
    # a slot without a population waits for a token that nobody sends
    return rows + [record.pack(tokens_first=1)] * (fabric.populations - len(rows))


def _first(placement: Placement, out: list[Link]) -> int:
    """Credits for the very first step; all bits of the field are one that is had in advance."""
    ahead = any(placement.ahead(link) for link in out)
    return (1 << placement.fabric.token_bits) - 1 if ahead else sum(link.late for link in out)


def parameter_mode(network: Network, part: Part) -> str:
    """Who has parameters of its own: nobody ("shared"), each "channel", or each "neuron"."""
    if part.stages:
        return "shared"
    p, grid = network.population[part.source], part.grid
    padded = not grid.flat and grid.channels % grid.lanes  # lanes without a neuron are among those with one
    if not differs(p) and not padded:
        return "shared"
    numbers = grid.numbers
    own = [v for v in vars(p).values() if isinstance(v, np.ndarray)]
    alike = not grid.flat and all(np.all(v[numbers] == v[numbers[0, 0]]) for v in own)
    return "channel" if alike else "neuron"


def parameter_sets(placement: Placement, part: Part) -> list[int]:
    """The words of PARAMETERS of a part, lane after lane."""
    network, fabric, grid = placement.network, placement.fabric, part.grid
    record, mode = fabric.neuron_record, placement.parameter_mode(part)
    if part.stages:
        relay = Population(part.source, (1,), threshold=1, max_spikes=placement.max_spikes(part))
        return [record.pack_known(**neuron_values(network, relay, 0))] * fabric.update_lanes
    p, seats = network.population[part.source], grid.seats.reshape(-1)
    count = placement.parameter_rows(part) * fabric.update_lanes
    if mode == "shared":
        return [record.pack_known(**neuron_values(network, p, 0))] * count
    # where no neuron is, parameters of zeros keep v at 0 and send nothing
    numbers = (seats.tolist() + [-1] * count)[:count]
    return [record.pack_known(**neuron_values(network, p, n)) if n >= 0 else 0 for n in numbers]


def _weights(core: int, words: NDArray[Any], at: int, fabric: Fabric) -> Words:
    bits = fabric.weight_bits
    flat = (words[:, :, None] >> np.arange(bits) & 1).astype(np.uint8).reshape(len(words), -1)  # lane 0 lowest
    pad = -flat.shape[1] % CHUNK
    chunks = np.packbits(np.pad(flat, ((0, 0), (0, pad))), axis=1, bitorder="little").view("<u2")
    return store_chunks(core, Space.WEIGHTS, at, chunks)


def differs(population: Population) -> bool:
    """Whether neurons of a population have parameters of their own."""
    return any(isinstance(v, np.ndarray) for v in vars(population).values())


def neuron_values(network: Network, p: Population, neuron: int) -> dict[str, int]:
    """Fields of ``neuron_record`` for one neuron."""

    def own(value: Any) -> int:
        return int(value[neuron] if isinstance(value, np.ndarray) else value)

    low, high = network.state_range
    return {
        "decay_v": DECAY_ONE if p.decay_v is None else own(p.decay_v),
        "decay_i": 0 if p.decay_i is None else own(p.decay_i),
        "bias": own(p.bias),
        "threshold": own(p.threshold),
        "reset_by": own(p.reset_by),
        "reset_to": own(p.reset_to),
        "v0": own(p.v0),
        "min_v": low if p.min_v is None else own(p.min_v),
        "max_v": high if p.max_v is None else own(p.max_v),
        "max_i": high,
        "max_spikes": p.max_spikes if p.spiking else 0,
        "refractory": p.refractory,
        "shift": p.shift,
        "filtered": int(p.decay_i is not None),
        "bias_late": int(p.decay_i is not None and p.bias_at == "membrane"),
        "truncate": int(p.rounding == "trunc"),
        "reset_value": int(p.reset == "value"),
        "reset_late": p.reset_delay,
    }
