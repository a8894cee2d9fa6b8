"""The effective matrix of a linear array."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from .. import _native
from .._types import PerCell
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import (
    Circuit,
    alone_in_one_dtype,
    at_rest,
    circuit_of,
    linear_only,
    working_dtype,
)
from ..kirchhoff.islands import determined
from ..kirchhoff.network import Network
from ..kirchhoff.solution import Status, finish, one_or_nan
from ..solvers import AutoLadder, BlockElimination, LadderCG, elimination, products, sequential_vmap
from ..solvers.blocks import turn, turned
from .linear import prepare, solution_by

# Where block elimination takes less time than a solve in JAX for each of the shorter side's lines,
# on the two cores that experiments/speed was run on.
SHORT = 16  # lines, at least
LONG = 16  # times as long as short, at most
MOST = 2**25  # numbers of one matrix a row, for derivatives by elimination
TOGETHER = 32  # right-hand sides of a direct solve on a CPU: few enough for its caches


def transfer(
    crossbar: Crossbar,
    *,
    solver: lx.AbstractLinearSolver = AutoLadder(),
    chunk: int = 8,
) -> PerCell:
    """The matrix that a linear array multiplies with, wires and all.

    `i_out = v_in @ transfer(crossbar)` for a readout at 0 V; `read(crossbar, 0).i_out` comes on
    top for another reference. It takes min(rows, cols) solves of one factorisation: by
    reciprocity the current out of column `j` for 1 V on row `i` is the current out of row `i`
    for 1 V on column `j`, so the shorter side is driven. On a CPU without the kernel in C++, arrays
    that are not too long for their width are eliminated as blocks instead, and the product is
    compared with a solve.

    **Arguments:**

    - `crossbar`: an array of linear cells.
    - `solver`: how the network is solved, for each line of the shorter side. `AutoLadder()` takes
        `LadderCG()`, or block elimination where that is faster. Where `N^2 r g` is ten thousand and
        more, so that lines see little of their drivers, name `BlockElimination()`.
    - `chunk`: how many solves are held at once. An accelerator runs them together; a CPU one
        after the other, so that there it matters for memory alone.

    **Returns:** conductances [S], shape `(rows, cols)`; all NaN where a solve did not converge, or
    where elimination, in a gradient, differs from one: name a solver then. A gradient takes as many
    solves again, or one elimination that keeps all voltages (solvers/products.py). Second ones may
    take forward and reverse in any order.

    **Errors:** `ValueError` for cells that are not linear; on concrete values, those of `read`.
    """
    linear_only(crossbar, "transfer")
    if crossbar.wires.parallel:
        raise ValueError(
            "transfer needs rows that cross the columns; with source lines along the bit lines,"
            " column j answers to source line j alone: read it at 1 V on all of them."
        )
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1 solve.")
    short, long = sorted(crossbar.shape)
    strapped = crossbar.drive.r_strap is not None or crossbar.readout.r_strap is not None
    blocks = not strapped and short >= SHORT and long <= LONG * short
    if isinstance(solver, AutoLadder) and blocks and not _solves_are_fast():
        matrix, status = _fastest(crossbar, chunk)
    else:
        matrix, status = _by_solves(crossbar, solver, chunk)
    return finish(matrix, status)


def _solves_are_fast() -> bool:
    """Whether a solve for each line takes no longer than elimination, and far less to compile."""
    return _native.available() and jax.default_backend() == "cpu"


def _grounded(crossbar: Crossbar) -> Circuit:
    """The array with all terminals at 0 V."""
    crossbar = alone_in_one_dtype(crossbar)
    v_row, v_col = (jnp.zeros((n,), working_dtype(crossbar)) for n in crossbar.shape)
    return circuit_of(crossbar, Bias(v_row, v_row, v_col, v_col))


def _prepared(crossbar: Crossbar, solver: lx.AbstractLinearSolver):
    """The network, and what solves it for any voltages of its shorter side: the currents out of the
    longer one, and the status."""
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
    size = min(crossbar.shape)
    _, one = _prepared(crossbar, solver)
    # whole chunks: the solves of zeros that fill the last one take no iteration
    chunks = -(-size // chunk)
    units = jnp.eye(chunks * chunk, size, dtype=working_dtype(crossbar))
    lines, status = lax.map(jax.vmap(one), units.reshape(chunks, chunk, size))
    lines = lines.reshape(chunks * chunk, -1)[:size]
    return _judged(crossbar, lines, jnp.bitwise_or.reduce(status.ravel()))


def _judged(crossbar: Crossbar, lines, status):
    """The matrix, from what every line of the shorter side gives, if it can be used."""
    rows, cols = crossbar.shape
    return one_or_nan(status, lines.dtype) * (lines if rows <= cols else lines.T), status


@eqx.filter_custom_jvp
def _fastest(crossbar: Crossbar, chunk: int):
    """On a CPU by elimination, elsewhere by solves. Its derivative by cells comes from the voltages
    across all of them, where they are not too many; any other from solves."""
    return _by_platform(crossbar, chunk)


@_fastest.def_jvp
def _(primals, tangents):
    crossbar, chunk = primals
    moved = tangents[0]
    solves = lambda x: _by_solves(x, LadderCG(), chunk)
    direct = lambda x: _by_solves(x, BlockElimination(), TOGETHER)
    rows, cols = crossbar.shape
    if rows * cols * min(rows, cols) > MOST:
        return eqx.filter_jvp(solves, (crossbar,), (moved,))
    if any(map(eqx.is_array, jax.tree.leaves((moved.wires, moved.drive, moved.readout)))):
        found = lambda x: lax.platform_dependent(x, cpu=direct, default=solves)
        return eqx.filter_jvp(found, (crossbar,), (moved,))
    matrix, status, change = _with_change(crossbar, moved.cell)
    return (matrix, status), (change, None)


def _with_change(crossbar: Crossbar, moved):
    """The matrix [S], its status, and how it changes [S] where cells do by `moved`: linear in
    that."""

    def of_cells(cell):
        network, _ = determined(at_rest(_grounded(eqx.tree_at(lambda c: c.cell, crossbar, cell))))
        return network.g_rc

    _, dg = eqx.filter_jvp(of_cells, (crossbar.cell,), (moved,))
    found, status = _known(crossbar)
    matrix = _upright(found.matrix, crossbar)
    change = _upright(products.change(found, _upright(dg, crossbar)), crossbar)
    good = one_or_nan(status, matrix.dtype)
    return good * matrix, status, good * change


@eqx.filter_custom_jvp
def _known(crossbar: Crossbar):
    """All products by elimination with what their changes take, held against a solve."""
    return _known_of_each(crossbar)


@_known.def_jvp
def _(primals, tangents):
    """The second derivative is that of the elimination itself."""
    return eqx.filter_jvp(_known_of_one, primals, tangents)


@eqx.filter_jit
def _known_of_each(crossbar: Crossbar):
    return sequential_vmap(_known_of_one)(crossbar)


@eqx.filter_jit
def _known_of_one(crossbar: Crossbar):
    """The products of one array, in operations that have a derivative each."""
    network, solve = _prepared(crossbar, LadderCG())
    rows, cols = crossbar.shape
    found = products.products(network if cols <= rows else turned(network))
    matrix = _upright(found.matrix, crossbar)
    probe, expected, bound = _probe(matrix if rows <= cols else matrix.T)
    line, status = solve(probe)
    agrees = jnp.all(jnp.abs(line - expected) <= bound)
    return found, status | jnp.where(agrees, 0, int(Status.NOT_CONVERGED))


def _upright(x, crossbar: Crossbar):
    """To and from an array that is no wider than tall."""
    rows, cols = crossbar.shape
    return x if cols <= rows else turn(x)


def _probe(lines):
    """Voltages of the shorter side's lines, what they should give, and how far off that may be."""
    size = lines.shape[0]
    tolerance = 1e-11 if lines.dtype == jnp.float64 else 1e-5
    probe = jnp.cos(jnp.arange(size) ** 2).astype(lines.dtype)  # no pattern an error could share
    with jax.default_matmul_precision("highest"):
        return probe, probe @ lines, tolerance * jnp.max(jnp.abs(probe) @ jnp.abs(lines))


