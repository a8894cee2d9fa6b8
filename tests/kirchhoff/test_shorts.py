"""Cells that short: against nodes that are merged, in 2048-bit arithmetic."""

from __future__ import annotations

import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import merged
from xbarjax.kirchhoff.solution import usable

KNIGHT = 0.774878035885  # [ohm], nodal analysis with shorts


def shorted(rng, shape, count=2, g=np.inf):
    cells = rng.uniform(1e-6, 1e-4, shape)
    cells.ravel()[rng.choice(cells.size, count, replace=False)] = g
    return cells


def segments(rows, cols, r=1.0, far=np.inf):
    r_row, r_col = np.full((rows, cols + 1), r), np.full((rows + 1, cols), r)
    r_row[:, -1], r_col[0] = far, far
    return r_row, r_col


def circuit(g, r_row, r_col):
    wires = xb.Wires(r_row[:, :-1], r_col[1:])
    return xb.Crossbar(
        xb.Ohmic(jnp.asarray(g)),
        wires,
        xb.Drive(0.0, jnp.asarray(r_row[:, -1])),
        xb.VirtualGround(0.0, jnp.asarray(r_col[0])),
    )


def reference(g, r_row, r_col, v):
    zeros = np.zeros(g.shape[1])
    return merged.solve(g, r_row, r_col, v, v, zeros, zeros)


@pytest.mark.parametrize("g", [1e3, 1e6, 1e9, 1e12, 1e15, 1e30, 1e200, np.inf])
def test_a_cell_that_shorts_is_exact_whatever_its_conductance(g) -> None:
    rng = np.random.default_rng(0)
    wires, v = segments(8, 8), rng.uniform(-0.5, 0.5, 8)
    cells = shorted(rng, (8, 8), 3, g)
    s, want = xb.read(circuit(cells, *wires), v), reference(cells, *wires, v)
    assert int(s.status) == 0
    largest = np.nanmax(np.abs(want.i_row))
    np.testing.assert_allclose(s.i_out, want.i_out, atol=1e-12 * largest)
    np.testing.assert_allclose(s.v_row, want.v_row, atol=1e-14)
    np.testing.assert_allclose(s.v_col, want.v_col, atol=1e-14)
    weak = cells < 1
    np.testing.assert_allclose(s.i_cell[weak], want.i_cell[weak], atol=1e-12 * largest)
    np.testing.assert_allclose(s.p_dissipated, s.p_delivered, rtol=1e-10)


def test_all_cells_may_short() -> None:
    wires, v = segments(8, 6), np.linspace(0.1, 0.5, 8)
    cells = np.full((8, 6), np.inf)
    s, want = xb.read(circuit(cells, *wires), v), reference(cells, *wires, v)
    assert int(s.status) == 0
    np.testing.assert_allclose(s.i_out, want.i_out, rtol=1e-11)


def test_a_knights_move_on_a_grid_of_one_ohm() -> None:
    """Two layers of wires, joined at every crosspoint, are a grid of resistors."""
    n, at, to = 41, (20, 20), (21, 22)
    inside = jnp.ones((n, n))
    # one ampere enters row `at` and leaves column `to`: both through straps at single nodes
    taps = lambda at: jnp.full((n, n), jnp.inf).at[at].set(1e-3)
    drive = xb.Drive(jnp.inf, jnp.inf, taps(at))
    readout = xb.VirtualGround(jnp.inf, jnp.inf, r_strap=taps(to))
    array = xb.Crossbar(xb.Ohmic(jnp.inf * inside), xb.Wires(1.0, 1.0), drive, readout)
    s = xb.read(array, jnp.ones(n))
    assert usable(s.status)
    assert float(1 / jnp.sum(s.i_out)) - 2e-3 == pytest.approx(KNIGHT, abs=2e-11)


