"""The operating point of an array of nonlinear cells: what Newton's method needs of a circuit."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from .._types import Inner, PerCell
from ..cells import AbstractGatedCell, in_range
from ..kirchhoff.circuit import Circuit, network_of, shunts
from ..kirchhoff.islands import Undetermined, determined
from ..kirchhoff.network import Field, Network
from ..kirchhoff.solution import Faults, Status
from ..solvers import (
    Begin,
    Equations,
    Frame,
    Newton,
    Stats,
    root,
)


def operating_point(
    circuit: Circuit, newton: Newton, start: Field | None
) -> tuple[Field, Network, Undetermined, PerCell, Field, Stats]:
    """Drops and currents of a circuit, its network of tangents there, what it leaves open, its cell
    currents, by how much Kirchhoff's laws are violated, and what Newton's method took."""
    guess = _at_rest(circuit) if start is None else start
    point = _first_point(circuit) if start is None else (start.row, start.col)
    begin = Begin(point, _middle(circuit, *point), guess)
    x, inner, stats = root(EQUATIONS, newton, circuit, begin)
    tangents, _ = circuit.tangents(x.row, x.col, inner)
    network, undetermined = determined(network_of(circuit, *tangents[1:]))
    floating = undetermined.row | undetermined.col
    i_cell = jnp.where(floating, 0, tangents[0])
    return x, network, undetermined, i_cell, _violated(circuit, network, i_cell, x), stats


def faults(
    circuit: Circuit, network: Network, x: Field
) -> tuple[Faults, dict[Status, Bool[Array, ""]]]:
    """Cells that are read where they should not be, and the flags that say so."""
    v = circuit.voltages(x.row, x.col)
    negative, beyond = (network.g_cr < 0) | (network.g_rc < 0), ~in_range(circuit.cell, *v)
    flags = {
        Status.NEGATIVE_RESISTANCE: jnp.any(negative),
        Status.OUT_OF_RANGE: jnp.any(beyond),
    }
    if isinstance(circuit.cell, AbstractGatedCell):
        flags[Status.GATES_OFF] = ~jnp.any(circuit.cell.conducts(*v))
    return Faults(negative, beyond), flags


def _at_rest(circuit: Circuit) -> Field:
    zeros = jnp.zeros_like
    shape = circuit.cell.shape
    nodes = jnp.zeros(shape, circuit.row.r.dtype)
    return Field(nodes, zeros(circuit.row.r), nodes, zeros(circuit.col.r))


def _first_point(circuit: Circuit) -> tuple[PerCell, PerCell]:
    """Zero drops, and no voltage across the cells of a line that ends in no terminal: where it
    will settle is for the first network to say."""
    v_row, v_col = circuit.rest
    free_row, free_col = circuit.of_row(circuit.free_row), circuit.free_col[None]
    return (
        jnp.where(free_row, v_row - v_col, 0),
        jnp.where(free_col & ~free_row, v_row - v_col, 0),
    )


def _middle(circuit: Circuit, a: PerCell, w: PerCell) -> Inner:
    """A first guess at the nodes inside the cells."""
    v_row, v_col = circuit.voltages(a, w)
    nodes = jax.eval_shape(circuit.cell.inner, v_row, v_col)
    return jax.tree.map(lambda _: (v_row + v_col) / 2, nodes)


def _frame(circuit: Circuit) -> Frame:
    of_row, of_col = shunts(circuit)
    i_row, i_col = (None, None) if circuit.shunts is None else (s.i for s in circuit.shunts)
    return Frame(
        circuit.row,
        circuit.col,
        of_row,
        of_col,
        i_row,
        i_col,
        circuit.e_row,
        circuit.e_col,
        circuit.reference.v_row,
        circuit.reference.v_col,
        circuit.sources,
        circuit.cell.is_reciprocal,
        circuit.parallel,
        determined,
    )


def _residual(circuit: Circuit, x: Field, inner: Inner) -> Field:
    tangents, _ = circuit.tangents(x.row, x.col, inner)
    network, undetermined = determined(network_of(circuit, *tangents[1:]))
    i_cell = jnp.where(undetermined.row | undetermined.col, 0, tangents[0])
    return _violated(circuit, network, i_cell, x)


def _violated(circuit: Circuit, network: Network, i_cell: PerCell, x: Field) -> Field:
    # straps and shunts sit on nodes with a path to a terminal, never on an island
    left = lambda g, drop: i_cell if g is None else i_cell - g * drop
    row, col = left(circuit.strap_row, x.row), left(circuit.strap_col, x.col)
    if circuit.shunts is not None:
        of_row, of_col = circuit.shunts
        row, col = row + of_row.i - of_row.g * x.row, col - of_col.i - of_col.g * x.col
    wires = network.wires(x)
    return Field(
        row - wires.row,
        circuit.e_row - wires.row_segments,
        col - wires.col,
        circuit.e_col - wires.col_segments,
    )


EQUATIONS = Equations(_frame, Circuit.tangents, _residual)
