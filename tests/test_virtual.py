"""The host's serial driver at a virtual board, end to end: what comes back is golden, whatever happens to the line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from lines import Faults, bad, values
from relay import Relay

from aerloom import AerloomError, Device, Fabric, Input, Network, Population, Projection, quantize, zoo
from aerloom.boards.fit import traffic
from aerloom.boards.top import Top, divisor
from aerloom.host.serial import connect, virtual
from aerloom.models import encode, golden
from aerloom.models.fabric import Kind, Space
from aerloom.models.place import address, packet
from aerloom.models.zoo import samples as zoo_samples

pytest.importorskip("pty", reason="a virtual board needs pseudo-terminals")


#: `tiny` with memories for the zoo's digits, and an encoder and a readout for them.
TINY = replace(Fabric.preset("tiny"), name="grown", rows=32, weight_words=2048, parameter_rows=128, pixels=64, classes=16)
SIZES = json.dumps(asdict(TINY))


class VirtualBoard:
    """``python -m aerloom.sim.virtual``"""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "aerloom.sim.virtual", "--fabric", SIZES, *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.path = self.process.stdout.readline().strip()

    def close(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def board() -> Iterator[str]:
    """The port of a virtual board: hosts come and go."""
    one = VirtualBoard()
    yield one.path
    assert one.close() == (0, "")


@pytest.fixture
def relayed(board: str, tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(board, tmp_path / "ttyBAD0")
    yield relay
    relay.close()


def network(seed: int = 0) -> Network:
    r = np.random.default_rng(seed)
    return Network(
        (Input("in", (30,)),),
        (Population("hidden", (20,), decay_v=3900, threshold=25), Population("out", (4,), threshold=30, v0=2)),
        (Projection("in", "hidden", r.integers(-5, 9, (20, 30)).astype(np.int8)),
         Projection("hidden", "hidden", r.integers(-5, 5, (20, 20)).astype(np.int8), delay=1),
         Projection("hidden", "out", r.integers(-9, 20, (4, 20)).astype(np.int8))),
    )


def spikes(batch: int, steps: int = 10, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).random((batch, steps, 30)) < 0.3).astype(np.uint8)


def check(device: Device, net: Network, sent: np.ndarray) -> None:
    run, trace = device.run(sent), golden.run(net, sent)
    for name in net.population:
        np.testing.assert_array_equal(run.spikes[name], trace.spikes[name])
        np.testing.assert_array_equal(device.peek(name), trace.state[name].v[-1])
    counters = device.counters()
    assert counters["synaptic_operations"] == trace.synaptic_operations
    assert counters["strays"] == 0


def test_the_virtual_board_is_golden(board: str) -> None:
    net = network()
    with Device(connect(TINY, board)) as device:
        device.load(net, watch=list(net.population))
        check(device, net, spikes(20))


@pytest.mark.parametrize("rate", [0.0, 5e-4])
def test_digits(relayed: Relay, rate: float) -> None:
    """The zoo's network, with and without every kind of fault on the way."""
    net = quantize(zoo("digits"), bits=8).network
    r = np.random.default_rng(5)
    sent = (r.random((3, 10, *net.inputs[0].shape)) < 0.3).astype(np.uint8)
    with Device(connect(TINY, str(relayed.name))) as device:
        relayed.there, relayed.back = bad(rate, 3), bad(rate, 4)
        device.load(net, watch=list(net.population))
        check(device, net, sent)


@pytest.mark.parametrize(("kind", "rate"), [("flip", 1e-3), ("drop", 2e-3), ("repeat", 2e-3), ("insert", 2e-3),
                                            ("burst", 5e-4), ("replay", 5e-4)])
def test_faults_change_nothing(relayed: Relay, kind: str, rate: float) -> None:
    net = network(1)
    with Device(connect(TINY, str(relayed.name))) as device:
        relayed.there, relayed.back = Faults(**{kind: rate}), Faults(**{kind: rate}, seed=1)
        device.load(net, watch=list(net.population))
        check(device, net, spikes(2))


