"""Steps in time between corners, of lengths that an error estimate chooses, and their derivative.

Time is counted in knots, the moments that no step goes over: at `s = k + f` it is
`t_k + f (t_{k+1} - t_k)`. A loop finds the steps and keeps a state before every chunk of them;
where a derivative is asked for, chunks are gone over again from there, `s` held and the knots free
to move: so a derivative by the time of a corner moves the steps beside it, and what led to their
lengths has none. (Diffrax would take the same steps. But it checks the times to save at through a
host callback, so that nothing would lower for accelerators, and has no forward mode over its
checkpoints, which second derivatives take.)
"""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Float, PyTree

from .._types import Scalar

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
        last = jnp.searchsorted(lax.stop_gradient(self.t), self.t[k], side="right").astype(int) - 1
        return jnp.minimum(jnp.where(s == jnp.floor(s), last, k), self.t.size - 2)

    def step(self, start: Scalar, end: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        """When a step begins [s], how long it takes [s], and the middle of its interval [s]."""
        j = jnp.maximum(jnp.ceil(end).astype(int) - 1, 0)
        passed, whole = j.astype(start.dtype), self.t[j + 1] - self.t[j]
        before = jnp.maximum(start - passed, 0)
        return self.t[j] + before * whole, (end - passed - before) * whole, self.t[j] + whole / 2

    def times(self, s: Array) -> Array:
        """Moments [s] at some `s`."""
        k = jnp.minimum(jnp.floor(s).astype(int), self.t.size - 2)
        return self.t[k] + (s - k.astype(s.dtype)) * (self.t[k + 1] - self.t[k])

    def after(self, s: Scalar, h: Scalar) -> Scalar:
        """The end of a step of about `h` [s]: two of a length rather than a long and a short."""
        j = self.interval(s)
        whole, next_ = self.t[j + 1] - self.t[j], (j + 1).astype(s.dtype)
        begun = jnp.maximum(s, j.astype(s.dtype))
        left = next_ - begun
        wanted = h / whole
        few = jnp.ceil(left / wanted * (1 - 1e-3))
        end = jnp.where(few <= 1, next_, begun + jnp.where(few <= 2, left / 2, wanted))
        smallest = 4 * jnp.finfo(self.t.dtype).eps * next_
        return jnp.minimum(jnp.maximum(end, begun + smallest), next_).astype(self.t.dtype)

    @property
    def first_length(self) -> Scalar:
        j = self.interval(jnp.zeros((), self.t.dtype))
        return lax.stop_gradient(self.t[j + 1] - self.t[j])

    @property
    def end(self) -> Scalar:
        """`s` of the last moment."""
        return self.named(self.t[-1])

    def named(self, t: Array) -> Array:
        """`s` of moments that are among the knots, or that one of them stands for."""
        still = lax.stop_gradient(self.t)
        last = jnp.searchsorted(still, lax.stop_gradient(t), side="right") - 1
        return jnp.searchsorted(still, still[jnp.maximum(last, 0)]).astype(still.dtype)


def knots_of(t: Array) -> Knots:
    """Moments [s] in order. Of those at the same time, as far as rounding can tell, the first
    stands for all of them, so that a derivative by its time takes as much from the next interval
    as it gives to the one before."""
    t = t[jnp.argsort(lax.stop_gradient(t), stable=True)]
    still = lax.stop_gradient(t)
    least = (1e-9 if t.dtype == jnp.float64 else 1e-5) * (still[-1] - still[0])
    opens = jnp.diff(still, prepend=still[0]) > least
    return Knots(t[lax.cummax(jnp.where(opens, jnp.arange(t.size), 0))])


class AbstractStep(eqx.Module):
    """One step of a method, of local errors of order `ORDER`."""

    @abc.abstractmethod
    def __call__(
        self, state: PyTree, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool
    ) -> tuple[PyTree, PyTree, Scalar]:
        """The state after `h` from `t` on [s] within an interval of some `middle`, its outputs, and
        the error of this step in units of what is allowed, 0 if it is not to be judged."""


class Followed(NamedTuple):
    """End of a sequence of steps."""

    ends: Float[Array, " most"]  # s, the end of time where there is no step any more
    outputs: PyTree  # after every step
    state: PyTree
    kept: PyTree  # states before every CHUNK of steps
    taken: Array  # steps
    rejected: Array
    s: Scalar  # where they came to


def equal_steps(knots: Knots, steps: int) -> Float[Array, " most"]:
    """Ends of so many steps in every interval; none in intervals of no length."""
    count = (knots.t.size - 1) * steps
    each = jnp.arange(1, count + 1, dtype=knots.t.dtype) / steps
    j = jnp.ceil(each).astype(int) - 1
    some = knots.t[j + 1] > knots.t[j]
    return jnp.sort(jnp.where(some, each, knots.end))


@eqx.filter_custom_jvp
def follow(
    step: AbstractStep, state: PyTree, knots: Knots, ends: Array | None, max_steps: int
) -> Followed:
    """Steps to the given ends; or, with none given, of lengths such that each errs by at most what
    is allowed, until there are `max_steps` of them."""
    most = max_steps if ends is None else ends.size
    end, zero, none = knots.end, jnp.zeros((), knots.t.dtype), jnp.zeros((), int)
    first = FIRST * knots.first_length
    outputs = jax.eval_shape(lambda s: step(s, zero + 1, zero + 1, zero, judged=False)[1], state)
    room = lambda x, n: jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), x)
    chunks = -(-most // CHUNK)
    written = jnp.full((most,), end) if ends is None else ends
    # one more place, for what is not to be kept
    buffers = written, room(outputs, most), room(state, chunks + 1)

    def unfinished(carry):
        s, _, _, _, taken, rejected = carry
        return (s < end) & (taken < most) & (rejected < most)

    def go(carry):
        s, wanted, state, (written, outputs, kept), taken, rejected = carry
        to = knots.after(s, wanted) if ends is None else ends[taken]
        t, h, middle = knots.step(s, to)
        new, output, error = step(state, t, h, middle, judged=ends is None)
        error = jnp.where(jnp.isnan(error), jnp.inf, error)
        keep = error <= 1
        factor = jnp.clip(SAFETY * jnp.maximum(error, 1e-9) ** (-1 / ORDER), LEAST, MOST)
        better = jnp.where(keep, jnp.maximum(factor, 1), jnp.minimum(factor, SAFETY)) * h
        # a knot may have cut it short: what was thought right before still is
        wanted = jnp.where(keep & (h < wanted), jnp.maximum(better, wanted), better)
        # what is rejected is written over: to read here would make the loop copy all of it
        put = lambda of, at, x: jax.tree.map(lambda of, x: of.at[at].set(x), of, x)
        begins = jnp.where(taken % CHUNK == 0, taken // CHUNK, chunks)
        buffers = put(written, taken, to), put(outputs, taken, output), put(kept, begins, state)
        chosen = lambda a, b: jnp.where(keep, a, b)
        state = jax.tree.map(chosen, new, state)
        return (
            chosen(to, s),
            wanted,
            state,
            buffers,
            taken + keep.astype(int),
            rejected + 1 - keep.astype(int),
        )

    begin = (zero, first, state, buffers, none, none)
    s, _, state, buffers, taken, rejected = lax.while_loop(unfinished, go, begin)
    return Followed(buffers[0], buffers[1], state, buffers[2], taken, rejected, s)


@follow.def_jvp
def _(primals, tangents):
    """A chunk of steps after the other, each from the state that was kept before it: backwards,
    one chunk is gone over again and none is before that."""
    step, state, knots, ends, max_steps = primals
    found = follow(step, state, knots, ends, max_steps)
    ends = lax.stop_gradient(found.ends)
    chunks = -(-ends.size // CHUNK)
    starts = jnp.concatenate([jnp.zeros((1,), ends.dtype), ends[:-1]])
    all_of = lambda x: jnp.concatenate([x, jnp.full((chunks * CHUNK - x.size,), ends[-1])])
    pairs = jnp.stack([all_of(starts), all_of(ends)], axis=1).reshape(chunks, CHUNK, 2)
    by_step, by_state, by_knots = (
        jax.tree.map(_slope, dx, x, is_leaf=lambda x: x is None)
        for dx, x in zip(tangents[:3], primals[:3])
    )

    @jax.checkpoint
    def chunk(by_state, at):
        pairs, kept = at
        over = lambda step, knots, state: _chunk(step, knots, state, pairs)
        primal = (step, knots, kept)
        slopes = lambda: eqx.filter_jvp(over, primal, (by_step, by_knots, by_state))[1]
        shape = jax.eval_shape(slopes)
        rest = lambda: (by_state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape[1]))
        after, outputs = lax.cond(anywhere(pairs[-1, 1] > pairs[0, 0]), slopes, rest)
        return after, (by_state, outputs)

    kept = jax.tree.map(lambda x: x[:-1], found.kept)
    by_state, (by_kept, by_seen) = lax.scan(chunk, by_state, (pairs, kept))
    by_seen = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[: ends.size], by_seen)
    by_kept = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])]), by_kept)
    none = jnp.zeros_like
    slopes = Followed(none(ends), by_seen, by_state, by_kept, None, None, none(found.s))  # pyright: ignore
    return found, slopes


def _chunk(step: AbstractStep, knots: Knots, state: PyTree, pairs: Array) -> tuple[PyTree, PyTree]:
    """A chunk of steps, some of which may be none."""

    def one(state, pair):
        moves = pair[1] > pair[0]
        t, h, middle = knots.step(pair[0], pair[1])

        def go(state):
            new, output, _ = step(state, t, jnp.where(moves, h, 1), middle, judged=False)
            chosen = lambda a, b: jnp.where(moves, a, b)
            return jax.tree.map(chosen, new, state), output

        shape = jax.eval_shape(go, state)[1]
        none = lambda state: (state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape))
        return lax.cond(anywhere(moves), go, none, state)

    return lax.scan(one, state, pairs)


def _slope(dx, x):
    return jnp.zeros_like(x) if dx is None and eqx.is_inexact_array(x) else dx


@custom_vmap
def anywhere(holds: Any) -> Any:
    """Whether something holds in any system of a batch: a branch that none takes is not run."""
    return holds


@anywhere.def_vmap
def _(size, batched, holds):
    del size, batched
    return anywhere(jnp.any(holds, 0)), False
