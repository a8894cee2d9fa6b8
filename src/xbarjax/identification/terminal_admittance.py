"""The admittance between all ends of all lines of a linear array, with a cheap derivative.

Cells of conductance `g` and wire segments of resistance `r` change the admittance `Y` [S] between
terminals `s` and `t` by Tellegen's theorem (S. W. Director and R. A. Rohrer, IEEE Trans. Circuit
Theory 16, 318, 1969, doi:10.1109/TCT.1969.1082967):

    dY_st = sum_cells v_s v_t dg - sum_segments i_s i_t dr,

with the voltages `v_s` across the cells and the currents `i_s` in the segments for 1 V at terminal
`s` alone. One solve per terminal gives `Y` and all of its derivatives.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from ..analyses.admittance import of_units
from ..analyses.answer import solution_by
from ..analyses.operating_point import prepare
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import Circuit, alone_in_one_dtype, at_rest, circuit_of, working_dtype
from ..kirchhoff.solution import one_or_nan

ENDS = "row", "row_far", "col", "col_far"


class Units(NamedTuple):
    """The array with 1 V at one terminal after another, `(terminals, ...)`."""

    entering: Array  # currents [A] into the array at all terminals
    v_cell: Array  # [V]
    i_row: Array  # [A] in the segments of the row family
    i_col: Array  # [A] in the segments of the columns
    status: Array


class Few(eqx.Module):
    """A few numbers, and the function that puts them into a crossbar."""

    values: Any
    put: Callable[[Crossbar, Any], Crossbar]

    def into(self, crossbar: Crossbar) -> Crossbar:
        """The crossbar with these numbers."""
        return self.put(crossbar, self.values)


NONE = Few((), lambda crossbar, _: crossbar)


def admittance(
    crossbar: Crossbar,
    solver: lx.AbstractLinearSolver,
    ends: tuple[str, ...] = ENDS,
    few: Few = NONE,
) -> tuple[Float[Array, "terminals terminals"], Int[Array, ""]]:
    """Currents [A] into the array at its terminals per voltage [V] at these, and the status.

    Terminals are the lines of each of the `ends` in turn. Other ends are at 0 V. NaN where a solve
    did not converge. Derivatives by the numbers in `few` are made once, which makes their products
    cheap."""
    return _admittance(crossbar, few, solver, ends)


@eqx.filter_custom_jvp
def _admittance(crossbar: Crossbar, few, solver, ends):
    units = _units(alone_in_one_dtype(few.into(crossbar)), solver, ends)
    return one_or_nan(units.status, units.entering.dtype) * units.entering, units.status


@_admittance.def_jvp
def _(primals, tangents):
    (crossbar, few, solver, ends), (moved, moved_few, *_) = primals, tangents
    whole = lambda crossbar, values: alone_in_one_dtype(few.put(crossbar, values))
    units = _units(whole(crossbar, few.values), solver, ends)
    good = one_or_nan(units.status, units.entering.dtype)
    moves = lambda part: any(map(eqx.is_array, jax.tree.leaves(part)))
    change = jnp.zeros_like(units.entering)

    def resistances(crossbar, few):
        circuit = _grounded(whole(crossbar, few))
        return circuit.row.r, circuit.col.r

    if moves(moved.cell):
        of = lambda cell: eqx.tree_at(lambda c: c.cell, crossbar, cell)
        conductances = lambda cell: at_rest(_grounded(whole(of(cell), few.values))).g_rc
        _, dg = eqx.filter_jvp(conductances, (crossbar.cell,), (moved.cell,))
        change = change + _products(units.v_cell, dg)
    others = lambda c: (c.wires, c.drive, c.readout)
    if moves(others(moved)):
        of_others = lambda parts: resistances(eqx.tree_at(others, crossbar, parts), few.values)
        _, dr = eqx.filter_jvp(of_others, (others(crossbar),), (others(moved),))
        change = change + _by_resistances(units, dr)
    if moves(moved_few):
        flat, unravel = ravel_pytree(few.values)

        def column(direction):
            def elements(flat):
                circuit = _grounded(whole(crossbar, unravel(flat)))
                return at_rest(circuit).g_rc, (circuit.row.r, circuit.col.r)

            _, (dg, dr) = jax.jvp(elements, (flat,), (direction,))
            return _products(units.v_cell, dg) + _by_resistances(units, dr)

        columns = lax.map(column, jnp.eye(flat.size, dtype=flat.dtype))
        along = jax.tree.map(
            lambda x, dx: jnp.zeros_like(x) if dx is None else dx, few.values, moved_few.values
        )
        change = change + jnp.tensordot(ravel_pytree(along)[0], columns, 1)
    return (good * units.entering, units.status), (good * change, None)


def _by_resistances(units: "Units", dr: Any) -> Array:
    """Change of the admittance for changes [ohm] of the resistances of both families."""
    change = jnp.zeros_like(units.entering)
    for i, x in zip((units.i_row, units.i_col), dr):
        change = change if x is None else change - _products(i, x)
    return change


def _products(x: Array, weight: Array) -> Array:
    """`sum x_s weight x_t` over all elements."""
    flat = x.reshape(x.shape[0], -1)
    return (flat * weight.reshape(1, -1)) @ flat.T


def _bias(crossbar: Crossbar, v: Array, ends: tuple[str, ...]) -> Bias:
    """The voltages [V] of the terminals as a `Bias`."""
    lines, (_, cols) = crossbar.lines, crossbar.shape
    widths = {end: lines if end.startswith("row") else cols for end in ENDS}
    at = {end: jnp.zeros((n,), v.dtype) for end, n in widths.items()}
    begin = 0
    for end in ends:
        at[end] = v[begin : begin + widths[end]]
        begin += widths[end]
    return Bias(*(at[end] for end in ENDS))


def _grounded(crossbar: Crossbar) -> Circuit:
    """The circuit of an array with all terminals at 0 V."""
    return circuit_of(crossbar, _bias(crossbar, jnp.zeros((0,), working_dtype(crossbar)), ()))


@eqx.filter_jit
def _units(crossbar: Crossbar, solver: lx.AbstractLinearSolver, ends: tuple[str, ...]) -> Units:
    prepared = prepare(_grounded(crossbar), solver)
    lines, (_, cols) = crossbar.lines, crossbar.shape
    size = sum(lines if end.startswith("row") else cols for end in ends)

    def one(v):
        bias = _bias(crossbar, v, ends)
        s = solution_by(crossbar, bias, circuit_of(crossbar, bias), prepared)
        entering = {"row": s.i_in_near, "row_far": s.i_in_far}
        entering |= {"col": -s.i_out_near, "col_far": -s.i_out_far}
        segments = s.i_row_segments, s.i_col_segments
        return Units(jnp.concatenate([entering[e] for e in ends]), s.v_cell, *segments, s.status)

    units = of_units(one, size, working_dtype(crossbar))
    return units._replace(status=jnp.bitwise_or.reduce(units.status))
