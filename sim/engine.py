"""One way to run a component whose ports are streams, on every simulator: words in, words out.

>>> run(Counter(), {"i": [1, 2, 3]}, {"o": 3}, engine="compiled", stall=0.3)
{'o': [1, 3, 6]}
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from amaranth.hdl import Const, Shape, ShapeCastable
from amaranth.lib import stream, wiring
from numpy.typing import ArrayLike, NDArray

from aerloom.models.errors import AerloomError
from aerloom.sim.traffic import Counted

Words = NDArray[np.uint32] | list[int]  # payloads as raw bits: an array where they have at most 32, else a list

ENGINES = {
    "amaranth": "interpreted.Interpreted",  # Amaranth's own simulator: no build, thousands of cycles a second
    "compiled": "compiled.Compiled",        # CXXRTL as a shared library: seconds to build, millions of cycles a second
    "cocotb": "cosim.OnCxxrtl",             # cocotb on CXXRTL: from PyPI alone, with a C++ compiler
    "icarus": "cosim.OnIcarus",             # cocotb on Icarus Verilog: the Verilog that a synthesis tool would read
}


@dataclass(frozen=True)
class Port:
    """A stream among a component's members, and the shape of its payload."""

    name: str
    shape: Any

    @property
    def width(self) -> int:
        return int(Shape.cast(self.shape).width)

    def bits(self, value: Any) -> int:
        """The payload that Amaranth means by `value`: an int, an enum member, a dict for a struct."""
        if isinstance(self.shape, ShapeCastable):
            return int(Const.cast(self.shape.const(value)).value % 2**self.width)
        bits: int = int(value) % 2**self.width
        if self.value(bits) != int(value):
            raise AerloomError(f"a word for {self.name} must fit {self.shape!r}, which {value!r} does not")
        return bits

    def value(self, bits: int) -> Any:
        """What Amaranth makes of a payload: the inverse of :meth:`bits`."""
        if isinstance(self.shape, ShapeCastable):
            return self.shape.from_bits(bits)
        return bits - 2**self.width if Shape.cast(self.shape).signed and bits >> (self.width - 1) else bits

    def words(self, words: Any) -> Words:
        """`words` as an engine takes them. Raises :exc:`AerloomError` where one is no payload of this stream."""
        if self.width > 32:
            wide = [int(word) for word in words]
            if any(word < 0 or word >> self.width for word in wide):
                raise AerloomError(f"the words for {self.name} must be raw bits, {self.width} of them, from 0")
            return wide
        array = np.asarray(words)
        if not array.size:
            return np.zeros(0, np.uint32)
        if array.ndim != 1 or array.dtype.kind not in "ui" or array.min() < 0 or int(array.max()) >> self.width:
            raise AerloomError(f"the words for {self.name} must be a row of raw bits, {self.width} of them, from 0")
        return np.ascontiguousarray(array, np.uint32)


def streams(dut: wiring.Component) -> tuple[list[Port], list[Port]]:
    """The input and the output streams of a component, in the order of its members.

    Raises :exc:`AerloomError` where an engine would have to drive or heed anything else.
    """
    inputs: list[Port] = []
    outputs: list[Port] = []
    for name, member in dut.signature.members.items():
        if member.is_port and member.flow is wiring.Out:
            continue  # a plain output may be there, it is not looked at
        if member.is_port or member.dimensions or not isinstance(member.signature, stream.Signature):
            raise AerloomError(f"only streams can be simulated, and {name} of {type(dut).__name__} is none")
        port = Port(name, member.signature.members["payload"].shape)
        if member.signature.always_valid or member.signature.always_ready or not port.width:
            raise AerloomError(f"the stream {name} of {type(dut).__name__} must have valid, ready and a payload")
        (inputs if member.flow is wiring.In else outputs).append(port)
    return inputs, outputs


