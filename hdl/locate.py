"""From the index of a spike to the sums and weights that it starts with."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Kind, Space, bits_for
from .lookup import arrival
from .shapes import WRITES, layout
from .stream import Buffer
from .table import Table

__all__ = ["INDEXING", "Direct", "Locate", "Tabled", "indexing", "rest", "short", "visit"]

#: The first fields of a row of PROJECTIONS: how the index of a spike is taken apart
INDEXING = ("slot", "tabled", "sources", "channel_bits", "column_bits", "y", "x", "c")
AHEAD = ("ahead",)  # fields of Fabrics that have it


def indexing(fabric: Fabric) -> data.StructLayout:
    """These fields, where there are places."""
    row = layout(fabric.projection_record)
    return data.StructLayout({name: row[name].shape for name in INDEXING})


def rest(fabric: Fabric) -> int:
    """The chunk of a row of PROJECTIONS that holds the first field behind these."""
    return indexing(fabric).size // CHUNK


def visit(fabric: Fabric) -> data.StructLayout:
    """An arrival whose way is known: ``rows`` rows in each of ``columns`` windows in each of ``lines`` lines of windows.

    The first is sums ``row`` and weights ``weights``; from row to row it is ``stride`` weights, from window to window
    ``row_x`` sums and ``weights_x`` weights, from line to line ``row_y`` and ``weights_y``. A window has ``fanout``
    weights. ``step``, ``credit``: it is no spike; ``known``: the source has such a neuron; ``hits``: it spikes and reaches
    something; ``one_row``, ``one_column`` and ``one_line``: there is no other, or nothing is reached. Without places there
    is one window.
    """
    p, arrives = layout(fabric.projection_record), arrival(fabric)
    names = ["row", "weights", "stride", "fanout", "rows", *AHEAD * fabric.ahead]
    more = {"known": 1, "hits": 1, "one_row": 1}
    if fabric.places:
        names += ["row_x", "weights_x", "row_y", "weights_y"]
        more |= {"columns": p["rows"].shape, "lines": p["rows"].shape, "one_column": 1, "one_line": 1}
    head = {"step": 1, "credit": 1, "slot": arrives["home"].shape, "first": 1}
    return data.StructLayout(head | {name: p[name].shape for name in names} | more)


def short(fabric: Fabric) -> data.StructLayout:
    """An arrival with as much of its index as addresses of weights have; ``far``: there is more, and so no such neuron."""
    return data.StructLayout(arrival(fabric).members | {"index": bits_for(fabric.weight_words), "far": 1})


class Locate(wiring.Component):
    """Where an arrival goes.

    Members
    -------
    i : stream of arrivals
    o : stream of visits
        In order, one per clock. Latency :meth:`latency`. Those of a spike follow each other, each with at least one row.
    fresh : In, one bit for each slot
        The population is at the first step of a sample, so late spikes are those of the sample before: they reach nothing.
        It is long since known when such spikes come, as their source waited for the population's CREDIT.
    write : stream of 16-bit writes
        For PROJECTIONS, LINES, COLUMNS and CHANNELS.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {
                "i": In(stream.Signature(arrival(fabric))),
                "o": Out(stream.Signature(visit(fabric))),
                "fresh": In(fabric.populations),
                "write": In(WRITES),
            }
        )

    @staticmethod
    def latency(fabric: Fabric) -> int:
        """Clocks from i to o."""
        return 3 + 4 * bool(fabric.places) + fabric.pipelined

    @staticmethod
    def stage(m, name: str, when, valid, before, *kept: str, **made):
        """Registers of a stage: whether there is anything, and what is ``kept`` of the one before or ``made``."""
        values = {field: before[field] for field in kept} | made
        there = Signal(name=f"{name}_valid")
        out = {field: Signal.like(value, name=f"{name}_{field}", reset_less=True) for field, value in values.items()}
        with m.If(when):
            m.d.sync += there.eq(valid)
            m.d.sync += [out[field].eq(value) for field, value in values.items()]
        return there, out


