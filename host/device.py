"""A chip at the end of a link: load a network, send spikes, receive spikes."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import golden, image
from ..models.early import DECIDED, Exit, Exits
from ..models.encode import Images, code_of
from ..models.encode import images as encoded
from ..models.errors import AerloomError
from ..models.fabric import CHUNK, CORE_COUNTERS, COUNTER_BITS, PACKET, Fabric, Kind, Space
from ..models.fabrics import named
from ..models.network import Network
from ..models.packets import Words
from ..models.place import Part, Placement, place
from .encode import direct
from .link import Link
from .loaded import Loaded, Run, steps_in
from .probe import NONE, Probe, join
from .samples import Array, Samples, as_batch, only, size_of

__all__ = ["Decisions", "Device", "Run", "connect"]

COMPARED = 16  # words of each projection's weights, where a network is said to be there already


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
        self._inside: Loaded | None = None
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
        new = Loaded(place(network, self.fabric, cores), watch)
        # nothing of an earlier run may still be under way through tables that are half of one network, half of another;
        # and the tables are whole, so that the first START of a run finds a network at rest
        self._write(np.concatenate([image.start(), new.placement.image, new.placement.samples(0), new.routes]), progress)
        self._inside = new
        return new.placement

    def assume(self, network: Network, *, watch: Collection[str] | None = None, cores: int | None = None) -> Placement:
        """As :meth:`load`, for a chip that was built with the network inside: some of the weights are read back, another
        network is refused, and nothing is loaded but whose spikes are sent to the host."""
        new = Loaded(place(network, self.fabric, cores), watch)
        for n, core in enumerate(new.placement.cores):
            for at, words in core.blocks:
                if not np.array_equal(self.weights(n, at, len(words[:COMPARED])), words[:COMPARED]):
                    raise AerloomError("the chip does not hold this network: its weights are others; load it, or build "
                                       "the chip with it (aerloom build --bake)")
        self._write(new.routes)
        self._inside = new
        return new.placement

    @property
    def placement(self) -> Placement:
        """Where everything is of the network that is loaded."""
        return self._loaded().placement

    @property
    def network(self) -> Network:
        """The network that is loaded."""
        return self._loaded().network

    def _loaded(self) -> Loaded:
        if self._inside is None:
            raise AerloomError("no network is loaded; call load first")
        return self._inside

    # --- spikes

    def run(
        self, spikes: Array | Mapping[str, Array], *, progress: Callable[[int], Any] | None = None
    ) -> Run:
        """Run samples from rest, one after the other without a pause.

        ``spikes`` is ``(batch, steps, *input.shape)`` or, for one sample, ``(steps, *input.shape)``; with several inputs
        a mapping from their names. ``progress`` is called with the number of samples sent.
        """
        loaded = self._loaded()
        sent = golden.check_spikes(loaded.network, as_batch(loaded.network, spikes))
        return loaded.decode(self._send(sent, progress=progress), *size_of(sent))

    def _send(self, samples: Samples, output: Part | None = None, progress: Callable[[int], Any] | None = None) -> Words:
        """Send samples from rest, one after the other; what came back, with one answer for each in place of the spikes of
        ``output``. Images need a chip with an encoder."""
        loaded, (batch, steps) = self._loaded(), size_of(samples)
        if steps > (most := (1 << CHUNK) - 1):
            raise AerloomError(f"a sample can have {most} steps, not {steps}; use stream for more")
        words, ranges = (
            (image.pictures(samples).reshape(-1), samples.ranges) if isinstance(samples, Images)
            else (loaded.encode(samples), None)
        )
        settings = image.settings(loaded.placement, steps, output, ranges)
        per_sample = max(1, len(words) // batch)
        report = None if progress is None else lambda n: progress(max(0, min((n - len(settings)) // per_sample, batch)))
        heard = [part for part in loaded.parts if part is not output]
        replies = self._start(steps, np.concatenate([settings, words]),
                              batch * (steps * len(heard) + (output is not None)), report)
        self._expect(batch * steps)
        return replies

    def infer(
        self,
        spikes: Array | Mapping[str, Array] | None = None,
        *,
        images: Array | Mapping[str, Array] | None = None,
        encoder: str | None = None,
        steps: int | None = None,
        seed: int = 0,
        early: str | int | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> NDArray[np.int64]:
        """The class of each sample ``(batch,)``: the neuron of the first output with most spikes or, for a readout, the
        largest membrane at the end; the first of equals.

        Of ``spikes``, as for :meth:`run`, or of ``images``, ``(batch, *input.shape)`` in 0 … 1 or uint8. An image becomes
        spikes of so many ``steps`` by ``encoder``, one of :data:`aerloom.models.encode.CODES`, both as the network's own
        encoding says by default (:func:`aerloom.models.encode.code_of`): in the chip if it has an encoder, else here, with
        the same answers. With a readout the chip counts the output's spikes too; one with both takes an image and gives an
        answer.

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
        pictures = encoded(network, images, steps, encoder or code_of(network), seed)
        if early is not None:
            return self.decide(pictures.spikes(), early, progress=progress).classes
        return self._classes(pictures if image.encodes(self.placement, pictures) else pictures.spikes(), progress)

    def _infer_directly(self, currents: Array, steps: int, progress: Callable[[int], Any] | None) -> NDArray[np.int64]:
        """Write the parameters of neurons before each sample, and those of the network after the last."""
        loaded, classes = self._loaded(), []
        silence = {i.name: np.zeros((1, steps, i.size), np.uint8) for i in loaded.network.inputs}
        try:
            for current in currents:
                changed = place(direct(loaded.network, current), self.fabric, loaded.placement.used)
                self._inside = Loaded(changed, loaded.watched)
                self._write(image.parameters(changed))
                classes.append(self._classes(silence, None)[0])
                if progress is not None:
                    progress(len(classes))
        finally:
            self._inside = loaded
            self._write(image.parameters(loaded.placement))
        return np.array(classes, np.int64)

    def _classes(self, samples: Samples, progress: Callable[[int], Any] | None) -> NDArray[np.int64]:
        loaded = self._loaded()
        output = loaded.network.outputs[0]
        if not loaded.network.population[output].spiking:
            return self._largest_membranes(samples, output, progress)
        loaded.need(output)
        batch, steps = size_of(samples)
        part = image.counted(loaded.placement, output, steps)
        replies = self._send(samples, part, progress)
        if part is None:
            counts = loaded.decode(replies, batch, steps).spikes[output].sum(axis=1, dtype=np.int64)
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
        loaded = self._loaded()
        sent = golden.check_spikes(loaded.network, as_batch(loaded.network, spikes))
        batch, steps = size_of(sent)
        rule = Exit(loaded.network, steps, when)
        loaded.need(rule.output)
        out = Decisions(*np.zeros((3, batch), np.int64))
        for n in range(batch):
            words = [loaded.encode({name: a[n : n + 1, t : t + 1] for name, a in sent.items()}) for t in range(steps)]
            out.classes[n], out.steps[n], out.cycles[n] = self._decide(rule, words)
            if progress is not None:
                progress(n + 1)
        return out

    def _decide(self, rule: Exit, words: list[Words]) -> tuple[int, int, int]:
        """Class, steps and cycles of the sample whose steps these are."""
        loaded, steps = self._loaded(), len(words)
        ahead, parts = len(loaded.network.population), len(loaded.parts)
        self._start(0)
        came, finished = np.zeros(0, np.uint32), 0
        for t in range(steps):
            send = words[t + ahead : t + ahead + 1] if t else words[: ahead + 1]
            replies = self._exchange(np.concatenate([came[:0], *send]), max(0, parts * (t + 1) - finished))
            came, finished = np.concatenate([came, replies]), finished + steps_in(replies)
            run = loaded.decode(loaded.until(came, t + 1), 1, t + 1)
            counts = run.spikes[rule.output][0].sum(axis=0, dtype=np.int64)
            if rule.leaves(counts, t):
                break
        self._expect(min(t + 1 + ahead, steps))
        return int(counts.argmax()), t + 1, int(run.cycles[0, -1])

    def stream(self, steps: Iterable[Array | Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
        """Live: for each step's spikes ``(*input.shape)`` the spikes ``(neurons,)`` of the watched populations.

        The network starts from rest and goes on without an end; the generator asks for the next step when it is asked
        itself.
        """
        loaded = self._loaded()
        self._start(0)
        for n, now in enumerate(steps):
            each = now if isinstance(now, Mapping) else {loaded.network.inputs[0].name: now}
            one = {name: np.asarray(a)[None, None] for name, a in each.items()}
            words = loaded.encode(golden.check_spikes(loaded.network, one))
            answer = loaded.decode(self._exchange(words, len(loaded.parts)), 1, 1)
            self._expect(n + 1)
            yield {name: a[0, 0] for name, a in answer.spikes.items()}

    def _start(self, steps: int, words: Words = NONE, replies: int = 0, progress: Callable[[int], Any] | None = None
               ) -> Words:
        """Start afresh, with samples of so many steps (0: one that never ends), and exchange packets. The link is waited
        for twice and no more: over USB each time takes longer than many a sample."""
        # the first START ends what is under way, so that no answer of it can follow those of the cores
        self._write(np.concatenate([image.start(), self.placement.samples(steps)]))
        return self._exchange(np.concatenate([image.start(), words]), replies, progress)

    # --- what the chip can be asked

    def peek(self, population: str, what: str = "v") -> NDArray[np.int64]:
        """State ``(neurons,)`` of a population after the last step: ``"v"``, ``"i"`` or ``"after"``. Raises
        :class:`AerloomError` where cores cannot be read."""
        self._readable()
        placement, record = self.placement, self.fabric.state_record
        if what not in record.fields:
            raise AerloomError(f"a neuron's state has {', '.join(record.fields)}, not {what!r}")
        values = np.zeros(placement.network.find(population).size, np.int64)
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
        self._swept = {n: steps * len(core.parts) for n, core in enumerate(self.placement.cores)}

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
