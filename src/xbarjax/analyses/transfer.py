"""The effective matrix of a linear array."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from .._types import PerCell
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import (
    Circuit,
    alone_in_one_dtype,
    at_rest,
    circuit_of,
    linear_only,
    working_dtype,
)
from ..kirchhoff.islands import determined
from ..kirchhoff.solution import Status, one_or_nan
from ..solvers import (
    AutoLadder,
    BlockElimination,
    LadderCG,
    effective_matrix,
    products,
    sequential_vmap,
)
from .answer import solution_by
from .operating_point import prepare


def transfer(
    crossbar: Crossbar,
    *,
    solver: lx.AbstractLinearSolver = AutoLadder(),
    chunk: int = 8,
) -> PerCell:
    """The effective matrix [S] of a linear array, wires included.

    `i_out = v_in @ transfer(crossbar)` for a readout at 0 V; for another reference, add the `i_out`
    of a read with all inputs at 0 V.

    The matrix takes min(rows, cols) solves of one factorisation. By reciprocity the current out of
    column `j` for 1 V on row `i` equals the current out of row `i` for 1 V on column `j`, so the
    shorter side is driven. On a CPU without the C++ kernel, arrays that are not too long for their
    width are solved by block elimination instead, and a product is compared with a solve.

    **Arguments:**

    - `crossbar`: an array of linear cells.
    - `solver`: the linear solver. `AutoLadder()` takes `LadderCG()`, or block elimination if that
        is faster. Pass `BlockElimination()` if `N^2 r g` is ten thousand or more, where the IR drop
        isolates most cells from the drivers.
    - `chunk`: number of solves in memory at once. An accelerator runs them together, a CPU one
        after the other; there `chunk` affects memory alone.

    **Returns:** conductances [S], `(rows, cols)`; all NaN where a solve did not converge, or where
    block elimination in a gradient differs from a solve (pass a solver in that case). A gradient
    takes the same number of solves again, or one elimination that keeps all voltages
    (solvers/products.py). Second derivatives take forward and reverse mode in any order.

    **Errors:** `ValueError` for nonlinear cells or readouts, for source lines along the bit lines
    and for a `chunk` below 1; on concrete values, those of `read`.
    """
    linear_only(crossbar, "transfer")
    if crossbar.wires.parallel:
        raise ValueError(
            "transfer needs rows that cross the columns; with source lines along the bit lines,"
            " column j depends on source line j alone: use one read at 1 V on all source lines."
        )
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1 solve.")
    strapped = crossbar.drive.r_strap is not None or crossbar.readout.r_strap is not None
    blocks = not strapped and effective_matrix.elimination_fits(crossbar.shape)
    if isinstance(solver, AutoLadder) and blocks and not effective_matrix.solves_are_fast():
        matrix, status = _fastest(crossbar, chunk)
    else:
        matrix, status = _by_solves(crossbar, solver, chunk)
    return finish(matrix, status)


def _grounded(crossbar: Crossbar) -> Circuit:
    """The circuit of an array with all terminals at 0 V."""
    crossbar = alone_in_one_dtype(crossbar)
    v_row, v_col = (jnp.zeros((n,), working_dtype(crossbar)) for n in crossbar.shape)
    return circuit_of(crossbar, Bias(v_row, v_row, v_col, v_col))


def _prepared(crossbar: Crossbar, solver: lx.AbstractLinearSolver):
    """The network, and a function from the voltages [V] of its shorter side to the currents [A] out
    of the longer side and a status."""
    crossbar = alone_in_one_dtype(crossbar)
    rows, cols = crossbar.shape
    by_rows, dtype = rows <= cols, working_dtype(crossbar)
    still = jnp.zeros((max(rows, cols),), dtype)
    bias = lambda v: Bias(v, v, still, still) if by_rows else Bias(still, still, v, v)
    prepared = prepare(_grounded(crossbar), solver)

    def one(v):
        circuit = circuit_of(crossbar, bias(v))
        s = solution_by(crossbar, bias(v), circuit, prepared)
        return s.i_out if by_rows else -jnp.sum(s.i_cell, axis=1), s.status

    return prepared.network, one


@eqx.filter_jit
def _by_solves(crossbar: Crossbar, solver: lx.AbstractLinearSolver, chunk: int):
    _, line = _prepared(crossbar, solver)
    dtype = working_dtype(crossbar)
    return _judged(crossbar, *effective_matrix.by_solves(line, min(crossbar.shape), dtype, chunk))


def _judged(crossbar: Crossbar, lines, status):
    """The matrix [S] from the currents for each line of the shorter side, NaN if unusable."""
    rows, cols = crossbar.shape
    return one_or_nan(status, lines.dtype) * (lines if rows <= cols else lines.T), status


@eqx.filter_custom_jvp
def _fastest(crossbar: Crossbar, chunk: int):
    """The matrix by block elimination on a CPU, by solves elsewhere. The derivative by cells comes
    from the voltages across all cells; for large arrays it comes from solves."""
    return _by_platform(crossbar, chunk)


@_fastest.def_jvp
def _(primals, tangents):
    crossbar, chunk = primals
    moved = tangents[0]
    solves = lambda x: _by_solves(x, LadderCG(), chunk)
    direct = lambda x: _by_solves(x, BlockElimination(), effective_matrix.TOGETHER)
    if not effective_matrix.derivative_fits(crossbar.shape):
        return eqx.filter_jvp(solves, (crossbar,), (moved,))
    if any(map(eqx.is_array, jax.tree.leaves((moved.wires, moved.drive, moved.readout)))):
        found = lambda x: lax.platform_dependent(x, cpu=direct, default=solves)
        return eqx.filter_jvp(found, (crossbar,), (moved,))
    matrix, status, change = _with_change(crossbar, moved.cell)
    return (matrix, status), (change, None)


def _with_change(crossbar: Crossbar, moved):
    """The matrix [S], its status, and its change [S] for a tangent `moved` of the cells, linear in
    `moved`."""

    def of_cells(cell):
        network, _ = determined(at_rest(_grounded(eqx.tree_at(lambda c: c.cell, crossbar, cell))))
        return network.g_rc

    _, dg = eqx.filter_jvp(of_cells, (crossbar.cell,), (moved,))
    found, status = _known(crossbar)
    upright = lambda x: effective_matrix.upright(x, crossbar.shape)
    matrix, change = upright(found.matrix), upright(products.change(found, upright(dg)))
    good = one_or_nan(status, matrix.dtype)
    return good * matrix, status, good * change


@eqx.filter_custom_jvp
def _known(crossbar: Crossbar):
    """All products by block elimination and the data for their derivative, checked by a solve."""
    return _known_of_each(crossbar)


@_known.def_jvp
def _(primals, tangents):
    """The second derivative differentiates the elimination itself."""
    return eqx.filter_jvp(_known_of_one, primals, tangents)


@eqx.filter_jit
def _known_of_each(crossbar: Crossbar):
    return sequential_vmap(_known_of_one)(crossbar)


@eqx.filter_jit
def _known_of_one(crossbar: Crossbar):
    """The products of one array, in differentiable operations."""
    network, line = _prepared(crossbar, LadderCG())
    found, status, agrees = effective_matrix.with_products(line, network)
    return found, status | jnp.where(agrees, 0, int(Status.NOT_CONVERGED))


@eqx.filter_jit
def _by_platform(crossbar: Crossbar, chunk: int):
    solves = lambda crossbar: _by_solves(crossbar, LadderCG(), chunk)
    return lax.platform_dependent(crossbar, cpu=sequential_vmap(_by_elimination), default=solves)


def _by_elimination(crossbar: Crossbar):
    network, line = _prepared(crossbar, LadderCG())
    return _judged(crossbar, *effective_matrix.by_elimination(line, network))
