"""The static read: voltages in, currents out, everything in between."""

import warnings

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array

from .._types import PerCol, Values, as_physical, is_concrete, require_finite
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import Circuit, circuit_of, in_one_dtype
from ..kirchhoff.judgement import judged, status, status_of
from ..kirchhoff.network import Field
from ..kirchhoff.readout_row import start_with_readout, with_readout, without_readout
from ..kirchhoff.solution import ADVICE, Faults, Solution, Status
from ..readout import is_linear, require_linear, require_static
from ..solvers import Newton
from .linear import Answer, answer, answer_of
from .operating_point import faults, linear_solver, operating_point


def read(
    crossbar: Crossbar,
    v_in: Values | Bias,
    *,
    solver: lx.AbstractLinearSolver | Newton | None = None,
    start: Solution | None = None,
) -> Solution:
    """Reads an array: solves Kirchhoff's laws for every node and wire.

    Linear cells are one linear solve, others Newton's method over linear solves.

    **Arguments:**

    - `crossbar`: the array.
    - `v_in`: voltages [V] of the word lines, shape `(rows,)` (of source lines along the bit lines,
        `(cols,)`), or a `Bias` for both ends of both line families and the gates.
    - `solver`: how networks are solved: `LadderCG()`, `Dense()`, or for nonlinear cells
        `Newton(...)`. By default what fits: `LadderCG` where cells see `v_row - v_col` alone,
        `LadderBiCGStab` for transistors, `TwinLadders` for source lines along the bit lines.
    - `start`: the solution of a circuit of this shape to begin from. It saves iterations where it
        is near; the answer and its gradient are the same from any other.

    **Returns:** a `Solution`. One example a call: batches of inputs or of arrays go through
    `jax.vmap`. Every array leaf of the crossbar and the input has a gradient, which costs about
    one more read, and second derivatives, in any order of forward and reverse.

    **Errors:** on concrete values raises `ValueError` for input that no circuit can have and
    `RuntimeError` for a read that did not converge (its attribute `solution` holds the best point),
    and warns of islands, of gates that are all off and of amplifiers that all saturate. Under a
    transformation it returns `Solution.status` instead.
    """
    rows, cols = crossbar.shape
    bias = bias_of(crossbar, v_in)
    if start is not None and start.drop_col.shape != (rows, cols):
        raise ValueError(
            f"start is a solution of shape {start.drop_col.shape}, but the array is"
            f" {rows} x {cols}: begin from one of its own shape."
        )
    gates = () if bias.v_gate is None else bias.v_gate.shape
    if gates not in ((), (rows,), (rows, 1), (1, cols), (rows, cols)):
        raise ValueError(
            f"bias.v_gate has shape {gates}, but the array is {rows} x {cols}: it must be"
            f" ({rows},), one a row, (1, {cols}), one a column, or ({rows}, {cols})."
        )
    solution = _read(crossbar, bias, solver, start)
    if is_concrete(solution):
        say(solution)
    return solution


def bias_of(crossbar: Crossbar, v_in: Values | Bias) -> Bias:
    """A bias that fits the array: the one given, or that of an ordinary read, `v_in` [V] at both
    ends of every word line (or source line) and the readout's reference at both ends of every bit
    line."""
    require_static(crossbar.readout)
    (rows, cols), lines = crossbar.shape, crossbar.lines
    if isinstance(v_in, Bias):
        fits: dict[str, list] = dict.fromkeys(("v_row", "v_row_far"), [(lines,)])
        fits |= dict.fromkeys(("v_col", "v_col_far"), [(cols,)])
        fits["v_gate"] = [(rows,), (rows, 1), (1, cols), (rows, cols), ()]  # () of None
        for name, shapes in fits.items():
            got = jnp.shape(getattr(v_in, name)) if getattr(v_in, name) is not None else ()
            if got not in shapes:
                raise ValueError(
                    f"bias.{name} has shape {got}, but the array is {rows} x {cols}: it must be"
                    f" {' or '.join(map(str, shapes[:4]))}."
                )
        return v_in
    v_in = as_physical(v_in, "v_in", whole=True)
    if jnp.shape(v_in) != (lines,):
        many, line = ("columns", "source") if crossbar.wires.parallel else ("rows", "word")
        raise ValueError(
            f"v_in has shape {jnp.shape(v_in)}, but the array has {lines} {many}: it must"
            f" be ({lines},), one voltage a {line} line (batches go through jax.vmap)."
        )
    require_finite(v_in, "v_in", "V")
    v_col = crossbar.readout.voltage(cols).astype(v_in.dtype)
    return Bias(v_in, v_in, v_col, v_col)


