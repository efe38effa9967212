"""Tables that packets fill, and that packets read back."""

import random

import pytest
from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from aerloom.hdl.shapes import PACKETS, SPACE_LAYOUT
from aerloom.hdl.table import Loader, Table
from aerloom.models.fabric import CHUNK, SPACE, Kind, Space
from aerloom.sim.engine import open_engine
from tests.wrap import many, packet, talk

NODE = 9
TABLES = {  # width and depth
    Space.KEYS: (13, 5),
    Space.PROJECTIONS: (16, 1),
    Space.POPULATIONS: (17, 8),
    Space.SOURCES: (48, 3),
}


class Store(wiring.Component):
    """Tables of one to three chunks behind one Loader. They may be read in three of four clocks."""

    i: In(PACKETS)
    o: Out(PACKETS)

    def elaborate(self, platform):
        m = Module()
        chunks = {space: -(-width // CHUNK) for space, (width, _) in TABLES.items()}
        m.submodules.loader = loader = Loader(NODE, chunks)
        wiring.connect(m, wiring.flipped(self.i), loader.i)
        wiring.connect(m, loader.o, wiring.flipped(self.o))
        clock, asked = Signal(2), Signal(SPACE_LAYOUT)
        m.d.sync += [clock.eq(clock + 1), asked.eq(loader.read.payload)]
        m.d.comb += loader.read.ready.eq(clock != 0)
        for space, (width, depth) in TABLES.items():
            m.submodules[space.name.lower()] = table = Table(space, width, depth)
            m.d.comb += [
                table.write.valid.eq(loader.write.valid),
                table.write.payload.eq(loader.write.payload),
                table.address.eq(loader.read.payload.address),
                table.enable.eq(loader.read.valid & loader.read.ready),
            ]
            with m.If(asked.space == space):
                m.d.comb += loader.data.eq(Value.cast(table.data))
        return m


class Model:
    """The same in Python."""

    def __init__(self):
        self.words = {(space, n): 0 for space, (_, depth) in TABLES.items() for n in range(depth)}
        self.space, self.address, self.chunk = Space.KEYS, 0, 0

    def chunk_done(self):
        self.chunk += 1
        if self.chunk >= -(-TABLES.get(self.space, (1, 0))[0] // CHUNK):
            self.chunk, self.address = 0, (self.address + 1) % 2**15

    def take(self, kind, key, index):
        values = []
        if kind == Kind.ADDRESS:
            place = SPACE.unpack(index)
            self.space, self.address, self.chunk = place["space"], place["address"], 0
        elif kind == Kind.WRITE:
            if (word := self.words.get((self.space, self.address))) is not None:
                word = word & ~(0xFFFF << 16 * self.chunk) | (index & 0xFFFF) << 16 * self.chunk
                self.words[self.space, self.address] = word & (1 << TABLES[self.space][0]) - 1
            self.chunk_done()
        elif kind == Kind.READ:
            for _ in range(index):
                word = self.words.get((self.space, self.address), 0)
                values.append(packet(Kind.VALUE, NODE, word >> 16 * self.chunk & 0xFFFF))
                self.chunk_done()
        return values


def random_session(r, count):
    """Packets in which words are written and read from within a table, and written beside it."""
    packets = []
    for _ in range(count):
        space = r.choice(list(TABLES))
        width, depth = TABLES[space]
        word, chunks = r.randrange(depth), -(-width // CHUNK)
        packets.append(packet(Kind.ADDRESS, NODE, SPACE.pack(address=word, space=int(space))))
        left = (depth - word) * chunks  # to the end of the table
        for _ in range(r.randrange(3)):
            if r.random() < 0.5:
                n = r.randrange(left + 1)
                packets.append(packet(Kind.READ, NODE, n))
            else:
                n = r.randrange(left + 1)
                packets += [packet(Kind.WRITE, NODE, r.randrange(1 << 16)) for _ in range(n)]
            left -= n
        beside = r.choice([(space, r.choice([depth, depth + 8, 1 << 14])), (Space.START, 0)])
        packets.append(packet(Kind.ADDRESS, NODE, SPACE.pack(address=beside[1], space=int(beside[0]))))
        packets.append(packet(Kind.WRITE, NODE, r.randrange(1 << 16)))
    return packets


@pytest.mark.every_engine
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_what_was_written_is_read_and_nothing_else_changes(engine, stall):
    packets, model = random_session(random.Random(1), many(engine, 300)), Model()
    values = [value for p in packets for value in model.take(**p)]
    with open_engine(Store(), engine, stall=stall) as simulation:
        assert talk(simulation, {"i": packets}, {"o": len(values)}, drain=50)["o"] == values


def test_other_packets_do_nothing(engine):
    packets = [packet(Kind.WRITE, NODE, 7), *(packet(kind, NODE, 5) for kind in (0, 1, 2, 3, 7))]
    packets += [packet(Kind.ADDRESS, NODE, 0), packet(Kind.READ, NODE, 2)]
    with open_engine(Store(), engine, stall=0.2) as simulation:
        out = talk(simulation, {"i": packets}, {"o": 2}, drain=20)["o"]
    assert out == [packet(Kind.VALUE, NODE, 7), packet(Kind.VALUE, NODE, 0)]


def test_a_write_takes_one_clock(engine):
    with open_engine(Store(), engine) as simulation:
        talk(simulation, {"i": [packet(Kind.WRITE, NODE, n) for n in range(50)]}, {})
    assert simulation.cycles == 50
