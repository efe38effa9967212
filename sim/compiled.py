"""The engine for long runs: the design as C++ (CXXRTL), compiled to a shared library and called a batch at a time."""

import ctypes
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from aerloom.models.errors import AerloomError
from aerloom.sim import build
from aerloom.sim.engine import Engine, Port, Words
from aerloom.sim.traffic import EVERY_WORD, Stuck, stall_level

DRIVER = Path(__file__).with_name("driver.cc")

# Vectorising the short loops over the words of a value makes GCC's code half as fast. CXXRTL's own assertions would end
# the process at a memory address out of range, which Amaranth reads as zero; those of the design stay.
FLAGS = ["-std=c++17", "-O3", "-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-DNDEBUG", "-DCXXRTL_NDEBUG",
         "-shared", "-fPIC", "-fvisibility=hidden", "-s"]

TAKEN_AT_ONCE = 1 << 16  # 32-bit chunks; the size of an output's buffer
DONE, PAUSED, STUCK, FAILED = range(4)


class _Channel(ctypes.Structure):
    _fields_ = [("words", ctypes.c_void_p), ("room", ctypes.c_uint64), ("done", ctypes.c_uint64),
                ("owed", ctypes.c_uint64), ("shift", ctypes.c_uint32), ("kinds", ctypes.c_uint32)]


class _Exchange(ctypes.Structure):
    _fields_ = [("channels", ctypes.POINTER(_Channel)), ("drain", ctypes.c_uint64), ("idle", ctypes.c_uint64),
                ("cycles", ctypes.c_uint64)]


class Compiled(Engine):
    """Simulates millions of cycles a second, after a build of some seconds that is cached by content.

    A failed ``Assert`` in the design raises :exc:`AssertionError`, as in Amaranth's simulator.

    Parameters
    ----------
    cache
        Folder of compiled designs; by default ``aerloom`` in the user's cache folder.
    quick
        The modules of the design stay apart. A chip of several cores, or a hundred lanes, is built in a fraction of the
        time, which otherwise grows faster than the design, for a fifth of the cycles a second.
    """

    def __init__(self, dut: wiring.Component, *, cache: Path | str | None = None, quick: bool = False, **options: Any):
        super().__init__(dut, **options)
        self._library = _load(_library(dut, [*self.inputs, *self.outputs], cache, quick))
        self._simulation = ctypes.c_void_p(
            self._library.sim_open(len(self.inputs), stall_level(self.stall), self.seed, self.budget))
        self._free = weakref.finalize(self, self._library.sim_close, self._simulation)  # at the latest with this object
        self._buffers = {port.name: np.zeros((max(1, TAKEN_AT_ONCE // _chunks(port)), _chunks(port)), np.uint32)
                         for port in self.outputs}

    @staticmethod
    def unavailable() -> str | None:
        return None if build.compiler() else build.NO_COMPILER

    def _exchange(self, send: Mapping[str, Words], expect: Mapping[str, int], drain: int) -> Mapping[str, Words]:
        rows = {port.name: _to_rows(port, send[port.name]) for port in self.inputs}
        taken: dict[str, list[NDArray[np.uint32]]] = {port.name: [] for port in self.outputs}
        channels = (_Channel * (len(rows) + len(taken)))(
            *(_Channel(row.ctypes.data, len(row)) for row in rows.values()),
            *(_Channel(buffer.ctypes.data, len(buffer), 0, expect.get(name, 0), *self.counted.get(name, EVERY_WORD))
              for name, buffer in self._buffers.items()))
        inputs, outputs = channels[:len(rows)], channels[len(rows):]
        exchange = _Exchange(channels, drain)
        before = self.cycles

        outcome = PAUSED
        while outcome == PAUSED:  # several times a second, so that Ctrl-C gets through and progress shows
            outcome = self._library.sim_run(self._simulation, ctypes.byref(exchange))
            self.cycles = before + exchange.cycles
            for (name, buffer), channel in zip(self._buffers.items(), outputs, strict=True):
                taken[name].append(buffer[:channel.done].copy())
                channel.done = 0
            if self.progress:
                self.progress(sum(channel.done for channel in inputs))
        if outcome == STUCK:
            raise Stuck.after(exchange.idle,
                              {name: c.room - c.done for name, c in zip(rows, inputs, strict=True)},
                              {name: c.owed for name, c in zip(taken, outputs, strict=True)})
        if outcome == FAILED:
            raise AssertionError(self._library.sim_failure(self._simulation).decode(errors="replace"))
        return {port.name: _from_rows(port, np.concatenate(taken[port.name])) for port in self.outputs}

    def close(self) -> None:
        super().close()
        self._free()


def _library(dut: wiring.Component, ports: list[Port], cache: Path | str | None, quick: bool) -> Path:
    driver, convert = DRIVER.read_text(), f"write_cxxrtl -g0 {'-noflatten' if quick else ''}"
    command = build.compiler()
    if not command:
        raise AerloomError(build.NO_COMPILER)
    name = build.key(build.identity(dut), driver, build.yosys_version(), build.compiler_identity(command), convert, *FLAGS)

    def make(work: Path) -> Path:
        model = build.yosys(build.EMPTY_MEMORY.sub("", build.design(dut)), convert)
        (work / "model.cc").write_text(model)
        (work / "ports.inc").write_text(_port_table(model, ports, quick))
        build.compile_cxx(command, [*FLAGS, f"-I{build.cxxrtl_headers()}", "-I.", str(DRIVER), "-o", "design.so"], work)
        return work / "design.so"

    return build.cached(cache, f"{name}.so", make)


def _port_table(model: str, ports: list[Port], quick: bool) -> str:
    def member(port: Port, wire: str) -> str:
        name = f"{port.name}__{wire}".replace("_", "__")  # as CXXRTL writes underscores
        return f"top.p_{name}"

    rows = (f"Stream({', '.join(member(port, wire) for wire in ('valid', 'ready', 'payload'))})" for port in ports)
    clock = f"#define CLOCK top.p_clk{'' if quick else ', top.prev_p_clk'}\n" if "prev_p_clk" in model else ""
    return f"#define STREAMS {', '.join(rows)}\n{clock}"


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.sim_open.argtypes = [ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint64]
    library.sim_open.restype = ctypes.c_void_p
    library.sim_run.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Exchange)]
    library.sim_failure.argtypes = library.sim_close.argtypes = [ctypes.c_void_p]
    library.sim_failure.restype = ctypes.c_char_p
    library.sim_close.restype = None
    return library


def _chunks(port: Port) -> int:
    return (port.width + 31) // 32


def _to_rows(port: Port, words: Words) -> NDArray[np.uint32]:
    if isinstance(words, np.ndarray):
        return words.reshape(-1, 1)
    size = 4 * _chunks(port)
    data = b"".join(word.to_bytes(size, "little") for word in words)
    return np.frombuffer(data, np.uint32).reshape(-1, _chunks(port))


def _from_rows(port: Port, rows: NDArray[np.uint32]) -> Words:
    if port.width <= 32:
        return rows.reshape(-1)
    data, size = rows.tobytes(), 4 * _chunks(port)
    return [int.from_bytes(data[start:start + size], "little") for start in range(0, len(data), size)]
