"""Circuits of linear cells: one linear solve, and what it says of the circuit.

Where the solver has a kernel for it, that is one call: it cuts out what is not determined, tells
shorts, solves, judges the solution and gives the currents. Its derivative is one more solve.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Int

from .. import _native
from .._types import PerCell, PerColSegment, PerRowSegment, Scalar
from ..cells import Ohmic
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import Circuit, Reference, at_rest, right_hand_side, sensed
from ..kirchhoff.islands import Undetermined, determined
from ..kirchhoff.judgement import judged, status_of
from ..kirchhoff.network import Field, Network, Segments
from ..kirchhoff.solution import Faults, Solution
from ..solvers import Factored, LadderCG, chosen, factor, parted, solve


class Answer(NamedTuple):
    """Voltages, currents and status of a solved circuit."""

    drop_row: PerCell  # [V]
    i_row: PerRowSegment  # [A]
    drop_col: PerCell  # [V]
    i_col: PerColSegment  # [A]
    i_cell: PerCell  # [A]
    undetermined: Undetermined
    residual: Scalar  # [A], the largest violation of Kirchhoff's current law
    status: Int[Array, ""]
    num_steps: Int[Array, ""]


def answer(circuit: Circuit, solver: lx.AbstractLinearSolver, guess: Field | None) -> Answer:
    """Solves a circuit of linear cells, from a guess if there is one."""
    network = at_rest(circuit)
    solver = chosen(solver, symmetric=network.symmetric, parallel=network.parallel)
    at_once = isinstance(solver, LadderCG) and solver.has_kernel(network)
    if not at_once or circuit.shunts is not None:
        return answer_of(circuit, _prepared(network, solver), guess)
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
    return _at_once(solver, *parts)


class Prepared(NamedTuple):
    """The network of a circuit of linear cells, ready for any number of sources."""

    network: Network  # without islands
    undetermined: Undetermined
    factored: Factored  # the same network, its shorts told apart


def prepare(circuit: Circuit, solver: lx.AbstractLinearSolver) -> Prepared:
    """Network, islands and factor of a circuit of linear cells."""
    return _prepared(at_rest(circuit), solver)


def _prepared(network: Network, solver: lx.AbstractLinearSolver) -> Prepared:
    network, undetermined = determined(network)
    return Prepared(network, undetermined, factor(network, solver))


def answer_of(circuit: Circuit, prepared: Prepared, guess: Field | None = None) -> Answer:
    """The same, where the network of the circuit is prepared already."""
    _, undetermined, factored = prepared
    network = factored.network
    vector, i_rest = right_hand_side(circuit, network, undetermined)
    x, stats = solve(factored, vector, guess)
    said = judged(circuit, network, x, vector, i_rest, stats["error"], of_vector=True)
    cuts = undetermined.row, undetermined.col, undetermined.row_split, undetermined.col_split
    return Answer(
        *_currents(network, i_rest, x, undetermined),
        Undetermined(*cuts, said.split, said.lost),
        said.residual,
        said.status,
        jnp.asarray(stats["num_steps"]),
    )


class _Parts(NamedTuple):
    """A circuit of cells that see `v_row - v_col` alone, in numbers: [ohm] of segments, [S] of
    cells and straps, [V] of forces and references (kirchhoff/circuit.py)."""

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
    guess: PerCell | None  # column drops to begin from

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
            self.shunt_row,
            self.shunt_col,
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
        return jax.tree.leaves(answer_of(circuit, prepare(circuit, self.solver), guess))


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
    return Answer(*currents, Undetermined(*masks), residual, status, steps)


@partial(_at_once.defjvp, symbolic_zeros=True)
def _(solver: LadderCG, primals, tangents):
    """The implicit function theorem. Kirchhoff's law `b - A x = 0` holds before and after a change,
    so that `A dx = db - dA x`. What is cut out is looked for again: where a batch shares a network,
    so do its derivatives, and what a call returns is never shared."""
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
        return _currents(network, i_rest, x, cut)

    _, tangent = jax.jvp(seen, (network, i_rest, x), (change[0], change[2], dx))
    still = jax.tree.map(_no_tangent, found)
    return found, Answer(*tangent, *still[len(tangent) :])


def _currents(network: Network, i_rest: PerCell, x: Field, cut: Undetermined):
    """Drops [V] and currents [A] of a solution: the first fields of an `Answer`."""
    i_row, i_col = network.row.alpha * x.row_segments, network.col.alpha * x.col_segments
    i_cell = jnp.where(cut.row | cut.col, 0, i_rest - network.cells(x))
    return x.row, i_row, x.col, i_col, i_cell


def _unknown(network: Network, found: Answer) -> Field:
    """The solution as an unknown of its network."""
    rows, cols = network.row.over_alpha(found.i_row), network.col.over_alpha(found.i_col)
    cell = None
    if network.shorts is not None:  # nothing else flows in them
        cell = jnp.where(network.shorts.alpha > 0, -found.i_cell, 0)
    return Field(found.drop_row, rows, found.drop_col, cols, cell)


def _no_tangent(x: Array):
    """That of what does not move: of numbers 0, of masks and counts what JAX takes for none."""
    real = jnp.issubdtype(x.dtype, jnp.inexact)
    return jnp.zeros_like(x) if real else np.zeros(x.shape, jax.dtypes.float0)


def solution_by(crossbar: Crossbar, bias: Bias, circuit: Circuit, prepared: Prepared) -> Solution:
    """The solution of a circuit of linear cells whose network is prepared already."""
    return solution_of(crossbar, bias, circuit, answer_of(circuit, prepared))


def solution_of(
    crossbar: Crossbar,
    bias: Bias,
    circuit: Circuit,
    found: Answer,
    newton_steps: Array | int = 0,
    cells: Faults | None = None,
) -> Solution:
    """The solution, with what is to be said of it."""
    through = lambda g, drop: None if g is None else g * drop
    i_out, v_col = jnp.sum(found.i_cell, axis=0), circuit.reference.v_col
    v_sense = sensed(crossbar, bias, found.i_col[-1], v_col + found.drop_col[-1])
    return Solution(
        drop_row=found.drop_row,
        drop_col=found.drop_col,
        i_cell=found.i_cell,
        i_row_segments=found.i_row,
        i_col_segments=found.i_col,
        v_row_reference=circuit.reference.v_row,
        v_col_reference=v_col,
        bias=bias,
        v_sense=v_sense,
        output=crossbar.readout.output(i_out, v_sense).astype(found.drop_col.dtype),
        undetermined=found.undetermined,
        residual=found.residual,
        status=status_of(crossbar, bias, found.undetermined, found.status),
        num_steps=found.num_steps,
        newton_steps=jnp.asarray(newton_steps),
        faults=cells,
        i_strap_row=through(circuit.strap_row, found.drop_row),
        i_strap_col=through(circuit.strap_col, found.drop_col),
        parallel=circuit.parallel,
    )
