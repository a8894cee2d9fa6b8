from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .exponential import expm1, sinhc, usual
from .memory import AbstractMemoryCell


class Messaris(AbstractMemoryCell, AbstractRangedCell):
    """Messaris model of gradual switching: a resistance that moves, with the logarithm of time,
    towards one that the voltage sets.

        I = (a / r) sinh(b v),    a, b = a_p, b_p for v >= 0, else a_n, b_n,    v = v_row - v_col
        dr/dt = k_p (e^(t_p v) - 1) (e^(c_p (r_p - r)) - 1)       for v > 0 and r < r_p,
                k_n (e^(-t_n v) - 1) (e^(c_n (r - r_n)) - 1)      for v < 0 and r > r_n,    else 0
        r_p = r_p0 + r_p1 v,    r_n = r_n0 + r_n1 v.

    At a constant voltage `exp(c_p r)` and `exp(-c_n r)` relax exponentially. The state stops at
    `r_min` and `r_max`, and leaves them as soon as its rate points inwards.

    Source: I. Messaris et al., IEEE Trans. Comput.-Aided Des. 37, 3151 (2018),
    doi:10.1109/TCAD.2018.2791468, fitted to TiOx devices. Defaults, and the equations as solved at
    constant voltage, are those of MemTorch (`Data_Driven`).

    **Arguments:** scalars or `(rows, cols)`.

    - `r`: state [ohm], between `r_min` and `r_max` [ohm], which are above 0.
    - `k_p`, `k_n`: rates [ohm/s], at least and at most 0; `t_p`, `t_n`: their growth [1/V], and
        `c_p`, `c_n` [1/ohm]. All four are at least 0.
    - `r_p0`, `r_n0` [ohm], `r_p1`, `r_n1` [ohm/V]: the resistances that the state moves to.
    - `a_p`, `a_n` [V], `b_p`, `b_n` [1/V]: current at a given state, at least 0.

    Above `|b v| = 40` the curve continues as its tangent, and the read is flagged as out of range.
    Raises `ValueError` for an `r`, `a` or `b` that is negative or not finite.
    """

    r: Float[Array, "..."] = eqx.field(converter=physical("r"))
    r_min: Float[Array, "..."] = eqx.field(converter=physical("r_min"), default=1280.0)
    r_max: Float[Array, "..."] = eqx.field(converter=physical("r_max"), default=17e3)
    k_p: Float[Array, "..."] = eqx.field(converter=physical("k_p"), default=743.47)
    k_n: Float[Array, "..."] = eqx.field(converter=physical("k_n"), default=-68012.28374)
    t_p: Float[Array, "..."] = eqx.field(converter=physical("t_p"), default=6.51)
    t_n: Float[Array, "..."] = eqx.field(converter=physical("t_n"), default=0.31645)
    c_p: Float[Array, "..."] = eqx.field(converter=physical("c_p"), default=5.11e-4)
    c_n: Float[Array, "..."] = eqx.field(converter=physical("c_n"), default=1.17e-3)
    r_p0: Float[Array, "..."] = eqx.field(converter=physical("r_p0"), default=16719.0)
    r_p1: Float[Array, "..."] = eqx.field(converter=physical("r_p1"), default=0.0)
    r_n0: Float[Array, "..."] = eqx.field(converter=physical("r_n0"), default=29304.82557)
    r_n1: Float[Array, "..."] = eqx.field(converter=physical("r_n1"), default=23692.77225)
    a_p: Float[Array, "..."] = eqx.field(converter=physical("a_p"), default=0.24)
    a_n: Float[Array, "..."] = eqx.field(converter=physical("a_n"), default=0.24)
    b_p: Float[Array, "..."] = eqx.field(converter=physical("b_p"), default=3.0)
    b_n: Float[Array, "..."] = eqx.field(converter=physical("b_n"), default=3.0)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("r",)

    def __check_init__(self):
        units = {"r": "ohm", "a_p": "V", "a_n": "V", "b_p": "1/V", "b_n": "1/V"}
        for name, unit in units.items():
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        x = jnp.where(v >= 0, self.b_p, self.b_n) * v
        return jnp.where(v >= 0, self.a_p, self.a_n) / self.r * x * sinhc(x)

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        v = v_row - v_col
        grown = lambda x: expm1(jnp.maximum(x, 0))
        up = grown(self.c_p * (self.r_p0 + self.r_p1 * v - self.r))
        down = grown(self.c_n * (self.r - self.r_n0 - self.r_n1 * v))
        return (self.k_p * grown(self.t_p * v) * up + self.k_n * grown(-self.t_n * v) * down,)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((self.r_min, self.r_max),)

    def valid(self) -> DeviceMask:
        sound = (self.r_min > 0) & (self.r >= self.r_min) & (self.r <= self.r_max)
        sound &= (self.k_p >= 0) & (self.k_n <= 0) & (self.t_p >= 0) & (self.t_n >= 0)
        sound &= (self.c_p >= 0) & (self.c_n >= 0)
        return sound & (self.a_p >= 0) & (self.a_n >= 0) & (self.b_p >= 0) & (self.b_n >= 0)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        v = v_row - v_col
        return usual(jnp.where(v >= 0, self.b_p, self.b_n) * v)
