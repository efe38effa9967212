"""The cycle model: what the chip's own counter says, to the cycle."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import networks, planar, samples
from test_chip import HOWEVER_LONG, roomy

from aerloom import AerloomError, Fabric, Input, Network, Population, Projection, place, quantize
from aerloom.host.dataset import spikes_of
from aerloom.models import golden, zoo
from aerloom.models.place import Placement
from aerloom.models.window import Window
from aerloom.sim import control
from aerloom.sim.cycles import cycles


def agree(device: Any, network: Any, spikes: Any, watch: Any = None, cores: int | None = None) -> int:
    """Model and chip agree about the end of every step, for a run and for each sample by itself; the cycles of the run."""
    placement = device.load(network, watch=watch, cores=cores)
    trace = golden.run(network, spikes)
    run = device.run(spikes)
    np.testing.assert_array_equal(cycles(placement, trace, watch=watch), run.cycles)
    alone = cycles(placement, trace, watch=watch, alone=True, threads=2)
    for n, ends in enumerate(alone):
        one = device.run({name: a[n : n + 1] for name, a in golden.check_spikes(network, spikes).items()})
        np.testing.assert_array_equal(ends, one.cycles[0])
    assert device.counters()["cycles"] == alone[-1, -1]
    return int(run.cycles.max())


@pytest.mark.parametrize("cores, examples", [(1, 60), (2, 40), pytest.param(4, 100, marks=pytest.mark.full)])
def test_any_network(chips: Any, cores: int, examples: int) -> None:
    device = roomy(chips, cores)

    @settings(HOWEVER_LONG, max_examples=examples)
    @given(data=st.data())
    def some(data: st.DataObject) -> None:
        network = data.draw(st.one_of(networks(), networks(), planar()))
        used = data.draw(st.integers(1, cores))
        assume(not Placement(network, device.fabric, used).problems)
        watch = data.draw(st.none() | st.sets(st.sampled_from(list(network.population)), min_size=1))
        agree(device, network, data.draw(samples(network)), watch, used)

    some()


@pytest.mark.parametrize("fabric", ["medium", pytest.param("quad", marks=pytest.mark.full)])
def test_the_zoo(chips: Any, fabric: str) -> None:
    exact = zoo.load("digits")
    spikes = spikes_of(exact, zoo.samples("digits")[0][:3])
    assert agree(chips(Fabric.preset(fabric)), quantize(exact, 8).network, spikes) > 3_000


def test_cores_with_queues_do_not_wait_for_each_other() -> None:
    """Two layers of planes that take long steps, on four cores where nothing else helps."""
    r, shape = np.random.default_rng(0), (4, 16, 16)
    window, kernels = Window(shape, (3, 3), padding=(1, 1)), r.integers(-9, 30, (2, 4, 4, 3, 3)).astype(np.int8)
    net = Network(
        (Input("in", shape),), (Population("a", shape, threshold=90), Population("b", shape, threshold=90)),
        (Projection("in", "a", kernels[0], 0, window), Projection("a", "b", kernels[1], 0, window)))
    trace = golden.run(net, (r.random((1, 20, *shape)) < 0.03).astype(np.uint8))
    fabric = Fabric("floor", cores=4, lanes=4, update_lanes=1, rows=512, ahead=False)
    alone = cycles(place(net, fabric, 1), trace)[0, -1]
    without, with_ = (cycles(place(net, replace(fabric, queue=n)), trace)[0, -1] for n in (0, 256))
    assert alone > 3.5 * with_ and without > 1.25 * with_


def test_without_numba() -> None:
    code = ("import numpy as np; from aerloom import Fabric, place, quantize; from aerloom.models import golden, zoo;"
            "from aerloom.sim.cycles import cycles; net = quantize(zoo.load('digits'), 8).network;"
            "trace = golden.run(net, (np.random.default_rng(0).random((2, 4, 64)) < 0.2).astype(np.uint8));"
            "print([cycles(place(net, Fabric.preset(f)), trace).tolist() for f in ('medium', 'quad')])")
    with_, without = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                                     env=os.environ | {"NUMBA_DISABLE_JIT": off}).stdout for off in "01")
    assert with_ == without and len(with_) > 20


def test_what_does_not_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = zoo.load("digits")
    net = quantize(exact, 8).network
    trace = golden.run(net, spikes_of(exact, zoo.samples("digits")[0][:1]))
    monkeypatch.setattr(control, "run", lambda *_: -1)
    with pytest.raises(AerloomError, match="does not come to an end"):
        cycles(place(net, Fabric.preset("medium")), trace)
