"""Every word that moves: packets, and what they name."""

from __future__ import annotations

from enum import IntEnum

from .record import Record


class Kind(IntEnum):
    """What a packet is. SPIKE, STEP and CREDIT name the *source* population by ``key``, the others a node."""

    NONE = 0
    SPIKE = 1  # key: source population, index: neuron in it; one packet for each spike of a neuron
    STEP = 2  # key: source population; all its spikes of this step are sent. On its way out: index = time stamp
    CREDIT = 3  # key: source population; one of its listeners is ready for its next step
    ADDRESS = 4  # key: node, index: space and address at which WRITE and READ go on
    WRITE = 5  # key: node, index: 16 bits to store there
    READ = 6  # key: node, index: number of 16-bit values to send back from there, of READ_BITS
    VALUE = 7  # key: node, index: 16 bits that a READ asked for


INDEX_BITS = 19
READ_BITS = 8
PACKET = Record(index=INDEX_BITS, key=10, kind=3)
SPACE = Record(address=15, space=4)  # what the index of an ADDRESS packet holds
CHIP = (1 << PACKET.fields["key"].width) - 1  # the node that is the chip itself


class Space(IntEnum):
    """The memories that a node shows to ADDRESS packets."""

    KEYS = 0  # core: what to do with packets of a key
    PROJECTIONS = 1  # core: where the spikes of a source go
    POPULATIONS = 2  # core: what each population needs to take a step
    SOURCES = 3  # core: keys that are told when a population took a step
    WEIGHTS = 4  # core
    PARAMETERS = 5  # core: neuron parameters
    STATE = 6  # core, read only
    COUNTERS = 7  # every node, read only
    ROUTES = 8  # router: to which ports the packets of a key go
    GATES = 9  # chip: credits that the host's populations wait for; with an encoder, where their pixels are
    START = 10  # chip: see :class:`Start`
    IDENTITY = 11  # chip, read only: digest of the Fabric
    LINES = 12  # core: what the y, the x and the channel of a source neuron say about the sums it reaches
    COLUMNS = 13
    CHANNELS = 14
    IMAGE = 15  # chip: intensities of two pixels in a word, and what ranges of them are due in a step


class Start(IntEnum):
    """Words of START."""

    RESET = 0  # any WRITE resets all but the tables, and begins at step 0
    STEPS = 1  # in a sample, for encoder and readout
    OUTPUT = 2  # key whose spikes the readout keeps and counts; 0: none's
    RANGES = 3  # word of IMAGE with the range of intensities that are due in the first step; 0: they are drawn
    DRAW = 4  # low half of the first draw
    GO = 5  # high half of it: and the encoder sends the image


AXES = (Space.LINES, Space.COLUMNS, Space.CHANNELS)  # outermost loop of a walk first


COUNTER_BITS = 32
CORE_COUNTERS = (
    "spikes_in",  # spikes taken, once each however many projections they feed
    "spikes_out",
    "synaptic_operations",  # weights added to sums
    "adding_cycles",  # clock cycles in which the lanes add weights
    "stall_cycles",  # clock cycles in which a packet waits to leave
    "saturations",  # neuron updates whose membrane or current was clipped
    "strays",  # packets that name nothing here: counted and dropped
    "sweeps",  # population updates
)
CHIP_COUNTERS = (
    "cycles",  # clock cycles from the first packet of a run to its latest STEP, or answer of the readout, on the way out
    "strays",
)
