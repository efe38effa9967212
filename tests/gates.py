"""An engine that simulates netlists of gates: a C++ compiler takes minutes for what this interprets at once.

A gate of up to three inputs is its truth table; a program is all of them, and the ports that read memories, in an order in
which everything is known when it is needed.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numba
import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from aerloom.sim.engine import Engine, Words
from aerloom.sim.traffic import Traffic

Ints = NDArray[np.int64]
READ = -1  # in the place of a truth table: a port of a memory


def table(function: Any) -> int:
    return sum((function(n & 1, n >> 1 & 1, n >> 2) & 1) << n for n in range(8))


TABLES = {name: table(f) for name, f in {
    "$_BUF_": lambda a, b, c: a, "$_NOT_": lambda a, b, c: ~a, "$_AND_": lambda a, b, c: a & b,
    "$_NAND_": lambda a, b, c: ~(a & b), "$_OR_": lambda a, b, c: a | b, "$_NOR_": lambda a, b, c: ~(a | b),
    "$_XOR_": lambda a, b, c: a ^ b, "$_XNOR_": lambda a, b, c: ~(a ^ b), "$_ANDNOT_": lambda a, b, c: a & ~b,
    "$_ORNOT_": lambda a, b, c: a | ~b, "$_MUX_": lambda a, b, c: b if c else a,
}.items()}


class Gates(Engine):
    """A netlist in the place of a component: the streams of both are the same.

    Parameters
    ----------
    dut
        The component.
    netlist
        Its module in Yosys' JSON: gates of Yosys, ``$_DFF_P_`` and ``$mem_v2`` whose ports read at once.
    """

    def __init__(self, dut: wiring.Component, netlist: Mapping[str, Any], **options: Any) -> None:
        super().__init__(dut, **options)
        self._traffic = Traffic([p.name for p in self.inputs], [p.name for p in self.outputs], counted=self.counted,
                                stall=self.stall, seed=self.seed, budget=self.budget)
        self._program = Program(netlist)
        wires = {name.replace(".", "__"): self._program.bits(port["bits"]) for name, port in netlist["ports"].items()}
        self._wires = {name: (at, 1 << np.arange(len(at), dtype=object)) for name, at in wires.items()}

    def _exchange(self, send: Mapping[str, Words], expect: Mapping[str, int], drain: int) -> Mapping[str, Words]:
        traffic, program = self._traffic, self._program
        traffic.begin({name: list(map(int, words)) for name, words in send.items()}, expect, drain)
        while (changes := traffic.drive()) is not None:
            for wire, value in changes:
                at, _ = self._wires[wire]
                program.values[at] = value >> np.arange(len(at), dtype=object) & 1
            program.settle()
            traffic.sample(self._read)
            program.clock()
        self.cycles = traffic.cycles
        return traffic.words()

    def _read(self, wire: str) -> int:
        at, weights = self._wires[wire]
        return int((self._program.values[at] * weights).sum())


class Program:
    """What happens in a cycle. ``values`` are those of all bits; bits 0 and 1 are the constants."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self._known: dict[Any, int] = {"0": 0, "x": 0, "z": 0, "1": 1}
        gates: list[tuple[int, int, int, int, int]] = []  # table, inputs, output
        flops: list[tuple[int, int]] = []
        memories = []
        for cell in module["cells"].values():
            kind, pins = cell["type"], cell["connections"]
            if kind in TABLES:
                a, b, c = (self.bits(pins.get(name, ["0"]))[0] for name in "ABS")
                gates.append((TABLES[kind], a, b, c, self.bits(pins["Y"])[0]))
            elif kind == "$_DFF_P_":
                flops.append((self.bits(pins["D"])[0], self.bits(pins["Q"])[0]))
            elif kind == "$mem_v2":
                memories.append(cell)
            else:
                assert kind == "$scopeinfo", f"{kind} is no gate"
        self.reads, self.writes, self.store = self._memories(memories)
        self.inputs, self.outputs = np.array(flops, np.int64).reshape(-1, 2).T.copy()
        self.gates = self._ordered(gates)
        self.values = np.zeros(max(self._known.values()) + 1, np.uint8)
        self.values[1] = 1
        for net in module["netnames"].values():
            begins = str(net["attributes"].get("init", ""))[::-1]
            for bit, value in zip(net["bits"], begins, strict=False):
                if value == "1":
                    self.values[self._known[bit]] = 1

    def bits(self, names: Any) -> Ints:
        """Numbers of bits."""
        return np.array([self._known.setdefault(name, len(self._known) - 2) for name in names], np.int64)

    def settle(self) -> None:
        """Everything that follows from inputs and registers."""
        settle(self.values, self.gates, self.store, *self.reads)

    def clock(self) -> None:
        """What the rising edge changes."""
        clock(self.values, self.store, self.inputs, self.outputs, *self.writes)

    def _memories(self, cells: list[Any]) -> tuple[Any, Any, NDArray[np.uint64]]:
        """Ports that read and that write: where their memory begins, its words, and bits in one row behind another."""
        store: list[int] = []
        reads: list[Any] = []
        writes: list[Any] = []
        for cell in cells:
            p, pins = {k: v for k, v in cell["parameters"].items()}, cell["connections"]
            width, size, abits = (int(p[name], 2) for name in ("WIDTH", "SIZE", "ABITS"))
            assert int(p["OFFSET"], 2) == 0 and "1" not in p["RD_CLK_ENABLE"]
            begins = p["INIT"].replace("x", "0").rjust(width * size, "0")[::-1]
            for n in range(int(p["RD_PORTS"], 2)):
                reads.append((len(store), size, self.bits(pins["RD_ADDR"][abits * n : abits * (n + 1)]),
                              self.bits(pins["RD_DATA"][width * n : width * (n + 1)])))
            for n in range(int(p["WR_PORTS"], 2)):
                some = slice(width * n, width * (n + 1))
                writes.append((len(store), size, self.bits(pins["WR_ADDR"][abits * n : abits * (n + 1)]),
                               self.bits(pins["WR_DATA"][some]), self.bits(pins["WR_EN"][some])))
            store += [int(begins[width * n : width * (n + 1)][::-1], 2) for n in range(size)]
        return rows(reads, 2), rows(writes, 3), np.array(store or [0], np.uint64)

    def _ordered(self, gates: list[tuple[int, int, int, int, int]]) -> Ints:
        base, _, starts, addresses, ends, data = self.reads
        nodes = [*gates, *((READ, n, 0, 0, 0) for n in range(len(base)))]
        makes: dict[int, int] = {}
        needs: list[Any] = []
        for n, (kind, a, b, c, y) in enumerate(nodes):
            if kind == READ:
                needs.append(addresses[starts[a] : starts[a + 1]].tolist())
                makes |= dict.fromkeys(data[ends[a] : ends[a + 1]].tolist(), n)
            else:
                needs.append((a, b, c))
                makes[y] = n
        order = graphlib.TopologicalSorter({n: {makes[i] for i in some if i in makes} for n, some in enumerate(needs)})
        return np.array([nodes[n] for n in order.static_order()], np.int64).reshape(-1, 5)


