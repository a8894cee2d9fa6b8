"""What programming does to conductances, as transforms `(g, key) -> g` that keep a gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ._types import Scalar, physical

Conductances = Float[Array, "..."]


class Spread(eqx.Module):
    """Programming error: `g (1 + relative xi) + absolute xi'` with standard normal `xi`, not below
    0. Reparameterised, so that both sizes have a gradient.

    **Arguments:** `relative`: standard deviation as a part of `g`; `absolute`: [S].
    """

    relative: Scalar = physical("relative", 0.0)
    absolute: Scalar = physical("absolute", 0.0)

    def __call__(self, g: Conductances, key: PRNGKeyArray) -> Conductances:
        one, other = jax.random.split(key)
        relative = self.relative * jax.random.normal(one, g.shape, g.dtype)
        absolute = self.absolute * jax.random.normal(other, g.shape, g.dtype)
        return jnp.maximum(g * (1 + relative) + absolute, 0)


class Levels(eqx.Module):
    """The nearest of `count` levels, equally spaced from `g_min` to `g_max` [S]. The gradient goes
    straight through (Bengio, Leonard and Courville, 2013, arXiv:1308.3432)."""

    count: int = eqx.field(static=True)
    g_min: Scalar = physical("g_min")
    g_max: Scalar = physical("g_max")

    def __check_init__(self):
        if self.count < 2:
            raise ValueError(f"count is {self.count}; there must be at least 2 levels.")

    def __call__(self, g: Conductances, key: PRNGKeyArray | None = None) -> Conductances:
        del key
        step = (self.g_max - self.g_min) / (self.count - 1)
        level = self.g_min + step * jnp.round((g - self.g_min) / step)
        return g + jax.lax.stop_gradient(jnp.clip(level, self.g_min, self.g_max) - g)
