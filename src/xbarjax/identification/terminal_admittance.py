"""The admittance between all ends of all lines of a linear array, with a cheap derivative.

Cells of conductance `g` and wire segments of resistance `r` change the admittance `Y` [S] between
terminals `s` and `t` by Tellegen's theorem (S. W. Director and R. A. Rohrer, IEEE Trans. Circuit
Theory 16, 318, 1969, doi:10.1109/TCT.1969.1082967):

    dY_st = sum_cells v_s v_t dg - sum_segments i_s i_t dr,

with the voltages `v_s` across the cells and the currents `i_s` in the segments for 1 V at terminal
`s` alone. One solve per terminal gives `Y` and all of its derivatives.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
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


def admittance(
    crossbar: Crossbar, solver: lx.AbstractLinearSolver, ends: tuple[str, ...] = ENDS
) -> tuple[Float[Array, "terminals terminals"], Int[Array, ""]]:
    """Currents [A] into the array at its terminals per voltage [V] at these, and the status.

    Terminals are the lines of each of the `ends` in turn. Other ends are at 0 V. NaN where a solve
    did not converge."""
    return _admittance(alone_in_one_dtype(crossbar), solver, ends)


@eqx.filter_custom_jvp
def _admittance(crossbar: Crossbar, solver, ends):
    units = _units(crossbar, solver, ends)
    return one_or_nan(units.status, units.entering.dtype) * units.entering, units.status


@_admittance.def_jvp
def _(primals, tangents):
    (crossbar, solver, ends), (moved, *_) = primals, tangents
    units = _units(crossbar, solver, ends)
    good = one_or_nan(units.status, units.entering.dtype)
    moves = lambda part: any(map(eqx.is_array, jax.tree.leaves(part)))
    change = jnp.zeros_like(units.entering)
    if moves(moved.cell):
        part = lambda cell: eqx.tree_at(lambda c: c.cell, crossbar, cell)
        conductances = lambda cell: at_rest(_grounded(part(cell))).g_rc
        _, dg = eqx.filter_jvp(conductances, (crossbar.cell,), (moved.cell,))
        change = change + _products(units.v_cell, dg)
    others = lambda c: (c.wires, c.drive, c.readout)
    if moves(others(moved)):

        def resistances(parts):
            circuit = _grounded(eqx.tree_at(others, crossbar, parts))
            return circuit.row.r, circuit.col.r

        _, moved_r = eqx.filter_jvp(resistances, (others(crossbar),), (others(moved),))
        for i, dr in zip((units.i_row, units.i_col), moved_r):
            change = change if dr is None else change - _products(i, dr)
    return (good * units.entering, units.status), (good * change, None)


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