def rows(ports: list[Any], lists: int) -> tuple[Any, ...]:
    """Ports as arrays: numbers, and for each list of bits where each port's begins, and all of them."""
    out: list[Any] = [np.array([port[n] for port in ports], np.int64) for n in range(2)]
    for n in range(2, 2 + lists):
        out.append(np.array([0, *accumulate(len(port[n]) for port in ports)], np.int64))
        out.append(np.concatenate([port[n] for port in ports]) if ports else np.zeros(0, np.int64))
    return tuple(out)


@numba.njit
def number(values: Any, bits: Any) -> int:
    out = 0
    for n in range(len(bits)):
        out |= np.int64(values[bits[n]]) << n
    return out


@numba.njit
def settle(values: Any, gates: Any, store: Any, base: Any, size: Any, starts: Any, addresses: Any, ends: Any,
           data: Any) -> None:
    for k in range(len(gates)):
        kind, a = gates[k, 0], gates[k, 1]
        if kind != READ:
            values[gates[k, 4]] = kind >> (values[a] | values[gates[k, 2]] << 1 | values[gates[k, 3]] << 2) & 1
            continue
        at = number(values, addresses[starts[a] : starts[a + 1]])
        word = store[base[a] + at] if at < size[a] else np.uint64(0)
        for n in range(ends[a], ends[a + 1]):
            values[data[n]] = word >> np.uint64(n - ends[a]) & np.uint64(1)


@numba.njit
def clock(values: Any, store: Any, inputs: Any, outputs: Any, base: Any, size: Any, starts: Any, addresses: Any,
          ends: Any, data: Any, _: Any, enables: Any) -> None:
    new = values[inputs]
    for port in range(len(base)):
        at = number(values, addresses[starts[port] : starts[port + 1]])
        if at < size[port]:
            word = store[base[port] + at]
            for n in range(ends[port], ends[port + 1]):
                if values[enables[n]]:
                    bit = np.uint64(1) << np.uint64(n - ends[port])
                    word = word | bit if values[data[n]] else word & ~bit
            store[base[port] + at] = word
    values[outputs] = new
