"""Poles of a circuit."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Complex

from .._types import described
from ..elements import OpAmp
from ..elements.circuit import Circuit
from ..kirchhoff.laws import stored
from ..kirchhoff.solution import usable
from ..kirchhoff.terminals import nodal_of
from ..solvers import AutoLadder, Solver
from .dc import finished, solved
from .nodal import in_one_dtype
from .small_signal import dynamic_matrix, poles_of


def poles(circuit: Circuit, *, solver: Solver = AutoLadder()) -> Complex[jax.Array, " states"]:
    """Poles of a circuit around its operating point: it is stable if no real part is positive.

    There is one pole per amplifier and per node with a capacitor. Where other elements fix what
    such a one stores, its pole is `-inf`. Lines with capacitance count as their capacitance at the
    terminals: the poles are exact where lines are fast against the rest of the circuit. Let `tau`
    be the slowest time constant of the array between ideal terminals (`slowest_mode`). Of 1247
    poles `p` of random 5x5 loops, up to `tau |p| = 0.1`, nine in ten have a relative error below
    `tau |p|`, and the worst, next to another pole, 8 times that. Up to `tau |p| = 1e-3` it is below
    `tau |p| / 30`.

    **Arguments:** as of `solve`.

    **Returns:** poles [1/s], complex, the largest real part first; NaN where the operating point
    was not found under a transformation.

    **Errors:** `ValueError` for amplifiers without a gain-bandwidth product, and for circuits
    without capacitors or amplifiers; those of `solve`.
    """
    if not isinstance(circuit, Circuit):
        raise TypeError(f"circuit is {described(circuit)}; pass an xb.Circuit of xb.elements.")
    for name, element in circuit.elements.items():
        if isinstance(element, OpAmp) and element.gbw is None:
            raise ValueError(f"amplifier {name!r} has no gbw [Hz]: without one it has no pole.")
    if not stored(nodal_of(circuit)).size:
        raise ValueError("the circuit has no poles: it has neither amplifiers nor capacitors.")
    found, status = _poles(circuit, solver)
    return finished(circuit, solver, found, status)


@eqx.filter_jit
def _poles(circuit: Circuit, solver: Solver):
    circuit = in_one_dtype(circuit)
    z, factors, solution = solved(circuit, solver)
    found = poles_of(dynamic_matrix(nodal_of(circuit), solver, z, factors))
    return jnp.where(usable(solution.status), found, jnp.nan), solution.status
