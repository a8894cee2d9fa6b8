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
from ..kirchhoff.laws import bent, faults_of, impossible, stored, voltages_of
from ..kirchhoff.solution import Solution, Status, usable
from ..kirchhoff.terminals import Layout, Nodal, Unknowns, nodal_of
from ..solvers import AutoLadder, Solver
from .dense import scales
from .methods import AbstractMethod, Admittance
from .nodal import (
    Answers,
    allowed,
    at_point,
    bent_laws,
    dtype_of,
    in_one_dtype,
    kirchhoff,
    linear_laws,
    resting,
    tolerance_of,
)
from .reduction import Factors, Reduction, factors, reduction, root
from .small_signal import dynamic_matrix, growth_of, has_amplifiers, with_poles


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


def solve(
    circuit: Circuit,
    *,
    solver: Solver = AutoLadder(),
    method: AbstractMethod = Admittance(),
    start: Circuit | None = None,
) -> CircuitSolution:
    """Solves a circuit for its operating point.

    The unknowns are the voltages of buses and the currents of ideal sources (modified nodal
    analysis). A voltage source that drives an end of an array and nothing else is part of the
    array, and its bus is no unknown. An array enters by its exact admittance, which takes one solve
    of its network per terminal: once for linear cells, in every step of Newton's method for others.
    The result is corrected by a read of every array at the voltages found.

    **Arguments:**

    - `circuit`: the circuit.
    - `solver`: solver of the arrays, as of `read`.
    - `method`: how the arrays enter: by their exact admittance, as said above, or by a few reads
        with `NewtonKrylov()`. This is much faster for voltages of large arrays in a compiled
        function, which computes nothing that is not used. `growth`, and with it the `status` of a
        circuit with amplifiers, takes the admittance in either case.
    - `start`: the same circuit with other numbers, such as a source that is on: its operating point
        is where the search starts, stable or not. Of a circuit with several operating points, this
        chooses one. By default sources rise from zero.

    **Returns:** a `CircuitSolution`. Every number in the circuit has a gradient, which takes one
    transposed system of the buses and one more read per array. Batches go through `jax.vmap`;
    an admittance that does not depend on the batch is found once.

    **Errors:** on concrete values `RuntimeError` for a circuit that did not converge, and
    `ValueError` for one that has no unique solution or whose loop is unstable, with the bus or the
    element concerned; under a transformation the `status` says so.
    """
    if not isinstance(circuit, Circuit):
        raise TypeError(f"circuit is {described(circuit)}; pass an xb.Circuit of xb.elements.")
    if start is not None:
        _require_alike(circuit, start)
    if not isinstance(method, AbstractMethod):
        raise TypeError(
            f"method is {described(method)}; pass xb.Admittance() or xb.NewtonKrylov()."
        )
    found = _solve(circuit, solver, method, start)
    return finished(circuit, solver, found, found.status)


def finished(circuit: Circuit, solver: Solver, value: Any, status: Int[Array, "*batch"]) -> Any:
    """The value of a verb on a circuit, or an error that names the bus or the element."""
    return finish(value, status, lambda known: explained(circuit, solver, known))


def _require_alike(circuit: Circuit, start: Circuit) -> None:
    if not isinstance(start, Circuit):
        raise TypeError(f"start is {described(start)}; pass an xb.Circuit, or None.")
    names = [sorted(c.elements) for c in (circuit, start)]
    if names[0] != names[1] or circuit.buses != start.buses:
        raise ValueError(
            f"start has the elements {', '.join(names[1])}, the circuit {', '.join(names[0])}: both"
            " must have the same elements and buses, with other numbers."
        )


@eqx.filter_jit
def _solve(
    circuit: Circuit, solver: Solver, method: AbstractMethod, start: Circuit | None
) -> CircuitSolution:
    circuit, guess = in_one_dtype(circuit), None
    if start is not None:
        guess = lax.stop_gradient(_point(nodal_of(in_one_dtype(start)), solver, method, None)[0])
    z, by, solution = solved(circuit, solver, guess=guess, method=method)
    if has_amplifiers(circuit) and not method.is_exact:  # poles take the Jacobian itself
        nodal = nodal_of(circuit)
        by = factors(*_parts(nodal, resting(nodal, solver), z))
    return with_growth(circuit, solver, z, by, solution)


