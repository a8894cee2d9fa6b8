"""Response of a circuit to one of its sources."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._types import described
from ..elements.circuit import Circuit, require_bus, sources_of
from ..elements.sources import DRIVEN
from ..kirchhoff.laws import stated
from ..kirchhoff.terminals import nodal_of
from ..solvers import AutoLadder, Solver
from .dc import finished, solved, with_growth
from .nodal import in_one_dtype


class Response(eqx.Module):
    """Voltages of a bus for any values of a source: `v = gain s + v_zero`.

    Calling it with values `s` of the source, `(lanes,)` [A] or [V], gives the voltages [V] of the
    bus, `(nodes,)`.

    **Attributes:**

    - `gain`: volts per ampere [ohm] or per volt [1], `(nodes, lanes)`.
    - `v_zero`: voltages [V] of the bus at `s = 0`, from offsets and other sources, `(nodes,)`; of a
        nonlinear circuit, those of its linearisation.
    - `growth`, `residual`, `status`: as of a `CircuitSolution`.
    """

    gain: Float[Array, "*batch nodes lanes"]
    v_zero: Float[Array, "*batch nodes"]
    growth: Float[Array, "*batch"] | None
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]

    def __call__(self, s: Float[Array, " lanes"]) -> Float[Array, " nodes"]:
        return self.gain @ s + self.v_zero


def response(circuit: Circuit, source: str, bus: str, *, solver: Solver = AutoLadder()) -> Response:
    """Solves a circuit once for all values of a source.

    The circuit is factored as by `solve`; every lane of the source takes one more solve with the
    factors, and no further read of an array. In a linear circuit the response is exact for all
    values. A nonlinear one is linearised at its operating point, with the source at its own values.

    **Arguments:**

    - `circuit`: the circuit.
    - `source`: name of a current or voltage source.
    - `bus`: name of a bus.
    - `solver`: solver of the arrays, as of `read`.

    **Returns:** a `Response`. Batches of circuits go through `jax.vmap`.

    **Errors:** `ValueError` for names that the circuit lacks; those of `solve`.
    """
    found = response_of(circuit, source, bus, solver)
    return finished(circuit, solver, found, found.status)


def response_of(circuit: Circuit, source: str, bus: str, solver: Solver) -> Response:
    """What `response` returns, but without its errors for a circuit that has none: see `status`."""
    if not isinstance(circuit, Circuit):
        raise TypeError(f"circuit is {described(circuit)}; pass an xb.Circuit of xb.elements.")
    sources = sources_of(circuit)
    if source not in sources:
        raise ValueError(
            f"source is {source!r}; the sources of the circuit are"
            f" {', '.join(map(repr, sources)) or 'none'}."
        )
    require_bus(circuit, bus)
    return _response(circuit, source, bus, solver)


@eqx.filter_jit
def _response(circuit: Circuit, source: str, bus: str, solver: Solver) -> Response:
    circuit = in_one_dtype(circuit)
    z, factors, solution = solved(circuit, solver, driven=False)
    solution = with_growth(circuit, solver, z, factors, solution, driven=False)
    nodal = nodal_of(circuit, driven=False)
    field = DRIVEN[type(nodal.elements[source])]
    where = lambda n: getattr(n.elements[source], field)
    s = jnp.broadcast_to(where(nodal), (circuit.lanes(source),)).astype(z.dtype)
    missed = jax.jacfwd(lambda s: stated(eqx.tree_at(where, nodal, s), z))(s)
    moved = -factors.solve(missed)
    first, width = nodal.layout.buses[bus]
    gain = moved[first : first + width]
    v_zero = solution.v[bus] - gain @ s
    return Response(gain, v_zero, solution.growth, solution.residual, solution.status)
