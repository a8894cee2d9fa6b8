"""Roots of rising functions, with the derivative of the root."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

HALVINGS = 60  # of a bracket of voltages
SPAN = 3.0  # of the supply, that a data line can have


def root(rising: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Where a rising function is 0 between `low` and `high`, or the end that is closer; its
    derivative is that of the root."""
    return with_slope(rising, halved(rising, low, high))


def halved(rising: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """The root by bisection, without a derivative."""
    still = lax.stop_gradient
    stopped = _stopped(rising, low)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = stopped(middle) > 0
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    ends = lax.fori_loop(0, HALVINGS, halve, (still(low), still(high)))
    return still((ends[0] + ends[1]) / 2)


def with_slope(rising: Callable[[Array], Array], x: Array) -> Array:
    """A root `x` of a rising function with the derivative of a root."""
    rising = eqx.filter_closure_convert(rising, x)
    still, stopped = lax.stop_gradient, _stopped(rising, x)
    _, slope = jax.jvp(stopped, (x,), (jnp.ones_like(x),))
    inside = (slope > 0) & jnp.isfinite(slope)
    # one step of Newton's method, whose value is lost in rounding, carries the derivative
    off = rising(x)
    step = jnp.where(inside, (off - still(off)) / jnp.where(inside, still(slope), 1), 0)
    return x - step


def _stopped(rising: Callable[[Array], Array], x: Array) -> Callable[[Array], Array]:
    """The function without derivatives by what it holds."""
    rising = eqx.filter_closure_convert(rising, x)
    dynamic, static = eqx.partition(rising, eqx.is_array)
    return eqx.combine(jax.tree.map(lax.stop_gradient, dynamic), static)
