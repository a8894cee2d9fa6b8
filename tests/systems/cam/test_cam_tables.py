"""Tables of intervals against loops over their definition, in levels and in tiles."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xbarjax.systems import cam

INF = np.inf


@pytest.fixture(scope="module")
def table() -> cam.Table:
    """Overlapping boxes between whole numbers, some ends without limit and some boxes empty."""
    rng = np.random.default_rng(0)
    ends = np.sort(rng.integers(-5, 6, (2, 23, 5)).astype(float), axis=0)
    low = np.where(rng.random((23, 5)) < 0.5, -INF, ends[0])
    high = np.where(rng.random((23, 5)) < 0.5, INF, ends[1])
    value = rng.normal(size=(23, 3))
    return cam.Table(low, high, value, np.arange(23) // 4, base=[1.0, -2.0, 0.5])


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Samples on the bounds, between them, and at infinity."""
    rng = np.random.default_rng(1)
    x = rng.integers(-12, 13, (200, 5)) / 2
    x[rng.random(x.shape) < 0.03] = INF
    x[rng.random(x.shape) < 0.03] = -INF
    return x


def by_definition(table: cam.Table, x: np.ndarray) -> np.ndarray:
    low, high = np.asarray(table.low), np.asarray(table.high)
    found = np.zeros((len(x), len(low)), bool)
    for k, sample in enumerate(x):
        for row in range(len(low)):
            found[k, row] = all(
                (lo == -INF or lo <= v) and (hi == INF or v < hi)
                for v, lo, hi in zip(sample, low[row], high[row])
            )
    return found


def test_matches_and_outputs_are_those_of_the_definition(table, x):
    want = by_definition(table, x)
    assert 0.02 < want.mean() < 0.5
    np.testing.assert_array_equal(cam.matches(table, x), want)
    np.testing.assert_array_equal(cam.matches(table, x[3]), want[3])
    sums = np.asarray(table.base) + want @ np.asarray(table.value)
    np.testing.assert_allclose(cam.predict(table, x), sums, atol=1e-14)
    np.testing.assert_allclose(cam.predict(table, x[3]), sums[3], atol=1e-14)
    np.testing.assert_allclose(cam.outputs(table, want), sums, atol=1e-14)
    np.testing.assert_array_equal(cam.classify(table, x), sums.argmax(1))
    inside = jax.jit(jax.vmap(cam.predict, (None, 0)))(table, jnp.asarray(x))
    np.testing.assert_allclose(inside, sums, atol=1e-14)


def test_one_output_decides_by_its_sign():
    table = cam.Table([[-INF], [1.0], [2.0]], [[1.0], [2.0], [INF]], [[-1.0], [0.0], [3.0]])
    np.testing.assert_array_equal(cam.classify(table, [[0.0], [1.0], [2.0]]), [0, 0, 1])
    assert int(cam.classify(table, [5.0])) == 1


def test_a_match_of_many_keeps_no_array_of_batch_rows_and_features():
    rows, features, batch = 512, 64, 1024
    table = cam.Table(jnp.zeros((rows, features)), jnp.ones((rows, features)), jnp.ones((rows, 1)))
    match = jax.jit(cam.matches)
    memory = match.lower(table, jnp.zeros((batch, features))).compile().memory_analysis()
    assert memory is not None and memory.temp_size_in_bytes < 4 * batch * rows


def test_all_bounds_kept_change_nothing(table, x):
    levels = 12  # eleven different bounds
    cuts = cam.cut_points(table, levels)
    assert cuts.shape == (5, 11)
    coarse, empty, merged = cam.quantised(table, cuts)
    assert (empty, merged, coarse.levels) == (0, 0, levels)
    in_levels = cam.digitise(x, cuts)
    points = np.asarray(cuts)
    want = [[sum(c <= v for c in p if c < INF) for v, p in zip(s, points)] for s in x]
    np.testing.assert_array_equal(in_levels, np.array(want))
    np.testing.assert_array_equal(cam.digitise(x[3], cuts), in_levels[3])
    np.testing.assert_array_equal(cam.matches(coarse, in_levels), by_definition(table, x))
    np.testing.assert_array_equal(cam.predict(coarse, in_levels), cam.predict(table, x))


def test_bounds_move_to_the_nearest_cut_and_losses_are_counted():
    table = cam.Table(
        [[0.0, -INF], [4.0, 1.0], [5.0, 2.0], [3.0, 2.0]],
        [[4.0, 1.0], [5.0, INF], [9.0, 2.0], [9.0, INF]],
        np.ones((4, 1)),
    )
    coarse, empty, merged = cam.quantised(table, [[1.0, 4.0, 8.0], [1.0, 2.0, INF]])
    # feature 0: 0 to the cut at 1 (level 1); 3, 4 and 5 to 4 (level 2); 9 to 8 (level 3)
    np.testing.assert_array_equal(coarse.low, [[1, -INF], [2, 1], [2, 2], [2, 2]])
    np.testing.assert_array_equal(coarse.high, [[2, 1], [2, INF], [3, 2], [3, INF]])
    assert empty == 1  # the second row; the third was empty before
    assert merged == 2  # 3, 4 and 5 share a level
    assert coarse.levels == 4


