"""The admittance of an array, line by line: one sweep per line in place of one solve per terminal.

Each line is solved exactly, with all lines of the other family at 0 V. With `a_ij` the voltage of
node `j` of row `i` for 1 V at an end of this row, and `b_ij` that of node `i` of column `j`, a cell
`g_ij` couples the two ends by

    y = -g_ij a_ij b_ij.

What is left out is that a line rises by the currents that flow into it from the other family. It
couples the lines of one family, by a part that is as large as the drop in the wires. In the
coupling of rows and columns it is the square of this drop.
"""

import jax
import jax.numpy as jnp

from ..crossbar import Crossbar
from ..kirchhoff.circuit import at_rest, circuit_of
from ..kirchhoff.islands import determined
from ..kirchhoff.terminals import Ended
from ..solvers import Solver, linear_of, parted
from ..solvers.ladder import factor
from .admittance import AbstractAnswer, Affine, Resting, linearised


class LineByLine(AbstractAnswer):
    """An array at DC, whose currents are exact and whose admittance is that line by line."""

    array: Ended
    solver: Solver

    def asked(self, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        return Resting(self.array, self.solver).asked(u)

    def tangent(self, u: jax.Array) -> Affine:
        array = self.array
        y = admittance(array, linearised(array, u, linear_of(self.solver)), u)
        if array.array.is_linear:
            return Affine(y, self.asked(0 * u)[0] if array.sources else 0 * u)
        return Affine(y, self.asked(u)[0] - y @ u)


def admittance(array: Ended, crossbar: Crossbar, u: jax.Array) -> jax.Array:
    """Change of the currents [A] into the terminals of linear cells with their voltages [V],
    `(terminals, terminals)`, line by line."""
    circuit = circuit_of(crossbar, array.bias(u))
    network = parted(determined(at_rest(circuit))[0]).capped  # shorts conduct as much as can tell
    parallel = network.parallel
    turned = (lambda x: x) if parallel else jnp.transpose
    of = {  # resistances and shunts of lines from their near ends, and how they lie in the array
        "rows": (turned(network.row.r), turned(network.g_row), turned),
        "cols": (network.col.r[::-1], network.g_col[::-1], lambda x: x[::-1]),
    }
    profiles, own = {}, {}
    for end in array.terminals:
        family, is_far = end.removesuffix("_far"), end.endswith("_far")
        r, shunt, back = of[family]
        away = (lambda x: x[::-1]) if is_far else (lambda x: x)
        line = factor(away(r), away(shunt), near_last=False)
        v = jnp.cumprod(line.kappa, axis=0)
        profiles[end] = back(away(v))
        own[end, end] = line.t_near
        other = family if is_far else f"{family}_far"
        own[other, end] = jnp.sum(away(shunt) * v, axis=0) - line.t_near

    def block(to: str, by: str) -> jax.Array:
        """Currents into one end by voltages of another."""
        if to[:4] == by[:4]:
            return jnp.diag(own[to, by])
        into_row = to.startswith("rows")
        coupled = -(network.g_rc if into_row else network.g_cr) * profiles[to] * profiles[by]
        if parallel:
            return jnp.diag(jnp.sum(coupled, axis=0))
        return coupled if into_row else coupled.T

    if not array.terminals:
        return jnp.zeros((0, 0), u.dtype)
    return jnp.block([[block(to, by) for by in array.terminals] for to in array.terminals])
