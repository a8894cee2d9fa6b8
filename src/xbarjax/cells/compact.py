"""Compact models of memristors at a given state: their static current-voltage curves."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .exponential import sinhc, usual


class Yakopcic(AbstractRangedCell):
    """Yakopcic model at a given state: `I = a x sinh(b v)`, `a = a_1` for `v >= 0`, else `a_2`.

    Source: C. Yakopcic et al., IEEE Electron Device Lett. 32, 1436 (2011),
    doi:10.1109/LED.2011.2163292.

    **Arguments:** scalars or `(rows, cols)`.

    - `x`: state [1], 0 to 1.
    - `a_1`, `a_2`: current scales [A]; `b`: nonlinearity [1/V].

    Above `|b v| = 40` the curve continues as its tangent, and the read is flagged as out of range.
    Raises `ValueError` for a parameter that is negative or not finite.
    """

    x: Float[Array, "..."] = eqx.field(converter=physical("x"))
    a_1: Float[Array, "..."] = eqx.field(converter=physical("a_1"))
    a_2: Float[Array, "..."] = eqx.field(converter=physical("a_2"))
    b: Float[Array, "..."] = eqx.field(converter=physical("b"))
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        for name, unit in (("x", ""), ("a_1", "A"), ("a_2", "A"), ("b", "1/V")):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        return jnp.where(v >= 0, self.a_1, self.a_2) * self.x * self.b * v * sinhc(self.b * v)

    def valid(self) -> DeviceMask:
        return (self.x >= 0) & (self.x <= 1) & (self.a_1 >= 0) & (self.a_2 >= 0) & (self.b >= 0)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return usual(self.b * (v_row - v_col))
