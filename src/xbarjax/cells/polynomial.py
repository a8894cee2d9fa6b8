from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import (
    DeviceMask,
    PerDevice,
    physical,
    require_finite,
    require_nonnegative,
)
from .cell import AbstractRangedCell


class Polynomial(AbstractRangedCell):
    """Cubic current-voltage curve: `I = g v + g_2 v^2 + g_3 v^3`, `v = v_row - v_col`.

    **Arguments:** scalars or `(rows, cols)`.

    - `g`: conductance at 0 V [S], at least 0.
    - `g_2`: quadratic coefficient [S/V]; makes the two polarities differ.
    - `g_3`: cubic coefficient [S/V^2].
    - `v_max`: largest voltage [V] of either sign in the range of the fit; inf by default.

    The slope of a cubic may become negative. A read that meets a negative slope is flagged. Raises
    `ValueError` for a negative `g` or `v_max`, or a coefficient that is not finite.
    """

    g: Float[Array, "..."] = eqx.field(converter=physical("g"))
    g_2: Float[Array, "..."] = eqx.field(converter=physical("g_2"))
    g_3: Float[Array, "..."] = eqx.field(converter=physical("g_3"))
    v_max: Float[Array, "..."] = eqx.field(
        converter=physical("v_max", whole=True), default=float("inf")
    )
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        require_nonnegative(self.g, "g", "S", open_allowed=False)
        require_finite(self.g_2, "g_2", "S/V")
        require_finite(self.g_3, "g_3", "S/V^2")
        require_nonnegative(self.v_max, "v_max", "V", open_allowed=True)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        return v * (self.g + v * (self.g_2 + v * self.g_3))

    def valid(self) -> DeviceMask:
        return (self.g >= 0) & jnp.isfinite(self.g + self.g_2 + self.g_3)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return jnp.abs(v_row - v_col) <= self.v_max
