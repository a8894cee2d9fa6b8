"""Compact models of memristors at a given state: their static current-voltage curves."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .exponential import sinhc, usual


class StanfordPKU(AbstractRangedCell):
    """Stanford-PKU model at a given state: tunnelling across the gap of a filament.

    `I = i_0 exp(-gap / g_0) sinh(v / v_0)`. Source: Z. Jiang et al., IEEE Trans. Electron Devices
    63, 1884 (2016), doi:10.1109/TED.2016.2545412. The defaults are those of MemTorch, for gaps of
    0.2 to 1.7 nm: 542 ohm to 219 kohm at 0.1 V.

    **Arguments:** scalars or `(rows, cols)`.

    - `gap`: length of the gap, the state [m], at least 0.
    - `i_0`: current scale [A]; `g_0`: decay length [m]; `v_0`: voltage scale [V].

    Above `|v| = 40 v_0` the curve continues as its tangent, and the read is flagged as out of
    range. Raises `ValueError` for a parameter that is negative or not finite.
    """

    gap: Float[Array, "..."] = eqx.field(converter=physical("gap"))
    i_0: Float[Array, "..."] = eqx.field(converter=physical("i_0"), default=0.001)
    g_0: Float[Array, "..."] = eqx.field(converter=physical("g_0"), default=2.5e-10)
    v_0: Float[Array, "..."] = eqx.field(converter=physical("v_0"), default=0.25)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        for name, unit in (("gap", "m"), ("i_0", "A"), ("g_0", "m"), ("v_0", "V")):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        x = (v_row - v_col) / self.v_0
        return self.i_0 * jnp.exp(-self.gap / self.g_0) * x * sinhc(x)

    def valid(self) -> DeviceMask:
        return (self.gap >= 0) & (self.i_0 >= 0) & (self.g_0 > 0) & (self.v_0 > 0)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return usual((v_row - v_col) / self.v_0)


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