def test_cuts_are_bounds_at_quantiles():
    bounds = np.arange(1.0, 100.0)[:, None]
    table = cam.Table(bounds, np.full((99, 1), INF), np.ones((99, 1)))
    np.testing.assert_array_equal(cam.cut_points(table, 4), [[25.0, 50.0, 75.0]])
    skew = np.linspace(0.0, 1.0, 1001)[:, None] ** 2 * 100
    cuts = cam.cut_points(table, 4, skew)
    np.testing.assert_array_equal(cuts, [[6.0, 25.0, 56.0]])  # 100 / 16, 100 / 4, 900 / 16
    np.testing.assert_array_equal(cam.cut_points(table, 100)[0], bounds[:, 0])
    free = cam.Table([[-INF]], [[INF]], [[1.0]])
    np.testing.assert_array_equal(cam.cut_points(free, 3), [[INF, INF]])
    coarse = cam.quantised(free, cam.cut_points(free, 3)).table
    assert bool(cam.matches(coarse, cam.digitise([7.0], cam.cut_points(free, 3)))[0])


@pytest.mark.parametrize("rows, cols", [(4, 2), (23, 5), (64, 8), (1, 1), (5, 4)])
def test_tiles_together_match_as_the_table(table, x, rows, cols):
    tiles = cam.tiles(table, rows, cols)
    assert tiles.low.shape == (-(-23 // rows), -(-5 // cols), rows, cols)
    assert tiles.used.sum() == 23 * 5
    parts = np.asarray(cam.split(tiles, x))
    np.testing.assert_array_equal(np.asarray(cam.split(tiles, x[3])), parts[3])
    low, high = np.asarray(tiles.low), np.asarray(tiles.high)
    v = parts[:, None, :, None, :]
    hit = ((low <= v) & ((v < high) | (high == INF))).all(-1)
    unused = ~np.asarray(tiles.used).any(-1)
    assert not hit[:, unused].any()
    np.testing.assert_array_equal(cam.joined(tiles, hit), by_definition(table, x))
    np.testing.assert_array_equal(cam.joined(tiles, hit[3]), by_definition(table, x[3:4])[0])


def test_traced_samples_that_are_no_numbers_give_nan():
    table = cam.Table([[-INF]], [[INF]], [[1.0]], levels=4)
    predict, classify, matches = jax.jit(cam.predict), jax.jit(cam.classify), jax.jit(cam.matches)
    for bad in (np.nan, -1.0, 4.0):
        assert jnp.isnan(predict(table, jnp.asarray([bad]))).all()
        assert int(classify(table, jnp.asarray([bad]))) == -1
        assert not matches(table, jnp.asarray([bad])).any()
    assert predict(table, jnp.asarray([3.0]))[0] == 1.0
    assert jnp.isnan(jax.jit(cam.digitise)(jnp.asarray([np.nan]), jnp.asarray([[1.0]]))).all()


def one(low=0.0, high=1.0, **more) -> cam.Table:
    return cam.Table([[low, 0.0]], [[high, 1.0]], [[1.0]], **more)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: one(2.0), ["low[0, 0] = 2.0", "high[0, 0] = 1.0", "never matches"]),
        (lambda: one(np.nan), ["low[0, 0] is nan", "-inf for no limit"]),
        (lambda: one(high=np.nan), ["high[0, 0] is nan", "inf for no limit"]),
        (lambda: one(INF, INF), ["low[0, 0] is inf", "-inf for no limit"]),
        (lambda: one(levels=1), ["levels is 1", "at least 2"]),
        (lambda: one(high=5.0, levels=4), ["high[0, 0] is 5.0", "4 levels", "0 to 4"]),
        (lambda: one(-1.0, levels=4), ["low[0, 0] is -1.0", "4 levels", "0 to 4"]),
        (lambda: one(base=[INF]), ["base has entries that are not finite"]),
        (lambda: one(tree=np.arange(2)), ["tree has shape (2,)", "(1,)"]),
        (lambda: cam.Table([0.0], [1.0], [[1.0]]), ["low has shape (1,)", "(rows, features)"]),
        (lambda: cam.Table([[0.0]], [[1.0]], [1.0]), ["value has shape (1,)", "(rows, outputs)"]),
        (lambda: cam.matches(one(), [0.0, np.nan]), ["x[1] is NaN", "missing values"]),
        (lambda: cam.predict(one(), [[0.0, 1.0, 2.0]]), ["x has shape (1, 3)", "2 features"]),
        (lambda: cam.predict(one(levels=4), [0.0, 4.0]), ["x[1] is 4.0", "0 to 3", "digitise"]),
        (lambda: cam.outputs(one(), jnp.ones(2, bool)), ["matched has shape (2,)", "1 rows"]),
        (lambda: cam.cut_points(one(), 1), ["levels is 1", "at least 2"]),
        (lambda: cam.cut_points(one(), 2, [[1.0]]), ["x has shape (1, 1)", "2 features"]),
        (lambda: cam.digitise([1.0], [[2.0, 1.0]]), ["cuts fall", "rise"]),
        (lambda: cam.digitise([1.0], [2.0]), ["cuts has shape (1,)", "(features, levels - 1)"]),
        (lambda: cam.digitise([np.nan], [[2.0]]), ["x[0] is NaN", "missing values"]),
        (lambda: cam.quantised(one(), [[2.0]]), ["cuts has shape (1, 1)", "2 features"]),
        (lambda: cam.quantised(one(), [[2.0], [INF]]), ["cuts[1] has no cut point", "at least"]),
        (lambda: cam.tiles(one(), 0, 4), ["rows is 0", "at least 1"]),
        (lambda: cam.joined(cam.tiles(one(), 2, 2), jnp.ones((1, 2), bool)), ["(1, 2)", "(1, 1"]),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(ValueError) as refused:
        call()
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_other_kinds_are_refused():
    with pytest.raises(TypeError, match="tree is an array of float64; pass whole numbers"):
        one(tree=np.zeros(1))
