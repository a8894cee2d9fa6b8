"""Gradients from two equilibria of a circuit: equilibrium propagation."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from .. import elements as el
from .._types import as_physical, described, require_finite, require_nonnegative, require_positive
from ..cells import AbstractCell
from ..elements.circuit import Circuit
from ..solvers import AutoLadder, Solver
from .dc import CircuitSolution, solve
from .nodal import dtype_of, in_one_dtype

NUDGE = "nudge currents"  # name of the sources
POINTS = np.polynomial.legendre.leggauss(8)  # of Gauss and Legendre, on [-1, 1]

Loss = Callable[[Float[Array, " nodes"]], Float[Array, ""]]


class EquilibriumPropagation(eqx.Module):
    """An estimate of the gradient of a loss from equilibria of a circuit.

    **Attributes:**

    - `gradient`: for each array, by its name, a cell of its kind with the derivatives in place of
        the parameters: `found.gradient["array"].g` is `(rows, cols)`, in units of the loss per S.
    - `loss`: at the free equilibrium.
    - `free`, `ahead`, `behind`: solutions without a nudge, towards a smaller loss, and towards a
        larger one; one-sided, `behind` is `free`.
    - `status`: a `Status` of all of them; 0 is good.
    """

    gradient: dict[str, Any]
    loss: Float[Array, "*batch"]
    free: CircuitSolution
    ahead: CircuitSolution
    behind: CircuitSolution
    status: Int[Array, "*batch"]


def equilibrium_propagation(
    circuit: Circuit,
    output: str,
    loss: Loss,
    nudge: ArrayLike,
    *,
    symmetric: bool = True,
    v_noise: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
    solver: Solver = AutoLadder(),
) -> EquilibriumPropagation:
    """Estimates the gradient of a loss by the parameters of all cells from voltages at the cells.

    The circuit settles without a nudge, at output voltages `v`. Currents

        i = -nudge dL/dv

    into the output nodes then move it to a second equilibrium. A cell of current `I(u, p)` and
    parameter `p` sees its own voltage move from `u_0` to `u_1`. The estimate is the change of the
    derivative of its co-content,

        dL/dp = (1 / nudge) integral from u_0 to u_1 of dI/dp du,

    which for an ohmic cell is `(u_1^2 - u_0^2) / (2 nudge)`. Symmetric nudging settles at `+nudge`
    and at `-nudge`, and divides by `2 nudge`.

    The estimate tends to the gradient as the nudge tends to 0 if the circuit is reciprocal, which
    means made of resistors, wires, two-terminal devices and sources. The error is of first order
    in the nudge, and of second order if symmetric. Amplifiers are not reciprocal: the estimate of
    a circuit that has them tends to something else. `jax.grad` through `solve` is exact for both.
    (B. Scellier, Y. Bengio, Front. Comput. Neurosci. 11, 24 (2017), doi:10.3389/fncom.2017.00024;
    in circuits J. Kendall et al., 2020, arXiv:2006.01981; symmetric A. Laborieux et al., Front.
    Neurosci. 15, 633674 (2021), doi:10.3389/fnins.2021.633674.)

    **Arguments:**

    - `circuit`: the circuit, with arrays of reciprocal cells.
    - `output`: the bus that the loss depends on.
    - `loss`: a function from its voltages [V], `(nodes,)`, to a number.
    - `nudge`: [S] if the loss is in V^2: current per slope of the loss.
    - `symmetric`: whether to nudge both ways. Otherwise the free equilibrium is the second one.
    - `v_noise`: standard deviation [V] of every reading of a cell voltage, with its `key`;
        both or none.
    - `solver`: solver of the arrays, as of `read`.

    **Returns:** an `EquilibriumPropagation`. Batches go through `jax.vmap`.

    **Errors:** `ValueError` for a bus that is not there, a nudge that is not positive, noise
    without a key, a circuit without arrays, cells that are not reciprocal, and a loss that is not
    one number. Those of `solve` for each equilibrium.
    """
    circuit = _checked(circuit, output)
    dtype = dtype_of(circuit)
    nudge, v_noise = _numbers(nudge, v_noise, key, dtype)

    def at(i: Array) -> CircuitSolution:
        source = el.CurrentSource(to=output, i=i)
        nudged = Circuit(buses=circuit.buses, **circuit.elements, **{NUDGE: source})
        return solve(nudged, solver=solver)

    # sources of 0 A are there in the free circuit, too: one compiled program solves all of them
    free = at(jnp.zeros(circuit.buses[output], dtype))
    v = free.v[output]
    if (shape := jax.eval_shape(loss, v).shape) != ():
        raise ValueError(f"loss returns an array of shape {shape}; it must return one number.")
    value, slope = jax.value_and_grad(loss)(v)
    push = nudge * slope.astype(dtype)
    ahead = at(-push)
    behind = at(push) if symmetric else free
    apart = 2 * nudge if symmetric else nudge
    cells = {name: array.cell for name, array in _arrays_of(circuit).items()}
    read = [{name: found.arrays[name].v_cell for name in cells} for found in (behind, ahead)]
    if v_noise is not None and key is not None:
        read = _noisy(read, v_noise, key)
    gradient = {
        name: _by_parameters(cell, read[0][name], read[1][name], apart)
        for name, cell in cells.items()
    }
    status = free.status | ahead.status | behind.status
    return EquilibriumPropagation(gradient, value, free, ahead, behind, status)


@eqx.filter_jit
def _by_parameters(cell: AbstractCell, v_0: Array, v_1: Array, apart: Array) -> AbstractCell:
    """Change of the co-content's derivatives between two cell voltages [V], over `apart`."""

    def change(cell: AbstractCell) -> Array:
        middle, half, none = (v_1 + v_0) / 2, (v_1 - v_0) / 2, jnp.zeros_like(v_0)
        points = [
            float(w) * cell.current(middle + float(x) * half, none)
            for x, w in zip(*POINTS, strict=True)
        ]
        return jnp.sum(half * sum(points, start=none)) / apart

    return eqx.filter_grad(change)(cell)