class Direct(Locate):
    """Without places: the index is added to the first weight.

    ::

        i ─► (Buffer) ─► PROJECTIONS ─► (+ index) ─► o

    Arrivals wait in a Buffer, as they are shorter than visits: those go on when the walk takes one.
    """

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        m.submodules.entry = entry = Buffer(short(fabric))
        m.submodules.projections = projections = Table(
            Space.PROJECTIONS, layout(fabric.projection_record), fabric.projections, stored=self.stored, kind="wide"
        )
        wiring.connect(m, wiring.flipped(self.write), projections.write)
        moves, i, given = Signal(), entry.o.payload, self.i.payload
        m.d.comb += [
            entry.i.valid.eq(self.i.valid),
            self.i.ready.eq(entry.i.ready),
            *(getattr(entry.i.payload, name).eq(getattr(given, name)) for name in given.shape().members),
            entry.i.payload.far.eq(given.index[len(i.index) :].any()),
            moves.eq(~self.o.valid | self.o.ready),
            entry.o.ready.eq(moves),
            projections.address.eq(i.number),
            projections.enable.eq(moves),
        ]

        # t: the row is there; r: plain registers behind the memory, so that they can be those of a block of RAM itself
        arrived = ("kind", "home", "first", "index", "far")
        there, t = self.stage(m, "t", moves, entry.o.valid, {name: getattr(i, name) for name in arrived}, *arrived)
        t["row"] = projections.data
        if fabric.pipelined:
            there, t = self.stage(m, "r", moves, there, t, *t)

        # o: what it says
        row, o, spike = t["row"], self.o.payload, t["kind"] == Kind.SPIKE
        with m.If(moves):
            m.d.sync += self.o.valid.eq(there)
            m.d.sync += [getattr(o, name).eq(getattr(row, name)) for name in o.shape().members if hasattr(row, name)]
            m.d.sync += [
                o.step.eq(t["kind"] == Kind.STEP),
                o.credit.eq(t["kind"] == Kind.CREDIT),
                o.first.eq(t["first"]),
                o.known.eq(Cat(t["index"], t["far"]) < row.sources),
                o.hits.eq(spike & ~(row.late & self.fresh.bit_select(row.slot, 1))),
                o.slot.eq(Mux(t["kind"] == Kind.CREDIT, t["home"], row.slot)),
                o.weights.eq(row.weights + t["index"]),
                o.one_row.eq((row.rows == 1) | ~spike),
            ]
        return m


