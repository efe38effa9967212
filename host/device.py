"""A chip at the end of a link: load a network, send spikes, receive spikes."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import golden, image
from ..models.early import DECIDED, Exit, Exits
from ..models.encode import Images
from ..models.encode import images as encoded
from ..models.errors import AerloomError
from ..models.fabric import CHIP, CHUNK, CORE_COUNTERS, COUNTER_BITS, PACKET, Fabric, Kind, Space
from ..models.fabrics import named
from ..models.network import Network
from ..models.place import CLOCK, Part, Placement, Words, packet, place
from .encode import direct
from .link import Link
from .probe import Probe, join
from .samples import Array, Samples, as_batch, only, size_of

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


class Device(Probe):
    """A chip that runs networks; use it as a context manager, or ``close`` it.

    ``fabric`` says what the chip can hold; ``sent`` and ``received`` are packets so far. Every method raises
    :class:`AerloomError` where the network, the spikes or the chip are not what they should be.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.placement: Placement | None = None
        self._watched: tuple[str, ...] = ()
        self._swept: dict[int, int] = {}  # sweeps that each core has done once the last run is over

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
        # nothing of an earlier run may still be under way through tables that are half of one network, half of another
        self._exchange(np.concatenate([image.start(), placement.image, placement.routes(watched)]), 0, progress)
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
        self._exchange(placement.routes(watched), 0)
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
        sent = golden.check_spikes(placement.network, as_batch(placement.network, spikes))
        replies = self._send(sent, progress=progress)
        return self._decode(replies, *size_of(sent))

    def _send(self, samples: Samples, output: Part | None = None, progress: Callable[[int], Any] | None = None) -> Words:
        """Send samples from rest, one after the other; what came back, with one answer for each in place of the spikes of
        ``output``. Images need a chip with an encoder."""
        placement, (batch, steps) = self._placed(), size_of(samples)
        if steps > (most := (1 << CHUNK) - 1):
            raise AerloomError(f"a sample can have {most} steps, not {steps}; use stream for more")
        words, ranges = (
            (image.pictures(samples).reshape(-1), samples.ranges) if isinstance(samples, Images)
            else (self._encode(samples), None)
        )
        self._start(steps)
        self._exchange(image.settings(placement, steps, output, ranges), 0)
        per_sample = max(1, len(words) // batch)
        report = None if progress is None else lambda n: progress(min(n // per_sample, batch))
        heard = [part for part in self._watched_parts() if part is not output]
        replies = self._exchange(words, batch * (steps * len(heard) + (output is not None)), report)
        self._expect(batch * steps)
        return replies

    def infer(
        self,
        spikes: Array | Mapping[str, Array] | None = None,
        *,
        images: Array | Mapping[str, Array] | None = None,
        encoder: str = "rate",
        steps: int | None = None,
        seed: int = 0,
        early: str | int | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> NDArray[np.int64]:
        """The class of each sample ``(batch,)``: the neuron of the first output with most spikes or, for a readout, the
        largest membrane at the end; the first of equals.

        Of ``spikes``, as for :meth:`run`, or of ``images``, ``(batch, *input.shape)`` in 0 … 1 or uint8. An image becomes
        spikes of so many ``steps`` (as the network's encoding says, by default) by ``encoder``, one of
        :data:`aerloom.models.encode.CODES`: in the chip if it has an encoder, else here, with the same answers. With a
        readout the chip counts the output's spikes too; one with both takes an image and gives an answer.

        ``early``: see :meth:`decide`; the host makes and watches the spikes then.

        By ``encoder`` "direct" an image is a current in every step: integers ``(batch, neurons)`` for the first population,
        on the scale of its bias; the inputs are silent.
        """
        network = self.network
        if (spikes is None) == (images is None):
            raise AerloomError("infer takes spikes, or images")
        if spikes is not None:
            if early is not None:
                return self.decide(spikes, early, progress=progress).classes
            return self._classes(golden.check_spikes(network, as_batch(network, spikes)), progress)
        assert images is not None
        if steps is None and (steps := network.meta.get("encoding", {}).get("steps")) is None:
            raise AerloomError("the network does not say how many steps its samples have; give steps=…")
        if encoder == "direct":
            if early is not None:
                raise AerloomError("samples of direct coding are not left early; encode images by rate or latency")
            return self._infer_directly(np.asarray(images), steps, progress)
        pictures = encoded(network, images, steps, encoder, seed)
        if early is not None:
            return self.decide(pictures.spikes(), early, progress=progress).classes
        return self._classes(pictures if image.encodes(self._placed(), pictures) else pictures.spikes(), progress)

    def _infer_directly(self, currents: Array, steps: int, progress: Callable[[int], Any] | None) -> NDArray[np.int64]:
        """Write the parameters of neurons before each sample, and those of the network after the last."""
        loaded, classes = self._placed(), []
        silence = {i.name: np.zeros((1, steps, i.size), np.uint8) for i in loaded.network.inputs}
        try:
            for current in currents:
                self.placement = place(direct(loaded.network, current), self.fabric, loaded.used)
                self._exchange(image.parameters(self.placement), 0)
                classes.append(self._classes(silence, None)[0])
                if progress is not None:
                    progress(len(classes))
        finally:
            self.placement = loaded
            self._exchange(image.parameters(loaded), 0)
        return np.array(classes, np.int64)

    def _classes(self, samples: Samples, progress: Callable[[int], Any] | None) -> NDArray[np.int64]:
        network = self.network
        output = network.outputs[0]
        if not network.population[output].spiking:
            return self._largest_membranes(samples, output, progress)
        if output not in self._watched:
            raise AerloomError(f"the output {output!r} is not watched; load the network with it in watch")
        batch, steps = size_of(samples)
        part = image.counted(self._placed(), output, steps)
        replies = self._send(samples, part, progress)
        if part is None:
            counts = self._decode(replies, batch, steps).spikes[output].sum(axis=1, dtype=np.int64)
            return np.asarray(counts.argmax(axis=1))
        fields = PACKET.unpack(replies)
        answers = fields["index"][fields["kind"] == Kind.VALUE]
        return np.asarray(self.fabric.answer_record.unpack(answers)["winner"], np.int64)

    def _largest_membranes(
        self, samples: Samples, output: str, progress: Callable[[int], Any] | None
    ) -> NDArray[np.int64]:
        classes = []
        for n in range(size_of(samples)[0]):
            self._send(only(samples, n))
            classes.append(self.peek(output).argmax())
            if progress is not None:
                progress(n + 1)
        return np.array(classes, np.int64)

    def decide(
        self, spikes: Array | Mapping[str, Array], when: str | int = DECIDED, *,
        progress: Callable[[int], Any] | None = None
    ) -> Decisions:
        """The class of each sample, from as many steps as :class:`~aerloom.models.early.Exit` wants. The host watches steps
        come out while it sends those that follow, as many ahead as there are populations, and gives up what is then still
        under way."""
        network = self.network
        sent = golden.check_spikes(network, as_batch(network, spikes))
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
        self._start(0)
        came, finished = np.zeros(0, np.uint32), 0
        for t in range(steps):
            send = words[t + ahead : t + ahead + 1] if t else words[: ahead + 1]
            replies = self._exchange(np.concatenate([came[:0], *send]), max(0, parts * (t + 1) - finished))
            came, finished = np.concatenate([came, replies]), finished + _steps_in(replies)
            run = self._decode(self._until(came, t + 1), 1, t + 1)
            counts = run.spikes[rule.output][0].sum(axis=0, dtype=np.int64)
            if rule.leaves(counts, t):
                break
        if t + 1 < steps:  # when the chip answers again, nothing is left of what was under way
            self._start(0)
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
        self._start(0)
        for n, now in enumerate(steps):
            each = now if isinstance(now, Mapping) else {placement.network.inputs[0].name: now}
            one = {name: np.asarray(a)[None, None] for name, a in each.items()}
            words = self._encode(golden.check_spikes(placement.network, one))
            answer = self._decode(self._exchange(words, len(self._watched_parts())), 1, 1)
            self._expect(n + 1)
            yield {name: a[0, 0] for name, a in answer.spikes.items()}

    def _start(self, steps: int) -> None:
        """Start afresh, with samples of so many steps (0: one that never ends)."""
        self._exchange(self._placed().samples(steps), 0)
        self._ask(list(range(self.fabric.cores)), Space.COUNTERS, 0, 1)
        self._exchange(image.start(), 0)

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
                neurons = [record.unpack(join(word))[what] for word in read.reshape(-1, chunks)]
                values[part.neurons] = np.array(neurons)[part.seat]
        return values

    def _expect(self, steps: int) -> None:
        self._swept = {n: steps * len(core.parts) for n, core in enumerate(self._placed().cores)}

    def _settle(self, core: int) -> None:
        """Wait until a core has done all the sweeps of the last run: those nobody watches may still be under way."""
        index = CORE_COUNTERS.index("sweeps")
        for _ in range(1000):
            if self._counter(core, index) == self._swept.get(core, 0) & (1 << COUNTER_BITS) - 1:
                return
        raise AerloomError(f"core {core} does not come to rest; was a step without its STEP packet sent?")

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
