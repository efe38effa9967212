"""What the neurons of a file mean: the rules of each framework, by name.

A NIR file fixes neither the time step, nor how the differential equation becomes steps, nor how a neuron is reset; each
framework does it in its own way. A :class:`Semantics` says it all, and :func:`rule` turns the parameters of a node into
those of a :class:`~aerloom.models.network.Population`. The presets were recovered from the frameworks, spike for spike
(tests/frameworks).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .graph import Node

SEVERAL = 15  #: spikes per step where a framework sets no limit: what four bits hold
NIR_DT = 1e-4  #: time step in seconds that most exporters have in mind


@dataclass(frozen=True)
class Semantics:
    """How the neurons of a graph run. ``None`` where the node decides (see :func:`rule`)."""

    name: str
    decay: str = "euler"  #: factor of a step: "euler" 1 − dt/τ, or "exp" e^(−dt/τ)
    gain: str | None = "euler"  #: of the input: "euler" dt/τ · r, "norm" (1 − factor) · r, "one" 1
    dt: float | None = NIR_DT  #: seconds (or the unit of τ) of a step
    reset: str = "value"  #: "value": to v_reset; "subtract" the threshold
    reset_delay: int | None = 0  #: 1: the reset acts in the next step
    compare: str = ">"  #: of the membrane with the threshold: ">" or ">="
    max_spikes: int = 1  #: per step; more need reset "subtract"
    spike_delay: int = 0  #: steps that a spike takes to the next layer
    bias_delay: int = 0  #: steps after which biases begin to act
    v_reset: float | None = None  #: what reset "value" resets to, instead of what the file says
    v0: str = "zero"  #: the membrane starts at "zero", "leak" (v_leak) or "reset" (v_reset)
    min_v: float | None = None  #: the membrane is clipped there
    rounding: str = "floor"  #: of decays, when the network becomes integer

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[Any, ...]] = {
            "decay": ("euler", "exp"), "gain": (None, "euler", "norm", "one"), "reset": ("value", "subtract"),
            "reset_delay": (None, 0, 1), "compare": (">", ">="), "v0": ("zero", "leak", "reset"),
            "rounding": ("floor", "trunc"),
        }
        for name, values in allowed.items():
            if (value := getattr(self, name)) not in values:
                raise AerloomError(f"semantics: {name} must be one of {values}, not {value!r}")
        for name, low in (("max_spikes", 1), ("spike_delay", 0), ("bias_delay", 0)):
            if not isinstance(value := getattr(self, name), int) or not low <= value <= 255:
                raise AerloomError(f"semantics: {name} must be a whole number in {low} … 255, not {value!r}")
        if self.dt is not None and not (isinstance(self.dt, int | float) and 0 < self.dt < float("inf")):
            raise AerloomError(f"semantics: dt must be a time above 0, not {self.dt!r}")

    def describe(self) -> str:
        """The rule in words."""
        factor = "1 − dt/τ" if self.decay == "euler" else "e^(−dt/τ)"
        reset = "subtracts the threshold" if self.reset == "subtract" else "goes to v_reset"
        late = {0: "at once", 1: "one step later", None: "when the framework does"}[self.reset_delay]
        return (f"decay {factor}, dt {'from the file' if self.dt is None else f'{self.dt:g}'}, spike at v {self.compare} "
                f"threshold, reset {reset} {late}, at most {self.max_spikes} a step, "
                f"{self.spike_delay} steps from layer to layer")


PRESETS = {
    s.name: s
    for s in (
        Semantics("nir"),  # the text of the specification, with forward Euler
        Semantics("snntorch", reset="subtract", reset_delay=None),
        Semantics("norse", dt=None, v0="leak"),
        Semantics("spikingjelly", compare=">=", v0="reset"),
        Semantics("sinabs", decay="exp", gain=None, dt=None, reset="subtract", compare=">=", max_spikes=SEVERAL),
        Semantics("rockpool", decay="exp", gain=None, dt=None, reset="subtract", compare=">=", max_spikes=SEVERAL),
        Semantics("lava", spike_delay=1, rounding="trunc"),
        Semantics("nengo"),
        Semantics("spyx", reset="subtract", spike_delay=1, bias_delay=1),
    )
}
DEFAULT = "nir"

HELD = ("with reset_delay=False snnTorch holds a spike back where the membrane is above the threshold even after its reset "
        "(it crossed twice the threshold); here it spikes")


def semantics(name: str | Semantics | None, **changes: Any) -> Semantics:
    """The semantics of that name (default: the NIR text with forward Euler), with some fields changed."""
    chosen = name if isinstance(name, Semantics) else PRESETS.get(DEFAULT if name is None else str(name))
    if chosen is None:
        raise AerloomError(f"no semantics is called {name!r}; there are {', '.join(PRESETS)}")
    known = {f.name for f in dataclasses.fields(Semantics)} - {"name"}
    if unknown := changes.keys() - known:
        raise AerloomError(f"semantics have no {sorted(unknown)[0]!r}; there are {', '.join(sorted(known))}")
    return dataclasses.replace(chosen, **changes)


@dataclass(frozen=True)
class Neuron:
    """A node's rule: what of it goes into the population, and what into the projections into it."""

    population: dict[str, Any]  #: fields of a Population
    gain: Any = 1.0  #: the weights into it are multiplied by this
    said: tuple[str, ...] = ()  #: what a user should know
    approximated: tuple[str, ...] = ()  #: where it is not what the framework does