class Tabled(Locate):
    """Adds up what y, x and channel of a source neuron say about the sums it reaches.

    ::

                                    ┌─► y ─► LINES ────┐
        i.index ─┬──────────────────┼─► x ─► COLUMNS ──┼─► (+) ─► first row, first weight ─► (Buffer) ─► o
                 │                  └─► c ─► CHANNELS ─┤
        i.number ┴► PROJECTIONS ──────────────────────┘

    A row of CHANNELS may name another one that goes on with the same spike: one visit more, in the next clock.
    """

    def elaborate(self, platform):
        m = Module()
        fabric, i = self.fabric, self.i.payload
        tables = []
        for space, record, depth in fabric.axes:
            table = Table(space, layout(record), depth, stored=self.stored, kind="wide")
            m.submodules[space.name.lower()] = table
            wiring.connect(m, wiring.flipped(self.write), table.write)
            tables.append(table)
        axes = dict(zip("yxc", tables, strict=True))
        record, parts, first = fabric.projection_record, indexing(fabric), rest(fabric)
        m.submodules.fields = fields = Table(  # read first, and the rest when the index is known
            Space.PROJECTIONS, parts, fabric.projections, stored=self.stored, kind="wide"
        )
        m.submodules.projections = projections = Table(
            Space.PROJECTIONS, record.width - CHUNK * first, fabric.projections, first, self.stored, kind="wide"
        )
        for table in (fields, projections):
            wiring.connect(m, wiring.flipped(self.write), table.write)
        m.submodules.exit = exit_ = Buffer(visit(fabric))  # so that no stage waits for all that is ready behind
        wiring.connect(m, exit_.o, wiring.flipped(self.o))
        moves, goes_on, takes = Signal(), Signal(), Signal()  # behind the memories; another row of a spike; before them
        m.d.comb += [moves.eq(exit_.i.ready), takes.eq(moves & ~goes_on), self.i.ready.eq(takes)]

        def below(bits):
            """As many ones."""
            return (Const(1, 1) << bits) - 1

        # p: the projection's fields are there; e: as they come from their memory; f: the index without its channel; g: its
        # fields
        arrived = ("kind", "home", "first", "index", "number")
        head = ("kind", "slot", "first", "index", "known", "tabled")
        m.d.comb += [fields.address.eq(i.number), fields.enable.eq(takes)]
        there, p = self.stage(m, "p", takes, self.i.valid, {name: getattr(i, name) for name in arrived}, *arrived)
        p |= {name: getattr(fields.data, name) for name in parts.members}
        there, e = self.stage(m, "e", takes, there, p, *p)
        e |= {"known": e["index"] < e["sources"], "slot": Mux(e["kind"] == Kind.CREDIT, e["home"], e["slot"])}
        there, f = self.stage(
            m, "f", takes, there, e, *head, "number", "column_bits", "y", "x", "c",
            above=e["index"] >> e["channel_bits"],
            channel=(e["index"] & below(e["channel_bits"]))[: len(axes["c"].address)],
        )
        places = {
            "y": f["y"] + (f["above"] >> f["column_bits"]),
            "x": f["x"] + (f["above"] & below(f["column_bits"])),
            "c": f["c"] + f["channel"],
        }
        there, g = self.stage(
            m, "g", takes, there, f, *head, "number", **{name: places[name][: len(axes[name].address)] for name in axes}
        )

        # t: their rows are there
        for table, place in ((projections, g["number"]), *((axes[name], g[name]) for name in axes)):
            m.d.comb += [table.address.eq(place), table.enable.eq(takes)]
        there, t = self.stage(m, "t", takes, there, g, *head)

        if fabric.runs:  # straight from the memory, as the next row is wanted in the next clock
            following = axes["c"].data.next
            m.d.comb += goes_on.eq(there & t["known"] & t["tabled"] & (t["kind"] == Kind.SPIKE) & (following != 0))
            with m.If(goes_on):
                m.d.comb += [axes["c"].address.eq(following), axes["c"].enable.eq(moves)]
                with m.If(moves):
                    m.d.sync += t["first"].eq(0)

        # r: plain registers behind the memories, so that they can be those of a block of RAM itself
        r = t | {"rest": projections.data} | {name: Value.cast(axes[name].data) for name in axes}
        if fabric.pipelined:
            there, r = self.stage(m, "r", moves, there, r, *r)
        row = layout(record.without(parts.members))(r["rest"][parts.size - CHUNK * first :])

        # s: what they say
        says = {}
        for name, table in axes.items():
            alone = {"row": 0, "weights": 0, "known": 1, "count": 1, "fanout": 0}
            if name == "c":
                alone |= {"weights": r["index"], "count": row.rows, "fanout": row.fanout}
            axis = table.data.shape()(r[name])
            for field, value in alone.items():
                told = getattr(axis, field)
                says[f"{name}_{field}"] = Mux(r["tabled"], told, value)[: len(told)]
        steps = ("stride", "row", "weights", *AHEAD * fabric.ahead, "row_x", "weights_x", "row_y", "weights_y")
        given = {name: getattr(row, name) for name in steps}
        there, s = self.stage(m, "s", moves, there, r, "kind", "slot", "first", "known", **given, **says,
                              stale=row.late & self.fresh.bit_select(r["slot"], 1))

        # o: their sum
        o = exit_.i.payload
        reaches = (s["kind"] == Kind.SPIKE) & (s["y_count"] != 0) & (s["x_count"] != 0) & (s["c_count"] != 0)
        m.d.comb += exit_.i.valid.eq(there)
        m.d.comb += [getattr(o, name).eq(s[name]) for name in ("slot", "first", *steps)]
        for name in ("row", "weights"):
            m.d.comb += getattr(o, name).eq(sum((s[f"{axis}_{name}"] for axis in axes), s[name]))
        m.d.comb += [
            o.rows.eq(s["c_count"]),
            o.columns.eq(s["x_count"]),
            o.lines.eq(s["y_count"]),
            o.fanout.eq(s["c_fanout"]),
            o.step.eq(s["kind"] == Kind.STEP),
            o.credit.eq(s["kind"] == Kind.CREDIT),
            o.known.eq(s["known"] & s["y_known"] & s["x_known"] & s["c_known"]),
            o.one_row.eq((s["c_count"] == 1) | ~reaches),
            o.one_column.eq((s["x_count"] == 1) | ~reaches),
            o.one_line.eq((s["y_count"] == 1) | ~reaches),
            o.hits.eq(reaches & ~s["stale"]),
        ]
        return m
