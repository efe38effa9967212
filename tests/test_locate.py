"""Indices into sums and weights: every spike of every small window, against the definition of a convolution."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aerloom import Projection
from aerloom.hdl.locate import Direct, Tabled
from aerloom.hdl.walk import Walk
from aerloom.models import golden
from aerloom.models.fabric import Kind, Space
from aerloom.models.grid import Code, Grid
from aerloom.models.reach import reach, sparse
from aerloom.models.window import Window
from aerloom.sim.engine import open_engine
from tests.networks import convolved, pools, windows
from tests.wrap import TOY, Plain, many, rows, talk, writes

WINDOW = Window((2, 6, 7), (3, 3), (2, 1), (1, 1))
FABRIC = dataclasses.replace(TOY, rows=200, weight_words=1000, places=300, runs=200, ahead=False)
NUMBER = 5  # of the projection


class Ways(wiring.Component):
    """Where a spike goes: Tabled, then Walk."""

    def __init__(self):
        self.locate, self.walk = Tabled(FABRIC), Walk(FABRIC)
        members = {name: self.locate.signature.members[name] for name in ("i", "write")}
        members |= {name: self.walk.signature.members[name] for name in ("o", "token", "taken", "stray", "operations")}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.locate, m.submodules.walk = locate, walk = self.locate, self.walk
        wiring.connect(m, locate.o, walk.i)
        for name in ("i", "write"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(locate, name))
        wiring.connect(m, walk.o, wiring.flipped(self.o))
        wiring.connect(m, walk.token, wiring.flipped(self.token))
        m.d.comb += [getattr(self, name).eq(getattr(walk, name)) for name in ("taken", "stray", "operations")]
        return m


@st.composite
def projections(draw):
    """Any projection that has a table, with the shapes of both ends."""
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels = draw(st.integers(1, 6))
    window = draw(windows(channels))
    kind = draw(st.sampled_from(["conv", "conv", "conv", "dense", "one"]))
    pool = draw(st.none() | pools(window.shape, kind == "dense"))
    planes = (channels, *pool.size) if pool else window.shape
    if kind == "one":
        size = int(np.prod(window.shape))
        weights = r.integers(-50, 50, size) if draw(st.booleans()) else np.full(size, 3)
        return Projection("a", "b", weights), window.shape, window.shape
    if kind == "dense":
        size = draw(st.integers(1, 9))
        weights = r.integers(-50, 50, (size, int(np.prod(planes))))
        return Projection("a", "b", weights, 0, None, pool), pool.shape if pool else planes, None
    if pool and planes != window.shape:
        pool = None
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    weights = convolved(r, window, groups, draw(st.integers(1, 7)))
    q = Projection("a", "b", weights, 0, window, pool)
    return q, pool.shape if pool else window.shape, (len(weights), *window.size)


def arrival(index):
    return {"kind": Kind.SPIKE, "index": index, "home": 0, "first": 1, "number": NUMBER}


def load(simulation, way, **fields):
    """Fill the tables from some row on, and the projection's own row."""
    bases = [3, 2, 1]
    for (space, record, _), entries, first in zip(FABRIC.axes, way.tables, bases, strict=True):
        own = [vars(e) | {"next": e.next + first if e.next else 0} for e in entries]
        values = [{"known": 0}] * first + [{k: v for k, v in e.items() if k in record.fields} for e in own]
        talk(simulation, {"write": rows(space, record, values)}, {})
    widths = FABRIC.projection_record.fields
    steps = dict(zip(("row_y", "weights_y", "row_x", "weights_x"), (*way.step_y, *way.step_x), strict=True))
    own = {"tabled": 1, "stride": way.stride} | dict(zip("yxc", bases, strict=True)) | {
        name: value % (1 << widths[name].width) for name, value in steps.items()
    } | fields
    record = FABRIC.projection_record
    talk(simulation, {"write": writes(Space.PROJECTIONS, [record.pack(**own)], record.chunks, NUMBER)}, {})


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_every_spike_reaches_what_it_should(engine, stall):
    with open_engine(Plain(Ways(), events=["taken", "stray", "operations"]), engine, stall=stall) as simulation:
        talk(simulation, {}, {"o": FABRIC.rows})  # a reset clears every row

        @settings(max_examples=many(engine, 200), deadline=None)
        @given(projections(), st.sampled_from((1, 1, 2, 3)), st.booleans(), st.randoms())
        def check(made, cuts, seated, r):
            q, planes, shape = made
            source, target = (Grid.whole(s, n, FABRIC.lanes) for s, n in ((planes, q.shape[1]), (shape, q.shape[0])))
            code = Code.of(source, seated)
            numbers = source.numbers
            y, x, c = np.nonzero(numbers >= 0)
            index = code.index(y, x, c)
            expected = golden.deliver(q, np.eye(q.shape[1], dtype=np.uint8), np.float64).astype(int)
            expected = expected[numbers[numbers >= 0]]
            operations = np.zeros(len(index), int)
            ways = [(part, reach(q, source, part, False)) for part in target.cut(cuts)]
            assume(all(part.rows <= FABRIC.rows and len(way.words) <= FABRIC.weight_words for part, way in ways))
            for part, way in ways:
                row, first = r.randint(0, FABRIC.rows - part.rows), r.randint(0, FABRIC.weight_words - len(way.words))
                load(
                    simulation, way, row=row, weights=first, sources=int(index.max()) + 1,
                    channel_bits=code.channel_bits, column_bits=code.column_bits,
                )
                live = part.seats >= 0
                for n, at in enumerate(index.tolist()):
                    out = talk(simulation, {"i": [arrival(at)]}, {"taken": 1}, drain=0)
                    rest = talk(simulation, {"i": [arrival(1 << 18)]}, {"stray": 1})  # behind it
                    done = [(o["row"] - row, o["weights"] - first) for o in out["o"] + rest["o"]]
                    sums = np.zeros((part.rows, FABRIC.lanes), int)
                    for which, word in done:
                        assert 0 <= which < part.rows
                        sums[which] += way.words[word]
                    assert sums[live].tolist() == expected[n][part.seats[live]].tolist()
                    assert not sums[~live].any()
                    operations[n] += sum(out["operations"]) + sum(rest["operations"])
            assert operations.tolist() == q.fanout[numbers[numbers >= 0]].tolist()

        check()