@eqx.filter_jit
def _by_platform(crossbar: Crossbar, chunk: int):
    solves = lambda crossbar: _by_solves(crossbar, LadderCG(), chunk)
    return lax.platform_dependent(crossbar, cpu=sequential_vmap(_by_elimination), default=solves)


def _by_elimination(crossbar: Crossbar):
    """Block elimination, held against a solve with all lines driven; where the two differ, and
    where lines end in two terminals, so that it does not apply, a solve for each line."""
    size = min(crossbar.shape)
    network, one = _prepared(crossbar, LadderCG())
    lines = _eliminated(network)
    probe, expected, bound = _probe(lines)

    def solve_next(carry):
        k, _, lines, status = carry
        is_probe = k < 0
        line, new = one(jnp.where(is_probe, probe, (jnp.arange(size) == k).astype(probe.dtype)))
        agrees = is_probe & jnp.all(jnp.abs(line - expected) <= bound)
        line = jnp.where(is_probe, lines[0], line)
        return k + 1, agrees, lines.at[jnp.maximum(k, 0)].set(line), status | new

    def unfinished(carry):
        k, agrees, *_ = carry
        return ~agrees & (k < size)

    start = jnp.asarray(-1), jnp.asarray(False), lines, jnp.zeros((), jnp.int32)
    *_, lines, status = lax.while_loop(unfinished, solve_next, start)
    return _judged(crossbar, lines, status)


def _eliminated(network: Network):
    """Conductances from every line of the shorter side to those of the longer one, by elimination
    of the shorter ones as blocks, if they end in one terminal each; else zeros. By reciprocity
    either side may be the one that is driven."""
    rows, cols = network.g_rc.shape
    network = network if cols <= rows else turned(network)
    found = lax.cond(
        elimination.far_ends_open(network),
        elimination.near_currents,
        lambda network: jnp.zeros_like(network.g_rc),
        network,
    )
    found = found if cols <= rows else turn(found)
    return found if rows <= cols else found.T
