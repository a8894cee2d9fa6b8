"""The posterior of the parameters: its covariance, and the directions that no read shows.

With the Jacobian `J` of all residuals, those of what was known before included, the covariance of
the parameters is `(J^T J)^-1`. Up to `EXACT` parameters `J` is written out and decomposed. For more
there are draws `(J^T J)^-1 J^T xi` with standard normal `xi`, whose covariance it is, by conjugate
gradients, and a Lanczos method for the largest and the smallest singular values.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from ..crossbar import Crossbar
from .predict import predicted
from .problem import Problem, Scale, Scaled, U
from .scaling import balanced, units, written_out
from .truncated_cg import TruncatedCG
from .twin import Twin, deviations
from .words import advice

EXACT = 600  # parameters up to which the Jacobian is written out
ENDS = 6  # singular values sought at each end of the spectrum
UNSEEN = 1e-6  # of the largest singular value: below, no read shows a direction
CLOSE, MOST = 1e-5, 400  # residual of a draw, relative, and steps to it
REFUTED = 5.0  # standard errors of chi2 above 1
MANY = 0.02  # of the readings: more outliers are no single bad readings


class Picked(eqx.Module):
    """The numbers of a crossbar that were free. Two that pick alike are equal."""

    places: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __call__(self, crossbar: Crossbar) -> Any:
        leaves = jax.tree.leaves(crossbar)
        return [[leaves[place] for place in places] for places in self.places]


def twin_of(
    problem: Problem, steps: int, rests: bool, *, estimate: bool, samples: int, seed: int
) -> Twin:
    """The twin at the end of a search. The noise is estimated from the residuals if there is no
    other (`estimate`)."""
    u = problem.start
    size = sum(x.size for x in u)
    if size <= EXACT:
        (crossbar, off, status), exact = _small(problem, u)
        singular, spread, unseen = exact
        sure = True
    else:
        (crossbar, off, status), scale, forward = _large(problem, u, jnp.asarray(seed))
        singular, unseen = _extremes(forward, scale, seed)
        sure = len(singular) == 2 * ENDS
        spread, unseen, solved = _drawn(forward, scale, unseen, jnp.asarray(seed), samples)
        sure = sure and bool(solved)
    count = sum(m.count for m in problem.measured)
    limit = float(problem.robust)
    every = np.concatenate([np.ravel(x) for part in off for x in part.values()])
    near = np.abs(every) <= limit
    outliers = int(np.sum(~near))
    freedom = max(count - outliers - _fitted(problem, u, spread), 1.0)
    chi2 = float(np.sum(every[near] ** 2)) / freedom
    wide, many = chi2 > 1 + REFUTED * np.sqrt(2 / freedom), outliers > MANY * count
    refuted = not estimate and (wide or many)
    spread = jnp.asarray(spread * (np.sqrt(chi2) if estimate else 1.0))
    places = tuple(p.places for p in problem.parameters)
    std = deviations(problem, u, spread, jnp.asarray(unseen), Picked(places))
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.zeros_like, crossbar))
    for place, value in zip(sum(places, ()), sum(std, [])):
        leaves[place] = value
    twin = Twin(
        crossbar,
        jax.tree.unflatten(structure, leaves),
        jnp.asarray(rests),
        jnp.asarray(steps),
        jnp.asarray(chi2),
        jnp.asarray(refuted),
        off,
        outliers,
        sum(m.missing for m in problem.measured),
        np.asarray(singular),
        status,
        "",
        problem,
        u,
        spread,
        jnp.asarray(unseen),
    )
    return dataclasses.replace(twin, advice=advice(twin, sure))


@eqx.filter_jit
def _small(problem: Problem, u: U):
    return _end(problem, u), _exact(problem, u)


@eqx.filter_jit
def _large(problem: Problem, u: U, seed):
    scale = balanced(problem, u, units(problem, u, jax.random.key(seed)))
    zero = ravel_pytree(jax.tree.map(jnp.zeros_like, u))[0]
    _, forward = jax.linearize(Scaled(problem, scale), zero)
    # with what it needs of the reads, which are then solved once for all products
    return _end(problem, u), scale, eqx.filter_closure_convert(forward, zero)


def _end(problem: Problem, u: U):
    crossbar = problem.at(u)
    status = jnp.zeros((), jnp.int32)
    for measured, ends in zip(problem.measured, problem.ends):
        status |= predicted(crossbar, measured, problem.solver, ends)[1]
    return crossbar, problem.off(u), status


def _exact(problem: Problem, u: U):
    jacobian, _, unit = written_out(problem, u)
    scale, unit = Scale.plain(u, unit), ravel_pytree(unit)[0]
    jacobian = jacobian * unit[None]
    _, s, vt = jnp.linalg.svd(jacobian, full_matrices=False)
    if s.size < unit.size:  # fewer residuals than parameters
        _, s, vt = jnp.linalg.svd(jacobian.T @ jacobian, full_matrices=False)
        s = jnp.sqrt(s)
    shown = s > UNSEEN * s[0]
    spread = jnp.where(shown[:, None], vt / jnp.where(shown, s, 1)[:, None], 0)
    steps = jax.vmap(scale.steps)
    return s, steps(spread), steps(jnp.where(shown[:, None], 0, vt))


def _extremes(forward: Any, scale: Scale, seed: int):
    """The largest and the smallest singular values, and the coordinates that are not seen."""
    # imported here: it sets filters of warnings, which are the user's when the package is imported
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    flat, _ = ravel_pytree(scale.at)
    product = lambda x: np.asarray(_normal(forward, jnp.asarray(x.ravel())))
    dtype = np.dtype(flat.dtype)
    operator = LinearOperator((flat.size,) * 2, matvec=product, dtype=dtype)  # pyright: ignore
    begin = np.random.default_rng(seed).standard_normal(flat.size).astype(dtype)
    values, vectors = [], []
    for which in ("LA", "SA"):
        try:
            given: Any = {"v0": begin, "tol": 1e-2, "ncv": 40, "maxiter": 20}
            w, v = eigsh(operator, ENDS, which=which, **given)
        except ArpackNoConvergence as stopped:  # those that did come out
            w, v = stopped.eigenvalues, stopped.eigenvectors
        order = np.argsort(w)[::-1]
        values.append(np.sqrt(np.maximum(w[order], 0)))
        vectors.append(v[:, order].T)
    singular = np.concatenate(values)
    unseen = np.zeros((ENDS, flat.size), dtype)
    for k, (s, v) in enumerate(zip(values[1], vectors[1])):
        unseen[k] = v * (s < 1e-4 * max(singular.max(), 1.0))  # half of the digits of a product
    return singular, unseen


@eqx.filter_jit
def _normal(forward: Any, x):
    """The product with the Jacobian of the residuals by coordinates, and with its transpose."""
    return jax.linear_transpose(forward, x)(forward(x))[0]


@eqx.filter_jit
def _drawn(forward: Any, scale: Scale, unseen, seed, samples: int):
    zero = ravel_pytree(jax.tree.map(jnp.zeros_like, scale.at))[0]
    transposed = jax.linear_transpose(forward, zero)
    back = lambda r: transposed(r)[0]
    out = jax.eval_shape(forward, zero)
    without = lambda x: x - (unseen @ x) @ unseen
    operator = lx.FunctionLinearOperator(
        lambda x: back(forward(x)), jax.eval_shape(lambda: zero), lx.positive_semidefinite_tag
    )
    solver = TruncatedCG(CLOSE, MOST)

    def draw(key):
        b = without(back(jax.random.normal(key, out.shape, out.dtype)))
        found = lx.linear_solve(operator, b, solver, throw=False)
        return scale.steps(without(found.value)), found.stats["num_steps"] < MOST

    drawn, solved = lax.map(draw, jax.random.split(jax.random.key(seed), samples))
    spread = drawn / jnp.sqrt(jnp.asarray(samples, zero.dtype))
    return spread, jax.vmap(scale.steps)(unseen), jnp.all(solved)


def _fitted(problem: Problem, u: U, spread) -> float:
    """Number of parameters that the reads determine: all, less the part that was known before."""
    known = 0.0
    begin = 0
    for p, x in zip(problem.parameters, u):
        part = jnp.asarray(spread)[:, begin : begin + x.size].reshape(-1, *x.shape)
        begin += x.size
        if p.sigma is not None:
            slope = jax.vmap(lambda d, p=p, x=x: jax.jvp(p.prior, (x,), (d,))[1])(part)
            known += float(jnp.sum(slope**2))
    return float(sum(x.size for x in u)) - known
