"""The effective matrix of a linear array."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from ._types import PerCell, is_concrete
from .assembly import assemble, working_dtype
from .connectivity import determined
from .crossbar import Crossbar
from .drive import Bias
from .read import _solution, raise_if_bad
from .solution import Status
from .solvers import LadderCG, factor


def transfer(
    crossbar: Crossbar,
    *,
    solver: lx.AbstractLinearSolver = LadderCG(),
    chunk: int = 8,
) -> PerCell:
    """The matrix that a linear array multiplies with, wires and all.

    `i_out = v_in @ transfer(crossbar)` for a readout at 0 V; `read(crossbar, 0).i_out` comes on
    top for another reference. It takes min(rows, cols) solves of one factorisation: by
    reciprocity the current out of column `j` for 1 V on row `i` is the current out of row `i`
    for 1 V on column `j`, so the shorter side is driven.

    **Arguments:**

    - `crossbar`: an array of linear cells.
    - `solver`: how the network is solved.
    - `chunk`: how many solves are held at once. An accelerator runs them together; a CPU one
        after the other, so that there it matters for memory alone.

    **Returns:** conductances [S], shape `(rows, cols)`; all NaN where a solve did not converge.

    **Errors:** `ValueError` for cells that are not linear; on concrete values, those of `read`.
    """
    if not crossbar.cell.is_linear:
        raise ValueError(
            f"transfer needs linear cells, and {type(crossbar.cell).__name__} is not: its product"
            " is no matrix. Use jax.vmap(read) for many inputs, or jax.jacobian of a read."
        )
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1 solve.")
    matrix, status = _transfer(crossbar, solver, chunk)
    if is_concrete(status):
        raise_if_bad(Status(int(status)))
    return matrix


@eqx.filter_jit
def _transfer(crossbar: Crossbar, solver: lx.AbstractLinearSolver, chunk: int):
    rows, cols = crossbar.shape
    dtype = working_dtype(crossbar)
    by_rows = rows <= cols
    still = jnp.zeros((cols if by_rows else rows,), dtype)

    def bias(v):
        return Bias(v, v, still, still) if by_rows else Bias(still, still, v, v)

    sides = min(rows, cols)
    network, *_ = assemble(crossbar, bias(jnp.zeros((sides,), dtype)))
    network, undetermined = determined(network)
    factored = factor(network, solver)

    def one(v):
        _, vector, reference = assemble(crossbar, bias(v))
        s = _solution(crossbar, bias(v), factored, vector, reference, undetermined)
        return s.i_out if by_rows else -jnp.sum(s.i_cell, axis=1), s.status

    # whole chunks: the solves of zeros that fill the last one take no iteration
    chunks = -(-sides // chunk)
    units = jnp.eye(chunks * chunk, sides, dtype=dtype).reshape(chunks, chunk, sides)
    matrix, status = lax.map(jax.vmap(one), units)
    matrix = matrix.reshape(chunks * chunk, -1)[:sides]
    status = jnp.bitwise_or.reduce(status.ravel())
    matrix = matrix if by_rows else matrix.T
    good = (status & ~int(Status.FLOATING | Status.SPLIT)) == 0
    return jnp.where(good, matrix, jnp.nan), status
