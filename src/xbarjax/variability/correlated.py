from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import PerCell, Scalar, in_dtype, physical, require_nonnegative
from .perturbation import AbstractPerturbation, normals, of_finite


class Correlated(AbstractPerturbation):
    """Spread that neighbours share: `x exp(sigma F)` with a normal field `F` of mean 0, variance 1
    and covariance `exp(-|i - i'|/length_row - |j - j'|/length_col)` over rows `i` and columns `j`.
    Distances are in cells: `length_row` along a column, from row to row, `length_col` along a row.

    A length of 0 leaves the entries independent (`Lognormal`); inf in both gives one number for the
    whole die. A decay with distance is what within-die variation is measured to have (Xiong,
    Zolotov and He, IEEE TCAD 26(4), 2007). This one is separable, so that its factor is known in
    closed form and a draw costs two products of matrices.

    **Arguments:** `sigma`: standard deviation of `ln x`; `length_row`, `length_col`: [cells].
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
                f"x has the shape {x.shape}; neighbours need (rows, cols): give At a shape."
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
