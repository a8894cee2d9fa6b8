"""Exponential functions that stay finite at any argument that a solver may try."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

X_MAX = 40.0  # above X_MAX, exponentials continue as straight lines: exp(40) = 2e17
_TERMS = 17  # of the artanh series up to 1/3, for float64
_RISE = 14  # of the exponential series up to 1/2, for float64
_SMALL = 0.1  # below _SMALL, a series replaces a quotient that is 0/0 at 0


def exp(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`exp(x)`; above `X_MAX`, its tangent at `X_MAX`."""
    within = jnp.minimum(x, X_MAX)
    return jnp.exp(within) * (1 + (x - within))


def expm1(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`exp(x) - 1` without cancellation; above `X_MAX`, its tangent at `X_MAX`."""
    within = jnp.minimum(x, X_MAX)
    return jnp.expm1(within) + jnp.exp(within) * (x - within)


@jax.custom_jvp
def softplus(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`ln(1 + exp(x))`; the derivative reuses the same exponential.

    The logarithm is `ln(1 + e) = 2 artanh(e / (2 + e))`."""
    e = _decay(x)
    return jnp.maximum(x, 0) + 2 * _artanh(e / (2 + e))


@softplus.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return softplus(x), _logistic(x) * dx


@jax.custom_jvp
def softplus_rise(x: Float[Array, "..."], dx: Float[Array, "..."]) -> Float[Array, "..."]:
    """`ln(1 + exp(x + dx)) - ln(1 + exp(x))`, as exact for small `dx` as `dx` itself.

    With `e = exp(-|x|)` at both ends, the logarithms differ by
    `2 artanh((e_1 - e_0) / (2 + e_1 + e_0))`."""
    end = x + dx
    e_0, e_1 = _decay(x), _decay(end)
    above, alike = x >= 0, (x >= 0) == (end >= 0)
    shorter = jnp.where(alike, jnp.where(above, -dx, dx), jnp.abs(x) - jnp.abs(end))
    # expm1 by its series, which a CPU computes faster
    series = jnp.zeros_like(shorter)
    for k in range(_RISE, 0, -1):
        series = (1 + series) * shorter * (1 / k)
    apart = jnp.where(jnp.abs(shorter) < 0.5, e_0 * series, e_1 - e_0)
    straight = jnp.where(above, dx, 0)
    straight = jnp.where(alike, straight, jnp.maximum(end, 0) - jnp.maximum(x, 0))
    return straight + 2 * _artanh(apart / (2 + e_0 + e_1))


@softplus_rise.defjvp
def _(primals, tangents):
    (x, dx), (by_x, by_dx) = primals, tangents
    return softplus_rise(x, dx), _logistic(x + dx) * (by_x + by_dx) - _logistic(x) * by_x


def _artanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`artanh(x)` up to 1/3 by its series: on a CPU four times as fast as a logarithm, and as
    exact."""
    square, series = x**2, jnp.zeros_like(x)
    for k in reversed(range(_TERMS)):
        series = series * square + 1 / (2 * k + 1)
    return x * series


def _logistic(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`1 / (1 + exp(-x))`."""
    e = _decay(x)
    return jnp.where(x >= 0, 1, e) / (1 + e)


def _decay(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`exp(-|x|)`, with the slope from the right at 0."""
    return jnp.exp(-jnp.where(x >= 0, x, -x))


def tanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`tanh(x)`, with a slope above 0 even where `tanh(x)` rounds to 1."""
    size = jnp.where(x >= 0, x, -x)
    saturated = -jnp.expm1(-2 * size) / (1 + jnp.exp(-2 * size))
    return jnp.where(x >= 0, saturated, -saturated)


def sinhc(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`sinh(x) / x`, 1 at 0; beyond `X_MAX`, `sinh` continues as its tangent."""
    small = jnp.abs(x) < _SMALL
    square = jnp.where(small, x, 0) ** 2
    series = 1 + square / 6 * (1 + square / 20 * (1 + square / 42 * (1 + square / 72)))
    far = jnp.where(small, 1, x)
    size = jnp.abs(far)
    within = jnp.minimum(size, X_MAX)
    sinh = jnp.sinh(within) + jnp.cosh(within) * (size - within)
    return jnp.where(small, series, sinh / size)


def usual(x: Float[Array, "..."]) -> Bool[Array, "..."]:
    """Mask of arguments within `X_MAX`, where no tangent replaces an exponential."""
    return jnp.abs(x) <= X_MAX
