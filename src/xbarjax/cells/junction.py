"""Junctions: diodes, alone and in pairs, and the Schottky contact."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .constants import ROOM, thermal_voltage
from .exponential import X_MAX, expm1, sinhc, tanh, usual

V_SMOOTH = 1e-3  # [V] rounding of the reverse voltage near 0 V


class Diode(AbstractRangedCell):
    """Junction diode that conducts from row to column: `I = i_s (exp(v / (n v_T)) - 1)`.

    `v = v_row - v_col`, `v_T = k T / q`. Source: W. Shockley, Bell Syst. Tech. J. 28, 435 (1949),
    doi:10.1002/j.1538-7305.1949.tb03645.x. Circuit simulators depart from this law in reverse.

    **Arguments:** scalars or `(rows, cols)`.

    - `i_s`: saturation current [A], at least 0.
    - `n`: emission coefficient, above 0.
    - `temperature`: [K].

    Above `v = 40 n v_T` the curve continues as its tangent, and the read is flagged as out of
    range. Raises `ValueError` for a parameter that is negative or not finite.
    """

    i_s: Float[Array, "..."] = eqx.field(converter=physical("i_s"))
    n: Float[Array, "..."] = eqx.field(converter=physical("n"), default=1.0)
    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"), default=ROOM)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        _check(self)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.i_s * expm1(_scaled(self, v_row - v_col))

    def valid(self) -> DeviceMask:
        return _sound(self)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return _scaled(self, v_row - v_col) <= X_MAX


class AntiparallelDiodes(AbstractRangedCell):
    """Two equal diodes in antiparallel, a bipolar selector: `I = 2 i_s sinh(v / (n v_T))`.

    Arguments, range and errors are those of `Diode`; the range is the same for both polarities.
    """

    i_s: Float[Array, "..."] = eqx.field(converter=physical("i_s"))
    n: Float[Array, "..."] = eqx.field(converter=physical("n"), default=1.0)
    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"), default=ROOM)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        _check(self)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        x = _scaled(self, v_row - v_col)
        return 2 * self.i_s * x * sinhc(x)

    def valid(self) -> DeviceMask:
        return _sound(self)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return usual(_scaled(self, v_row - v_col))


class BackToBackDiodes(AbstractRangedCell):
    """Two equal diodes in series, face to face: `I = i_s tanh(v / (2 n v_T))`.

    The current saturates at `i_s` in both directions: as a selector, the pair needs diodes that
    leak or break through. Arguments and errors are those of `Diode`.
    """

    i_s: Float[Array, "..."] = eqx.field(converter=physical("i_s"))
    n: Float[Array, "..."] = eqx.field(converter=physical("n"), default=1.0)
    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"), default=ROOM)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        _check(self)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.i_s * tanh(_scaled(self, v_row - v_col) / 2)

    def valid(self) -> DeviceMask:
        return _sound(self)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return jnp.isfinite(v_row - v_col)


class Schottky(AbstractRangedCell):
    """Schottky contact with a barrier that the reverse field lowers:
    `I = i_s exp(sqrt(u / v_b)) (exp(v / (n v_T)) - 1)`.

    Thermionic emission over a barrier `phi_B` gives `i_s = area A* T^2 exp(-q phi_B / (k T))`. The
    image force lowers the barrier by `q sqrt(q u / (4 pi eps d))`, where the reverse voltage `u`
    falls over a depth `d`; hence `v_b = 4 pi eps d (k T)^2 / q^3`. The reverse voltage is rounded
    off within 1 mV, `u = (sqrt(v^2 + (1 mV)^2) - v) / 2`, and the lowering is counted from its
    value at 0 V. Source: S. M. Sze, K. K. Ng, Physics of Semiconductor Devices, Wiley (2006),
    doi:10.1002/0470068329.

    **Arguments:** scalars or `(rows, cols)`.

    - `i_s`: saturation current [A] at 0 V, at least 0.
    - `v_b`: reverse voltage [V] that lowers the barrier by `k T`, above 0; inf for a fixed barrier.
    - `n`: ideality factor, above 0.
    - `temperature`: [K].

    Above `v = 40 n v_T` the curve continues as its tangent, and the read is flagged as out of
    range. Raises `ValueError` for a parameter that is negative, NaN or, `v_b` apart, infinite.
    """

    i_s: Float[Array, "..."] = eqx.field(converter=physical("i_s"))
    v_b: Float[Array, "..."] = eqx.field(converter=physical("v_b", whole=True))
    n: Float[Array, "..."] = eqx.field(converter=physical("n"), default=1.0)
    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"), default=ROOM)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        _check(self)
        require_nonnegative(self.v_b, "v_b", "V", open_allowed=True)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        size = jnp.sqrt(v**2 + V_SMOOTH**2)
        # (size - v) / 2 would cancel at forward voltages
        ahead = jnp.maximum(v, 0)
        u = jnp.where(v > 0, V_SMOOTH**2 / (jnp.sqrt(ahead**2 + V_SMOOTH**2) + ahead), size - v) / 2
        lowering = (jnp.sqrt(u) - (V_SMOOTH / 2) ** 0.5) / jnp.sqrt(self.v_b)
        return self.i_s * jnp.exp(lowering) * expm1(_scaled(self, v))

    def valid(self) -> DeviceMask:
        return _sound(self) & (self.v_b > 0)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return _scaled(self, v_row - v_col) <= X_MAX


Junction = Diode | AntiparallelDiodes | BackToBackDiodes | Schottky


def _scaled(cell: Junction, v: PerDevice) -> PerDevice:
    return v / (cell.n * thermal_voltage(cell.temperature))


def _check(cell: Junction) -> None:
    for name, unit in (("i_s", "A"), ("n", ""), ("temperature", "K")):
        require_nonnegative(getattr(cell, name), name, unit, open_allowed=False)


def _sound(cell: Junction) -> DeviceMask:
    sound = (cell.i_s >= 0) & (cell.n > 0) & (cell.temperature > 0)
    return sound & jnp.isfinite(cell.i_s * cell.n * cell.temperature)
