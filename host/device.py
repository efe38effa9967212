"""A chip at the end of a link: load a network, send spikes, receive spikes."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import golden
from ..models.early import DECIDED, Exit, Exits
from ..models.errors import AerloomError
from ..models.fabric import CHIP, CHIP_COUNTERS, CHUNK, CORE_COUNTERS, COUNTER_BITS, PACKET, Fabric, Kind, Space
from ..models.fabrics import named
from ..models.network import Network
from ..models.place import CLOCK, Part, Placement, Words, address, packet, place
from .link import Link

Array = NDArray[Any]
INDEX_BITS = PACKET.fields["index"].width
COMPARED = 16  # words of each projection's weights, where a network is said to be there already


@dataclass
class Run:
    """What a chip answered. Arrays are ``(batch, steps, …)``."""

    spikes: dict[str, Array] = field(default_factory=dict)  #: uint8 spikes of each watched population
    cycles: Array = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    """Clock cycles from the first packet of the run to the end of each step, ``(batch, steps)``."""

    @property
    def cycles_per_sample(self) -> float:
        """Clock cycles of the whole run, divided by its samples (which overlap at their ends)."""
        return float(self.cycles.max()) / len(self.cycles)


@dataclass(frozen=True)
class Decisions(Exits):
    """Also how many clock cycles each sample took, from its first packet to the STEP that decided it."""

    cycles: NDArray[np.int64]


class Device:
    """A chip that runs networks; use it as a context manager, or ``close`` it.

    ``fabric`` says what the chip can hold. Every method raises :class:`AerloomError` where the network, the spikes or
    the chip are not what they should be.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.fabric: Fabric = link.fabric
        self.placement: Placement | None = None
        self._watched: tuple[str, ...] = ()
        self._swept: dict[int, int] = {}  # sweeps that each core has done once the last run is over
        identity = self._read(CHIP, Space.IDENTITY, 0, 64 // CHUNK)
        if (found := _join(identity)) != self.fabric.digest:
            raise AerloomError(
                f"the chip is not of Fabric {self.fabric.name}: its identity is {found:016x}, not "
                f"{self.fabric.digest:016x}; connect with the Fabric that it was built for"
            )

    def __enter__(self) -> Device:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the chip."""
        self._link.close()

    # --- a network

    def load(
        self,
        network: Network,
        *,
        watch: Collection[str] | None = None,
        cores: int | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> Placement:
        """Place ``network`` and load it over the link. ``watch`` names the populations whose spikes are sent to the host
        (the outputs by default), ``cores`` how many cores to use. ``progress`` is called with packets sent."""
        watched = _watched(network, watch)
        placement = place(network, self.fabric, cores)
        self._link.exchange(np.concatenate([placement.image, placement.routes(watched)]), 0, progress)
        self.placement, self._watched = placement, watched
        return placement

    def assume(self, network: Network, *, watch: Collection[str] | None = None, cores: int | None = None) -> Placement:
        """As :meth:`load`, for a chip that was built with the network inside: some of the weights are read back, another
        network is refused, and nothing is loaded but whose spikes are sent to the host."""
        watched = _watched(network, watch)
        placement = place(network, self.fabric, cores)
        for n, core in enumerate(placement.cores):
            for at, words in core.blocks:
                if not np.array_equal(self.weights(n, at, len(words[:COMPARED])), words[:COMPARED]):
                    raise AerloomError("the chip does not hold this network: its weights are others; load it, or build "
                                       "the chip with it (aerloom build --bake)")
        self._link.exchange(placement.routes(watched), 0)
        self.placement, self._watched = placement, watched
        return placement

    @property
    def network(self) -> Network:
        """The network that is loaded."""
        return self._placed().network

    def _placed(self) -> Placement:
        if self.placement is None:
            raise AerloomError("no network is loaded; call load first")
        return self.placement

    # --- spikes

    def run(
        self, spikes: Array | Mapping[str, Array], *, progress: Callable[[int], Any] | None = None
    ) -> Run:
        """Run samples from rest, one after the other without a pause.

        ``spikes`` is ``(batch, steps, *input.shape)`` or, for one sample, ``(steps, *input.shape)``; with several inputs
        a mapping from their names. ``progress`` is called with the number of samples sent.
        """
        placement = self._placed()
        sent = golden.check_spikes(placement.network, _as_batch(placement.network, spikes))
        batch, steps, _ = next(iter(sent.values())).shape
        if steps > (most := (1 << CHUNK) - 1):
            raise AerloomError(f"a sample can have {most} steps, not {steps}; use stream for more")
        self._link.exchange(placement.start(steps), 0)
        words = self._encode(sent)
        per_sample = max(1, len(words) // batch)
        report = None if progress is None else lambda n: progress(min(n // per_sample, batch))
        replies = self._link.exchange(words, batch * steps * len(self._watched_parts()), report)
        self._expect(batch * steps)
        return self._decode(replies, batch, steps)

    def infer(
        self, spikes: Array | Mapping[str, Array], *, early: str | int | None = None,
        progress: Callable[[int], Any] | None = None
    ) -> NDArray[np.int64]:
        """The class of each sample ``(batch,)``: the neuron of the first output with most spikes or, for a readout, the
        largest membrane at the end; the first of equals. ``early``: see :meth:`decide`."""
        if early is not None:
            return self.decide(spikes, early, progress=progress).classes
        network = self.network
        output = network.outputs[0]
        if network.population[output].spiking:
            if output not in self._watched:
                raise AerloomError(f"the output {output!r} is not watched; load the network with it in watch")
            counts = self.run(spikes, progress=progress).spikes[output].sum(axis=1, dtype=np.int64)
        else:
            sent = golden.check_spikes(network, _as_batch(network, spikes))
            rows = []
            for n in range(len(next(iter(sent.values())))):
                self.run({name: a[n : n + 1] for name, a in sent.items()})
                rows.append(self.peek(output))
                if progress is not None:
                    progress(n + 1)
            counts = np.array(rows)
        return np.asarray(counts.argmax(axis=1))

    def decide(
        self, spikes: Array | Mapping[str, Array], when: str | int = DECIDED, *,
        progress: Callable[[int], Any] | None = None
    ) -> Decisions:
        """The class of each sample, from as many steps as :class:`~aerloom.models.early.Exit` wants. The host watches steps
        come out while it sends those that follow, as many ahead as there are populations, and gives up what is then still
        under way."""
        network = self.network
        sent = golden.check_spikes(network, _as_batch(network, spikes))
        batch, steps, _ = next(iter(sent.values())).shape
        rule = Exit(network, steps, when)
        if rule.output not in self._watched:
            raise AerloomError(f"the output {rule.output!r} is not watched; load the network with it in watch")
        out = Decisions(*np.zeros((3, batch), np.int64))
        for n in range(batch):
            words = [self._encode({name: a[n : n + 1, t : t + 1] for name, a in sent.items()}) for t in range(steps)]
            out.classes[n], out.steps[n], out.cycles[n] = self._decide(rule, words)
            if progress is not None:
                progress(n + 1)
        return out

    def _decide(self, rule: Exit, words: list[Words]) -> tuple[int, int, int]:
        """Class, steps and cycles of the sample whose steps these are."""
        placement, parts, steps = self._placed(), len(self._watched_parts()), len(words)
        ahead = len(placement.network.population)
        self._link.exchange(placement.start(0), 0)
        came, finished = np.zeros(0, np.uint32), 0
        for t in range(steps):
            send = words[t + ahead : t + ahead + 1] if t else words[: ahead + 1]
            replies = self._link.exchange(np.concatenate([came[:0], *send]), max(0, parts * (t + 1) - finished))
            came, finished = np.concatenate([came, replies]), finished + _steps_in(replies)
            run = self._decode(self._until(came, t + 1), 1, t + 1)
            counts = run.spikes[rule.output][0].sum(axis=0, dtype=np.int64)
            if rule.leaves(counts, t):
                break
        if t + 1 < steps:  # when the chip answers again, nothing is left of what was under way
            self._link.exchange(placement.start(0), 0)
            self._read(CHIP, Space.IDENTITY, 0, 1)
        else:
            self._expect(steps)
        return int(counts.argmax()), t + 1, int(run.cycles[0, -1])

    def _until(self, words: Words, steps: int) -> Words:
        """Of what the chip sent that which belongs to the first steps."""
        fields, keep = PACKET.unpack(words), np.zeros(len(words), bool)
        for part in self._watched_parts():
            mine = fields["key"] == part.key
            ends = mine & (fields["kind"] == Kind.STEP)
            keep |= mine & (np.cumsum(ends) - ends < steps)
        return words[keep]

    def stream(self, steps: Iterable[Array | Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
        """Live: for each step's spikes ``(*input.shape)`` the spikes ``(neurons,)`` of the watched populations.

        The network starts from rest and goes on without an end; the generator asks for the next step when it is asked
        itself.
        """
        placement = self._placed()
        self._link.exchange(placement.start(0), 0)
        for n, now in enumerate(steps):
            each = now if isinstance(now, Mapping) else {placement.network.inputs[0].name: now}
            one = {name: np.asarray(a)[None, None] for name, a in each.items()}
            words = self._encode(golden.check_spikes(placement.network, one))
            answer = self._decode(self._link.exchange(words, len(self._watched_parts())), 1, 1)
            self._expect(n + 1)
            yield {name: a[0, 0] for name, a in answer.spikes.items()}

    def _watched_parts(self) -> list[Part]:
        return [p for p in self._placed().parts if p.core is not None and p.source in self._watched]

    def _encode(self, spikes: dict[str, Array]) -> Words:
        """Packets of every step: for each input its spikes, in the order of its neurons, then STEP."""
        columns, events = [], []
        some = next(iter(spikes.values()))
        for part in self._placed().parts:
            if part.core is None:
                if part.source != CLOCK:
                    columns.append(packet(Kind.SPIKE, part.key, part.index.astype(np.uint32)))
                    events.append(spikes[part.source].reshape(-1, part.size)[:, part.neurons])
                columns.append(np.array([packet(Kind.STEP, part.key, 0)]))
                events.append(np.ones((some.shape[0] * some.shape[1], 1), np.uint8))
        event = np.concatenate(events, axis=1)
        _, column = np.nonzero(event)
        counts = event[event != 0]
        words = np.concatenate(columns).astype(np.uint32)[column]
        return words if counts.max() == 1 else np.repeat(words, counts)

    def _decode(self, words: Words, batch: int, steps: int) -> Run:
        fields = PACKET.unpack(words)
        network = self.network
        run = Run({name: np.zeros((batch, steps, network.population[name].size), np.uint8) for name in self._watched})
        ends = np.zeros(batch * steps, np.int64)
        for part in self._watched_parts():
            mine = fields["key"] == part.key
            kind, index = fields["kind"][mine], fields["index"][mine]
            is_step = kind == Kind.STEP
            step = np.cumsum(is_step)[~is_step]  # steps that ended before each spike
            place = part.find(index[~is_step])
            where = step * part.size + place
            if is_step.sum() != batch * steps or np.any(place < 0) or np.any(where >= batch * steps * part.size):
                raise AerloomError(f"{part.source}: the chip's answer is damaged: it does not have {batch * steps} steps")
            counts = np.bincount(where, minlength=batch * steps * part.size).reshape(batch, steps, part.size)
            run.spikes[part.source][:, :, part.neurons] = counts
            ends = np.maximum(ends, unwrap(index[is_step].astype(np.int64), INDEX_BITS))
        run.cycles = ends.reshape(batch, steps)
        return run

    # --- what the chip can be asked

    def counters(self) -> dict[str, Any]:
        """What the chip counted in the last run: its own counters, sums over cores, and ``cores``, one dict each."""
        cores = [
            self._counters(n, CORE_COUNTERS) for n in range(self.fabric.cores)
        ]
        total = {name: sum(core[name] for core in cores) for name in CORE_COUNTERS}
        chip = self._counters(CHIP, CHIP_COUNTERS)
        return total | chip | {"strays": total["strays"] + chip["strays"], "cores": cores}

    def peek(self, population: str, what: str = "v") -> NDArray[np.int64]:
        """State ``(neurons,)`` of a population after the last step: ``"v"``, ``"i"`` or ``"after"``."""
        placement, record = self._placed(), self.fabric.state_record
        if population not in placement.network.population:
            raise AerloomError(f"{population!r} is not a population; there are {', '.join(placement.network.population)}")
        if what not in record.fields:
            raise AerloomError(f"a neuron's state has {', '.join(record.fields)}, not {what!r}")
        values = np.zeros(placement.network.population[population].size, np.int64)
        for part in placement.parts:
            if part.core is not None and part.source == population:
                self._settle(part.core)
                groups, chunks = self.fabric.groups, record.chunks
                count = part.rows * groups * self.fabric.update_lanes
                read = self._read(part.core, Space.STATE, part.row * groups, count * chunks)
                neurons = [record.unpack(_join(word))[what] for word in read.reshape(-1, chunks)]
                values[part.neurons] = np.array(neurons)[part.seat]
        return values

    def weights(self, core: int, first: int, count: int) -> NDArray[np.int64]:
        """Words ``first`` … of a core's weight memory, ``(count, lanes)``."""
        lanes, bits = self.fabric.lanes, self.fabric.weight_bits
        field_ = self.fabric.weight_record
        words = self._words(core, Space.WEIGHTS, first, count, lanes * bits)
        return np.array([[field_.unpack(w >> n * bits)["weight"] for n in range(lanes)] for w in words], np.int64)

    def _expect(self, steps: int) -> None:
        self._swept = {n: steps * len(core.parts) for n, core in enumerate(self._placed().cores)}

    def _settle(self, core: int) -> None:
        """Wait until a core has done all the sweeps of the last run: those nobody watches may still be under way."""
        index = CORE_COUNTERS.index("sweeps")
        for _ in range(1000):
            if self._counter(core, index) == self._swept.get(core, 0) & (1 << COUNTER_BITS) - 1:
                return
        raise AerloomError(f"core {core} does not come to rest; was a step without its STEP packet sent?")

    def _counter(self, node: int, index: int) -> int:
        return _join(self._read(node, Space.COUNTERS, index, COUNTER_BITS // CHUNK))

    def _counters(self, node: int, names: tuple[str, ...]) -> dict[str, int]:
        return dict(zip(names, self._words(node, Space.COUNTERS, 0, len(names), COUNTER_BITS), strict=True))

    def _words(self, node: int, space: Space, first: int, count: int, width: int) -> list[int]:
        chunks = -(-width // CHUNK)
        values = self._read(node, space, first, count * chunks).reshape(count, chunks)
        return [_join(row) for row in values]

    def _read(self, node: int, space: Space, word: int, chunks: int) -> Words:
        ask = np.array([address(node, space, word), packet(Kind.READ, node, chunks)], np.uint32)
        fields = PACKET.unpack(self._link.exchange(ask, chunks))
        return np.asarray(fields["index"][fields["kind"] == Kind.VALUE])


def connect(target: str = "sim", fabric: Fabric | str | None = None, **options: Any) -> Device:
    """A :class:`Device`: ``"sim"`` is the cycle-accurate simulator, ``"virtual"`` a board simulated behind its serial
    port, and a path like ``"/dev/ttyUSB0"`` or ``"COM3"`` a board. ``fabric`` is a Fabric, the name of a preset
    or a JSON file.

    The targets are what installed packages offer as entry points in the group ``aerloom.links``; ``options`` are
    theirs.
    """
    if isinstance(fabric, str):
        fabric = named(fabric)
    links = {e.name: e for e in importlib.metadata.entry_points(group="aerloom.links")}
    if target not in links and (os.sep in target or re.fullmatch(r"COM\d+", target, re.IGNORECASE)):
        target, options = "serial", {"port": target, **options}
    if target not in links:
        raise AerloomError(f"cannot connect to {target!r}; there are {', '.join(sorted(links)) or 'no links installed'}")
    return Device(links[target].load()(fabric, **options))


def _watched(network: Network, watch: Collection[str] | None) -> tuple[str, ...]:
    for name in (watched := network.outputs if watch is None else tuple(watch)):
        if name not in network.population:
            raise AerloomError(f"{name!r} is not a population; there are {', '.join(network.population)}")
    return watched


def unwrap(stamps: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Time stamps whose high bits were lost, each less than ``2**bits`` after the one before."""
    return stamps + (np.cumsum(np.diff(stamps, prepend=0) < 0) << bits)


def _steps_in(words: Words) -> int:
    return int(np.sum(PACKET.unpack(words)["kind"] == Kind.STEP))


def _join(chunks: Iterable[int]) -> int:
    return sum(int(c) << CHUNK * n for n, c in enumerate(chunks))


def _as_batch(network: Network, spikes: Array | Mapping[str, Array]) -> Array | dict[str, Array]:
    """A single sample as a batch of one."""
    if isinstance(spikes, Mapping):
        known = {i.name: i for i in network.inputs}
        return {n: _one(np.asarray(a), known[n].shape) if n in known else np.asarray(a) for n, a in spikes.items()}
    return _one(np.asarray(spikes), network.inputs[0].shape)


def _one(a: Array, shape: tuple[int, ...]) -> Array:
    return a[None] if a.ndim == 1 + len(shape) and a.shape[1:] == shape else a
