"""From the index of a spike to the sums and weights that it starts with."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.contents import NOTHING, Stored
from ..models.fabric import AXES, Fabric
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

    Members
    -------
    i : stream of arrivals
    o : stream of visits
        In order, one per clock. Latency 3.
    write : stream of 16-bit writes
        For the three tables.
    """

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
        for space in AXES:
            table = Table(space, layout(fabric.axis_record), fabric.places, stored=self.stored)
            m.submodules[space.name.lower()] = table
            wiring.connect(m, wiring.flipped(self.write), table.write)
            tables.append(table)
        address = tables[0].address.shape()
        moves = Signal()
        m.d.comb += [moves.eq(~self.o.valid | self.o.ready), self.i.ready.eq(moves)]

        def stage(name: str, valid, project, index, known, **heads):
            """Registers of a stage: valid, projection, index, whether the index exists, and the rest of the arrival."""
            out = [Signal(name=f"{name}_valid"), Signal(projection, name=f"{name}_projection"),
                   Signal(i.index.shape(), name=f"{name}_index"), Signal(name=f"{name}_known")]
            rest = {field: Signal.like(value, name=f"{name}_{field}") for field, value in heads.items()}
            with m.If(moves):
                m.d.sync += [r.eq(value) for r, value in zip(out, (valid, project, index, known), strict=True)]
                m.d.sync += [rest[field].eq(value) for field, value in heads.items()]
            return *out, rest

        def below(bits):
            """As many ones."""
            return (Const(1, 1) << bits) - 1

        # f: the fields of the index
        p = i.projection
        f_valid, f_p, f_index, f_known, f_head = stage(
            "f", self.i.valid, p, i.index, i.index < p.sources, **{name: getattr(i, name) for name in head}
        )
        f_y, f_x, f_c = (Signal(address, name=f"f_{axis}") for axis in "yxc")
        above = Signal(i.index.shape())  # y and x
        m.d.comb += above.eq(i.index >> p.channel_bits)
        with m.If(moves):
            m.d.sync += [
                f_y.eq(above >> p.column_bits),
                f_x.eq(above & below(p.column_bits)),
                f_c.eq(i.index & below(p.channel_bits)),
            ]

        # t: their rows are there
        for table, base, place in zip(tables, (f_p.y, f_p.x, f_p.c), (f_y, f_x, f_c), strict=True):
            m.d.comb += [table.address.eq(base + place), table.enable.eq(moves)]
        t_valid, t_p, t_index, t_known, t_head = stage("t", f_valid, f_p, f_index, f_known, **f_head)

        # o: their sum; one register for each field, as assigning parts of a wide one is slow in a simulator
        y, x, c = (table.data for table in tables)
        tabled = t_p.tabled
        fields = t_head | {
            name: getattr(t_p, name) for name in ("late", "stride", "row_x", "weights_x", "row_y", "weights_y")
        } | {
            "row": t_p.row + Mux(tabled, y.row + x.row + c.row, 0),
            "weights": t_p.weights + Mux(tabled, y.weights + x.weights + c.weights, t_index),
            "rows": Mux(tabled, c.count, t_p.rows),
            "columns": Mux(tabled, x.count, 1),
            "lines": Mux(tabled, y.count, 1),
            "fanout": Mux(tabled, c.fanout, t_p.fanout),
            "known": t_known & (~tabled | (y.known & x.known & c.known)),
            "hits": Mux(tabled, (y.count != 0) & (x.count != 0) & (c.count != 0), t_p.rows != 0),
        }
        registers = []
        for name, shape in visit(fabric).members.items():
            register = Signal(shape, name=f"o_{name}")
            with m.If(moves):
                m.d.sync += register.eq(fields[name])
            registers.append(register)
        with m.If(moves):
            m.d.sync += self.o.valid.eq(t_valid)
        m.d.comb += Value.cast(self.o.payload).eq(Cat(registers))
        return m
