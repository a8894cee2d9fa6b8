"""A circuit around its operating point: its dynamic matrix, and whether it is stable.

With unknowns `z = z_0 + x exp(s t)`, Jacobian `K` of the currents and `C` of the charges,

    (K + s C) x = 0,

so that the poles are `s = 1 / m` for the eigenvalues `m` of `-K^-1 C`. Those with `m = 0` are
infinite. Lines with capacitance are reduced to their terminals, `Y(s) = Y(0) + s Y'(0)`. This is
exact in the limit of lines that are fast against the amplifiers.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Complex, Float

from .._types import Scalar
from ..elements import OpAmp
from ..elements.circuit import Circuit
from ..kirchhoff.laws import slopes, stored
from ..kirchhoff.terminals import Nodal, Unknowns, at_nodes, nodes_of
from ..solvers import Solver, linear_of
from .admittance import capacitance
from .dense import eigenvalues
from .nodal import with_array
from .reduction import Factors

SQUARINGS = 40  # of a matrix exponential: its norm then tells the largest real part to rounding


def dynamic_matrix(
    nodal: Nodal, solver: Solver, z: Unknowns, factors: Factors
) -> Float[Array, "states states"]:
    """`-K^-1 C` [s] for the unknowns that charges depend on."""
    states, charges = stored(nodal), charges_of(nodal, linear_of(solver), z)
    moved = factors.solve(-charges[:, states])
    return moved[states]


def charges_of(nodal: Nodal, solver: lx.AbstractLinearSolver, z: Unknowns) -> Array:
    """Change of all charges [C] with the unknowns, `C`."""
    charges = slopes(nodal, z, charges=True).dense(nodal.layout.size)
    for array in nodal.arrays.values():
        if array.array.has_capacitance:
            nodes = nodes_of(nodal, array)
            c = capacitance(array, at_nodes(z, nodes), solver)
            charges = with_array(charges, nodes, c)
    return charges


def poles_of(matrix: Float[Array, "states states"]) -> Complex[Array, " states"]:
    """Poles [1/s] of a dynamic matrix, the largest real part first; those that are infinitely fast
    are `-inf`."""
    return _poles(jnp.linalg.eigvals(matrix), matrix)


def _poles(m: Array, matrix: Array) -> Array:
    size = jnp.abs(m)
    finite = size > matrix.shape[0] * jnp.finfo(matrix.dtype).eps * jnp.max(size, initial=0)
    s = jnp.where(finite, 1 / jnp.where(finite, m, 1), -jnp.inf)
    return s[jnp.argsort(-s.real)]


def growth_of(matrix: Float[Array, "states states"]) -> Scalar:
    """The largest real part of the poles [1/s]; -inf where there is none.

    Accelerators have no eigenvalues of such a matrix. There the norm of `exp(t / m)`, squared many
    times, tells the same (I. M. Gelfand, Mat. Sb. 9, 3 (1941))."""
    if not matrix.size:
        return jnp.asarray(-jnp.inf, matrix.dtype)
    matrix = lax.stop_gradient(matrix)
    by_poles = lambda matrix: jnp.max(_poles(eigenvalues(matrix), matrix).real)
    return lax.platform_dependent(matrix, cpu=by_poles, default=_by_norms)


def _by_norms(matrix: Array) -> Array:
    rates = jnp.linalg.inv(matrix)
    size = jnp.max(jnp.sum(jnp.abs(rates), axis=1))
    power = jax.scipy.linalg.expm(rates / size)

    def square(_, carry):
        power, log = carry
        power = power @ power
        norm = jnp.max(jnp.abs(power))
        return power / norm, 2 * log + jnp.log(norm)

    _, log = lax.fori_loop(0, SQUARINGS, square, (power, jnp.zeros((), matrix.dtype)))
    return size * log / 2.0**SQUARINGS


def has_amplifiers(circuit: Circuit) -> bool:
    """Whether a circuit may be unstable."""
    return any(isinstance(x, OpAmp) for x in circuit.elements.values())


def with_poles(circuit: Circuit) -> Circuit:
    """A circuit whose amplifiers all have a gain-bandwidth product: that of the fastest, or 1 Hz,
    where none is given."""
    amplifiers = {k: x for k, x in circuit.elements.items() if isinstance(x, OpAmp)}
    given = [jnp.max(x.gbw) for x in amplifiers.values() if x.gbw is not None]
    missing = [k for k, x in amplifiers.items() if x.gbw is None]
    gbw = jnp.max(jnp.stack(given)) if given else jnp.ones_like(_first(amplifiers))
    where = lambda c: [c.elements[name].gbw for name in missing]
    return eqx.tree_at(where, circuit, [gbw] * len(missing), is_leaf=lambda x: x is None)


def _first(amplifiers: dict[str, OpAmp]) -> Array:
    return jnp.ravel(next(iter(amplifiers.values())).gain)[0]
