"""In which order things happen within a step, and how long spikes with a delay have to be kept for that."""

from __future__ import annotations

import graphlib
import itertools
from dataclasses import dataclass

from .network import Network, Projection

#: Population that ticks on the host's side for those that no input reaches within a step
CLOCK = "clock"


@dataclass(frozen=True)
class Plan:
    """How the delays of a network come about.

    A spike of delay n is kept for ``held`` steps in a delay line of its source, n or n − 1 of them; in the second case
    (``late``) it is sent in the step before the one it counts in, which saves a step's memory.
    """

    held: dict[Projection, int]
    late: dict[Projection, bool]
    order: list[str]  #: inputs in the order in which the host sends them within a step; CLOCK leads, where one is needed
    clocked: set[str]  #: populations that CLOCK holds back

    def stages(self, source: str) -> int:
        """Steps that the delay line of a source holds; 0: it needs none."""
        return max((n for q, n in self.held.items() if q.source == source), default=0)


def plan(network: Network) -> Plan:
    """The shortest delay lines with which no step waits for itself.

    A step is sent when its listeners took the step before, or with late spikes this one. Where a step would so wait for
    itself, the late projections in question are kept in a delay line for that step too: a line takes its steps whatever
    others do.
    """
    late = {q: q.delay > 0 for q in network.projections}
    while True:
        held = {q: q.delay - late[q] for q in network.projections}
        graph: graphlib.TopologicalSorter[tuple[str, str]] = graphlib.TopologicalSorter()
        for name in network.sources:
            graph.add(("send", name), ("take", name))
        waits: dict[tuple[tuple[str, str], tuple[str, str]], list[Projection]] = {}
        for q in network.projections:
            line, take = "line" if held[q] else "send", ("take", q.target)
            send = (line, q.source)
            if not late[q]:
                graph.add(take, send)
            elif held[q] or q.source != q.target:
                graph.add(send, take)
                waits.setdefault((take, send), []).append(q)
        try:
            order = [name for what, name in graph.static_order() if what == "send"]
            break
        except graphlib.CycleError as e:
            around = list(e.args[1])
            for pair in itertools.pairwise(around):
                for q in waits.get(pair, ()):
                    late[q] = False
    clocked = unpaced(network)
    inputs = {i.name for i in network.inputs}
    ticks = bool(clocked) or any(held.values())
    return Plan(held, late, [CLOCK] * ticks + [name for name in order if name in inputs], clocked)


def unpaced(network: Network) -> set[str]:
    """Populations that no input reaches without a delay, so that no input would hold them back."""
    paced = {i.name for i in network.inputs}
    for name in network.order:
        if any(q.delay == 0 and q.source in paced for q in network.into(name)):
            paced.add(name)
    return {p.name for p in network.populations} - paced


def host_order(network: Network) -> list[str]:
    """Inputs in the order in which the host sends their spikes within a step; CLOCK leads, where one is needed."""
    return plan(network).order
