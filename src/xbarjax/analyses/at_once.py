"""A read of linear cells by one call of the C++ kernel.

The call cuts out islands, finds shorts, solves the network, judges the solution and returns the
currents. The derivative takes one more solve.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from .. import _native
from .._types import PerCell, PerColSegment, PerRowSegment
from ..cells import Ohmic
from ..kirchhoff.circuit import Branches, Circuit, Reference, at_rest, rest_current, right_hand_side
from ..kirchhoff.islands import Undetermined, determined
from ..kirchhoff.network import Field, Network, Segments
from ..solvers import LadderCG, Solver, chosen, factor, linear_of, parted, solve
from .answer import Answer, answer_of
from .operating_point import (
    cell_currents,
    linear_point,
    operating_point,
    prepare,
    prepared_of,
)

RESULTS = Answer._fields.index("newton_steps")  # number of fields that the kernel computes


def answer(circuit: Circuit, solver: Solver, guess: Field | None) -> Answer:
    """Judged voltages and currents of a circuit, solved from a guess if there is one."""
    if not circuit.cell.is_linear:
        return answer_of(circuit, operating_point(circuit, solver, guess))
    network = at_rest(circuit)
    flags = {"symmetric": network.symmetric, "parallel": network.parallel}
    linear = chosen(linear_of(solver), **flags)
    driven = rest_current(circuit.branches_row), rest_current(circuit.branches_col)
    if driven != (None, None) or not (isinstance(linear, LadderCG) and linear.has_kernel(network)):
        return answer_of(circuit, linear_point(circuit, prepared_of(network, linear), guess))
    parts = _Parts(
        network.row.r,
        network.col.r,
        network.g_rc,
        network.shunt_row,
        network.shunt_col,
        circuit.e_row,
        circuit.e_col,
        circuit.reference.v_row,
        circuit.reference.v_col,
        circuit.sources,
        None if guess is None else lax.stop_gradient(guess.col),
    )
    return _at_once(linear, *parts)


class _Parts(NamedTuple):
    """The numbers of a circuit of ohmic cells (kirchhoff/circuit.py): segments [ohm], cells and
    straps [S], electromotive forces, references and sources [V]."""

    r_row: PerRowSegment
    r_col: PerColSegment
    g: PerCell
    shunt_row: PerCell | None
    shunt_col: PerCell | None
    e_row: PerRowSegment
    e_col: PerColSegment
    v_row: Array
    v_col: Array
    sources: Array
    guess: PerCell | None  # [V], column drops of the first iterate

    @property
    def circuit(self) -> Circuit:
        return Circuit(
            Ohmic(self.g),
            Segments(self.r_row),
            Segments(self.r_col),
            self.e_row,
            self.e_col,
            Reference(self.v_row, self.v_col),
            jnp.zeros(self.v_row.shape, bool),
            jnp.zeros(self.v_col.shape, bool),
            () if self.shunt_row is None else (Branches(self.shunt_row),),
            () if self.shunt_col is None else (Branches(self.shunt_col),),
            self.sources,
            parallel=False,
        )


class _Read(NamedTuple):
    """The kernel's read, in JAX."""

    solver: LadderCG

    def __call__(self, *operands: Any) -> list[Array]:
        parts = _Parts(*operands)
        guess = None
        if parts.guess is not None:
            still = [jnp.zeros_like(x) for x in (parts.g, parts.e_row, parts.e_col)]
            guess = Field(still[0], still[1], parts.guess, still[2])
        circuit = parts.circuit
        point = linear_point(circuit, prepare(circuit, self.solver), guess)
        return jax.tree.leaves(answer_of(circuit, point)[:RESULTS])


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _at_once(solver: LadderCG, *operands: Any) -> Answer:
    parts = _Parts(*operands)
    nodes, dtype = parts.g.shape, parts.g.dtype
    of_rows, of_cols = parts.r_row.shape, parts.r_col.shape
    numbers = [(shape, dtype) for shape in (nodes, of_rows, nodes, of_cols, nodes)]
    masks = [(shape, bool) for shape in (nodes, nodes, *((n,) for n in nodes), nodes, nodes)]
    said = [((), dtype), ((), jnp.int32), ((), jnp.int32)]
    attributes = solver.settings(nodes, dtype).attributes()
    results, pure = [*numbers, *masks, *said], _Read(solver.plain)
    found = _native.call("read", parts, results, pure, dtype, **attributes)
    drop_row, i_row, drop_col, i_col, i_cell, *masks, residual, status, steps = found
    steps = steps.astype(jnp.asarray(0).dtype)
    currents = drop_row, i_row, drop_col, i_col, i_cell
    return Answer(*currents, Undetermined(*masks), residual, status, steps, jnp.asarray(0), None)


@partial(_at_once.defjvp, symbolic_zeros=True)
def _(solver: LadderCG, primals, tangents):
    """The derivative by the implicit function theorem: `b - A x = 0` holds before and after a
    change, so `A dx = db - dA x`.

    Islands and shorts are searched for again. In a batch that shares a network, the search is done
    once for the batch, whereas the results of the kernel's call have a batch axis."""
    found = _at_once(solver, *primals)
    moves = lambda dx: dx is not None and not isinstance(dx, SymbolicZero)
    moved = [k for k, dx in enumerate(tangents) if moves(dx)]

    def made_of(*some):
        given = dict(zip(moved, some, strict=True))
        circuit = _Parts(*(given.get(k, x) for k, x in enumerate(primals))).circuit
        network, cut = determined(at_rest(circuit))
        network = parted(network)
        return network, *right_hand_side(circuit, network, cut), cut

    made, change = jax.jvp(made_of, [primals[k] for k in moved], [tangents[k] for k in moved])
    network, _, i_rest, cut = made
    x = _unknown(network, found)
    off = lambda network, vector: jax.tree.map(jnp.subtract, vector, network.mv(x))
    _, push = jax.jvp(off, made[:2], change[:2])
    dx, _ = solve(factor(network, solver), push)

    def seen(network, i_rest, x):
        return (
            x.row,
            network.i_row(x),
            x.col,
            network.i_col(x),
            cell_currents(network, i_rest, x, cut),
        )

    _, tangent = jax.jvp(seen, (network, i_rest, x), (change[0], change[2], dx))
    still = jax.tree.map(_no_tangent, found)
    return found, Answer(*tangent, *still[len(tangent) :])


def _unknown(network: Network, found: Answer) -> Field:
    """Unknowns of a network at a solution."""
    rows, cols = network.row.over_alpha(found.i_row), network.col.over_alpha(found.i_col)
    cell = None
    if network.shorts is not None:  # the current of a short is its unknown
        cell = jnp.where(network.shorts.alpha > 0, -found.i_cell, 0)
    return Field(found.drop_row, rows, found.drop_col, cols, cell)


def _no_tangent(x: Array):
    """Tangent of a constant: 0 for floating numbers, `float0` for masks and counts."""
    real = jnp.issubdtype(x.dtype, jnp.inexact)
    return jnp.zeros_like(x) if real else np.zeros(x.shape, jax.dtypes.float0)
