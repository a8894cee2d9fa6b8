"""Junctions: diodes, alone and in pairs, and the Schottky contact."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .constants import ROOM, thermal_voltage
from .exponential import X_MAX, expm1, sinhc, tanh, usual

V_SMOOTH = 1e-3  # [V] within which a barrier begins to be lowered


class Diode(AbstractRangedCell):
    """A junction that conducts from row to column: `I = i_s (exp(v / (n v_T)) - 1)`.

    `v = v_row - v_col`, `v_T = k T / q`. Source: W. Shockley, Bell Syst. Tech. J. 28, 435 (1949),
    doi:10.1002/j.1538-7305.1949.tb03645.x. Circuit simulators leave this law in reverse.

    **Arguments:** scalars or `(rows, cols)`.

    - `i_s`: saturation current [A], at least 0.
    - `n`: emission coefficient, above 0.
    - `temperature`: [K].

    Beyond `v = 40 n v_T` the curve goes on as its tangent, and the read is flagged.
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
    """Two equal diodes side by side, one each way: `I = 2 i_s sinh(v / (n v_T))`.

    A selector for both polarities. **Arguments:** as of `Diode`.
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
    """Two equal diodes one after the other, face to face: `I = i_s tanh(v / (2 n v_T))`.

    No more than the saturation current flows, either way: as a selector it needs diodes that leak
    or break through. **Arguments:** as of `Diode`.
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
    """A metal contact whose barrier the reverse field lowers:
    `I = i_s exp(sqrt(u / v_b)) (exp(v / (n v_T)) - 1)`.

    Thermionic emission over a barrier `phi_B` has `i_s = area A* T^2 exp(-q phi_B / (k T))`; the
    image force lowers it by `q sqrt(q u / (4 pi eps d))` where `u` is the reverse voltage over a
    depth `d`, so that `v_b = 4 pi eps d (k T)^2 / q^3`. The reverse voltage is rounded off within
    1 mV, `u = (sqrt(v^2 + (1 mV)^2) - v) / 2`, and counted from its value at 0 V. Source: S. M.
    Sze, K. K. Ng, Physics of Semiconductor Devices, Wiley (2006), doi:10.1002/0470068329.

    **Arguments:** scalars or `(rows, cols)`.

    - `i_s`: saturation current [A] at 0 V, at least 0.
    - `v_b`: the reverse voltage [V] that lowers the barrier by `k T`, above 0; inf for a fixed one.
    - `n`: ideality, above 0.
    - `temperature`: [K].
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
        # (size - v) / 2 cancels forwards
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