def test_cycles_of_a_spike_are_positions_times_rows(engine):
    """Nothing more, from the first to the last of many."""
    r = random.Random(1)
    q = Projection("a", "b", np.ones((6, 2, 3, 3), np.int8), 0, WINDOW)
    source, target = Grid.whole(WINDOW.shape, q.shape[1], FABRIC.lanes), Grid.whole((6, *WINDOW.size), q.shape[0], 4)
    way = reach(q, source, target, False)
    code = Code.of(source, False)
    held = WINDOW.count(np.ones((2, *WINDOW.size), int)).reshape(WINDOW.shape)  # windows that hold each number
    with open_engine(Plain(Ways(), events=["taken", "stray", "operations"]), engine) as simulation:
        talk(simulation, {}, {"o": FABRIC.rows})
        load(simulation, way, sources=1 << 10, channel_bits=code.channel_bits, column_bits=code.column_bits)
        spikes = [[r.randrange(n) for n in WINDOW.shape] for _ in range(200)]
        rows_each = -(-6 // FABRIC.lanes)
        due = [int(held[c, y, x]) * rows_each for c, y, x in spikes]
        arrivals = [arrival(int(code.index(*map(np.array, (y, x, c))))) for c, y, x in spikes]
        before = simulation.cycles
        talk(simulation, {"i": arrivals}, {"o": sum(due)})
        assert simulation.cycles - before <= sum(max(1, n) for n in due) + Tabled.latency(FABRIC)


def sparse_way(r, sources, targets, density):
    """A pruned projection, its list walk, and the words that a spike of each source walks over."""
    weights = r.integers(-50, 50, (targets, sources)) * (r.random((targets, sources)) < density)
    q = Projection("a", "b", weights.astype(np.int8))
    source, target = Grid.whole(None, sources, FABRIC.lanes), Grid.whole(None, targets, FABRIC.lanes)
    padded = np.pad(q.weights, ((0, -targets % FABRIC.lanes), (0, 0)))
    blocks = padded.reshape(-1, FABRIC.lanes, sources).any(axis=1).sum(axis=0)
    return q, sparse(reach(q, source, target, True), sources), np.maximum(blocks, 1)


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_a_pruned_projection_is_a_walk_over_its_weights(engine, stall):
    r = np.random.default_rng(3)
    code = Code(19, 0)
    with open_engine(Plain(Ways(), events=["taken", "stray", "operations"]), engine, stall=stall) as simulation:
        talk(simulation, {}, {"o": FABRIC.rows})
        for density in (0.0, 0.02, 0.2, 0.6, 1.0)[:: 1 if engine == "compiled" else 2]:
            q, way, blocks = sparse_way(r, 11, 37, density)
            load(simulation, way, row=7, weights=5, sources=11,
                       channel_bits=code.channel_bits, column_bits=code.column_bits)
            spikes = r.permutation(np.repeat(np.arange(11), 3))
            # a STEP is one, whatever is said of a spike with its index
            step = arrival(max(range(11), key=lambda n: way.tables[2][n].next)) | {"kind": Kind.STEP}
            out = talk(simulation, {"i": [arrival(n) for n in spikes.tolist()] + [step, arrival(11)]},
                       {"o": int(blocks[spikes].sum()), "stray": 1}, drain=5)
            assert len(out["o"]) == blocks[spikes].sum() and out["taken"] == [1] * len(spikes)
            assert sum(out["operations"]) == 37 * len(spikes) and out["token"] == [0]
            done = iter(out["o"])
            for n in spikes.tolist():
                sums = np.zeros((10, FABRIC.lanes), int)
                for _ in range(blocks[n]):
                    o = next(done)
                    sums[o["row"] - 7] += way.words[o["weights"] - 5]
                assert sums.reshape(-1)[:37].tolist() == q.weights[:, n].tolist()


def test_a_pruned_spike_takes_a_clock_for_each_row_that_has_weights(engine):
    """Also where a row stands alone, and from spike to spike."""
    r = np.random.default_rng(4)
    _, way, blocks = sparse_way(r, 30, 37, 0.1)
    assert len(way.tables[2]) > 50 and blocks.min() == 1
    with open_engine(Plain(Ways(), events=["taken", "stray", "operations"]), engine) as simulation:
        talk(simulation, {}, {"o": FABRIC.rows})
        load(simulation, way, sources=30, channel_bits=19, column_bits=0)
        spikes = r.integers(0, 30, 200)
        before = simulation.cycles
        talk(simulation, {"i": [arrival(n) for n in spikes.tolist()]}, {"o": int(blocks[spikes].sum())})
        assert simulation.cycles - before <= blocks[spikes].sum() + Tabled.latency(FABRIC)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("block, places", [(Direct, 0), (Tabled, 300)])
def test_without_tables_the_index_is_added(engine, block, places, stall):
    fabric, r = dataclasses.replace(FABRIC, places=places, runs=0), random.Random(5)
    fields = fabric.projection_record.fields
    with open_engine(Plain(block(fabric)), engine, stall=stall) as simulation:
        for _ in range(4):
            table = [{name: r.getrandbits(field.width) for name, field in fields.items()}
                     | ({"tabled": 0} if places else {}) for _ in range(fabric.projections)]
            fresh, filling = r.getrandbits(fabric.populations), rows(Space.PROJECTIONS, fabric.projection_record, table)
            talk(simulation, {"write": filling, "fresh": [fresh]}, {}, drain=5)
            arrivals = [{"kind": r.choice((Kind.SPIKE, Kind.SPIKE, Kind.STEP, Kind.CREDIT)), "first": r.randrange(2),
                         "index": r.choice((r.getrandbits(19), r.randrange(2 * fabric.weight_words))),
                         "home": r.randrange(fabric.populations), "number": r.randrange(fabric.projections)}
                        for _ in range(many(engine, 400))]
            before = simulation.cycles
            visits = talk(simulation, {"i": arrivals}, {"o": len(arrivals)})["o"]
            assert stall or simulation.cycles - before == len(arrivals) + block.latency(fabric)
            for visit, a in zip(visits, arrivals, strict=True):
                row, spike = table[a["number"]], a["kind"] == Kind.SPIKE
                slot = a["home"] if a["kind"] == Kind.CREDIT else row["slot"]
                reaches = spike and (row["rows"] != 0 or not places)
                one = dict.fromkeys(("columns", "lines", "one_column", "one_line"), 1) if places else {}
                assert visit == {name: value for name, value in row.items() if name in visit} | one | {
                    "first": a["first"], "slot": slot, "step": a["kind"] == Kind.STEP, "credit": a["kind"] == Kind.CREDIT,
                    "weights": (row["weights"] + a["index"]) % (1 << fields["weights"].width),
                    "known": a["index"] < row["sources"], "one_row": not reaches or row["rows"] == 1,
                    "hits": reaches and not (row["late"] and fresh >> slot & 1)}