def test_connecting_over_a_bad_line(relayed: Relay) -> None:
    relayed.there, relayed.back = bad(2e-3, 1), bad(2e-3, 2)
    for seed in range(4):
        with Device(connect(TINY, str(relayed.name))) as device:
            assert device.counters()["strays"] == 0, seed


def test_unplugged_and_plugged_in_again(relayed: Relay) -> None:
    net = network(2)

    def pull() -> None:
        for _ in range(3):
            time.sleep(0.15)
            relayed.unplug()
            time.sleep(0.15)
            relayed.plug()

    with Device(connect(TINY, str(relayed.name))) as device:
        device.load(net, watch=list(net.population))
        hand = threading.Thread(target=pull)
        hand.start()
        while hand.is_alive():
            check(device, net, spikes(30))
        check(device, net, spikes(2))


def test_unplugged_for_good(relayed: Relay) -> None:
    link = connect(TINY, str(relayed.name), patience=0.5)
    relayed.unplug()
    with pytest.raises(AerloomError, match="was unplugged, and did not come back in"):
        link.exchange(values(10), 10)
    with pytest.raises(AerloomError, match="was closed or broken off: connect again"):
        link.exchange(values(10), 10)


HOST = """
import os, sys, numpy as np
from aerloom import Fabric
from aerloom.host.serial import connect
from aerloom.models.frame import encode
link = connect(Fabric.preset("tiny"), sys.argv[1])
link._end.send(np.arange(500, dtype=np.uint32))
frames = link._end.frames()
link._line.write(frames[: len(frames) - 70])   # ends in the middle of a frame
os.kill(os.getpid(), 9)
"""


def test_a_host_killed_in_mid_frame_harms_no_other(board: str) -> None:
    net = network(3)
    for _ in range(3):
        subprocess.run([sys.executable, "-c", HOST, board], check=False)
        with Device(connect(TINY, board)) as device:
            device.load(net, watch=list(net.population))
            check(device, net, spikes(3))


def test_a_break_in_mid_answer_is_forgotten_by_the_next_host(board: str) -> None:
    net = network(4)
    link = connect(TINY, board)
    device = Device(link)
    device.load(net, watch=list(net.population))
    device._start(10)
    link._end.send(device._loaded().encode({"in": spikes(20).reshape(20, 10, 30)}))
    link._line.write(link._end.frames())  # and answers come that nobody reads
    link.close()
    with Device(connect(TINY, board)) as device:
        device.load(net, watch=list(net.population))
        check(device, net, spikes(3))


def test_two_hosts_do_not_share_a_board(relayed: Relay) -> None:
    first = connect(TINY, str(relayed.name))
    with pytest.raises(AerloomError, match="is busy: another program has it open"):
        connect(TINY, str(relayed.name))
    first.close()


def test_the_wrong_fabric_is_refused_by_name(board: str) -> None:
    link = connect(Fabric.preset("quad"), board)
    with pytest.raises(AerloomError, match=f"not of Fabric quad: its identity is {TINY.digest:016x}"):
        Device(link)
    link.close()
    with pytest.raises(AerloomError, match="is none of the presets"):
        connect(None, board)


def test_uart_and_all() -> None:
    """Every bit on the wire."""
    net = network(5)
    with Device(virtual(TINY, uart=True)) as device:
        device.load(net, watch=list(net.population))
        check(device, net, spikes(1, 5))


