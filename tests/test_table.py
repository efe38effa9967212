"""Tables that packets fill, and that packets read back."""

import random

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from aerloom.hdl.shapes import PACKETS, PLACE_LAYOUT
from aerloom.hdl.table import Loader, Receiver, Table
from aerloom.models.fabric import CHUNK, SPACE, Kind, Space
from aerloom.sim.engine import open_engine
from tests.wrap import Plain, many, packet, talk, writes

NODE = 9
TABLES = {  # widths of the tables that share the words, and depth
    Space.KEYS: ((13,), 5),
    Space.PROJECTIONS: ((16,), 1),
    Space.POPULATIONS: ((17,), 8),
    Space.SOURCES: ((48,), 3),
    Space.PARAMETERS: ((17, 5), 4),
}
CHUNKS = {space: sum(-(-width // CHUNK) for width in widths) for space, (widths, _) in TABLES.items()}


class Store(wiring.Component):
    """Tables of one to three chunks behind one Loader. It may read in three of four clocks, others read between."""

    i: In(PACKETS)
    o: Out(PACKETS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader = loader = Loader(NODE, CHUNKS)
        wiring.connect(m, wiring.flipped(self.i), loader.i)
        wiring.connect(m, loader.o, wiring.flipped(self.o))
        clock, asked, counts = Signal(2), Signal(PLACE_LAYOUT), Signal()
        m.d.sync += [clock.eq(clock + 1), counts.eq(loader.read.valid & loader.read.ready)]
        with m.If(loader.read.valid & loader.read.ready):
            m.d.sync += asked.eq(loader.read.payload)
        m.d.sync += loader.data.valid.eq(counts)  # two clocks later
        m.d.comb += loader.read.ready.eq(clock != 0)
        for space, (widths, depth) in TABLES.items():
            words = Signal(CHUNK * CHUNKS[space], name=f"words_{space.name.lower()}")
            first = 0
            for width in widths:
                m.submodules[f"{space.name.lower()}_{first}"] = table = Table(space, width, depth, first)
                m.d.comb += [
                    table.write.valid.eq(loader.write.valid),
                    table.write.payload.eq(loader.write.payload),
                    table.address.eq(Mux(loader.read.valid & loader.read.ready, loader.read.payload.address, clock)),
                    words[CHUNK * first :][:width].eq(table.data),
                ]
                first += table.chunks
            with m.If(asked.space == space):
                m.d.sync += loader.data.payload.eq(words.word_select(asked.chunk, CHUNK))
        return m


def stored_bits(space, chunk):
    """Mask of the bits of a chunk that a table has."""
    bits = [min(CHUNK, width - n) for width in TABLES[space][0] for n in range(0, width, CHUNK)]
    return (1 << bits[chunk]) - 1


class Model:
    """The same in Python."""

    def __init__(self):
        self.chunks = {(space, n, k): 0 for space, (_, depth) in TABLES.items() for n in range(depth) for k in range(3)}
        self.space, self.address, self.chunk = Space.KEYS, 0, 0

    def chunk_done(self):
        self.chunk += 1
        if self.chunk >= CHUNKS.get(self.space, 1):
            self.chunk, self.address = 0, (self.address + 1) % 2**15

    def take(self, kind, key, index):
        values = []
        if kind == Kind.ADDRESS:
            place = SPACE.unpack(index)
            self.space, self.address, self.chunk = place["space"], place["address"], 0
        elif kind == Kind.WRITE:
            if (place := (self.space, self.address, self.chunk)) in self.chunks:
                self.chunks[place] = index & stored_bits(self.space, self.chunk)
            self.chunk_done()
        elif kind == Kind.READ:
            for _ in range(index):
                chunk = self.chunks.get((self.space, self.address, self.chunk), 0)
                values.append(packet(Kind.VALUE, NODE, chunk))
                self.chunk_done()
        return values


def random_session(r, count):
    """Packets in which words are written and read from within a table, and written beside it."""
    packets = []
    for _ in range(count):
        space = r.choice(list(TABLES))
        depth, chunks = TABLES[space][1], CHUNKS[space]
        word = r.randrange(depth)
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
        beside = r.choice([(space, r.choice([depth, 1 << 14])), (Space.START, 0)])
        packets.append(packet(Kind.ADDRESS, NODE, SPACE.pack(address=beside[1], space=int(beside[0]))))
        packets.append(packet(Kind.WRITE, NODE, r.randrange(1 << 16)))
    for space, (_, depth) in TABLES.items():
        packets.append(packet(Kind.ADDRESS, NODE, SPACE.pack(address=depth, space=int(space))))
        packets += [packet(Kind.WRITE, NODE, 0xFFFF)] * CHUNKS[space]
        packets.append(packet(Kind.ADDRESS, NODE, SPACE.pack(address=0, space=int(space))))
        packets.append(packet(Kind.READ, NODE, depth * CHUNKS[space]))
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


def test_a_table_keeps_its_word_unless_enabled():
    with open_engine(Plain(Table(Space.KEYS, 4, 2), events=["data"]), "amaranth") as simulation:
        talk(simulation, {"write": writes(Space.KEYS, [5, 6], 1)}, {})
        talk(simulation, {"address": [1], "enable": [1]}, {}, drain=4)
        talk(simulation, {"enable": [0]}, {}, drain=4)
        assert set(talk(simulation, {"address": [0]}, {}, drain=9)["data"]) == {6}
        assert talk(simulation, {"enable": [1]}, {}, drain=9)["data"][-1] == 5


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_a_receiver_writes_and_says_when_it_is_done(engine, stall):
    packets, model, written, reads = random_session(random.Random(2), many(engine, 200)), Model(), [], 0
    for p in packets:
        if p["kind"] == Kind.WRITE:
            place = {"space": model.space, "address": model.address, "chunk": model.chunk}
            written.append({"place": place, "data": p["index"]})
        reads += p["kind"] == Kind.READ
        if p["kind"] != Kind.READ:  # it does not go on by what it does not read
            model.take(**p)
    with open_engine(Plain(Receiver(NODE, CHUNKS)), engine, stall=stall) as simulation:
        out = talk(simulation, {"i": packets}, {"o": reads, "write": len(written)}, drain=20)
    assert out == {"write": written, "o": [packet(Kind.VALUE, NODE)] * reads}
