"""The one cocotb test: drives the streams of whatever design it is loaded with, as the process that started it asks.

It talks JSON lines. Requests come through the standard input, the first of which describes the streams and names the
file descriptor for answers. Simulated time stands still while it waits for a request, and at the end of the input the
simulation ends.
"""

import json
import os
import select
import sys
from typing import Any, TextIO

import cocotb
from cocotb.triggers import Timer

from aerloom.sim.traffic import Stuck, Traffic


@cocotb.test()
async def bench(dut: Any) -> None:
    setup = json.loads(sys.stdin.readline())
    traffic = Traffic(**setup["traffic"])
    wires = {f"{name}__{wire}": getattr(dut, f"{name}__{wire}")
             for name in (*setup["traffic"]["inputs"], *setup["traffic"]["outputs"])
             for wire in ("valid", "ready", "payload")}
    clock = dut.clk if hasattr(dut, "clk") else None

    for name in ("clk", "rst", *(s.valid for s in traffic.sources), *(s.payload for s in traffic.sources),
                 *(s.ready for s in traffic.sinks)):
        if hasattr(dut, name):
            getattr(dut, name).value = 0
    await Timer(1)

    with os.fdopen(setup["answers"], "w") as answers:
        for line in sys.stdin:
            request = json.loads(line)
            traffic.begin(request["send"], request["expect"], request["drain"])
            try:
                await exchange(traffic, wires, clock)
                answer(answers, words=traffic.words(), cycles=traffic.cycles)
            except Stuck as stuck:
                answer(answers, stuck=str(stuck), cycles=traffic.cycles)


async def exchange(traffic: Traffic, wires: dict[str, Any], clock: Any) -> None:
    # Time passes by timers alone. Around an edge simulators disagree on what is seen and on when a write takes effect;
    # half a period later all show the settled design.
    half_period = Timer(1)
    while (changes := traffic.drive()) is not None:
        for wire, value in changes:
            wires[wire].value = value
        if clock is not None:
            clock.value = 0
        await half_period
        traffic.sample(lambda wire: int(wires[wire].value))
        if clock is not None:
            clock.value = 1
        await half_period
        if traffic.cycles % 1024 == 0 and select.select([sys.stdin], [], [], 0)[0]:
            raise EOFError("the process that asked for this simulation is gone")


def answer(answers: TextIO, **fields: Any) -> None:
    json.dump(fields, answers)
    answers.write("\n")
    answers.flush()