def test_bytes_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many go over a line that is slower than the chip as `aerloom fit` says."""
    net, images = quantize(zoo("digits"), bits=8).network, zoo_samples("digits")[0][:28]
    link = virtual(TINY, uart=True)
    line, sent = link._line, [0]

    def write(data: bytes, write: Callable[[bytes], None] = line.write) -> None:
        sent.append(sent[-1] + len(data))
        write(data)

    monkeypatch.setattr(line, "write", write)
    with Device(link) as device:
        device.load(net)
        spent = []
        for batch in (images[:4], images):
            before = sent[-1]
            found = device.infer(images=batch)
            spent.append(sent[-1] - before)
        pictures = encode.images(net, images, 25)
        np.testing.assert_array_equal(found, golden.classes(net, golden.run(net, pictures.spikes())))
        assert (spent[1] - spent[0]) / 24 == pytest.approx(traffic(device.placement, 25, None).bytes, rel=0.08)


def test_packets_a_second(board: str) -> None:
    """A tenth of what it does when it has a processor for itself; what is measured is printed."""
    link, count = connect(TINY, board), 20_000
    words = np.full(count, packet(Kind.WRITE, 0, 0), np.uint32)
    began = time.perf_counter()
    link.exchange(np.concatenate([[address(0, Space.WEIGHTS, 0)], words]).astype(np.uint32), 0)
    took = time.perf_counter() - began
    link.close()
    print(f"{count / took:.0f} packets a second")
    assert count / took > 1000


def test_what_does_not_start_says_why() -> None:
    one = subprocess.run([sys.executable, "-m", "aerloom.sim.virtual", "--fabric", "huge"], capture_output=True, text=True)
    assert (one.returncode, one.stderr[:35]) == (2, "error: no Fabric is called 'huge'; ")
    with pytest.raises(AerloomError, match="the virtual board does not start: there is no simulation engine 'moon'"):
        virtual(TINY, engine="moon")


def test_sigint_ends_it_in_silence(tmp_path: Path) -> None:
    one = VirtualBoard("--port-file", str(tmp_path / "port"))
    assert (tmp_path / "port").read_text().strip() == one.path
    assert one.close() == (0, "")
    assert not (tmp_path / "port").exists() and not os.path.exists(one.path)


def test_the_top_fits_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a plan of a build goes: no tools are run."""
    boards = pytest.importorskip("amaranth_boards.icebreaker")
    for tool in ("YOSYS", "NEXTPNR_ICE40", "ICEPACK"):
        monkeypatch.setenv(tool, sys.executable)
    plan = boards.ICEBreakerPlatform().build(Top(TINY, 12e6, 1e6), do_build=False)
    assert "set_io tx_0__io 9" in plan.files["top.pcf"] or "uart_0__tx" in plan.files["top.pcf"]
    with pytest.raises(ValueError, match=r"5e\+06 baud cannot be made of 1.2e\+07 Hz: a bit takes 2.4 clocks"):
        divisor(12e6, 5e6)


def test_a_board_by_name() -> None:
    """``aerloom virtual BOARD`` prints the path of its terminal, and ends in silence."""
    command = [sys.executable, "-m", "aerloom", "virtual"]
    none = subprocess.run([*command, "ulx4s"], capture_output=True, text=True)
    assert none.returncode == 2 and "no board and no Fabric is called 'ulx4s'" in none.stderr
    process = subprocess.Popen([*command, "ice40-hx8k", "--engine", "amaranth"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout and os.path.exists(process.stdout.readline().strip())
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    assert process.communicate(timeout=20) == ("", "") and process.returncode == 0


@pytest.mark.full
def test_a_board_with_a_network_inside(tmp_path: Path) -> None:
    net = network()
    net.save(tmp_path / "net.npz")
    (tmp_path / "sizes.json").write_text(SIZES)
    process = subprocess.Popen([sys.executable, "-m", "aerloom", "virtual", str(tmp_path / "sizes.json"), "--bake",
                                str(tmp_path / "net.npz"), "--engine", "amaranth"], stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    assert process.stdout
    try:
        with Device(connect(TINY, process.stdout.readline().strip(), patience=60)) as device:
            device.assume(net, watch=list(net.population))
            run, trace = device.run(spikes(1)), golden.run(net, spikes(1))
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
    for name in net.population:
        np.testing.assert_array_equal(run.spikes[name], trace.spikes[name])
