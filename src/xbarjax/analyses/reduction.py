"""Circuits with few nonlinear unknowns: their linear laws are solved once, before Newton's method.

The laws of a circuit are `A z + b + f(z) = 0`. Only `m` of the laws have a part in `f`, which
depends on `m` of the unknowns `z`. All other laws are linear. They determine the unknowns but for
`m` of them, `w`:

    z = s z_0 + Z w,    with  A_linear z_0 = -b_linear,  A_linear Z = 0,  s = 1.

Newton's method runs in `w` and `s` alone. The pivots of LU factors of `A_linear^T` choose which
unknowns are `w`. These factors exist also where an ideal source fixes the voltage of a nonlinear
element.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from .._types import Scalar
from .dense import Equilibrated, equilibrated, linear_solve, lost, lower, lu, scales, signs, upper

STEPS = 60  # of Newton's method
HALVINGS = 12  # of one of its steps
ROUNDING = 4  # errors of rounding in a law, relative to the sizes of its terms


class Reduction(eqx.Module):
    """The linear laws of a circuit, solved for all but a few unknowns."""

    matrix: Array  # A
    rows: Array  # scales of the linear laws
    cols: Array  # scales of all unknowns
    lu: Array  # of the scaled linear laws, transposed
    order: Array  # of the unknowns in the factors: eliminated ones first, then those that are left
    place: Array  # of each unknown in this order
    null: Array  # Z: all unknowns, for 1 in each scaled unknown that is left
    _bent: tuple[int, ...] = eqx.field(static=True)

    @property
    def bent(self) -> np.ndarray:
        """Positions of the unknowns that nonlinear laws depend on, and of these laws."""
        return np.asarray(self._bent, int)

    @property
    def linear(self) -> np.ndarray:
        """Positions of the linear laws."""
        return np.setdiff1d(np.arange(self.matrix.shape[0]), self.bent)

    def particular(self, b: Array) -> Array:
        """`z` with `A_linear z = b`, for columns `b`; the unknowns that are left are 0."""
        return self.cols[:, None] * self._scaled(self.rows[:, None] * b)

    def particular_transposed(self, z: Array) -> Array:
        """The transpose of `particular`."""
        count = len(self.linear)
        if not count:
            return jnp.zeros((0, z.shape[1]), z.dtype)
        half = lower(self.lu[:count], (self.cols[:, None] * z)[self.order[:count]])
        return self.rows[:, None] * upper(self.lu[:count], half)

    def _scaled(self, b: Array) -> Array:
        count = b.shape[0]
        left = jnp.zeros((self.matrix.shape[0] - count, b.shape[1]), b.dtype)
        if not count:
            return left
        half = upper(self.lu[:count], b, transposed=True)
        inner = lower(self.lu[:count], half, transposed=True)
        return jnp.concatenate([inner, left])[self.place]

    @property
    def is_singular(self) -> Array:
        """Whether the linear laws contradict or repeat each other."""
        return lost(self._scaled(signs(len(self.linear), self.matrix.dtype)))


def reduction(matrix: Array, bent: np.ndarray) -> Reduction:
    """The linear laws of a matrix `A`, which are all rows but the `bent` ones, solved for all
    unknowns but as many."""
    size, count = matrix.shape[0], matrix.shape[0] - len(bent)
    rows, cols, scaled = scales(lax.stop_gradient(matrix))
    linear = np.setdiff1d(np.arange(size), bent)
    parts, order = scaled[linear].T, jnp.arange(size, dtype=jnp.int32)
    if count:
        parts, _, order = lu(parts)
    free = jnp.eye(len(bent), dtype=matrix.dtype)
    inner = jnp.zeros((count, len(bent)), matrix.dtype)
    if count and len(bent):
        inner = -lower(parts[:count], parts[count:].T, transposed=True)
    place = jnp.argsort(order)
    null = cols[:, None] * jnp.concatenate([inner, free])[place]
    where = tuple(int(k) for k in bent)
    return Reduction(matrix, rows[linear], cols, parts, order, place, null, where)


class Factors(eqx.Module):
    """The Jacobian of a circuit in factors: its linear laws eliminated, the others in LU."""

    reduction: Reduction
    change: Array  # derivative of the nonlinear laws
    small: Equilibrated | None  # of the unknowns that are left; None without nonlinear laws

    def solve(self, b: Array) -> Array:
        """`J^-1 b`, for one right-hand side or several as columns. The derivative is that of the
        solution."""
        return linear_solve(self._product, self.apply, self.apply_transposed, b)

    def _product(self, z: Array) -> Array:
        bent = self.reduction.bent
        own = self.change @ z[bent]
        return (self.reduction.matrix @ z).at[bent].add(own, unique_indices=True)

    def apply(self, b: Array) -> Array:
        """`J^-1 b` by the factors, for columns `b`."""
        parts = self.reduction
        z = parts.particular(b[parts.linear])
        if self.small is None:
            return z
        left = b[parts.bent] - parts.matrix[parts.bent] @ z - self.change @ z[parts.bent]
        return z + parts.null @ self.small.apply(left)

    def apply_transposed(self, b: Array) -> Array:
        """`J^-T b` by the factors, for columns `b`."""
        parts, bent = self.reduction, self.reduction.bent
        law = jnp.zeros_like(b)
        if self.small is not None:
            own = self.small.apply_transposed(parts.null.T @ b)
            b = b - parts.matrix[bent].T @ own
            b = b.at[bent].add(-(self.change.T @ own), unique_indices=True)
            law = law.at[bent].set(own, unique_indices=True)
        rest = parts.particular_transposed(b)
        return law.at[parts.linear].set(rest, unique_indices=True)

    @property
    def is_singular(self) -> Array:
        """Whether the solution is lost in rounding."""
        gone = self.reduction.is_singular
        return gone if self.small is None else gone | self.small.is_singular

    @property
    def matrix(self) -> Array:
        """The Jacobian."""
        at = np.ix_(self.reduction.bent, self.reduction.bent)
        return self.reduction.matrix.at[at].add(self.change)

    def sizes(self, z: Array) -> Array:
        """For each law, the sum of the sizes of its terms at given unknowns."""
        parts, z = self.reduction, jnp.abs(z)
        own = jnp.abs(self.change) @ z[parts.bent]
        return (jnp.abs(parts.matrix) @ z).at[parts.bent].add(own)


def factors(parts: Reduction, change: Array) -> Factors:
    """The Jacobian of a circuit in factors; `change` is the derivative of its nonlinear laws."""
    if not len(parts.bent):
        return Factors(parts, change, None)
    matrix, still = lax.stop_gradient((parts.matrix[parts.bent], change))
    inner = matrix @ parts.null + still @ parts.null[parts.bent]
    return Factors(parts, change, equilibrated(inner))


class Found(NamedTuple):
    """A zero of all laws."""

    z: Array
    change: Array  # derivative of the nonlinear laws there
    steps: Array
    converged: Array


class _Search(NamedTuple):
    """Where Newton's method is: at `y`, with a step `dy` to be tried."""

    y: Array
    dy: Array
    full: Scalar  # size of the step
    by: Equilibrated  # the Jacobian at `y`
    change: Array
    steps: Array
    done: Array


