"""Pipelines without a line for each register."""

from amaranth.hdl import Module, Signal

__all__ = ["Staged"]


class Staged:
    """A value that a pipeline has at ``stage``, at this and every later stage: ``value[stage]``.

    It waits in as many registers as its uses ask for, so an equation names the stage that computes it and nothing else.
    What tells whether there is anything ``resets``; the rest may start as it likes. Where what the pipeline is given stays
    until it is through, ``most`` registers are enough: one for what is made on the way, none for what is given.
    """

    def __init__(self, m: Module, name: str, stage: int, value, shape=None, *, resets: bool = False,
                 most: int | None = None):
        now = Signal(value.shape() if shape is None else shape, name=name)
        m.d.comb += now.eq(value)
        self.m, self.stage, self.name, self.resets, self.waits = m, stage, name, resets, [now]
        self.most = most

    def __getitem__(self, stage: int):
        stage = stage if self.most is None else min(stage, self.stage + self.most)
        for n in range(self.stage + len(self.waits), stage + 1):
            later = Signal.like(self.waits[0], name=f"{self.name}_{n}", reset_less=not self.resets)
            self.m.d.sync += later.eq(self.waits[-1])
            self.waits.append(later)
        return self.waits[stage - self.stage]