def with_growth(
    circuit: Circuit,
    solver: Solver,
    z: Unknowns,
    by: Factors,
    solution: CircuitSolution,
    *,
    driven: bool = True,
) -> CircuitSolution:
    """A solution with its `growth`, and with the flag of an unstable loop."""
    if not has_amplifiers(circuit):
        return solution
    moving, z, by = lax.stop_gradient((with_poles(circuit), z, by))
    growth = growth_of(dynamic_matrix(nodal_of(moving, driven=driven), solver, z, by))
    # not a number where an accelerator cannot tell: beside constraints without dynamics
    unstable = jnp.where(~(growth <= 0), int(Status.UNSTABLE), 0)
    where = lambda s: (s.growth, s.status)
    new = growth, solution.status | jnp.where(usable(solution.status), unstable, 0)
    return eqx.tree_at(where, solution, new, is_leaf=lambda x: x is None)


def solved(
    circuit: Circuit,
    solver: Solver,
    *,
    driven: bool = True,
    guess: Unknowns | None = None,
    method: AbstractMethod = Admittance(),
) -> tuple[Unknowns, Factors, CircuitSolution]:
    """Unknowns, the factored Jacobian and the solution of a circuit in one dtype, stable or not."""
    nodal = nodal_of(circuit, driven=driven)
    z, by, steps, converged = _point(nodal, solver, method, guess)
    missed, arrays = at_point(nodal, resting(nodal, solver), z)
    said = _judged(nodal, z, by, missed, arrays)
    said |= jnp.where(converged, 0, int(Status.NOT_CONVERGED))
    for found in arrays.values():
        said |= found.status
    v, i = voltages_of(nodal, z, arrays)
    solution = CircuitSolution(
        v,
        i,
        arrays,
        None,
        lax.stop_gradient(jnp.max(jnp.abs(missed[: nodal.layout.nodes]), initial=0)),
        lax.stop_gradient(said),
        steps,
    )
    return z, by, solution


def _point(
    nodal: Nodal, solver: Solver, method: AbstractMethod, guess: Unknowns | None
) -> tuple[Unknowns, Factors, Array, Array]:
    """Unknowns at the operating point, the factors of the method there, steps, and whether they
    converged.

    The derivative is that of the solution: `J dz = -dF`, with the Jacobian that is there."""
    arrays, rest = eqx.partition(nodal, eqx.is_array)

    def parts_at(arrays, z) -> tuple[Reduction, Array]:
        changed = eqx.combine(arrays, rest)
        return _parts(changed, method.answers(resting(changed, solver)), z)

    # factors that are known, with a derivative that is worked out only where it is asked for
    known: Any = jax.custom_jvp(lambda arrays, z, parts: parts)
    known.defjvp(lambda at, by: (known(*at), jax.jvp(parts_at, at[:2], by[:2])[1]))
    found: Any = jax.custom_jvp(
        lambda arrays, guess: _search(eqx.combine(arrays, rest), solver, method, guess)
    )

    def rule(primals, tangents):
        out = z, parts, *counts = found(*primals)
        primals, tangents = primals[:1], tangents[:1]

        def missed(arrays, z=z):
            changed = eqx.combine(arrays, rest)
            return kirchhoff(changed, resting(changed, solver), z)

        _, moved = jax.jvp(missed, primals, tangents)
        by = factors(*known(*primals, z, parts))
        dz = -method.solve(lambda z: missed(primals[0], z), by, z, moved)
        return out, (dz, *(jax.tree.map(still, x) for x in (parts, *counts)))

    found.defjvp(rule)
    z, parts, steps, converged = found(arrays, guess)
    return z, factors(*known(arrays, z, parts)), steps, converged


def _parts(nodal: Nodal, answers: Answers, z: Unknowns) -> tuple[Reduction, Array]:
    """The parts of the Jacobian at given unknowns."""
    where = bent(nodal)
    matrix, _ = linear_laws(nodal, answers, z)
    return reduction(matrix, where), bent_laws(nodal, answers)[1](z[where])


def still(x: Array) -> Any:
    """The tangent of an array that does not change."""
    whole = jnp.issubdtype(x.dtype, jnp.inexact)
    return jnp.zeros_like(x) if whole else np.zeros(x.shape, jax.dtypes.float0)


