"""Passes of a Krylov method over the columns, begun again from what is left, in either dtype."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike

from .._types import PerCell, Scalar, in_dtype
from ..kirchhoff.network import Field
from .lines import (
    Injected,
    Lines,
    Round,
    column_drops,
    field,
    injected,
    round_from,
    row_drops,
    size,
)

MAX_PASSES = 6  # of a Krylov method in either dtype; mostly two are enough
ROUNDING = 1  # unit of rounding of the injected currents: less is not asked for
NOISE = 0.01  # of the error bound of a float32 pass is what it errs by in practice
GLANCE = 0.01  # of the residual of a guess is what its first pass leaves at most
FACTOR = 1e-6  # what a pass in float32 leaves of its residual

# Corrects column drops: `(lines, first, w, r, target)` gives new ones for the residual `r` of `w`,
# by how much slow modes may exceed what their residual shows, and the steps it took. `first` says
# that nothing was done before in a lower precision.
Krylov = Callable[..., tuple[PerCell, Scalar, ArrayLike]]


def tolerance(rtol: float | None, dtype: Any) -> float:
    """A relative tolerance, where none is given that of the dtype."""
    if rtol is not None:
        return rtol
    return 1e-12 if dtype == jnp.float64 else 1e-6


def iterated(
    lines: Lines, vector: Field, options: dict[str, Any], krylov: Krylov, *, rtol, mixed: bool
) -> tuple[Field, Array]:
    """Solves a network by passes of a Krylov method over its column drops, and counts the steps.

    It ends when the violation of Kirchhoff's current law, as a 2-norm over nodes, is below `rtol`
    times the currents that reach the columns, or `options["rtol"]` times them if that is more."""
    double = vector.row.dtype == jnp.float64
    rtol = jnp.maximum(tolerance(rtol, vector.row.dtype), options.get("rtol", 0.0))
    b = injected(lines, vector)
    guess = options.get("y0")
    begin = jnp.zeros_like(b.col) if guess is None else column_drops(b, guess)
    x = round_from(lines, b, begin)
    rounding = ROUNDING * jnp.finfo(b.row.dtype).eps * size(b.row)
    enough = jnp.maximum(rtol * x.reached, rounding)
    steps, first = jnp.asarray(0), True
    if mixed and double:
        within, guessed = in_dtype(lines, jnp.float32), guess is not None
        x, steps = _passes(lines, b, x, enough, within, partial(krylov, within, True), guessed)
        guess, first = None, False
    more = partial(krylov, lines, first)
    x, more = _passes(lines, b, x, enough, lines, more, guess is not None)
    return field(lines, b, vector, x), steps + more


def _left(lines: Lines, x: Round):
    """The violation of Kirchhoff's law that a round leaves, and its size."""
    off = lines.network.g_rc * (x.w - x.seen)
    return off, size(off)


def _passes(
    lines: Lines,
    b: Injected,
    x: Round,
    enough,
    within: Lines,
    krylov: Krylov,
    guessed: bool,
):
    """Corrects column drops by a Krylov method `within` lines of the same or a lower precision,
    until `enough` is left violated or it is no longer halved. Also returns the iterations.

    A lower precision leaves noise, which slow modes of the array amplify by up to `gain`, without
    much of a violation that would show it: that has to be small as well. What was `guessed` may err
    by slow modes alone: it is never taken unseen."""
    network, dtype = within.network, within.network.g_rc.dtype
    exact = dtype == b.row.dtype

    def one_pass(carry):
        x, left, _, _, gain, steps, count = carry
        off = (_left(lines, x)[0] / left).astype(dtype)  # of size 1
        r = network.g_cr * row_drops(within, off)
        target = jnp.maximum(enough / (gain * left), 0.0 if exact else FACTOR).astype(dtype)
        if guessed:
            target = jnp.minimum(target, GLANCE)
        begin = x.w / left if exact else jnp.zeros_like(r)
        dw, gain, more = krylov(begin, r, target)
        if exact:
            w, noise, gain = left * dw, jnp.zeros_like(left), jnp.ones_like(left)
        else:  # a correction that overflowed is none
            sound = jnp.isfinite(jnp.sum(dw)) & jnp.isfinite(gain)
            w = x.w + left * jnp.where(sound, dw, 0).astype(left.dtype)
            gain = jnp.where(sound, gain, 1).astype(left.dtype)
            noise = gain**2 * left * float(jnp.finfo(dtype).eps) * NOISE
        x = round_from(lines, b, w)
        return x, _left(lines, x)[1], left, noise, gain, steps + more, count + 1

    def unfinished(carry):
        _, left, before, noise, gain, _, count = carry
        done = (gain * left <= enough) & (noise <= enough)
        return ~done & (left > 0) & ~(left >= 0.5 * before) & (count < MAX_PASSES)

    left = _left(lines, x)[1]
    one = jnp.ones_like(left)
    unknown = jnp.inf if guessed else 0.0
    start = (x, left, jnp.inf * one, unknown * one, one, jnp.asarray(0), 0)
    x, *_, steps, _ = lax.while_loop(unfinished, one_pass, start)
    return x, steps
