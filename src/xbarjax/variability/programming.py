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
FEW = 64  # levels, up to which comparing with all of them is quicker than halving


class Programming(AbstractPerturbation):
    """Error of write-verify: `g + sigma(g) xi`, not below 0, with a standard normal `xi` per cell
    and `sigma(g) = sum_k coefficients[k] (g/g_max)^k`, at least 0. `presets` has published ones.

    **Arguments:** `coefficients`: [S], lowest power first; `g_max`: [S], where the polynomial's
    argument is 1.
    """

    coefficients: Float[Array, " powers"] = eqx.field(converter=physical("coefficients"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))

    def __check_init__(self):
        require_polynomial(self.coefficients, "coefficients")
        require_positive(self.g_max, "g_max", "S")

    def size(self, g: Conductances) -> Conductances:
        """`sigma(g)` [S]."""
        return jnp.maximum(polynomial(self.coefficients, g / self.g_max), 0)

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        self = in_dtype(self, x.dtype)
        return jnp.maximum(x + self.size(x) * drawn, 0).astype(x.dtype)


class Saturating(AbstractPerturbation):
    """Errors that grow with the conductance and saturate: `g + size (1 - exp(-g/g_0)) xi`, not
    below 0, with a standard normal `xi` a cell, as charge-trap cells show them.

    **Arguments:** `size`: deviation of large conductances [S]; `g_0`: where it saturates [S].
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
    """The nearest of `count` levels, equally spaced from `g_min` to `g_max` [S].

    Every conductance becomes one of `grid`, in its own dtype: the first is exactly `g_min`, the
    last exactly `g_max`, and what lies beyond them takes the nearer one. Halfway between two levels
    it takes the lower. The gradient by the conductance is 1 everywhere, straight through (Bengio,
    Leonard and Courville, 2013, arXiv:1308.3432); the bounds have none.
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
        # under jit a product fused with the sum, or a quotient by a constant, would round otherwise
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
    """Raises `ValueError` for what are no coefficients [S] of a polynomial."""
    if jnp.ndim(x) != 1 or 0 in jnp.shape(x):
        raise ValueError(
            f"{name} has shape {jnp.shape(x)}; it must be a list of numbers, lowest power first."
        )
    require_finite(x, name, "S")
