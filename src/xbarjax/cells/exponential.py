"""Exponential functions that stay finite at any argument that a solver may try."""

from fractions import Fraction
from math import factorial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

X_MAX = 40.0  # above X_MAX, exponentials continue as straight lines: exp(40) = 2e17
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
    """`ln(1 + exp(x))`; the derivative reuses the same exponential."""
    return _softplus(x, _decay(x))


def _softplus(x: Float[Array, "..."], e: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.maximum(x, 0) + _log_ratio(e / (2 + e))


@softplus.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return softplus(x), _logistic(x) * dx


@jax.custom_jvp
def softplus_ends(
    x: Float[Array, "..."], dx: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Sum and difference of `ln(1 + exp(x + dx))` and `ln(1 + exp(x))`. The difference keeps the
    digits of `dx`, however small.

    With `e = exp(-|x|)` at both ends, the logarithms of `1 + e` differ by
    `2 artanh((e_1 - e_0) / (2 + e_1 + e_0))`. Where the ends are close, `e_1 - e_0` is
    `e_0 2 t / (1 - t)` with the hyperbolic tangent `t` of half their distance."""
    end = x + dx
    size, size_end = jnp.abs(x), jnp.abs(end)
    e, e_end = jnp.exp(-size), jnp.exp(-size_end)
    above, alike = x >= 0, (x >= 0) == (end >= 0)
    half = 0.5 * jnp.where(alike, jnp.where(above, -dx, dx), size - size_end)
    square = half * half
    top = half * ((square + 105) * square + 945)
    bottom = (15 * square + 420) * square + 945  # t = top / bottom by Pade
    near = 2 * e * top / (bottom - top)
    apart = jnp.where(square < 1 / 64, near, e_end - e)
    straight = jnp.where(alike & above, dx, jnp.maximum(end, 0) - jnp.maximum(x, 0))
    rise = straight + _log_ratio(apart / (2 + e + e_end))
    return 2 * _softplus(x, e) + rise, rise


@softplus_ends.defjvp
def _(primals, tangents):
    (x, dx), (by_x, by_dx) = primals, tangents
    begin, end = _logistic(x) * by_x, _logistic(x + dx) * (by_x + by_dx)
    return softplus_ends(x, dx), (end + begin, end - begin)


def _shortened(series: list[Fraction], most: Fraction, terms: int) -> list[float]:
    """A power series from 0 to `most` in fewer terms: Chebyshev polynomials take the place of its
    last ones (C. Lanczos, Applied Analysis, 1956, section VII)."""
    c = [x * most**k for k, x in enumerate(series)]
    for n in range(len(series) - 1, terms - 1, -1):
        # T_n(2 u - 1) has the coefficients (-1)^(n - k) n (n + k - 1)! 4^k / ((n - k)! (2 k)!)
        of = lambda k, n=n: Fraction(
            (-1) ** (n - k) * n * factorial(n + k - 1) * 4**k, factorial(n - k) * factorial(2 * k)
        )
        part = c[n] / of(n)
        c = [x - part * of(k) for k, x in enumerate(c[:n])]
    return [float(x / most**k) for k, x in enumerate(c)]


_ARTANH = _shortened([Fraction(1, 2 * k + 1) for k in range(17)], Fraction(1, 9), 10)


def _log_ratio(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`ln((1 + x) / (1 - x))`, `2 artanh(x)`, for `|x|` up to 1/3. On a CPU this polynomial is
    several times as fast as a logarithm, and as exact."""
    square, ratio = x**2, jnp.zeros_like(x)
    for c in reversed(_ARTANH):
        ratio = ratio * square + c
    return 2 * x * ratio


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
