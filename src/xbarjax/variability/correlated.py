from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import PerCell, Scalar, in_dtype, physical, require_nonnegative
from .perturbation import AbstractPerturbation, normals, of_finite


class Correlated(AbstractPerturbation):
    """Spatially correlated spread: `x exp(sigma F)` with a normal field `F` of mean 0, variance 1
    and covariance `exp(-|i - i'|/length_row - |j - j'|/length_col)` over rows `i` and columns `j`.

    A length of 0 makes the entries independent (`Lognormal`); inf for both gives one number for the
    whole die. Measured within-die variation decays with distance (Xiong, Zolotov and He, IEEE TCAD
    26(4), 2007). The covariance here is separable, so its factor is known in closed form and a draw
    costs two matrix products.

    **Arguments:** `sigma`: standard deviation of `ln x`; `length_row`: correlation length [cells]
    from row to row; `length_col`: from column to column. Raises `ValueError` for a negative
    argument, and for an `x` that is not `(rows, cols)`.
    """

    sigma: Scalar = eqx.field(converter=physical("sigma"))
    length_row: Scalar = eqx.field(converter=physical("length_row"))
    length_col: Scalar = eqx.field(converter=physical("length_col"))

    def __check_init__(self):
        require_nonnegative(self.sigma, "sigma", "of ln x", open_allowed=False)
        require_nonnegative(self.length_row, "length_row", "cells", open_allowed=True)
        require_nonnegative(self.length_col, "length_col", "cells", open_allowed=True)

    def draw(self, x: Any, key: PRNGKeyArray) -> PerCell:
        if len(x.shape) != 2:
            raise ValueError(
                f"x has the shape {x.shape}; Correlated needs (rows, cols): pass shape to At."
            )
        return normals(x, key)

    def apply(self, x: PerCell, drawn: PerCell) -> PerCell:
        self = in_dtype(self, x.dtype)
        rows, cols = x.shape
        field = _factor(self.length_row, rows) @ drawn @ _factor(self.length_col, cols).T
        return of_finite(lambda x: x * jnp.exp(self.sigma * field), x)


def _factor(length: Scalar, count: int) -> Float[Array, "count count"]:
    """Cholesky factor of `exp(-|i - j|/length)`: with `rho = exp(-1/length)`, its entries are
    `rho^(i - j)` times 1 in column 0 and `sqrt(1 - rho^2)` in the others."""
    finite = jnp.where((length > 0) & jnp.isfinite(length), length, 1)
    at_ends = jnp.where(length > 0, 0.0, jnp.inf)  # 1/length of the two limits
    decay = jnp.where((length > 0) & jnp.isfinite(length), 1 / finite, at_ends)
    apart = (jnp.arange(count)[:, None] - jnp.arange(count)[None]).astype(length.dtype)
    below = jnp.where(apart > 0, apart, 1)
    powers = jnp.where(apart > 0, jnp.exp(-decay * below), jnp.where(apart == 0, 1, 0))
    innovation = jnp.where(decay > 0, -jnp.expm1(-2 * jnp.where(decay > 0, decay, 1)), 1)
    scale = jnp.where(decay > 0, jnp.sqrt(innovation), 0)
    return powers * jnp.where(jnp.arange(count) == 0, 1, scale)[None]
