"""The crossbar as a multiport: admittances at its terminals."""

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import alone_in_one_dtype, circuit_of, linear_only, working_dtype
from ..kirchhoff.solution import usable
from ..solvers import AutoLadder
from .admittance import of_units
from .answer import solution_by
from .operating_point import prepare


class Ports(eqx.Module):
    """Admittances [S] of a linear array at its terminals,

        i_in  = g_row @ v_row - g_row_col @ v_col
        i_out = g_col_row.T @ v_row - g_col @ v_col,

    with currents [A] into the lines of the row family, `i_in`, and out of the bit lines, `i_out`,
    and voltages [V] behind the resistances of drive and readout. Both ends of a line and its straps
    are one terminal. If the cells are reciprocal, `g_row` `(lines, lines)` and `g_col`
    `(cols, cols)` are symmetric and `g_col_row = g_row_col = transfer(crossbar)` `(lines, cols)`.
    """

    g_row: Float[Array, "lines lines"]
    g_row_col: Float[Array, "lines cols"]
    g_col_row: Float[Array, "lines cols"]
    g_col: Float[Array, "cols cols"]

    @property
    def admittance(self) -> Float[Array, "ports ports"]:
        """Admittance matrix [S]: currents [A] into all terminals per voltage [V] at all terminals,
        lines of the row family first."""
        return jnp.block([[self.g_row, -self.g_row_col], [-self.g_col_row.T, self.g_col]])


def ports(
    crossbar: Crossbar, *, solver: lx.AbstractLinearSolver = AutoLadder(), chunk: int = 8
) -> Ports:
    """Admittances [S] of a linear array at its terminals, by one solve per terminal.

    Any linear network can be attached to the terminals: `i = admittance @ v` and the law of that
    network form a dense system with one unknown per terminal. To replace the drive or the readout
    by such a network, leave their resistances out of the crossbar.

    **Arguments:** as for `transfer`. **Returns:** `Ports` [S], all NaN where a solve did not
    converge. **Errors:** `ValueError` for nonlinear cells or readouts; those of `read`.
    """
    linear_only(crossbar, "ports")
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1 solve.")
    found, status = _ports(crossbar, solver, chunk)
    return finish(found, status)


@eqx.filter_jit
def _ports(crossbar: Crossbar, solver: lx.AbstractLinearSolver, chunk: int):
    crossbar = alone_in_one_dtype(crossbar)
    lines, (_, cols) = crossbar.lines, crossbar.shape
    size, dtype = lines + cols, working_dtype(crossbar)
    bias = lambda v: Bias(v[:lines], v[:lines], v[lines:], v[lines:])
    circuit = circuit_of(crossbar, bias(jnp.zeros((size,), dtype)))
    prepared = prepare(circuit, solver)

    def one(v):
        circuit = circuit_of(crossbar, bias(v))
        s = solution_by(crossbar, bias(v), circuit, prepared)
        # all that enters a line leaves it through its cells
        into = jnp.sum(s.i_cell, axis=0 if crossbar.wires.parallel else 1)
        return jnp.concatenate([into, -s.i_out]), s.status

    y, status = of_units(one, size, dtype, chunk)
    status = jnp.bitwise_or.reduce(status)
    y = jnp.where(usable(status), y.T, jnp.nan)
    inner, across = y[:lines, :lines], -y[:lines, lines:]
    return Ports(inner, across, -y[lines:, :lines].T, y[lines:, lines:]), status
