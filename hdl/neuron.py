"""The neuron: one update per clock."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..models.fabric import Fabric
from .shapes import layout

__all__ = ["Neuron", "due", "fired"]


def due(fabric: Fabric) -> data.StructLayout:
    """A neuron whose update is due; ``fresh``: it starts from v0."""
    return data.StructLayout(
        {
            "sum": signed(fabric.sum_bits),
            "fresh": 1,
            "state": layout(fabric.state_record),
            "parameters": layout(fabric.neuron_record),
        }
    )


def fired(fabric: Fabric) -> data.StructLayout:
    """Its next state, its spikes of this step, and whether v or i had to be clipped."""
    return data.StructLayout({"state": layout(fabric.state_record), "spikes": fabric.spike_bits, "clipped": 1})


def saturate(m: Module, name: str, value, low, high):
    """``value`` clipped to ``low`` … ``high``, and whether it was."""
    out, over = Signal.like(high, name=name), Signal(name=f"{name}_over")
    below, above = value < low, value > high
    m.d.comb += [out.eq(Mux(below, low, Mux(above, high, value))), over.eq(below | above)]
    return out, over


class Neuron(wiring.Component):
    """One neuron update per clock.

    Computes :func:`aerloom.models.golden.fire`::

        i ──► ×decay_i ─►(+)─► saturate ─┬─────────────────────────► i
        sum ─► ≪ shift ───┴──────(or)────┴─► drive
                                               ▼
        v ──► ×decay_v ───────────────────────(+)─► saturate ─┬─► ÷ threshold ─► spikes
              bias, late reset ────────────────┘              └─► reset ───────► v

    Members
    -------
    i : stream of neurons that are due
    o : stream of neurons that fired
        Latency :attr:`latency`, one per clock.
    """

    latency = 4

    def __init__(self, fabric: Fabric):
        self.fabric = fabric
        super().__init__(
            {
                "i": In(stream.Signature(due(fabric), always_ready=True)),
                "o": Out(stream.Signature(fired(fabric), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fabric = self.fabric
        state_layout, parameter_layout = layout(fabric.state_record), layout(fabric.neuron_record)

        # The stages are m (multiply), i (current), v (membrane) and s (spikes); a stage's name leads its registers.
        def stage(name: str, valid, parameters, state):
            out = [Signal(name=f"{name}_valid"), Signal(parameter_layout, name=f"{name}_parameters"),
                   Signal(state_layout, name=f"{name}_state")]
            m.d.sync += [out[0].eq(valid), out[1].eq(parameters), out[2].eq(state)]
            return out

        rest = Signal(state_layout)
        m.d.comb += rest.v.eq(self.i.payload.parameters.v0)
        state = Signal(state_layout)
        m.d.comb += state.eq(Mux(self.i.payload.fresh, rest, self.i.payload.state))

        # multiply
        p = self.i.payload.parameters
        m_valid, m_p, m_state = stage("m", self.i.valid, p, state)
        m_v = Signal(signed(fabric.state_bits + 13))
        m_i = Signal.like(m_v)
        m_drive = Signal(signed(fabric.sum_bits + (1 << fabric.shift_bits) - 1))
        m.d.sync += [
            m_v.eq(state.v * p.decay_v),
            m_i.eq(state.i * p.decay_i),
            m_drive.eq(self.i.payload.sum << p.shift),
        ]

        def rounded(product, truncate):
            return (product + Mux(truncate & (product < 0), 4095, 0)) >> 12

        # current
        i_valid, i_p, i_state = stage("i", m_valid, m_p, m_state)
        i_v = Signal(signed(fabric.state_bits + 1))
        i_drive = Signal(signed(max(fabric.state_bits, len(m_drive)) + 1))
        i_over = Signal()
        i_bias = Mux(m_p.bias_filtered, m_p.bias, 0)
        current, over = saturate(m, "current", rounded(m_i, m_p.truncate) + m_drive + i_bias, ~m_p.max_i, m_p.max_i)
        m.d.sync += [
            i_v.eq(rounded(m_v, m_p.truncate)),
            i_drive.eq(Mux(m_p.filtered, current, m_drive) + Mux(m_p.bias_filtered, 0, m_p.bias)),
            i_over.eq(m_p.filtered & over),
            i_state.i.eq(Mux(m_p.filtered, current, 0)),
        ]

        # membrane
        v_valid, v_p, v_state = stage("v", i_valid, i_p, i_state)
        v_over, v_held = Signal(), Signal()
        late = Mux(i_p.reset_late & ~i_p.reset_value, i_state.after[: fabric.spike_bits], 0)
        held = (i_p.refractory != 0) & (i_state.after != 0)
        membrane, over = saturate(m, "membrane", i_v + i_drive - i_p.reset_by * late, i_p.min_v, i_p.max_v)
        m.d.sync += [v_over.eq(i_over | (over & ~held)), v_held.eq(held)]
        with m.If(~held):
            m.d.sync += v_state.v.eq(
                Mux(i_p.reset_late & i_p.reset_value & (i_state.after != 0), i_p.reset_to, membrane)
            )

        # spikes: long division by the threshold, as far as max_spikes can matter
        left, count = v_state.v, 0
        for bit in reversed(range(fabric.spike_bits)):
            fits = Signal(name=f"fits_{bit}")
            m.d.comb += fits.eq((left >= (v_p.threshold << bit)) & ((v_p.max_spikes >> bit) != 0) & ~v_held)
            left = left - Mux(fits, v_p.threshold << bit, 0)
            count = count | fits << bit
        spikes = Signal(fabric.spike_bits)
        m.d.comb += spikes.eq(Mux(count > v_p.max_spikes, v_p.max_spikes, count))
        o = self.o.payload
        m.d.sync += [
            self.o.valid.eq(v_valid),
            o.spikes.eq(spikes),
            o.clipped.eq(v_over),
            o.state.i.eq(v_state.i),
            o.state.v.eq(v_state.v),
            o.state.after.eq(0),
        ]
        with m.If(v_p.reset_late):
            m.d.sync += o.state.after.eq(spikes)
        with m.Elif(v_p.reset_value), m.If(spikes != 0):
            m.d.sync += o.state.v.eq(v_p.reset_to)
        with m.Else():
            m.d.sync += o.state.v.eq(v_state.v - v_p.reset_by * spikes)
        with m.If(v_p.refractory != 0):
            m.d.sync += o.state.after.eq(
                Mux(spikes != 0, v_p.refractory, Mux(v_state.after != 0, v_state.after - 1, 0))
            )
        return m