def root(
    parts: Reduction,
    b: Array,
    law: Callable[[Array], Array],
    change: Callable[[Array], Array],
    guess: Array | None,
) -> Found:
    """A zero of `A z + b + f(z)`, by Newton's method from `guess`.

    Without a guess, it starts at `z = 0` and `s = 0`, as if the sources in the linear laws were
    off. They rise with the steps.

    `law` is `f` as a function of the unknowns that it depends on, `change` its derivative. A step
    is halved until the next one, with the Jacobian kept, is clearly shorter. The lengths of both do
    not depend on the scales of laws (natural monotonicity; P. Deuflhard, Newton Methods for
    Nonlinear Problems, Springer 2004, section 3.3). The search ends where the next step is short,
    or where all nonlinear laws hold to rounding. Far in saturation, laws that hold to rounding
    leave an unknown uncertain by more than a short step."""
    bent, left, dtype = parts.bent, len(parts.bent), b.dtype
    z_0 = parts.particular(-b[parts.linear, None])[:, 0]
    if not left:
        return Found(z_0, jnp.zeros((0, 0), dtype), jnp.asarray(1), jnp.asarray(True))
    rtol = 1e-12 if dtype == jnp.float64 else 1e-5
    here, across = parts.matrix[bent] @ z_0, parts.matrix[bent] @ parts.null
    seen, of, one = z_0[bent], parts.null[bent], jnp.ones((), dtype)
    all_of = lambda y: y[-1] * z_0 + parts.null @ y[:-1]
    unknowns = lambda y: y[-1] * seen + of @ y[:-1]
    size = lambda y: jnp.max(jnp.abs(unknowns(y) / parts.cols[bent]))

    def missed(y):
        laws = y[-1] * here + across @ y[:-1] + b[bent] + law(unknowns(y))
        return jnp.append(laws, y[-1] - 1)

    def sizes(y, slope):
        # of the terms of each law, whose rounding no step can remove
        u, z = unknowns(y), all_of(y)
        own = jnp.abs(parts.matrix[bent]) @ jnp.abs(z) + jnp.abs(slope) @ jnp.abs(u)
        return jnp.append(own + jnp.abs(b[bent]), 1)

    def onward(y, off, steps, done) -> _Search:
        slope = change(unknowns(y))
        upper = jnp.concatenate([across + slope @ of, (here + slope @ seen)[:, None]], axis=1)
        whole = jnp.concatenate([upper, jnp.zeros((1, left + 1), dtype).at[0, -1].set(1)])
        by = equilibrated(whole)
        dy = -by.apply(off[:, None])[:, 0]
        return _Search(y, dy, size(dy), by, slope, steps + 1, done)

    def step(at: _Search) -> _Search:
        first = at.steps == 0

        def shorter(tried):
            part, *_, tries = tried
            y = at.y + part / 2 * at.dy
            off = missed(y)
            return part / 2, y, off, size(at.by.apply(off[:, None])[:, 0]), tries + 1

        def too_far(tried):
            part, _, _, next_, tries = tried
            good = first | (next_ <= (1 - part / 4) * at.full) | (tries > HALVINGS)
            return (tries == 0) | ~good

        # a loop of its own: members of a batch that halve their steps cost the others no Jacobian
        start = 2 * one, at.y, at.dy, one, jnp.asarray(0)
        _, y, off, next_, _ = lax.while_loop(too_far, shorter, start)
        most = jnp.max(jnp.abs(all_of(y) / parts.cols))
        exact = jnp.all(jnp.abs(off) <= ROUNDING * jnp.finfo(dtype).eps * sizes(y, at.change))
        return onward(y, off, at.steps, ~first & ((next_ <= rtol * most) | exact))

    def unfinished(at: _Search):
        return ~at.done & (at.steps <= STEPS)

    y = jnp.zeros((left + 1,), dtype)
    if guess is not None:
        free = parts.order[len(parts.linear) :]
        y = jnp.append(guess[free] / parts.cols[free], 1)
    eye, none = jnp.eye(left + 1, dtype=dtype), jnp.ones((left + 1,), dtype)
    ordered = jnp.arange(left + 1, dtype=jnp.int32)
    by = Equilibrated(eye, eye, ordered, ordered, none, none)
    start = _Search(y, 0 * y, 0 * one, by, 0 * across, jnp.asarray(0), jnp.asarray(False))
    end = lax.while_loop(unfinished, step, start)
    # the step that the last Jacobian allows comes for free
    return Found(all_of(end.y + end.dy), end.change, end.steps - 1, end.done)
