"""Images into spikes, and spikes into answers, in the chip: the components, bit for bit what the host does."""

import dataclasses
import random

import numpy as np
import pytest

from aerloom.hdl.encode import Encoder
from aerloom.hdl.readout import Readout
from aerloom.models import encode
from aerloom.models.encode import Images
from aerloom.models.fabric import CHIP, Kind, Space, Start
from aerloom.models.grid import Code, Grid
from aerloom.sim.engine import open_engine
from tests.wrap import TOY, Plain, many, packet, talk, writes

FABRIC = dataclasses.replace(TOY, pixels=512, classes=4)
ALL = np.arange(256, dtype=np.uint8)  # every intensity there is


def write(space, address, data):
    return {"place": {"space": space, "address": address, "chunk": 0}, "data": data}


def scan(columns, lines, pixels, steps):
    return {"known": 1, "pixels": pixels, "columns": columns, "lines": lines, "step": steps[0],
            "step_line": steps[1] % 2048, "step_plane": steps[2] % 2048}


def stored(rows):
    """Rows of GATES, behind the chunks of the gate itself."""
    record, before = FABRIC.scan_record, FABRIC.gate_record.chunks
    words = [record.pack(**row) << 16 * before for row in rows]
    return writes(Space.GATES, words, before + record.chunks)


def sent(simulation, rows, images, drain=0):
    """What the encoder sends of the images, one after the other."""
    at = -(-images.intensities.shape[1] // 2)
    head = [write(Space.START, Start.STEPS, images.steps), write(Space.START, Start.RANGES, 0)]
    if images.ranges is not None:
        head[1]["data"] = at
        head += [write(Space.IMAGE, at + n, int(low) | int(high) << 8) for n, (low, high) in enumerate(images.ranges)]
    talk(simulation, {"write": stored(rows) + head}, {})
    out = []
    for pixels, first, spikes in zip(images.intensities, images.first, total(images), strict=True):
        flat = np.append(pixels, 0)
        words = [write(Space.IMAGE, n, int(flat[2 * n]) | int(flat[2 * n + 1]) << 8) for n in range(at)]
        words += [write(Space.START, Start.DRAW, int(first) & 0xFFFF), write(Space.START, Start.GO, int(first) >> 16)]
        count = int(spikes.sum()) + images.steps * sum(row.get("known", 0) for row in rows)
        out.append(talk(simulation, {"write": words}, {"o": count}, drain=drain)["o"])
    return out


def total(images):
    """Spikes of all inputs beside each other."""
    return np.concatenate(list(images.spikes().values()), axis=2)


def packets(spikes, index, key=0):
    """What a host would send of the spikes ``(steps, pixels)`` of one input."""
    out = []
    for step in spikes:
        out += [packet(Kind.SPIKE, key, int(index[n])) for n in np.flatnonzero(step)] + [packet(Kind.STEP, key)]
    return out


def told(out):
    """The index of a STEP says nothing."""
    return [p | {"index": 0} if p["kind"] == Kind.STEP else p for p in out]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("code", encode.CODES)
def test_every_intensity(engine, stall, steps, code):
    ranges = encode.latency_ranges(steps) if code == "latency" else None
    images = Images({"in": 256}, np.stack([ALL, ALL[::-1]]), steps, np.array([0xDEADBEEF, 1], np.uint32), ranges)
    with open_engine(Plain(Encoder(FABRIC)), engine, stall=stall) as simulation:
        out = sent(simulation, [scan(256, 1, 256, (1, 1, 1))], images, drain=20)
    assert [told(p) for p in out] == [packets(s, np.arange(256)) for s in images.spikes()["in"]]


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 4, 1), (3, 1, 1), (3, 5, 3), (2, 4, 6)])
def test_indices_of_planes(engine, shape):
    _, lines, columns = shape
    grid = Grid.whole(shape, int(np.prod(shape)), 4)
    code = Code.of(grid, False)
    c, y, x = np.indices(shape).reshape(3, -1)
    line, back = 1 << code.channel_bits + code.column_bits, (columns - 1) << code.channel_bits
    row = scan(columns, lines, grid.size, (1 << code.channel_bits, line - back, 1 - back - (lines - 1) * line))
    images = Images({"in": grid.size}, np.full((1, grid.size), 170, np.uint8), 3, np.array([77], np.uint32))
    with open_engine(Plain(Encoder(FABRIC)), engine, stall=0.2) as simulation:
        out = sent(simulation, [row], images)
    assert told(out[0]) == packets(images.spikes()["in"][0], code.index(y, x, c))


def test_several_inputs_take_turns(engine):
    """Key 0 has five pixels, 1 is not there, 2 has a clock's none; the pixels of all are one row of draws."""
    rows = [scan(5, 1, 5, (1, 1, 1)), {"known": 0}, scan(1, 1, 0, (1, 1, 1))]
    images = Images({"in": 5}, np.full((2, 5), 99, np.uint8), 6, np.array([5, 6 << 20], np.uint32))
    with open_engine(Plain(Encoder(FABRIC)), engine, stall=0.3) as simulation:
        out = sent(simulation, rows, images, drain=30)
    for one, spikes in zip(out, images.spikes()["in"], strict=True):
        expected = []
        for step in spikes:
            expected += [*packets([step], np.arange(5)), packet(Kind.STEP, 2)]
        assert told(one) == expected
    rows = [scan(3, 1, 3, (1, 1, 1)), scan(4, 1, 4, (1, 1, 1)), {"known": 0}]
    images = Images({"a": 3, "b": 4}, np.array([[9, 99, 199, 255, 0, 128, 3]], np.uint8), 9, np.array([5], np.uint32))
    with open_engine(Plain(Encoder(FABRIC)), engine, stall=0.3) as simulation:
        out = sent(simulation, rows, images)
    a, b = (images.spikes()[name][0] for name in "ab")
    assert told(out[0]) == [p for x, y in zip(a, b, strict=True)
                            for p in packets([x], np.arange(3)) + packets([y], np.arange(4), 1)]


