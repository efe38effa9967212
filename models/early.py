"""Early exit: the answer of a sample as soon as it is decided, or as its lead is large enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import AerloomError
from .network import Network

__all__ = ["DECIDED", "Exit", "Exits"]

Array = NDArray[Any]
DECIDED = "decided"


@dataclass(frozen=True)
class Exits:
    """When samples were left, and with which answer: arrays ``(batch,)``."""

    classes: NDArray[np.int64]
    steps: NDArray[np.int64]  #: steps that were run


class Exit:
    """When to leave samples of ``steps`` steps: a class is the neuron of the first output with most spikes, the first of
    equals.

    ``when`` is ``"decided"``: when no other neuron can catch up any more, even if it sends as many spikes as it can in
    every step that remains; the answers are those of all steps. Or a number: also when the first has so many spikes more
    than the second; those answers may be others.

    Raises :class:`AerloomError` for another ``when``, and where the first output does not spike.
    """

    def __init__(self, network: Network, steps: int, when: str | int = DECIDED) -> None:
        population = network.population[network.outputs[0]]
        if not population.spiking:
            raise AerloomError(f"{population.name!r} does not spike: its answer is its membrane at the end, not earlier")
        if when != DECIDED and (not isinstance(when, int) or isinstance(when, bool) or when < 1):
            raise AerloomError(f"a sample is left when it is {DECIDED!r}, or at a lead of 1 spike or more, not {when!r}")
        self.output, self.steps = population.name, steps
        self.margin = None if when == DECIDED else int(when)
        pause = population.refractory + 1  # a spike, and the steps in which there is none after it
        remaining = np.arange(steps - 1, -1, -1)
        self.reach = -(-remaining // pause) * population.max_spikes  #: spikes that a neuron can still send after each step

    def leaves(self, counts: Array, step: int) -> NDArray[np.bool_]:
        """Whether samples with these spikes per neuron ``(…, neurons)`` are left after ``step`` (from 0 on)."""
        first = counts.argmax(axis=-1)
        neurons = np.arange(counts.shape[-1])
        lead = np.take_along_axis(counts, first[..., None], -1) - counts
        tie = neurons < first[..., None]  # of equals the first: these need to catch up, the others to overtake
        safe = (lead > self.reach[step]) | (~tie & (lead == self.reach[step])) | (neurons == first[..., None])
        out = safe.all(axis=-1)
        if self.margin is not None:
            out |= ((lead >= self.margin) | (neurons == first[..., None])).all(axis=-1)
        return np.asarray(out)

    def exits(self, spikes: Array) -> Exits:
        """For the output's spikes ``(batch, steps, neurons)`` of all steps."""
        counts = np.cumsum(spikes, axis=1, dtype=np.int64)
        left = np.stack([self.leaves(counts[:, t], t) for t in range(self.steps)], axis=1)
        at = left.argmax(axis=1)  # the last step always leaves
        classes = np.take_along_axis(counts, at[:, None, None], 1)[:, 0].argmax(axis=-1)
        return Exits(classes, at + 1)
