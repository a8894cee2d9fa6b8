"""The one place where a network is solved and differentiated."""

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
    """A network, its shorts told apart, and what a solver knows of it before it sees a right-hand
    side."""

    network: Network
    solver: lx.AbstractLinearSolver = eqx.field(static=True)
    state: Any
    transposed: Any


def factor(network: Network, solver: lx.AbstractLinearSolver) -> Factored:
    """Prepares a network for any number of right-hand sides."""
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
    """Solves `network x = vector`, with the derivative of the solution, not of the solver.

    For `A x = b` the tangent is `A dx = db - dA x` and the cotangent a solve with the transpose:
    whatever the solver does inside, a derivative costs one more solve, forward or reverse, and so
    does each further one. `lineax.linear_solve` states the same rule, but its tangent solves raise
    from inside the compiled program; that needs a host callback, which accelerators and
    `jax.export` lack. The caller judges the solution by its residual instead.

    A `guess` of the solution saves iterations where it is near, and has no derivative. It travels
    as one more part of the system, `y = guess`: the tangent of that part is zero, which is where
    the solves for derivatives begin. What the solution may err by travels in the same way, since
    under `vmap` JAX holds whatever comes beside a solution to be one of a batch (jax 0.10).

    Returns the solution and the solver's statistics, which have no derivative.
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

    # custom_linear_solve fails where some leaves of the right-hand side have a tangent and others
    # none, or where the network has one and they do not (jax 0.10), as for shunts alone; the
    # barrier gives all of them one, at no cost, and that around the network does so in second
    # derivatives. Equal leaves stay one array.
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
    # and its transpose meets the same in second derivatives, where a loss sees some leaves alone
    x, error, *_ = lax.optimization_barrier(solved)
    return x, stats | {"error": lax.stop_gradient(error)}


def roughly(factored: Factored, vector: Field, rtol: float) -> Field:
    """Solves to a relative tolerance, where a solver knows of one, without a derivative, and with
    shorts as conductances that are large beside the wires."""

    def compute(state, vector):
        return factored.solver.compute(state, vector, {"rtol": rtol})[0]

    kernel = _has_kernel(factored.solver, factored.network)
    args = lax.stop_gradient((factored.state, vector))
    return lax.stop_gradient((compute if kernel else sequential_vmap(compute))(*args))
