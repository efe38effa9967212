"""The walk over rows of sums: through the windows of a spike, and through a population that takes a step."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..models.fabric import Fabric
from .locate import visit
from .shapes import layout

#: What the walk needs of a row of POPULATIONS
SWEPT = ("row", "final", "parameters", "each", "repeat", "channels", "columns", "gap", "gap_line", "ahead")

__all__ = ["SWEPT", "Walk", "operation", "sweep", "update"]


def sweep(fabric: Fabric) -> data.StructLayout:
    """Population ``slot`` takes a step; ``fresh``: the first of a sample."""
    row = layout(fabric.population_record)
    return data.StructLayout(
        {name: row[name].shape for name in SWEPT if name in row.members}
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
    """One access to a row of sums: ``add`` the weights at ``weights``, ``clear`` it, or read it for a ``sweep``."""
    row = layout(fabric.projection_record)
    return data.StructLayout(
        {
            "add": 1,
            "clear": 1,
            "sweep": 1,
            "row": row["row"].shape.width + fabric.ahead,
            "weights": row["weights"].shape,
        }
    )


class Loop:
    """One of the loops of a walk: ``count`` rounds, each ``by_row`` sums and ``by_weights`` weights further than the last.

    Of a round there is how many are ``left``, with this one, whether it is the ``last``, and the ``row`` and ``weights``
    that it begins with. ``now`` each is what the visit says (``first``) while that is new, and what was kept (``later``)
    after that. ``one``: the first round is the last.
    """

    def __init__(self, visit, name: str, count, one, by_row, by_weights):
        self.first = {"left": count, "last": one, "row": visit.row, "weights": visit.weights}
        self.now = {of: Signal.like(value, name=f"{name}_{of}") for of, value in self.first.items()}
        self.later = {of: Signal.like(value, name=f"{name}_{of}_later") for of, value in self.first.items()}
        self.by_row, self.by_weights = by_row, by_weights


class Walk(wiring.Component):
    """Spikes and sweeps into one row operation per clock.

    ::

        visits ───► spike: lines of windows of rows ──┬─► o
        sweeps ─┬─► rows to read, and to clear ───────┘
                └─► groups of update_lanes neurons ─────► updates
        (after a reset: clear every row)

    A spike that reaches n rows in all its windows takes n clocks and the next one follows without a gap; sums and weights
    are found by adding, not by multiplying. A sweep starts between two spikes, and of each row it takes two clocks; in the
    others spikes go on, but those for its own population wait until all its rows are read and cleared.

    When a sweep is offered, what it sums up was all taken before, and what is for the next step of these sums comes behind
    it: the sources wait for a CREDIT. It reads a row three clocks after that changed, at least.

    Where sources can be ahead, a row has sums for even and for odd steps of its population (row 2r and 2r + 1). A STEP of
    such a source ends those that its spikes go to, a sweep goes over the others, and nobody waits.

    Parameters
    ----------
    pace : int
        Clocks from one update of a sweep to the next. If it is one, a row is read with the first of its updates and cleared
        a clock later. If there are more, it is read with each update, which stays on ``updates.payload``, and cleared in
        the last clock of the last.

    Members
    -------
    i : stream of visits
        Taken with the last row of a spike.
    sweeps : stream of sweeps
    o : stream of operations
    updates : stream of updates
    token, credit : stream of slots
        A STEP or a CREDIT came in, behind everything that was sent before it.
    taken, stray : Out
        A spike was taken; it named a neuron that does not exist and was dropped.
    operations : Out
        Weights in the window that was begun a clock ago.
    """

    pause = 1  #: clocks after a sweep was taken, in which the sums before it are stored

    def __init__(self, fabric: Fabric, pace: int = 1):
        self.fabric, self.pace = fabric, pace
        slot = layout(fabric.key_record)["slot"].shape
        super().__init__(
            {
                "i": In(stream.Signature(visit(fabric))),
                "sweeps": In(stream.Signature(sweep(fabric))),
                "o": Out(stream.Signature(operation(fabric), always_ready=True)),
                "updates": Out(stream.Signature(update(fabric), always_ready=True)),
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
        sweeping, visiting, walks = Signal(), Signal(), Signal()
        # no spike has the sums in this clock: a register, as by it is decided what is taken
        works, job = Signal(init=1), Signal(sweep(fabric))
        shut, begins = Signal(), Signal()  # rows of the sweep are still to be read; it begins
        # whether the step of spikes is odd, and that of the sweep
        comes, goes = (Signal(name=name) if fabric.ahead else Const(0, 0) for name in ("comes", "goes"))
        own = v.slot == job.slot  # spikes are for what is swept
        if fabric.ahead:
            sent, taken = Signal(fabric.populations), Signal(fabric.populations)  # whether such steps are odd, by slot
            m.d.comb += comes.eq(sent.bit_select(v.slot, 1))
            with m.If(self.token.valid & v.ahead):
                m.d.sync += sent.bit_select(v.slot, 1).eq(~comes)
            with m.If(begins):
                takes = self.sweeps.payload
                m.d.sync += goes.eq(taken.bit_select(takes.slot, 1))
                m.d.sync += taken.bit_select(takes.slot, 1).eq(taken.bit_select(takes.slot, 1) ^ takes.ahead)
            own &= comes == goes
        cleared = row == fabric.sum_rows - 1
        m.d.sync += [row.eq(row + clearing), clearing.eq(clearing & ~cleared)]

        # what comes goes on, unless others have the sums
        free, moves = Signal(), Signal()
        m.d.comb += [
            self.sweeps.ready.eq(~works & ~sweeping & ~walks),
            begins.eq(self.sweeps.valid & self.sweeps.ready),
            free.eq(~(works | (shut & own))),
            moves.eq(self.i.valid & free),
            visiting.eq(moves & v.hits & v.known),
            self.token.valid.eq(moves & v.step),
            self.credit.valid.eq(moves & v.credit),
            self.token.payload.eq(v.slot),
            self.credit.payload.eq(v.slot),
            self.o.valid.eq(works | visiting),
            o.add.eq(visiting),
        ]
        with m.If(moves & v.first & ~v.step & ~v.credit & ~walks):
            m.d.comb += [self.taken.eq(v.known), self.stray.eq(~v.known)]
        visited, ends = self._visit(m, moves, visiting, walks)
        swept, uses = self._sweep(m, sweeping, shut, begins, job, select)
        m.d.sync += works.eq(uses | (clearing & ~cleared))
        m.d.comb += [
            self.i.ready.eq(free & ends),
            o.clear.eq(works & ~o.sweep),
            o.row.eq(Mux(works, Mux(clearing, row, Cat(goes, swept)), Cat(comes, visited["row"]))),
            o.weights.eq(visited["weights"]),
        ]
        return m

    @staticmethod
    def clocks(fabric: Fabric, pace: int, neurons):
        """Clocks of the updates of a sweep."""
        groups = -(-neurons // fabric.update_lanes)
        if pace > 1:
            return groups * pace
        return groups + (-(-neurons // fabric.lanes) if fabric.groups == 1 else groups % fabric.groups == 1)

    def _visit(self, m, moves, visiting, walks):
        """The rows of a visit, one for each clock of ``moves``, added to where ``visiting``; ``walks``: there were some
        already. Returns where it is, and whether there it ends."""
        v = self.i.payload
        loops = [Loop(v, "row", v.rows, v.one_row, 1, v.stride)]  # the innermost first
        if self.fabric.places:
            loops += [Loop(v, "column", v.columns, v.one_column, v.row_x, v.weights_x),
                      Loop(v, "line", v.lines, v.one_line, v.row_y, v.weights_y)]
        for loop in loops:
            m.d.comb += [now.eq(Mux(walks, loop.later[of], loop.first[of])) for of, now in loop.now.items()]
        begins, row = Signal(init=1), loops[0].now  # a window begins
        ended = Cat(loop.now["last"] for loop in loops).all()
        begun, fanout = Signal(), Signal.like(v.fanout, reset_less=True)  # a clock late, as the counters are far away
        m.d.sync += [begun.eq(visiting & begins), fanout.eq(v.fanout)]
        m.d.comb += self.operations.eq(Mux(begun, fanout, 0))
        with m.If(moves):
            m.d.sync += [walks.eq(~ended), begins.eq(row["last"])]
            for loop in loops:
                m.d.sync += [loop.later[of].eq(now) for of, now in loop.now.items()]
            for n, loop in enumerate(loops):  # the first that is not at its end goes on; those inside it begin again
                now = loop.now
                with m.If(~now["last"] & Cat(inner.now["last"] for inner in loops[:n]).all() if n else 1):
                    m.d.sync += [loop.later["left"].eq(now["left"] - 1), loop.later["last"].eq(now["left"] == 2)]
                    for inner in loops[:n]:
                        m.d.sync += [inner.later[of].eq(inner.first[of]) for of in ("left", "last")]
                    for inner in loops[: n + 1]:
                        m.d.sync += [inner.later["row"].eq(now["row"] + loop.by_row),
                                     inner.later["weights"].eq(now["weights"] + loop.by_weights)]
        return row, ended

    def _sweep(self, m, sweeping, shut, begins, job, select):
        """The groups of a population while ``sweeping``, one after the other; first it waits until sums are stored. Returns
        the row that it is at, and whether it has the lanes: in this clock or, where the pace is one, in the next."""
        fabric, update, lanes = self.fabric, self.updates.payload, self.fabric.update_lanes
        group, following = Signal.like(update.state), Signal.like(update.state)  # that is updated, counted from the first
        other_row = Signal()  # its row is not that of the last
        last, ends = Signal(), Signal()  # it is that of the sweep; of a row
        waits, due = Signal(range(max(self.pause, self.pace - 2) + 1)), Signal(init=1)  # then the group is, or is done
        reads, moves, opens = Signal(), Signal(), Signal()  # the next group; the first
        # what others call it, and its parameters: counted like groups, unless there are planes
        place, own = self._planes(m, moves, begins, job) if fabric.places else (group, group)
        m.d.comb += [
            self.updates.valid.eq(sweeping & (waits == 0) & due),
            update.state.eq((job.row << select) + group),
            update.place.eq(place),
            update.parameter.eq(job.parameters + Mux(job.each, own, 0)),
            update.mask.eq(Cat(~last | (job.final[: exact_log2(lanes)] >= n) for n in range(lanes))),
            update.slot.eq(job.slot),
            update.fresh.eq(job.fresh),
            update.last.eq(last),
        ]
        m.d.sync += opens.eq(begins)
        with m.If(opens | moves):
            differs = following ^ (job.final >> exact_log2(lanes))
            m.d.sync += [group.eq(following), following.eq(following + 1)]
            m.d.sync += [other_row.eq(differs[select:].any()), last.eq(~differs.any()),
                         ends.eq(~differs.any() | following[:select].all())]
        with m.If(begins):
            m.d.sync += [sweeping.eq(1), shut.eq(1), waits.eq(self.pause), job.eq(self.sweeps.payload), following.eq(0)]
        m.d.comb += self.o.payload.sweep.eq(reads)
        if self.pace == 1:
            will = Mux(waits != 0, waits == 1, moves & ends & ~last)
            m.d.sync += reads.eq(will)
            with m.If(reads & ~other_row):
                m.d.sync += shut.eq(0)
        else:
            m.d.comb += reads.eq(self.updates.valid)
            will = sweeping & Mux(waits != 0, (waits == 1) & (due | ends), ~due & ~last)
        with m.If(waits != 0):
            m.d.sync += waits.eq(waits - 1)
        with m.Elif(sweeping & due & ((reads & ends) | (self.pace > 1))):
            m.d.sync += [due.eq(0), waits.eq(max(self.pace - 2, 0))]
        with m.Elif(sweeping):
            m.d.comb += moves.eq(1)
            m.d.sync += [due.eq(1), sweeping.eq(~last)]
            with m.If(last):
                m.d.sync += shut.eq(0)
        return update.state >> select, will | (reads if self.pace == 1 else 0)

    def _planes(self, m, moves, begins, job):
        """Number and parameters of a group where positions do not simply follow each other."""
        place, own = Signal(self.fabric.place_bits), Signal.like(job.parameters)
        channels, columns = Signal.like(job.channels), Signal.like(job.columns)  # left of this position, of this line
        with m.If(begins):
            m.d.sync += [channels.eq(self.sweeps.payload.channels), columns.eq(self.sweeps.payload.columns)]
            m.d.sync += [place.eq(0), own.eq(0)]
        with m.Elif(moves):
            m.d.sync += [channels.eq(channels - 1), place.eq(place + 1), own.eq(own + 1)]
            with m.If(channels == 1):
                m.d.sync += channels.eq(job.channels)
                with m.If(job.repeat):
                    m.d.sync += own.eq(0)
                with m.If(columns != 1):
                    m.d.sync += [place.eq(place + job.gap), columns.eq(columns - 1)]
                with m.Else():
                    m.d.sync += [place.eq(place + job.gap_line), columns.eq(job.columns)]
        return place, own
