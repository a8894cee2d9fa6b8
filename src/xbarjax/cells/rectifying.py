from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .exponential import sinhc, usual


class Rectifying(AbstractRangedCell):
    """Self-rectifying cell: a hyperbolic sine forwards, `ratio` times less backwards.

    With `v = v_row - v_col` and `s(v) = (g / b) sinh(b v)`,

        I = s(v) / ratio + (1 - 1 / ratio) s(h),    h = v^3 / (v^2 + v_knee^2) for v > 0, else 0.

    The cell opens within about `v_knee` of 0 V, with a continuous slope. Backwards, only
    `s(v) / ratio` flows.

    **Arguments:** scalars or `(rows, cols)`.

    - `g`: forward conductance [S] beyond the knee, at least 0.
    - `b`: nonlinearity [1/V], at least 0.
    - `ratio`: rectification ratio, forward over backward current at the same voltage, at least 1.
    - `v_knee`: width of the knee [V], above 0.

    Above `|b v| = 40` the curve continues as its tangent, and the read is flagged as out of range.
    Raises `ValueError` for a parameter that is negative or not finite.
    """

    g: Float[Array, "..."] = eqx.field(converter=physical("g"))
    b: Float[Array, "..."] = eqx.field(converter=physical("b"))
    ratio: Float[Array, "..."] = eqx.field(converter=physical("ratio"))
    v_knee: Float[Array, "..."] = eqx.field(converter=physical("v_knee", whole=True), default=0.01)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        for name, unit in (("g", "S"), ("b", "1/V"), ("ratio", ""), ("v_knee", "V")):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        forward = jnp.maximum(v, 0)
        h = forward**3 / (forward**2 + self.v_knee**2)
        back, ahead = v * sinhc(self.b * v), h * sinhc(self.b * h)
        return self.g * (back / self.ratio + (1 - 1 / self.ratio) * ahead)

    def valid(self) -> DeviceMask:
        sound = (self.g >= 0) & (self.b >= 0) & (self.ratio >= 1) & (self.v_knee > 0)
        return sound & jnp.isfinite(self.g * self.b * self.ratio * self.v_knee)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return usual(self.b * (v_row - v_col))
