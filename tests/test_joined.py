# amaranth: UnusedElaboratable=no
# (a board is built to see it refuse)
"""Chips joined by links behave as one: the same bits, whatever the links do to time."""

import dataclasses

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import networks, planar, samples
from test_chip import ROOMY, TINY, check, dense

from aerloom import AerloomError, Device, Fabric
from aerloom.hdl.board import ByteBoard
from aerloom.hdl.joined import Joined
from aerloom.hdl.joint import Lower, Upper
from aerloom.hdl.shapes import PACKETS
from aerloom.hdl.wires import Wires
from aerloom.host.link import KIND_SHIFT, REPLIES
from aerloom.models import golden
from aerloom.models.fabric import Kind
from aerloom.models.place import Placement
from aerloom.sim.engine import open_engine
from aerloom.sim.link import SimLink
from tests.wrap import Plain, packet, talk

TWO = dataclasses.replace(TINY, cores=2, chips=2, queue=16)


class Moody(wiring.Component):
    """A way between chips that stops whenever it likes: a queue, and a register of chance."""

    seeds = iter(range(1, 1 << 30))

    def __init__(self) -> None:
        self.seed = next(self.seeds)
        super().__init__({"i": In(PACKETS), "o": Out(PACKETS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.wires = wires = Wires(width=16, latency=1 + self.seed % 5, room=3)
        chance = Signal(16, init=self.seed * 7919 & 0xFFFF)
        m.d.sync += chance.eq(chance[1:] ^ chance[0].replicate(16) & 0xB400)
        passes = Signal()
        m.d.comb += passes.eq(chance[:2] == 0)
        wiring.connect(m, wiring.flipped(self.i), wires.i)
        held = Signal()  # an offer that was made stands
        m.d.comb += [
            self.o.payload.eq(wires.o.payload),
            self.o.valid.eq(wires.o.valid & (passes | held)),
            wires.o.ready.eq(self.o.ready & self.o.valid),
        ]
        m.d.sync += held.eq(self.o.valid & ~self.o.ready)
        return m


def device(fabric: Fabric, way: type[wiring.Component]) -> Device:
    """Simulated; quick to build, as a chip of any network takes long to compile."""
    Moody.seeds = iter(range(1, 1 << 30))
    replies = sum(1 << int(kind) for kind in REPLIES)
    engine = open_engine(Joined(fabric, way=way), "compiled", counted={"o": (KIND_SHIFT, replies)}, quick=True)
    return Device(SimLink(fabric, engine))


@pytest.mark.parametrize("stall", [0.0, 0.3])
@pytest.mark.parametrize("width, latency, room", [(8, 0, 1), (8, 3, 8), (32, 5, 16), (1, 2, 2)])
def test_wires_carry_packets(width: int, latency: int, room: int, stall: float) -> None:
    r = np.random.default_rng(width)
    words = r.integers(0, 1 << 32, 60, dtype=np.uint64).astype(np.uint32)
    with open_engine(Wires(width, latency, room), "amaranth", stall=stall) as simulation:
        out = simulation.exchange({"i": words}, {"o": len(words)}, drain=50)["o"]
        assert out.tolist() == words.tolist()
        if not stall and room * 32 // width > 2 * latency + 32 // width + 4:  # a packet in every 32 / width clocks
            assert simulation.cycles - 50 <= len(words) * 32 // width + latency + 32 // width + 4


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_an_upper_end_hears_nothing_from_before_a_reset(engine: str, stall: float) -> None:
    with open_engine(Plain(Upper()), engine, stall=stall) as simulation:
        mine, theirs = ([packet(Kind.SPIKE, n, k) for k in range(5)] for n in (1, 2))
        epochs = set()
        for _ in range(3):
            talk(simulation, {"restart": [1]}, {})
            mark, *rest = talk(simulation, {"i": mine}, {"tx": 6})["tx"]
            assert mark["kind"] == Kind.NONE and rest == mine
            old = packet(Kind.NONE, 0, (mark["index"] - 1) % 256)
            assert talk(simulation, {"rx": [*theirs, old, *theirs]}, {}, drain=20)["o"] == []
            assert talk(simulation, {"rx": [*theirs, mark, *theirs]}, {"o": 5}, drain=20)["o"] == theirs
            epochs.add(mark["index"])
        assert len(epochs) == 3


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_lower_end_starts_afresh_at_every_mark(engine: str, stall: float) -> None:
    with open_engine(Plain(Lower(), events=["resets"]), engine, stall=stall) as simulation:
        words = [packet(Kind.SPIKE, 1, k) for k in range(5)]
        marks = [packet(Kind.NONE, 0, n) for n in (7, 8, 9)]
        send = {"rx": [*words, marks[0], *words, marks[1], marks[2], *words]}
        out = talk(simulation, send, {"o": 15, "tx": 3}, drain=20)
        assert out == {"o": words * 3, "tx": marks, "resets": [1, 1, 1]}
        assert talk(simulation, {"i": words}, {"tx": 5})["tx"] == words


@pytest.mark.full  # a chip of any network takes minutes to build
@pytest.mark.parametrize("way", [Wires, Moody])
def test_two_chips_are_one_network(way: type[wiring.Component]) -> None:
    """Everything that can be seen is as golden says, with a reset between any two networks."""
    fabric = dataclasses.replace(ROOMY, cores=2, chips=2)
    with device(fabric, way) as both:

        @settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=100)
        @given(data=st.data())
        def some(data: st.DataObject) -> None:
            network = data.draw(networks() | planar())
            assume(not Placement(network, fabric).problems)
            check(both, network, data.draw(samples(network)))

        some()


def test_two_chips_start_afresh_together() -> None:
    """What golden says, and again when old packets are on the link in both directions as a fresh start comes."""
    net, r = dense(2), np.random.default_rng(1)
    spikes = {"in": (r.random((2, 6, 20)) < 0.5).astype(np.uint8)}
    expected = golden.run(net, spikes)
    with device(TWO, Moody) as both:
        for seed in range(4):
            check(both, dense(seed), {"in": (r.random((2, 9, 20)) < 0.4).astype(np.uint8)})
        assert {part.core for part in both.load(net, watch=["hidden", "out"]).parts} == {None, 0, 1}
        words = both._loaded().encode(golden.check_spikes(net, spikes))
        for n in range(30):
            for _ in range(1 + n % 3):
                both._start(6)
                both._link.exchange(words[: r.integers(1, len(words))], 0)
            run = both.run(spikes)
            for name in ("hidden", "out"):
                np.testing.assert_array_equal(run.spikes[name], expected.spikes[name])


@pytest.mark.full
@pytest.mark.parametrize("cores, chips_", [(3, 2), (4, 4)])
def test_more_chips(cores: int, chips_: int) -> None:
    """A chip without a router of its own, and chips behind chips."""
    fabric = dataclasses.replace(TINY, cores=cores, chips=chips_)
    with device(fabric, Moody) as all_of_them:
        for seed in range(5):
            spikes = {"in": (np.random.default_rng(seed).random((2, 9, 20)) < 0.4).astype(np.uint8)}
            check(all_of_them, dense(seed), spikes)


def test_a_board_has_one_chip() -> None:
    with pytest.raises(AerloomError, match="spread over 2 chips; a board has one"):
        ByteBoard(TWO)


@pytest.mark.parametrize("change, says", [
    ({"chips": 3}, "chips must be a power of two, not 3"), ({"chips": 4, "cores": 3}, "chips must be at most 3, not 4")])
def test_chips_are_halves_of_the_tree(change: dict[str, int], says: str) -> None:
    with pytest.raises(AerloomError, match=says):
        dataclasses.replace(TINY, **change)
