"""Bytes over an eight bit bus: the asynchronous FIFO of FT245, FT232H and FT2232H."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from .uart import BYTES

__all__ = ["ParallelFifo"]


class ParallelFifo(wiring.Component):
    """In the place of a :class:`Uart`, where a board has such a chip; some 20 times faster.

    A strobe lasts ``strobe`` clocks, and as long again passes before the next one, which must be 50 ns each; so a byte
    takes 2 × ``strobe`` clocks and one. Reading goes before writing, so that the host can always be heard.

    Members
    -------
    i, o : bytes
        To be sent, and received.
    rxf_n, txe_n : In
        Low: there is a byte to read; there is room for one. Of any clock.
    rd_n, wr_n : Out
        Data are taken from the bus at the end of the one, and by the chip at the beginning of the other.
    data_i, data_o, data_oe : the bus
    """

    def __init__(self, strobe: int):
        if strobe < 3:
            raise ValueError(f"strobe must be at least 3 clocks, for flags to pass the synchronizer, not {strobe!r}")
        self.strobe = strobe
        super().__init__(
            {"i": In(BYTES), "o": Out(BYTES), "rxf_n": In(1, init=1), "txe_n": In(1, init=1), "rd_n": Out(1, init=1),
             "wr_n": Out(1, init=1), "data_i": In(8), "data_o": Out(8), "data_oe": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        rxf_n, txe_n = Signal(init=1), Signal(init=1)
        m.submodules.rxf = FFSynchronizer(self.rxf_n, rxf_n, init=1)
        m.submodules.txe = FFSynchronizer(self.txe_n, txe_n, init=1)
        clocks = Signal(range(self.strobe))
        last = clocks == self.strobe - 1
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        m.d.sync += clocks.eq(clocks + 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += clocks.eq(0)
                with m.If(~rxf_n & ~self.o.valid):
                    m.d.sync += self.rd_n.eq(0)
                    m.next = "READ"
                with m.Elif(~txe_n & self.i.valid):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [self.data_o.eq(self.i.payload), self.data_oe.eq(1)]
                    m.next = "WRITE"
            with m.State("READ"), m.If(last):
                m.d.sync += [self.rd_n.eq(1), self.o.payload.eq(self.data_i), self.o.valid.eq(1), clocks.eq(0)]
                m.next = "REST"
            with m.State("WRITE"):  # data are on the bus for a clock before the strobe
                m.d.sync += self.wr_n.eq(0)
                with m.If(last):
                    m.d.sync += [self.wr_n.eq(1), clocks.eq(0)]
                    m.next = "REST"
            with m.State("REST"):  # the flags show what is there after the strobe only now
                m.d.sync += self.data_oe.eq(0)
                with m.If(last):
                    m.next = "IDLE"
        return m
