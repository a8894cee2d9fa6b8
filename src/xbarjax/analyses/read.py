"""The static read: voltages in, currents out, everything in between."""

import equinox as eqx

from .._types import Values, described
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import bias_of, circuit_of, in_one_dtype
from ..kirchhoff.readout_row import start_with_readout, with_readout, without_readout
from ..kirchhoff.solution import Solution
from ..solvers import AutoLadder, Solver
from .answer import solution_of
from .at_once import answer


def read(
    crossbar: Crossbar,
    v_in: Values | Bias,
    *,
    solver: Solver = AutoLadder(),
    start: Solution | None = None,
) -> Solution:
    """Reads an array: solves Kirchhoff's laws for every node and wire.

    Linear cells are one linear solve, others Newton's method over linear solves.

    **Arguments:**

    - `crossbar`: the array.
    - `v_in`: voltages [V] of the word lines, shape `(rows,)` (of source lines along the bit lines,
        `(cols,)`), or a `Bias` for both ends of both line families and the gates.
    - `solver`: how networks are solved: `LadderCG()`, `Dense()`, or for nonlinear cells
        `Newton(...)`. `AutoLadder()` takes what fits: `LadderCG` where cells see `v_row - v_col`
        alone, `LadderBiCGStab` for transistors, `TwinLadders` for source lines along the bit lines.
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
    bias = bias_of(crossbar, v_in)
    rows, cols = crossbar.shape
    if start is not None and not isinstance(start, Solution):
        raise TypeError(f"start is {described(start)}; pass what an earlier read returned.")
    if start is not None and start.drop_col.shape != (rows, cols):
        raise ValueError(
            f"start is a solution of shape {start.drop_col.shape}, but the array is"
            f" {rows} x {cols}: begin from one of its own shape."
        )
    solution = _read(crossbar, bias, solver, start)
    return finish(solution, solution.status)


@eqx.filter_jit
def _read(
    crossbar: Crossbar,
    bias: Bias,
    solver: Solver,
    start: Solution | None,
) -> Solution:
    crossbar, bias = in_one_dtype(crossbar, bias)
    if not crossbar.readout.is_linear:
        return _with_readout(crossbar, bias, solver, start)
    circuit = circuit_of(crossbar, bias)
    guess = None if start is None else circuit.guess_from(start)
    return solution_of(crossbar, bias, circuit, answer(circuit, solver, guess))


def _with_readout(crossbar, bias, solver, start) -> Solution:
    extended = with_readout(crossbar, bias)
    solution = _read(*extended, solver, None if start is None else start_with_readout(start))
    return without_readout(solution, crossbar, bias)
