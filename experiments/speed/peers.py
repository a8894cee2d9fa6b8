"""Times of one read and of SciPy's SuperLU, KLU and ngspice, in turns."""

import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb

from .. import reference
from .circuits import circuit, crossbar, error, seconds


def superlu(n: int, per_segment: bool) -> dict:
    """Times of one read, and of factorisation and solve by SuperLU; a further input needs only a
    solve."""
    g, r_row, r_col, v = circuit(n, per_segment)
    xbar, v_in = crossbar(g, r_row, r_col), jnp.asarray(v)
    compiled = jax.jit(lambda xbar, v_in: xb.read(xbar, v_in).i_out)
    read = lambda: compiled(xbar, v_in)
    everything = lambda: xb.read(xbar, v_in)  # all node voltages and currents, checked
    wrong = error(read(), reference.solve(g, r_row, r_col, v))
    assert wrong < 1e-10, wrong

    matrix, b = reference.nodal_matrix(g, r_row, r_col, v)
    ours, full, factors, solves = [], [], [], []
    jax.block_until_ready(everything())
    for _ in range(3 if n >= 512 else 5):
        ours += seconds(read, least=10 if n >= 512 else 25)
        full += seconds(everything, least=5 if n >= 512 else 15)
        start = time.perf_counter()
        lu = reference.factor(matrix)
        middle = time.perf_counter()
        lu.solve(b)
        factors.append(middle - start)
        solves.append(time.perf_counter() - middle)
    solution = xb.read(xbar, v_in)
    seconds_ours, seconds_lu = np.median(ours), np.median(np.add(factors, solves))
    return {
        "n": n,
        "wires": "per segment" if per_segment else "uniform",
        "read_s": seconds_ours,
        "everything_s": np.median(full),
        "superlu_factor_s": np.median(factors),
        "superlu_solve_s": np.median(solves),
        "times_faster": seconds_lu / seconds_ours,
        "error": wrong,
        "iterations": int(solution.num_steps),
        "residual": float(solution.residual / jnp.max(solution.i_out)),
    }


def klu(n: int) -> dict | None:
    """Times of one read and of KLU by klujax; `None` if klujax is not installed."""
    try:
        import klujax
    except ImportError:
        return None
    g, r_row, r_col, v = circuit(n, False)
    xbar, v_in = crossbar(g, r_row, r_col), jnp.asarray(v)
    compiled = jax.jit(lambda xbar, v_in: xb.read(xbar, v_in).i_out)
    matrix, b = reference.nodal_matrix(g, r_row, r_col, v)
    entries = matrix.tocoo()
    rows, cols = (jnp.asarray(x, jnp.int32) for x in (entries.row, entries.col))
    values, b = jnp.asarray(entries.data), jnp.asarray(b)
    solve = jax.jit(lambda values, b: klujax.solve(rows, cols, values, b))
    wrong = error(compiled(xbar, v_in), reference.output_currents(np.asarray(solve(values, b)), g))
    assert wrong < 1e-9, wrong
    theirs, ours = [], []
    for _ in range(3):
        theirs += seconds(lambda: solve(values, b), least=2)
        ours += seconds(lambda: compiled(xbar, v_in), least=15)
    ours, theirs = np.median(ours), np.median(theirs)
    return {"n": n, "read_s": ours, "klu_s": theirs, "times_faster": theirs / ours, "error": wrong}


def ngspice(n: int) -> dict | None:
    """Times of one read and of an ngspice process; `None` if ngspice is not installed."""
    if shutil.which("ngspice") is None:
        return None
    g, r_row, r_col, v = circuit(n, False)
    xbar, v_in = crossbar(g, r_row, r_col), jnp.asarray(v)
    read = lambda: xb.read(xbar, v_in).i_out
    wrong = error(read(), reference.ngspice(g, r_row, r_col, v))
    assert wrong < 1e-9, wrong
    spice = np.median(seconds(lambda: reference.ngspice(g, r_row, r_col, v), least=3))
    ours = np.median(seconds(read, least=15))
    return {
        "n": n,
        "read_s": ours,
        "ngspice_process_s": spice,
        "times_faster": spice / ours,
        "error": wrong,
    }