def rule(node: Node, s: Semantics, recurrent: bool = False) -> Neuron:
    """The rule of a neuron under some semantics; ``recurrent``: it projects to itself.

    The equations of NIR are τ dv/dt = v_leak − v + r I, and with a synaptic filter τ_syn di/dt = −i + w_in S; by forward
    Euler: v ← (1 − dt/τ) v + dt/τ (v_leak + r I). Where a framework does it in another way, its name is in this function.
    """
    if node.kind == "Population":  # known exactly, from a live module
        return Neuron(dict(node.fields["population"]), node.fields.get("gain", 1.0),
                      approximated=node.fields.get("approximated", ()))
    if node.kind == "Threshold":
        v = {"decay_v": 0.0, "threshold": node.fields["threshold"], "reset": "value", "strict": s.compare == ">"}
        return Neuron(v, 1.0)
    get = {name: None if value is None else np.asarray(value, np.float64) for name, value in node.fields.items()
           if name != "type"}.get
    said: list[str] = []
    one: NDArray[Any] = np.asarray(1.0)
    r, leak = _or(get("r"), 1.0), _or(get("v_leak"), 0.0)
    tau, tau_syn = get("tau") if node.kind in ("LI", "LIF") else get("tau_mem"), get("tau_syn")
    for name, value in (("tau", tau), ("tau_syn", tau_syn)):
        if value is not None and np.any(value <= 0):
            raise AerloomError(f"{node}: {name} must be above 0, not {value.min():g}")
    out: dict[str, Any] = {"rounding": s.rounding}
    bias: Any = 0.0
    if tau is None:  # nothing leaks
        steps = s.dt if s.dt is not None else NIR_DT
        gain = r * steps if np.allclose(r * steps, 1, rtol=1e-3) else r  # r = 1/dt: written per second
    else:
        dt = _dt(node, s, tau, r, said)
        k = dt / tau
        keep = _keep(node, s.decay, k)
        out["decay_v"] = keep
        gain = _gain(node, s, k, keep, r, dt)
        bias = (1 - keep) * leak
        if tau_syn is not None:
            fraction = dt / tau_syn
            keep_i = out["decay_i"] = _keep(node, s.decay, fraction)
            if s.name == "norse":  # v sees the current before it decays, and the specification's gain is not applied
                pass
            elif s.name == "rockpool":  # the input decays with the current it joins
                gain = keep_i
            else:
                gain = gain * fraction * _or(get("w_in"), 1.0)
    out["bias"] = _clean(bias)
    if node.kind in ("I", "LI", "CubaLI"):
        return Neuron(out | {"reset": "none"}, _clean(gain), tuple(said))
    threshold, v_reset = _or(get("v_threshold"), 1.0), _or(get("v_reset"), 0.0)
    v_reset = v_reset if s.v_reset is None else np.asarray(s.v_reset, float)
    delay = s.reset_delay
    if delay is None:  # snnTorch: a Leaky resets to zero before it decays, which is the same as at once
        delay = 0 if s.reset == "value" and not (recurrent or tau_syn is not None) else 1
    if s.reset == "subtract" and np.any(v_reset != 0):
        said.append(f"{node}: v_reset is not used, for the reset subtracts the threshold")
    if np.any(threshold <= 0) and s.max_spikes > 1:
        raise AerloomError(f"{node}: several spikes per step need a threshold above 0; give max_spikes=1")
    out |= {
        "threshold": threshold, "reset": s.reset, "reset_delay": delay, "strict": s.compare == ">" and s.max_spikes == 1,
        "reset_to": v_reset if s.reset == "value" else 0.0, "max_spikes": s.max_spikes, "min_v": s.min_v,
        "v0": {"zero": 0.0 * one, "leak": leak, "reset": v_reset}[s.v0],
    }
    held = s.name == "snntorch" and s.reset == "subtract" and not delay
    return Neuron(out, _clean(gain), tuple(said), (HELD,) if held else ())


