"""Times of reads over sizes, resistances and dtypes; of gradients and transfers; and the memory
bandwidth of the machine."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb

from .. import reference
from .circuits import circuit, crossbar, error, seconds


def bandwidth() -> dict:
    """Copy rate of one core beyond the caches, bytes read and written [bytes per second]."""
    source = np.ones(2**25)
    target = np.empty_like(source)
    copy = np.median(seconds(lambda: np.copyto(target, source), least=9))
    return {"copy_bytes_a_second": 2 * source.nbytes / copy}


def read(n: int, dtype: str) -> list[dict]:
    """Times of reads of one size over r Gmax, compiled once. float32 outputs are checked against
    float64, float64 outputs by Kirchhoff's current law."""
    compiled = jax.jit(lambda xbar, v: xb.read(xbar, v).i_out)
    whole = jax.jit(lambda xbar, v: xb.read(xbar, v))
    rows = []
    for r_g in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)[: 3 if n > 2048 else 5]:
        g, r_row, r_col, v = circuit(n, False, r_g)
        xbar, v_in = crossbar(g, r_row, r_col, dtype), jnp.asarray(v, dtype)
        solution = whole(xbar, v_in)
        assert int(solution.status) == 0, (n, r_g, dtype, int(solution.status))
        row = {"n": n, "r_g": r_g, "dtype": dtype, "iterations": int(solution.num_steps)}
        if dtype == "float64":
            row["residual"] = float(solution.residual / jnp.max(solution.i_out))
            assert row["residual"] < 1e-10, row
        else:
            exact = whole(crossbar(g, r_row, r_col), jnp.asarray(v))
            row["error"] = error(solution.i_out, exact.i_out)
        del solution
        jax.block_until_ready(compiled(xbar, v_in))
        times = seconds(partial(compiled, xbar, v_in), least=2 if n >= 1024 else 11)
        rows.append(row | {"read_s": np.median(times)})
    return rows


def gradient(n: int) -> dict:
    """Time of a gradient with respect to every leaf of the circuit, in reads."""
    g, r_row, r_col, v = circuit(n, True)
    xbar, v_in = crossbar(g, r_row, r_col), jnp.asarray(v)
    loss = lambda xbar, v_in: jnp.sum(xb.read(xbar, v_in).i_out ** 2)
    value = jax.jit(loss)
    slope = jax.jit(jax.grad(loss, argnums=(0, 1)))
    reads, grads = [], []
    jax.block_until_ready((value(xbar, v_in), slope(xbar, v_in)))
    for _ in range(7):
        reads += seconds(lambda: value(xbar, v_in))
        grads += seconds(lambda: slope(xbar, v_in))
    ratio = np.median(grads) / np.median(reads)
    return {"n": n, "gradient_s": np.median(grads), "reads": ratio}


def transfer(rows: int, cols: int, dtype: str) -> dict:
    """Times of the effective matrix: by the default route, by one iterative solve per line of the
    shorter side, and by block elimination."""
    g, r_row, r_col, v = circuit(max(rows, cols), False)
    g, v = g[:rows, :cols], v[:rows]
    xbar = crossbar(g, r_row, r_col, dtype)
    ways = {
        "transfer_s": xb.AutoLadder(),
        "by_solves_s": xb.LadderCG(),
        "by_blocks_s": xb.BlockElimination(),
    }
    wanted = reference.solve(g, r_row, r_col, v)
    wrong = [error(v @ xb.transfer(xbar, solver=s), wanted) for s in ways.values()]
    assert max(wrong) < (1e-10 if dtype == "float64" else 1e-5), wrong
    times = {name: [] for name in ways}
    for _ in range(5):
        for name, solver in ways.items():
            times[name] += seconds(lambda solver=solver: xb.transfer(xbar, solver=solver), least=2)
    medians = {name: np.median(taken) for name, taken in times.items()}
    return {"rows": rows, "cols": cols, "dtype": dtype, **medians, "error": max(wrong)}


