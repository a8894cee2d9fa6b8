"""Linear solves of a network, differentiated implicitly: the one place that defines their
derivative."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from ..kirchhoff.network import Field, Network
from .auto import chosen
from .batching import Kernel, Together, first_of, sequential_vmap
from .refinement import refined
from .shorts import parted


class Factored(eqx.Module):
    """A network prepared for a solver: the network with its shorts separated, and the solver's
    states for it and for its transpose."""

    network: Network
    solver: lx.AbstractLinearSolver = eqx.field(static=True)
    state: Any
    transposed: Any


def factor(network: Network, solver: lx.AbstractLinearSolver) -> Factored:
    """Prepares a network for solves with any number of right-hand sides."""
    network = parted(network)
    solver = chosen(solver, symmetric=network.symmetric, parallel=network.parallel)
    init = partial(_init, solver)
    init = init if _has_kernel(solver, network) else sequential_vmap(init)
    state = init(lax.stop_gradient(network))
    return Factored(network, solver, state, _transposed(solver, state))


def _init(solver: lx.AbstractLinearSolver, network: Network):
    return solver.init(network.capped, {})


def _has_kernel(solver: lx.AbstractLinearSolver, network: Network) -> bool:
    return isinstance(solver, Kernel) and solver.has_kernel(network)


def _transposed(solver: lx.AbstractLinearSolver, state):
    return solver.transpose(state, {})[0]


def solve(
    factored: Factored, vector: Field, guess: Field | None = None
) -> tuple[Field, dict[str, Any]]:
    """Solves `network x = vector`. The derivative is that of the solution, not of the solver.

    For `A x = b` the tangent solves `A dx = db - dA x`, and the cotangent solves with the
    transpose. A derivative costs one more solve, forward or reverse, whatever the solver does
    inside; so does each higher derivative. `lineax.linear_solve` has the same rule, but its
    tangent solves raise errors from inside the compiled program. That needs a host callback, which
    accelerators and `jax.export` lack. Here the caller judges the solution by its residual.

    A `guess` near the solution saves iterations. It has no derivative. The guess travels as one
    more part of the system, `y = guess`; the tangent of this part is zero, so the solves for
    derivatives begin at zero. The error bound of the solution travels in the same way, because
    under `vmap` JAX takes auxiliary outputs of a solve to be batched (jax 0.10).

    **Returns:** the solution and the solver's statistics, which have no derivative.
    """
    solver, network = factored.solver, factored.network
    source = lax.stop_gradient(network)

    def by(state, made_of, network):
        def compute(state, network, b):
            vector, _, *guess = b
            options = {"y0": guess[0]} if guess else {}
            if isinstance(solver, Kernel) and solver.has_kernel(network):
                x, stats = solver.refined(network, vector, options)
            else:
                x, stats = refined(solver, state, network, vector, options)
            return (x, stats["error"], *guess), {"num_steps": stats["num_steps"]}

        def own(network, b):
            return compute(made_of(network), network, b)

        at_once = isinstance(solver, Together) or _has_kernel(solver, network)
        run = compute if at_once else sequential_vmap(compute, own)
        return lambda _, b: run(state, network, b)

    # custom_linear_solve fails (jax 0.10) if only some leaves of the right-hand side have a
    # tangent, or if the network has one and the right-hand side none, as for shunts alone. The
    # barrier below gives all leaves a tangent at no cost. The barrier around the operator does so
    # in second derivatives. Equal leaves stay one array.
    if network.shorts is not None and vector.cell is None:
        vector = vector._replace(cell=jnp.zeros_like(vector.row))
    none = jnp.zeros((), vector.row.dtype)
    b = (vector, none) if guess is None else (vector, none, lax.stop_gradient(guess))
    leaves, structure = jax.tree.flatten(b)
    names = first_of(leaves)
    shunts = network.g_row, network.g_col
    distinct, _ = lax.optimization_barrier((dict(zip(names, leaves, strict=True)), shunts))
    b = jax.tree.unflatten(structure, [distinct[name] for name in names])
    solved, stats = lax.custom_linear_solve(
        lambda x: lax.optimization_barrier((network.mv(x[0]), *x[1:])),
        b,
        by(factored.state, partial(_init, solver), source),
        by(
            factored.transposed,
            lambda network: _transposed(solver, _init(solver, network.transpose())),
            source if network.symmetric else source.transpose(),
        ),
        network.symmetric,
        has_aux=True,
    )
    # the transposed solve fails alike in second derivatives, if a loss depends on some leaves only
    x, error, *_ = lax.optimization_barrier(solved)
    return x, stats | {"error": lax.stop_gradient(error)}


def roughly(factored: Factored, vector: Field, rtol: float) -> Field:
    """Solves to a relative tolerance `rtol`, without a derivative. Direct solvers ignore `rtol`.
    Shorts enter as finite conductances, large beside the wires (`Network.capped`)."""

    def compute(state, vector):
        return factored.solver.compute(state, vector, {"rtol": rtol})[0]

    kernel = _has_kernel(factored.solver, factored.network)
    args = lax.stop_gradient((factored.state, vector))
    return lax.stop_gradient((compute if kernel else sequential_vmap(compute))(*args))
