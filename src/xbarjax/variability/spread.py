from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import Scalar, in_dtype, physical, require_nonnegative
from .perturbation import AbstractPerturbation, normals, of_finite

PerPart = Float[Array, "..."]


class Spread(AbstractPerturbation):
    """Normal spread: `x (1 + relative xi) + absolute xi'`, not below 0, with standard normal `xi`
    and `xi'` per entry. Without the limit at 0 the mean is `x`, the variance
    `(relative x)^2 + absolute^2`.

    **Arguments:** `relative`: standard deviation as a fraction of `x`; `absolute`: standard
    deviation in the unit of `x`, [S] or [ohm]. Raises `ValueError` for a negative one.
    """

    relative: Scalar = eqx.field(converter=physical("relative"), default=0.0)
    absolute: Scalar = eqx.field(converter=physical("absolute"), default=0.0)

    def __check_init__(self):
        require_nonnegative(self.relative, "relative", "of x", open_allowed=False)
        require_nonnegative(self.absolute, "absolute", "S or ohm", open_allowed=False)

    def draw(self, x: Any, key: PRNGKeyArray) -> tuple[PerPart, PerPart]:
        one, other = jax.random.split(key)
        return normals(x, one), normals(x, other)

    def apply(self, x: PerPart, drawn: tuple[PerPart, PerPart]) -> PerPart:
        self = in_dtype(self, x.dtype)
        one, other = drawn
        spread = lambda x: jnp.maximum(x * (1 + self.relative * one) + self.absolute * other, 0)
        return of_finite(spread, x)


class Lognormal(AbstractPerturbation):
    """Lognormal spread: `x exp(sigma xi)` with a standard normal `xi` per entry.

    The median is `x`, the mean `x exp(sigma^2/2)`, the variance
    `x^2 exp(sigma^2) (exp(sigma^2) - 1)`. Measured resistances of filaments follow this
    distribution, above all in the high-resistance state.

    **Arguments:** `sigma`: standard deviation of `ln x`. Raises `ValueError` for a negative one.
    """

    sigma: Scalar = eqx.field(converter=physical("sigma"))

    def __check_init__(self):
        require_nonnegative(self.sigma, "sigma", "of ln x", open_allowed=False)

    def draw(self, x: Any, key: PRNGKeyArray) -> PerPart:
        return normals(x, key)

    def apply(self, x: PerPart, drawn: PerPart) -> PerPart:
        self = in_dtype(self, x.dtype)
        return of_finite(lambda x: x * jnp.exp(self.sigma * drawn), x)
