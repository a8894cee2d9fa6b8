"""Operating point of a circuit."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .._types import described
from ..elements.circuit import Circuit
from ..kirchhoff.advice import ADVICE, finish, general
from ..kirchhoff.judgement import status
from ..kirchhoff.solution import Solution, Status, usable
from ..kirchhoff.terminals import (
    Layout,
    Unknowns,
    layout_of,
    stated,
    stored,
    through,
)
from ..solvers import AutoLadder, Solver
from .nodal import (
    Equilibrated,
    admittances,
    dtype_of,
    equilibrated,
    in_one_dtype,
    is_linear,
    jacobian_of,
    kirchhoff,
    newton,
    scales,
)
from .small_signal import dynamic_matrix, growth_of, has_amplifiers, with_poles

ROUNDING = 64  # in units of rounding: violations of less say nothing


class CircuitSolution(eqx.Module):
    """A solved circuit.

    **Attributes:**

    - `v`: voltages [V] of the nodes of each bus, by its name.
    - `i`: current [A] per lane of each element that is no array: from its first terminal through
        it, or the one that a source or an amplifier delivers.
    - `arrays`: the `Solution` of each array; its readout is a virtual ground at the voltages of the
        bus that its bit lines end in.
    - `growth`: the largest real part of the poles [1/s]; None without amplifiers. Amplifiers
        without a `gbw` count as those of the fastest, or of 1 Hz where none is given.
    - `residual`: the largest current [A] that Kirchhoff's law misses at a node.
    - `status`: a `Status`; 0 is good. `newton_steps`: linearisations, 1 for linear circuits.
    """

    v: dict[str, Float[Array, "*batch nodes_"]]
    i: dict[str, Float[Array, "*batch lanes_"]]
    arrays: dict[str, Solution]
    growth: Float[Array, "*batch"] | None
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    newton_steps: Int[Array, "*batch"]


def solve(circuit: Circuit, *, solver: Solver = AutoLadder()) -> CircuitSolution:
    """Solves a circuit for its operating point.

    The unknowns are the voltages of all buses and the currents of ideal sources (modified nodal
    analysis). An array enters by its exact admittance, which takes one solve of its network per
    terminal; a linear one has it once, another one in every step of Newton's method. The result is
    corrected by a read of every array at the voltages found.

    **Arguments:**

    - `circuit`: the circuit.
    - `solver`: solver of the arrays, as of `read`.

    **Returns:** a `CircuitSolution`. Every number in the circuit has a gradient, which takes one
    transposed system of the buses and one more read per array. Batches go through `jax.vmap`;
    an admittance that does not depend on the batch is found once.

    **Errors:** on concrete values `RuntimeError` for a circuit that did not converge, and
    `ValueError` for one that has no unique solution or whose loop is unstable, with the bus or the
    element concerned; under a transformation the `status` says so.
    """
    if not isinstance(circuit, Circuit):
        raise TypeError(f"circuit is {described(circuit)}; pass an xb.Circuit of xb.elements.")
    found = _solve(circuit, solver)
    return finished(circuit, solver, found, found.status)


def finished(circuit: Circuit, solver: Solver, value: Any, status: Int[Array, "*batch"]) -> Any:
    """The value of a verb on a circuit, or an error that names the bus or the element."""
    return finish(value, status, lambda known: explained(circuit, solver, known))


@eqx.filter_jit
def _solve(circuit: Circuit, solver: Solver) -> CircuitSolution:
    circuit = in_one_dtype(circuit)
    z, factors, solution = solved(circuit, solver)
    if not has_amplifiers(circuit):
        return solution
    matrix = dynamic_matrix(with_poles(circuit), layout_of(circuit), solver, z, factors)
    growth = growth_of(matrix)
    # not a number where an accelerator cannot tell: beside constraints without dynamics
    unstable = jnp.where(~(growth <= 0), int(Status.UNSTABLE), 0)
    where = lambda s: (s.growth, s.status)
    new = growth, solution.status | jnp.where(usable(solution.status), unstable, 0)
    return eqx.tree_at(where, solution, new, is_leaf=lambda x: x is None)


def solved(circuit: Circuit, solver: Solver) -> tuple[Unknowns, Equilibrated, CircuitSolution]:
    """Unknowns, the factored Jacobian and the solution of a circuit in one dtype, stable or not."""
    layout = layout_of(circuit)
    z, jacobian, steps, converged = _point(circuit, solver)
    missed, arrays = kirchhoff(circuit, layout, solver, z)
    factors = equilibrated(jacobian)
    said = _judged(circuit, layout, z, factors, missed, arrays)
    said |= jnp.where(converged, 0, int(Status.NOT_CONVERGED))
    for found in arrays.values():
        said |= found.status
    solution = CircuitSolution(
        {bus: z[first : first + width] for bus, (first, width) in layout.buses.items()},
        through(circuit, layout, z),
        arrays,
        None,
        lax.stop_gradient(jnp.max(jnp.abs(missed[: layout.nodes]), initial=0)),
        lax.stop_gradient(said),
        steps,
    )
    return z, factors, solution


def _point(circuit: Circuit, solver: Solver) -> tuple[Unknowns, Array, Array, Array]:
    """Unknowns at the operating point, the Jacobian there, steps, and whether they converged.

    The derivative is that of the solution: `J dz = -dF`, with the Jacobian that is there."""
    arrays, rest = eqx.partition(circuit, eqx.is_array)
    layout = layout_of(circuit)

    def matrix(arrays, z):
        changed = eqx.combine(arrays, rest)
        y = admittances(changed, layout, solver, z, linear=True)
        y |= admittances(changed, layout, solver, z, linear=False)
        return jacobian_of(changed, layout, z, y)

    # a Jacobian that is known, with a derivative that is worked out only where it is asked for
    known: Any = jax.custom_jvp(lambda arrays, z, jacobian: jacobian)
    known.defjvp(lambda at, by: (known(*at), jax.jvp(matrix, at[:2], by[:2])[1]))
    found: Any = jax.custom_jvp(lambda arrays: _search(eqx.combine(arrays, rest), solver))

    def rule(primals, tangents):
        z, jacobian, *counts = found(*primals)
        missed = lambda arrays: kirchhoff(eqx.combine(arrays, rest), layout, solver, z)[0]
        _, moved = jax.jvp(missed, primals, tangents)
        dz = -equilibrated(known(*primals, z, jacobian)).solve(moved)
        still = lambda x: np.zeros(x.shape, jax.dtypes.float0)
        return (z, jacobian, *counts), (dz, jnp.zeros_like(jacobian), *map(still, counts))

    found.defjvp(rule)
    z, jacobian, steps, converged = found(arrays)
    return z, known(arrays, z, jacobian), steps, converged


def _search(circuit: Circuit, solver: Solver) -> tuple[Unknowns, Array, Array, Array]:
    """Unknowns, the Jacobian there, steps, and whether they converged."""
    layout, dtype = layout_of(circuit), dtype_of(circuit)
    z = jnp.zeros((layout.size,), dtype)
    linear = admittances(circuit, layout, solver, z, linear=True)
    if is_linear(circuit):
        jacobian = jacobian_of(circuit, layout, z, linear)
        factors = equilibrated(jacobian)
        z = factors.solve(-stated(circuit, layout, z))
        z = z - factors.solve(kirchhoff(circuit, layout, solver, z)[0])
        return z, jacobian, jnp.asarray(1), jnp.asarray(True)

    def jacobian_at(z):
        here = admittances(circuit, layout, solver, z, linear=False)
        return jacobian_of(circuit, layout, z, linear | here)

    missed = lambda z: kirchhoff(circuit, layout, solver, z)[0]
    return newton(missed, jacobian_at, z)


def _judged(circuit: Circuit, layout: Layout, z, factors: Equilibrated, missed, arrays) -> Array:
    """Status of a solution: whether Kirchhoff's law and the elements' own laws hold."""
    z, factors, missed = lax.stop_gradient((z, factors, missed))
    tolerance = 1e-8 if z.dtype == jnp.float64 else 1e-4
    currents = [jnp.max(jnp.abs(x)) for x in through(circuit, layout, z).values()]
    currents += [jnp.max(jnp.abs(s.i_cell)) for s in arrays.values()]
    i = lax.stop_gradient(jnp.max(jnp.stack(currents)))
    at_nodes, at_laws = missed[: layout.nodes], missed[layout.nodes :]
    v = jnp.max(jnp.abs(z[: layout.nodes]), initial=0)
    # where no current flows, the rounding of those that voltages would drive is all there is
    rounding = ROUNDING * jnp.finfo(z.dtype).eps * (jnp.abs(factors.matrix) @ jnp.abs(z))
    holds = jnp.all(jnp.abs(at_nodes) <= tolerance * i + rounding[: layout.nodes])
    holds &= jnp.max(jnp.abs(at_laws), initial=0) <= tolerance * jnp.maximum(v, i)
    finite = jnp.all(jnp.isfinite(z))
    singular = factors.is_singular & jnp.all(jnp.isfinite(factors.matrix))
    flags = {
        Status.NOT_CONVERGED: ~holds & finite & ~singular,
        Status.NOT_FINITE: ~finite & ~singular,
        Status.SINGULAR: singular,
    }
    return status(flags)


def explained(circuit: Circuit, solver: Solver, known: Status) -> str:
    """A sentence about the faults of a circuit, with the bus or the element concerned."""
    circuit = in_one_dtype(circuit)
    layout = layout_of(circuit)
    jacobian, matrix = _matrices(circuit, solver)
    if Status.SINGULAR in known and np.isfinite(np.asarray(jacobian)).all():
        _, cols, scaled = (np.asarray(x) for x in scales(jacobian))
        free = cols * np.linalg.svd(scaled)[2][-1]
        return _undetermined(layout, free / np.abs(free).max())
    if Status.UNSTABLE in known:
        m, modes = np.linalg.eig(np.asarray(matrix))
        moving = np.abs(m) > m.size * np.finfo(m.dtype).eps * np.abs(m).max()
        rates = np.where(moving, (1 / np.where(moving, m, 1)).real, -np.inf)
        mode = np.abs(modes[:, np.argmax(rates)])
        where = layout.named(int(stored(with_poles(circuit), layout)[np.argmax(mode)]))
        return f"{where}: {ADVICE[Status.UNSTABLE]}"
    return general(known)


@eqx.filter_jit
def _matrices(circuit: Circuit, solver: Solver) -> tuple[Array, Array | None]:
    """Jacobian of a circuit, and its dynamic matrix if it has amplifiers."""
    z, factors, _ = solved(circuit, solver)
    if not has_amplifiers(circuit):
        return factors.matrix, None
    whole, layout = with_poles(circuit), layout_of(circuit)
    return factors.matrix, dynamic_matrix(whole, layout, solver, z, factors)


def _undetermined(layout: Layout, free: np.ndarray) -> str:
    """A sentence about the unknowns that the circuit leaves undetermined."""
    moves = np.flatnonzero(np.abs(free) > 0.3)
    names = list(dict.fromkeys(layout.named(int(k)) for k in moves))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}: {ADVICE[Status.SINGULAR]}"
