"""The static read: node voltages and currents of an array at given input voltages."""

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
    """The static read of an array: Kirchhoff's laws, solved for every node and wire.

    Linear cells take one linear solve, nonlinear cells Newton's method over linear solves.

    **Arguments:**

    - `crossbar`: the array.
    - `v_in`: voltages [V] of the word lines, `(rows,)`, or of source lines along the bit lines,
        `(cols,)`; or a `Bias` for both ends of both line families and the gates.
    - `solver`: the linear solver, `LadderCG()` or `Dense()`, or for nonlinear cells `Newton(...)`.
        `AutoLadder()` picks `LadderCG` for cells that depend on `v_row - v_col` alone,
        `LadderBiCGStab` for transistors, and `TwinLadders` for source lines along the bit lines.
    - `start`: a solution of a circuit of the same shape to start from. A near one saves iterations;
        the result and its gradient do not depend on it.

    **Returns:** a `Solution` of one example. Batches of inputs or arrays go through `jax.vmap`.
    Every array leaf of the crossbar and the input has a gradient, which costs about one more read,
    and second derivatives, in any order of forward and reverse mode.

    **Errors:**

    - Concrete values raise `ValueError` or `TypeError` for input that no circuit can have, and
        `RuntimeError` for a read that did not converge; the attribute `solution` of the error holds
        the best point.
    - Concrete values warn of islands, of gates that are all off and of amplifiers that all
        saturate.
    - Under a transformation nothing is raised: see `Solution.status`.
    """
    bias = bias_of(crossbar, v_in)
    rows, cols = crossbar.shape
    if start is not None and not isinstance(start, Solution):
        raise TypeError(f"start is {described(start)}; pass the Solution of an earlier read.")
    if start is not None and start.drop_col.shape != (rows, cols):
        raise ValueError(
            f"start is a solution of shape {start.drop_col.shape}, but the array is"
            f" {rows} x {cols}: pass a solution of that shape."
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
