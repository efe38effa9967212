"""A spiking network: inputs, populations of neurons, and the projections between them.

The same records hold a trained network (floating point) and a quantised one (integers); :func:`golden.run` runs both.
Time is discrete. Population P receives in step t, over all projections Q→P with delay δ and weights W,

    a_P[t] = Σ W · s_Q[t − δ]

and :func:`aerloom.models.golden.fire` says what it does with it. Every cycle holds a projection with δ ≥ 1.
"""

from __future__ import annotations

import dataclasses
import graphlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .files import read_arrays, write_arrays
from .text import counted
from .window import Window

DECAY_ONE = 4096  #: an integer decay factor that keeps everything
FORMAT = 1  #: version of the file format

Value = float | int | NDArray[Any]  #: one value for a population, or an array with one per neuron

#: Parameters that may be given per neuron
PER_NEURON = ("decay_v", "decay_i", "bias", "threshold", "reset_by", "reset_to", "v0", "min_v", "max_v")
RESETS = ("subtract", "value", "none")


@dataclass(frozen=True)
class Input:
    """Spikes from outside: ``shape`` neurons, each of which may send up to ``max_spikes`` spikes per step."""

    name: str
    shape: tuple[int, ...]
    max_spikes: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _shape(self.name, self.shape))
        if self.max_spikes < 1:
            raise AerloomError(f"{self.name}: max_spikes of an input must be at least 1, not {self.max_spikes}")

    @property
    def size(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons that follow one rule. The defaults make an integrate-and-fire neuron.

    Decay factors are 0 … 4096 (4096ths) in an integer network and 0 … 1 in a floating-point one. Where a parameter may
    be an array, it has one value per neuron; an array of equal values is folded to that value.
    """

    name: str
    shape: tuple[int, ...]
    decay_v: Value | None = None  #: factor of the membrane per step; None: nothing leaks, integrate and fire
    decay_i: Value | None = None  #: factor of the synaptic current per step; None: no synaptic filter
    bias: Value = 0  #: added to the membrane in every step
    bias_at: str = "membrane"  #: "current": the bias goes through the synaptic filter instead
    threshold: Value = 1  #: a neuron spikes when v ≥ threshold
    reset: str = "subtract"  #: "subtract": v − reset_by·s; "value": reset_to; "none": a readout, no spikes
    reset_by: Value | None = None  #: None: the threshold
    reset_to: Value = 0
    reset_delay: int = 0  #: 1: the reset acts after the leak and input of the next step (snnTorch's default)
    max_spikes: int = 1  #: several spikes per step: min(v // threshold, max_spikes)
    refractory: int = 0  #: steps after a spike in which v is held and no spike is sent
    v0: Value = 0  #: membrane at the start of a sample
    min_v: Value | None = None  #: the membrane is clipped to min_v … max_v once per step; None: state range
    max_v: Value | None = None
    rounding: str = "floor"  #: how an integer decay rounds: "floor", or "trunc" (toward zero)
    strict: bool = False  #: floating point only: spike when v > threshold (integers: threshold + 1)
    shift: int = 0  #: integer only: weights count 2**shift each on the membrane's scale

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "shape", _shape(self.name, self.shape))
        if self.reset_by is None:
            put(self, "reset_by", self.threshold)
        for name in PER_NEURON:
            put(self, name, self._fold(name, getattr(self, name)))
        for name, allowed in (("reset", RESETS), ("rounding", ("floor", "trunc")), ("reset_delay", (0, 1)),
                              ("bias_at", ("membrane", "current"))):
            if (value := getattr(self, name)) not in allowed:
                raise AerloomError(f"{self.name}: {name} must be one of {allowed}, not {value!r}")
        for name, low, high in (("max_spikes", 1, 255), ("refractory", 0, 65535), ("shift", 0, 7)):
            if not low <= (value := getattr(self, name)) <= high:
                raise AerloomError(f"{self.name}: {name} must be in {low} … {high}, not {value!r}")
        if self.reset_delay and self.refractory:
            raise AerloomError(f"{self.name}: refractory steps need reset_delay = 0: v is held while the reset is due")
        if self.max_spikes > 1 and np.any(np.asarray(self.threshold) <= 0):
            raise AerloomError(f"{self.name}: several spikes per step need a threshold above 0")

    def _fold(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise AerloomError(f"{self.name}: {name} must be a number or an array of numbers, not {value!r}")
        if not np.all(np.isfinite(array)):
            raise AerloomError(f"{self.name}: {name} holds NaN or infinity; the training diverged or the file is broken")
        if array.size not in (1, self.size):
            raise AerloomError(f"{self.name}: {name} must have 1 or {self.size} values, not {array.size}")
        flat = array.reshape(-1)
        return flat[0].item() if np.all(flat == flat[0]) else flat

    @property
    def size(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)

    @property
    def spiking(self) -> bool:
        """False for a readout, which integrates and never spikes."""
        return self.reset != "none"


@dataclass(frozen=True, eq=False)
class Projection:
    """Weights from the neurons of ``source`` to those of ``target``; a spike counts ``delay`` steps after it was sent.

    The number of dimensions of ``weights`` says how they connect:

    * 2, dense: ``(target.size, source.size)``
    * 1, one to one: ``(size,)``
    * 4, a convolution: ``(out channels, channels per group, y, x)`` over ``window``, whose shape is the source's

    With ``pool``, the spikes are summed over those windows of each channel of the source first.
    """

    source: str
    target: str
    weights: NDArray[Any]
    delay: int = 0
    window: Window | None = None
    pool: Window | None = None

    def __post_init__(self) -> None:
        for name in ("window", "pool"):
            if isinstance(stored := getattr(self, name), Mapping):  # as a file has it
                object.__setattr__(self, name, Window(**stored))
        weights = np.asarray(self.weights)
        object.__setattr__(self, "weights", weights)
        if weights.dtype.kind not in "if" or weights.ndim not in (1, 2, 4) or not weights.size:
            raise AerloomError(f"{self}: weights must be a matrix of numbers, not {weights.dtype} {weights.shape}")
        if not np.all(np.isfinite(weights)):
            raise AerloomError(f"{self}: weights hold NaN or infinity; the training diverged or the file is broken")
        if self.delay < 0:
            raise AerloomError(f"{self}: delay must be 0 or more steps, not {self.delay}")
        if (weights.ndim == 4) != (self.window is not None):
            raise AerloomError(f"{self}: weights of 4 dimensions, and no others, need a window")
        if self.window:
            outs, inputs, *kernel = weights.shape
            if tuple(kernel) != self.window.kernel or self.window.shape[0] % inputs or outs % self.groups:
                raise AerloomError(f"{self}: weights {weights.shape} do not fit a window of {self.window.kernel} over "
                                   f"{self.window.shape[0]} channels")
        if self.pool and math.prod((self.pool.shape[0], *self.pool.size)) != self._sources:
            raise AerloomError(f"{self}: pooling leaves {(self.pool.shape[0], *self.pool.size)} of the source, "
                               f"but the weights take {counted(self._sources, 'neuron')}")

    def __str__(self) -> str:
        return f"{self.source} → {self.target}"

    @property
    def groups(self) -> int:
        """Groups of channels that a convolution connects."""
        return 1 if self.window is None else self.window.shape[0] // self.weights.shape[1]

    @property
    def _sources(self) -> int:
        """What the weights take: source neurons, after pooling."""
        return math.prod(self.window.shape) if self.window else self.weights.shape[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """Neurons of the target and of the source."""
        targets = self.weights.shape[0] * (math.prod(self.window.size) if self.window else 1)
        return targets, math.prod(self.pool.shape) if self.pool else self._sources

    @cached_property
    def fanout(self) -> NDArray[np.int64]:
        """Weights that a spike of each source neuron adds to sums, ``(source,)``."""
        if self.window:
            reached = np.full((self.window.shape[0], *self.window.size), self.weights.shape[0] // self.groups)
            out = self.window.count(reached)
        else:
            out = np.full(self._sources, self.weights.shape[0] if self.weights.ndim == 2 else 1, np.int64)
        return self.pool.count(out.reshape(self.pool.shape[0], *self.pool.size)) if self.pool else out

    @cached_property
    def largest(self) -> int:
        """The largest absolute sum of integer weights into a neuron, when every source neuron spikes once."""
        weights = np.abs(self.weights.astype(np.int64)).reshape(len(self.weights), -1)
        return int(weights.sum(axis=1).max()) * (self.pool.area if self.pool else 1)

    def matrices(self, kind: Any) -> list[NDArray[Any]]:
        """The weights in a type, ready for a matrix product ``(source, target)``; a convolution's are one per group."""
        if (cached := self._matrices.get(kind)) is None:
            groups = self.weights.reshape(self.groups, -1, math.prod(self.weights.shape[1:]))
            cached = self._matrices[kind] = [np.ascontiguousarray(g.T, kind) for g in groups]
        return cached

    @cached_property
    def _matrices(self) -> dict[Any, list[NDArray[Any]]]:
        return {}


@dataclass(frozen=True, eq=False)
class Network:
    """Inputs, populations and projections; checked as a whole when it is made.

    ``outputs`` are the populations whose spikes (or membranes, for a readout) are the answer. ``state_bits`` is the
    state range of an integer network: v and i are clipped to that many bits. ``meta`` is carried along and saved.

    Raises :class:`AerloomError` with the name of what does not fit.
    """

    inputs: tuple[Input, ...]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    outputs: tuple[str, ...] = ()
    state_bits: int = 18
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("inputs", "populations", "projections", "outputs"):
            put(self, name, tuple(getattr(self, name)))
        if not self.inputs or not self.populations:
            raise AerloomError("a network needs at least one input and one population")
        names = [*(i.name for i in self.inputs), *(p.name for p in self.populations)]
        if twice := {n for n in names if names.count(n) > 1}:
            raise AerloomError(f"names must be unique; {', '.join(sorted(twice))} occurs twice")
        if not self.outputs:
            put(self, "outputs", (self.populations[-1].name,))
        for name in self.outputs:
            if name not in self.population:
                raise AerloomError(f"output {name!r} is not a population; there are {', '.join(self.population)}")
        for p in self.projections:
            if p.source not in self.sources or p.target not in self.population:
                raise AerloomError(f"{p}: there is no such {'target' if p.source in self.sources else 'source'}")
            source = self.sources[p.source]
            if p.shape != (shape := (self.population[p.target].size, source.size)):
                raise AerloomError(f"{p}: weights must connect {shape} (target, source), not {p.shape}")
            if isinstance(source, Population) and not source.spiking:
                raise AerloomError(f"{p}: {p.source} is a readout (reset 'none') and sends no spikes")
        for population in self.populations:
            if not self.into(population.name):
                raise AerloomError(f"{population.name}: nothing projects into it, so it would never take a step")
        _ = self.order  # raises for a cycle without delay
        coding = self.meta.get("encoding", {})
        if not isinstance(coding, Mapping) or not isinstance(coding.get("name", ""), str) or not isinstance(
                coding.get("steps", 1), int):
            raise AerloomError(f"meta: encoding must have a name, and steps in a whole number, not {coding!r}")
        self._check_ranges()

    def _check_ranges(self) -> None:
        decays = (0, DECAY_ONE) if self.is_integer else (0, 1)
        states = self.state_range if self.is_integer else (-np.inf, np.inf)
        for p in self.populations:
            if p.shift and not self.is_integer:
                raise AerloomError(f"{p.name}: shift is for integer networks alone")
            for name in PER_NEURON:
                value = getattr(p, name)
                if value is None:
                    continue
                if self.is_integer and np.asarray(value).dtype.kind == "f":
                    raise AerloomError(f"{p.name}: {name} must be integer, like the weights; quantize makes it so")
                a, b = decays if name.startswith("decay") else states
                if np.any(np.asarray(value) < a) or np.any(np.asarray(value) > b):
                    raise AerloomError(f"{p.name}: {name} must be in {a} … {b}, not {np.min(value)} … {np.max(value)}")

            if self.is_integer and p.reset == "subtract" and not p.reset_delay:
                by, threshold = np.asarray(p.reset_by), np.asarray(p.threshold)
                if by.min() < 0 or p.max_spikes * (threshold - by).min() < states[0]:
                    raise AerloomError(
                        f"{p.name}: reset_by must be at least 0, and small enough that no reset leaves the state range; "
                        f"not {by.min()} … {by.max()} with a threshold from {threshold.min()} on"
                    )

    @cached_property
    def population(self) -> dict[str, Population]:
        """Populations by name."""
        return {p.name: p for p in self.populations}

    def find(self, name: str) -> Population:
        """The population called ``name``; raises :class:`AerloomError` naming those there are."""
        if name not in self.population:
            raise AerloomError(f"{name!r} is not a population; there are {', '.join(self.population)}")
        return self.population[name]

    @cached_property
    def sources(self) -> dict[str, Input | Population]:
        """Everything that sends spikes, by name: inputs first."""
        return {i.name: i for i in self.inputs} | {p.name: p for p in self.populations}

    @property
    def is_integer(self) -> bool:
        """True for a quantised network."""
        return all(p.weights.dtype.kind == "i" for p in self.projections)

    @property
    def state_range(self) -> tuple[int, int]:
        """Smallest and largest value of an integer state."""
        return -(1 << self.state_bits - 1), (1 << self.state_bits - 1) - 1

    def into(self, name: str) -> list[Projection]:
        """The projections into a population."""
        return [p for p in self.projections if p.target == name]

    @cached_property
    def order(self) -> list[str]:
        """Names of the populations such that no projection without delay leads back."""
        graph = graphlib.TopologicalSorter[str]({p.name: [] for p in self.populations})
        for p in self.projections:
            if p.delay == 0 and p.source in self.population:
                graph.add(p.target, p.source)
        try:
            return list(graph.static_order())
        except graphlib.CycleError as e:
            raise AerloomError(f"the cycle {' → '.join(e.args[1][::-1])} needs a projection with delay ≥ 1") from None

    @cached_property
    def hash(self) -> str:
        """Digest of everything that decides the network's behaviour."""
        digest = hashlib.sha256()
        header, arrays = self._flatten()
        header.pop("meta")
        digest.update(json.dumps(header, sort_keys=True).encode())
        for name in sorted(arrays):
            digest.update(name.encode() + str(arrays[name].dtype).encode() + np.ascontiguousarray(arrays[name]).tobytes())
        return digest.hexdigest()[:16]

    def replace(self, **changes: Any) -> Network:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    # --- files

    def _flatten(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {}

        def record(item: Any, place: str) -> dict[str, Any]:
            out = {}
            for f in dataclasses.fields(item):
                value = getattr(item, f.name)
                if isinstance(value, np.ndarray):
                    arrays[f"{place}.{f.name}"] = value
                else:
                    out[f.name] = dataclasses.asdict(value) if isinstance(value, Window) else value
            return out

        header: dict[str, Any] = {
            kind: [record(item, f"{kind}.{n}") for n, item in enumerate(getattr(self, kind))]
            for kind in ("inputs", "populations", "projections")
        }
        header |= {"outputs": list(self.outputs), "state_bits": self.state_bits, "meta": self.meta}
        return header, arrays

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to ``path`` (a NumPy archive without pickles); all of it or nothing."""
        header, arrays = self._flatten()
        text = json.dumps({"aerloom": FORMAT, **header}).encode()
        write_arrays(path, {"network": np.frombuffer(text, np.uint8), **arrays})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """The network in ``path``; raises :class:`AerloomError` for a file that is not a whole aerloom network."""
        what, advice = "an aerloom network", "import, convert or quantize it again, or give a whole copy of the file"
        arrays = read_arrays(path, what, advice)
        if not isinstance(arrays, dict) or "network" not in arrays:
            raise AerloomError(f"{path}: not {what}: it holds other arrays")
        try:
            header = json.loads(arrays["network"].tobytes())
            if header.pop("aerloom") != FORMAT:
                raise AerloomError("made by a newer aerloom than this one; update aerloom")
            kinds = {"inputs": Input, "populations": Population, "projections": Projection}
            parts: dict[str, Any] = {kind: [] for kind in kinds}
            for kind, make in kinds.items():
                for n, fields in enumerate(header.pop(kind)):
                    stored = {k.rsplit(".", 1)[1]: a for k, a in arrays.items() if k.startswith(f"{kind}.{n}.")}
                    parts[kind].append(make(**fields, **stored))
            return cls(**parts, **header)
        except AerloomError as e:
            raise AerloomError(f"{path}: {e}") from None
        except Exception:  # whatever a header leads to that is not ours, or not whole
            raise AerloomError(f"{path}: not {what}, or damaged: its parts do not fit together; {advice}") from None


def _shape(name: str, shape: Iterable[int]) -> tuple[int, ...]:
    out = tuple(int(n) for n in (shape if isinstance(shape, Iterable) else (shape,)))
    if not out or any(n < 1 for n in out):
        raise AerloomError(f"{name}: shape must be positive numbers, not {shape!r}")
    return out