def transfer_gradient(rows: int, cols: int, dtype: str) -> dict:
    """Times of a training step, the effective matrix and a gradient by all cells, in matrices: by
    the default route, by one iterative solve per line of the shorter side, and by block
    elimination."""
    g, r_row, r_col, _ = circuit(max(rows, cols), False)
    g = jnp.asarray(g[:rows, :cols], dtype)
    w = jnp.asarray(np.random.default_rng(1).normal(size=g.shape), dtype)

    def compiled(solver):
        loss = lambda g: jnp.vdot(w, xb.transfer(crossbar(g, r_row, r_col, dtype), solver=solver))
        return jax.jit(loss), jax.jit(jax.value_and_grad(loss))

    (matrix, step), (_, by_solves) = compiled(xb.AutoLadder()), compiled(xb.LadderCG())
    by_blocks = compiled(xb.BlockElimination())[1]
    wrong = max(error(by(g)[1], by_blocks(g)[1]) for by in (step, by_solves))
    assert wrong < (1e-10 if dtype == "float64" else 1e-4), wrong
    ways = {"matrix_s": matrix, "step_s": step}
    ways |= {"step_by_solves_s": by_solves, "step_by_blocks_s": by_blocks}
    jax.block_until_ready(matrix(g))
    times = {name: [] for name in ways}
    for _ in range(5):
        for name, f in ways.items():
            times[name] += seconds(lambda f=f: f(g), least=2)
    medians = {name: np.median(taken) for name, taken in times.items()}
    matrices = medians["step_s"] / medians["matrix_s"]
    row = {"rows": rows, "cols": cols, "dtype": dtype, **medians, "matrices": matrices}
    return row | {"difference": wrong}


def start(n: int, r_g: float) -> dict:
    """Times of reads with a warm start, after all cells have moved by up to 0.1 %, and without."""
    g, r_row, r_col, v = circuit(n, False, r_g)
    moved = g * (1 + 1e-3 * np.random.default_rng(1).uniform(-1, 1, g.shape))
    before, now, v_in = crossbar(g, r_row, r_col), crossbar(moved, r_row, r_col), jnp.asarray(v)
    compiled = jax.jit(lambda xbar, v, start: xb.read(xbar, v, start=start))
    of = {"cold": None, "warm": xb.read(before, v_in)}
    solved = {name: compiled(now, v_in, s) for name, s in of.items()}
    wrong = error(solved["warm"].i_out, solved["cold"].i_out)
    assert wrong < 1e-10, wrong
    row = {"n": n, "r_g": r_g, "error": wrong}
    times = {name: [] for name in of}
    for _ in range(5):
        for name, s in of.items():
            times[name] += seconds(lambda s=s: compiled(now, v_in, s), least=2)
    for name, x in solved.items():
        row |= {f"{name}_iterations": int(x.num_steps), f"{name}_s": np.median(times[name])}
    return row


def fresh(n: int) -> dict:
    """Times of the first and later reads in a process of its own, and the memory of the process."""
    g, r_row, r_col, v = circuit(n, False)
    xbar, v_in = crossbar(g, r_row, r_col), jnp.asarray(v)
    before = _peak_bytes()
    first = seconds(lambda: xb.read(xbar, v_in), least=1)[0]
    later = float(np.median(seconds(lambda: xb.read(xbar, v_in))))
    solution = xb.read(xbar, v_in)
    assert solution.residual < 1e-10 * jnp.max(solution.i_out)
    compiled = jax.jit(lambda xbar, v: xb.read(xbar, v).i_out).lower(xbar, v_in).compile()
    return {
        "n": n,
        "first_read_s": first,
        "read_s": later,
        "process_bytes": _peak_bytes(),
        "bytes_a_cell": (_peak_bytes() - before) / n**2,
        "temporary_bytes_a_cell": compiled.memory_analysis().temp_size_in_bytes / n**2,
    }


def _peak_bytes() -> int:
    """Peak memory of this process [bytes] (getrusage would include the parent process on Linux)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