@pytest.mark.parametrize("g", [1e9, np.inf])
def test_gradients_past_shorts_are_those_of_the_merged_circuit(g) -> None:
    """Differences of 1e-60 in 2048-bit arithmetic have no truncation error to speak of."""
    rng = np.random.default_rng(3)
    (r_row, r_col), v = segments(4, 5, far=2.0), rng.uniform(-0.5, 0.5, 4)
    cells = shorted(rng, (4, 5), 2, g)
    weights = rng.normal(size=5)
    loss = lambda g, r_row, r_col, v: jnp.sum(weights * xb.read(circuit(g, r_row, r_col), v).i_out)
    args = tuple(map(jnp.asarray, (cells, r_row, r_col, v)))
    slopes = jax.grad(loss, (0, 1, 2, 3))(*args)
    assert all(np.isfinite(s).all() for s in slopes)
    step, zeros = flint.arb(10) ** -60, np.zeros(5)

    def exact(g, r_row, r_col, v):
        return merged.solve(g, r_row, r_col, v, v, zeros, zeros, exact=True).i_out

    begin = exact(cells, r_row, r_col, v)
    for k, (x, slope) in enumerate(zip((cells, r_row, r_col), slopes)):
        for at in [(0, 1), (3, 2), (2, 0)]:
            if not np.isfinite(x[at]):
                continue
            moved = [a.astype(object) for a in (cells, r_row, r_col)]
            moved[k][at] = flint.arb(float(x[at])) + step
            there = exact(moved[0], moved[1], moved[2], v)
            want = sum(w * float((a - b) / step) for w, a, b in zip(weights, there, begin))
            assert float(slope[at]) == pytest.approx(want, rel=1e-9, abs=1e-12 * abs(want) + 1e-18)
    if np.isinf(g):
        np.testing.assert_array_equal(slopes[0][np.isinf(cells)], 0)


def test_shorts_between_ideal_terminals_are_named() -> None:
    g = np.full((3, 2), 1e-5)
    g[1, 0] = np.inf
    with pytest.raises(ValueError, match=r"cell \(1, 0\).*terminals at different voltages"):
        xb.read(xb.Crossbar(xb.Ohmic(jnp.asarray(g))), jnp.ones(3))


def test_how_shorts_share_a_current_without_wires_between_them_is_said_to_be_open() -> None:
    g = np.full((3, 2), 1e-5)
    g[1] = np.inf
    array = xb.Crossbar(xb.Ohmic(jnp.asarray(g)), drive=xb.Drive(50.0))
    s = xb.read(array, jnp.ones(3))
    assert xb.Status(int(s.status)) == xb.Status.SPLIT
    np.testing.assert_allclose(jnp.sum(s.i_out), 1 / 50 + 2 * 2e-5 / (1 + 2e-5 * 50), rtol=1e-12)


def test_float32_solves_shorts() -> None:
    rng = np.random.default_rng(1)
    wires, v = segments(9, 7), rng.uniform(0.1, 0.5, 9)
    cells = shorted(rng, (9, 7), 4)
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    s = xb.read(single(circuit(cells, *wires)), v.astype(np.float32))
    want = reference(cells, *wires, v)
    assert int(s.status) == 0 and s.i_out.dtype == jnp.float32
    np.testing.assert_allclose(s.i_out, want.i_out, atol=3e-6 * np.abs(want.i_out).max())


def test_transfer_ports_and_noise_know_shorts() -> None:
    rng = np.random.default_rng(2)
    wires, cells = segments(6, 5), shorted(rng, (6, 5))
    array = circuit(cells, *wires)
    matrix = xb.transfer(array)
    want = np.stack([reference(cells, *wires, v).i_out for v in np.eye(6)])
    np.testing.assert_allclose(matrix, want, atol=1e-11 * np.abs(want).max())
    np.testing.assert_allclose(xb.ports(array).g_row_col, want, atol=1e-11 * np.abs(want).max())
    # a short has no noise of its own: a cell that is nearly one has nearly none
    near = jnp.where(jnp.isinf(cells), 1e9, cells)
    of = lambda g: xb.noise(circuit(g, *wires), jnp.ones(6), band=(1.0, 1e6)).variance
    np.testing.assert_allclose(of(cells), of(near), rtol=1e-6)
