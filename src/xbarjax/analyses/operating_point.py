"""The operating point of a circuit: one linear solve, or Newton's method over linear solves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Int

from .._types import Inner, PerCell, Scalar
from ..cells import conducts, in_range
from ..kirchhoff.circuit import (
    Circuit,
    at_rest,
    conductance,
    network_of,
    rest_current,
    right_hand_side,
)
from ..kirchhoff.islands import Undetermined, determined
from ..kirchhoff.network import Field, Network
from ..kirchhoff.solution import Faults, Status
from ..solvers import (
    Begin,
    Equations,
    Factored,
    Frame,
    Solver,
    factor,
    linear_of,
    newton_of,
    root,
    solve,
)

ROUNDING = 16  # units of rounding of the largest conductance: one that is as negative counts as 0


class Prepared(NamedTuple):
    """The network of a circuit of linear cells, factored for any number of right-hand sides."""

    network: Network  # without islands
    undetermined: Undetermined
    factored: Factored  # the same network, with shorts as unknowns


class Point(NamedTuple):
    """An operating point: unknowns, the small-signal network there, and data to judge both."""

    x: Field
    network: Network  # without islands; with shorts as unknowns if cells are linear
    undetermined: Undetermined
    i_cell: PerCell  # [A]
    rest: PerCell  # [A], injected by cells: sets the size of rounding errors
    left: Field  # right-hand side of the network, or violation of Kirchhoff's laws
    of_vector: bool  # whether `left` is the right-hand side
    error: Scalar  # [V], error bound of weakly held nodes
    num_steps: Int[Array, ""]
    newton_steps: Int[Array, ""]
    flags: dict[Status, Bool[Array, ""]]
    faults: Faults | None

    @property
    def violation(self) -> Field:
        """Violation of Kirchhoff's laws: currents [A] at nodes, voltages [V] in segments."""
        return self.network.violation(self.left, self.x) if self.of_vector else self.left


def prepare(circuit: Circuit, solver: lx.AbstractLinearSolver) -> Prepared:
    """The network of a circuit of linear cells, factored, without islands."""
    return prepared_of(at_rest(circuit), solver)


def prepared_of(network: Network, solver: lx.AbstractLinearSolver) -> Prepared:
    """A network of linear cells, factored, without islands."""
    network, undetermined = determined(network)
    return Prepared(network, undetermined, factor(network, solver))


def operating_point(circuit: Circuit, solver: Solver, guess: Field | None) -> Point:
    """The operating point of a circuit, from a guess if there is one."""
    if circuit.cell.is_linear:
        return linear_point(circuit, prepare(circuit, linear_of(solver)), guess)
    begin = _at_rest(circuit) if guess is None else guess
    point = _first_point(circuit) if guess is None else (guess.row, guess.col)
    start = Begin(point, _middle(circuit, *point), begin)
    x, inner, stats = root(EQUATIONS, newton_of(solver), circuit, start)
    network, undetermined, i_cell = _tangents(circuit, x, inner)
    found, flags = faults(*lax.stop_gradient((circuit, network, x)))
    flags[Status.NOT_CONVERGED] = ~stats.converged
    return Point(
        x,
        network,
        undetermined,
        i_cell,
        i_cell,
        _violated(circuit, network, i_cell, x),
        False,
        jnp.zeros((), i_cell.dtype),
        stats.num_steps,
        stats.newton_steps,
        flags,
        found,
    )


def linear_point(circuit: Circuit, prepared: Prepared, guess: Field | None = None) -> Point:
    """The operating point of a circuit of linear cells with a prepared network."""
    _, undetermined, factored = prepared
    network = factored.network
    vector, i_rest = right_hand_side(circuit, network, undetermined)
    x, stats = solve(factored, vector, guess)
    return Point(
        x,
        network,
        undetermined,
        cell_currents(network, i_rest, x, undetermined),
        i_rest,
        vector,
        True,
        stats["error"],
        jnp.asarray(stats["num_steps"]),
        jnp.asarray(0),
        {},
        None,
    )


