"""What a spike reaches: tables and steps as the hardware reads them, against the definition of a convolution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aerloom import Projection
from aerloom.models import golden
from aerloom.models.grid import Grid
from aerloom.models.reach import chain, one_to_one, reach, shifted, sparse
from aerloom.models.window import Window
from tests.test_locate import projections

LANES = 4


def walk(way, y, x, c):
    """Rows and words of a spike, window by window."""
    line, column, channel = (axis[n] for axis, n in zip(way.tables, (y, x, c), strict=True))
    row, word = line.row + column.row + channel.row, line.weights + column.weights + channel.weights
    return [
        (row + j * way.step_y[0] + i * way.step_x[0] + n, word + j * way.step_y[1] + i * way.step_x[1] + n * way.stride)
        for j in range(line.count) for i in range(column.count) for n in range(channel.count)
    ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(projections(), st.integers(1, 4), st.integers(1, 4))
def test_sums_are_those_of_golden_however_both_are_cut(made, source_cuts, target_cuts):
    q, planes, shape = made
    every = golden.deliver(q, np.eye(q.shape[1], dtype=np.uint8), np.float64).astype(int)
    for source in Grid.whole(planes, q.shape[1], LANES).cut(source_cuts):
        for target in Grid.whole(shape, q.shape[0], LANES).cut(target_cuts):
            way = reach(q, source, target, False)
            for y, x, c in zip(*np.nonzero(source.numbers >= 0), strict=True):
                sums = np.zeros((target.rows, LANES), int)
                for row, word in walk(way, y, x, c):
                    sums[row] += way.words[word]
                live = target.seats >= 0
                np.testing.assert_array_equal(sums[live], every[source.numbers[y, x, c]][target.seats[live]])
                assert not sums[~live].any()


def test_a_convolution_takes_a_word_per_weight_and_row():
    q = Projection("a", "b", np.ones((9, 5, 3, 2), np.int8), 0, Window((5, 20, 30), (3, 2)))
    way = reach(q, Grid.whole((5, 20, 30), 3000, LANES), Grid.whole((9, 18, 29), 9 * 18 * 29, LANES), False)
    assert len(way.words) == 3 * 2 * 5 * 3  # kernel, channels, rows of nine channels


@pytest.mark.parametrize("shape, size", [(None, 10), ((3, 2, 4), 24), ((6, 3, 1), 18)])
def test_a_delay_line_copies_each_stage_to_the_next(shape, size):
    grid, stages = Grid.whole(shape, size, LANES), 3
    way, seats = shifted(grid, stages), grid.seats
    for y, x, c in zip(*np.nonzero(grid.numbers >= 0), strict=True):
        number = grid.numbers[y, x, c]
        for stage in range(stages):
            done = walk(way, y + stage * grid.height, x, c)
            if stage == stages - 1:
                assert done == []
                continue
            ((row, word),) = done
            at, lane = np.argwhere(seats == number)[0]
            assert row == at + (stage + 1) * grid.rows
            assert way.words[word].tolist() == np.eye(LANES, dtype=int)[lane].tolist()


def test_equal_weights_are_stored_once():
    grid = Grid.whole(None, 50, LANES)
    assert len(one_to_one(np.full(50, 3), grid, grid).words) == LANES
    assert len(one_to_one(np.arange(50), grid, grid).words) == 52  # a word for each of 13 · 4 places


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 30), st.sampled_from((0.0, 0.05, 0.3, 1.0)), st.integers(0, 2**32 - 1),
       st.integers(1, 3))
def test_a_sparse_walk_has_a_word_for_each_row_with_weights(sources, targets, density, seed, cuts):
    r = np.random.default_rng(seed)
    weights = r.integers(-9, 10, (targets, sources)) * (r.random((targets, sources)) < density)
    q = Projection("a", "b", weights.astype(np.int8))
    source = Grid.whole(None, sources, LANES)
    for target in Grid.whole(None, targets, LANES).cut(cuts):
        dense = reach(q, source, target, True)
        way = sparse(dense, sources)
        used = dense.words.reshape(target.rows, sources, LANES).any(axis=2)
        assert len(way.words) == np.maximum(used.sum(axis=0), 1).sum()
        for n in range(sources):
            runs = list(chain(way.tables[2], n))
            assert len(runs) == max(1, (np.diff(used[:, n].astype(int), prepend=0) == 1).sum())
            assert sum(e.fanout for e in runs) == (target.seats >= 0).sum() and all(e.count for e in runs)
            sums = np.zeros((target.rows, LANES), int)
            for e in runs:
                for k in range(e.count):
                    sums[e.row + k] += way.words[e.weights + k]
            live = target.seats >= 0
            assert sums[live].tolist() == q.weights[target.seats[live], n].tolist()
