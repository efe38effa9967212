"""From the index of a spike to the sums and weights that it starts with."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import CHUNK, Fabric, Kind, Space
from .lookup import arrival, indexing, rest
from .shapes import WRITES, layout
from .stream import Buffer
from .table import Table

__all__ = ["Locate", "visit"]

AHEAD = ("ahead",)  # fields of Fabrics that have it


def visit(fabric: Fabric) -> data.StructLayout:
    """An arrival whose way is known: ``rows`` rows in each of ``columns`` windows in each of ``lines`` lines of windows.

    The first is sums ``row`` and weights ``weights``; from row to row it is ``stride`` weights, from window to window
    ``row_x`` sums and ``weights_x`` weights, from line to line ``row_y`` and ``weights_y``. A window has ``fanout``
    weights. ``known``: the source has such a neuron; ``hits``: it spikes and reaches something; ``one_row``, ``one_column``
    and ``one_line``: there is no other. Without places there is one window.
    """
    p, arrives = layout(fabric.projection_record), arrival(fabric)
    names = ["late", "row", "weights", "stride", "fanout", "rows", *AHEAD * fabric.ahead]
    more = {"known": 1, "hits": 1, "one_row": 1}
    if fabric.places:
        names += ["row_x", "weights_x", "row_y", "weights_y"]
        more |= {"columns": p["rows"].shape, "lines": p["rows"].shape, "one_column": 1, "one_line": 1}
    head = {"kind": arrives["kind"].shape, "slot": arrives["home"].shape, "first": 1}
    return data.StructLayout(head | {name: p[name].shape for name in names} | more)


class Locate(wiring.Component):
    """Adds up what y, x and channel of a source neuron say about the sums it reaches.

    ::

                   ┌─► y ─► LINES ────┐
        i.index ───┼─► x ─► COLUMNS ──┼─► (+) ─► first row, first weight ─► o
                   └─► c ─► CHANNELS ─┤
        i.number ──► PROJECTIONS ─────┘
        (no tables: the index itself is added to the first weight)

    A row of CHANNELS may name another one that goes on with the same spike: one visit more, in the next clock. A Fabric
    without places has the two lowest lines of this picture only.

    Members
    -------
    i : stream of arrivals
    o : stream of visits
        In order, one per clock. Latency :meth:`latency`. Those of a spike follow each other, each with at least one row.
    write : stream of 16-bit writes
        For the three tables, and all but the first fields of PROJECTIONS.
    """

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {"i": In(stream.Signature(arrival(fabric))), "o": Out(stream.Signature(visit(fabric))), "write": In(WRITES)}
        )

    @staticmethod
    def latency(fabric: Fabric) -> int:
        """Clocks from i to o."""
        return 3 + 3 * bool(fabric.places) + fabric.pipelined

    def elaborate(self, platform):
        m = Module()
        fabric, i = self.fabric, self.i.payload
        tables = []
        for space, record, depth in fabric.axes:
            table = Table(space, layout(record), depth, stored=self.stored, kind="wide")
            m.submodules[space.name.lower()] = table
            wiring.connect(m, wiring.flipped(self.write), table.write)
            tables.append(table)
        axes = dict(zip("yxc", tables, strict=bool(tables)))
        record, parts, first = fabric.projection_record, indexing(fabric), rest(fabric)
        m.submodules.projections = projections = Table(
            Space.PROJECTIONS, record.width - CHUNK * first, fabric.projections, first, self.stored, kind="wide"
        )
        wiring.connect(m, wiring.flipped(self.write), projections.write)
        m.submodules.exit = exit_ = Buffer(visit(fabric))  # so that no stage waits for all that is ready behind
        wiring.connect(m, exit_.o, wiring.flipped(self.o))
        moves, goes_on, takes = Signal(), Signal(), Signal()  # behind the memories; another row of a spike; before them
        m.d.comb += [moves.eq(exit_.i.ready), takes.eq(moves & ~goes_on), self.i.ready.eq(takes)]

        def stage(name: str, when, valid, before, *kept: str, **made):
            """Registers of a stage: whether there is anything, and what is ``kept`` of the one before or ``made``."""
            values = {field: before[field] for field in kept} | made
            there = Signal(name=f"{name}_valid")
            out = {field: Signal.like(value, name=f"{name}_{field}", reset_less=True) for field, value in values.items()}
            with m.If(when):
                m.d.sync += there.eq(valid)
                m.d.sync += [out[field].eq(value) for field, value in values.items()]
            return there, out

        def below(bits):
            """As many ones."""
            return (Const(1, 1) << bits) - 1

        # e: as it comes from its memory; f: the index without its channel; g: its fields
        head = ("kind", "slot", "first")
        came = {name: getattr(i.projection, name) for name in parts.members} | {
            name: getattr(i, name) for name in ("kind", "home", "first", "index", "number")}
        there, e = stage("e", takes, self.i.valid, came, *came)
        g = e | {"known": e["index"] < e["sources"], "slot": Mux(e["kind"] == Kind.CREDIT, e["home"], e["slot"])}
        head = (*head, "index", "known")
        if axes:
            head = (*head, "tabled")
            there, f = stage(
                "f", takes, there, g, *head, "number", "column_bits", "y", "x", "c",
                above=e["index"] >> e["channel_bits"],
                channel=(e["index"] & below(e["channel_bits"]))[: len(axes["c"].address)],
            )
            places = {
                "y": f["y"] + (f["above"] >> f["column_bits"]),
                "x": f["x"] + (f["above"] & below(f["column_bits"])),
                "c": f["c"] + f["channel"],
            }
            there, g = stage(
                "g", takes, there, f, *head, "number", **{name: places[name][: len(axes[name].address)] for name in axes}
            )

        # t: their rows are there
        for table, place in ((projections, g["number"]), *((axes[name], g[name]) for name in axes)):
            m.d.comb += [table.address.eq(place), table.enable.eq(takes)]
        there, t = stage("t", takes, there, g, *head)

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
            there, r = stage("r", moves, there, r, *r)
        p = layout(record.without(parts.members))(r["rest"][parts.size - CHUNK * first :])

        # s: what they say; without tables the index alone counts
        steps = ("late", "stride", "row", "weights", *AHEAD * fabric.ahead)
        if not axes:
            fields = {name: r[name] for name in ("kind", "slot", "first", "known")} | {
                name: getattr(p, name) for name in (*steps, "rows", "fanout")
            } | {"weights": p.weights + r["index"], "hits": r["known"] & (r["kind"] == Kind.SPIKE), "one_row": p.rows == 1}
            return self._leave(m, exit_, there, fields)
        says = {}
        for name, table in axes.items():
            alone = {"row": 0, "weights": 0, "known": 1, "count": 1, "fanout": 0}
            if name == "c":
                alone |= {"weights": r["index"], "count": p.rows, "fanout": p.fanout}
            row = table.data.shape()(r[name])
            for field, value in alone.items():
                told = getattr(row, field)
                says[f"{name}_{field}"] = Mux(r["tabled"], told, value)[: len(told)]
        steps = (*steps, "row_x", "weights_x", "row_y", "weights_y")
        given = {name: getattr(p, name) for name in steps}
        there, s = stage("s", moves, there, r, "kind", "slot", "first", "known", **given, **says)

        # o: their sum
        known = s["known"] & s["y_known"] & s["x_known"] & s["c_known"]
        fields = {name: s[name] for name in ("kind", "slot", "first", *steps)} | {
            name: sum((s[f"{axis}_{name}"] for axis in axes), s[name]) for name in ("row", "weights")
        } | {
            "rows": s["c_count"],
            "columns": s["x_count"],
            "lines": s["y_count"],
            "fanout": s["c_fanout"],
            "known": known,
            "one_row": s["c_count"] == 1,
            "one_column": s["x_count"] == 1,
            "one_line": s["y_count"] == 1,
            "hits": known & (s["kind"] == Kind.SPIKE) & (s["y_count"] != 0) & (s["x_count"] != 0) & (s["c_count"] != 0),
        }
        return self._leave(m, exit_, there, fields)

    def _leave(self, m, exit_, there, fields):
        m.d.comb += exit_.i.valid.eq(there)
        m.d.comb += [getattr(exit_.i.payload, name).eq(fields[name]) for name in visit(self.fabric).members]
        return m
