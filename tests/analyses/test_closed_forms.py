"""Circuits that have a formula: series, dividers, ladders, one line, an array that is one line."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.solvers import every_solver

INF = np.inf
every = every_solver("LadderCG", "Dense")


def close(got: Any, want: Any, tol: float = 1e-12) -> None:
    """Relative to the largest: the tail of a line is what its drops leave of the source."""
    want = np.asarray(want)
    assert np.shape(got) == want.shape
    assert np.abs(np.asarray(got) - want).max() <= tol * np.abs(want).max()


@every
def test_one_cell_is_a_series_circuit(solver: Any) -> None:
    xbar = xb.Crossbar(
        xb.Ohmic(jnp.array([[1e-4]])),
        xb.Wires(20.0, 30.0),
        xb.Drive(50.0),
        xb.VirtualGround(r_in=70.0, v_ref=0.06, v_offset=0.04),
    )
    s = xb.read(xbar, jnp.array([0.3]), solver=solver)
    i = (0.3 - 0.1) / (20 + 50 + 1e4 + 30 + 70)
    close(s.i_out, [i])
    close(s.i_in, [i])
    close(s.i_cell, [[i]])
    close(s.v_row, [[0.3 - 70 * i]])
    close(s.v_col, [[0.1 + 100 * i]])
    close(s.p_dissipated, 0.2 * i)
    close(xb.transfer(xbar, solver=solver), [[1 / (20 + 50 + 1e4 + 30 + 70)]])
    # at 0 V the reference drives the current the other way
    close(xb.read(xbar, jnp.array([0.0]), solver=solver).i_out, [-0.1 / (1e4 + 170)])


@every
def test_one_cell_between_four_terminals(solver: Any) -> None:
    """Either side is a Thevenin source: two terminals in parallel."""
    xbar = xb.Crossbar(
        xb.Ohmic(jnp.array([[1e-3]])), xb.Wires(50.0, 110.0), xb.Drive(0.0, 70.0),
        xb.VirtualGround(0.0, 90.0),
    )  # fmt: skip
    bias = xb.Bias(*(jnp.array([v]) for v in (0.3, -0.1, 0.0, 0.05)))
    s = xb.read(xbar, bias, solver=solver)
    r_row, r_col = 1 / (1 / 50 + 1 / 70), 1 / (1 / 90 + 1 / 110)
    v_row, v_col = (0.3 / 50 - 0.1 / 70) * r_row, 0.05 / 90 * r_col
    i = (v_row - v_col) / (r_row + 1e3 + r_col)
    row, col = v_row - r_row * i, v_col + r_col * i
    close(s.i_cell, [[i]])
    close(s.v_row, [[row]])
    close(s.v_col, [[col]])
    close(s.i_row, [[(0.3 - row) / 50]])
    close(s.i_row_far, [(row + 0.1) / 70])
    close(s.i_in_far, [-(row + 0.1) / 70])
    close(s.i_out_near, [col / 110])
    close(s.i_out_far, [(col - 0.05) / 90])
    close(s.i_out, [i])


def cosh_law(n: int, rg: float) -> np.ndarray:
    """v_k / v_0 of a uniform line with a free far end: cosh((n - 1/2 - k) th) up to a factor."""
    th = 2 * np.arcsinh(np.sqrt(rg) / 2)  # 2 cosh(th) = 2 + r g, in the form that keeps its digits
    x = (n - 0.5 - np.arange(n)) * th
    log_cosh = np.logaddexp(x, -x)
    return np.exp(log_cosh - log_cosh[0])


def lead_in(n: int, rg: float) -> float:
    """v_0 / v_source of that line: the current in the lead-in is that of all cells."""
    return 1 / (1 + rg * cosh_law(n, rg).sum())


@pytest.mark.parametrize("n", [8, 64, 256])
def test_a_word_line_follows_the_cosh_law(n: int) -> None:
    for rg in (0.0, 1e-8, 1e-5, 1e-3, 1e-1, 1.0, 10.0):
        r = 2.5
        g = rg / r if rg else 1e-5
        xbar = xb.Crossbar(xb.Ohmic(jnp.full((1, n), g)), xb.Wires(r if rg else 0.0, 0.0))
        s = xb.read(xbar, jnp.array([0.2]))
        want = 0.2 * lead_in(n, rg) * cosh_law(n, rg)
        close(s.v_row[0], want, 1e-11)
        close(s.i_out, g * want, 1e-11)


@pytest.mark.few(2)
@pytest.mark.parametrize("n", [8, 64])
def test_a_bit_line_follows_the_cosh_law(n: int) -> None:
    """Reciprocity: what row k contributes at the sense end is what the end gives node k."""
    for rg in (1e-5, 1e-1):
        xbar = xb.Crossbar(xb.Ohmic(jnp.full((n, 1), rg / 3)), xb.Wires(0.0, 3.0))
        want = rg / 3 * lead_in(n, rg) * cosh_law(n, rg)[::-1]
        close(xb.transfer(xbar)[:, 0], want, 1e-11)
        close(xb.read(xbar, jnp.full(n, 0.2)).i_out, [0.2 * want.sum()], 1e-11)


def test_a_word_line_driven_at_both_ends_is_symmetric_cosh() -> None:
    """n cells, n + 1 equal segments: v_k = v cosh((k - (n - 1) / 2) th) / cosh((n + 1) th / 2)."""
    n, r = 64, 2.5
    for rg in (1e-5, 1e-3, 1e-1):
        xbar = xb.Crossbar(xb.Ohmic(jnp.full((1, n), rg / r)), xb.Wires(r, 0.0), xb.Drive(0.0, r))
        s = xb.read(xbar, jnp.array([0.2]))
        th = 2 * np.arcsinh(np.sqrt(rg) / 2)
        want = 0.2 * np.cosh((np.arange(n) - (n - 1) / 2) * th) / np.cosh((n + 1) * th / 2)
        close(s.v_row[0], want, 1e-11)
        close(s.i_in_near, s.i_in_far, 1e-11)
        close(s.i_in, [(rg / r * want).sum()], 1e-11)


def test_a_word_line_between_two_voltages_is_sinh() -> None:
    """One end at 0.2 V, the other at 0: v_k = v sinh((n - k) th) / sinh((n + 1) th)."""
    n, r = 64, 2.5
    zero = jnp.zeros(n)
    for rg in (1e-3, 1e-1):
        xbar = xb.Crossbar(xb.Ohmic(jnp.full((1, n), rg / r)), xb.Wires(r, 0.0), xb.Drive(0.0, r))
        s = xb.read(xbar, xb.Bias(jnp.array([0.2]), jnp.array([0.0]), zero, zero))
        th = 2 * np.arcsinh(np.sqrt(rg) / 2)
        want = 0.2 * np.sinh((n - np.arange(n)) * th) / np.sinh((n + 1) * th)
        assert np.abs(np.asarray(s.v_row[0]) - want).max() <= 1e-12 * 0.2


@every
def test_one_column_is_read_by_hand(solver: Any) -> None:
    """N x 1 with unequal numbers: a ladder of two sections and a star, solved as two by two."""
    g, r, v = np.array([2e-4, 5e-4]), np.array([100.0, 300.0]), np.array([0.2, -0.1])
    xbar = xb.Crossbar(xb.Ohmic(jnp.asarray(g[:, None])), xb.Wires(0.0, r[:, None]))
    matrix = [[g[0] + 1 / r[0], -1 / r[0]], [-1 / r[0], g[1] + 1 / r[0] + 1 / r[1]]]
    node = np.linalg.solve(matrix, g * v)
    s = xb.read(xbar, jnp.asarray(v), solver=solver)
    close(s.v_col[:, 0], node)
    close(s.i_out, [node[1] / r[1]])
    close(s.i_col[:, 0], [(node[0] - node[1]) / r[0], node[1] / r[1]])


@every
def test_one_row_is_read_by_hand(solver: Any) -> None:
    """1 x N: every cell is in series with its bit line, and they load one word line."""
    g, r, r_col = np.array([2e-4, 5e-4]), np.array([100.0, 300.0]), np.array([40.0, 80.0])
    xbar = xb.Crossbar(xb.Ohmic(jnp.asarray(g[None])), xb.Wires(r[None], r_col[None]))
    y = 1 / (1 / g + r_col)
    matrix = [[y[0] + 1 / r[0] + 1 / r[1], -1 / r[1]], [-1 / r[1], y[1] + 1 / r[1]]]
    node = np.linalg.solve(matrix, [0.3 / r[0], 0.0])
    s = xb.read(xbar, jnp.array([0.3]), solver=solver)
    close(s.v_row[0], node)
    close(s.i_out, y * node)
    close(s.v_col[0], r_col * y * node)


def test_equal_rows_are_one_row_with_all_their_cells() -> None:
    """Ideal bit lines: m equal rows under one voltage each carry what a single row would."""
    m, n, r, g = 8, 64, 2.0, 1e-4
    xbar = xb.Crossbar(xb.Ohmic(jnp.full((m, n), g)), xb.Wires(r, 0.0))
    s = xb.read(xbar, jnp.full(m, 0.2))
    want = 0.2 * lead_in(n, r * g) * cosh_law(n, r * g)
    close(s.v_row, np.broadcast_to(want, (m, n)), 1e-11)
    close(s.i_out, m * g * want, 1e-11)


def test_equal_rows_in_parallel_are_one_line_of_thicker_wire() -> None:
    """A bit line resistance that all cells share: m rows of r and g are one of r / m and m g."""
    m, n, r, r_in, g = 8, 64, 2.0, 40.0, 1e-4
    many = xb.Crossbar(
        xb.Ohmic(jnp.full((m, n), g)), xb.Wires(r, 0.0), xb.Drive(), xb.VirtualGround(r_in)
    )
    one = xb.Crossbar(
        xb.Ohmic(jnp.full((1, n), m * g)), xb.Wires(r / m, 0.0), xb.Drive(), xb.VirtualGround(r_in)
    )
    a, b = xb.read(many, jnp.full(m, 0.2)), xb.read(one, jnp.full(1, 0.2))
    close(a.i_out, b.i_out, 1e-11)
    # and the cell and the input in series load that one line: a cosh law of its own
    y = 1 / (1 / (m * g) + r_in)
    want = 0.2 * lead_in(n, r / m * y) * cosh_law(n, r / m * y)
    close(b.i_out, y * want, 1e-11)


def test_a_uniform_array_under_one_voltage_is_symmetric_across_its_diagonal() -> None:
    """Driver and sense mirror each other, so that drops do: fallen in rows, risen in columns."""
    n = 8
    xbar = xb.Crossbar(xb.Ohmic(jnp.full((n, n), 1e-4)), xb.Wires(5.0, 5.0))
    s = xb.read(xbar, jnp.full(n, 0.2))
    a, w = np.asarray(s.drop_row), np.asarray(s.drop_col)
    # row i seen from its driver at the left, column j seen from its sense end at the bottom
    close(a, np.flip(w).T, 1e-11)


@every
def test_a_floating_column_is_a_voltage_divider(solver: Any) -> None:
    """An ideal bit line that ends nowhere takes the mean of its rows, weighted by conductance."""
    rng = np.random.default_rng(0)
    g, v = rng.uniform(1e-6, 1e-4, (5, 3)), rng.uniform(-0.3, 0.3, 5)
    xbar = xb.Crossbar(xb.Ohmic(jnp.asarray(g)), readout=xb.VirtualGround(r_in=[0.0, INF, INF]))
    s = xb.read(xbar, jnp.asarray(v), solver=solver)
    mean = (g * v[:, None]).sum(0) / g.sum(0)
    for j in (1, 2):
        np.testing.assert_allclose(s.v_col[:, j], mean[j], rtol=0, atol=1e-14)
        np.testing.assert_allclose(s.i_cell[:, j], g[:, j] * (v - mean[j]), rtol=0, atol=1e-17)
        assert abs(float(s.i_out[j])) <= 1e-18
    close(s.i_out[0], v @ g[:, 0])
    assert int(s.status) == 0


@every
def test_a_floating_row_is_a_voltage_divider(solver: Any) -> None:
    """Seen from a word line without source: the mean of the bit lines' references."""
    g = jnp.array([[1e-4, 3e-4], [2e-4, 1e-4]])
    xbar = xb.Crossbar(
        xb.Ohmic(g), drive=xb.Drive(r_source=[INF, 0.0]), readout=xb.VirtualGround(v_ref=[0.1, 0.3])
    )
    s = xb.read(xbar, jnp.array([9.0, 0.2]), solver=solver)
    v = (1e-4 * 0.1 + 3e-4 * 0.3) / 4e-4
    close(s.v_row[0], [v, v])
    close(s.i_cell[0], [1e-4 * (v - 0.1), 3e-4 * (v - 0.3)], 1e-11)
    close(s.i_out, [1e-4 * (v - 0.1) + 2e-4 * 0.1, 3e-4 * (v - 0.3) - 1e-4 * 0.1], 1e-11)


