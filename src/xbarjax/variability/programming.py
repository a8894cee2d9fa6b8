from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import (
    Scalar,
    everywhere,
    in_dtype,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
    straight_through,
)
from .perturbation import AbstractPerturbation, normals

Conductances = Float[Array, "..."]
FEW = 64  # up to so many levels, comparing with all is faster than bisection


class Programming(AbstractPerturbation):
    """Write-verify error: `g + sigma(g) xi`, not below 0, with a standard normal `xi` per cell.

    `sigma(g) = sum_k coefficients[k] (g/g_max)^k`, at least 0. `presets` has published
    coefficients.

    **Arguments:** `coefficients`: [S], lowest power first; `g_max`: conductance [S] that scales the
    polynomial's argument. Raises `ValueError` for coefficients that are no list of finite numbers,
    and for a `g_max` that is not positive.
    """

    coefficients: Float[Array, " powers"] = eqx.field(converter=physical("coefficients"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))

    def __check_init__(self):
        require_polynomial(self.coefficients, "coefficients")
        require_positive(self.g_max, "g_max", "S")

    def size(self, g: Conductances) -> Conductances:
        """Standard deviation `sigma(g)` [S]."""
        return jnp.maximum(polynomial(self.coefficients, g / self.g_max), 0)

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        self = in_dtype(self, x.dtype)
        return jnp.maximum(x + self.size(x) * drawn, 0).astype(x.dtype)


class Saturating(AbstractPerturbation):
    """Error that grows with the conductance and saturates, as in charge-trap cells:
    `g + size (1 - exp(-g/g_0)) xi`, not below 0, with a standard normal `xi` per cell.

    **Arguments:** `size`: standard deviation at large conductances [S]; `g_0`: conductance [S] at
    which the error saturates. Raises `ValueError` for a negative `size` and a `g_0` that is not
    positive.
    """

    size: Scalar = eqx.field(converter=physical("size"))
    g_0: Scalar = eqx.field(converter=physical("g_0"))

    def __check_init__(self):
        require_nonnegative(self.size, "size", "S", open_allowed=False)
        require_positive(self.g_0, "g_0", "S")

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        self = in_dtype(self, x.dtype)
        return jnp.maximum(x - self.size * jnp.expm1(-x / self.g_0) * drawn, 0).astype(x.dtype)


class Levels(AbstractPerturbation):
    """Quantisation to the nearest of `count` levels, equally spaced from `g_min` to `g_max` [S].

    Every conductance becomes an entry of `grid`, in its own dtype. The first level is exactly
    `g_min`, the last exactly `g_max`. Conductances beyond the range take the nearer end; ties take
    the lower level. The gradient by the conductance is 1 everywhere, straight through (Bengio,
    Leonard and Courville, 2013, arXiv:1308.3432); the bounds have no gradient. Raises `ValueError`
    for fewer than two levels, or `g_min` not below `g_max`.
    """

    count: int = eqx.field(static=True)
    g_min: Scalar = eqx.field(converter=physical("g_min"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))

    def __check_init__(self):
        if self.count < 2:
            raise ValueError(f"count is {self.count}; there must be at least 2 levels.")
        if not everywhere(lambda low, high: low < high, self.g_min, self.g_max):
            raise ValueError(f"g_min is {self.g_min} S; it must lie below g_max, {self.g_max} S.")

    @property
    def grid(self) -> Float[Array, " count"]:
        """The levels [S]: `g_min + k step` with `step = (g_max - g_min)/(count - 1)`."""
        low, high = lax.stop_gradient((self.g_min, self.g_max))
        # jit would fuse product and sum, and multiply by a reciprocal: both round differently
        last = lax.optimization_barrier(jnp.asarray(self.count - 1, low.dtype))
        step = (high - low) / last
        above = lax.map(lambda k: k * step, jnp.arange(self.count, dtype=low.dtype))
        return (low + above).at[-1].set(high)

    def draw(self, x: Any, key: PRNGKeyArray) -> tuple[()]:
        return ()

    def apply(self, x: Conductances, drawn: tuple[()] = ()) -> Conductances:
        levels = self.grid.astype(x.dtype)
        halfway = (levels[1:] + levels[:-1]) / 2
        how = "compare_all" if self.count <= FEW else "scan"
        return levels[jnp.searchsorted(halfway, x, method=how)] + straight_through(x)


def polynomial(coefficients: Float[Array, " powers"], x: Array) -> Array:
    """`sum_k coefficients[k] x^k`."""
    return jnp.polyval(coefficients[::-1], x)


def require_polynomial(x: Array, name: str) -> None:
    """Raises `ValueError` unless `x` is a list of finite polynomial coefficients [S]."""
    if jnp.ndim(x) != 1 or 0 in jnp.shape(x):
        raise ValueError(
            f"{name} has shape {jnp.shape(x)}; it must be a list of numbers, lowest power first."
        )
    require_finite(x, name, "S")