def _or(value: Any, default: float) -> NDArray[np.float64]:
    return np.asarray(default if value is None else value, np.float64)


def _keep(node: Node, how: str, k: NDArray[Any]) -> NDArray[Any]:
    """Factor of a state per step of ``k`` time constants."""
    if how == "exp":
        return np.exp(-k)
    if np.any(k > 1 + 1e-6):
        raise AerloomError(f"{node}: a step of {k.max():.3g} time constants is too long for forward Euler; give a shorter "
                           "dt, or semantics with decay='exp'")
    return np.maximum(1 - k, 0.0)


def _gain(node: Node, s: Semantics, k: Any, keep: Any, r: Any, dt: float) -> Any:
    how = s.gain
    if how is None:  # sinabs and rockpool: their own files mean more than the gain they write
        own = dt == 1 if s.name == "sinabs" else np.allclose(k * r, keep, rtol=1e-4)
        how = "euler" if not own else "norm" if s.name == "sinabs" else "one"
    return {"euler": k * r, "norm": (1 - keep) * r, "one": np.ones_like(k)}[how]


def _clean(value: Any) -> Any:
    """Without the rounding of r = τ/dt, whose product with dt/τ was meant to be 1."""
    value = np.asarray(value)
    return np.where(np.abs(value - 1) < 1e-6, 1.0, value)


def _dt(node: Node, s: Semantics, tau: Any, r: Any, said: list[str]) -> float:
    """The time step: as given, or what the framework's own files have in mind."""
    if s.dt is not None:
        return s.dt
    if s.name == "norse":  # its files hold τ · dt, at its default dt of 1 ms
        dt = 1e-6 if tau.max() <= 2e-4 else NIR_DT
    elif s.name == "sinabs":  # its files hold τ in steps
        dt = 1.0 if tau.min() >= 1 else NIR_DT
    else:
        dt = rockpool_dt(tau, r) or NIR_DT
    said.append(f"{node}: dt {dt:g} from tau {tau.min():g} … {tau.max():g}, as {s.name} writes its files")
    return dt


def rockpool_dt(tau: Any, r: Any) -> float | None:
    """The dt that solves r = τ e^(−dt/τ) / dt, where it is the same round number for all neurons."""
    low, high = np.full_like(tau, -40.0), np.zeros_like(tau)  # log of dt/τ
    for _ in range(60):
        middle = (low + high) / 2
        above = np.exp(-np.exp(middle) - middle) > r
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    dt = np.exp(low) * tau
    nearest = float(f"{np.median(dt):.1e}")
    return nearest if np.allclose(dt, nearest, rtol=1e-3) else None


def hint(nodes: list[Node]) -> str | None:
    """The framework whose files have such fields, where they give it away."""
    for node in nodes:
        f = node.fields
        tau = f.get("tau", f.get("tau_mem"))
        r = f.get("r")
        if tau is None or r is None or np.any(np.asarray(tau) <= 0):
            continue
        tau, r = np.asarray(tau, np.float64), np.asarray(r, np.float64)
        if np.all(r == 1) and np.all(tau >= 1):
            return "sinabs"
        if np.all(r == 1) and tau.max() < 2e-4:
            return "norse"
        if np.all(r != 1) and rockpool_dt(tau, r):
            return "rockpool"
        if np.allclose(r * NIR_DT / tau, 1, rtol=1e-3):
            return "snntorch"
    return None
