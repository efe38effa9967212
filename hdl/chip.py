"""The chip: cores, the routers that join them, and one stream of packets each way."""

import hashlib
from importlib import metadata
from pathlib import Path

from amaranth.hdl import Const, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..models import contents, encode, fabric, record, tree, words
from ..models.contents import EMPTY, Contents
from ..models.fabric import CHIP, CHIP_COUNTERS, CHUNK, COUNTER_BITS, Fabric, Kind, Space, Start
from .cluster import Cluster, pass_down, ways_down
from .encode import Encoder
from .gate import Entrance
from .readout import Readout
from .shapes import PACKET_LAYOUT, PACKETS
from .stream import First
from .table import Loader

__all__ = ["Chip", "fingerprint"]

MODELS = (contents, encode, fabric, record, tree, words)  # modules that the hardware is made by, beside those of its folder


class Chip(wiring.Component):
    """A chip that runs any network that fits its Fabric.

    Computes :func:`aerloom.models.golden.run`, for the packets that :mod:`aerloom.models.place` makes of a network; or
    from the start, for the network that its ``contents`` are.

    Members
    -------
    i, o : packets
        From and to the host. Every READ of a core or of the chip is answered by as many VALUEs as it asks for; each STEP on
        the way out carries the low bits of the cycle counter. A WRITE to the first word of START resets everything but the
        tables, in all chips.
    txK, rxK : packets
        To and from chip K, an :class:`Extension`, of a Fabric with several.
    """

    def __init__(self, fabric: Fabric, contents: Contents = EMPTY):
        self.fabric, self.contents = fabric, contents
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS)} | ways_down(fabric, 0))

    @property
    def fingerprint(self) -> str:
        """See :func:`fingerprint`."""
        return fingerprint(self.fabric, self.contents)

    def elaborate(self, platform):
        m = Module()
        restart = Signal()
        m.submodules.machine = machine = ResetInserter(restart)(Machine(self.fabric, self.contents))
        m.d.sync += restart.eq(machine.restart)
        m.d.comb += [
            machine.i.payload.eq(self.i.payload),
            machine.i.valid.eq(self.i.valid & ~restart),
            self.i.ready.eq(machine.i.ready & ~restart),
            self.o.payload.eq(machine.o.payload),
            self.o.valid.eq(machine.o.valid & ~restart),
            machine.o.ready.eq(self.o.ready & ~restart),
        ]
        pass_down(m, self.fabric, 0, machine, self)
        return m


def fingerprint(fabric: Fabric, contents: Contents = EMPTY) -> str:
    """Equal for chips that elaborate to the same hardware, and found without making one."""
    sources = [*sorted(Path(__file__).parent.glob("*.py")), *(Path(m.__file__) for m in MODELS)]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources))
    return f"{digest.hexdigest()} {fabric} amaranth {metadata.version('amaranth')} {contents.digest}"


class Machine(wiring.Component):
    """The chip, without its reset.

    ::

        i ─►[Encoder]─► Entrance ─► Cluster ══ other chips
                           │ ▲         │
                           │ └ CREDIT ─┤
                           │       [Readout]
                           └─► Loader ─┴─► time stamp ─► o

    Encoder and Readout are there where the Fabric has room for pixels and for classes.
    """

    def __init__(self, fabric: Fabric, contents: Contents = EMPTY):
        self.fabric, self.contents = fabric, contents
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS), "restart": Out(1)} | ways_down(fabric, 0))

    def elaborate(self, platform):
        m = Module()
        fabric, known = self.fabric, self.contents
        m.submodules.entrance = entrance = Entrance(fabric, known[CHIP])
        m.submodules.loader = loader = Loader(
            CHIP,
            {
                Space.GATES: fabric.gate_chunks,
                Space.START: 1,
                Space.IMAGE: 1,
                Space.IDENTITY: 64 // CHUNK,
                Space.COUNTERS: COUNTER_BITS // CHUNK,
            },
        )
        m.submodules.exit = exit_ = First(PACKET_LAYOUT, 2)  # answers come to an end
        m.submodules.cluster = cluster = Cluster(fabric, 0, known)
        pass_down(m, fabric, 0, cluster, self)

        # in
        takers = [entrance]
        if fabric.pixels:
            m.submodules.encoder = encoder = Encoder(fabric, known[CHIP])
            wiring.connect(m, wiring.flipped(self.i), encoder.i)
            wiring.connect(m, encoder.o, entrance.i)
            takers.append(encoder)
        else:
            wiring.connect(m, wiring.flipped(self.i), entrance.i)
        wiring.connect(m, entrance.o, cluster.i)
        wiring.connect(m, entrance.own, loader.i)
        written = loader.write.payload.place
        m.d.comb += self.restart.eq(
            loader.write.valid & (written.space == Space.START) & (written.address == Start.RESET)
        )

        # out; credits for the host stay at the entrance
        said, leaving, answered = cluster.o, PACKETS.flip().create(), Signal()
        up = leaving
        if fabric.classes:
            m.submodules.readout = readout = Readout(fabric)
            wiring.connect(m, readout.o, leaving)
            up = readout.i
            m.d.comb += answered.eq(readout.answered)
            takers.append(readout)
        is_credit = said.payload.kind == Kind.CREDIT
        m.d.comb += [
            entrance.credit.payload.eq(said.payload.key),
            entrance.credit.valid.eq(said.valid & is_credit),
            up.payload.eq(said.payload),
            up.valid.eq(said.valid & ~is_credit),
            said.ready.eq(up.ready | is_credit),
        ]
        for taker in takers:
            m.d.comb += [taker.write.valid.eq(loader.write.valid), taker.write.payload.eq(loader.write.payload)]
        wiring.connect(m, loader.o, exit_.i0)
        wiring.connect(m, exit_.o, wiring.flipped(self.o))

        # time: from the first packet of a run on
        now, running = Signal(COUNTER_BITS), Signal()
        counters = {name: Signal(COUNTER_BITS, name=name) for name in CHIP_COUNTERS}
        steps = leaving.payload.kind == Kind.STEP
        with m.If(entrance.started):
            m.d.sync += running.eq(1)
        with m.If(running | entrance.started):
            m.d.sync += now.eq(now + 1)
        m.d.comb += [
            exit_.i1.payload.eq(leaving.payload),
            exit_.i1.valid.eq(leaving.valid),
            leaving.ready.eq(exit_.i1.ready),
        ]
        with m.If(steps):
            m.d.comb += exit_.i1.payload.index.eq(now)
        with m.If((steps & leaving.valid & leaving.ready) | answered):
            m.d.sync += counters["cycles"].eq(now)
        stray = Signal()
        m.d.sync += [stray.eq(entrance.stray), counters["strays"].eq(counters["strays"] + stray)]

        # what the chip can be asked
        digest = Const(fabric.digest, 64)
        asked = loader.read.payload  # stays until it is answered
        m.d.comb += loader.read.ready.eq(1)
        m.d.sync += loader.data.valid.eq(loader.read.valid)
        with m.Switch(asked.space):
            with m.Case(Space.IDENTITY):
                m.d.comb += loader.data.payload.eq(digest.word_select(asked.chunk[:2], CHUNK))
            with m.Case(Space.COUNTERS), m.Switch(asked.address):
                for n, name in enumerate(CHIP_COUNTERS):
                    with m.Case(n):
                        m.d.comb += loader.data.payload.eq(counters[name].word_select(asked.chunk[0], CHUNK))
        return m
