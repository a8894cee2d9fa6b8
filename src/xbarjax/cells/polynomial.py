from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import (
    DeviceMask,
    PerDevice,
    as_physical,
    physical,
    require_finite,
    require_nonnegative,
)
from .cell import AbstractRangedCell


class Polynomial(AbstractRangedCell):
    """A cubic: `I = g v + g_2 v^2 + g_3 v^3`, `v = v_row - v_col`.

    **Arguments:** scalars or `(rows, cols)`.

    - `g`: conductance at 0 V [S], at least 0.
    - `g_2`: [S/V]; it tells one polarity from the other.
    - `g_3`: [S/V^2].
    - `v_max`: largest voltage [V] of either sign that the fit holds for.

    A cubic may fall again: where it does, the read is flagged for its negative resistance.
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


def milo_rram(g: Any) -> Polynomial:
    """The read nonlinearity of a HfO2 RRAM device: a cubic whose coefficients depend on `g` [S].

    The coefficients are cubic and quadratic in `log10(g)`, up to 0.5 V; they are fitted to four
    devices of 62.5 to 110 uS and to an ohmic one assumed at 225 uS. Source: V. Milo et al., IRPS
    2021, doi:10.1109/IRPS46558.2021.9405119, as digitised in CrossSim (`RRAM_Milo`).
    """
    g = as_physical(g, "g")
    x = jnp.log10(g)
    g_2 = jnp.polyval(jnp.asarray([1.388e-4, 1.541e-3, 5.711e-3, 7.063e-3], x.dtype), x)
    g_3 = jnp.polyval(jnp.asarray([8.8710e-5, 6.7919e-4, 1.2968e-3], x.dtype), x)
    return Polynomial(g, g_2, g_3, jnp.asarray(0.5, x.dtype))
