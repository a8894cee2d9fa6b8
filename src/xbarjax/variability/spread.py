import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar, physical, require_nonnegative
from .perturbation import AbstractPerturbation

PerPart = Float[Array, "..."]


class Spread(AbstractPerturbation):
    """Normal spread: `x (1 + relative xi) + absolute xi'` with standard normal `xi` for every
    entry, not below 0. Without the limit at 0, mean `x`, variance `(relative x)^2 + absolute^2`.

    **Arguments:** `relative`: standard deviation as a part of `x`; `absolute`: in the unit of `x`,
    [S] or [ohm].
    """

    relative: Scalar = physical("relative", 0.0)
    absolute: Scalar = physical("absolute", 0.0)

    def __check_init__(self):
        require_nonnegative(self.relative, "relative", "of x", open_allowed=False)
        require_nonnegative(self.absolute, "absolute", "S or ohm", open_allowed=False)

    def __call__(self, x: PerPart, key: PRNGKeyArray) -> PerPart:
        one, other = jax.random.split(key)
        relative = self.relative * jax.random.normal(one, x.shape, x.dtype)
        absolute = self.absolute * jax.random.normal(other, x.shape, x.dtype)
        return jnp.maximum(x * (1 + relative) + absolute, 0).astype(x.dtype)


class Lognormal(AbstractPerturbation):
    """Lognormal spread: `x exp(sigma xi)` with a standard normal `xi` for every entry. Median `x`,
    mean `x exp(sigma^2/2)`, variance `x^2 exp(sigma^2) (exp(sigma^2) - 1)`: what resistances of
    filaments are found to follow, high-resistance states above all.

    **Arguments:** `sigma`: standard deviation of `ln x`.
    """

    sigma: Scalar = physical("sigma")

    def __check_init__(self):
        require_nonnegative(self.sigma, "sigma", "of ln x", open_allowed=False)

    def __call__(self, x: PerPart, key: PRNGKeyArray) -> PerPart:
        xi = jax.random.normal(key, x.shape, x.dtype)
        return (x * jnp.exp(self.sigma * xi)).astype(x.dtype)
