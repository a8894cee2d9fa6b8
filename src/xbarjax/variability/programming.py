from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import (
    Scalar,
    everywhere,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
)
from .perturbation import AbstractPerturbation, normals

Conductances = Float[Array, "..."]


class Programming(AbstractPerturbation):
    """What write-verify leaves: `g + sigma(g) xi`, not below 0, with a standard normal `xi` a cell
    and `sigma(g) = sum_k coefficients[k] (g/g_max)^k`, at least 0. `presets` has published ones.

    **Arguments:** `coefficients`: [S], lowest power first; `g_max`: [S], where the polynomial's
    argument is 1.
    """

    coefficients: Float[Array, " powers"] = physical("coefficients")
    g_max: Scalar = physical("g_max")

    def __check_init__(self):
        require_polynomial(self.coefficients, "coefficients")
        require_positive(self.g_max, "g_max", "S")

    def size(self, g: Conductances) -> Conductances:
        """`sigma(g)` [S]."""
        return jnp.maximum(polynomial(self.coefficients, g / self.g_max), 0)

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        return jnp.maximum(x + self.size(x) * drawn, 0).astype(x.dtype)


class Saturating(AbstractPerturbation):
    """Errors that grow with the conductance and saturate: `g + size (1 - exp(-g/g_0)) xi`, not
    below 0, with a standard normal `xi` a cell, as charge-trap cells show them.

    **Arguments:** `size`: deviation of large conductances [S]; `g_0`: where it saturates [S].
    """

    size: Scalar = physical("size")
    g_0: Scalar = physical("g_0")

    def __check_init__(self):
        require_nonnegative(self.size, "size", "S", open_allowed=False)
        require_positive(self.g_0, "g_0", "S")

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        return jnp.maximum(x - self.size * jnp.expm1(-x / self.g_0) * drawn, 0).astype(x.dtype)


class Levels(AbstractPerturbation):
    """The nearest of `count` levels, equally spaced from `g_min` to `g_max` [S]. The gradient goes
    straight through (Bengio, Leonard and Courville, 2013, arXiv:1308.3432)."""

    count: int = eqx.field(static=True)
    g_min: Scalar = physical("g_min")
    g_max: Scalar = physical("g_max")

    def __check_init__(self):
        if self.count < 2:
            raise ValueError(f"count is {self.count}; there must be at least 2 levels.")
        if not everywhere(lambda low, high: low < high, self.g_min, self.g_max):
            raise ValueError(f"g_min is {self.g_min} S; it must lie below g_max, {self.g_max} S.")

    def draw(self, x: Any, key: PRNGKeyArray) -> tuple[()]:
        return ()

    def apply(self, x: Conductances, drawn: tuple[()] = ()) -> Conductances:
        step = (self.g_max - self.g_min) / (self.count - 1)
        level = self.g_min + step * jnp.round((x - self.g_min) / step)
        level = jnp.clip(level, self.g_min, self.g_max)
        return (x + jax.lax.stop_gradient(level - x)).astype(x.dtype)


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
