"""Reference solution of a resistive crossbar in ball arithmetic (python-flint): nodes that ideal
wires and shorts join are merged, the others are solved for by LU with 2048 bits and error bounds.

It shares no code and no method with the package. The circuit is that of nodal.py, where any cell
may also be inf: a short.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flint
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BITS = 2048  # cells of 1e200 S beside those of 1e-12 S
flint.ctx.prec = BITS


class ShortCircuit(ValueError):
    """Ideal wires and shorts join terminals of different voltages."""


class Merged(NamedTuple):
    """Voltages [V] and currents [A] as float64; NaN where the circuit leaves them open."""

    v_row: Array
    v_col: Array
    i_cell: Array  # NaN of shorts
    i_row: Array  # NaN of ideal wires
    i_col: Array
    i_out: Array  # into both terminals of a column
    i_in: Array  # out of both terminals of a row


def solve(g, r_row, r_col, v_row, v_row_far, v_col, v_col_far, *, exact: bool = False) -> Merged:
    """Arguments as of `nodal.solve`, of numbers or `flint.arb`. `exact` leaves `i_out` and `i_in`
    as `flint.arb`."""
    g, r_row, r_col = (np.asarray(x, object) for x in (g, r_row, r_col))
    rows, cols = g.shape
    inner = rows * cols
    row_node = np.arange(inner).reshape(rows, cols)
    col_node = inner + row_node
    ends = 2 * inner + np.arange(2 * (rows + cols))
    near_r, far_r, near_c, far_c = np.split(ends, np.cumsum([rows, rows, cols]))
    terminals = np.concatenate(
        [np.asarray(x, object) for x in (v_row, v_row_far, v_col, v_col_far)]
    )
    row_chain = np.hstack([near_r[:, None], row_node, far_r[:, None]])
    col_chain = np.vstack([far_c[None], col_node, near_c[None]])
    a = np.concatenate([row_chain[:, :-1].ravel(), col_chain[:-1].ravel(), row_node.ravel()])
    b = np.concatenate([row_chain[:, 1:].ravel(), col_chain[1:].ravel(), col_node.ravel()])
    r = np.concatenate([r_row.ravel(), r_col.ravel()])
    kind = np.array([_kind(x) for x in r] + [_kind(x, inverse=True) for x in g.ravel()])
    ideal, open_ = kind == 0, kind == 2
    y = [flint.arb(0)] * len(kind)
    for k in np.flatnonzero(kind == 1):
        y[k] = 1 / flint.arb(r[k]) if k < len(r) else flint.arb(g.ravel()[k - len(r)])

    parent = list(range(2 * inner + len(ends)))

    def root(k):
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for k in np.flatnonzero(ideal):
        parent[root(a[k])] = root(b[k])
    group: Any = np.array([root(k) for k in range(len(parent))])
    voltage: dict[int, Any] = {}
    for node, v in zip(ends, terminals):
        if voltage.setdefault(group[node], v) != v:
            raise ShortCircuit
    for k in range(len(parent)):  # paths to terminals, over all edges
        parent[k] = group[k]
    for k in np.flatnonzero(~open_):
        parent[root(a[k])] = root(b[k])
    grounded = {root(k) for k in voltage}
    floating = np.array([root(k) not in grounded for k in range(len(parent))])
    unknown = sorted({k for k in set(group) - set(voltage) if not floating[k]})
    index = {k: n for n, k in enumerate(unknown)}
    v = {k: flint.arb(x) for k, x in voltage.items()}
    edges = [(group[a[k]], group[b[k]], y[k]) for k in np.flatnonzero(kind == 1)]
    edges = [(p, q, c) for p, q, c in edges if p != q and not floating[p]]
    if unknown:
        n = len(unknown)
        matrix = [[flint.arb(0)] * n for _ in range(n)]
        rhs = [[flint.arb(0)] for _ in range(n)]
        for p, q, c in edges:
            for s, t in ((p, q), (q, p)):
                if s in index:
                    matrix[index[s]][index[s]] += c
                    if t in index:
                        matrix[index[s]][index[t]] -= c
                    else:
                        rhs[index[s]][0] += c * v[t]
        found = flint.arb_mat(matrix).solve(flint.arb_mat(rhs))
        v |= {k: found[n, 0] for k, n in index.items()}
    out: dict[int, Any] = {}  # current that resistive edges bring to each group with a terminal
    for p, q, c in edges:
        i = c * (v[p] - v[q])
        out[q] = out.get(q, 0) + i
        out[p] = out.get(p, 0) - i
    at = lambda nodes: np.vectorize(
        lambda k: np.nan if floating[k] else float(v[group[k]].mid()), otypes=[float]
    )(nodes)

    def through(k):
        if kind[k] != 1 or floating[a[k]]:
            return np.nan if kind[k] == 0 else 0.0
        return float((y[k] * (v[group[a[k]]] - v[group[b[k]]])).mid())

    i = np.array([through(k) for k in range(len(kind))])
    i_row, i_col, i_cell = np.split(i, np.cumsum([r_row.size, r_col.size]))
    owner: dict[int, set] = {}
    for line, pair in enumerate([*zip(near_r, far_r), *zip(near_c, far_c)]):
        for node in pair:
            owner.setdefault(group[node], set()).add(line)

    def into(line, pair):
        groups = {group[k] for k in pair}
        if any(owner[k] != {line} for k in groups):
            return np.nan
        total = sum((out.get(k, flint.arb(0)) for k in groups), flint.arb(0))
        return total if exact else float(total.mid())

    i_in = [-into(n, pair) for n, pair in enumerate(zip(near_r, far_r))]
    i_out = [into(rows + n, pair) for n, pair in enumerate(zip(near_c, far_c))]
    shaped = i_cell.reshape(g.shape), i_row.reshape(r_row.shape), i_col.reshape(r_col.shape)
    return Merged(at(row_node), at(col_node), *shaped, np.array(i_out), np.array(i_in))


def _kind(x, *, inverse: bool = False) -> int:
    """0 of an ideal joint, 1 of a resistor, 2 of an open one."""
    if isinstance(x, flint.arb):
        return 1
    nothing, everything = (2, 0) if inverse else (0, 2)
    return nothing if x == 0 else everything if np.isinf(x) else 1