def _noisy(read: list[dict[str, Array]], v_noise: Array, key: PRNGKeyArray) -> list[Any]:
    leaves, tree = jax.tree.flatten(read)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        tree, [v + v_noise * jax.random.normal(k, v.shape, v.dtype) for v, k in zip(leaves, keys)]
    )


def _arrays_of(circuit: Circuit) -> dict[str, el.Array]:
    return {name: x for name, x in circuit.elements.items() if isinstance(x, el.Array)}


def _checked(circuit: Circuit, output: str) -> Circuit:
    """The circuit in one dtype, if it has reciprocal arrays and the bus."""
    if not isinstance(circuit, Circuit):
        raise TypeError(f"circuit is {described(circuit)}; pass an xb.Circuit of xb.elements.")
    if output not in circuit.buses:
        known = ", ".join(map(repr, circuit.buses))
        raise ValueError(f"output is {output!r}; the buses of the circuit are {known}.")
    if not _arrays_of(circuit):
        raise ValueError("the circuit has no arrays: there are no cells to train.")
    for name, array in _arrays_of(circuit).items():
        if not array.cell.is_reciprocal:
            raise ValueError(
                f"array {name!r} has cells of {type(array.cell).__name__}, which are not"
                " reciprocal: they have no co-content, so use jax.grad through xb.solve."
            )
    return in_one_dtype(circuit)


def _numbers(nudge: Any, v_noise: Any, key: Any, dtype: Any) -> tuple[Array, Array | None]:
    nudge = as_physical(nudge, "nudge", whole=True).astype(dtype)
    require_positive(nudge, "nudge", "S")
    require_finite(nudge, "nudge", "S")
    if (v_noise is None) != (key is None):
        raise ValueError("noise needs both v_noise and key=jax.random.key(...), or neither.")
    if v_noise is None:
        return nudge, None
    v_noise = as_physical(v_noise, "v_noise", whole=True).astype(dtype)
    require_nonnegative(v_noise, "v_noise", "V", open_allowed=False)
    return nudge, v_noise
