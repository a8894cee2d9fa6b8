"""Reference solvers for accuracy and speed: SciPy's SuperLU and ngspice."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import SuperLU, splu


def nodal_matrix(g, r_row, r_col, v_in):
    """The nodal matrix [S] and right-hand side [A] of a one-ended array, `2 rows cols` unknowns:
    all nodes of the word lines, then all nodes of the bit lines. Resistances must be above 0.
    """
    rows, cols = g.shape
    row = np.arange(rows * cols).reshape(rows, cols)
    col = row + rows * cols
    g_row, g_col = (1 / np.broadcast_to(r, g.shape) for r in (r_row, r_col))
    diagonal, b = np.zeros(2 * rows * cols), np.zeros(2 * rows * cols)
    i, j, x = [], [], []
    for a, c, conductance in (
        (row[:, 1:], row[:, :-1], g_row[:, 1:]),
        (col[1:], col[:-1], g_col[:-1]),
        (row, col, g),
    ):
        a, c, conductance = a.ravel(), c.ravel(), conductance.ravel()
        i += [a, c]
        j += [c, a]
        x += [-conductance, -conductance]
        np.add.at(diagonal, a, conductance)
        np.add.at(diagonal, c, conductance)
    diagonal[row[:, 0]] += g_row[:, 0]
    diagonal[col[-1]] += g_col[-1]
    b[row[:, 0]] = g_row[:, 0] * v_in
    every = np.arange(2 * rows * cols)
    entries = np.concatenate([*x, diagonal])
    where = np.concatenate([*i, every]), np.concatenate([*j, every])
    return sparse.coo_matrix((entries, where)).tocsc(), b


def factor(matrix) -> SuperLU:
    """Sparse LU with the symmetric ordering, the fastest in SciPy for these matrices."""
    options = {"SymmetricMode": True}
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)


def output_currents(x, g):
    """Column currents [A] of a nodal solution: the sum of cell currents."""
    rows, cols = g.shape
    v_row, v_col = x.reshape(2, rows, cols)
    return (g * (v_row - v_col)).sum(axis=0)


def solve(g, r_row, r_col, v_in):
    """Output currents [A] by sparse LU, with one step of iterative refinement."""
    matrix, b = nodal_matrix(g, r_row, r_col, v_in)
    lu = factor(matrix)
    x = lu.solve(b)
    x += lu.solve(b - matrix @ x)
    return output_currents(x, g)


def ngspice(g, r_row, r_col, v_in):
    """Output currents [A] of an operating point by ngspice, in a process of its own."""
    rows, cols = g.shape
    r_row, r_col = np.broadcast_to(r_row, g.shape), np.broadcast_to(r_col, g.shape)
    lines = ["crossbar"]
    for i in range(rows):
        lines.append(f"V{i} w{i}_0 0 {v_in[i]:.17g}")
        for j in range(cols):
            lines.append(f"Rr{i}_{j} w{i}_{j} w{i}_{j + 1} {r_row[i, j]:.17g}")
            lines.append(f"Rg{i}_{j} w{i}_{j + 1} b{i}_{j} {1 / g[i, j]:.17g}")
            lines.append(f"Rc{i}_{j} b{i}_{j} b{i + 1}_{j} {r_col[i, j]:.17g}")
    lines += [f"Vm{j} b{rows}_{j} 0 0" for j in range(cols)]
    currents = " ".join(f"i(vm{j})" for j in range(cols))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.dat"
        lines += [
            ".options reltol=1e-9 abstol=1e-18 vntol=1e-13 gmin=1e-20",
            ".control",
            "set numdgt=15",
            "set wr_singlescale",
            "op",
            f"wrdata {out} {currents}",
            ".endc",
            ".end",
        ]
        netlist = Path(folder) / "array.cir"
        netlist.write_text("\n".join(lines) + "\n")
        subprocess.run(["ngspice", "-b", netlist], capture_output=True, cwd=folder)
        values = np.loadtxt(out, ndmin=1).ravel()
    if values.size != cols + 1:  # a scale column comes first
        raise RuntimeError(f"ngspice wrote {values.size} columns for {cols} currents")
    return values[1:]


def ekv(v_d, v_s, v_gate, beta, v_t, n, lam, u_t):
    """Current [A] of an EKV channel, and its slopes [S] with respect to both terminal voltages."""
    pinch = (v_gate - v_t) / n
    s, d = (np.logaddexp(0, (pinch - v) / (2 * u_t)) for v in (v_s, v_d))
    slope_s, slope_d = (f * -np.expm1(-f) / u_t for f in (s, d))
    i_s, modulation = 2 * n * beta * u_t**2, 1 + lam * np.abs(v_d - v_s)
    difference, tilt = s**2 - d**2, lam * np.sign(v_d - v_s)
    current = i_s * modulation * difference
    by_d = i_s * (modulation * slope_d + tilt * difference)
    return current, by_d, -i_s * (modulation * slope_s + tilt * difference)


def newton_1t1r(g, r_row, r_col, v_in, tolerance: float = 1e-10, lu=factor, **transistor):
    """Output currents [A] of a one-ended 1T1R array (EKV transistor on the row side), by Newton's
    method with sparse LU over `3 rows cols` nodes, and the number of iterations. `lu` factorises:
    `factor`, or SciPy's `splu` with default options."""
    wires, b = nodal_matrix(np.zeros_like(g), r_row, r_col, v_in)
    size = g.size
    w = np.arange(size)
    c, m = w + size, w + 2 * size
    wires = sparse.block_diag([wires, sparse.csc_matrix((size, size))]).tocsc()
    b = np.concatenate([b, np.zeros(size)])
    flat = g.ravel()
    x = np.concatenate([np.repeat(v_in, g.shape[1]), np.zeros(size), np.zeros(size)])
    for iteration in range(1, 50):
        current, by_d, by_s = ekv(x[w], x[m], **transistor)
        through = flat * (x[m] - x[c])
        residual = wires @ x - b
        residual += np.concatenate([current, -through, through - current])
        entries = [by_d, by_s, -by_d, -by_s + flat, -flat, -flat, flat]
        rows, cols = [w, w, m, m, m, c, c], [w, m, w, m, c, m, c]
        where = np.concatenate(rows), np.concatenate(cols)
        devices = sparse.coo_matrix((np.concatenate(entries), where), shape=wires.shape)
        step = lu((wires + devices).tocsc()).solve(residual)
        x -= step
        if np.abs(step).max() < tolerance * np.abs(x).max():
            return (flat * (x[m] - x[c])).reshape(g.shape).sum(axis=0), iteration
    raise ArithmeticError("Newton's method did not converge")
