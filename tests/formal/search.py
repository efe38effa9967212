"""A search through every state that a :class:`tests.protocol.Chip` can reach."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tests.protocol import Chip, Trouble


class Found(NamedTuple):
    """What a search found: how many states and moves, what is wrong and how it comes about."""

    states: int
    moves: int
    trouble: str = ""
    trace: tuple[str, ...] = ()


def search(chip: Chip, every: bool = True, most: int = 300_000) -> Found:
    """Every state that the chip can reach, breadth first; trouble is where one is reached in which

    * something arrives, or is sent, before or after the step it belongs to, a counter leaves its range, a packet is lost;
    * nothing can happen any more;
    * and things can happen for ever without a step of one of the populations or inputs.

    The last is stronger than that each could take its next step: it does, whatever happens next.
    """
    numbers, order, after = {chip.start: 0}, [chip.start], []
    came: list[tuple[int, str]] = [(0, "")]
    todo = deque([chip.start])

    def found(trouble: str, n: int) -> Found:
        trace: list[str] = []
        while n:
            n, name = came[n]
            trace.insert(0, name)
        return Found(len(order), sum(map(len, after)), trouble, tuple(trace))

    while todo:
        state = todo.popleft()
        n = len(after)
        after.append(edges := [])
        try:
            for who, name, new in chip.moves(state, every):
                if new not in numbers:
                    if len(order) == most:
                        return found(f"more than {most} states", 0)
                    numbers[new] = len(order)
                    order.append(new)
                    came.append((n, name))
                    todo.append(new)
                edges.append((who, numbers[new]))
        except Trouble as trouble:
            return found(str(trouble), n)
        if not edges:
            return found("nothing can happen", n)
    for key in range(len(chip.start.taken)):
        if (n := cycle(after, key)) is not None:
            return found(f"{key} may never take another step", n)
    return found("", 0)


def cycle(after: list[list[tuple[int, int]]], key: int) -> int | None:
    """A state to which moves without a step of ``key`` lead back, if there is one."""
    waits = [0] * len(after)
    for edges in after:
        for who, to in edges:
            waits[to] += who != key
    free = [n for n, count in enumerate(waits) if not count]
    for n in free:
        for who, to in after[n]:
            if who != key:
                waits[to] -= 1
                if not waits[to]:
                    free.append(to)
    return None if len(free) == len(after) else next(n for n, count in enumerate(waits) if count)
