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


def sources_of(circuit: Circuit) -> list[str]:
    """Names of the sources of a circuit."""
    return [name for name, element in circuit.elements.items() if type(element) in FIELDS]


def values_of(circuit: Circuit, source: str) -> Float[Array, " lanes"]:
    """What a source sets [A or V], per lane."""
    element = circuit.elements[source]
    return jnp.broadcast_to(getattr(element, FIELDS[type(element)]), (circuit.lanes(source),))


def with_values(circuit: Circuit, source: str, values: Float[Array, " lanes"]) -> Circuit:
    """The circuit with other values [A or V] of a source."""
    field = FIELDS[type(circuit.elements[source])]
    return eqx.tree_at(lambda c: getattr(c.elements[source], field), circuit, values)


def response(
    circuit: Circuit, source: str, bus: str, *, solver: Solver = AutoLadder()
) -> Float[Array, "nodes lanes"]:
    """Change of a bus's voltages with the values of a source, `dv/di` [ohm] or `dv/dv` [1], at the
    operating point: the derivative of `solve`, by one factored system and a right-hand side per
    lane of the source.

    It is there for an unstable loop, too. **Errors:** those of `solve` otherwise; `ValueError` for
    a source or a bus that the circuit does not have.
    """
    sources = sources_of(circuit)
    if source not in sources:
        raise ValueError(
            f"source is {source!r}; the circuit's sources are"
            f" {', '.join(map(repr, sources)) or 'none'}."
        )
    require_bus(circuit, bus)
    found, status = _response(circuit, source, bus, solver)
    return finished(circuit, solver, found, status & ~int(Status.UNSTABLE))


def require_bus(circuit: Circuit, bus: str) -> None:
    """Raises `ValueError` for a bus that the circuit does not have."""
    if bus not in circuit.buses:
        raise ValueError(f"bus is {bus!r}; the circuit has {', '.join(map(repr, circuit.buses))}.")


@eqx.filter_jit
def _response(circuit: Circuit, source: str, bus: str, solver: Solver):
    def answer(values):
        found = solve(with_values(circuit, source, values), solver=solver)
        return found.v[bus], found.status

    return jax.jacfwd(answer, has_aux=True)(values_of(circuit, source))