def cell_currents(network: Network, i_rest: PerCell, x: Field, cut: Undetermined) -> PerCell:
    """Currents [A] of linear cells with currents `i_rest` [A] at zero drops; 0 in islands."""
    return jnp.where(cut.row | cut.col, 0, i_rest - network.cells(x))


def faults(
    circuit: Circuit, network: Network, x: Field
) -> tuple[Faults, dict[Status, Bool[Array, ""]]]:
    """Masks of cells with negative differential resistance or out of range, and status flags."""
    v = circuit.voltages(x.row, x.col)
    least = jnp.minimum(network.g_cr, network.g_rc)
    # a channel in saturation has a conductance of 0, but for rounding
    rounding = ROUNDING * jnp.finfo(least.dtype).eps * jnp.max(jnp.abs(least))
    negative, beyond = least < -rounding, ~in_range(circuit.cell, *v)
    flags = {
        Status.NEGATIVE_RESISTANCE: jnp.any(negative),
        Status.OUT_OF_RANGE: jnp.any(beyond),
        Status.GATES_OFF: ~jnp.any(conducts(circuit.cell, *v)),
    }
    return Faults(negative, beyond), flags


def _at_rest(circuit: Circuit) -> Field:
    zeros = jnp.zeros_like
    shape = circuit.cell.shape
    nodes = jnp.zeros(shape, circuit.row.r.dtype)
    return Field(nodes, zeros(circuit.row.r), nodes, zeros(circuit.col.r))


def _first_point(circuit: Circuit) -> tuple[PerCell, PerCell]:
    """Drops [V] of the first linearisation: zero, but for a line without a terminal, whose cells
    have no voltage across them until the first solve places the line."""
    v_row, v_col = circuit.rest
    free_row, free_col = circuit.of_row(circuit.free_row), circuit.free_col[None]
    return (
        jnp.where(free_row, v_row - v_col, 0),
        jnp.where(free_col & ~free_row, v_row - v_col, 0),
    )


def _middle(circuit: Circuit, a: PerCell, w: PerCell) -> Inner:
    """First guess [V] of nodes inside cells: halfway between both terminals."""
    v_row, v_col = circuit.voltages(a, w)
    nodes = jax.eval_shape(circuit.cell.inner, v_row, v_col)
    return jax.tree.map(lambda _: (v_row + v_col) / 2, nodes)


def _frame(circuit: Circuit) -> Frame:
    return Frame(
        circuit.row,
        circuit.col,
        conductance(circuit.branches_row),
        conductance(circuit.branches_col),
        rest_current(circuit.branches_row),
        rest_current(circuit.branches_col),
        circuit.e_row,
        circuit.e_col,
        circuit.reference.v_row,
        circuit.reference.v_col,
        circuit.sources,
        circuit.cell.is_reciprocal,
        circuit.parallel,
        determined,
    )


def _tangents(circuit: Circuit, x: Field, inner: Inner) -> tuple[Network, Undetermined, PerCell]:
    """The small-signal network at a solution, its undetermined parts, and cell currents [A]."""
    tangents, _ = circuit.tangents(x.row, x.col, inner)
    network, undetermined = determined(network_of(circuit, *tangents[1:]))
    return network, undetermined, jnp.where(undetermined.row | undetermined.col, 0, tangents[0])


def _residual(circuit: Circuit, x: Field, inner: Inner) -> Field:
    network, _, i_cell = _tangents(circuit, x, inner)
    return _violated(circuit, network, i_cell, x)


def _violated(circuit: Circuit, network: Network, i_cell: PerCell, x: Field) -> Field:
    # branches sit on nodes with a path to a terminal or ground, never on an island
    wires = network.wires(x)
    row = sum((one.flow(x.row) for one in circuit.branches_row), i_cell)
    col = sum((one.flow(x.col) for one in circuit.branches_col), i_cell)
    return Field(
        row - wires.row,
        circuit.e_row - wires.row_segments,
        col - wires.col,
        circuit.e_col - wires.col_segments,
    )


EQUATIONS = Equations(_frame, Circuit.tangents, _residual)
