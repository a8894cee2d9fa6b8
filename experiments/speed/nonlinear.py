"""Times of nonlinear cells: 1T1R against ngspice and Newton's method with SciPy's sparse LU (in its
fastest and in its default ordering), large sinh arrays, and gradients."""

import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.linalg import splu

import xbarjax as xb
from xbarjax import spice

from .. import reference
from .circuits import circuit, error, seconds

TRANSISTOR = {"beta": 1e-3, "v_t": 0.45, "v_gate": 1.8, "n": 1.3, "lam": 0.05}
U_T = 1.380649e-23 / 1.602176634e-19 * 300.15  # [V]


def _timed(crossbar, v_in) -> tuple[dict, xb.Solution, object]:
    """Times of a read and of a gradient by every leaf, in turns."""
    read = jax.jit(xb.read)
    loss = lambda crossbar, v_in: jnp.sum(xb.read(crossbar, v_in).i_out ** 2)
    value, slope = jax.jit(loss), jax.jit(jax.grad(loss, argnums=(0, 1)))
    solution = read(crossbar, v_in)
    assert int(solution.status) == 0
    jax.block_until_ready((value(crossbar, v_in), slope(crossbar, v_in)))
    reads, grads = [], []
    for _ in range(5):
        reads += seconds(lambda: value(crossbar, v_in))
        grads += seconds(lambda: slope(crossbar, v_in))
    row = {"newton_steps": int(solution.newton_steps), "iterations": int(solution.num_steps)}
    row |= {"read_s": np.median(reads), "gradient_reads": np.median(grads) / np.median(reads)}
    return row, solution, partial(value, crossbar, v_in)


def sinh(n: int, v_max: float = 0.2) -> dict:
    """Times for cells of `(g / b) sinh(b v)` with b = 4 /V, r Gmax = 1e-4."""
    g, r_row, r_col, v = circuit(n, False)
    crossbar = xb.Crossbar(xb.Sinh(jnp.asarray(g), 4.0), xb.Wires(r_row, r_col))
    row, solution, _ = _timed(crossbar, jnp.asarray(v_max * v))
    residual = float(solution.residual / jnp.max(jnp.abs(solution.i_out)))
    assert residual < 1e-9
    return {"cell": "sinh", "n": n, "v_max": v_max, "residual": residual} | row


def one_transistor(n: int) -> dict:
    """Times for 1T1R cells with the EKV transistor on the row side, source lines across the bit
    lines, and inputs up to 0.3 V."""
    g, r_row, r_col, v = circuit(n, False)
    v = 0.3 * v
    cell = xb.Series(xb.Mosfet(**TRANSISTOR), xb.Ohmic(jnp.asarray(g)))
    crossbar = xb.Crossbar(cell, xb.Wires(r_row, r_col))
    row, solution, read = _timed(crossbar, jnp.asarray(v))
    peer = partial(reference.newton_1t1r, g, r_row, r_col, v, **TRANSISTOR, u_t=U_T)
    default = partial(peer, lu=splu)
    wanted, steps = peer()
    row |= {"cell": "1T1R", "n": n, "error": error(solution.i_out, wanted), "scipy_steps": steps}
    assert row["error"] < 1e-9, row
    ours, theirs, as_it_comes = [], [], []
    for _ in range(5):
        ours += seconds(read)
        theirs += seconds(peer, least=2)
        as_it_comes += seconds(default, least=2)
    row |= {"scipy_s": np.median(theirs), "scipy_reads": np.median(theirs) / np.median(ours)}
    row["scipy_default_s"] = np.median(as_it_comes)
    row["scipy_default_reads"] = np.median(as_it_comes) / np.median(ours)
    if shutil.which("ngspice"):
        operating_point = partial(spice.simulate, crossbar, jnp.asarray(v))
        assert error(solution.i_out, operating_point().i_out) < 1e-9
        process = np.median(seconds(operating_point, least=2))
        row |= {"ngspice_s": process, "ngspice_reads": process / np.median(ours)}
    return row
