"""Kirchhoff's law of a circuit with its arrays, and its Jacobian."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._types import Scalar, in_dtype, require_enough, widest
from ..elements import AbstractElement
from ..elements.circuit import Circuit
from ..kirchhoff.laws import bent, slopes, stated, through
from ..kirchhoff.solution import Solution
from ..kirchhoff.terminals import Nodal, Unknowns, added, at_nodes, nodes_of
from ..solvers import Solver
from .admittance import AbstractAnswer, Resting
from .reduction import Factors

Law: TypeAlias = Callable[[Array], Array]
ROUNDING = 64  # units of rounding of all currents at a node: a smaller violation does not count


def in_one_dtype(circuit: Circuit) -> Circuit:
    """A circuit with every number in the widest dtype of its arrays."""
    leaves = [x for x in jax.tree.leaves(circuit) if eqx.is_inexact_array(x)]
    wide = [x for x in leaves if x.ndim > 0] or leaves
    dtype = widest(*wide) if wide else jnp.asarray(0.0).dtype
    require_enough(dtype, "an element of the circuit")
    return in_dtype(circuit, dtype)


def dtype_of(tree: Any) -> Any:
    """The dtype of a circuit, the same for all of its numbers."""
    leaves = [x for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
    return leaves[0].dtype if leaves else jnp.asarray(0.0).dtype


Answers: TypeAlias = Mapping[str, AbstractAnswer]


def resting(nodal: Nodal, solver: Solver) -> dict[str, Resting]:
    """The arrays of a circuit at DC."""
    return {name: Resting(array, solver) for name, array in nodal.arrays.items()}


def kirchhoff(nodal: Nodal, answers: Answers, z: Unknowns) -> Unknowns:
    """Violations of Kirchhoff's law and of the elements' own laws at given unknowns."""
    total = stated(nodal, z)
    for answer in answers.values():
        nodes = nodes_of(nodal, answer.array)
        total = added(total, nodes, answer.asked(at_nodes(z, nodes))[0])
    return total


def at_point(
    nodal: Nodal, answers: Mapping[str, Resting], z: Unknowns
) -> tuple[Unknowns, dict[str, Solution]]:
    """What `kirchhoff` gives, and the solutions of the arrays."""
    total, arrays = stated(nodal, z), {}
    for name, answer in answers.items():
        nodes = nodes_of(nodal, answer.array)
        arrays[name] = answer.solution(at_nodes(z, nodes))
        total = added(total, nodes, answer.array.currents(arrays[name]))
    return total, arrays


def linear_laws(nodal: Nodal, answers: Answers, z: Unknowns) -> tuple[Array, Array]:
    """`A` and `b` of the laws `A z + b` of linear elements and linear arrays, the latter at `z`."""
    law = lambda z: stated(nodal, z, counts=is_linear)
    matrix = slopes(nodal, z, counts=is_linear).dense(nodal.layout.size)
    rest = law(0 * z)
    for answer in answers.values():
        if answer.array.array.is_linear:
            nodes = nodes_of(nodal, answer.array)
            y, i = answer.tangent(at_nodes(z, nodes))
            matrix, rest = with_array(matrix, nodes, y), added(rest, nodes, i)
    return matrix, rest


def with_array(matrix: Array, nodes: Any, y: Array) -> Array:
    """A Jacobian with the admittance of an array added at its nodes."""
    return jnp.pad(matrix, ((0, 2), (0, 2))).at[nodes[:, None], nodes[None, :]].add(y)[:-2, :-2]


class Bent(NamedTuple):
    """Positions of the nonlinear laws, which are also those of the unknowns they depend on."""

    where: np.ndarray  # positions of these unknowns, and of the laws
    size: int  # number of all unknowns

    def whole(self, z: Array) -> Unknowns:
        """All unknowns, given these; the others are 0."""
        return jnp.zeros((self.size,), z.dtype).at[self.where].set(z, unique_indices=True)

    def places(self, nodes: Any) -> Any:
        """Positions of nodes among these unknowns. Ground and nodes that do not exist come last."""
        inside = np.full(self.size + 2, len(self.where) + 1)
        inside[self.where], inside[self.size] = np.arange(len(self.where)), len(self.where)
        return (inside if isinstance(nodes, np.ndarray) else jnp.asarray(inside))[nodes]


def bent_laws(nodal: Nodal, answers: Answers) -> tuple[Law, Law]:
    """The laws of nonlinear elements and arrays and their derivative, as functions of the unknowns
    that they depend on."""
    asked = [answer for answer in answers.values() if not answer.array.array.is_linear]
    of = Bent(bent(nodal), nodal.layout.size)
    own, own_change = bent_elements(nodal, charges=False)

    def law(z):
        total = own(z)
        for answer in asked:
            nodes = nodes_of(nodal, answer.array)
            i = answer.asked(at_nodes(of.whole(z), nodes))[0]
            total = added(total, of.places(nodes), i)
        return total

    def change(z):
        matrix = own_change(z)
        for answer in asked:
            nodes = nodes_of(nodal, answer.array)
            y, _ = answer.tangent(at_nodes(of.whole(z), nodes))
            matrix = with_array(matrix, of.places(nodes), y)
        return matrix

    return law, change


def bent_elements(nodal: Nodal, *, charges: bool) -> tuple[Law, Law]:
    """The currents or charges of nonlinear elements and their derivative, as functions of the
    unknowns that these depend on."""
    of = Bent(bent(nodal), nodal.layout.size)
    options = {"charges": charges, "counts": is_bent}

    def change(z):
        each = slopes(nodal, of.whole(z), **options)
        inside = each._replace(rows=of.places(each.rows), cols=of.places(each.cols))
        return inside.dense(len(of.where))

    return lambda z: stated(nodal, of.whole(z), **options)[of.where], change


def tolerance_of(dtype: Any) -> float:
    """Largest violation of a law, relative to the largest current or voltage."""
    return 1e-8 if dtype == jnp.float64 else 1e-4


def allowed(nodal: Nodal, z: Unknowns, by: Factors, more: list[Array]) -> tuple[Scalar, Array]:
    """The largest current [A] of elements and `more`, and the largest violation [A] of Kirchhoff's
    current law at each node that counts as none."""
    nodes, dtype = nodal.layout.nodes, z.dtype
    currents = [jnp.max(jnp.abs(x)) for x in through(nodal, z).values()]
    i = jnp.max(jnp.stack([*currents, *more, jnp.zeros((), dtype)]))
    # where no current flows, the rounding of those that voltages would drive is all there is
    rounding = ROUNDING * jnp.finfo(dtype).eps * by.sizes(z)[:nodes]
    return i, tolerance_of(dtype) * i + rounding


def is_linear(element: AbstractElement) -> bool:
    """Whether the laws of an element are linear."""
    return element.is_linear


def is_bent(element: AbstractElement) -> bool:
    """Whether they are not."""
    return not element.is_linear
