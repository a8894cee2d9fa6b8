"""The static read: voltages in, currents out, everything in between."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import ArrayLike

from ._types import as_physical, is_concrete, require_finite
from .assembly import Reference, assemble
from .connectivity import determined
from .crossbar import Crossbar
from .drive import Bias
from .network import Field, Network, Segments
from .solution import ADVICE, Solution, Status
from .solvers import LadderCG, factor, solve


def read(
    crossbar: Crossbar,
    v_in: ArrayLike | Bias,
    *,
    solver: lx.AbstractLinearSolver = LadderCG(),
    start: Solution | None = None,
) -> Solution:
    """Reads an array: solves Kirchhoff's laws for every node and wire.

    **Arguments:**

    - `crossbar`: the array.
    - `v_in`: voltages [V] of the word lines, shape `(rows,)`, or a `Bias` for both ends of both
        line families.
    - `solver`: how the network is solved: `LadderCG()` or `Dense()`.
    - `start`: the solution of a circuit of this shape to begin from. It saves iterations where it
        is near; the answer and its gradient are the same from any other.

    **Returns:** a `Solution`. One example a call: batches of inputs or of arrays go through
    `jax.vmap`. Every array leaf of the crossbar and the input has a gradient, which costs about
    one more read; second derivatives go forward over reverse, as in `jax.hessian`.

    **Errors:** on concrete values raises `ValueError` for input that no circuit can have and
    `RuntimeError` for a read that did not converge, and warns of islands. Under a transformation
    it returns `Solution.status` instead.
    """
    if not crossbar.cell.is_linear:
        raise ValueError(
            f"read solves linear cells, and {type(crossbar.cell).__name__} is not: pass Ohmic(g),"
            " with the conductances [S] of its linearisation."
        )
    bias = v_in if isinstance(v_in, Bias) else bias_of(crossbar, v_in)
    rows, cols = crossbar.shape
    for name, size in (("v_row", rows), ("v_row_far", rows), ("v_col", cols), ("v_col_far", cols)):
        if getattr(bias, name).shape != (size,):
            raise ValueError(
                f"bias.{name} has shape {getattr(bias, name).shape}, but the array is"
                f" {rows} x {cols}: it must be ({size},)."
            )
    if start is not None and start.drop_col.shape != (rows, cols):
        raise ValueError(
            f"start is a solution of shape {start.drop_col.shape}, but the array is"
            f" {rows} x {cols}: begin from one of its own shape."
        )
    solution = _read(crossbar, bias, solver, start)
    if is_concrete(solution):
        _say(solution)
    return solution


def bias_of(crossbar: Crossbar, v_in: ArrayLike) -> Bias:
    """The bias of an ordinary read: `v_in` [V] at both ends of every word line, the readout's
    reference at both ends of every bit line."""
    rows, cols = crossbar.shape
    v_in = as_physical(v_in, "v_in")
    if jnp.shape(v_in) != (rows,):
        raise ValueError(
            f"v_in has shape {jnp.shape(v_in)}, but the array has {rows} rows: it must be"
            f" ({rows},), one voltage a word line (batches go through jax.vmap)."
        )
    require_finite(v_in, "v_in", "V")
    v_col = crossbar.readout.voltage(cols).astype(v_in.dtype)
    return Bias(v_in, v_in, v_col, v_col)


@eqx.filter_jit
def _read(
    crossbar: Crossbar, bias: Bias, solver: lx.AbstractLinearSolver, start: Solution | None
) -> Solution:
    network, vector, reference = assemble(crossbar, bias)
    network, undetermined = determined(network)
    factored = factor(network, solver)
    guess = None if start is None else _guess(network, reference, start)
    return _solution(crossbar, bias, factored, vector, reference, undetermined, guess)


def _guess(network: Network, reference: Reference, start: Solution) -> Field:
    """A solution as an unknown of a network, in its dtype."""

    def scaled(line: Segments, j):
        broken = line.alpha == 0
        return jnp.where(broken, 0, j / jnp.where(broken, 1, line.alpha))

    fallen, risen = reference.v_row[:, None] - start.v_row, start.v_col - reference.v_col
    y_row, y_col = (
        scaled(network.row, start.i_row_segments),
        scaled(network.col, start.i_col_segments),
    )
    dtype = network.g_rc.dtype
    return Field(*(x.astype(dtype) for x in (fallen, y_row, risen, y_col)))


def _solution(crossbar, bias, factored, vector, reference, undetermined, guess=None) -> Solution:
    network = factored.network
    floating = undetermined.row | undetermined.col
    at_rest = vector.row  # cell currents at zero drops
    injected = jnp.where(floating, 0, at_rest)  # one array where both families share it
    vector = vector._replace(row=injected, col=injected)
    x, stats = solve(factored, vector, guess)
    off = lax.stop_gradient(jax.tree.map(jnp.subtract, vector, network.mv(x)))
    residual = jnp.maximum(jnp.max(jnp.abs(off.row)), jnp.max(jnp.abs(off.col)))
    i_row = network.row.alpha * x.row_segments
    i_col = network.col.alpha * x.col_segments
    i_cell = jnp.where(floating, 0, at_rest - network.g_cr * x.row - network.g_rc * x.col)
    holds = _current_law_holds(network, residual, (i_row, i_col), vector)
    return Solution(
        x.row,
        x.col,
        i_cell,
        i_row,
        i_col,
        reference.v_row,
        reference.v_col,
        bias,
        undetermined,
        residual,
        _status(crossbar, bias, undetermined, x, holds),
        jnp.asarray(stats["num_steps"]),
    )


def _current_law_holds(network, residual, currents, injected):
    """Whether the solver did its work: its own tolerance is far below this one, which it misses
    where it stopped early or the dtype is exhausted.

    Where no current may flow, the rounding of the injected ones is all there is. That is so where
    a family of lines has no terminal at all; and, in float64, where currents are that small:
    float32 could not tell them from those through gigaohms.
    """
    largest = lambda xs: jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in xs]))
    double = residual.dtype == jnp.float64
    tolerance, flowing = 1e-8 if double else 1e-4, largest(currents)
    rounding = 64 * jnp.finfo(residual.dtype).eps * largest((injected.row, injected.col))
    row, col = network.row.alpha, network.col.alpha
    no_row = jnp.all(row[:, 0] + row[:, -1] == 0)
    at_rest = no_row | jnp.all(col[0] + col[-1] == 0) | (double & (flowing <= rounding))
    bound = tolerance * flowing + jnp.where(at_rest, rounding, 0)
    return residual <= lax.stop_gradient(bound)


def _status(crossbar, bias, undetermined, x, holds):
    wires, drive, readout = crossbar.wires, crossbar.drive, crossbar.readout
    resistances = (
        wires.r_row,
        wires.r_col,
        drive.r_source,
        drive.r_source_far,
        readout.r_in,
        readout.r_in_far,
    )
    every = lambda test, leaves: jnp.all(jnp.stack([jnp.all(test(x)) for x in leaves]))
    finite = every(lambda x: jnp.isfinite(jnp.sum(x)), [*x, *jax.tree.leaves(bias)])
    good_wires = every(lambda r: r >= 0, resistances)
    shorted = jnp.any(undetermined.row_split & (bias.v_row != bias.v_row_far)) | jnp.any(
        undetermined.col_split & (bias.v_col != bias.v_col_far)
    )
    flags = {
        Status.FLOATING: jnp.any(undetermined.row) | jnp.any(undetermined.col),
        Status.SPLIT: jnp.any(undetermined.row_split) | jnp.any(undetermined.col_split),
        Status.NOT_CONVERGED: ~holds,
        Status.NOT_FINITE: ~finite,
        Status.INVALID_CELL: ~jnp.all(crossbar.cell.valid()),
        Status.INVALID_WIRE: ~good_wires,
        Status.SHORT_CIRCUIT: shorted,
    }
    status = jnp.zeros((), jnp.int32)
    for flag, holds in flags.items():
        status |= jnp.where(holds, int(flag), 0)
    return lax.stop_gradient(status)


def explain(solution: Solution) -> str:
    """What `solution.status` says, in words, with the first node concerned; empty when good."""
    sentences = []
    status = Status(int(solution.status))
    for flag, advice in ADVICE.items():
        if flag in status and flag == Status.FLOATING:
            for family, mask in (("word", solution.floating_row), ("bit", solution.floating_col)):
                nodes = np.argwhere(np.asarray(mask))
                if len(nodes):
                    more = f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else ""
                    where = ", ".join(map(str, nodes[0].tolist()))
                    sentences.append(f"{family}-line node ({where}){more} {advice}")
        elif flag in status and flag == Status.SPLIT:
            for family, mask in (("word", solution.split_row), ("bit", solution.split_col)):
                lines = np.flatnonzero(np.asarray(mask))
                if len(lines):
                    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
                    sentences.append(f"{family} line {lines[0]}{more} {advice}")
        elif flag in status:
            sentences.append(advice)
    return "; ".join(sentences)


def _say(solution: Solution) -> None:
    """Raises on a concrete solution that cannot be used, warns of nodes that float. A batch is
    judged as a whole."""
    status = Status(int(np.bitwise_or.reduce(np.asarray(solution.status), axis=None)))
    raise_if_bad(status)
    if Status.FLOATING in status and solution.status.ndim == 0:
        warnings.warn(explain(solution), stacklevel=3)


def raise_if_bad(status: Status) -> None:
    """Raises what a status of concrete values calls for: `ValueError` for the input's faults,
    `RuntimeError` for the solver's."""
    faults = [flag for flag in ADVICE if flag in status and flag.is_error]
    if faults:
        said = "; ".join(ADVICE[flag] for flag in faults)
        raise (RuntimeError if faults == [Status.NOT_CONVERGED] else ValueError)(said)
