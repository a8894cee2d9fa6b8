"""The reference itself: closed forms, Kirchhoff's laws, ideal wires, islands, precision."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from reference import nodal

INF = np.inf


def solve(circuit: dict[str, Any]) -> nodal.Nodal:
    return nodal.solve(**{k: v for k, v in circuit.items() if k != "shape"})


def one_line(g: np.ndarray, r: np.ndarray, v_near: float, v_far: float) -> nodal.Nodal:
    """One word line onto ideal columns at 0 V."""
    n = g.size
    r_col = np.vstack([np.full(n, INF), np.zeros(n)])
    v_row = np.array([v_near]), np.array([v_far])
    return nodal.solve(g[None], r[None], r_col, *v_row, np.zeros(n), np.zeros(n))


def test_one_cell_with_series_resistances() -> None:
    s = nodal.solve([[1e-4]], [[50.0, INF]], [[INF], [120.0]], [0.3], [9.0], [0.1], [9.0])
    i = (0.3 - 0.1) / (50 + 1e4 + 120)
    assert s.i_cell[0, 0] == pytest.approx(i, rel=1e-15)
    np.testing.assert_array_equal(s.i_row, [[s.i_cell[0, 0], 0]])
    np.testing.assert_array_equal(s.i_col, [[0], [s.i_cell[0, 0]]])
    assert s.i_out[0] == s.i_cell[0, 0]
    assert s.v_row[0, 0] == pytest.approx(0.3 - 50 * i, rel=1e-15)
    assert s.v_col[0, 0] == pytest.approx(0.1 + 120 * i, rel=1e-15)


def test_one_cell_between_four_terminals() -> None:
    s = nodal.solve([[1e-3]], [[50.0, 70.0]], [[90.0], [110.0]], [0.3], [-0.1], [0.05], [0.0])
    row, col = (0.3 / 50 - 0.1 / 70) / (1 / 50 + 1 / 70), (0.05 / 110) / (1 / 90 + 1 / 110)
    i = (row - col) / (1 / (1 / 50 + 1 / 70) + 1e3 + 1 / (1 / 90 + 1 / 110))
    v = row - i / (1 / 50 + 1 / 70)
    np.testing.assert_allclose(s.i_cell, [[i]], rtol=1e-14)
    np.testing.assert_allclose(s.i_row, [[(0.3 - v) / 50, (v + 0.1) / 70]], rtol=1e-13)
    np.testing.assert_allclose(s.i_out, [i], rtol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 8, 64, 256])
@pytest.mark.parametrize("rg", [1e-6, 1e-2, 1.0])
def test_ladder_follows_the_cosh_law(n: int, rg: float) -> None:
    r = 2.5
    s = one_line(np.full(n, rg / r), np.r_[np.full(n, r), INF], 0.2, 0.0)
    # 2 cosh(th) = 2 + r g, in the form that keeps its digits for small r g.
    th = 2 * np.arcsinh(np.sqrt(rg) / 2)
    # log cosh, so that neither long nor short lines overflow or cancel
    x = (n - 0.5 - np.arange(n)) * th
    log_cosh = np.logaddexp(x, -x)
    np.testing.assert_allclose(s.v_row[0] / s.v_row[0, 0], np.exp(log_cosh - log_cosh[0]), 3e-13)


def check_kirchhoff(c: dict[str, Any], s: nodal.Nodal, tol: float) -> None:
    """Kirchhoff's and Ohm's law, relative to the largest current and voltage of the circuit."""
    v = [np.abs(c[k]).max() for k in ("v_row_near", "v_row_far", "v_col_near", "v_col_far")]
    v_tol, i_tol = tol * max(v), tol * max(np.nanmax(np.abs(x)) for x in (s.i_row, s.i_col))
    live_row, live_col = ~s.row_floating, ~s.col_floating
    with np.errstate(invalid="ignore"):
        assert np.nanmax(np.abs(s.i_row[:, :-1] - s.i_row[:, 1:] - s.i_cell), initial=0) <= i_tol
        assert np.nanmax(np.abs(s.i_col[1:] - s.i_col[:-1] - s.i_cell), initial=0) <= i_tol
        assert np.nanmax(np.abs(s.i_out - (s.i_col[-1] - s.i_col[0])), initial=0) <= i_tol
        joined = live_row & live_col
        ohm = np.abs(s.i_cell - c["g"] * (s.v_row - s.v_col))[joined]
        assert (ohm <= 1e-15 * v_tol / tol * c["g"][joined]).all()
        assert (s.i_cell[~joined] == 0).all()
        row = np.hstack([c["v_row_near"][:, None], s.v_row, c["v_row_far"][:, None]])
        col = np.vstack([c["v_col_far"], s.v_col, c["v_col_near"]])
        for r, i, known, drop in (
            (c["r_row"], s.i_row, s.i_row_known, row[:, :-1] - row[:, 1:]),
            (c["r_col"], s.i_col, s.i_col_known, col[:-1] - col[1:]),
        ):
            assert (i[np.isinf(r)] == 0).all()
            at = known & np.isfinite(r) & ~np.isnan(drop)
            assert np.abs(drop - r * i)[at].max(initial=0) <= v_tol


@pytest.mark.parametrize("seed", range(60))
def test_kirchhoff_on_random_circuits(seed: int) -> None:
    c = nodal.random_circuit(seed)
    check_kirchhoff(c, solve(c), 1e-14)


def exact(c: dict[str, Any]) -> list[np.ndarray]:
    """v_row, v_col, i_row, i_col in rational arithmetic, with nothing merged and no 1/r: the
    unknowns are node voltages and segment currents, and a segment says v_a - v_b = r i."""
    rows, cols = c["g"].shape
    blocks = [(rows, cols), (rows, cols), (rows, cols + 1), (rows + 1, cols)]
    start = np.cumsum([0] + [m * n for m, n in blocks])
    wn, bn, iw, ib = (np.arange(m * n).reshape(m, n) + s for (m, n), s in zip(blocks, start))
    equations: list[dict[int, Fraction]] = []  # coefficients; key -1 is the right-hand side

    def add(*terms: tuple[int, Any]) -> None:
        row: dict[int, Fraction] = {}
        for k, x in terms:
            row[k] = row.get(k, Fraction(0)) + Fraction(x)
        equations.append(row)

    def segment(i: int, r: float, a: tuple[int, Any], b: tuple[int, Any]) -> None:
        if np.isinf(r):
            add((i, 1))
        else:  # a terminal is its voltage on the right-hand side
            add((i, -r), a, (b[0], -b[1]))

    for i in range(rows):
        chain = [(-1, -c["v_row_near"][i])] + [(k, 1) for k in wn[i]] + [(-1, -c["v_row_far"][i])]
        for j in range(cols + 1):
            segment(iw[i, j], c["r_row"][i, j], chain[j], chain[j + 1])
    for j in range(cols):
        chain = [(-1, -c["v_col_far"][j])] + [(k, 1) for k in bn[:, j]]
        chain += [(-1, -c["v_col_near"][j])]
        for i in range(rows + 1):
            segment(ib[i, j], c["r_col"][i, j], chain[i], chain[i + 1])
    for i, j in np.ndindex(rows, cols):
        cell = (wn[i, j], c["g"][i, j]), (bn[i, j], -c["g"][i, j])
        add((iw[i, j], 1), (iw[i, j + 1], -1), *((k, -x) for k, x in cell))
        add((ib[i, j], 1), (ib[i + 1, j], -1), *cell)

    # Gauss-Jordan; exact, so any pivot will do: take the sparsest equation.
    solved: dict[int, dict[int, Fraction]] = {}
    for k in range(start[-1]):
        pivot = min((e for e in equations if e.get(k)), key=len)
        equations.remove(pivot)
        pivot = {m: x / pivot[k] for m, x in pivot.items() if x}
        for other in [*equations, *solved.values()]:
            if factor := other.get(k):
                for m, x in pivot.items():
                    other[m] = other.get(m, Fraction(0)) - factor * x
                other.pop(k)
        solved[k] = pivot
    x = np.array([float(solved[k].get(-1, 0)) for k in range(start[-1])])
    return [part.reshape(s) for part, s in zip(np.split(x, start[1:-1]), blocks)]


def test_against_rational_arithmetic() -> None:
    checked = 0
    for seed in range(400):
        c = nodal.random_circuit(seed)
        if not 1 < np.prod(c["shape"]) <= 12:
            continue
        s = solve(c)
        known = s.i_row_known.all() and s.i_col_known.all()
        if not known or s.row_floating.any() or s.col_floating.any():
            continue
        for want, got in zip(exact(c), (s.v_row, s.v_col, s.i_row, s.i_col)):
            assert np.abs(got - want).max() <= 4e-16 * np.abs(want).max()
        checked += 1
    assert checked > 20


def test_random_circuits_cover_the_kinds() -> None:
    circuits = [nodal.random_circuit(seed) for seed in range(300)]
    shapes = {c["shape"] for c in circuits}
    assert min(shapes) == (1, 1) and max(s[0] for s in shapes) > 50 and max(shapes)[1] >= 1
    assert sum(np.isinf(c["r_row"][:, -1]).all() for c in circuits) > 100
    assert sum((c["r_row"] == 0).any() for c in circuits) > 50
    assert sum((c["r_col"][1:] == 0).all() for c in circuits) > 5
    small = [solve(c) for c in circuits if np.prod(c["shape"]) < 200]
    assert sum((s.row_floating | s.col_floating).any() for s in small) > 5
    assert any(not s.i_row_known.all() for s in small)


def test_ideal_wires_carry_known_currents() -> None:
    """r = 0 everywhere: i_out = g^T v, and the segment currents are partial sums."""
    rng = np.random.default_rng(0)
    g, v = rng.uniform(1e-6, 1e-4, (5, 4)), rng.uniform(-1, 1, 5)
    r_row, r_col = np.zeros((5, 5)), np.zeros((6, 4))
    r_row[:, -1] = r_col[0] = INF
    s = nodal.solve(g, r_row, r_col, v, v, np.zeros(4), np.zeros(4))
    np.testing.assert_allclose(s.i_out, g.T @ v, rtol=1e-14)
    np.testing.assert_allclose(s.i_row[:, :-1], (g * v[:, None])[:, ::-1].cumsum(1)[:, ::-1])
    np.testing.assert_allclose(s.i_col[1:], (g * v[:, None]).cumsum(0))
    assert s.i_row_known.all() and s.i_col_known.all()


def test_the_ideal_wire_is_the_limit_of_a_small_resistance() -> None:
    c = nodal.random_circuit(3)
    c |= {"g": np.random.default_rng(1).uniform(1e-6, 1e-4, (6, 7))}
    c |= {"r_row": np.full((6, 8), 2.0), "r_col": np.full((7, 7), 3.0)}
    for k, n in (("v_row_near", 6), ("v_row_far", 6), ("v_col_near", 7), ("v_col_far", 7)):
        c[k] = np.linspace(0.1, 0.3, n) if "row" in k else np.zeros(n)
    pick = np.random.default_rng(2).random((6, 8)) < 0.3
    pick[0] = [True] * 7 + [False]
    got = {}
    for r in (0.0, 1e-6, 1e-8):
        s = solve(c | {"r_row": np.where(pick, r, 2.0)})
        got[r] = np.concatenate([s.v_row.ravel(), 1e4 * s.i_row.ravel(), 1e4 * s.i_col.ravel()])
    assert np.abs(got[1e-6] - got[0.0]).max() < 3e-6
    assert np.abs(got[1e-8] - got[0.0]).max() < 3e-8


def test_an_ideal_loop_leaves_only_its_split_open() -> None:
    g = np.array([[1e-5, 2e-5], [3e-5, 4e-5]])
    r_row = np.array([[0, 0, 0], [1, 2, 3.0]])
    r_col = np.ones((3, 2))
    args = ([0.2, 0.1], [0.2, 0.1], [0.0, 0.0], [0.0, 0.0])
    s = nodal.solve(g, r_row, r_col, *args)
    np.testing.assert_array_equal(s.i_row_known, [[False] * 3, [True] * 3])
    assert np.isnan(s.i_row[0]).all() and np.isfinite(s.i_row[1]).all()
    assert s.i_col_known.all() and (s.v_row[0] == 0.2).all()
    with pytest.raises(ValueError, match="different voltages"):
        nodal.solve(g, r_row, r_col, args[0], [0.21, 0.1], *args[2:])


def test_islands_are_reported_and_carry_nothing() -> None:
    """Row 1 floats but hangs on column 0; row 2 and column 2 are an island of their own."""
    g = np.array([[1e-5, 2e-5, 0], [3e-5, 4e-5, 0], [0, 0, 5e-5]])
    r_row, r_col = np.ones((3, 4)), np.ones((4, 3))
    r_row[:, -1] = r_row[1:, 0] = r_col[0] = r_col[-1, 2] = INF
    v = np.full(3, 0.2)
    s = nodal.solve(g, r_row, r_col, v, v, np.zeros(3), np.zeros(3))
    np.testing.assert_array_equal(s.row_floating, [[False] * 3, [False] * 3, [True] * 3])
    np.testing.assert_array_equal(s.col_floating, [[False, False, True]] * 3)
    assert np.isnan(s.v_row[s.row_floating]).all() and np.isfinite(s.v_row[:2]).all()
    assert (s.i_cell[2] == 0).all() and (s.i_row[2] == 0).all() and (s.i_col[:, 2] == 0).all()
    # Row 1 is a bridge from one column to the other.
    assert s.i_cell[1, 0] == pytest.approx(-s.i_cell[1, 1], rel=1e-12) and s.i_cell[1, 0] != 0


@pytest.mark.parametrize("r", [1e-6, 1e-3, 1.0])
def test_small_resistances_with_small_conductances(r: float) -> None:
    """A line so good that to first order in n^2 r g every cell sees the full voltage."""
    n, g = 32, 1e-9
    s = one_line(np.full(n, g), np.r_[np.full(n, r), INF], 0.5, 0.0)
    i = 0.5 * g * np.arange(n, 0, -1)
    drop = np.cumsum(r * i)
    np.testing.assert_allclose(s.i_row[0, :-1], i, rtol=3 * n * n * r * g + 1e-15)
    np.testing.assert_allclose(s.v_row[0], 0.5 - drop, rtol=(n * n * r * g) ** 2 + 1e-15)


def test_invalid_input() -> None:
    ok: dict[str, Any] = {"g": np.ones((2, 3)), "r_row": np.ones((2, 4)), "r_col": np.ones((3, 3))}
    ok |= {"v_row_near": np.ones(2), "v_row_far": np.ones(2)}
    ok |= {"v_col_near": np.zeros(3), "v_col_far": np.zeros(3)}
    solve(ok)
    for bad in (
        {"g": -np.ones((2, 3))},
        {"g": np.full((2, 3), INF)},
        {"r_row": np.full((2, 4), np.nan)},
        {"r_col": -np.ones((3, 3))},
        {"r_row": np.ones((2, 3))},
        {"v_row_far": np.ones(3)},
        {"v_col_far": np.full(3, np.nan)},
    ):
        with pytest.raises(ValueError):
            solve(ok | bad)
