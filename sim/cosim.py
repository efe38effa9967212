"""The engines that cocotb drives: each is a simulator in a process of its own, running the test in bench.py."""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from aerloom.models.errors import AerloomError
from aerloom.sim import build
from aerloom.sim.engine import Engine, Words
from aerloom.sim.traffic import Stuck


class Cosimulation(Engine):
    """Simulates in another process, tens of thousands of cycles a second, after a build that is cached by content.

    The process ends with :meth:`close`, and by itself when this one is gone.

    Parameters
    ----------
    cache
        Folder of built simulators; by default ``aerloom`` in the user's cache folder.
    """

    def __init__(self, dut: wiring.Component, *, cache: Path | str | None = None, **options: Any):
        super().__init__(dut, **options)
        self._folder = tempfile.TemporaryDirectory(prefix="aerloom-")  # cocotb writes its results where it runs
        self._log = Path(self._folder.name, "log")
        answers, child_end = os.pipe()
        self._answers = os.fdopen(answers)
        try:
            with self._log.open("w") as log:
                self._process = subprocess.Popen(
                    self._command(self._build(build.design(dut), cache)), cwd=self._folder.name, env=_environment(),
                    stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, text=True, pass_fds=[child_end],
                    start_new_session=True)  # Ctrl-C is for this process, which then ends the other one
        finally:
            os.close(child_end)
        self._request(answers=child_end, traffic={
            "inputs": [port.name for port in self.inputs], "outputs": [port.name for port in self.outputs],
            "counted": self.counted, "stall": self.stall, "seed": self.seed, "budget": self.budget})

    @staticmethod
    def unavailable() -> str | None:
        missing = [name for name in ("cocotb", "find_libpython") if not importlib.util.find_spec(name)]
        if missing:
            return f"{missing[0]} is not installed: `pip install aerloom[test]`"
        import find_libpython
        return None if find_libpython.find_libpython() else "cocotb needs a Python with a shared libpython"

    @abstractmethod
    def _build(self, design: str, cache: Path | str | None) -> Path:
        """The simulator of a design, from the cache if it is there."""

    @abstractmethod
    def _command(self, simulator: Path) -> list[str]:
        """What starts it."""

    def _exchange(self, send: Mapping[str, Words], expect: Mapping[str, int], drain: int) -> Mapping[str, Words]:
        numbers = {name: list(map(int, words)) for name, words in send.items()}
        self._request(send=numbers, expect=dict(expect), drain=drain)
        line = self._answers.readline()
        if not line:
            raise self._died()
        answer = json.loads(line)
        self.cycles = answer["cycles"]
        if "stuck" in answer:
            raise Stuck(answer["stuck"])
        words: dict[str, Words] = answer["words"]
        return words

    def _request(self, **fields: Any) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(fields) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _died(self) -> AerloomError:
        self._process.wait()
        return AerloomError(f"the simulator ended early: {build.last_lines(self._log.read_text(errors='replace'))}")

    def close(self) -> None:
        finished = self._usable
        super().close()
        if not hasattr(self, "_process"):
            return
        if not finished:
            self._process.kill()
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._folder.cleanup()

    def __del__(self) -> None:
        if hasattr(self, "_usable"):
            self.close()