def _search(nodal: Nodal, solver: Solver, method: AbstractMethod, guess: Unknowns | None):
    """Unknowns, the parts of the Jacobian there, steps, and whether they converged."""
    exact, where = resting(nodal, solver), bent(nodal)
    answers = method.answers(exact)
    matrix, rest = linear_laws(nodal, answers, jnp.zeros((nodal.layout.size,), dtype_of(nodal)))
    parts = reduction(matrix, where)
    law, change = bent_laws(nodal, answers)
    z, slope, steps, converged = root(parts, rest, law, change, guess)
    z, more, done = method.corrected(
        lambda z: kirchhoff(nodal, exact, z),
        factors(parts, slope),
        lambda z: factors(parts, change(z[where])),
        z,
    )
    slope = slope if method.is_exact else change(z[where])
    return z, (parts, slope), steps + more, converged & done


def _judged(nodal: Nodal, z, by: Factors, missed, arrays) -> Array:
    """Status of a solution: whether Kirchhoff's law and the elements' own laws hold."""
    z, by, missed = lax.stop_gradient((z, by, missed))
    nodes = nodal.layout.nodes
    cells = [jnp.max(jnp.abs(s.i_cell)) for s in arrays.values()]
    i, enough = allowed(nodal, z, by, cells)
    at_nodes, at_laws = missed[:nodes], missed[nodes:]
    v = jnp.max(jnp.abs(z[:nodes]), initial=0)
    holds = jnp.all(jnp.abs(at_nodes) <= enough)
    holds &= jnp.max(jnp.abs(at_laws), initial=0) <= tolerance_of(z.dtype) * jnp.maximum(v, i)
    finite = jnp.all(jnp.isfinite(z))
    known = jnp.all(jnp.isfinite(by.reduction.matrix)) & jnp.all(jnp.isfinite(by.change))
    singular = by.is_singular & known
    flags = {
        Status.NOT_CONVERGED: ~holds & finite & ~singular,
        Status.NOT_FINITE: ~finite & ~singular,
        Status.SINGULAR: singular,
    }
    return status(flags | faults_of(nodal, z))


def explained(circuit: Circuit, solver: Solver, known: Status) -> str:
    """A sentence about the faults of a circuit, with the bus or the element concerned."""
    circuit = in_one_dtype(circuit)
    nodal = nodal_of(circuit)
    layout = nodal.layout
    bad = [name for name, fails in impossible(nodal).items() if fails]
    if Status.INVALID_ELEMENT in known and bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return f"element {bad[0]!r}{more}: {ADVICE[Status.INVALID_ELEMENT]}"
    if Status.SHORT_CIRCUIT in known and (said := _joined(nodal)):
        return said
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
        where = layout.named(int(stored(nodal_of(with_poles(circuit)))[np.argmax(mode)]))
        return f"{where}: {ADVICE[Status.UNSTABLE]}"
    return general(known)


@eqx.filter_jit
def _matrices(circuit: Circuit, solver: Solver) -> tuple[Array, Array | None]:
    """Jacobian of a circuit, and its dynamic matrix if it has amplifiers."""
    z, by, _ = solved(circuit, solver)
    if not has_amplifiers(circuit):
        return by.matrix, None
    return by.matrix, dynamic_matrix(nodal_of(with_poles(circuit)), solver, z, by)


def _joined(nodal: Nodal) -> str:
    """A sentence about the first array whose ideal wires join two buses; empty without one."""
    for name, ended in nodal.arrays.items():
        crossbar, array = ended.crossbar, ended.array
        drive, readout, wires = crossbar.drive, crossbar.readout, crossbar.wires
        ends = {
            "rows": (wires.r_row, drive.r_source + drive.r_source_far, 0 if wires.parallel else 1),
            "cols": (wires.r_col, readout.r_in + readout.r_in_far, 0),
        }
        for near, (r, behind, axis) in ends.items():
            buses = array.terminals.get(near), array.terminals.get(f"{near}_far")
            along = np.sum(np.broadcast_to(r, array.cell.shape), axis=axis)
            if buses[0] and buses[1] and np.any(along + np.asarray(behind) == 0):
                a, b = (end.bus for end in buses if end is not None)
                return (
                    f"ideal wires of array {name!r} join the buses {a!r} ({near}) and {b!r}"
                    f" ({near}_far), which must have voltages of their own: give the wires a"
                    f" resistance, or connect to {a!r} what is connected to {b!r} and leave"
                    f" {near}_far out"
                )
    return ""


def _undetermined(layout: Layout, free: np.ndarray) -> str:
    """A sentence about the unknowns that the circuit leaves undetermined."""
    moves = np.flatnonzero(np.abs(free) > 0.3)
    names = list(dict.fromkeys(layout.named(int(k)) for k in moves))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}: {ADVICE[Status.SINGULAR]}"