@eqx.filter_jit
def _read(
    crossbar: Crossbar,
    bias: Bias,
    solver: lx.AbstractLinearSolver | Newton | None,
    start: Solution | None,
) -> Solution:
    crossbar, bias = in_one_dtype(crossbar, bias)
    if not is_linear(crossbar.readout):
        return _with_readout(crossbar, bias, solver, start)
    circuit = circuit_of(crossbar, bias)
    if not crossbar.cell.is_linear:
        newton = solver if isinstance(solver, Newton) else Newton(solver)
        guess = None if start is None else guess_from(circuit, start)
        return _nonlinear(crossbar, bias, circuit, newton, guess)
    linear = solver.linear if isinstance(solver, Newton) else solver
    if linear is None:
        flags = {"symmetric": crossbar.cell.is_reciprocal, "parallel": circuit.parallel}
        linear = linear_solver(**flags)
    guess = None if start is None else guess_from(circuit, start)
    return _solution(crossbar, bias, circuit, answer(circuit, linear, guess))


def _with_readout(crossbar, bias, solver, start) -> Solution:
    extended = with_readout(crossbar, bias)
    solution = _read(*extended, solver, None if start is None else start_with_readout(start))
    return without_readout(solution, crossbar, bias)


def guess_from(circuit: Circuit, start: Solution) -> Field:
    """A solution as an unknown of a circuit, in its dtype."""
    reference = circuit.reference
    fallen, risen = (
        circuit.of_row(reference.v_row) - start.v_row,
        start.v_col - reference.v_col[None],
    )
    y_row = circuit.row.over_alpha(start.i_row_segments)
    y_col = circuit.col.over_alpha(start.i_col_segments)
    dtype = circuit.row.r.dtype
    return Field(*(x.astype(dtype) for x in (fallen, y_row, risen, y_col)))


def solve_linear(crossbar, bias, factored, circuit, undetermined) -> Solution:
    """The solution of a circuit of linear cells, whose network is factored already."""
    return _solution(crossbar, bias, circuit, answer_of(circuit, factored, undetermined))


def _nonlinear(crossbar, bias, circuit, newton, guess) -> Solution:
    x, network, undetermined, i_cell, off, stats = operating_point(circuit, newton, guess)
    cells, flags = faults(*lax.stop_gradient((circuit, network, x)))
    flags[Status.NOT_CONVERGED] = ~stats.converged
    said = judged(circuit, network, x, off, i_cell, jnp.zeros_like(i_cell[0, 0]), of_vector=False)
    found = Answer(
        x.row,
        network.row.alpha * x.row_segments,
        x.col,
        network.col.alpha * x.col_segments,
        i_cell,
        undetermined,
        said.residual,
        said.status | status(flags),
        stats.num_steps,
    )
    return _solution(crossbar, bias, circuit, found, stats.newton_steps, cells)


def _solution(
    crossbar: Crossbar,
    bias: Bias,
    circuit: Circuit,
    found: Answer,
    newton_steps: Array | int = 0,
    cells: Faults | None = None,
) -> Solution:
    """The solution, with what is to be said of it."""
    through = lambda g, drop: None if g is None else g * drop
    i_out, v_col = jnp.sum(found.i_cell, axis=0), circuit.reference.v_col
    v_sense = sensed(crossbar, bias, found.i_col[-1], v_col + found.drop_col[-1])
    return Solution(
        found.drop_row,
        found.drop_col,
        found.i_cell,
        found.i_row,
        found.i_col,
        circuit.reference.v_row,
        v_col,
        bias,
        v_sense,
        crossbar.readout.output(i_out, v_sense).astype(found.drop_col.dtype),
        found.undetermined,
        found.residual,
        status_of(crossbar, bias, found.undetermined, found.status),
        found.num_steps,
        jnp.asarray(newton_steps),
        cells,
        through(circuit.tap_row, found.drop_row),
        through(circuit.tap_col, found.drop_col),
        circuit.parallel,
    )


