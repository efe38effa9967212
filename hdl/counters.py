"""What a core counts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..models.fabric import CHUNK, COUNTER_BITS, Space
from .shapes import ANSWERS, READS, within
from .staged import Staged

__all__ = ["Counters"]


class Counters(wiring.Component):
    """Counters in one memory, with one adder that goes round them: what happens meanwhile waits in a few bits for each.

    ::

        events ─► (+) ─► waiting ─► amount ─► (+) ─┬─► memory
                                    memory ──► ┘ ◄─┘

    Parameters
    ----------
    widths : list of int
        Bits of each event.

    Members
    -------
    eventK : In
        Added to counter K, in every clock; in the first clocks after a reset, while the memory is cleared, it must be zero.
    read : stream of reads
        Of COUNTERS; any other place holds zero. What happened in the last few clocks may be missing.
    data : stream of 16-bit answers
    """

    def __init__(self, widths: list[int]):
        self.widths = widths
        self.select = max(2, ceil_log2(len(widths)))  # a round takes longer than a counter's way from and to the memory
        events = {f"event{n}": In(width) for n, width in enumerate(widths)}
        super().__init__(events | {"read": In(READS), "data": Out(ANSWERS)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=COUNTER_BITS, depth=1 << self.select, init=[], attrs={"small": 1})
        fetch, store = memory.read_port(), memory.write_port()

        turn, first = Signal(self.select), Signal(init=1)  # whose turn it is; in the first round all are cleared
        m.d.sync += turn.eq(turn + 1)
        with m.If(turn.all()):
            m.d.sync += first.eq(0)
        m.d.comb += fetch.addr.eq(turn)
        amount, total = Signal(max(self.widths) + self.select), Signal(COUNTER_BITS)
        with m.Switch(turn):
            for n, width in enumerate(self.widths):
                event, waiting = getattr(self, f"event{n}"), Signal(width + self.select, name=f"waiting_{n}")
                mine = Signal(name=f"mine_{n}")
                m.d.comb += mine.eq(turn == n)
                m.d.sync += waiting.eq(event + Mux(mine, 0, waiting))
                with m.Case(n):
                    m.d.sync += amount.eq(waiting)
            with m.Default():
                m.d.sync += amount.eq(0)
        count = Signal(COUNTER_BITS, reset_less=True)  # a plain register, so that it can be that of a block of RAM
        m.d.sync += count.eq(fetch.data)
        at, clears = Staged(m, "at", 0, turn), Staged(m, "clears", 0, first)
        adds = Staged(m, "amount", 1, amount)
        m.d.sync += total.eq(Mux(clears[2], 0, count + adds[2]))
        m.d.comb += [store.addr.eq(at[3]), store.data.eq(total), store.en.eq(1)]

        # answers, when it is the turn of what is asked for
        asked = self.read.payload
        wants = Staged(m, "wants", 0, self.read.valid & self.read.ready, resets=True)
        known = Staged(m, "known", 0, within(asked, Space.COUNTERS, len(self.widths)))
        chunk = Staged(m, "chunk", 0, asked.chunk[0])
        m.d.comb += [
            self.read.ready.eq(asked.address[: self.select] == turn),
            self.data.valid.eq(wants[2]),
            self.data.payload.eq(Mux(known[2], count.word_select(chunk[2], CHUNK), 0)),
        ]
        return m
