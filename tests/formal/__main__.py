"""``make formal``: every proof, and for each of them mistakes that it must find."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from aerloom.hdl import chip, cluster, tree
from aerloom.hdl.emit import Creditor, Emit
from aerloom.hdl.gate import Entrance
from aerloom.hdl.ledger import Ledger
from aerloom.hdl.locate import Direct, Tabled
from aerloom.hdl.lookup import Lookup
from aerloom.hdl.router import Fork, Route, Router
from aerloom.hdl.schedule import Schedule
from aerloom.hdl.stream import Buffer, First, Hold, Merge, Queue
from aerloom.hdl.table import Loader, Receiver

from . import blocks, cores
from .tools import Harness, loops, mutant, prove, using


@dataclass
class Proof:
    """What of which block; the clocks of the bounded check, the length of the induction (0: none), and mistakes."""

    block: type
    harness: Callable[..., Harness]
    depth: int
    k: int
    mistakes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def says(self) -> str:
        of = self.harness.func if isinstance(self.harness, partial) else self.harness
        at = "".join(f" [{name} {value}]" for name, value in getattr(self.harness, "keywords", {}).items())
        return (of.__doc__ or "") + at


MOVES = ("moves.eq(~self.o.valid | self.o.ready)", "moves.eq(1)")
LEAKY = ("wiring.connect(m, route.o, buffer.i)",
         "m.d.comb += [buffer.i.valid.eq(route.o.valid), buffer.i.payload.eq(route.o.payload), route.o.ready.eq(1)]")
SLOW = ("wiring.connect(m, route.o, buffer.i)",
        "m.d.comb += [buffer.i.valid.eq(route.o.valid & ~buffer.o.valid), buffer.i.payload.eq(route.o.payload), "
        "route.o.ready.eq(buffer.i.ready & ~buffer.o.valid)]")
PROOFS = [
    Proof(Buffer, blocks.buffer, 8, 4, [("moves | (room & ~self.i.valid)", "room & ~self.i.valid")]),
    Proof(Hold, blocks.hold, 8, 3, [("~self.o.valid | self.o.ready", "1")]),
    Proof(Queue, blocks.queue, 14, 0, [("memory.r_en.eq(self.o.ready)", "memory.r_en.eq(1)")]),
    Proof(Merge, blocks.merge, 8, 3, [
        ("Mux(self.o.ready, 1 << (n + 1) % count, 1 << n)", "1 << (n + 1) % count"),
        ("Mux(self.o.ready, 1 << (n + 1) % count, 1 << n)", "1 << n")]),
    Proof(First, blocks.first, 8, 3, [("room & ~some", "room"), ("reversed(self.inputs)", "self.inputs")]),
    Proof(Fork, blocks.fork, 8, 3, [(" & ~done[n]", ""), ("taken.all()", "taken.any()")]),
    *(Proof(Route, partial(blocks.route, above=above), 8, 3, [("routes.enable.eq(self.i.ready)", "routes.enable.eq(1)")])
      for above in (True, False)),
    *(Proof(Router, partial(blocks.router, watched=n), 8, 3, [LEAKY]) for n in range(3)),
    Proof(Router, blocks.flow, 12, 0, [SLOW]),
    Proof(Ledger, blocks.ledger, 8, 3, [("~self.paid[slot]", "0")]),
    Proof(Entrance, blocks.entrance, 12, 3, [
        ("with m.Elif(credits.free.bit_select(slot, 1)):", "with m.Else():"),
        ("less.eq(gates.data.credits - 1)]", "less.eq(0)]")]),
    Proof(Loader, cores.loader, 8, 3, [("with m.If(self.o.valid & self.o.ready):", "with m.If(self.o.valid):")]),
    Proof(Receiver, cores.receiver, 8, 3, [("self.i.ready.eq(~self.o.valid)", "self.i.ready.eq(1)")]),
    Proof(Lookup, cores.lookup, 7, 0, [
        ("Mux(first, ~keys.data.several, ends)", "~keys.data.several"), ("valid & (self.o.ready | ~some)", "valid")]),
    Proof(Direct, cores.direct, 10, 3, [("moves.eq(~self.o.valid | self.o.ready)", "moves.eq(1)")]),
    Proof(Tabled, cores.tabled, 13, 3, [("moves.eq(exit_.i.ready)", "moves.eq(1)")]),
    Proof(Schedule, cores.schedule, 24, 3, [
        ("tokens.free & free", "tokens.free"), ("credits.free & ready.some", "ready.some"), ("free &= ~begins", "pass"),
        *((before + 'm.next = "SETTLE"', before + 'm.next = "CHOOSE"')
          for before in (f"slot.eq(0)\n{20 * ' '}", f"sends.eq(1)]\n{20 * ' '}"))]),
    Proof(Creditor, cores.creditor, 8, 3, [MOVES]),
    Proof(Emit, cores.emit, 12, 0, [
        ("(self.o.ready & ~rest.as_value().any())", "~rest.as_value().any()"), ("ahead & ~last &", "ahead &"),
        ("Cat(state, kept)", "Cat(state, 0)")]),
]


def main(names: list[str]) -> int:
    """Prints a table; how many lines of it are not as they should be."""
    wrong = 0

    def tell(block: str, result: str, good: bool, began: float, says: str) -> None:
        nonlocal wrong
        wrong += not good
        print(f"{'  ' if good else '! '}{block:9}  {result:38}  {time.monotonic() - began:5.1f} s  {says}", flush=True)

    for proof in PROOFS:
        name = proof.block.__name__
        if names and name not in names:
            continue
        began = time.monotonic()
        result = prove(proof.harness(), proof.depth, proof.k)
        good = result == ("holds, by induction" if proof.k else f"holds for {proof.depth} clocks")
        tell(name, result, good, began, proof.says)
        for old, new in proof.mistakes:
            began = time.monotonic()
            result = prove(proof.harness(mutant(proof.block, old, new)), proof.depth)
            tell(name, result, result.startswith("fails"), began, f"with {new[:60]!r} in the place of {old!r}")
    if not names or "Chip" in names:
        began, fabric, rings = time.monotonic(), blocks.TOY, ("no ring", "a ring")
        found = loops(chip.Chip(fabric))
        tell("Chip", rings[found], not found, began, "No ring without a register: no ready waits for itself.")
        began = time.monotonic()
        hasty = mutant(Fork, "self.i.valid & wanted[n]", "self.i.ready & wanted[n]")
        routers = using(tree.Tree, Router=using(Router, Fork=hasty))
        machine = using(chip.Machine, Cluster=using(cluster.Cluster, Tree=routers))
        found = loops(using(chip.Chip, Machine=machine)(fabric))
        tell("Chip", rings[found], found, began, "with a Fork that offers only what all take")
    print(f"{wrong} not as expected" if wrong else "all as expected")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
