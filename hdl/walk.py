"""The walk over rows of sums: through the windows of a spike, and through a population that takes a step."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.fabric import Fabric, Kind
from .locate import visit
from .shapes import layout

#: What the walk needs of a row of POPULATIONS
SWEPT = ("row", "neurons", "parameters", "each", "repeat", "channels", "columns", "gap", "gap_line")

__all__ = ["SWEPT", "Walk", "operation", "sweep", "update"]


def sweep(fabric: Fabric) -> data.StructLayout:
    """Population ``slot`` takes a step; ``fresh``: the first of a sample."""
    row = layout(fabric.population_record)
    return data.StructLayout(
        {name: row[name].shape for name in SWEPT}
        | {"slot": layout(fabric.key_record)["slot"].shape, "fresh": 1}
    )


def update(fabric: Fabric) -> data.StructLayout:
    """The update of one group of ``update_lanes`` neurons of population ``slot``.

    ``place`` is the number that it has for others: the index of its first neuron, without the lane. ``state`` and
    ``parameter`` are addresses, ``mask`` tells neurons from padding, ``last`` ends the sweep.
    """
    return data.StructLayout(
        {
            "state": range(fabric.rows * fabric.groups),
            "place": fabric.place_bits,
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

        visits ───► spike: lines of windows of rows ──┬─► o
        sweeps ───► groups of update_lanes neurons ───┘
        (after a reset: clear every row)

    A spike that reaches n rows in all its windows takes n clocks and the next one follows without a gap; sums and weights
    are found by adding, not by multiplying. A sweep starts between two spikes, four clocks after the last
    row of the first, and holds up the second.

    Parameters
    ----------
    pace : int
        Clocks from one update of a sweep to the next; until then it stays on ``o.payload.update``, valid once.

    Members
    -------
    i : stream of visits
        Taken with the last row of a spike.
    sweeps : stream of sweeps
    o : stream of operations
    fresh : In, one bit for each slot
        The population is at the first step of a sample, so late spikes are those of the sample before: ignored.
    token, credit : stream of slots
        A STEP or a CREDIT came in, behind everything that was sent before it.
    taken, stray : Out
        A spike was taken; it named a neuron that does not exist and was dropped.
    operations : Out
        Weights in the window that is begun in this clock.
    """

    pause = 2  #: clocks after a sweep was taken, in which the sums before it are stored

    def __init__(self, fabric: Fabric, pace: int = 1):
        self.fabric, self.pace = fabric, pace
        slot = layout(fabric.key_record)["slot"].shape
        super().__init__(
            {
                "i": In(stream.Signature(visit(fabric))),
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
        fabric, o, v = self.fabric, self.o.payload, self.i.payload
        select = exact_log2(fabric.groups)  # bits of a group's place in its row

        clearing, row = Signal(init=1), Signal.like(o.row)
        sweeping, visiting, walks, waits = Signal(), Signal(), Signal(), Signal(range(self.pause + self.pace))
        with m.If(clearing):
            m.d.comb += [self.o.valid.eq(1), o.clear.eq(1), o.row.eq(row)]
            m.d.sync += row.eq(row + 1)
            with m.If(row == fabric.rows - 1):
                m.d.sync += clearing.eq(0)
        with m.Elif(sweeping):
            m.d.comb += [self.o.valid.eq(waits == self.pace - 1), o.sweep.eq(1)]
        with m.Elif(self.sweeps.valid & ~walks):
            m.d.comb += self.sweeps.ready.eq(1)
        with m.Elif(self.i.valid), m.Switch(v.kind):
            with m.Case(Kind.STEP):
                m.d.comb += [self.token.valid.eq(1), self.i.ready.eq(1)]
            with m.Case(Kind.CREDIT):
                m.d.comb += [self.credit.valid.eq(1), self.i.ready.eq(1)]
            with m.Default():  # SPIKE
                late = Signal()
                m.d.comb += late.eq(v.late & self.fresh.bit_select(v.slot, 1))
                m.d.comb += visiting.eq(v.known & v.hits & ~late)
                with m.If(~visiting):
                    m.d.comb += self.i.ready.eq(1)
                with m.If(~walks):
                    m.d.comb += [self.taken.eq(v.first & v.known), self.stray.eq(v.first & ~v.known)]
        m.d.comb += [self.token.payload.eq(v.slot), self.credit.payload.eq(v.slot)]
        self._visit(m, visiting, walks)
        self._sweep(m, sweeping, waits, select)
        return m

    def _visit(self, m, visiting, walks):
        """The rows of a spike, one for each clock of ``visiting``; ``walks``: there were some already."""
        o, v = self.o.payload, self.i.payload

        def count(of, one, name):
            """What is left of ``of``, this one included; and whether this is the last (``one``: of the first so)."""
            left, later = Signal.like(of, name=f"{name}_left"), Signal.like(of, name=f"{name}_later")
            last, last_later = Signal(name=f"{name}_last"), Signal(name=f"{name}_last_later")
            m.d.comb += [left.eq(Mux(walks, later, of)), last.eq(Mux(walks, last_later, one))]

            def go_on(to, to_one):
                m.d.sync += [later.eq(to), last_later.eq(to_one)]

            return left, last, go_on

        def start(name):
            """Sums and weights with which something began that is still going on: at first, the spike itself."""
            now, later = [], []
            for of, which in ((v.row, "row"), (v.weights, "weights")):
                held, began = Signal.like(of, name=f"{name}_{which}_held"), Signal.like(of, name=f"{name}_{which}")
                m.d.comb += began.eq(Mux(walks, held, of))
                now.append(began)
                later.append(held)
            return now, later

        rows, row_last, rows_go_on = count(v.rows, v.one_row, "rows")
        columns, column_last, columns_go_on = count(v.columns, v.one_column, "columns")
        lines, line_last, lines_go_on = count(v.lines, v.one_line, "lines")
        (row, weights), at_later = start("at")
        window, window_later = start("window")
        line, line_later = start("line")
        begins = Signal(init=1)  # a window
        with m.If(visiting):
            m.d.comb += [self.o.valid.eq(1), o.add.eq(1), o.row.eq(row), o.weights.eq(weights)]
            m.d.comb += self.operations.eq(Mux(begins, v.fanout, 0))
            m.d.sync += [walks.eq(1), begins.eq(row_last)]
            rows_go_on(rows - 1, rows == 2)
            columns_go_on(columns, column_last)
            lines_go_on(lines, line_last)
            m.d.sync += [later.eq(now) for later, now in zip(window_later + line_later, window + line, strict=True)]
            # the next row, its weights
            (at_row, at_weights), steps = at_later, [(v.row_x, v.weights_x, window), (v.row_y, v.weights_y, line)]
            (next_column, next_line) = [
                ((began[0] + by_row)[: len(row)], (began[1] + by_weights)[: len(weights)])
                for by_row, by_weights, began in steps
            ]
            with m.If(~row_last):
                m.d.sync += [at_row.eq(row + 1), at_weights.eq(weights + v.stride)]
            with m.Else():
                rows_go_on(v.rows, v.one_row)
                with m.If(~column_last):
                    columns_go_on(columns - 1, columns == 2)
                    for later in (at_later, window_later):
                        m.d.sync += [later[0].eq(next_column[0]), later[1].eq(next_column[1])]
                with m.Elif(~line_last):
                    columns_go_on(v.columns, v.one_column)
                    lines_go_on(lines - 1, lines == 2)
                    for later in (at_later, window_later, line_later):
                        m.d.sync += [later[0].eq(next_line[0]), later[1].eq(next_line[1])]
                with m.Else():
                    m.d.sync += walks.eq(0)
                    m.d.comb += self.i.ready.eq(1)

    def _sweep(self, m, sweeping, waits, select):
        """The groups of a population while ``sweeping``, one after the other; first it ``waits`` until sums are stored."""
        fabric, update = self.fabric, self.o.payload.update
        job = Signal(sweep(fabric))
        neurons = Signal.like(job.neurons)  # still to update
        state = Signal.like(update.state)
        place, parameter = Signal.like(update.place), Signal.like(update.parameter)
        channels, columns = Signal.like(job.channels), Signal.like(job.columns)  # left of this position, of this line
        last, position_ends = Signal(), Signal()
        m.d.comb += [sweeping.eq(neurons != 0), last.eq(neurons <= fabric.update_lanes), position_ends.eq(channels == 1)]
        with m.If(self.sweeps.valid & self.sweeps.ready):
            m.d.sync += [
                waits.eq(self.pause + self.pace - 1),
                job.eq(self.sweeps.payload),
                neurons.eq(self.sweeps.payload.neurons),
                state.eq(self.sweeps.payload.row << select),
                place.eq(0),
                parameter.eq(self.sweeps.payload.parameters),
                channels.eq(self.sweeps.payload.channels),
                columns.eq(self.sweeps.payload.columns),
            ]
        with m.If(sweeping):
            m.d.comb += [
                self.o.payload.row.eq(state >> select),
                update.state.eq(state),
                update.place.eq(place),
                update.parameter.eq(parameter),
                update.slot.eq(job.slot),
                update.fresh.eq(job.fresh),
                update.last.eq(last),
                # a row is cleared with its last group
                self.o.payload.clear.eq(last | ((state & fabric.groups - 1) == fabric.groups - 1)),
            ]
            m.d.comb += [update.mask[n].eq(neurons > n) for n in range(fabric.update_lanes)]
        with m.If(waits != 0):
            m.d.sync += waits.eq(waits - 1)
        with m.Elif(sweeping):
            m.d.sync += [
                waits.eq(Mux(last, 0, self.pace - 1)),
                state.eq(state + 1),
                neurons.eq(Mux(last, 0, neurons - fabric.update_lanes)),
                channels.eq(Mux(position_ends, job.channels, channels - 1)),
                parameter.eq(Mux(position_ends & job.repeat, job.parameters, parameter + job.each)),
            ]
            with m.If(~position_ends):
                m.d.sync += place.eq(place + 1)
            with m.Elif(columns != 1):
                m.d.sync += [place.eq(place + job.gap), columns.eq(columns - 1)]
            with m.Else():
                m.d.sync += [place.eq(place + job.gap_line), columns.eq(job.columns)]
