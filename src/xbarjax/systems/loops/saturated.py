"""Loops that grow until their amplifiers saturate, at rest."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike

from ... import elements as el
from ..._types import as_physical, is_concrete
from ...analyses.dc import CircuitSolution, finished, solve, solved, with_growth
from ...analyses.nodal import in_one_dtype
from ...elements import OpAmp
from ...elements.circuit import Circuit
from ...kirchhoff.solution import Status
from ...solvers import AutoLadder, Solver

UNLIMITED = 1e6  # swing over that of the amplifiers
GAINS = (1e4, 3e4, 1e5, 3e5)  # of amplifiers, in the search for those that clip
BEYOND = 8  # largest voltage over the swing, from where amplifiers are searched that clip


def resting(
    loop: Circuit, i_start: ArrayLike, *, bus: str = "e", solver: Solver = AutoLadder()
) -> CircuitSolution:
    """The operating point that an `eigenvector` loop grows into.

    It is found without a transient. If amplifiers had no limits, small currents into the loop would
    lead to voltages along the eigenvector. The search starts from these voltages, enlarged until
    the largest is several times the swing, with amplifiers of a gain of at most 1e4. Then it raises
    the gain. The solution's `growth` is negative: the loop stays where it is found.

    **Arguments:**

    - `loop`: the circuit; its amplifiers have a swing.
    - `i_start`: currents [A] into the bus, `(n,)` or a scalar, of any size: not orthogonal to the
        eigenvector.
    - `bus`: name of the bus.
    - `solver`: as of `xb.solve`.

    **Returns:** a `CircuitSolution`, whose `v["x"]` lies along the eigenvector, in either
    direction. The amplifiers clip its largest entries, by about the share that the loop gain
    exceeds 1.

    **Errors:** `ValueError` for an amplifier without a swing, and for a loop gain below 1, with
    which the loop falls back to 0; those of `xb.solve`. Under a transformation, a loop gain below 1
    has the status `NOT_CONVERGED`.
    """
    for name, element in loop.elements.items():
        if isinstance(element, OpAmp) and element.v_low is None:
            raise ValueError(f"amplifier {name!r} has no swing, so that no size stops the loop.")
    i = jnp.broadcast_to(as_physical(i_start, "i_start"), (loop.buses[bus],))
    start, growth = _beyond(loop, i, bus, solver)
    if is_concrete(growth) and not growth > 0:
        raise ValueError(
            f"the loop gain is below 1 (largest real part of the poles {float(growth):.3g} 1/s), so"
            ' that "x" falls back to 0: lower g_eigenvalue, the conductance of element "feedback",'
            " to a little below the largest eigenvalue, which wires lower as well."
        )
    found = _rested(_with_source(loop, 0 * i, bus), start, solver)
    falls = jnp.where(growth > 0, 0, int(Status.NOT_CONVERGED))
    found = eqx.tree_at(lambda s: s.status, found, found.status | falls)
    return finished(loop, solver, found, found.status)


@eqx.filter_jit  # so that no error is raised: without a swing the loop is unstable
def _beyond(loop: Circuit, i: Array, bus: str, solver: Solver) -> tuple[Circuit, Array]:
    """A loop without limits whose largest voltage is well beyond its swing, and the largest real
    part of its poles [1/s], above 0 if the loop gain is above 1."""
    names = [name for name, x in loop.elements.items() if isinstance(x, OpAmp)]
    swings = lambda c: [getattr(c.elements[k], end) for k in names for end in ("v_low", "v_high")]
    free = eqx.tree_at(swings, loop, [UNLIMITED * v for v in swings(loop)])
    found = solve(_with_source(free, i, bus), solver=solver)
    assert found.growth is not None  # it has amplifiers
    largest = jnp.max(jnp.abs(found.v["x"]))
    swing = jnp.max(jnp.stack([jnp.max(jnp.abs(v)) for v in swings(loop)]))
    return _with_source(free, BEYOND * swing / largest * i, bus), found.growth


@eqx.filter_jit
def _rested(loop: Circuit, start: Circuit, solver: Solver) -> CircuitSolution:
    """The operating point of a loop that is found from that of another one.

    The larger the gain of amplifiers, the sharper they clip, and the closer the search must start.
    So it finds the operating point with gains of at most 1e4 first, and raises them step by step.
    """
    loop, start = in_one_dtype(loop), in_one_dtype(start)
    names = [name for name, x in loop.elements.items() if isinstance(x, OpAmp)]
    gains = lambda c: [c.elements[name].gain for name in names]

    def sharper(z: Array, most: Array) -> tuple[Array, Array]:
        soft = eqx.tree_at(gains, loop, [jnp.minimum(gain, most) for gain in gains(loop)])
        z, _, solution = solved(soft, solver, guess=z)
        return z, solution.newton_steps

    z = solved(start, solver)[0]
    z, steps = lax.scan(sharper, *lax.stop_gradient((z, jnp.asarray(GAINS, z.dtype))))
    z, by, solution = solved(loop, solver, guess=lax.stop_gradient(z))
    steps = solution.newton_steps + jnp.sum(steps)
    solution = eqx.tree_at(lambda s: s.newton_steps, solution, steps)
    return with_growth(loop, solver, z, by, solution)


def _with_source(loop: Circuit, i: Array, bus: str) -> Circuit:
    elements: dict[str, Any] = loop.elements | {"start": el.CurrentSource(to=bus, i=i)}
    return Circuit(**elements)
