"""Passes of a Krylov method over the column drops. Each pass restarts from the true residual, in
float32 or in float64."""

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

MAX_PASSES = 6  # per dtype; mostly two are enough
ROUNDING = 1  # smallest violation asked for, in units of rounding of the injected currents
NOISE = 0.01  # error of a float32 pass in practice, relative to its bound
GLANCE = 0.01  # largest residual after the first pass from a guess, relative to the guess's own
FACTOR = 1e-6  # smallest residual asked of a float32 pass, relative to its first

# A Krylov method takes `(lines, first, w, r, target)` and corrects column drops `w`, whose residual
# is `r`. It returns the new drops, the factor by which slow modes may exceed their residual, and
# the number of steps. `first`: whether there was no pass in a lower precision before.
Krylov = Callable[..., tuple[PerCell, Scalar, ArrayLike]]


def tolerance(rtol: float | None, dtype: Any) -> float:
    """`rtol`, or the default of the dtype if it is None: 1e-12 in float64, 1e-6 in float32."""
    if rtol is not None:
        return rtol
    return 1e-12 if dtype == jnp.float64 else 1e-6


def iterated(
    lines: Lines, vector: Field, options: dict[str, Any], krylov: Krylov, *, rtol, mixed: bool
) -> tuple[Field, Array]:
    """Solves a network by passes of a Krylov method over its column drops.

    The solve ends when the violation of Kirchhoff's current law, as a 2-norm over nodes, is below a
    tolerance times the currents that reach the columns. The tolerance is `rtol` or
    `options["rtol"]`, whichever is larger.

    **Returns:** the solution and the number of steps."""
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
    """Violation of Kirchhoff's current law after a round, and its 2-norm."""
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
    until the violation is below `enough` or a pass no longer halves it.

    A lower precision leaves noise. Slow modes of the array amplify it by up to `gain`, and their
    violation hardly shows it, so the amplified noise has to be below `enough` as well. A start that
    was `guessed` may err in slow modes alone, so it gets one pass at least.

    **Returns:** the last round and the number of iterations."""
    network, dtype = within.network, within.network.g_rc.dtype
    exact = dtype == b.row.dtype

    def one_pass(carry):
        x, left, _, _, gain, steps, count = carry
        off = (_left(lines, x)[0] / left).astype(dtype)  # of norm 1
        r = network.g_cr * row_drops(within, off)
        target = jnp.maximum(enough / (gain * left), 0.0 if exact else FACTOR).astype(dtype)
        if guessed:
            target = jnp.minimum(target, GLANCE)
        begin = x.w / left if exact else jnp.zeros_like(r)
        dw, gain, more = krylov(begin, r, target)
        if exact:
            w, noise, gain = left * dw, jnp.zeros_like(left), jnp.ones_like(left)
        else:  # a correction that overflowed is dropped
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
