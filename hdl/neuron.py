"""The neuron: one update per clock."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.fabric import Fabric
from .shapes import layout
from .staged import Staged

__all__ = ["Neuron", "due", "fired", "needed"]


def due(fabric: Fabric) -> data.StructLayout:
    """A neuron whose update is due; ``fresh``: it starts from v0."""
    return data.StructLayout(
        {
            "sum": signed(fabric.sum_bits),
            "fresh": 1,
            "state": layout(fabric.state_record),
        }
    )


def fired(fabric: Fabric) -> data.StructLayout:
    """Its next state, its spikes of this step, and whether v or i had to be clipped."""
    return data.StructLayout({"state": layout(fabric.state_record), "spikes": fabric.spike_bits, "clipped": 1})


def limiting(fabric: Fabric) -> int:
    """The stage of an update that compares a membrane with its limits."""
    return 7 if fabric.currents else 4 + (not fabric.pipelined)  # in a clock with no sum


def needed(fabric: Fabric) -> dict[str, int]:
    """The stage of an update at which it needs each of its parameters."""
    late = dict.fromkeys(("min_v", "max_v", "reset_to", "threshold", "max_spikes"), limiting(fabric))
    stages = {"reset_by": 1, "bias": 1, "max_i": 1, **late}
    return {name: stages.get(name, 0) for name in fabric.neuron_record.fields}


def plus(a, b, one):
    """``a`` + ``b``, and 1 where ``one``: in one chain of carries."""
    return (Cat(1, a).as_signed() + Cat(one, b).as_signed()) >> 1


def under(a, b):
    """Whether signed ``a`` is less than ``b``: the last carry of one chain, as that of numbers without signs is."""
    return Cat(a[:-1], ~a[-1]) < Cat(b[:-1], ~b[-1])


class Neuron(wiring.Component):
    """One neuron update per clock.

    Computes :func:`aerloom.models.golden.fire`::

        sum ─► ≪ shift ─► + bias ─► (synaptic filter: i) ─► drive
                                                             ▼
        v ───► ×decay_v ─► − late reset ────────────────────(+)─► saturate ─┬─► ÷ threshold ─► spikes
                                                                            └─► reset ───────► v

    with a filter where the Fabric has ``currents``. No stage of the pipeline has more than one multiplication, addition or
    comparison of whole membranes. Unless the Fabric is ``pipelined``, a neuron and its parameters stay on the inputs until
    it has fired, and two stages take a clock.

    Members
    -------
    i : stream of neurons that are due
    parameters : In
        Of the neuron that came so many clocks ago as :func:`needed` says of each.
    o : stream of neurons that fired
        One per clock.
    """

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        super().__init__(
            {
                "i": In(stream.Signature(due(fabric), always_ready=True)),
                "parameters": In(layout(fabric.neuron_record)),
                "o": Out(stream.Signature(fired(fabric), always_ready=True)),
            }
        )

    @staticmethod
    def latency(fabric: Fabric) -> int:
        """Clocks from i to o."""
        stages = limiting(fabric) + 5 + fabric.spike_bits
        return stages if fabric.pipelined else stages // 2 + 1

    def elaborate(self, platform):
        m = Module()
        fabric, i, o = self.fabric, self.i.payload, Signal(fired(self.fabric), reset_less=True)

        def at(t, name, value, shape=None):
            """``value``, made at stage t of what is there at stage t."""
            return Staged(m, name, t, value, shape, most=None if fabric.pipelined else int(t % 2 == 0))

        def given(t, name, value):
            """``value``, that is there at stage t."""
            return Staged(m, name, t, value, most=None if fabric.pipelined else 0)

        valid = Staged(m, "valid", 0, self.i.valid, resets=True)
        fresh, arrived = given(0, "fresh", i.fresh), given(0, "arrived", i.sum)
        p = {name: given(t, name, getattr(self.parameters, name)) for name, t in needed(fabric).items()}
        was = {name: given(0, f"was_{name}", getattr(i.state, name)) for name in fabric.state_record.fields}

        def decayed(name, value, decay, stays):
            """What a step leaves of ``value``, rounded down, or zero where it ``stays``: there at stage 2; and whether that
            is to be 1 more: at 3."""
            product = at(1, f"{name}_product", Mux(stays, 0, value[1] * decay[1]))
            up = p["truncate"][2] & (product[2] < 0) & product[2][:12].any()
            left = product[2][12 : 12 + len(value[1])].as_signed()  # no more than it was
            return given(2, f"{name}_decayed", left), at(2, f"{name}_up", up)

        def where(t, name, when, value):
            """``value``, made at stage t, or zero: a register that is reset takes no table."""
            return at(t, name, Mux(when, value[t], 0), value[t].shape())

        def times(t, name, value, count):
            """``value`` times a number of spikes: a multiplication, unless there is but one spike."""
            return where(t, name, count[t], value) if fabric.spike_bits == 1 else at(t, name, value[t] * count[t])

        def outside(t, name, value, low, high, when):
            """Whether ``value`` is below ``low``, above ``high``, made at stage t: compared with them only if it is as
            short as they are."""
            inner, outer = value[t][: fabric.state_bits].as_signed(), value[t][fabric.state_bits - 1 :]
            short, sign = outer.all() | ~outer.any(), outer[-1]
            return (at(t, f"{name}_below", Mux(short, under(inner, low), sign) & when),
                    at(t, f"{name}_above", Mux(short, under(high, inner), ~sign) & when))

        # what the neuron starts from; a membrane that is held neither leaks nor is driven
        left = Mux(fresh[0], 0, was["after"][0])
        after, holds = at(0, "after", left), (p["refractory"][0] != 0) & (left != 0)
        held = at(0, "held", holds)
        moves = at(1, "moves", p["reset_late"][1] & p["reset_value"][1] & (after[1] != 0))
        late = at(0, "late", Mux(p["reset_late"][0] & ~p["reset_value"][0], left[: fabric.spike_bits], 0))
        v = at(0, "v", Mux(fresh[0], p["v0"][0], was["v"][0]))
        decay_v = at(0, "decay", p["decay_v"][0])

        v_decayed, v_up = decayed("v", v, decay_v, held[1])
        v_stays = where(1, "v_stays", held[1], v)
        v_reset = at(2, "v_reset", (v_decayed[2] | v_stays[2]) - times(1, "late_reset", p["reset_by"], late)[2])
        drive = at(1, "drive", arrived[1] << p["shift"][1])

        def unfiltered():
            """The membrane with its drive, before it is clipped; no current."""
            biased = at(2, "biased", Mux(held[2], 0, drive[2] + p["bias"][2]))
            t = limiting(fabric) - 1
            return at(t, "driven", plus(v_reset[t], biased[t], v_up[t])), []

        def filtered():
            """The same behind a synaptic filter; whether its current had to be clipped, and that current."""
            i = at(0, "i", Mux(fresh[0], 0, was["i"][0]), was["i"][0].shape())
            i_decayed, i_up = decayed("i", i, p["decay_i"], 0)
            biased = at(2, "biased", drive[2] + Mux(p["bias_late"][2], 0, p["bias"][2]))
            filled = at(3, "filled", plus(i_decayed[3], biased[3], i_up[3]))
            v_biased = at(3, "v_biased", plus(v_reset[3], Mux(p["bias_late"][3] & ~held[3], p["bias"][3], 0), v_up[3]))
            max_i, limited = p["max_i"], p["filtered"]
            below, above = outside(4, "i", filled, ~max_i[4], max_i[4], limited[4])
            clipped = Mux(below[5], ~max_i[5], Mux(above[5], max_i[5], filled[5]))
            driving = at(5, "driving", Mux(held[5], 0, clipped))
            over = at(5, "i_over", below[5] | above[5])
            new = at(5, "i_new", Mux(limited[5], clipped, 0), i[1].shape())
            return at(6, "driven", v_biased[6] + driving[6]), [(over, new)]

        driven, current = filtered() if fabric.currents else unfiltered()

        t = limiting(fabric)
        below, above = outside(t, "v", driven, p["min_v"][t], p["max_v"][t], ~held[t])

        t += 1  # one of them
        ways = [where(t, name, when, value) for name, when, value in (
            ("free", ~(below[t] | above[t] | moves[t]), driven), ("least", below[t] & ~moves[t], p["min_v"]),
            ("most", above[t] & ~moves[t], p["max_v"]), ("moved", moves[t], p["reset_to"]))]

        t += 1
        membrane = at(t, "membrane", reduce(or_, (way[t] for way in ways)), v[1].shape())
        over = at(t, "over", Cat(below[t], above[t], *(over[t] for over, _ in current)).any())

        t += 1  # spikes: long division by the threshold, as far as max_spikes allows
        rest, counted = membrane, []
        for bit in reversed(range(fabric.spike_bits)):
            less = Signal(signed(fabric.state_bits + fabric.spike_bits + 1), name=f"less_{bit}")
            m.d.comb += less.eq(~((p["threshold"][t] << bit) + ~rest[t]))  # the difference; what comes from memory is late
            allowed = Cat(1, *(higher[t] for higher in counted)) <= p["max_spikes"][t][bit:]
            fits = at(t, f"fits_{bit}", (less >= 0) & allowed & ~held[t])
            rest = at(t, f"rest_{bit}", Mux(fits[t], less, rest[t]), rest[t].shape())
            counted.insert(0, fits)
            t += 1
        spikes = given(t, "spikes", Cat(bit[t] for bit in counted))
        sets = p["reset_value"][t] & ~p["reset_late"][t] & (spikes[t] != 0)
        stays, is_set = where(t, "stays", ~sets, membrane), where(t, "is_set", sets, p["reset_to"])
        at_once = given(t, "at_once", Mux(p["reset_late"][t] | p["reset_value"][t], 0, spikes[t]))
        taken = times(t, "reset", p["reset_by"], at_once)

        t += 1
        waits = Mux(spikes[t] != 0, p["refractory"][t], Mux(after[t] != 0, after[t] - 1, 0))
        m.d.comb += self.o.payload.eq(o)
        m.d.sync += [
            self.o.valid.eq(valid[self.latency(fabric) - 1]),
            o.spikes.eq(spikes[t]),
            o.clipped.eq(over[t]),
            o.state.v.eq((stays[t] | is_set[t]) - taken[t]),
            o.state.after.eq(Mux(p["refractory"][t] != 0, waits, Mux(p["reset_late"][t], spikes[t], 0))),
        ]
        m.d.sync += [o.state.i.eq(new[t]) for _, new in current]
        assert not fabric.pipelined or t + 1 == self.latency(fabric)
        return m
