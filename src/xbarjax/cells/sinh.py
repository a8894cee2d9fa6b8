from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .exponential import sinhc, usual


class Sinh(AbstractRangedCell):
    """Conductance that grows with voltage: `I = (g / b) sinh(b v)`, `v = v_row - v_col`.

    The hyperbolic sine describes tunnelling and hopping through a thin film, and is the static part
    of many compact models. A read at `V` has the nonlinearity `I(V) / (2 I(V/2)) = cosh(b V / 2)`,
    so `b = (2 / V) acosh(nonlinearity)`. The selectivity at half bias is `2 cosh(b V / 2)`.

    **Arguments:** scalars or `(rows, cols)`.

    - `g`: conductance at 0 V [S], at least 0.
    - `b`: nonlinearity [1/V], at least 0; 0 is an ohmic cell.

    Above `|b v| = 40` the curve continues as its tangent, and the read is flagged as out of range.
    Raises `ValueError` for a parameter that is negative or not finite.
    """

    g: Float[Array, "..."] = eqx.field(converter=physical("g"))
    b: Float[Array, "..."] = eqx.field(converter=physical("b"))
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        require_nonnegative(self.g, "g", "S", open_allowed=False)
        require_nonnegative(self.b, "b", "1/V", open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        return self.g * v * sinhc(self.b * v)

    def valid(self) -> DeviceMask:
        return (self.g >= 0) & (self.b >= 0) & jnp.isfinite(self.g * self.b)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return usual(self.b * (v_row - v_col))
