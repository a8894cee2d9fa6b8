"""The laws of a circuit in a stage of an implicit method."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from .._types import Scalar
from ..analyses.admittance import AbstractAnswer, Affine, of_units, tangent_cell
from ..analyses.dc import still
from ..analyses.nodal import (
    Law,
    allowed,
    bent_elements,
    bent_laws,
    is_linear,
    linear_laws,
    with_array,
)
from ..analyses.reduction import Factors, Reduction, factors, reduction, root
from ..cells import AbstractCell, has_memory, in_stage
from ..elements import Array as ElementArray
from ..kirchhoff.circuit import at_gates
from ..kirchhoff.judgement import status
from ..kirchhoff.laws import bent, faults_of, slopes, stated
from ..kirchhoff.network import Field, Network
from ..kirchhoff.terminals import Ended, Nodal, added, at_nodes, nodes_of
from .stage import Dynamic, Stage


class End(NamedTuple):
    """An array at the end of a stage."""

    currents: Array  # [A] into its terminals
    status: Array
    held: Dynamic
    x: Field
    tangent: Network | None  # of nonlinear cells
    kept: PyTree  # the part of an error of each state that is left after the stage


class Staged(AbstractAnswer):
    """An array with line capacitance or devices with memory in a stage. Its capacitors and devices
    start from `held`."""

    array: Ended
    stage: Stage
    held: Dynamic
    guess: Field

    def end(self, u: Array) -> End:
        """The array at the end of the stage, at voltages [V] of its terminals there."""
        end = self.stage(self.array.bias(u), self.held, self.guess)
        i = entering(self.array, self.stage, end.tangent, end.x)
        return End(i, end.stats.status, end.held, end.x, end.tangent, end.kept)

    def asked(self, u: Array) -> tuple[Array, Array]:
        end = self.end(u)
        return end.currents, end.status

    def tangent(self, u: Array) -> Affine:
        flat = self
        if not self.array.array.is_linear:
            end = self.end(u).held.v
            bias = self.array.bias(u)
            cell = at_gates(self.stage.crossbar.cell, bias.v_gate)
            cell = in_stage(cell, self.held.states, self.stage.d)
            flat = self._with(tangent_cell(cell, end.row, end.col))
        zero = jax.tree.map(jnp.zeros_like, (flat.held, flat.guess))
        quiet = Staged(flat.array, flat.stage, *zero)
        y = of_units(lambda u: quiet.asked(u)[0], u.shape[0], u.dtype).T
        return Affine(y, self.asked(u)[0] - y @ u)

    def _with(self, cell: AbstractCell) -> "Staged":
        """The same stage with linear cells."""
        array = eqx.tree_at(
            lambda a: (a.array.cell, a.array.v_gate), self.array, (cell, None), is_leaf=_is_none
        )
        held = self.held._replace(states=())
        stage = Stage(array.crossbar, self.stage.solver, self.stage.d, held)
        return Staged(array, stage, held, self.guess)


def moves(array: ElementArray) -> bool:
    """Whether an array in a circuit has line capacitance or devices with memory."""
    return array.has_capacitance or has_memory(array.cell)


def _is_none(x: Any) -> bool:
    return x is None


def entering(array: Ended, stage: Stage, tangent: Network | None, x: Field) -> Array:
    """Currents [A] into an array at its terminals."""
    if tangent is None:
        assert stage.prepared is not None
        tangent = stage.prepared.factored.network
    i_row, i_col, axis = tangent.i_row(x), tangent.i_col(x), tangent.row_axis
    ends = {
        "rows": jnp.take(i_row, 0, axis),
        "rows_far": -jnp.take(i_row, -1, axis),
        "cols": -i_col[-1],
        "cols_far": i_col[0],
    }
    return jnp.concatenate([ends[key] for key in array.terminals])


class Laws(eqx.Module):
    """The laws of a circuit in a stage of `d` [s]. Charges start from `before` [C]."""

    nodal: Nodal
    still: dict[str, AbstractAnswer]
    moving: dict[str, Staged]
    tangents: dict[str, Affine]  # of moving arrays with linear cells: their admittances in a stage
    before: Array
    d: Scalar

    def end(self, z: Array) -> tuple[Array, dict[str, End], Array]:
        """Violations of all laws, the arrays with line capacitance, and the status of all arrays
        and devices."""
        total, ends = stated(self.nodal, z) + self._stored(z), {}
        said = status(faults_of(self.nodal, z))
        for name, answer in (self.still | self.moving).items():
            nodes = nodes_of(self.nodal, answer.array)
            if isinstance(answer, Staged):
                ends[name] = answer.end(at_nodes(z, nodes))
                i, flags = ends[name].currents, ends[name].status
            else:
                i, flags = answer.asked(at_nodes(z, nodes))
            total, said = added(total, nodes, i), said | flags
        return total, ends, lax.stop_gradient(said)

    def judged(self, z: Array, missed: Array, by: Factors) -> tuple[Scalar, Array]:
        """The largest violation [A] of Kirchhoff's current law, and whether all of them are within
        tolerance and rounding."""
        z, missed, by = lax.stop_gradient((z, missed, by))
        off = jnp.abs(missed[: self.nodal.layout.nodes])
        return jnp.max(off, initial=0), jnp.all(off <= allowed(self.nodal, z, by, [])[1])

    def _stored(self, z: Array) -> Array:
        return (stated(self.nodal, z, charges=True) - self.before) / self.d

    def linear(self, z: Array) -> Array:
        """`b` of the laws `A z + b` of linear elements and linear arrays."""
        nodal, zero = self.nodal, 0 * z
        total = stated(nodal, zero, counts=is_linear) - self.before / self.d
        total += stated(nodal, zero, counts=is_linear, charges=True) / self.d
        for name, answer in (self.still | self.moving).items():
            if answer.array.array.is_linear:
                nodes = nodes_of(nodal, answer.array)
                u = at_nodes(z, nodes)
                at = self.tangents[name].y @ u if name in self.tangents else answer.tangent(u).y @ u
                total = added(total, nodes, answer.asked(u)[0] - at)
        return total

    def bent(self) -> tuple[Law, Law]:
        """The laws of nonlinear elements and arrays, and their derivative."""
        law, change = bent_laws(self.nodal, self.still | self.moving)
        charge, per_volt = bent_elements(self.nodal, charges=True)
        d = self.d
        return lambda z: law(z) + charge(z) / d, lambda z: change(z) + per_volt(z) / d


def reduced(nodal: Nodal, still, tangents: dict[str, Affine], z: Array, d: Scalar) -> Reduction:
    """The linear laws of a stage of `d` [s]."""
    matrix, _ = linear_laws(nodal, still, z)
    matrix += slopes(nodal, z, counts=is_linear, charges=True).dense(nodal.layout.size) / d
    for name, (y, _) in tangents.items():
        matrix = with_array(matrix, nodes_of(nodal, nodal.arrays[name]), y)
    return reduction(matrix, bent(nodal))


def end_of_stage(laws: Laws, guess: Array, parts: Reduction) -> tuple[Array, Array, Array]:
    """Unknowns at the end of a stage, the derivative of the nonlinear laws there, and whether the
    search converged. The derivative of the unknowns is that of the solution."""
    arrays, rest = eqx.partition(laws, eqx.is_array)

    def search(arrays, guess, parts):
        laws = eqx.combine(arrays, rest)
        b = laws.linear(guess)
        law, slope = laws.bent()
        z, change, _, converged = root(parts, b, law, slope, guess)
        return z, change, converged & ~parts.is_singular

    found: Any = jax.custom_jvp(search)

    def rule(primals, tangents):
        z, change, converged = found(*primals)
        missed = lambda arrays: eqx.combine(arrays, rest).end(z)[0]
        _, moved = jax.jvp(missed, primals[:1], tangents[:1])
        laws = eqx.combine(primals[0], rest)
        where = bent(laws.nodal)
        parts = reduced(laws.nodal, laws.still, laws.tangents, z, laws.d)
        dz = -factors(parts, laws.bent()[1](z[where])).solve(moved)
        return (z, change, converged), (dz, jnp.zeros_like(change), still(converged))

    found.defjvp(rule)
    return found(arrays, *lax.stop_gradient((guess, parts)))
