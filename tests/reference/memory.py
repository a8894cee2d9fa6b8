"""Memristors in a network of wires, by SciPy's Radau method on the state equation with a dense
nodal solve at every evaluation. Shares no code with the library."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

Rate = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of voltages [V] and states, per second


def moved(
    rate: Callable[[float, np.ndarray], np.ndarray],
    corners: np.ndarray,
    x: np.ndarray,
    low: float,
    high: float,
    rtol: float = 1e-10,
    method: str = "Radau",
) -> tuple[np.ndarray, int]:
    """States after the last corner [s], and how often the rate was evaluated. A state stops at its
    bounds."""
    shape, count = np.shape(x), 0

    def slope(t, y):
        inside = np.clip(y.reshape(shape), low, high)
        dx = rate(t, inside)
        outwards = ((y.reshape(shape) <= low) & (dx < 0)) | ((y.reshape(shape) >= high) & (dx > 0))
        return np.where(outwards, 0, dx).ravel()

    y = np.ravel(np.asarray(x, float))
    for start, end in zip(corners[:-1], corners[1:]):
        atol = 1e-2 * rtol * (high - low)
        found = solve_ivp(slope, (start, end), y, method=method, rtol=rtol, atol=atol)
        assert found.success
        y, count = np.clip(found.y[:, -1], low, high), count + found.nfev
    return y.reshape(shape), count


def piecewise(t: np.ndarray, v: np.ndarray) -> Callable[[float], np.ndarray]:
    """Piecewise-linear voltages, `(corners, lines)` at the corners `t`."""
    return lambda at: np.array([np.interp(at, t, v[:, k]) for k in range(v.shape[1])])


def cell_voltages(
    g: np.ndarray, v_row: np.ndarray, v_col: np.ndarray, r_row: float, r_col: float
) -> np.ndarray:
    """Voltages across linear cells of conductances `g` [S], rows driven at column 0 behind one
    segment each of `r_row` [ohm], columns held below the last row behind one of `r_col` [ohm]."""
    rows, cols = g.shape
    n = rows * cols
    a, b = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)
    of_row, of_col = lambda i, j: i * cols + j, lambda i, j: n + i * cols + j

    def joined(p, q, y):
        for k, other in ((p, q), (q, p)):
            a[k, k] += y
            a[k, other] -= y

    for i in range(rows):
        for j in range(cols):
            joined(of_row(i, j), of_col(i, j), g[i, j])
            if j:
                joined(of_row(i, j - 1), of_row(i, j), 1 / r_row)
            if i:
                joined(of_col(i - 1, j), of_col(i, j), 1 / r_col)
    for i in range(rows):
        a[of_row(i, 0), of_row(i, 0)] += 1 / r_row
        b[of_row(i, 0)] += v_row[i] / r_row
    for j in range(cols):
        a[of_col(rows - 1, j), of_col(rows - 1, j)] += 1 / r_col
        b[of_col(rows - 1, j)] += v_col[j] / r_col
    v = np.linalg.solve(a, b)
    return (v[:n] - v[n:]).reshape(rows, cols)
