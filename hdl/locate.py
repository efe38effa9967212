"""From the index of a spike to the sums and weights that it starts with."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import Fabric, Kind
from .lookup import arrival
from .shapes import WRITES, layout
from .table import Table

__all__ = ["Locate", "visit"]


def visit(fabric: Fabric) -> data.StructLayout:
    """An arrival whose way is known: ``rows`` rows in each of ``columns`` windows in each of ``lines`` lines of windows.

    The first is sums ``row`` and weights ``weights``; from row to row it is ``stride`` weights, from window to window
    ``row_x`` sums and ``weights_x`` weights, from line to line ``row_y`` and ``weights_y``. A window has ``fanout``
    weights. ``known``: the source has such a neuron; ``hits``: it reaches something.
    """
    p, axis = layout(fabric.projection_record), layout(fabric.axis_record)
    arrives = arrival(fabric)
    count = axis["count"].shape
    names = ("late", "row", "weights", "stride", "row_x", "weights_x", "row_y", "weights_y", "fanout")
    return data.StructLayout(
        {name: arrives[name].shape for name in ("kind", "slot", "first")}
        | {name: p[name].shape for name in names}
        | {"rows": count, "columns": count, "lines": count, "known": 1, "hits": 1}
    )


class Locate(wiring.Component):
    """Adds up what y, x and channel of a source neuron say about the sums it reaches.

    ::

                  ┌─► y ─► LINES ────┐
        i.index ──┼─► x ─► COLUMNS ──┼─► (+) ─► first row, first weight ─► o
                  └─► c ─► CHANNELS ─┘
        (no tables: the index itself is added to the first weight)

    A row of CHANNELS may name another one that goes on with the same spike: one visit more, in the next clock.

    Members
    -------
    i : stream of arrivals
    o : stream of visits
        In order, one per clock. Latency :attr:`latency`. Those of a spike follow each other, each with at least one row.
    write : stream of 16-bit writes
        For the three tables.
    """

    latency = 6

    def __init__(self, fabric: Fabric, stored: Stored = NOTHING):
        self.fabric, self.stored = fabric, stored
        super().__init__(
            {"i": In(stream.Signature(arrival(fabric))), "o": Out(stream.Signature(visit(fabric))), "write": In(WRITES)}
        )

    def elaborate(self, platform):
        m = Module()
        fabric, i = self.fabric, self.i.payload
        projection, head = layout(fabric.projection_record), ("kind", "slot", "first")
        tables = []
        for space, record, depth in fabric.axes:
            table = Table(space, layout(record), depth, stored=self.stored)
            m.submodules[space.name.lower()] = table
            wiring.connect(m, wiring.flipped(self.write), table.write)
            tables.append(table)
        addresses = [table.address.shape() for table in tables]
        moves, goes_on, takes = Signal(), Signal(), Signal()  # behind the memories; another row of a spike; before them
        m.d.comb += [moves.eq(~self.o.valid | self.o.ready), takes.eq(moves & ~goes_on), self.i.ready.eq(takes)]

        def stage(name: str, when, valid, project, index, known, **heads):
            """Registers of a stage: valid, projection, index, whether the index exists, and the rest of the arrival."""
            out = [Signal(name=f"{name}_valid"), Signal(projection, name=f"{name}_projection", reset_less=True),
                   Signal(i.index.shape(), name=f"{name}_index", reset_less=True),
                   Signal(name=f"{name}_known", reset_less=True)]
            rest = {field: Signal.like(value, name=f"{name}_{field}", reset_less=True) for field, value in heads.items()}
            with m.If(when):
                m.d.sync += [r.eq(value) for r, value in zip(out, (valid, project, index, known), strict=True)]
                m.d.sync += [rest[field].eq(value) for field, value in heads.items()]
            return *out, rest

        def below(bits):
            """As many ones."""
            return (Const(1, 1) << bits) - 1

        # f: the index without its channel; g: its fields
        p = i.projection
        f_valid, f_p, f_index, f_known, f_head = stage(
            "f", takes, self.i.valid, p, i.index, i.index < p.sources, **{name: getattr(i, name) for name in head}
        )
        f_above, f_c = Signal(i.index.shape()), Signal(addresses[2])  # y and x; channel
        with m.If(takes):
            m.d.sync += [f_above.eq(i.index >> p.channel_bits), f_c.eq(i.index & below(p.channel_bits))]
        g_valid, g_p, g_index, g_known, g_head = stage("g", takes, f_valid, f_p, f_index, f_known, **f_head)
        g_y, g_x, g_c = (Signal(shape, name=f"g_{axis}") for shape, axis in zip(addresses, "yxc", strict=True))
        with m.If(takes):
            m.d.sync += [
                g_y.eq(f_p.y + (f_above >> f_p.column_bits)),
                g_x.eq(f_p.x + (f_above & below(f_p.column_bits))),
                g_c.eq(f_p.c + f_c),
            ]

        # t: their rows are there
        for table, place in zip(tables, (g_y, g_x, g_c), strict=True):
            m.d.comb += [table.address.eq(place), table.enable.eq(takes)]
        t_valid, t_p, t_index, t_known, t_head = stage("t", takes, g_valid, g_p, g_index, g_known, **g_head)

        if fabric.runs:  # straight from the memory, as the next row is wanted in the next clock
            following = tables[2].data.next
            m.d.comb += goes_on.eq(t_valid & t_known & t_p.tabled & (t_head["kind"] == Kind.SPIKE) & (following != 0))
            with m.If(goes_on):
                m.d.comb += [tables[2].address.eq(following), tables[2].enable.eq(moves)]
                with m.If(moves):
                    m.d.sync += t_head["first"].eq(0)

        # r: plain registers behind the memories, so that they can be those of a block of RAM itself
        r_valid, r_p, r_index, r_known, r_head = stage("r", moves, t_valid, t_p, t_index, t_known, **t_head)
        rows = [Signal(table.data.shape(), name=f"r_{n}", reset_less=True) for n, table in enumerate(tables)]
        with m.If(moves):
            m.d.sync += [row.eq(table.data) for row, table in zip(rows, tables, strict=True)]

        # s: what they say; without tables the index alone counts
        s_valid, s_p, _, s_known, s_head = stage("s", moves, r_valid, r_p, r_index, r_known, **r_head)
        said = []
        for axis, row in zip("yxc", rows, strict=True):
            alone = {"row": 0, "weights": 0, "known": 1, "count": 1, "fanout": 0}
            if axis == "c":
                alone |= {"weights": r_index, "count": r_p.rows, "fanout": r_p.fanout}
            shapes = row.shape().members
            says = {name: Signal(shapes[name], name=f"s_{axis}_{name}", reset_less=True) for name in alone}
            with m.If(moves):
                m.d.sync += [says[name].eq(Mux(r_p.tabled, getattr(row, name), alone[name])) for name in says]
            said.append(says)

        # o: their sum; one register for each field, as assigning parts of a wide one is slow in a simulator
        y, x, c = said
        fields = s_head | {
            name: getattr(s_p, name) for name in ("late", "stride", "row_x", "weights_x", "row_y", "weights_y")
        } | {
            name: sum((axis[name] for axis in said), getattr(s_p, name)) for name in ("row", "weights")
        } | {
            "rows": c["count"],
            "columns": x["count"],
            "lines": y["count"],
            "fanout": c["fanout"],
            "known": s_known & y["known"] & x["known"] & c["known"],
            "hits": (y["count"] != 0) & (x["count"] != 0) & (c["count"] != 0),
        }
        registers = []
        for name, shape in visit(fabric).members.items():
            register = Signal(shape, name=f"o_{name}", reset_less=True)
            with m.If(moves):
                m.d.sync += register.eq(fields[name])
            registers.append(register)
        with m.If(moves):
            m.d.sync += self.o.valid.eq(s_valid)
        m.d.comb += Value.cast(self.o.payload).eq(Cat(registers))
        return m
