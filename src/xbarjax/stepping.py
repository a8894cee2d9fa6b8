"""Steps in time between corners, of lengths that an error estimate chooses, and their derivative.

Time is counted in knots, the moments that no step goes over: at `s = k + f` it is
`t_k + f (t_{k+1} - t_k)`. A grid of steps is found by a loop that keeps nothing, and then gone over
once more where a derivative is asked for, `s` held and the knots free to move: so a derivative by
the time of a corner moves the steps beside it, and what led to their lengths has none. (Diffrax
takes the same steps in the same time, from 32 x 32 cells on. But it checks the times to save at
through a host callback, so that nothing would lower for accelerators, and has no forward mode over
its checkpoints, which second derivatives take. Below that size it adds 10 to 25 us a step.)
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, PyTree

from ._types import Scalar

CHUNK = 32  # steps that a gradient keeps all of at once
SAFETY, LEAST, MOST = 0.9, 0.2, 5.0  # of a step's length, from one to the next
FIRST = 1e-2  # of the first interval
ORDER = 3  # of the local error


class Knots(eqx.Module):
    """Moments [s] that do not fall; those at the same time are one (`knots_of`)."""

    t: Float[Array, " knots"]

    def interval(self, s: Scalar) -> Array:
        """Which interval begins at `s` or holds it: of no length only at the very end."""
        k = jnp.floor(s).astype(int)
        last = jnp.searchsorted(lax.stop_gradient(self.t), self.t[k], side="right") - 1
        return jnp.minimum(jnp.where(s == k, last, k), self.t.size - 2)

    def step(self, start: Scalar, end: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        """When a step begins [s], how long it takes [s], and the middle of its interval [s]."""
        j = jnp.maximum(jnp.ceil(end).astype(int) - 1, 0)
        before = jnp.maximum(start - j, 0)
        whole = self.t[j + 1] - self.t[j]
        return self.t[j] + before * whole, (end - j - before) * whole, self.t[j] + whole / 2

    def times(self, s: Array) -> Array:
        """Moments [s] at some `s`."""
        k = jnp.minimum(jnp.floor(s).astype(int), self.t.size - 2)
        return self.t[k] + (s - k) * (self.t[k + 1] - self.t[k])

    def after(self, s: Scalar, h: Scalar) -> Scalar:
        """The end of a step of about `h` [s]: two of a length rather than a long and a short."""
        j = self.interval(s)
        whole, begun = self.t[j + 1] - self.t[j], jnp.maximum(s, j)
        left = j + 1 - begun
        wanted = h / whole
        few = jnp.ceil(left / wanted * (1 - 1e-3))
        end = jnp.where(few <= 1, j + 1, begun + jnp.where(few <= 2, left / 2, wanted))
        smallest = 4 * jnp.finfo(self.t.dtype).eps * (j + 1)
        return jnp.minimum(jnp.maximum(end, begun + smallest), j + 1).astype(self.t.dtype)

    @property
    def first_length(self) -> Scalar:
        j = self.interval(jnp.zeros((), self.t.dtype))
        return lax.stop_gradient(self.t[j + 1] - self.t[j])

    @property
    def end(self) -> Scalar:
        """`s` of the last moment."""
        return self.named(self.t[-1])

    def named(self, t: Array) -> Array:
        """`s` of moments that are among the knots."""
        return jnp.searchsorted(lax.stop_gradient(self.t), lax.stop_gradient(t)).astype(
            self.t.dtype
        )


def knots_of(t: Array) -> Knots:
    """Moments [s] in order. Of those at the same time the first stands for all of them, so that a
    derivative by its time takes as much from the next interval as it gives to the one before."""
    t = t[jnp.argsort(lax.stop_gradient(t), stable=True)]
    return Knots(t[jnp.searchsorted(lax.stop_gradient(t), lax.stop_gradient(t))])


class AbstractStep(eqx.Module):
    """One step of a method, of local errors of order `ORDER`."""

    @abc.abstractmethod
    def __call__(
        self, state: PyTree, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool
    ) -> tuple[PyTree, PyTree, Scalar]:
        """The state after `h` from `t` on [s] within an interval of some `middle`, what is seen of
        it, and the error of this step in units of what is allowed, 0 if it is not to be judged."""


class Followed(NamedTuple):
    """Where steps led."""

    ends: Float[Array, " most"]  # s, the end of time where there is no step any more
    seen: PyTree  # after every step
    state: PyTree
    taken: Array  # steps
    refused: Array
    s: Scalar  # where they came to


def equal_steps(knots: Knots, steps: int) -> Float[Array, " most"]:
    """Ends of so many steps in every interval; none in intervals of no length."""
    count = (knots.t.size - 1) * steps
    each = jnp.arange(1, count + 1, dtype=knots.t.dtype) / steps
    j = jnp.ceil(each).astype(int) - 1
    none = knots.t[j + 1] == knots.t[j]
    at = jnp.where(none, knots.named(knots.t[j]), each)
    return lax.cummax(jnp.minimum(at, knots.end))


def replay(step: AbstractStep, state: PyTree, knots: Knots, ends: Array) -> Followed:
    """Goes over a grid. A gradient keeps a state a chunk of it, and one chunk of steps."""
    count = ends.size
    chunks = -(-count // CHUNK)
    starts = jnp.concatenate([jnp.zeros((1,), ends.dtype), ends[:-1]])
    pad = lambda x: jnp.concatenate([x, jnp.full((chunks * CHUNK - count,), ends[-1])])
    pairs = jnp.stack([pad(starts), pad(ends)], axis=1).reshape(chunks, CHUNK, 2)
    blank = jax.eval_shape(lambda s: step(s, *_unit(knots), judged=False)[1], state)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), blank)

    def one(carry, pair):
        state, seen = carry
        moves = pair[1] > pair[0]
        t, h, middle = knots.step(pair[0], pair[1])

        def go(state, seen):
            new, said, _ = step(state, t, jnp.where(moves, h, 1), middle, judged=False)
            chosen = lambda a, b: jnp.where(moves, a, b)
            return jax.tree.map(chosen, new, state), jax.tree.map(chosen, said, seen)

        carry = lax.cond(anywhere(moves), go, lambda *x: x, state, seen)
        return carry, carry[1]

    @jax.checkpoint
    def chunk(carry, pairs):
        go = lambda carry: lax.scan(one, carry, pairs)
        rest = lambda carry: (
            carry,
            jax.tree.map(lambda x: jnp.broadcast_to(x, (CHUNK, *x.shape)), carry[1]),
        )
        return lax.cond(anywhere(pairs[-1, 1] > pairs[0, 0]), go, rest, carry)

    (state, _), seen = lax.scan(chunk, (state, blank), pairs)
    seen = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], seen)
    return Followed(ends, seen, state, jnp.sum(ends > starts), jnp.zeros((), int), ends[-1])


@eqx.filter_custom_jvp
def follow(step: AbstractStep, state: PyTree, knots: Knots, max_steps: int) -> Followed:
    """Steps of lengths such that each errs by at most what is allowed, to the end of time, or until
    there are `max_steps` of them."""
    seen = jax.eval_shape(lambda s: step(s, *_unit(knots), judged=False)[1], state)
    seen = jax.tree.map(lambda x: jnp.zeros((max_steps, *x.shape), x.dtype), seen)
    end, zero = knots.end, jnp.zeros((), knots.t.dtype)
    first = FIRST * knots.first_length
    begin = (zero, knots.after(zero, first), first, state, jnp.full((max_steps,), end), seen)

    def unfinished(carry):
        s, *_, taken, refused = carry
        return (s < end) & (taken < max_steps) & (refused < 4 * max_steps)

    def go(carry):
        s, to, wanted, state, ends, seen, taken, refused = carry
        t, h, middle = knots.step(s, to)
        new, said, error = step(state, t, h, middle, judged=True)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        keep = error <= 1
        factor = jnp.clip(SAFETY * jnp.maximum(error, 1e-9) ** (-1 / ORDER), LEAST, MOST)
        better = jnp.where(keep, jnp.maximum(factor, 1), jnp.minimum(factor, SAFETY)) * h
        # a knot may have cut it short: what was thought right before still is
        wanted = jnp.where(keep & (h < wanted), jnp.maximum(better, wanted), better)
        chosen = lambda a, b: jnp.where(keep, a, b)
        ends = ends.at[taken].set(chosen(to, ends[taken]))
        seen = jax.tree.map(lambda x, y: x.at[taken].set(chosen(y, x[taken])), seen, said)
        state = jax.tree.map(chosen, new, state)
        s, taken = chosen(to, s), taken + keep
        return s, knots.after(s, wanted), wanted, state, ends, seen, taken, refused + ~keep

    none = jnp.zeros((), int)
    s, _, _, *found = lax.while_loop(unfinished, go, (*begin, none, none))
    state, ends, seen, taken, refused = found
    return Followed(ends, seen, state, taken, refused, s)


@follow.def_jvp
def _(primals, tangents):
    step, state, knots, max_steps = primals
    found = follow(*lax.stop_gradient((step, state, knots)), max_steps)

    def again(step, state, knots):
        there = replay(step, state, knots, lax.stop_gradient(found.ends))
        return there._replace(taken=found.taken, refused=found.refused, s=found.s)

    return eqx.filter_jvp(again, (step, state, knots), tangents[:3])


def _unit(knots: Knots) -> tuple[Scalar, Scalar, Scalar]:
    one = jnp.ones((), knots.t.dtype)
    return one, one, one


@custom_vmap
def anywhere(holds: Any) -> Any:
    """Whether something holds in any system of a batch: a branch that none takes is not run."""
    return holds


@anywhere.def_vmap
def _(size, batched, holds):
    del size, batched
    return anywhere(jnp.any(holds, 0)), False
