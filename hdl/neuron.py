"""The neuron: one update per clock."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.fabric import Fabric
from .shapes import layout
from .staged import Staged

__all__ = ["NEEDED", "Neuron", "due", "fired"]

#: Stages of the update at which parameters are needed that are not at the first one.
NEEDED = {"reset_by": 2, "bias": 2, "max_i": 2, "min_v": 7, "max_v": 7, "reset_to": 7, "threshold": 7, "max_spikes": 7}


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


class Neuron(wiring.Component):
    """One neuron update per clock.

    Computes :func:`aerloom.models.golden.fire`::

        i ──► ×decay_i ─►(+)─► saturate ─┬─────────────────────────► i
        sum ─► ≪ shift ───┴──────(or)────┴─► drive
                                               ▼
        v ──► ×decay_v ───────────────────────(+)─► saturate ─┬─► ÷ threshold ─► spikes
              bias, late reset ────────────────┘              └─► reset ───────► v

    No stage of the pipeline has more than one multiplication, addition or comparison of whole membranes. Unless the Fabric
    is ``pipelined``, a neuron and its parameters stay on the inputs until it has fired.

    Members
    -------
    i : stream of neurons that are due
    parameters : In
        Of the neuron that came so many clocks ago as :data:`NEEDED` says of each; the rest, of the neuron that comes.
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
        return 12 + fabric.spike_bits

    def elaborate(self, platform):
        m = Module()
        fabric, i, o = self.fabric, self.i.payload, self.o.payload

        def at(t, name, value, shape=None):
            """``value``, made at stage t of what is there at stage t."""
            return Staged(m, name, t, value, shape, most=None if fabric.pipelined else 1)

        def given(t, name, value):
            """``value``, that is there at stage t."""
            return Staged(m, name, t, value, most=None if fabric.pipelined else 0)

        valid = Staged(m, "valid", 0, self.i.valid, resets=True)
        fresh, arrived = given(0, "fresh", i.fresh), given(0, "arrived", i.sum)
        p = {name: given(NEEDED.get(name, 0), name, getattr(self.parameters, name)) for name in fabric.neuron_record.fields}
        was = {name: given(0, f"was_{name}", getattr(i.state, name)) for name in fabric.state_record.fields}

        def decayed(t, name, value, decay):
            """What a step leaves of ``value``: there at t + 1."""
            product = at(t, f"{name}_product", value[t] * p[decay][t])
            t += 1
            toward_zero = Mux(p["truncate"][t] & (product[t] < 0), 4095, 0)
            return at(t, f"{name}_decayed", (product[t] + toward_zero) >> 12)

        def times(value, count):
            """``value`` times a number of spikes."""
            return value * count if fabric.spike_bits > 1 else Mux(count, value, 0)

        def outside(t, name, value, low, high):
            """Whether ``value`` is below ``low``, above ``high``."""
            return at(t, f"{name}_below", value[t] < low[t]), at(t, f"{name}_above", value[t] > high[t])

        t = 0  # what the neuron starts from
        v = at(t, "v", Mux(fresh[t], p["v0"][t], was["v"][t]))
        current = at(t, "i", Mux(fresh[t], 0, was["i"][t]), was["i"][t].shape())
        after = at(t, "after", Mux(fresh[t], 0, was["after"][t]))

        t = 1
        decayed_v, decayed_i = decayed(t, "v", v, "decay_v"), decayed(t, "i", current, "decay_i")
        drive = at(t, "drive", arrived[t] << p["shift"][t])
        held = at(t, "held", (p["refractory"][t] != 0) & (after[t] != 0))
        moves = at(t, "moves", p["reset_late"][t] & p["reset_value"][t] & (after[t] != 0))
        late = at(t, "late", Mux(p["reset_late"][t] & ~p["reset_value"][t], after[t][: fabric.spike_bits], 0))

        t = 2
        late_reset = at(t, "late_reset", times(p["reset_by"][t], late[t]))
        biased = at(t, "biased", drive[t] + Mux(p["bias_filtered"][t], p["bias"][t], 0))

        t = 3
        filled = at(t, "filled", decayed_i[t] + biased[t])
        v_reset = at(t, "v_reset", decayed_v[t] - late_reset[t])
        low_i = at(t, "low_i", ~p["max_i"][t])

        t = 4
        below, above = outside(t, "i", filled, low_i, p["max_i"])
        v_biased = at(t, "v_biased", v_reset[t] + Mux(p["bias_filtered"][t], 0, p["bias"][t]))

        t = 5
        clipped = at(t, "i_clipped", Mux(below[t], low_i[t], Mux(above[t], p["max_i"][t], filled[t])), v[0].shape())
        over_i = at(t, "over_i", p["filtered"][t] & (below[t] | above[t]))

        t = 6
        driven = at(t, "driven", v_biased[t] + Mux(p["filtered"][t], clipped[t], drive[t]))
        new_i = at(t, "new_i", Mux(p["filtered"][t], clipped[t], 0), clipped[t].shape())

        t = 7
        below, above = outside(t, "v", driven, p["min_v"], p["max_v"])

        t = 8
        clipped = Mux(below[t], p["min_v"][t], Mux(above[t], p["max_v"][t], driven[t]))
        membrane = at(t, "membrane", Mux(held[t], v[t], Mux(moves[t], p["reset_to"][t], clipped)), v[0].shape())
        over = at(t, "over", over_i[t] | ((below[t] | above[t]) & ~held[t]))

        t = 9  # spikes: long division by the threshold, as far as max_spikes can matter
        left, counted = membrane, []
        for bit in reversed(range(fabric.spike_bits)):
            rest = Signal(signed(fabric.state_bits + fabric.spike_bits + 1), name=f"rest_{bit}")
            m.d.comb += rest.eq(left[t] - (p["threshold"][t] << bit))
            fits = at(t, f"fits_{bit}", (rest >= 0) & ((p["max_spikes"][t] >> bit) != 0) & ~held[t])
            left = at(t, f"left_{bit}", Mux(fits[t], rest, left[t]), left[t].shape())
            counted.insert(0, fits)
            t += 1
        count = Cat(bit[t] for bit in counted)
        spikes = at(t, "spikes", Mux(count > p["max_spikes"][t], p["max_spikes"][t], count))
        at_once = at(t, "at_once", Mux(p["reset_late"][t] | p["reset_value"][t], 0, spikes[t]))

        t += 1  # reset
        reset = at(t, "reset", times(p["reset_by"][t], at_once[t]))
        t += 1
        waits = Mux(spikes[t] != 0, p["refractory"][t], Mux(after[t] != 0, after[t] - 1, 0))
        moved = p["reset_value"][t] & ~p["reset_late"][t] & (spikes[t] != 0)
        m.d.sync += [
            self.o.valid.eq(valid[t]),
            o.spikes.eq(spikes[t]),
            o.clipped.eq(over[t]),
            o.state.i.eq(new_i[t]),
            o.state.v.eq(Mux(moved, p["reset_to"][t], membrane[t] - reset[t])),
            o.state.after.eq(Mux(p["refractory"][t] != 0, waits, Mux(p["reset_late"][t], spikes[t], 0))),
        ]
        assert t + 1 == self.latency(fabric)
        return m