def sensed(crossbar: Crossbar, bias: Bias, i_near: PerCol, v_end: PerCol) -> PerCol:
    """Voltage [V] at the inputs of the readouts below the last row, for the current [A] into them
    and the voltage of the last nodes: no current flows into an open one, so that it is there."""
    r_in = crossbar.readout.r_in
    opened = jnp.isinf(r_in)
    behind = bias.v_col + jnp.where(opened, 0, r_in) * i_near
    return jnp.where(opened, v_end, behind).astype(v_end.dtype)


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
                    sentences.append(f"{family} line {lines[0]}{more} {advice.split(';')[0]}")
            if said := _cells(solution.undetermined.cell_split):
                sentences.append(
                    f"{said} is a short in a loop of ideal wires and shorts, perhaps:"
                    " how its current splits with theirs is then open (voltages are not)"
                )
        elif flag in status and flag == Status.NOT_CONVERGED:
            sentences.append(_unsolved(solution))
        elif flag in status and flag == Status.SHORT_CIRCUIT:
            said = _cells(solution.undetermined.cell_lost)
            sentences.append(f"{said}: {advice}" if said else advice)
        elif flag in status and flag in (Status.NEGATIVE_RESISTANCE, Status.OUT_OF_RANGE):
            mask = solution.negative if flag == Status.NEGATIVE_RESISTANCE else solution.beyond
            cells = np.argwhere(np.asarray(mask))
            more = f" (and {len(cells) - 1} more)" if len(cells) > 1 else ""
            where = tuple(cells[0].tolist())
            v = float(solution.v_cell[where])
            sentences.append(f"cell {where}{more}, at {v:.4g} V, {advice}")
        elif flag in status:
            sentences.append(advice)
    return "; ".join(sentences)


def _cells(mask: Array | None) -> str:
    """The first cell of a mask, and how many more there are; empty of none."""
    at = np.argwhere(np.asarray(mask)) if mask is not None else []
    more = f" (and {len(at) - 1} more)" if len(at) > 1 else ""
    return f"cell ({', '.join(map(str, at[0].tolist()))}){more}" if len(at) else ""


def _unsolved(solution: Solution) -> str:
    """What to do about a solution that did not converge."""
    stopped = "the solver stopped before Kirchhoff's law held"
    steps = f"a larger max_steps where that is what it stopped at ({int(solution.num_steps)} steps)"
    if said := _cells(solution.undetermined.cell_lost):
        return (
            f"{stopped}: {said} conducts so much better than the wires beside it that its current"
            " is lost in rounding; make it inf S, a short, or give those wires a resistance, or use"
            f" {steps}"
        )
    if solution.drop_row.dtype == jnp.float32:
        return f"{stopped}: use float64, or {steps}"
    if int(solution.newton_steps):
        return f"{stopped}: use {steps}, or start= from the solution of a circuit that is near"
    return (
        f"{stopped}: use {steps}; else conductances and resistances lie further apart than float64"
        " can tell: make those inf that are meant to be open or shorts, and 0 their opposites"
    )


def say(solution: Solution) -> None:
    """Raises on a concrete solution that cannot be used, warns of nodes that float. A batch is
    judged as a whole."""
    status = Status(int(np.bitwise_or.reduce(np.asarray(solution.status), axis=None)))
    single = solution.status.ndim == 0
    raise_if_bad(status, solution if single else None)
    if status & (Status.FLOATING | Status.GATES_OFF | Status.SATURATED) and single:
        warnings.warn(explain(solution), stacklevel=3)


def linear_only(crossbar: Crossbar, verb: str) -> None:
    """Raises `ValueError` for an array that is no matrix."""
    if not crossbar.cell.is_linear:
        raise ValueError(
            f"{verb} needs linear cells, and {type(crossbar.cell).__name__} is not: its product"
            " is no matrix. Use jax.vmap(read) for many inputs, or jax.jacobian of a read."
        )
    require_linear(crossbar.readout, verb)


def raise_if_bad(status: Status, solution: Solution | None = None) -> None:
    """Raises what a status of concrete values calls for: `ValueError` for the input's faults,
    `RuntimeError` for the solver's. The solution comes along as an attribute of the error."""
    faults = [flag for flag in ADVICE if flag in status and flag.is_error]
    if faults:
        said = "; ".join(ADVICE[flag] for flag in faults) if solution is None else explain(solution)
        error = (RuntimeError if faults == [Status.NOT_CONVERGED] else ValueError)(said)
        error.solution = solution  # pyright: ignore[reportAttributeAccessIssue]
        raise error