@every
def test_a_sneak_path_is_three_cells_in_series(solver: Any) -> None:
    """2 x 2, row 0 driven, column 0 sensed, the others floating: the classical sneak path."""
    g = jnp.array([[1e-6, 1e-4], [2e-4, 3e-4]])
    xbar = xb.Crossbar(
        xb.Ohmic(g), drive=xb.Drive([0.0, INF]), readout=xb.VirtualGround([0.0, INF])
    )
    s = xb.read(xbar, jnp.array([0.5, 0.0]), solver=solver)
    sneak = 1 / (1 / 1e-4 + 1 / 3e-4 + 1 / 2e-4)
    np.testing.assert_allclose(s.i_out, [0.5 * (1e-6 + sneak), 0.0], rtol=1e-12, atol=1e-18)


@every
def test_a_break_leaves_what_is_behind_it_to_the_other_end(solver: Any) -> None:
    """A broken word line with ideal bit lines: cells behind the break see no voltage."""
    g = jnp.array([[1e-4, 2e-4, 3e-4]])
    r = jnp.array([[100.0, INF, 100.0]])
    one = xb.read(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, 0.0)), jnp.array([0.2]), solver=solver)
    np.testing.assert_allclose(one.i_out, [0.2 / (100 + 1e4), 0, 0], rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(one.v_row[0, 1:], [0, 0], atol=1e-15)
    both = xb.Crossbar(xb.Ohmic(g), xb.Wires(r, 0.0), xb.Drive(0.0, 50.0))
    s = xb.read(both, jnp.array([0.2]), solver=solver)
    assert float(s.i_out[0]) == pytest.approx(0.2 / (100 + 1e4), rel=1e-12)
    assert float(s.i_row_far[0]) == pytest.approx(-float(s.i_out[1] + s.i_out[2]), rel=1e-12)
    assert float(s.v_row[0, 2]) == pytest.approx(0.2 + 50 * float(s.i_row_far[0]), rel=1e-12)
