"""Coordinates in which a search and its posterior take few products.

Two things make the squares of residuals curve unlike in different directions. Parameters differ in
how much they change the reads: a unit for each takes care of that. And readings that add up many
cells, as the current of a line does, know the sum of a line far better than its parts, as they know
wire resistances that act on all cells: so the span of the sums of lines and of the single
parameters is scaled by a small matrix of its own.
"""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PRNGKeyArray

from .problem import Problem, Scale, Scaled, U

PROBES = 64  # random combinations of the residuals that size the parameters
FLOOR = 1e-3  # of the largest norm of a column of an unknown, for parameters that do nothing
REACH = 0.3  # of the first guess, at most in a unit of a parameter with bounds
LONE = 16  # single parameters, at most, for which the answer of the cells is sought
WEAK = 1e-9  # of the usual curvature: less is not made up for


def units(problem: Problem, u: U, key: PRNGKeyArray) -> U:
    """Change of each parameter that changes the residuals by about one standard deviation: the
    inverse norms of the columns of the Jacobian, by random combinations of its rows."""
    residual, pull = jax.vjp(lambda u: ravel_pytree(problem.residuals(u))[0], u)

    def squares(key):
        signs = jax.random.rademacher(key, residual.shape, residual.dtype)
        return jax.tree.map(jnp.square, pull(signs)[0])

    found = lax.map(squares, jax.random.split(key, PROBES))
    return _inverse(jax.tree.map(lambda x: jnp.sqrt(jnp.mean(x, axis=0)), found))


def written_out(problem: Problem, u: U) -> tuple[Array, Array, U]:
    """The Jacobian of all residuals by flat parameters, `(residuals, parameters)`, the residuals,
    and the units of the columns."""
    flat, unravel = ravel_pytree(u)
    residuals, forward = jax.linearize(
        lambda x: ravel_pytree(problem.residuals(unravel(x)))[0], flat
    )
    jacobian = jax.vmap(forward, out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype))
    return jacobian, residuals, _inverse(unravel(jnp.linalg.norm(jacobian, axis=0)))


def _inverse(norms: U) -> U:
    """Units of parameters from the norms of their columns."""
    floored = lambda x: jnp.maximum(x, FLOOR * jnp.max(x))
    safe = lambda x: jnp.where(jnp.max(x) > 0, floored(x), 1)
    return jax.tree.map(lambda x: 1 / safe(x), norms)


def within_reach(problem: Problem, unit: U) -> U:
    """Units of a search from afar: a factor of which the reads tell little must not run away in
    its first steps."""
    most = tuple(jnp.inf if p.low is None else REACH for p in problem.parameters)
    return tuple(jnp.minimum(x, m) for x, m in zip(unit, most))


def balanced(problem: Problem, u: U, unit: U) -> Scale:
    """Coordinates around `u` in which lines and single parameters are scaled too.

    A wire resistance alone is plain to see. Where cells answer its change so that the reads hardly
    change, it is not: this direction, found by least squares over the cells, is in the span."""
    lines, lone = _directions(u)
    plain = Scale.plain(u, unit)
    dtype = plain.span.dtype
    _, forward = jax.linearize(Scaled(problem, plain), jnp.zeros(lines.shape[1], dtype))
    first = _scaled_by(plain, forward, jnp.asarray(lines, dtype), 1.0)
    if not 0 < len(lone) <= LONE:
        return _scaled_by(plain, forward, jnp.asarray(lines, dtype), WEAK)
    together = jnp.asarray(np.all(lone == 0, axis=0), dtype)
    back = jax.linear_transpose(forward, jnp.zeros(lines.shape[1], dtype))
    # coordinates of `first` speed this search up; its steps are in units of `unit`
    into = first.stretched
    normal = lambda x: into(together * back(forward(together * into(x)))[0])
    operator = lx.FunctionLinearOperator(
        lambda x: normal(x) + 1e-6 * x,
        jax.ShapeDtypeStruct((lines.shape[1],), dtype),  # pyright: ignore
        lx.positive_semidefinite_tag,
    )

    def answered(single):
        push = -into(together * back(forward(single))[0])
        largest = jnp.max(jnp.abs(push))
        largest = jnp.where(largest > 0, largest, 1)
        solver = lx.CG(1e-2, 1e-2, max_steps=60)
        answer = lx.linear_solve(operator, push / largest, solver, throw=False).value
        return single + largest * together * into(answer)

    answers = lax.map(answered, jnp.asarray(lone, dtype))
    return _scaled_by(plain, forward, jnp.concatenate([jnp.asarray(lines, dtype), answers]), WEAK)


def _scaled_by(plain: Scale, forward, directions, floor: float) -> Scale:
    """Coordinates in which the squares curve alike, by 1, in the span of `directions`."""
    span = jnp.linalg.qr(directions.T)[0].T
    seen = lax.map(forward, span, batch_size=8)
    w, v = jnp.linalg.eigh(seen @ seen.T)
    stretch = (v / jnp.sqrt(jnp.maximum(w, floor))[None]) @ v.T
    return Scale(plain.at, plain.unit, span, stretch - jnp.eye(len(w), dtype=w.dtype))


def _directions(u: U) -> tuple[np.ndarray, np.ndarray]:
    """Indicators of the rows and columns of each unknown and of single parameters, and those of
    the single parameters alone, `(directions, parameters)` each."""
    size, begin, lines, lone = sum(x.size for x in u), 0, [], []

    def indicator(group):
        vector = np.zeros(size)
        vector[group] = 1
        return vector

    for x in u:
        index = begin + np.arange(x.size).reshape(x.shape)
        begin += x.size
        if x.ndim == 2 and min(x.shape) > 1:
            lines += [indicator(group) for group in (*index, *index.T)]
        else:
            alone = [indicator(k) for k in index.ravel()]
            lines += alone
            lone += alone
    return np.stack(lines), np.reshape(lone, (-1, size))
