"""Every size of the machine, and every word that is stored in it; :mod:`aerloom.models.words` has those that move.

This is the one place where a table row or a memory is declared. The hardware turns these records into layouts, ``place``
and the host pack the same records with NumPy or plain integers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

from .errors import AerloomError
from .record import CHUNK, Field, Record, bits_for
from .tree import Router, binary_tree, subtrees
from .words import AXES, CHIP, CHIP_COUNTERS, CORE_COUNTERS, COUNTER_BITS, INDEX_BITS, PACKET, SPACE, Kind, Space, Start

__all__ = [
    "AXES", "CHIP", "CHIP_COUNTERS", "CHUNK", "CORE_COUNTERS", "COUNTER_BITS", "INDEX_BITS", "PACKET", "PRESETS", "SPACE",
    "Fabric", "Field", "Kind", "Record", "Space", "Start", "bits_for", "route_record",
]

LONGEST_WORD = 256  # chunks in a word of memory that the loader counts
#: Fields of PROJECTIONS and POPULATIONS that only convolutions, pools, one-to-one projections and delay lines need
GEOMETRY = frozenset(("tabled", "channel_bits", "column_bits", "y", "x", "c", "row_y", "weights_y", "row_x", "weights_x",
                      "repeat", "channels", "columns", "gap", "gap_line"))
#: Fields of a neuron's parameters and state that only synaptic filters need
CURRENTS = frozenset(("decay_i", "max_i", "filtered", "bias_late", "i"))
MAY_BE_NONE = ("pixels", "classes", "places", "runs", "queue")  # sizes that may be 0: there is no such thing
SHORTEST_COUNT = 9  # bits of a count of spikes in the answer of a readout


@dataclass(frozen=True)
class Fabric:
    """Every size of a chip. What is stored here is decided before synthesis; everything else is loaded at run time.

    Raises :class:`AerloomError` for sizes that no hardware can have.
    """

    name: str = "custom"
    cores: int = 1
    chips: int = 1  #: that the cores are spread over, about evenly; a power of two
    lanes: int = 16  #: weights added per clock and core; a power of two
    update_lanes: int = 2  #: neurons updated per clock in a sweep; a power of two, at most ``lanes``
    weight_bits: int = 8  #: bits of a stored weight
    weight_words: int = 8192  #: words of ``lanes`` weights per core
    rows: int = 32  #: rows of ``lanes`` neurons per core
    #: a sweep updates neurons in every clock; if not, one after the other, in far fewer registers, few behind memories
    pipelined: bool = True
    shallow: bool = False  #: sums are not in blocks of RAM but in look-up tables; for wide chips of few rows
    #: sums are there twice, so that a source whose listeners have no other one can be a step ahead of them, and so are
    #: spikes, so that a population takes a step while those of the last one are still to be sent
    ahead: bool = True
    #: what a core's neurons and weights hold can be read, and it counts what happens; if not, it is smaller
    readable: bool = True
    currents: bool = True  #: populations may have synaptic filters; if not, neurons are smaller and have no such state
    parameter_rows: int = 256  #: rows of ``update_lanes`` parameter sets per core
    populations: int = 8  #: populations, or parts of them, per core
    projections: int = 32  #: (source, population) pairs per core
    places: int = 64  #: rows of each of the tables that hold the geometry of convolutions: y, x and channel; 0: none at all
    runs: int = 0  #: rows that the table of channels has besides, for sparse projections; 0: they are stored as dense ones
    keys: int = 64  #: source populations in the whole chip, inputs first
    inputs: int = 4  #: source populations on the host's side
    queue: int = 0  #: packets that wait in front of a core while it takes a step, where there are several; 0: hardly any
    sum_bits: int = 20  #: bits of the sum of one step's weights
    state_bits: int = 18  #: bits of membrane and synaptic current
    spike_bits: int = 3  #: a neuron sends at most 2**spike_bits - 1 spikes per step
    refractory_bits: int = 6  #: at most 2**refractory_bits - 1 refractory steps
    pixels: int = 0  #: intensities that the encoder holds, a power of two; 0: there is no encoder
    classes: int = 0  #: neurons whose spikes the readout counts, a power of two; 0: there is no readout

    def __post_init__(self) -> None:
        for size in dataclasses.fields(self)[1:]:
            value, least = getattr(self, size.name), 0 if size.name in MAY_BE_NONE else 1
            if isinstance(size.default, bool):
                if not isinstance(value, bool):
                    raise AerloomError(f"Fabric {self.name}: {size.name} must be true or false, not {value!r}")
            elif type(value) is not int or value < least:
                raise AerloomError(f"Fabric {self.name}: {size.name} must be an integer of at least {least}, not {value!r}")
        if self.runs and not self.places:
            raise AerloomError(f"Fabric {self.name}: runs are rows of a table of places, and there are no places")
        for name in ("lanes", "update_lanes", "weight_bits", "chips", "pixels", "classes"):
            if (value := getattr(self, name)) & value - 1:
                raise AerloomError(f"Fabric {self.name}: {name} must be a power of two, not {value}")
        limits = {
            "lanes": LONGEST_WORD * CHUNK,
            "update_lanes": self.lanes,
            "cores": 64,
            "chips": self.cores,
            "weight_bits": 16,
            "weight_words": 1 << SPACE.fields["address"].width,
            "parameter_rows": 1 << SPACE.fields["address"].width,
            "rows": (1 << SPACE.fields["address"].width) * self.update_lanes // self.lanes,
            "places": 1 << SPACE.fields["address"].width,
            "runs": (1 << SPACE.fields["address"].width) - self.places,
            "keys": CHIP - 1,
            "inputs": self.keys - 1,
            "state_bits": 32,
            "sum_bits": 32,
            "pixels": 2 << SPACE.fields["address"].width,
            "classes": 1 << INDEX_BITS - SHORTEST_COUNT,
        }
        for name, limit in limits.items():
            if (value := getattr(self, name)) > limit:
                raise AerloomError(f"Fabric {self.name}: {name} must be at most {limit}, not {value}")
        if (chunks := max(self.weight_chunks, self.parameter_chunks)) > LONGEST_WORD:
            raise AerloomError(f"Fabric {self.name}: words of {chunks} chunks are too long; {LONGEST_WORD} is the most: "
                               "use fewer lanes, update_lanes or weight_bits")

    # derived sizes

    @property
    def groups(self) -> int:
        """Groups of ``update_lanes`` neurons in a row."""
        return self.lanes // self.update_lanes

    @property
    def neurons(self) -> int:
        """Neurons that the state memory of one core holds."""
        return self.rows * self.lanes

    @property
    def regions(self) -> int:
        """Steps of a population whose sums, and whose spikes, there is room for."""
        return 1 + self.ahead

    @property
    def sum_rows(self) -> int:
        """Rows of ``lanes`` sums: those of even and of odd steps take turns where sources can be ahead."""
        return self.rows * self.regions

    @property
    def shift_bits(self) -> int:
        """Bits of the shift that brings sums of coarse weights to the membrane's scale."""
        return 3

    # words of the tables in a core

    @cached_property
    def key_record(self) -> Record:
        """Row ``key`` of KEYS. ``heard``: it has projection ``first`` and ``more`` behind that one (``several``: any);
        ``home``: it is that of population ``slot``."""
        return Record(
            first=bits_for(self.projections),
            more=bits_for(self.projections),
            slot=bits_for(self.populations),
            heard=1,
            several=1,
            home=1,
        )

    @cached_property
    def projection_record(self) -> Record:
        """A row of PROJECTIONS.

        Neuron ``index`` (below ``sources``) of a source adds its weights for row ``r`` of the target, found at
        ``weights + index + r * stride``, to sums ``row + r``, for all ``rows`` of them. ``late``: the spikes belong to
        the target's next step. ``ahead``: the source may be a step ahead of the target.

        ``tabled``: the index has fields y, x (of ``column_bits``) and channel (of ``channel_bits``), and each of them a
        row in LINES, COLUMNS and CHANNELS from ``y``, ``x`` and ``c`` on. What they say is added up instead of the
        index; they also say how many lines of windows, how many windows in a line and how many rows in each window
        there are. From line to line it is ``row_y`` sums and ``weights_y`` weights, from window to window ``row_x`` and
        ``weights_x``: all modulo the size of the field. A Fabric without places has none of this.
        """
        row, weights, place = bits_for(self.rows), bits_for(self.weight_words), bits_for(self.places)
        whole = Record(
            slot=bits_for(self.populations),
            tabled=1,
            sources=INDEX_BITS + 1 if self.places else bits_for(self.weight_words + 1),  # each has weights of its own
            channel_bits=bits_for(INDEX_BITS + 1),
            column_bits=bits_for(INDEX_BITS + 1),
            y=place,
            x=place,
            c=bits_for(self.places + self.runs),
            late=1,
            ahead=1,
            weights=weights,
            stride=bits_for(self.weight_words + 1),
            row=row,
            rows=bits_for(self.rows + 1),
            fanout=bits_for(self.neurons + 1),
            row_y=row,
            weights_y=weights,
            row_x=row,
            weights_x=weights,
        )
        return self._needed(whole)

    def _needed(self, record: Record) -> Record:
        """The record without what this Fabric cannot do."""
        return record.without((frozenset() if self.places else GEOMETRY) | (frozenset() if self.ahead else {"ahead"}))

    @cached_property
    def axis_record(self) -> Record:
        """A row of LINES, COLUMNS and CHANNELS: what a y, an x or a channel adds to the first row and weight, and how many
        lines, windows or rows there are. ``known``: the source has it. ``fanout``, of channels alone: weights in a window.
        """
        return Record(
            row=bits_for(self.rows),
            weights=bits_for(self.weight_words),
            count=bits_for(self.rows + 1),
            known=1,
            fanout=bits_for(self.neurons + 1),
        )

    @cached_property
    def channel_record(self) -> Record:
        """A row of CHANNELS. Where the Fabric has runs, ``next`` is the row that goes on with the same spike (0: none)."""
        return Record(**self.axis_record.fields, next=bits_for(self.places + self.runs)) if self.runs else self.axis_record

    @cached_property
    def axes(self) -> tuple[tuple[Space, Record, int], ...]:
        """LINES, COLUMNS and CHANNELS: their records, and how many rows they have. Without places there are none."""
        if not self.places:
            return ()
        records = (self.axis_record, self.axis_record, self.channel_record)
        return tuple(zip(AXES, records, (self.places, self.places, self.places + self.runs), strict=True))

    @cached_property
    def token_bits(self) -> int:
        """Bits of a count of tokens or credits: a population may hear, and be heard by, every key. All bits set: one is
        had in advance, so that one listener is a step behind, at most."""
        return bits_for(self.keys + 2)

    @cached_property
    def population_record(self) -> Record:
        """Row ``slot`` of POPULATIONS: neurons up to number ``final``, with sums from ``row`` on and their parameters from
        ``parameters`` on.

        A step needs ``tokens`` STEPs from sources (``tokens_first`` for the very first), and sending it ``credits``
        from listeners; all bits set: one is paid in advance. ``ahead``: its source may be a step ahead. ``each``: every
        neuron has its own parameters, or with ``repeat`` every channel. ``relay``: its spikes are copies, and not counted.
        A sample ends after ``steps`` steps (0: never).

        ``channels`` groups of ``update_lanes`` neurons are at one position, and ``columns`` positions in a line; from the
        last group of a position to the first of the next it is ``gap`` groups, at the end of a line ``gap_line``, in the
        numbers that spikes carry. A Fabric without places counts on: it has none of these and no ``repeat``.
        """
        groups = bits_for(self.rows * self.groups + 1)
        whole = Record(
            key=bits_for(self.keys),
            row=bits_for(self.rows),
            final=bits_for(self.neurons),
            parameters=bits_for(self.parameter_rows),
            each=1,
            repeat=1,
            relay=1,
            ahead=1,
            channels=groups,
            columns=groups,
            gap=self.place_bits,
            gap_line=self.place_bits,
            tokens=self.token_bits,
            tokens_first=self.token_bits,
            credits=self.token_bits,
            credits_first=self.token_bits,
            sources=bits_for(self.projections),
            source_count=bits_for(self.projections + 1),
            steps=CHUNK,
        )
        return self._needed(whole)

    @property
    def place_bits(self) -> int:
        """Bits of a spike's index without those of the lane in its group; all of them where there are positions to skip."""
        return INDEX_BITS - (self.update_lanes - 1).bit_length() if self.places else bits_for(self.rows * self.groups)

    @cached_property
    def source_record(self) -> Record:
        """A row of SOURCES: a key to which a CREDIT goes."""
        return Record(key=bits_for(self.keys))

    @cached_property
    def gate_record(self) -> Record:
        """Row ``key`` of GATES: is there such an input; credits it waits for, and waits for before its first step."""
        return Record(known=1, credits=self.token_bits, credits_first=self.token_bits)

    @cached_property
    def scan_record(self) -> Record:
        """Behind row ``key`` of GATES, where there is an encoder: how indices go on from pixel to pixel.

        A population has ``pixels``, in lines of ``columns`` and planes of ``lines``. From pixel to pixel it is ``step``,
        to the next line ``step_line``, to the next plane ``step_plane``: all modulo the size of the field.
        """
        count = bits_for(self.pixels + 1)
        index = bits_for(4 * self.pixels)  # columns and channels have fields of up to twice the values
        return Record(known=1, pixels=count, columns=count, lines=count, step=index, step_line=index, step_plane=index)

    @property
    def gate_chunks(self) -> int:
        """Chunks of a row of GATES."""
        return self.gate_record.chunks + (self.scan_record.chunks if self.pixels else 0)

    @cached_property
    def answer_record(self) -> Record:
        """What a VALUE of the readout carries: the neuron with most spikes (the first of equals), and how many."""
        winner = bits_for(self.classes)
        return Record(winner=winner, spikes=INDEX_BITS - winner)

    @cached_property
    def neuron_record(self) -> Record:
        """Parameters of one neuron, in the order in which its update needs them; see
        :func:`aerloom.models.golden.fire` for what each of them does."""
        state = Field(self.state_bits, signed=True)
        whole = Record(
            v0=state,
            decay_v=13,
            decay_i=13,
            shift=self.shift_bits,
            refractory=self.refractory_bits,
            reset_late=1,
            reset_value=1,
            truncate=1,
            filtered=1,
            bias_late=1,
            reset_by=state,
            bias=state,
            max_i=state,
            min_v=state,
            max_v=state,
            reset_to=state,
            threshold=state,
            max_spikes=self.spike_bits,
        )
        return whole if self.currents else whole.without(CURRENTS)

    @cached_property
    def state_record(self) -> Record:
        """State of one neuron: ``after`` is what its last spike left to do: refractory steps, or a late reset."""
        state = Field(self.state_bits, signed=True)
        whole = Record(v=state, i=state, after=max(self.spike_bits, self.refractory_bits))
        return whole if self.currents else whole.without(CURRENTS)

    @cached_property
    def weight_record(self) -> Record:
        """One weight."""
        return Record(weight=Field(self.weight_bits, signed=True))

    # chunks in a word of the memories that are as wide as the core; each lane starts with a chunk of its own

    @property
    def weight_chunks(self) -> int:
        return -(-self.lanes * self.weight_bits // CHUNK)

    @property
    def parameter_chunks(self) -> int:
        return self.update_lanes * self.neuron_record.chunks

    @property
    def state_chunks(self) -> int:
        return self.update_lanes * self.state_record.chunks

    def chunks(self, space: Space) -> int:
        """Chunks in a word of a core's memory."""
        records = {Space.KEYS: self.key_record, Space.PROJECTIONS: self.projection_record,
                   Space.POPULATIONS: self.population_record, Space.SOURCES: self.source_record,
                   **{space: record for space, record, _ in self.axes}}
        if space in records:
            return records[space].chunks
        return {Space.WEIGHTS: self.weight_chunks, Space.PARAMETERS: self.parameter_chunks,
                Space.STATE: self.state_chunks, Space.COUNTERS: COUNTER_BITS // CHUNK}[space]

    # nodes

    @property
    def routers(self) -> int:
        """Routers of the tree: a binary tree of ``cores`` leaves, and a root even for one core."""
        return max(1, self.cores - 1)

    def tree(self) -> list[Router]:
        """The routers between the host (up) and the cores of all chips, root first; router ``n`` is node ``cores + n``."""
        return binary_tree(self.cores)

    # chips

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """The cores of each chip: a subtree, as a half-open range."""
        return subtrees(self.cores, self.chips)

    def chip(self, core: int) -> int:
        """The chip that has a core. A router is in the chip of the first core below it."""
        return next(n for n, (a, b) in enumerate(self.spans) if a <= core < b)

    def below(self, chip: int) -> list[int]:
        """The chips that hang from a router of this one."""
        return [self.chip(branch.cores[0]) for router in self.tree() if self.chip(router.cores[0]) == chip
                for branch in router.branches if self.chip(branch.cores[0]) != chip]

    @cached_property
    def digest(self) -> int:
        """64 bits that two Fabrics share only when a chip of one takes the image of the other."""
        sizes = {k: v for k, v in dataclasses.asdict(self).items() if k != "name"}
        return int.from_bytes(hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).digest()[:8], "little")

    @staticmethod
    def preset(name: str) -> Fabric:
        """The preset called ``name``; raises :class:`AerloomError` naming the presets there are."""
        try:
            return PRESETS[name]
        except KeyError:
            raise AerloomError(f"no Fabric is called {name!r}; there are {', '.join(PRESETS)}") from None


def route_record(ports: int) -> Record:
    """Row ``key`` of ROUTES: ports that SPIKE and STEP leave by, and the port that leads to their source."""
    return Record(listeners=ports, home=bits_for(ports))


PRESETS = {
    fabric.name: fabric
    for fabric in (
        # for tests and waveforms: everything is small enough to look at
        Fabric("tiny", lanes=4, update_lanes=1, weight_words=512, rows=16, parameter_rows=64, sum_bits=14),
        # iCE40UP5K class: weights of one core in single-port RAM
        Fabric("small", lanes=8, update_lanes=1, weight_words=16384, rows=64, parameter_rows=256, keys=32,
               projections=16),
        # ECP5-45F class
        Fabric("medium", lanes=16, update_lanes=2, weight_words=8192, rows=64, parameter_rows=512),
        # ECP5-85F class: sums of two lanes in a word of block RAM
        Fabric("large", lanes=64, update_lanes=4, weight_words=4096, rows=32, parameter_rows=128, sum_bits=18),
        Fabric("wide", lanes=128, update_lanes=8, weight_words=1024, rows=16, parameter_rows=64, sum_bits=18),
        # ECP5-85F class, for answers in the least time: hidden neurons on one core, the output on the other
        Fabric("swift", cores=2, lanes=128, update_lanes=4, weight_bits=4, weight_words=1024, rows=2, shallow=True,
               currents=False, parameter_rows=64, populations=4, projections=8, places=0, keys=16, inputs=2, sum_bits=14,
               spike_bits=1, refractory_bits=4),
        # as medium, for pruned networks
        Fabric("sparse", lanes=16, update_lanes=2, weight_words=8192, rows=64, parameter_rows=512, runs=4096),
        # convolutions: room for ten thousand neurons, and for the geometry of a few layers
        Fabric("planes", lanes=16, update_lanes=4, weight_words=4096, rows=640, ahead=False, parameter_rows=256,
               places=256),
        # images down, answers up
        Fabric("vision", lanes=16, update_lanes=2, weight_words=8192, rows=64, parameter_rows=512, pixels=1024, classes=16),
        Fabric("quad", cores=4, lanes=16, update_lanes=2, weight_words=4096, rows=32, parameter_rows=256, queue=256),
    )
}
