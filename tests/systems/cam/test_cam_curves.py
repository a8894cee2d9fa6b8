"""Searches by tables against `search` and SciPy, and bounds that cells are programmed for."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import xbarjax as xb
from xbarjax.systems import cam

ROWS, COLS = 12, 3
LOW, HIGH = (0.14, 0.2, -np.inf), (0.18, 0.3, np.inf)


def tile(rows: int = ROWS, cols: int = COLS, r: float = 0.0, **options) -> cam.Tile:
    of = lambda kp, v: xb.Mosfet(kp, v, 0.0, 1.3, 0.05, temperature=300.15)
    g = np.full((rows, cols), 2e-5)
    cell = cam.Analog6T2M(g, g, of(1e-3, 0.2), of(2.5e-4, 0.3), of(2.5e-4, 0.2))
    return cam.Tile(cell, r_high=r, r_low=r, t_sense=20e-9, **options)


def wanted(cols: int = COLS) -> tuple[np.ndarray, np.ndarray]:
    """Bounds [V] of which each third row has the same."""
    low = np.array([np.roll(LOW, k)[:cols] for k in range(ROWS)])
    return low, np.array([np.roll(HIGH, k)[:cols] for k in range(ROWS)])


def tables(i: np.ndarray, t_sense: float) -> cam.Curves:
    """Of lines of one column and level, with currents `(rows, volts)`."""
    number = lambda x: jnp.asarray(x, float)
    c = jnp.linspace(2e-14, 5e-14, len(i))
    return cam.Curves(
        jnp.asarray(i)[None, None], number([0.0]), c, number(0.8), number(0.4),
        jnp.full(len(i), 0.013), number(t_sense), jnp.zeros((), jnp.int32),
    )  # fmt: skip


def currents() -> np.ndarray:
    """Lines that saturate, that lose little, and one whose current falls with the voltage."""
    v = np.linspace(0, 0.8, 9)
    bump = np.where(v > 0, 1.5 - v, 0)
    return 1e-6 * np.array([np.tanh(v / 0.1), 0.01 * v, 3 * v**2, bump])


@pytest.mark.parametrize("t_sense", [1e-9, 2e-8, 3e-7])
def test_lines_fall_as_solve_ivp_says(t_sense):
    curves = tables(currents(), t_sense)
    seen = cam.lookup(curves, np.array([0]))
    v = np.linspace(0, 0.8, curves.i.shape[-1])
    for k, i in enumerate(currents()):
        c = float(curves.c[k])
        rate = lambda _, y, i=i, c=c: -np.interp(y, v, i) / c
        crosses: Any = lambda _, y: y[0] - 0.413
        end = 20 * c * 0.8 / i.max()
        stop: Any = max(end, t_sense)
        whole: Any = solve_ivp(
            rate, (0, stop), [0.8], events=crosses, rtol=1e-11, atol=1e-13, max_step=stop / 3000,
            t_eval=[t_sense],
        )  # fmt: skip
        assert abs(float(seen.v_sense[k]) - whole.y[0, 0]) < 1e-6
        assert float(seen.t_fall[k]) == pytest.approx(whole.t_events[0][0], rel=1e-6)


def test_a_line_without_current_stays_and_leaves_gradients_finite():
    i = currents()
    i[1, 3:] = 0
    i[2] = 0

    def total(curves):
        seen = cam.lookup(curves, np.array([0]))
        soft = jax.nn.sigmoid(seen.margin / 0.1)
        return jnp.sum(soft) + jnp.sum(jnp.where(seen.t_fall < 1, 1e8 * seen.t_fall, 0))

    of = lambda x: eqx.tree_at(lambda c: c.i, tables(i, 2e-8), x)
    seen = cam.lookup(of(jnp.asarray(i)[None, None]), np.array([0]))
    assert float(seen.v_sense[1]) == float(seen.v_sense[2]) == 0.8
    assert np.isinf(np.asarray(seen.t_fall)[1:3]).all()
    slopes = eqx.filter_grad(lambda c: total(c))(tables(i, 2e-8))
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(slopes) if x is not None)
    step = np.zeros((1, 1, *i.shape))
    step[0, 0, 0, 4:7] = 1e-11
    step[0, 0, 3, 4:7] = 1e-11
    ends = [float(total(of(i[None, None] + s * step))) for s in (-1, 1)]
    slope = float(np.sum(np.asarray(slopes.i) * step))
    assert slope == pytest.approx((ends[1] - ends[0]) / 2, rel=1e-4)


def test_lookup_agrees_with_search():
    """With wires of the search lines, which the tables hold. With 33 points of the match-line
    voltage, sensed voltages differ by up to 17 uV of 0.8 V here."""
    # seen while lines fall
    made = cam.stored(tile(r=20.0), *wanted())
    made = eqx.tree_at(lambda t: t.t_sense, made, jnp.asarray(2e-9))
    queries = np.array([0.12, 0.16, 0.25, 0.35])
    curves = cam.Curves.of(made, queries)
    levels = np.array([[0, 1, 2], [1, 2, 0], [1, 1, 1], [3, 1, 2]])
    seen = cam.lookup(curves, levels)
    for k, row in enumerate(levels):
        exact = cam.search(made, queries[row], np.array([2e-7]), rtol=1e-6)
        fallen = np.isfinite(exact.t_fall)
        assert fallen.any()
        np.testing.assert_allclose(seen.t_fall[k][fallen], exact.t_fall[fallen], rtol=0.01)
        assert np.abs(seen.v_sense[k] - exact.v_sense).max() < 1e-4
        assert (np.asarray(seen.match[k]) == np.asarray(exact.match)).all()


def test_stored_bounds_are_found_again():
    """In one column, where no other cell leaks."""
    low, high = wanted(1)
    found = cam.bounds(cam.stored(tile(cols=1), low, high))
    for seen, want, sign in zip(found, (low, high), (-1, 1)):
        known = np.isfinite(want)
        assert (sign * np.asarray(seen)[~known] > 0.5).all()  # without one: beyond the supply
        np.testing.assert_allclose(np.asarray(seen)[known], want[known], atol=1e-9)


@pytest.mark.parametrize("supply", [0.5, 0.8])
def test_compensated_bounds_hold_with_wires(supply):
    """`search`, which shares nothing with the bounds, finds that cells cease to match there."""
    plain = eqx.tree_at(lambda t: t.cell.v_high, tile(cols=1, r=60.0), jnp.asarray(supply))
    low, high = wanted(1)
    made = {
        "stored": cam.stored(plain, low, high, g_max=5e-4),
        "compensated": cam.compensated(plain, low, high, g_max=5e-4),
    }
    off = dict.fromkeys(made, 0)
    points = [(low, -1), (low, 1), (high, -1), (high, 1)]
    search = eqx.filter_jit(lambda t, q: cam.search(t, q).match)
    for bound, side in points:
        inside = side == (1 if bound is low else -1)
        for v in np.unique(bound[np.isfinite(bound)]):
            rows = bound[:, 0] == v
            for name, one in made.items():
                match = np.asarray(search(one, jnp.asarray([v + 5e-4 * side])))
                off[name] += int((match[rows] != inside).sum())
    assert off["compensated"] == 0
    assert off["stored"] > 0


@pytest.mark.parametrize("r", [5.0, 40.0])
def test_bounds_are_those_that_were_compensated(r):
    """Also beside cells whose upper bound, none, is far above the others."""
    low, high = wanted()
    seen = cam.bounds(cam.compensated(tile(r=r), low, high, g_max=5e-4))
    for one, want in zip(seen, (low, high)):
        known = np.isfinite(want)
        np.testing.assert_allclose(np.asarray(one)[known], want[known], atol=1e-3)


def test_compensated_conductances_have_gradients():
    """By wires, the supply and bounds, against differences. Voltages of search lines are
    interpolated between points that move with the bounds, hence 1e-3 for these."""
    low, high = wanted(1)
    weights = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, (2, ROWS, 1)))
    limited = [np.isfinite(x) for x in (low, high)]

    def total(x):
        r, supply, shift = x
        plain = eqx.tree_at(lambda t: (t.r_low, t.cell.v_high), tile(cols=1, r=60.0), (r, supply))
        cell: Any = cam.compensated(plain, low + shift, high + shift, g_max=5e-4).cell
        g = zip(weights, (cell.g_low, cell.g_high), limited)
        return 1e6 * sum(jnp.sum(jnp.where(some, w * g, 0)) for w, g, some in g)

    x = jnp.asarray([60.0, 0.8, 0.001])
    value, slopes = jax.jit(total), jax.jit(jax.grad(total))(x)
    for k, (step, rtol) in enumerate(((0.6, 1e-4), (2e-3, 1e-4), (1e-4, 1e-3))):
        way = jnp.zeros(3).at[k].set(step)
        want = (value(x + way) - value(x - way)) / (2 * step)
        np.testing.assert_allclose(slopes[k], want, rtol=rtol)


def test_bounds_out_of_reach():
    """Heavy wires lift the low search line above the node of the divider."""
    heavy, (low, high) = tile(r=3e4), wanted()
    with pytest.raises(ValueError, match=r"(low|high)\[.*the search lines drop too much"):
        cam.compensated(heavy, low, high, g_max=5e-4)
    held: Any = cam.compensated(heavy, low, high, g_max=5e-4, hold=True).cell
    for g in (held.g_low, held.g_high):
        assert bool(jnp.all((g >= 0) & (g <= 5e-4)))
    flagged: Any = eqx.filter_jit(lambda t: cam.compensated(t, low, high, g_max=5e-4))(heavy).cell
    flags = jnp.isnan(flagged.g_low) | jnp.isnan(flagged.g_high)
    assert bool(flags.any()) and not bool(flags[0].any())  # next to the drivers they are reached
    fine: Any = cam.stored(tile(), low, high, g_max=1e-7, hold=True).cell
    assert float(fine.g_low.max()) == 1e-7


def test_placed_bounds_are_edges_of_levels():
    levels = cam.data_levels(tile(1, 1), 4)
    e = np.asarray(levels.edges)
    seen = cam.placed(levels, [[0, 1, -np.inf, 2]], [[4, 3, 2, 2]])
    assert (np.asarray(seen.low) == [[-np.inf, e[1], -np.inf, -np.inf]]).all()
    assert (np.asarray(seen.high) == [[np.inf, e[3], e[2], -np.inf]]).all()
    with pytest.raises(ValueError, match=r"high\[\(0, 1\)\] = 5 is beyond the levels"):
        cam.placed(levels, [[0, 1]], [[2, 5]])
    with pytest.raises(ValueError, match=r"low\[\(0,\)\] = 1.5 is beyond"):
        cam.placed(levels, [1.5], [2])
    with pytest.raises(ValueError, match="low has shape"):
        cam.placed(levels, [1.0], [[2.0]])
    with pytest.raises(TypeError):
        cam.placed(e, [1.0], [2.0])  # pyright: ignore[reportArgumentType]


def test_rows_that_never_match_stay_so_when_compensated():
    """Their leakage leaves no gate voltage that would do."""
    low, high = np.full((ROWS, 1), 0.14), np.full((ROWS, 1), 0.3)
    low[::2] = high[::2] = -np.inf
    made = cam.compensated(tile(cols=1, r=60.0), low, high, g_max=5e-4)
    seen = cam.lookup(cam.Curves.of(made, np.array([0.0, 0.1, 0.2, 0.4])), np.arange(4)[:, None])
    want = np.zeros((4, ROWS), bool)
    want[2, 1::2] = True
    assert (np.asarray(seen.match) == want).all()


def test_errors():
    plain, (low, high) = tile(), wanted()
    with pytest.raises(ValueError, match=r"low\[\(0, 0\)\] is 0.14 V, above high"):
        cam.stored(plain, low, low - 0.01)
    with pytest.raises(ValueError, match="low has shape"):
        cam.stored(plain, low[:2], high)
    with pytest.raises(ValueError, match="high has NaN"):
        cam.stored(plain, low, high * np.nan)
    with pytest.raises(ValueError, match="needs more than g_max = 1e-07 S"):
        cam.stored(plain, low, high, g_max=1e-7)
    with pytest.raises(ValueError, match="rounds is 0"):
        cam.compensated(plain, low, high, rounds=0)
    with pytest.raises(ValueError, match="at least 2 levels"):
        cam.data_levels(plain, 1)
    with pytest.raises(TypeError):
        cam.bounds(plain.cell)  # pyright: ignore[reportArgumentType]
    curves = tables(currents(), 1e-9)
    with pytest.raises(ValueError, match="levels runs from 0 to 1"):
        cam.lookup(curves, np.array([[0], [1]]))
    with pytest.raises(ValueError, match="the tile has 1 columns"):
        cam.lookup(curves, np.array([0, 0]))
    with pytest.raises(ValueError, match=r"shares must be \(..., 1, 1\)"):
        cam.lookup(curves, np.ones((2, 2)))
    with pytest.raises(TypeError):
        cam.lookup(plain, np.array([0]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="queries has shape"):
        cam.Curves.of(plain, np.ones((2, 2)))
