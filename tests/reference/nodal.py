"""Reference solution of a resistive crossbar by nodal analysis (numpy and scipy only).

It shares no code and no method with the package: this is the textbook 1/r matrix over nodes,
made accurate by iterative refinement in extended precision.

Circuit. Row line i is a chain: near terminal, r_row[i, 0], node (i, 0), r_row[i, 1], ...,
node (i, cols-1), r_row[i, cols], far terminal. Column line j is a chain from the top: far
terminal, r_col[0, j], node (0, j), r_col[1, j], ..., node (rows-1, j), r_col[rows, j], near
terminal (the sense end). A cell of conductance g[i, j] joins row node (i, j) to column node
(i, j). The terminals are ideal voltage sources. Any r may be 0 (an ideal wire) or inf (no wire).

Method.
1. Nodes joined by r = 0 are merged; no resistance is ever invented for an ideal wire. A group of
   merged nodes that holds a terminal is a known voltage. A line is a path, so the only ideal loop
   there can be is a whole line with r = 0 from terminal to terminal.
2. Groups without a path to a terminal (islands) carry no current and are left out.
3. The other groups make a symmetric positive definite matrix, factorised in float64 (splu). The
   solution is accumulated in longdouble and its residual is computed edge by edge in longdouble,
   from the differences v_a - v_b and not from the assembled matrix: the diagonal, in which 1/r
   can swamp g, only affects the rate of convergence. An edge current that is wrong by rounding
   enters the two ends with opposite signs, as would a source in series of the size of the rounding
   of v, and so the voltages end up right to a few longdouble roundings even where 1/r >> g.
4. Only the cell currents are computed as conductance times difference. (v_a - v_b) / r would lose
   everything for small r; instead segment currents are sums of cell currents (Kirchhoff's current
   law) counted from a break, where the current is 0. On a line without a break the one unknown left
   follows from the voltage law: sum of r i = difference of the terminal voltages.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

Array = NDArray[Any]
LD = np.longdouble


class Nodal(NamedTuple):
    """Voltages and currents, float64; see the module docstring for the circuit."""

    v_row: Array  # (rows, cols); NaN where row_floating
    v_col: Array  # (rows, cols); NaN where col_floating
    i_cell: Array  # (rows, cols), from row to column; 0 in islands
    i_row: Array  # (rows, cols + 1), positive from near to far; NaN where not i_row_known
    i_col: Array  # (rows + 1, cols), positive from far (top) to near; NaN where not i_col_known
    i_out: Array  # (cols,) = i_col[-1] - i_col[0], computed as the sum of the cell currents
    row_floating: Array  # bool (rows, cols): no path to any terminal
    col_floating: Array  # bool (rows, cols)
    i_row_known: Array  # bool (rows, cols + 1): False on an ideal loop
    i_col_known: Array  # bool (rows + 1, cols)


def solve(
    g: ArrayLike,
    r_row: ArrayLike,
    r_col: ArrayLike,
    v_row_near: ArrayLike,
    v_row_far: ArrayLike,
    v_col_near: ArrayLike,
    v_col_far: ArrayLike,
) -> Nodal:
    """Solve the circuit. ValueError for invalid input, including ideal wires that join terminals
    of different voltages; ArithmeticError if the refinement does not converge (which takes ratios
    1/r to g beyond about 1e14)."""
    g, r_row, r_col = (np.asarray(x, float) for x in (g, r_row, r_col))
    rows, cols = g.shape
    terminals = [np.asarray(x, float) for x in (v_row_near, v_row_far, v_col_near, v_col_far)]
    shapes = [(rows, cols + 1), (rows + 1, cols), (rows,), (rows,), (cols,), (cols,)]
    if [x.shape for x in (r_row, r_col, *terminals)] != shapes:
        raise ValueError(f"r_row, r_col and the terminal voltages must have shapes {shapes}")
    if not (np.isfinite(g).all() and (g >= 0).all() and (r_row >= 0).all() and (r_col >= 0).all()):
        raise ValueError("g must be finite and >= 0, r must be >= 0")
    v_terminal = np.concatenate(terminals)
    if not np.isfinite(v_terminal).all():
        raise ValueError("terminal voltages must be finite")

    # Number the nodes: row nodes, column nodes, terminals.
    inner = rows * cols
    row_node = np.arange(inner).reshape(rows, cols)
    col_node = inner + row_node
    ends = 2 * inner + np.arange(2 * (rows + cols))
    near_r, far_r, near_c, far_c = np.split(ends, np.cumsum([rows, rows, cols]))
    row_chain = np.hstack([near_r[:, None], row_node, far_r[:, None]])
    col_chain = np.vstack([far_c[None], col_node, near_c[None]])
    a = np.concatenate([row_chain[:, :-1].ravel(), col_chain[:-1].ravel(), row_node.ravel()])
    b = np.concatenate([row_chain[:, 1:].ravel(), col_chain[1:].ravel(), col_node.ravel()])
    r = np.concatenate([r_row.ravel(), r_col.ravel(), np.full(inner, np.inf)])
    y = np.zeros(r.size, LD)  # conductance of each edge; ideal wires are dealt with by merging
    resistive = (r > 0) & np.isfinite(r)
    y[resistive] = 1 / r[resistive].astype(LD)
    y[-inner:] = g.ravel()

    # Merge what ideal wires join, and look for islands in what is left.
    group = _components(a[r == 0], b[r == 0], 2 * inner + ends.size)
    n = group.max() + 1
    known = np.zeros(n, bool)
    known[group[ends]] = True
    v = np.zeros(n, LD)
    v[group[ends]] = v_terminal
    if (v[group[ends]] != v_terminal).any():
        raise ValueError("ideal wires join terminals of different voltages")
    a, b = group[a], group[b]
    keep = (y > 0) & (a != b)
    a, b, y = a[keep], b[keep], y[keep]
    part = _components(a, b, n)
    floating = ~np.isin(part, part[known])
    _solve_voltages(v, ~known & ~floating, a, b, y)

    v_row, v_col = v[group[row_node]], v[group[col_node]]
    i_cell = g * (v_row - v_col)  # exactly 0 in islands, where v = 0 so far
    i_row = np.empty(r_row.shape, LD)
    i_col = np.empty(r_col.shape, LD)
    for i in range(rows):
        i_row[i] = _line_currents(r_row[i], -i_cell[i], terminals[0][i], terminals[1][i])
    for j in range(cols):
        i_col[:, j] = _line_currents(r_col[:, j], i_cell[:, j], terminals[3][j], terminals[2][j])
    v[floating] = np.nan
    return Nodal(
        v[group[row_node]].astype(float),
        v[group[col_node]].astype(float),
        i_cell.astype(float),
        i_row.astype(float),
        i_col.astype(float),
        i_cell.sum(0).astype(float),
        floating[group[row_node]],
        floating[group[col_node]],
        ~np.isnan(i_row),
        ~np.isnan(i_col),
    )


def _components(a: Array, b: Array, n: int) -> Array:
    """Label of the connected component of each of n nodes under the edges (a, b)."""
    return connected_components(coo_matrix((np.ones(a.size), (a, b)), shape=(n, n)), False)[1]


def _solve_voltages(v: Array, free: Array, a: Array, b: Array, y: Array) -> None:
    """Fill v[free] in place (longdouble) such that the currents y (v_a - v_b) balance there."""
    m = int(free.sum())
    if m == 0:
        return
    index = np.full(v.size, -1)
    index[free] = np.arange(m)
    y64 = y.astype(float)
    off = free[a] & free[b]
    ia, ib = index[a[off]], index[b[off]]
    k = np.concatenate([index[a[free[a]]], index[b[free[b]]], ia, ib])
    l = np.concatenate([index[a[free[a]]], index[b[free[b]]], ib, ia])  # noqa: E741
    values = np.concatenate([y64[free[a]], y64[free[b]], -y64[off], -y64[off]])
    matrix = csc_matrix((values, (k, l)), shape=(m, m))
    lu = splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    tolerance = 100 * np.finfo(LD).eps * np.abs(v).max()
    for _ in range(200):
        current = y * (v[a] - v[b])
        residual = np.zeros(v.size, LD)
        np.add.at(residual, a, -current)
        np.add.at(residual, b, current)
        # Scaled so that the float64 right-hand side cannot underflow.
        scale = np.abs(residual[free]).max()
        if scale == 0:
            return
        step = lu.solve((residual[free] / scale).astype(float)) * scale
        v[free] += step
        if np.abs(step).max() <= tolerance:
            return
    raise ArithmeticError("iterative refinement did not converge")


def _line_currents(r: Array, gain: Array, v_first: float, v_last: float) -> Array:
    """Current in each segment of one line, positive away from the first terminal, when the node
    after segment k receives gain[k] from its cell: i[k + 1] = i[k] + gain[k]. NaN if an ideal loop
    leaves it open."""
    total = np.concatenate([[LD(0)], np.cumsum(gain)])  # i = i[0] + total
    breaks = np.flatnonzero(np.isinf(r))
    if breaks.size == 0:
        resistance = r.astype(LD).sum()
        if resistance == 0:
            return np.full(r.size, np.nan, LD)
        return total + (LD(v_first) - LD(v_last) - (r * total).sum()) / resistance
    # The current is 0 in a break: count from the last one passed, or back from the first one.
    passed = np.searchsorted(breaks, np.arange(r.size), side="right")
    return total - total[breaks[np.maximum(passed - 1, 0)]]


def random_circuit(seed: int) -> dict[str, Any]:
    """The arguments of `solve` and "shape", drawn from one of many kinds of circuit: 1x1 to 64x48,
    faulty cells, broken, ideal and floating lines, one- and two-ended drive and sense."""
    rng = np.random.default_rng(seed)

    def chance(p: float) -> bool:
        return bool(rng.random() < p)

    rows = min(int(np.exp(rng.uniform(0, np.log(65)))), 64)
    cols = min(int(np.exp(rng.uniform(0, np.log(49)))), 48)
    shape = (rows, cols)
    g = 10 ** rng.uniform(-7, -3, shape) if chance(0.5) else rng.uniform(1e-6, 1e-4, shape)
    if chance(0.3):
        g[rng.random(shape) < rng.uniform(0.05, 0.3)] = 0  # stuck off
    if chance(0.3):
        g[rng.random(shape) < 0.02] = 1e-2  # stuck on
    if chance(0.15):
        g[rng.random(rows) < 0.2] = 0
    if chance(0.15):
        g[:, rng.random(cols) < 0.2] = 0

    def family(lines: int, length: int) -> Array:
        """Resistances (lines, length + 1), from the near terminal on."""
        if chance(0.5):
            r = np.full((lines, length + 1), rng.uniform(0.1, 20))
        else:
            r = rng.uniform(0.1, 20, (lines, length + 1))
        if chance(0.3):
            r[rng.random(r.shape) < 0.1] = 0
        if chance(0.15):
            r[:] = 0
        if chance(0.3):
            r[:, 0] += rng.uniform(0, 200)  # the source or the sense resistance
        if chance(0.2):
            r[rng.random(r.shape) < rng.uniform(0.01, 0.05)] = np.inf
        kind = rng.choice(["open", "finite", "ideal", "from the far end"], p=[0.55, 0.25, 0.1, 0.1])
        if kind == "open":
            r[:, -1] = np.inf
        elif kind == "ideal":
            r[:, -1] = 0
        elif kind == "from the far end":
            r[:, 0] = np.inf
        if chance(0.15):
            r[np.ix_(rng.random(lines) < 0.3, np.array([0, length]))] = np.inf  # floating lines
        return r

    r_row, r_col = family(rows, cols), family(cols, rows).T[::-1].copy()
    v_row_near = rng.uniform(-0.3, 0.3, rows)
    v_col_near = np.full(cols, rng.choice([0.0, 0.1]))
    if chance(0.2):
        v_col_near = v_col_near + rng.normal(0, 1e-3, cols)
    v_row_far, v_col_far = v_row_near.copy(), v_col_near.copy()
    if chance(0.2):
        v_row_far = rng.uniform(-0.3, 0.3, rows)
    if chance(0.1):
        v_col_far = v_col_far + rng.uniform(-0.05, 0.05, cols)
    # A line that is ideal from end to end needs one voltage.
    v_row_far = np.where((r_row == 0).all(1), v_row_near, v_row_far)
    v_col_far = np.where((r_col == 0).all(0), v_col_near, v_col_far)
    v = {"v_row_near": v_row_near, "v_row_far": v_row_far}
    v |= {"v_col_near": v_col_near, "v_col_far": v_col_far}
    return {"shape": shape, "g": g, "r_row": r_row, "r_col": r_col, **v}