class Engine(ABC):
    """A component being simulated. Between calls of :meth:`exchange` its clock stands still.

    Parameters
    ----------
    dut
        Component with only streams as inputs, and the one clock domain ``sync``.
    counted
        For an output stream, ``(shift, kinds)``: only words with bit ``word >> shift & 7`` of `kinds` set are replies.
        Of the other streams every word is.
    stall, seed
        Probability that an input stream pauses, or an output stream is not ready, in a cycle; and which cycles.
    budget
        Cycles without any transfer after which :exc:`~aerloom.sim.traffic.Stuck` is raised.

    Attributes
    ----------
    cycles : int
        Clock cycles simulated so far. They depend on what is sent and on the options, not on the engine.
    progress
        Called a few times a second in long exchanges, by engines that can, with the number of words sent.
    """

    cycles: int = 0
    progress: Callable[[int], None] | None = None

    def __init__(self, dut: wiring.Component, *, counted: Mapping[str, Counted] | None = None, stall: float = 0.0,
                 seed: int = 0, budget: int = 100_000):
        if not 0 <= stall < 1:
            raise AerloomError(f"stall must be a probability below 1, not {stall!r}")
        self.inputs, self.outputs = streams(dut)
        self.counted, self.stall, self.seed, self.budget = dict(counted or {}), stall, seed % 2**64, budget
        self._known(self.counted, self.outputs, "output")
        self._usable = True

    @staticmethod
    def unavailable() -> str | None:
        """Why this engine cannot run here, or None."""
        return None

    def exchange(self, send: Mapping[str, ArrayLike | Sequence[int]], expect: Mapping[str, int], *,
                 drain: int = 0) -> dict[str, Words]:
        """Send words, and take words until the expected ones are there.

        Runs until every word of `send` is accepted and each output in `expect` has given that many counted words in
        this call, and then `drain` cycles more. Returns all the words of each output: a ``uint32`` array where
        payloads have at most 32 bits, a list of ints where they have more.

        Raises :exc:`~aerloom.sim.traffic.Stuck`. After any exception out of a running simulation, Ctrl-C included,
        words may be under way that nobody waits for: the engine then refuses to go on.
        """
        if not self._usable:
            raise AerloomError("this simulation was closed or broken off: open a new one")
        self._known(send, self.inputs, "input")
        self._known(expect, self.outputs, "output")
        words = {port.name: port.words(send.get(port.name, ())) for port in self.inputs}
        self._usable = False
        given = self._exchange(words, expect, drain)
        self._usable = True
        return {port.name: np.asarray(given[port.name], np.uint32) if port.width <= 32 else list(given[port.name])
                for port in self.outputs}

    def close(self) -> None:
        """End the simulation. May be called twice."""
        self._usable = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @abstractmethod
    def _exchange(self, send: Mapping[str, Words], expect: Mapping[str, int], drain: int) -> Mapping[str, Words]:
        """:meth:`exchange` with checked words for every input; has to return something for every output."""

    def _known(self, names: Mapping[str, object], ports: Sequence[Port], kind: str) -> None:
        unknown = sorted(set(names) - {port.name for port in ports})
        if unknown:
            has = ", ".join(port.name for port in ports) or "none"
            raise AerloomError(f"there is no {kind} stream {unknown[0]!r}; the component has: {has}")


def _engine(name: str) -> type[Engine]:
    if name not in ENGINES:
        raise AerloomError(f"there is no simulation engine {name!r}; there are: {', '.join(ENGINES)}")
    module, engine = ENGINES[name].split(".")
    found: type[Engine] = getattr(importlib.import_module(f"aerloom.sim.{module}"), engine)
    return found


def available(name: str) -> str | None:
    """Why the engine cannot run here, for the reader of a skipped test; None if it can."""
    return _engine(name).unavailable()


def open_engine(dut: wiring.Component, name: str, **options: Any) -> Engine:
    """Start simulating `dut` on the engine `name`; `options` are those of :class:`Engine`, and ``cache`` (a folder).

    Raises :exc:`AerloomError` for an unknown engine, and for one that cannot run here.
    """
    engine = _engine(name)
    if reason := engine.unavailable():
        raise AerloomError(reason)
    return engine(dut, **options)


def run(dut: wiring.Component, send: Mapping[str, Sequence[Any]], expect: Mapping[str, int], *,
        engine: str = "amaranth", drain: int = 0, **options: Any) -> dict[str, list[Any]]:
    """One exchange with a component fresh from reset, in Amaranth's terms: ints, enum members, dicts for structs."""
    with open_engine(dut, engine, **options) as simulation:
        ports = {port.name: port for port in (*simulation.inputs, *simulation.outputs)}
        bits = {name: [ports[name].bits(value) for value in values] if name in ports else values
                for name, values in send.items()}
        given = simulation.exchange(bits, expect, drain=drain)
        return {name: [ports[name].value(int(word)) for word in words] for name, words in given.items()}
