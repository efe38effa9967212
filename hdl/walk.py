"""The walk over rows of sums: for the weights of a spike, and for the update of a population."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.fabric import Fabric, Kind
from .lookup import arrival
from .shapes import layout

__all__ = ["Walk", "operation", "sweep", "update"]


def sweep(fabric: Fabric) -> data.StructLayout:
    """Population ``slot`` takes a step; ``fresh``: the first of a sample."""
    row = layout(fabric.population_record)
    return data.StructLayout(
        {name: row[name].shape for name in ("row", "neurons", "parameters", "each")}
        | {"slot": layout(fabric.key_record)["slot"].shape, "fresh": 1}
    )


def update(fabric: Fabric) -> data.StructLayout:
    """The update of one group of ``update_lanes`` neurons: number ``group`` of population ``slot``.

    ``state`` and ``parameter`` are addresses, ``mask`` tells neurons from padding, ``last`` ends the sweep.
    """
    return data.StructLayout(
        {
            "state": range(fabric.rows * fabric.groups),
            "group": range(fabric.rows * fabric.groups),
            "parameter": layout(fabric.population_record)["parameters"].shape,
            "mask": fabric.update_lanes,
            "slot": layout(fabric.key_record)["slot"].shape,
            "fresh": 1,
            "last": 1,
        }
    )


def operation(fabric: Fabric) -> data.StructLayout:
    """One access to sums ``row``: ``add`` the weights at ``weights``, or ``clear`` it; ``sweep``: with this update."""
    row = layout(fabric.projection_record)
    return data.StructLayout(
        {
            "add": 1,
            "clear": 1,
            "sweep": 1,
            "row": row["row"].shape,
            "weights": row["weights"].shape,
            "update": update(fabric),
        }
    )


class Walk(wiring.Component):
    """Spikes and sweeps into one row operation per clock.

    ::

        arrivals ─► spike: rows row … row + rows − 1 ─┬─► o
        sweeps ───► groups of update_lanes neurons ───┘
        (after a reset: clear every row)

    A spike of n rows takes n clocks and the next one follows without a gap; weights are found by adding a stride, not
    by multiplying. A sweep starts between two spikes and holds up the next one.

    Members
    -------
    i : stream of arrivals
    sweeps : stream of sweeps
    o : stream of operations
    fresh : In, one bit for each slot
        The population is at the first step of a sample, so late spikes are those of the sample before: ignored.
    token, credit : stream of slots
        A STEP or a CREDIT came in, behind everything that was sent before it.
    taken, stray : Out
        A spike was taken; it named a neuron that does not exist and was dropped.
    operations : Out
        Weights that the spike begun in this clock adds.
    """

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        slot = layout(fabric.key_record)["slot"].shape
        super().__init__(
            {
                "i": In(stream.Signature(arrival(fabric))),
                "sweeps": In(stream.Signature(sweep(fabric))),
                "o": Out(stream.Signature(operation(fabric), always_ready=True)),
                "fresh": In(fabric.populations),
                "token": Out(stream.Signature(slot, always_ready=True)),
                "credit": Out(stream.Signature(slot, always_ready=True)),
                "taken": Out(1),
                "stray": Out(1),
                "operations": Out(layout(fabric.projection_record)["fanout"].shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric, o = self.fabric, self.o.payload
        select = exact_log2(fabric.groups)  # bits of a group's place in its row

        clearing = Signal(init=1)
        row = Signal.like(o.row)  # of the operation after this one
        rows = Signal.like(self.i.payload.projection.rows)  # of the spike, still to walk
        weights, stride = Signal.like(o.weights), Signal.like(self.i.payload.projection.stride)
        job = Signal(sweep(fabric))  # of the sweep
        neurons = Signal.like(job.neurons)  # of the sweep, still to update
        group = Signal.like(o.update.group)
        state = Signal.like(o.update.state)
        last = Signal()  # group of the sweep
        address = Signal.like(o.weights)  # of the spike's first word

        m.d.comb += [o.row.eq(row), o.weights.eq(weights)]
        with m.If(clearing):
            m.d.comb += [self.o.valid.eq(1), o.clear.eq(1)]
            m.d.sync += row.eq(row + 1)
            with m.If(row == fabric.rows - 1):
                m.d.sync += clearing.eq(0)
        with m.Elif(neurons != 0):
            m.d.comb += [
                self.o.valid.eq(1),
                o.sweep.eq(1),
                o.row.eq(state >> select),
                o.update.state.eq(state),
                o.update.group.eq(group),
                o.update.parameter.eq(job.parameters + Mux(job.each, group, 0)),
                o.update.slot.eq(job.slot),
                o.update.fresh.eq(job.fresh),
                last.eq(neurons <= fabric.update_lanes),
                o.update.last.eq(last),
                # a row is cleared with its last group
                o.clear.eq(last | ((state & fabric.groups - 1) == fabric.groups - 1)),
            ]
            m.d.comb += [o.update.mask[n].eq(neurons > n) for n in range(fabric.update_lanes)]
            m.d.sync += [
                group.eq(group + 1),
                state.eq(state + 1),
                neurons.eq(Mux(last, 0, neurons - fabric.update_lanes)),
            ]
        with m.Elif(rows != 0):
            m.d.comb += [self.o.valid.eq(1), o.add.eq(1)]
            m.d.sync += [rows.eq(rows - 1), row.eq(row + 1), weights.eq(weights + stride)]
        with m.Elif(self.sweeps.valid):
            m.d.comb += self.sweeps.ready.eq(1)
            m.d.sync += [
                job.eq(self.sweeps.payload),
                neurons.eq(self.sweeps.payload.neurons),
                state.eq(self.sweeps.payload.row << select),
                group.eq(0),
            ]
        with m.Else():
            m.d.comb += self.i.ready.eq(1)
            p = self.i.payload.projection
            with m.If(self.i.valid), m.Switch(self.i.payload.kind):
                with m.Case(Kind.STEP):
                    m.d.comb += self.token.valid.eq(1)
                with m.Case(Kind.CREDIT):
                    m.d.comb += self.credit.valid.eq(1)
                with m.Default():  # SPIKE
                    known = Signal()
                    late = Signal()
                    m.d.comb += [
                        known.eq(self.i.payload.index < p.stride),
                        address.eq(p.weights + self.i.payload.index),
                        late.eq(p.late & self.fresh.bit_select(self.i.payload.slot, 1)),
                        self.taken.eq(self.i.payload.first & known),
                        self.stray.eq(self.i.payload.first & ~known),
                    ]
                    with m.If(known & ~late & (p.rows != 0)):
                        m.d.comb += [
                            self.o.valid.eq(1),
                            o.add.eq(1),
                            o.row.eq(p.row),
                            o.weights.eq(address),
                            self.operations.eq(p.fanout),
                        ]
                        m.d.sync += [
                            rows.eq(p.rows - 1),
                            row.eq(p.row + 1),
                            weights.eq(address + p.stride),
                            stride.eq(p.stride),
                        ]
        m.d.comb += [self.token.payload.eq(self.i.payload.slot), self.credit.payload.eq(self.i.payload.slot)]
        return m
