"""Time steps between knots, with lengths from an error estimate, and their derivative.

Knots are the moments that no step crosses. A position `s = k + f` between knots `k` and `k + 1`
stands for the time `t_k + f (t_{k+1} - t_k)`. A loop finds the steps and keeps the state before
every chunk of them. A derivative runs the chunks again from these states, with the positions `s` of
the steps fixed and the knots free to move. So a derivative by the time of a corner moves the steps
beside the corner, and the choice of step lengths has no derivative. (Diffrax would take the same
steps. But it checks the times to save at through a host callback, which does not lower for
accelerators, and its checkpoints have no forward mode, which second derivatives need.)
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

CHUNK = 32  # steps whose inner values a gradient keeps at once
SAFETY, LEAST, MOST = 0.9, 0.2, 5.0  # safety factor and limits of the ratio of step lengths
FIRST = 1e-2  # length of the first step, relative to its interval
ORDER = 3  # of the local error


class Knots(eqx.Module):
    """Knots: moments [s] in order. Moments at the same time count as one (`knots_of`)."""

    t: Float[Array, " knots"]

    def interval(self, s: Scalar) -> Array:
        """Index of the interval that begins at `s` or contains it; it is empty only at the end."""
        k = jnp.floor(s).astype(int)
        last = jnp.searchsorted(lax.stop_gradient(self.t), self.t[k], side="right").astype(int) - 1
        return jnp.minimum(jnp.where(s == jnp.floor(s), last, k), self.t.size - 2)

    def step(self, start: Scalar, end: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        """Start [s] and length [s] of a step, and the middle [s] of its interval."""
        j = jnp.maximum(jnp.ceil(end).astype(int) - 1, 0)
        passed, whole = j.astype(start.dtype), self.t[j + 1] - self.t[j]
        before = jnp.maximum(start - passed, 0)
        return self.t[j] + before * whole, (end - passed - before) * whole, self.t[j] + whole / 2

    def times(self, s: Array) -> Array:
        """Times [s] at positions `s`."""
        k = jnp.minimum(jnp.floor(s).astype(int), self.t.size - 2)
        return self.t[k] + (s - k.astype(s.dtype)) * (self.t[k + 1] - self.t[k])

    def after(self, s: Scalar, h: Scalar) -> Scalar:
        """Position at the end of a step of about `h` [s]. The last two steps of an interval are
        equal, rather than a long and a short one."""
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
        """Position `s` of the last moment."""
        return self.named(self.t[-1])

    def named(self, t: Array) -> Array:
        """Positions `s` of moments [s] that are knots or count as one of them."""
        still = lax.stop_gradient(self.t)
        last = jnp.searchsorted(still, lax.stop_gradient(t), side="right") - 1
        return jnp.searchsorted(still, still[jnp.maximum(last, 0)]).astype(still.dtype)


def knots_of(t: Array) -> Knots:
    """Knots from moments [s] in any order. Moments that are equal up to rounding take the time of
    the first of them, so that a derivative by this time lengthens one interval by as much as it
    shortens the next."""
    t = t[jnp.argsort(lax.stop_gradient(t), stable=True)]
    still = lax.stop_gradient(t)
    least = (1e-9 if t.dtype == jnp.float64 else 1e-5) * (still[-1] - still[0])
    opens = jnp.diff(still, prepend=still[0]) > least
    return Knots(t[lax.cummax(jnp.where(opens, jnp.arange(t.size), 0))])


class AbstractStep(eqx.Module):
    """One step of a method with a local error of order `ORDER`."""

    @abc.abstractmethod
    def __call__(
        self, state: PyTree, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool
    ) -> tuple[PyTree, PyTree, Scalar]:
        """State and outputs after a step of `h` [s] from `t` [s], in an interval with the middle
        `middle` [s], and the local error in units of the allowed error, 0 if not `judged`."""


class Followed(NamedTuple):
    """Result of a sequence of steps."""

    ends: Float[Array, " most"]  # positions `s`; the last knot for steps not taken
    outputs: PyTree  # of every step
    state: PyTree
    kept: PyTree  # states before every CHUNK of steps
    taken: Array  # number of accepted steps
    rejected: Array  # number of rejected steps
    s: Scalar  # position of the end


def equal_steps(knots: Knots, steps: int) -> Float[Array, " most"]:
    """End positions `s` of `steps` equal steps per interval; none in intervals of zero length."""
    count = (knots.t.size - 1) * steps
    each = jnp.arange(1, count + 1, dtype=knots.t.dtype) / steps
    j = jnp.ceil(each).astype(int) - 1
    some = knots.t[j + 1] > knots.t[j]
    return jnp.sort(jnp.where(some, each, knots.end))


@eqx.filter_custom_jvp
def follow(
    step: AbstractStep, state: PyTree, knots: Knots, ends: Array | None, max_steps: int
) -> Followed:
    """Steps to the positions `ends`. If None, at most `max_steps` steps, each as long as the
    allowed local error permits."""
    most = max_steps if ends is None else ends.size
    end, zero, none = knots.end, jnp.zeros((), knots.t.dtype), jnp.zeros((), int)
    first = FIRST * knots.first_length
    outputs = jax.eval_shape(lambda s: step(s, zero + 1, zero + 1, zero, judged=False)[1], state)
    room = lambda x, n: jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), x)
    chunks = -(-most // CHUNK)
    written = jnp.full((most,), end) if ends is None else ends
    # one more place, for states that are not kept
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
        # if a knot has cut the step short, the length wanted before still holds
        wanted = jnp.where(keep & (h < wanted), jnp.maximum(better, wanted), better)
        # rejected steps are overwritten: a conditional write would make the loop copy the buffers
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
    """The derivative chunk by chunk, each from the state kept before it. In reverse mode a chunk is
    run again on its own, without the chunks before it."""
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
    """One chunk of steps, some of which may have zero length."""

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
    """Whether a condition holds for any example of a batch. A branch that none takes is not run."""
    return holds


@anywhere.def_vmap
def _(size, batched, holds):
    del size, batched
    return anywhere(jnp.any(holds, 0)), False
