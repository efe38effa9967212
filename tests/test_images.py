"""Images through the Device: the same answers with encoder and readout in the chip, with one of them, and with none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import networks, planar
from test_chip import HOWEVER_LONG, ROOMY, TINY, dense, planes, roomy

from aerloom import AerloomError, Device, Input, Network, Population, Projection, connect, quantize, zoo
from aerloom.host import encode as host
from aerloom.models import encode, golden, image
from aerloom.models.contents import baked
from aerloom.models.encode import CODES, Images
from aerloom.models.place import Placement, place
from aerloom.models.zoo import samples as zoo_samples

# --- the numbers


def flat(size: int) -> Network:
    return Network((Input("in", (size,)),), (Population("p", (2,)),), (Projection("in", "p", np.zeros((2, size))),))


def test_draws_go_through_all_numbers_but_0() -> None:
    """The order of the step, as a matrix over two elements, is 2³² − 1."""
    one = [1 << n for n in range(32)]
    step = [encode.next_draw(column) for column in one]

    def times(a: list[int], b: list[int]) -> list[int]:
        return [int(np.bitwise_xor.reduce([a[k] for k in range(32) if column >> k & 1] or [0])) for column in b]

    def power(n: int) -> list[int]:
        out, square = one, step
        while n:
            out, square, n = times(square, out) if n & 1 else out, times(square, square), n >> 1
        return out

    period = 2**32 - 1
    assert power(period) == one
    assert all(power(period // prime) != one for prime in (3, 5, 17, 257, 65537))


def test_a_pixel_spikes_with_exactly_its_probability() -> None:
    """Of all draws 1 … 2³² − 1, so many are low enough: intensity times the 255th part of them."""
    part = (2**32 - 1) // 255
    for level in range(256):
        assert level == 0 or encode.fires(level, level * part)
        assert not encode.fires(level, level * part + 1)


def test_rate_is_a_rate() -> None:
    ramp = np.arange(256, dtype=np.uint8)
    spikes = encode.images(flat(256), np.tile(ramp, (200, 1)), 100, seed=1).spikes()["in"].astype(float)
    np.testing.assert_allclose(spikes.mean(axis=(0, 1)), ramp / 255, atol=0.02)
    away = spikes - ramp / 255
    assert np.abs((away[:, :, 1:] * away[:, :, :-1]).mean(axis=(0, 1))).max() < 0.01  # of neighbours
    assert np.abs((away[:, 1:] * away[:, :-1]).mean(axis=(0, 1))).max() < 0.01  # of steps


def test_rate_depends_on_the_seed_and_on_the_place_in_the_batch() -> None:
    same = np.full((3, 40), 100, np.uint8)
    a, b = (encode.images(flat(40), same, 20, seed=seed).spikes()["in"] for seed in (1, 2))
    assert np.any(a != b) and np.any(a[0] != a[1])
    np.testing.assert_array_equal(a[:2], encode.images(flat(40), same[:2], 20, seed=1).spikes()["in"])


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 25, 100, 255, 300])
def test_latency_is_the_hosts(steps: int) -> None:
    ramp = np.arange(256)[None] / 255
    np.testing.assert_array_equal(
        encode.images(flat(256), ramp, steps, "latency").spikes()["in"], host.latency(ramp, steps))


@pytest.mark.parametrize("call, says", [
    (lambda: encode.images(flat(3), [[0.1, 0.2]], 4), r"must have the shape \(batch, 3\), not \(1, 2\)"),
    (lambda: encode.images(flat(2), [[0.1, 1.2]], 4), "must have values in 0 … 1"),
    (lambda: encode.images(flat(2), [[0.1, np.nan]], 4), "must have values in 0 … 1"),
    (lambda: encode.images(flat(2), [["a", "b"]], 4), "must have values in 0 … 1"),
    (lambda: encode.images(flat(2), [[0.1, 0.2]], 0), "at least one step"),
    (lambda: encode.images(flat(2), [[0.1, 0.2]], 4, seed=-1), "seed must be at least 0"),
    (lambda: encode.images(flat(2), [[0.1, 0.2]], 4, "morse"), "no encoder 'morse' of images; there are rate, latency"),
    (lambda: encode.images(flat(2), {"on": [[0.1, 0.2]]}, 4), "images are for on, not for the inputs in"),
    (lambda: encode.images(two_eyes(), [[0.1, 0.2]], 4), "the inputs left, right: give a mapping"),
    (lambda: encode.images(two_eyes(), {"left": np.zeros((2, 3)), "right": np.zeros((1, 5))}, 4), "not 2, 1"),
])
def test_refuses(call: Callable[[], Images], says: str) -> None:
    with pytest.raises(AerloomError, match=says):
        call()


# --- the chip


def two_eyes() -> Network:
    r = np.random.default_rng(3)
    return Network(
        (Input("left", (3,)), Input("right", (5,))), (Population("out", (4,), threshold=20),),
        (Projection("left", "out", r.integers(-3, 9, (4, 3)).astype(np.int8)),
         Projection("right", "out", r.integers(-3, 9, (4, 5)).astype(np.int8))))


def values(network: Network, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    r = np.random.default_rng(seed)
    return {i.name: r.integers(0, 256, (batch, *i.shape), dtype=np.uint8) for i in network.inputs}


def expected(network: Network, images: dict[str, np.ndarray], steps: int, code: str, seed: int) -> np.ndarray:
    return golden.classes(network, golden.run(network, encode.images(network, images, steps, code, seed).spikes()))


@pytest.mark.parametrize("sizes", [{"pixels": 64}, {"classes": 8}, {"pixels": 8}])
def test_the_same_answers_on_every_chip(chips: Callable[..., Device], sizes: dict[str, int]) -> None:
    device, network = chips(replace(TINY, **sizes), "amaranth", stall=0.2), dense(3)
    device.load(network)
    images = values(network, 2)
    for code in CODES:
        found = device.infer(images=images, encoder=code, steps=4, seed=5)
        np.testing.assert_array_equal(found, expected(network, images, 4, code, 5))
    assert device.counters()["strays"] == 0


def test_a_chip_with_a_network_inside_sees() -> None:
    network, fabric = dense(3), replace(TINY, pixels=64, classes=8)
    inside = baked(place(network, fabric), steps=4)
    with connect("sim", fabric, engine="amaranth", contents=inside, stall=0.2) as device:
        device.assume(network)
        images = values(network, 3)
        found = device.infer(images=images, steps=4)
    np.testing.assert_array_equal(found, expected(network, images, 4, "rate", 0))


@pytest.mark.parametrize("strategy", [networks, planar])
def test_any_network_sees(chips: Callable[..., Device], strategy: Callable[..., object]) -> None:
    device = roomy(chips, 1)

    @settings(HOWEVER_LONG, max_examples=50)
    @given(data=st.data())
    def some(data: st.DataObject) -> None:
        network = data.draw(strategy())
        assume(not Placement(network, device.fabric).problems)
        device.load(network, watch=list(network.population))
        images = values(network, data.draw(st.integers(1, 3)), data.draw(st.integers(0, 1000)))
        steps, code = data.draw(st.integers(1, 9)), data.draw(st.sampled_from(CODES))
        found = device.infer(images=images, encoder=code, steps=steps)
        np.testing.assert_array_equal(found, expected(network, images, steps, code, 0))

    some()


def test_a_chip_may_be_silent_for_long(chips: Callable[..., Device]) -> None:
    """An image of many steps: no packet moves for more than a hundred thousand clocks."""
    network, images = quantize(zoo("digits"), 8).network, zoo_samples("digits")[0][:1]
    device = roomy(chips, 1)
    device.load(network)
    found = device.infer(images=images, encoder="rate", steps=300)
    assert device.counters()["cycles"] > 100_000
    np.testing.assert_array_equal(found, expected(network, {network.inputs[0].name: images}, 300, "rate", 0))


@pytest.mark.parametrize("code", CODES)
def test_digits_cost_an_image_down_and_an_answer_up(chips: Callable[..., Device], code: str) -> None:
    network = quantize(zoo("digits"), 8).network
    images = zoo_samples("digits")[0][:30]
    device = roomy(chips, 1)
    device.load(network)
    found = device.infer(images=images, encoder=code, seed=7)
    np.testing.assert_array_equal(found, expected(network, {network.inputs[0].name: images}, 25, code, 7))
    down, up = device.sent, device.received
    more = np.concatenate([images, images])
    device.infer(images=images, encoder=code, seed=7)
    once, answers = device.sent - down, device.received - up
    device.infer(images=more, encoder=code, seed=7)
    per_image = (device.sent - down - 2 * once) / len(images)
    assert answers == len(images) + 1  # and the core's, that it has its tables
    assert per_image == 64 // 2 + 2 + 2  # two pixels in a packet, the first draw, and where each of these goes
    assert device.received - up == 3 * len(images) + 2


def test_a_run_after_images_is_a_run(chips: Callable[..., Device]) -> None:
    device, network = roomy(chips, 1), planes()
    device.load(network)
    spikes = {"in": (np.random.default_rng(1).random((2, 7, 48)) < 0.2).astype(np.uint8)}
    images = values(network, 2)
    for _ in range(2):
        found = device.infer(images=images, steps=9)
        np.testing.assert_array_equal(found, expected(network, images, 9, "rate", 0))
        np.testing.assert_array_equal(device.run(spikes).spikes["out"], golden.run(network, spikes).spikes["out"])
        np.testing.assert_array_equal(device.infer(spikes), golden.classes(network, golden.run(network, spikes)))


@pytest.mark.parametrize("reset", ["subtract", "none"])
def test_direct_coding_is_a_bias_for_each_sample(chips: Callable[..., Device], reset: str) -> None:
    """Of neurons that have parameters of their own or share them; the network is what it was afterwards."""
    device, r, network = roomy(chips, 1), np.random.default_rng(2), dense(3)
    hidden, out = network.populations
    network = network.replace(populations=(hidden, replace(out, reset=reset)))
    device.load(network)
    currents = np.concatenate([r.integers(-100, 100, (4, 17)) * (r.random((4, 17)) < 0.3), np.full((1, 17), 20)])
    coded = [host.direct(network, current) for current in currents]
    silence = np.zeros((1, 12, 20), np.uint8)
    classes = [int(golden.classes(one, golden.run(one, silence))[0]) for one in coded]
    done: list[int] = []
    found = device.infer(images=currents, encoder="direct", steps=12, progress=done.append)
    assert found.tolist() == classes and len(set(classes)) > 1 and done == [1, 2, 3, 4, 5]
    spikes = (r.random((2, 7, 20)) < 0.4).astype(np.uint8)
    np.testing.assert_array_equal(device.run(spikes).spikes["out"], golden.run(network, spikes).spikes["out"])
    with pytest.raises(AerloomError, match="hidden: direct coding takes 17 finite values, not 3"):
        device.infer(images=np.zeros((1, 3), int), encoder="direct", steps=3)
    np.testing.assert_array_equal(device.run(spikes).spikes["out"], golden.run(network, spikes).spikes["out"])


def test_the_link_is_waited_for_twice(chips: Callable[..., Device], monkeypatch: pytest.MonkeyPatch) -> None:
    device, network = roomy(chips, 1), dense(3)
    device.load(network)
    exchange, waits = device._link.exchange, []

    def counted(words: np.ndarray, *rest: Any) -> np.ndarray:
        waits.append(len(words))
        return exchange(words, *rest)

    monkeypatch.setattr(device._link, "exchange", counted)
    device.infer(images=values(network, 3), steps=9)
    assert len(waits) == 2 and min(waits) > 2


def test_cycles_count_to_the_last_answer(chips: Callable[..., Device]) -> None:
    device, network = roomy(chips, 1), dense(3)
    device.load(network)
    images = values(network, 4)
    device.infer(images=images, steps=20)
    cycles = device.counters()["cycles"]
    device.run(encode.images(network, images, 20).spikes())
    assert 0.9 < cycles / device.counters()["cycles"] < 1.6


def test_what_infer_refuses(chips: Callable[..., Device]) -> None:
    device, network = roomy(chips, 1), dense(3)
    device.load(network)
    images = values(network, 1)
    for options, says in (
        ({}, "infer takes spikes, or images"),
        ({"images": images}, "does not say how many steps"),
        ({"images": images, "steps": 70000}, "65535 steps, not 70000"),
        ({"images": images, "steps": 3, "encoder": "morse"}, "no encoder 'morse'"),
    ):
        with pytest.raises(AerloomError, match=says):
            device.infer(**options)


def test_images_that_are_left_early(chips: Callable[..., Device]) -> None:
    device, network = roomy(chips, 1), dense(3)
    device.load(network)
    images = values(network, 3)
    whole = device.infer(images=images, steps=12)
    before = device.received
    np.testing.assert_array_equal(device.infer(images=images, steps=12, early="decided"), whole)
    assert device.received - before > 3 * 2  # it watched the steps
    with pytest.raises(AerloomError, match="not left early"):
        device.infer(images=np.zeros((1, 17), int), encoder="direct", steps=3, early=1)


def wide(neurons: int, **options: Any) -> Network:
    return Network((Input("in", (20,)),), (Population("out", (neurons,), threshold=9, **options),),
                   (Projection("in", "out", np.ones((neurons, 20), np.int8)),))


def test_what_a_readout_can_count() -> None:
    """One part of up to so many neurons, whose counts fit; all else is left to the host."""
    fabric = replace(TINY, classes=16, cores=2)
    most = fabric.answer_record.fields["spikes"].limits[1]

    def counts(network: Network, steps: int, cores: int = 1) -> bool:
        return image.counted(place(network, fabric, cores), "out", steps) is not None

    assert counts(wide(16), most) and not counts(wide(16), most + 1)
    assert counts(wide(16, max_spikes=7), most // 7) and not counts(wide(16, max_spikes=7), most // 7 + 1)
    assert not counts(wide(17), 1)
    assert not counts(wide(16), 1, cores=2)
    assert image.counted(place(planes(), replace(ROOMY, classes=64)), "map", 1) is None  # its indices are no numbers


def test_sizes_that_see_a_network() -> None:
    """Whatever they are, they do, and half of them do not."""
    def sizes(encoding: dict[str, object] | None, outputs: int = 4, **options: Any) -> dict[str, int]:
        network = wide(outputs, **options).replace(meta={} if encoding is None else {"encoding": encoding})
        return image.vision(network)

    assert sizes({"name": "rate", "steps": 25}) == sizes({"name": "lfsr", "steps": 25}) == {"pixels": 32, "classes": 4}
    assert sizes({"name": "latency", "steps": 6}, 5) == {"pixels": 32, "classes": 8}
    assert sizes({"name": "latency", "steps": 7})["pixels"] == 64
    assert sizes({"name": "rate", "steps": 25}, reset="none") == {"pixels": 32}
    brighter = {"name": "latency", "steps": 6, "threshold": 0.1}
    assert not any(map(sizes, (None, {"name": "direct", "steps": 9}, {"name": "rate"}, brighter)))
    for name in ("digits", "mnist", "mnist-conv"):
        network = quantize(zoo(name), 8).network
        own = encode.blank(network)
        for more in (1, 2):
            placement = Placement(network, replace(ROOMY, **{n: size // more for n, size in image.vision(network).items()}))
            assert own is not None and image.encodes(placement, own) == (more == 1)
            assert (image.counted(placement, "output", own.steps) is not None) == (more == 1)


@pytest.mark.parametrize("pixels, code, steps, fits", [
    (32, "rate", 99, True), (16, "rate", 1, False), (32, "latency", 6, True), (32, "latency", 7, False)])
def test_what_an_encoder_can_send(pixels: int, code: str, steps: int, fits: bool) -> None:
    """Twenty pixels in ten words, and a word for each step that has a range."""
    placement = place(wide(4), replace(TINY, pixels=pixels))
    assert image.encodes(placement, encode.images(wide(4), np.zeros((1, 20)), steps, code)) == fits
