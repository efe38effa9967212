"""What the streams of a design do in each clock cycle: the rules that every engine follows.

In a cycle each input stream with words left offers its next one, unless it stalls; an offer stands until it is
accepted. Each output stream is ready, unless it stalls. A word moves where valid and ready meet before the rising edge.

``driver.cc`` has the same rules in C++. Both draw their stalls alike, so that the same words, stalls and seed give the
same cycles on every engine.
"""

from collections.abc import Callable, Mapping, Sequence

from aerloom.models.errors import AerloomError

Counted = tuple[int, int]  # (shift, kinds): a word counts if bit `word >> shift & 7` of `kinds` is set
EVERY_WORD: Counted = (0, 0xFF)


class Stuck(AerloomError):
    """The design stopped moving words before all were sent and all replies had come."""

    @classmethod
    def after(cls, idle: int, unsent: Mapping[str, int], owed: Mapping[str, int]) -> "Stuck":
        wants = [f"{name} still has {n} word{'s' * (n > 1)} to send" for name, n in unsent.items() if n]
        wants += [f"{name} still owes {n} word{'s' * (n > 1)}" for name, n in owed.items() if n]
        return cls(f"the simulation is stuck, nothing moved for {idle} cycles: {', '.join(wants)}")


def stall_level(stall: float) -> int:
    """A probability in units of 2⁻³², as the draws compare with it."""
    return round(stall * 2**32)


class Source:
    """An input stream of the design, fed with words."""

    def __init__(self, name: str):
        self.valid, self.ready, self.payload = (f"{name}__{wire}" for wire in ("valid", "ready", "payload"))
        self.name = name
        self.words: Sequence[int] = ()
        self.sent = 0
        self.offering = False

    @property
    def unsent(self) -> int:
        return len(self.words) - self.sent


class Sink:
    """An output stream of the design, whose words are taken and counted."""

    def __init__(self, name: str, counted: Counted):
        self.valid, self.ready, self.payload = (f"{name}__{wire}" for wire in ("valid", "ready", "payload"))
        self.name = name
        self.shift, self.kinds = counted
        self.words: list[int] = []
        self.owed = 0
        self.taking = False

    def take(self, word: int) -> None:
        self.words.append(word)
        if self.owed and self.kinds >> (word >> self.shift & 7) & 1:
            self.owed -= 1


class Traffic:
    """The streams of one design over its whole simulation. Wires have the names they get in Verilog, ``i__valid``.

    An engine calls :meth:`begin`, and then in each cycle sets the wires that :meth:`drive` gives, lets the design
    settle, has :meth:`sample` look at it, and raises the clock, until :meth:`drive` gives None.
    """

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str], *, counted: Mapping[str, Counted], stall: float,
                 seed: int, budget: int):
        self.sources = [Source(name) for name in inputs]
        self.sinks = [Sink(name, counted.get(name, EVERY_WORD)) for name in outputs]
        self.cycles = 0
        self._stall, self._random, self._budget = stall_level(stall), seed, budget
        self._drain = self._idle = 0

    def begin(self, send: Mapping[str, Sequence[int]], expect: Mapping[str, int], drain: int) -> None:
        for source in self.sources:
            source.words, source.sent = send.get(source.name, ()), 0
        for sink in self.sinks:
            sink.words, sink.owed = [], expect.get(sink.name, 0)
        self._drain, self._idle = drain, 0

    def drive(self) -> list[tuple[str, int]] | None:
        """The wires that change in the next cycle; None when the exchange is over. Raises :exc:`Stuck`."""
        if any(source.unsent for source in self.sources) or any(sink.owed for sink in self.sinks):
            if self._idle == self._budget:
                raise Stuck.after(self._idle, {source.name: source.unsent for source in self.sources},
                                  {sink.name: sink.owed for sink in self.sinks})
        elif self._drain:
            self._drain -= 1
        else:
            return None
        self._idle += 1
        self.cycles += 1

        changes = []
        for source in self.sources:
            if not source.offering:
                source.offering = source.unsent > 0 and not self._stalls()
                changes.append((source.valid, int(source.offering)))
                if source.offering:
                    changes.append((source.payload, source.words[source.sent]))
        for sink in self.sinks:
            taking = not self._stalls()
            if taking != sink.taking:
                sink.taking = taking
                changes.append((sink.ready, int(taking)))
        return changes

    def sample(self, read: Callable[[str], int]) -> None:
        """Look at the settled design, through `read(wire)`, just before the rising edge."""
        for source in self.sources:
            if source.offering and read(source.ready):
                source.offering = False
                source.sent += 1
                self._idle = 0
        for sink in self.sinks:
            if sink.taking and read(sink.valid):
                sink.take(read(sink.payload))
                self._idle = 0

    def words(self) -> dict[str, list[int]]:
        return {sink.name: sink.words for sink in self.sinks}

    def _stalls(self) -> bool:
        if not self._stall:
            return False
        self._random = (self._random * 6364136223846793005 + 1442695040888963407) % 2**64
        return self._random >> 32 < self._stall