class OnCxxrtl(Cosimulation):
    """cocotb on CXXRTL, through the VPI that cxxrtl-vpi gives it. Needs nothing but a C++ compiler beside PyPI."""

    @staticmethod
    def unavailable() -> str | None:
        if not importlib.util.find_spec("cxxrtl_vpi"):
            return "cxxrtl_vpi is not installed: `pip install aerloom[test]`"
        return Cosimulation.unavailable() or (None if build.compiler() else build.NO_COMPILER)

    def _build(self, design: str, cache: Path | str | None) -> Path:
        import cxxrtl_vpi
        from cocotb_tools.config import libs_dir

        command = build.compiler()
        assert command  # see `unavailable`
        headers, vpi = build.cxxrtl_headers(), Path(cxxrtl_vpi.__file__).parent / "_cxx"
        flags = ["-std=c++17", "-O1", "-fPIC", "-DCXXRTL_VPI_COCOTB", "-DCXXRTL_NDEBUG",
                 f"-I{vpi / 'include'}", f"-I{headers}"]
        runtime_sources = [
            *(str(headers / "cxxrtl/capi" / name) for name in ("cxxrtl_capi.cc", "cxxrtl_capi_vcd.cc")),
            *(str(vpi / "src" / name) for name in ("model.cc", "vpi_provider.cc", "harness.cc"))]
        # "verilator" is the variant of cocotb's interface that leaves the VPI functions to the program
        libraries = [f"-L{libs_dir}", "-lcocotbvpi_verilator", "-lgpi", f"-Wl,-rpath,{libs_dir}", "-rdynamic"]
        versions = [build.yosys_version(), cxxrtl_vpi.__version__, build.compiler_identity(command)]

        def make_runtime(work: Path) -> Path:
            build.compile_cxx(command, [*flags, "-shared", *runtime_sources, "-o", "runtime.so"], work)
            return work / "runtime.so"

        def make(work: Path) -> Path:
            (work / "model.cc").write_text(build.yosys(design, "write_cxxrtl -g2"))
            build.compile_cxx(command, [*flags, "model.cc", str(runtime), *libraries, "-o", "simulator"], work)
            return work / "simulator"

        # Most of the C++ is the same for every design, and compiled once.
        runtime = build.cached(cache, f"{build.key(*versions, *flags, *runtime_sources)}.so", make_runtime).resolve()
        return build.cached(cache, f"{build.key(design, *versions, *flags, str(runtime), *libraries)}.cocotb", make)

    def _command(self, simulator: Path) -> list[str]:
        return [str(simulator)]


class OnIcarus(Cosimulation):
    """cocotb on Icarus Verilog, reading the Verilog that Amaranth writes."""

    @staticmethod
    def unavailable() -> str | None:
        if not (shutil.which("iverilog") and shutil.which("vvp")):
            return "Icarus Verilog (iverilog, vvp) is not on PATH"
        return Cosimulation.unavailable()

    def _build(self, design: str, cache: Path | str | None) -> Path:
        # Not -g2012: Yosys's Verilog counts on an initial value being an event that starts combinational blocks, and
        # in SystemVerilog it is none. They would keep unknown values, or worse, stale ones.
        command = ["iverilog", "-g2005", "-s", "top", "-o", "simulator.vvp", "top.v"]

        def make(work: Path) -> Path:
            verilog = build.yosys(design, "proc -nomux -norom", "memory_collect", "write_verilog -norename -noattr")
            (work / "top.v").write_text(verilog)
            result = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if result.returncode:
                raise AerloomError(f"Icarus Verilog failed: {build.last_lines(result.stdout)}")
            return work / "simulator.vvp"

        iverilog = Path(shutil.which("iverilog") or "").resolve()
        key = build.key(design, build.yosys_version(), build.compiler_identity([str(iverilog)]), *command)
        return build.cached(cache, f"{key}.vvp", make)

    def _command(self, simulator: Path) -> list[str]:
        from cocotb_tools.config import lib_entry
        return ["vvp", "-n", "-m", lib_entry("vpi", "icarus"), str(simulator), "-none"]


def _environment() -> dict[str, str]:
    """How cocotb is told, in the simulator's process, which Python and which test to run."""
    import find_libpython
    from cocotb_tools.config import pygpi_entry_point

    return os.environ | {
        "COCOTB_TOPLEVEL": "top",
        "COCOTB_TEST_MODULES": "aerloom.sim.bench",
        "TOPLEVEL_LANG": "verilog",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "GPI_USERS": f"{find_libpython.find_libpython()};{pygpi_entry_point()}",
    }
