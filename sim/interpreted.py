"""The engine that needs no build: Amaranth's own simulator."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import ClockDomain, Module, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from aerloom.sim.engine import Engine, Words
from aerloom.sim.traffic import Traffic


def _raw(wire: Any) -> Value:
    value = Value.cast(wire)
    return value.as_unsigned() if value.shape().signed else value


class Interpreted(Engine):
    """Simulates in Python: slow, but it starts at once and its tracebacks lead into the component.

    The clock is an ordinary signal that the testbench sets: it ticks during an exchange and at no other time.
    """

    def __init__(self, dut: wiring.Component, *, cache: object = None, **options: Any):
        super().__init__(dut, **options)
        top = Module()
        top.domains.sync = clock = ClockDomain()
        top.submodules.dut = dut
        self._clock = clock.clk
        ports = [*self.inputs, *self.outputs]
        self._traffic = Traffic([port.name for port in self.inputs], [port.name for port in self.outputs],
                                counted=self.counted, stall=self.stall, seed=self.seed, budget=self.budget)
        self._wires = {f"{port.name}__{wire}": _raw(getattr(getattr(dut, port.name), wire))
                       for port in ports for wire in ("valid", "ready", "payload")}
        self._simulator = Simulator(top)
        self._simulator.add_testbench(self._bench)
        self._simulator.advance()  # has nothing to do yet, but a testbench that never began would be complained of

    async def _bench(self, ctx: Any) -> None:
        while True:
            self._cycles(ctx)
            await ctx.delay(1)  # gives control back to `_exchange`; the design sees no clock meanwhile

    def _cycles(self, ctx: Any) -> None:
        while (changes := self._traffic.drive()) is not None:
            for wire, value in changes:
                ctx.set(self._wires[wire], value)
            self._traffic.sample(lambda wire: ctx.get(self._wires[wire]))
            ctx.set(self._clock, 1)
            ctx.set(self._clock, 0)
            if self.progress and self._traffic.cycles % 1024 == 0:
                self.progress(sum(source.sent for source in self._traffic.sources))

    def _exchange(self, send: Mapping[str, Words], expect: Mapping[str, int], drain: int) -> Mapping[str, Words]:
        self._traffic.begin({name: list(map(int, words)) for name, words in send.items()}, expect, drain)
        try:
            self._simulator.advance()
        finally:
            self.cycles = self._traffic.cycles
        return self._traffic.words()
