"""Trees of any size: chips elaborate, packets reach whom they should, and no cut changes a sum."""

import dataclasses

import numpy as np
import pytest

from aerloom import Fabric, Input, Network, Population, Projection, place
from aerloom.hdl.chip import Chip
from aerloom.models import golden
from aerloom.models.floor import loads
from aerloom.models.place import Link, Placement
from aerloom.models.reach import chain
from aerloom.models.window import Window
from aerloom.sim import build

TINY = Fabric.preset("tiny")
ROOMY = dataclasses.replace(TINY, rows=1024, weight_words=1 << 15, parameter_rows=1024, projections=1 << 10, places=1024,
                            runs=1 << 14, keys=512, sum_bits=20)


@pytest.mark.parametrize("cores", [3, *(pytest.param(n, marks=pytest.mark.full) for n in (1, 2, 5, 8, 16, 64))])
def test_chips_of_any_number_of_cores_elaborate(cores: int) -> None:
    text = build.design(Chip(dataclasses.replace(TINY, cores=cores, queue=16)))
    assert text.count("attribute \\top 1") == 1
    for n in range(cores):
        assert text.count(f" \\core_{n}\n") == 1
    assert f" \\core_{cores}\n" not in text


def network(r: np.random.Generator) -> Network:
    """Convolutional, pooled, sparse and recurrent, with delay lines: large enough for a row on each of 64 cores."""
    window = Window((2, 10, 8), (3, 3), padding=(1, 1))
    return Network(
        (Input("in", window.shape),),
        (Population("map", (5, 10, 8), threshold=40, decay_v=4000), Population("flat", (270,), threshold=90)),
        (Projection("in", "map", r.integers(-20, 30, (5, 2, 3, 3)).astype(np.int8), 0, window),
         Projection("map", "flat", r.integers(-9, 12, (270, 100)).astype(np.int8), 2, None,
                    Window((5, 10, 8), (2, 2), (2, 2))),
         Projection("flat", "flat", (r.integers(-9, 9, (270, 270)) * (r.random((270, 270)) < 0.2)).astype(np.int8), 1)),
    )


def sums(link: Link, index: int) -> np.ndarray:
    """What a spike adds to the neurons of a link's target, as the tables say it."""
    way, target = link.reach, link.target.grid
    out = np.zeros((target.rows, target.lanes), int)
    if way is None:
        return out[target.seats >= 0]
    if way.code is not None:
        for e in chain(way.tables[2], index):
            out[e.row : e.row + e.count] += way.words[e.weights : e.weights + e.count]
        return out[target.seats >= 0]
    lines, columns, row, word, count = 1, 1, 0, index, way.rows
    if way.tables is not None:
        at = link.source.code
        fields = (index >> at.channel_bits >> at.column_bits, index >> at.channel_bits & (1 << at.column_bits) - 1,
                  index & (1 << at.channel_bits) - 1)
        entries = [axis[n] for axis, n in zip(way.tables, fields, strict=True)]
        lines, columns, count = (e.count for e in entries)
        row, word = sum(e.row for e in entries), sum(e.weights for e in entries)
    for j in range(lines):
        for i in range(columns):
            for n in range(count):
                out[row + j * way.step_y[0] + i * way.step_x[0] + n] += way.words[
                    word + j * way.step_y[1] + i * way.step_x[1] + n * way.stride]
    return out[target.seats >= 0]


def at_seats(link: Link) -> np.ndarray:
    """The numbers of the neurons whose sums those are."""
    seats = link.target.grid.seats
    return seats[seats >= 0]


@pytest.mark.parametrize("cores", [1, 3, 8, *(pytest.param(n, marks=pytest.mark.full) for n in (2, 5, 16, 64))])
def test_every_cut_has_the_same_sums(cores: int) -> None:
    r = np.random.default_rng(cores)
    net = network(r)
    placement = place(net, dataclasses.replace(ROOMY, cores=cores))
    assert sum(part.rows for part in placement.parts) == sum(core.rows for core in placement.cores)
    lines = {line: part for part, line in placement.lines.items()}
    for q in net.projections:
        expected = golden.deliver(q, np.eye(net.sources[q.source].size, dtype=np.uint8), np.float64).astype(int)
        found, chosen = np.zeros_like(expected), r.choice(len(expected), 40, replace=False)
        for link in (k for core in placement.cores for k in core.links if k.target.source == q.target):
            sender = lines.get(link.source, link.source)
            if sender.source != q.source:
                continue
            stage = placement.plan.held[q] - 1 if link.source.stages else 0
            height = sender.grid.height
            for neuron in np.intersect1d(chosen, sender.neurons):
                y, x, c = np.argwhere(sender.grid.numbers == neuron)[0]
                found[neuron][at_seats(link)] += sums(link, int(link.source.code.index(y + stage * height, x, c)))
        np.testing.assert_array_equal(found[chosen], expected[chosen])


def test_sixty_four_cores_share_the_load() -> None:
    r = np.random.default_rng(0)
    net = network(r)
    trace = golden.run(net, (r.random((1, 6, 160)) < 0.2).astype(np.uint8))
    cycles = {}
    for cores in (1, 64):
        placement: Placement = place(net, dataclasses.replace(ROOMY, cores=cores))
        each = loads(placement, trace)
        assert len(each) == cores
        cycles[cores] = max(core.cycles for core in each)
    assert cycles[1] > 20 * cycles[64]
