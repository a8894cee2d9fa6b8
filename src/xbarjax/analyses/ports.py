"""The crossbar as a multiport, for whatever is attached to it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Float

from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import alone_in_one_dtype, circuit_of, linear_only, working_dtype
from ..kirchhoff.solution import usable
from ..solvers import AutoLadder
from .answer import solution_by
from .operating_point import prepare


class Ports(eqx.Module):
    """Admittances of a linear array at its terminals: currents [A] into the lines of the row family
    and out of the bit lines, for voltages [V] behind the resistances of drive and readout,

        i_in  = g_row @ v_row - g_row_col @ v_col
        i_out = g_row_col.T @ v_row - g_col @ v_col.

    Both ends of a line and its straps are one terminal. `g_row` `(lines, lines)` and `g_col`
    `(cols, cols)` are symmetric where cells are reciprocal, and `g_row_col` `(lines, cols)` is then
    `transfer(crossbar)`; else `g_col_row` `(lines, cols)` stands in the second line.
    """

    g_row: Float[Array, "lines lines"]
    g_row_col: Float[Array, "lines cols"]
    g_col_row: Float[Array, "lines cols"]
    g_col: Float[Array, "cols cols"]

    @property
    def admittance(self) -> Float[Array, "ports ports"]:
        """Currents [A] into all terminals, lines of the row family first, are this times their
        voltages [V]."""
        return jnp.block([[self.g_row, -self.g_row_col], [-self.g_col_row.T, self.g_col]])


def ports(
    crossbar: Crossbar, *, solver: lx.AbstractLinearSolver = AutoLadder(), chunk: int = 8
) -> Ports:
    """The admittances of a linear array at its terminals, by one solve a terminal.

    Any linear network can be attached to them: with `i = y v` here and its own law there, what is
    left is a dense system of as many unknowns as there are terminals. Leave the resistances of
    drive and readout out of the crossbar to attach something else in their place.

    **Arguments:** as of `transfer`. **Returns:** `Ports` [S], all NaN where a solve did not
    converge. **Errors:** `ValueError` for cells or readouts that are not linear; those of `read`.
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

    chunks = -(-size // chunk)
    units = jnp.eye(chunks * chunk, size, dtype=dtype).reshape(chunks, chunk, size)
    y, status = lax.map(jax.vmap(one), units)
    status = jnp.bitwise_or.reduce(status.ravel())
    y = jnp.where(usable(status), y.reshape(chunks * chunk, size)[:size].T, jnp.nan)
    inner, across = y[:lines, :lines], -y[:lines, lines:]
    return Ports(inner, across, -y[lines:, :lines].T, y[lines:, lines:]), status
