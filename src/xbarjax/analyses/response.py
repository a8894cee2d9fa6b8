"""Response of a circuit's voltages to one of its sources."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..elements import CurrentSource, VoltageSource
from ..elements.circuit import Circuit
from ..kirchhoff.solution import Status
from ..solvers import AutoLadder, Solver
from .dc import finished, solve

FIELDS = {CurrentSource: "i", VoltageSource: "v"}  # what a source sets


def response(
    circuit: Circuit, source: str, bus: str, *, solver: Solver = AutoLadder()
) -> Float[Array, "nodes lanes"]:
    """Change of a bus's voltages with the values of a source, `dv/di` [ohm] or `dv/dv` [1], at the
    operating point: the derivative of `solve`, by one factored system and a right-hand side per
    lane of the source.

    It is there for an unstable loop, too. **Errors:** those of `solve` otherwise; `ValueError` for
    a source or a bus that the circuit does not have.
    """
    sources = [name for name, element in circuit.elements.items() if type(element) in FIELDS]
    if source not in sources:
        raise ValueError(
            f"source is {source!r}; the circuit's sources are"
            f" {', '.join(map(repr, sources)) or 'none'}."
        )
    if bus not in circuit.buses:
        raise ValueError(f"bus is {bus!r}; the circuit has {', '.join(map(repr, circuit.buses))}.")
    found, status = _response(circuit, source, bus, solver)
    return finished(circuit, solver, found, status & ~int(Status.UNSTABLE))


@eqx.filter_jit
def _response(circuit: Circuit, source: str, bus: str, solver: Solver):
    field = FIELDS[type(circuit.elements[source])]
    where = lambda c: getattr(c.elements[source], field)

    def answer(values):
        found = solve(eqx.tree_at(where, circuit, values), solver=solver)
        return found.v[bus], found.status

    at = jnp.broadcast_to(where(circuit), (circuit.lanes(source),))
    return jax.jacfwd(answer, has_aux=True)(at)
