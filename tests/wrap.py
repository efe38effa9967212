"""Any component as one that every engine can run, and what comes out of it in plain Python."""

from amaranth.hdl import Assert, EnableInserter, Module, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from aerloom.models.fabric import Fabric
from aerloom.models.place import split

#: A chip so small that a few packets use all of it. Sizes differ where they can, so that no two are confused.
TOY = Fabric(
    "toy", cores=4, lanes=4, update_lanes=2, weight_bits=2, weight_words=50, rows=5, parameter_rows=6, populations=3,
    projections=7, keys=11, inputs=3, sum_bits=6, state_bits=5, spike_bits=2, refractory_bits=3,
)  # fmt: skip


class Plain(wiring.Component):
    """`dut`, with every member a stream that has valid and ready.

    A stream that its reader must always take keeps this contract: the dut's clock stands still while the reader is not
    ready. An item for a signal sets it from the next clock on, and an item on `restart` resets all but the memories.
    The reader of any other output is ready only when there is an offer, and an offer that changes before it is taken
    fails an assertion.

    Parameters
    ----------
    events : names of output signals
        An item for each clock in which the signal is not zero.
    answers : dict of output signal to input stream
        An item in each clock that follows one in which the input was taken.
    eager : names of output streams
        Their readers show that they are ready before there is an offer.
    deaf : names of output streams
        Their readers are never ready.
    """

    def __init__(self, dut, events=(), answers=None, eager=(), deaf=()):
        self.dut, self.events, self.answers, self.eager = dut, events, answers or {}, eager
        members = {"restart": In(stream.Signature(1))}
        for name, member in dut.signature.members.items():
            if name in deaf or (member.is_port and member.flow is Out and name not in (*self.events, *self.answers)):
                continue
            shape = member.shape if member.is_port else member.signature.members["payload"].shape
            members[name] = member.flow(stream.Signature(shape))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        restart, moves = Signal(), Signal()
        m.submodules.dut = EnableInserter(moves)(ResetInserter(restart)(self.dut))
        m.d.comb += [restart.eq(self.restart.valid), self.restart.ready.eq(moves)]
        hasty = []  # outputs that cannot wait: outer stream, payload, valid
        for name, member in self.dut.signature.members.items():
            if name not in self.signature.members:
                continue
            outer, inner = getattr(self, name), getattr(self.dut, name)
            if member.is_port and member.flow is In:
                held = Signal.like(inner)
                m.d.comb += [outer.ready.eq(moves), inner.eq(held)]
                with m.If(outer.valid & moves):
                    m.d.sync += held.eq(outer.payload)
            elif member.flow is In:
                m.d.comb += [inner.payload.eq(outer.payload), inner.valid.eq(outer.valid)]
                m.d.comb += outer.ready.eq(inner.ready & moves & ~restart)
            elif name in self.events:
                hasty.append((outer, inner, inner != 0))
            elif name in self.answers:
                question, asked = getattr(self.dut, self.answers[name]), Signal()
                with m.If(moves):
                    m.d.sync += asked.eq(question.valid & question.ready)
                hasty.append((outer, inner, asked))
            elif member.signature.always_ready:
                hasty.append((outer, inner.payload, inner.valid))
            else:
                m.d.comb += [outer.payload.eq(inner.payload), outer.valid.eq(inner.valid & moves & ~restart)]
                m.d.comb += inner.ready.eq(outer.ready & (inner.valid | (name in self.eager)))
                offered, before = Signal(), Signal.like(inner.payload)
                m.d.sync += [offered.eq(inner.valid & ~(outer.ready & moves) & ~restart), before.eq(inner.payload)]
                m.d.sync += Assert(~offered | (inner.valid & (inner.payload == before)), f"{name} withdrew its offer")
        waits = [valid & ~outer.ready for outer, _, valid in hasty]
        m.d.comb += moves.eq(~any_of(waits))
        for n, (outer, payload, valid) in enumerate(hasty):
            m.d.comb += [outer.payload.eq(payload), outer.valid.eq(valid & ~any_of(waits[:n] + waits[n + 1 :]))]
        return m


def any_of(bits):
    """Their disjunction; 0 of none."""
    out = 0
    for bit in bits:
        out = out | bit
    return out


def fields(value):
    """A struct as a dict, an array as a list, all the way down."""
    if not isinstance(value, data.Const):
        return value
    if isinstance(value.shape(), data.ArrayLayout):
        return [fields(value[n]) for n in range(value.shape().length)]
    return {name: fields(value[name]) for name in value.shape().members}


def talk(simulation, send, expect, drain=0):
    """One exchange in the terms of `sim.engine.run`; structs come back as dicts."""
    ports = {port.name: port for port in (*simulation.inputs, *simulation.outputs)}
    words = {name: [ports[name].bits(value) for value in values] for name, values in send.items()}
    given = simulation.exchange(words, expect, drain=drain)
    return {name: [fields(ports[name].value(int(word))) for word in words] for name, words in given.items()}


def writes(space, words, chunks, first=0):
    """What stores `words` of some 16-bit chunks each, from word `first` of a memory on."""
    return [
        {"place": {"space": space, "address": address, "chunk": n}, "data": data}
        for address, row in enumerate(split(words, chunks).tolist(), first)
        for n, data in enumerate(row)
    ]


def rows(space, record, values):
    """What fills the table `space` with rows, given as dicts of the fields of `record`."""
    return writes(space, [record.pack(**row) for row in values], record.chunks)


def packet(kind, key=0, index=0):
    """A packet's fields."""
    return {"kind": kind, "key": key, "index": index}


def many(engine, count):
    """`count` for an engine that is compiled, a tenth for one that is not."""
    return count if engine == "compiled" else -(-count // 10)
