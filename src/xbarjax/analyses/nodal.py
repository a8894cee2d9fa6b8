"""Kirchhoff's law of a circuit with its arrays, and its Jacobian."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .._types import in_dtype, require_enough, widest
from ..elements.circuit import Circuit
from ..kirchhoff.solution import Solution
from ..kirchhoff.terminals import (
    Layout,
    Unknowns,
    arrays_of,
    bias_of,
    currents_of,
    nodes_of,
    stated,
    with_ground,
)
from ..solvers import Solver, linear_of
from .admittance import admittance
from .read import _read

STEPS = 60  # of Newton's method
HALVINGS = 12  # of one of its steps
PROBES = 4  # right-hand sides that look for singular matrices


def in_one_dtype(circuit: Circuit) -> Circuit:
    """A circuit with every number in the widest dtype of its arrays."""
    leaves = [x for x in jax.tree.leaves(circuit) if eqx.is_inexact_array(x)]
    wide = [x for x in leaves if x.ndim > 0] or leaves
    dtype = widest(*wide) if wide else jnp.asarray(0.0).dtype
    require_enough(dtype, "an element of the circuit")
    return in_dtype(circuit, dtype)


def dtype_of(circuit: Circuit) -> Any:
    """The dtype of a circuit whose numbers have one."""
    leaves = [x for x in jax.tree.leaves(circuit) if eqx.is_inexact_array(x)]
    return leaves[0].dtype if leaves else jnp.asarray(0.0).dtype


def kirchhoff(
    circuit: Circuit,
    layout: Layout,
    solver: Solver,
    z: Unknowns,
    y: Mapping[str, Array] = MappingProxyType({}),
) -> tuple[Unknowns, dict[str, Solution]]:
    """Violations of Kirchhoff's law and of the elements' own laws at given unknowns, and the
    solutions of the arrays there. Linear arrays whose admittance `y` [S] is given are not read."""
    total, arrays = stated(circuit, layout, z), {}
    for name, array in arrays_of(circuit).items():
        nodes = nodes_of(array, layout)
        if name in y:
            total = added(total, nodes, y[name] @ at_nodes(z, nodes))
            continue
        arrays[name] = _read(array.crossbar, bias_of(array, at_nodes(z, nodes)), solver, None)
        total = added(total, nodes, currents_of(array, arrays[name]))
    return total, arrays


def at_nodes(z: Unknowns, nodes) -> Array:
    """Voltages [V] of nodes; that of ground is 0."""
    return with_ground(z)[nodes]


def added(total: Unknowns, nodes, i: Array) -> Unknowns:
    """The sums of currents [A] at all nodes, with `i` added at some; ground has no sum."""
    return jnp.pad(total, (0, 2)).at[nodes].add(i)[:-2]


def admittances(circuit: Circuit, layout: Layout, solver: Solver, z: Unknowns, *, linear: bool):
    """Admittances [S] of the arrays whose cells are linear, or of the others at a point."""
    return {
        name: admittance(array, at_nodes(z, nodes_of(array, layout)), linear_of(solver))
        for name, array in arrays_of(circuit).items()
        if array.is_linear == linear
    }


def with_arrays(circuit: Circuit, layout: Layout, jacobian: Array, y: dict[str, Array]) -> Array:
    """A Jacobian with the admittances of arrays."""
    wide = jnp.pad(jacobian, ((0, 2), (0, 2)))
    for name, y_array in y.items():
        nodes = nodes_of(arrays_of(circuit)[name], layout)
        wide = wide.at[nodes[:, None], nodes[None, :]].add(y_array)
    return wide[:-2, :-2]


def jacobian_of(circuit: Circuit, layout: Layout, z: Unknowns, y: dict[str, Array]) -> Array:
    """Jacobian of Kirchhoff's law and the laws of elements, with the arrays' admittances."""
    own = jax.jacfwd(lambda z: stated(circuit, layout, z))(z)
    return with_arrays(circuit, layout, own, y)


class Equilibrated(NamedTuple):
    """A matrix scaled to entries of at most 1, in LU factors."""

    matrix: Array
    lu: Array
    order: Array  # of the rows in the factors
    rows: Array
    cols: Array

    def solve(self, b: Array) -> Array:
        """`A^-1 b`."""
        return self.cols * self._scaled((self.rows * b)[:, None])[:, 0]

    def _scaled(self, b: Array) -> Array:
        lower = {"left_side": True, "lower": True, "unit_diagonal": True}
        half = lax.linalg.triangular_solve(self.lu, b[self.order], **lower)
        return lax.linalg.triangular_solve(self.lu, half, left_side=True, lower=False)

    @property
    def is_singular(self) -> Array:
        """Whether the solution is lost in rounding: by the size of a few, which is a lower bound of
        the condition number. Right-hand sides are signs, so that none is blind to a direction."""
        size, dtype = self.rows.shape[0], self.rows.dtype
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (size, PROBES))
        found = self._scaled(jnp.asarray(signs, dtype))
        share = 1e-3 if dtype == jnp.float64 else 5e-2
        return ~(jnp.max(jnp.abs(found)) < share / jnp.finfo(dtype).eps)


def scales(matrix: Array) -> tuple[Array, Array, Array]:
    """Factors of rows and columns, and a matrix in A and V with them: entries of at most 1."""
    inverse = lambda x: 1 / jnp.where(x > 0, x, 1)
    size = lax.stop_gradient(jnp.abs(matrix))  # factors cancel, and so do their derivatives
    rows = inverse(jnp.max(size, axis=1))
    cols = inverse(jnp.max(rows[:, None] * size, axis=0))
    return rows, cols, rows[:, None] * matrix * cols[None, :]


def equilibrated(matrix: Array) -> Equilibrated:
    """LU factors of a matrix in A and V, scaled."""
    rows, cols, scaled = scales(matrix)
    lu, _, order = lax.linalg.lu(scaled)
    return Equilibrated(matrix, lu, order, rows, cols)


def newton(
    missed: Callable[[Unknowns], Unknowns],
    jacobian_at: Callable[[Unknowns], Array],
    z: Unknowns,
) -> tuple[Unknowns, Array, Array, Array]:
    """A zero of what Kirchhoff's law misses, by Newton's method from `z`: the unknowns, the
    Jacobian there, the number of steps, and whether they converged.

    A step is halved until the simplified Newton step from its end is clearly shorter than the step
    itself, in units that the scale of no row changes (natural monotonicity; P. Deuflhard, Newton
    Methods for Nonlinear Problems, Springer 2004, section 3.3)."""
    dtype = z.dtype
    rtol = 1e-12 if dtype == jnp.float64 else 1e-5
    size = lambda cols, x: jnp.max(jnp.abs(x / cols))

    def step(carry):
        z, left, k, _ = carry
        factors = equilibrated(jacobian_at(z))
        dz = -factors.solve(left)
        full = size(factors.cols, dz)

        def shorter(inner):
            part, *_, tries = inner
            part = part / 2
            new = z + part * dz
            after = missed(new)
            return part, new, after, size(factors.cols, factors.solve(after)), tries + 1

        def too_far(inner):
            part, _, _, next_, tries = inner
            return ~(next_ <= (1 - part / 4) * full) & (tries < HALVINGS)

        *_, new, after, next_, _ = lax.while_loop(
            too_far, shorter, shorter((2.0 * jnp.ones((), dtype), z, left, full, -1))
        )
        done = next_ <= rtol * size(factors.cols, new)
        return new, after, k + 1, done

    def unfinished(carry):
        return ~carry[3] & (carry[2] < STEPS)

    start = z, missed(z), jnp.asarray(0), jnp.asarray(False)
    z, left, steps, converged = lax.while_loop(unfinished, step, start)
    jacobian = jacobian_at(z)
    return z - equilibrated(jacobian).solve(left), jacobian, steps, converged


def is_linear(circuit: Circuit) -> bool:
    """Whether all elements of a circuit are linear."""
    return all(element.is_linear for element in circuit.elements.values())