def test_the_host_waits_while_an_image_is_sent(engine):
    """Its packets come before the image, or after it, and in their order."""
    row, host = scan(4, 1, 4, (1, 1, 1)), [packet(Kind.WRITE, CHIP, n) for n in range(9)]
    images = Images({"in": 4}, np.full((1, 4), 255, np.uint8), 3, np.array([1], np.uint32))
    with open_engine(Plain(Encoder(FABRIC)), engine, stall=0.3) as simulation:
        assert talk(simulation, {"i": host}, {"o": 9})["o"] == host
        sent(simulation, [row], images, drain=20)
        out = talk(simulation, {"write": [write(Space.START, Start.GO, 0)]}, {}, drain=4)["o"]
        out += talk(simulation, {"i": host}, {"o": 3 * 5 + 9 - len(out)}, drain=9)["o"]
    assert told(out) == packets(np.ones((3, 4)), np.arange(4)) + host


def test_a_dark_pixel_takes_one_clock(engine):
    images = Images({"in": 512}, np.zeros((1, 512), np.uint8), 4, np.array([1], np.uint32))
    with open_engine(Plain(Encoder(FABRIC)), engine) as simulation:
        sent(simulation, [scan(512, 1, 512, (1, 1, 1))], images, drain=20)
        before = simulation.cycles
        talk(simulation, {"write": [write(Space.START, Start.GO, 0)]}, {"o": 4})
        assert 4 * 512 < simulation.cycles - before < 4 * 512 + 60


# --- the readout

OUTPUT = 5


def counted(samples):
    """What goes up in samples ``(samples, steps, classes)`` of spike counts, and the answers."""
    up, answers = [], []
    for sample in samples:
        for step in sample:
            up += [packet(Kind.SPIKE, OUTPUT, n) for n in np.repeat(np.arange(len(step)), step).tolist()]
            up.append(packet(Kind.STEP, OUTPUT))
        counts = sample.sum(axis=0)
        answers.append(packet(Kind.VALUE, CHIP, FABRIC.answer_record.pack(
            winner=int(counts.argmax()), spikes=int(counts.max()))))
    return up, answers


def readout(engine, steps, output=OUTPUT, **options):
    simulation = open_engine(Plain(Readout(FABRIC), events=["answered"]), engine, **options)
    restart(simulation, steps, output)
    return simulation


def restart(simulation, steps, output=OUTPUT):
    talk(simulation, {"restart": [1]}, {}, drain=5)
    talk(simulation, {"write": [write(Space.START, Start.STEPS, steps), write(Space.START, Start.OUTPUT, output)]}, {})


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_every_small_count(engine, stall):
    """All 81 ways in which four neurons have up to two spikes each, in one step or in two, ties among them."""
    for steps in (1, 2):
        ways = np.array(np.meshgrid(*[range(3)] * 4)).reshape(4, -1).T
        samples = np.stack([ways, ways[::-1]], axis=1)[:, :steps][:: 1 if engine == "compiled" else 5]
        up, answers = counted(samples)
        with readout(engine, steps, stall=stall) as simulation:
            out = talk(simulation, {"i": up}, {"o": len(answers), "answered": len(answers)}, drain=30)
        assert out["o"] == answers and len(out["answered"]) == len(answers)


def test_others_pass_in_their_order(engine):
    r = random.Random(2)
    others = [packet(kind, key, r.getrandbits(19)) for kind in Kind for key in (0, 4, 5, 6, 37)
              if key != OUTPUT or kind not in (Kind.SPIKE, Kind.STEP)] * many(engine, 20)
    up, answers = counted(np.random.default_rng(1).integers(0, 4, (many(engine, 30), 3, 4)))
    mixed = list(others)
    for n, place in reversed(list(enumerate(sorted(r.randrange(len(others)) for _ in up)))):
        mixed.insert(place, up[n])
    with readout(engine, 3, stall=0.3) as simulation:
        out = talk(simulation, {"i": mixed}, {"o": len(others) + len(answers)}, drain=30)["o"]
    assert [p for p in out if p["key"] != CHIP] == others
    assert [p for p in out if p["key"] == CHIP] == answers


def test_without_an_output_all_pass(engine):
    up, _ = counted(np.ones((1, 2, 4), int))
    with readout(engine, 2, output=0, stall=0.3) as simulation:
        assert talk(simulation, {"i": up}, {"o": len(up)})["o"] == up


def test_a_reset_in_mid_sample_forgets(engine):
    up, answers = counted(np.array([[[0, 1, 0, 0], [0, 0, 0, 0]]]))
    with readout(engine, 2, stall=0.3) as simulation:
        talk(simulation, {"i": counted(np.full((1, 2, 4), 3))[0][:-1]}, {}, drain=9)
        restart(simulation, 2)
        assert talk(simulation, {"i": up}, {"o": 1}, drain=30)["o"] == answers
