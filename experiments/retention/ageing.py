"""Retention at 125 C: how cells of a HfOx chip move after they are written, and what refresh makes
of it without pulses."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from xbarjax import presets
from xbarjax.variability import AbstractPerturbation, Relaxation, logarithmic
from xbarjax.variability.programming import polynomial

BAKES = (110, 130)  # [C], of `presets.hfox_bake`
HOT = 125.0  # [C]
BAKE = 3600.0  # length of a bake [s], see `run`
ONSET = 8e-4  # time [s] at which relaxation sets in, as `law` finds it on chip B

Cells = Float[Array, " cells"]


def age(t: Any) -> Array:
    """Variance of a change `t` [s] after writing, relative to that after a bake."""
    return logarithmic(t, BAKE, ONSET)


def baked(celsius: float = HOT) -> Relaxation:
    """Relaxation in a bake, interpolated in the reciprocal of the temperature between 110 and 130
    C."""
    low, high = (presets.hfox_bake(t) for t in BAKES)
    of = lambda t: 1 / (t + 273.15)
    part = (of(celsius) - of(BAKES[0])) / (of(BAKES[1]) - of(BAKES[0]))
    mean = lambda a, b: a + part * (b - a)
    return Relaxation(mean(low.shift, high.shift), mean(low.size, high.size), low.g_max)


def after(t: Any, bake: Relaxation) -> Relaxation:
    """Relaxation until `t` [s] after writing. The mean change grows with the logarithm of time, and
    so does the variance: cells walk at random, and their deviation grows with its root."""
    return Relaxation(bake.shift * age(t), bake.size * jnp.sqrt(age(t)), bake.g_max)


class OfResistance(AbstractPerturbation):
    """Relaxation of a device whose resistance is linear in its state, applied to the state, which
    stays in its bounds.

    **Arguments:** `relaxation`: of the conductance; `r_on`, `r_off`: resistances [ohm] at `w_on`
    and `w_off` [m].
    """

    relaxation: Relaxation
    r_on: Array
    r_off: Array
    w_on: Array
    w_off: Array

    def draw(self, x: Any, key: PRNGKeyArray) -> Array:
        return self.relaxation.draw(x, key)

    def apply(self, x: Array, drawn: Array) -> Array:
        slope = (self.r_off - self.r_on) / (self.w_off - self.w_on)
        g = self.relaxation.apply(1 / (self.r_on + slope * (x - self.w_on)), drawn)
        g = jnp.clip(g, 1 / self.r_off, 1 / self.r_on)
        w = self.w_on + (1 / g - self.r_on) / slope
        return jnp.clip(w, self.w_on, self.w_off)  # rounding


class Filaments(NamedTuple):
    """Cells that walk since they were written."""

    written: Cells  # conductance [S] right after writing
    since: Cells  # time since then [s]
    walk: Cells  # random part of the change, in deviations of a bake
    writes: Array  # how often each cell was written

    def g(self, bake: Relaxation) -> Cells:
        """Conductances [S]."""
        x = self.written / bake.g_max
        shift, size = polynomial(bake.shift, x), polynomial(bake.size, x)
        moved = age(self.since) * shift + jnp.maximum(size, 0) * self.walk
        return jnp.maximum(self.written + moved, 0).astype(self.written.dtype)

    def later(self, t: Any, key: PRNGKeyArray) -> "Filaments":
        """The cells `t` [s] later."""
        since = self.since + t
        more = jnp.sqrt(age(since) - age(self.since)).astype(self.walk.dtype)
        step = more * jax.random.normal(key, self.walk.shape, self.walk.dtype)
        return self._replace(since=since, walk=self.walk + step)


class Schedule(NamedTuple):
    """Refresh at intervals: each cell is read, and written anew if it is outside its window."""

    interval: Any  # [s]
    window: Any  # half of its width [S]
    noise: Any  # deviation of a read [S]


def fresh(target: Cells, errors: Array, key: PRNGKeyArray) -> Filaments:
    """Cells that are written for the first time, with errors [S] drawn from measured ones."""
    zeros = jnp.zeros_like(target)
    written = _written(target, errors, key)
    return Filaments(written, zeros, zeros, jnp.ones(target.shape, int))


@eqx.filter_jit
def refreshed(
    cells: Filaments,
    target: Cells,
    errors: Array,
    schedule: Schedule,
    bake: Relaxation,
    steps: tuple[Any, Any],
    key: PRNGKeyArray,
) -> tuple[Filaments, Filaments]:
    """Cells right before and right after a refresh: that with the last number of `steps`, `(first,
    end)`, which follow each other at the intervals of the schedule."""

    def one(k, both):
        walk, read, write = jax.random.split(jax.random.fold_in(key, k), 3)
        old = both[1].later(schedule.interval, walk)
        g = old.g(bake)
        seen = g + schedule.noise * jax.random.normal(read, g.shape, g.dtype)
        again = jnp.abs(seen - target) > schedule.window
        new = fresh(target, errors, write)._replace(writes=old.writes + 1)
        return old, jax.tree.map(lambda new, old: jnp.where(again, new, old), new, old)

    return lax.fori_loop(*steps, one, (cells, cells))


def _written(target: Cells, errors: Array, key: PRNGKeyArray) -> Cells:
    drawn = errors[jax.random.randint(key, target.shape, 0, len(errors))]
    return jnp.maximum(target + drawn.astype(target.dtype), 0)
