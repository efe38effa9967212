"""Chips that are built with a network inside: nothing is loaded, and every spike is golden's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_chip import ROOMY, TINY, dense, planes

from aerloom import AerloomError, Fabric, Network, connect
from aerloom.host.link import Words
from aerloom.host.loaded import Loaded
from aerloom.models import golden
from aerloom.models.contents import EMPTY, NOTHING, baked, contents
from aerloom.models.fabric import CHIP, Kind, Space
from aerloom.models.image import settings
from aerloom.models.packets import address, packet
from aerloom.models.place import place

STEPS = 6


class Overheard:
    """A link that keeps what is sent."""

    def __init__(self, link: object) -> None:
        self.link, self.sent, self.fabric = link, [np.zeros(0, np.uint32)], link.fabric

    def exchange(self, words: Words, replies: int, progress: object = None) -> Words:
        self.sent.append(words)
        return self.link.exchange(words, replies, progress)

    def close(self) -> None:
        self.link.close()


def writes(words: Words) -> int:
    return int((words >> 29 == Kind.WRITE).sum())


def spikes(network: Network, seed: int = 1) -> dict[str, np.ndarray]:
    r = np.random.default_rng(seed)
    return {i.name: (r.random((2, STEPS, i.size)) < 0.4).astype(np.uint8) for i in network.inputs}


@pytest.mark.parametrize("network, fabric", [
    (dense(3), TINY), (dense(4), replace(TINY, cores=2, lanes=8, update_lanes=2, weight_bits=8)), (planes(1), ROOMY),
], ids=["dense", "two cores", "convolution"])
def test_a_baked_chip_computes_without_being_loaded(network: Network, fabric: Fabric) -> None:
    placement = place(network, fabric)
    with connect("sim", fabric, engine="amaranth", contents=baked(placement)) as device:
        device._link = link = Overheard(device._link)
        device.assume(network, watch=list(network.population))
        run, trace = device.run(spikes(network)), golden.run(network, spikes(network))
        for name in network.population:
            np.testing.assert_array_equal(run.spikes[name], trace.spikes[name])
            np.testing.assert_array_equal(device.peek(name), trace.state[name].v[-1])
    small = np.concatenate(
        [placement.routes(network.population), placement.samples(STEPS), settings(placement, STEPS, None, None)])
    assert writes(np.concatenate(link.sent)) == writes(small) + 2  # and START, twice


def test_a_baked_chip_needs_no_start_either() -> None:
    """From reset on it takes spikes: what a board without a host's software would do."""
    network = dense(5)
    placement = place(network, TINY)
    with connect("sim", TINY, engine="amaranth", contents=baked(placement, steps=STEPS)) as device:
        device._inside = Loaded(placement)  # sends nothing
        words = device._loaded().encode(golden.check_spikes(network, spikes(network)))
        run = device._loaded().decode(device._link.exchange(words, 2 * STEPS), 2, STEPS)
        np.testing.assert_array_equal(run.spikes["out"], golden.run(network, spikes(network)).spikes["out"])


def test_another_network_is_refused_and_can_be_loaded() -> None:
    with connect("sim", TINY, engine="amaranth", contents=baked(place(dense(1), TINY))) as device:
        with pytest.raises(AerloomError, match="does not hold this network"):
            device.assume(dense(2))
        device.load(dense(2))
        device.assume(dense(2))
        run = device.run(spikes(dense(2)))
    np.testing.assert_array_equal(run.spikes["out"], golden.run(dense(2), spikes(dense(2))).spikes["out"])


def test_the_last_word_written_stays() -> None:
    record = TINY.gate_record
    write = [packet(Kind.WRITE, CHIP, word) for word in (record.pack(known=1, credits=2), record.pack(known=1), 0)]
    words = np.array([address(CHIP, Space.GATES, 1), *write[:2], address(CHIP, Space.GATES, 2), write[2]], np.uint32)
    made = contents(words, TINY)
    assert made[CHIP].words == {Space.GATES: {1: record.pack(known=1, credits=2), 2: 0}} and made[0] is NOTHING
    assert made[CHIP].column(Space.GATES, 0, 16) == [0, record.pack(known=1, credits=2)]  # zeros at the end are left out
    assert made.digest and made.digest != contents(words[:2], TINY).digest and not EMPTY.digest


def test_packets_that_do_not_load() -> None:
    with pytest.raises(AerloomError, match="only the packets that load"):
        contents(np.array([address(0, Space.KEYS), packet(Kind.READ, 0, 3)], np.uint32), TINY)
