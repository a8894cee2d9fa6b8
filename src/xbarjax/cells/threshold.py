from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .poole_frenkel import PooleFrenkel

V_SMOOTH = 1e-3  # [V] rounding of the corner at v_hold


class ThresholdSwitch(AbstractRangedCell):
    """Ovonic threshold switch in a given state: a leak when off, a held voltage when on.

        off:  I = g_off v exp(sqrt(|v| / v_pf))                         (as `PooleFrenkel`)
        on:   the same, plus sign(v) (|v| - v_hold) / r_on above v_hold

    with `v = v_row - v_col` and the corner at `v_hold` rounded within 1 mV. Between the states lies
    a negative resistance, at which a static read has no unique answer. The state is therefore a
    parameter, and `switched` gives the state after a read. Two states do not last and are flagged
    as out of range: off above `v_threshold`, and on below `i_hold` or `v_hold`.

    **Arguments:** scalars or `(rows, cols)`.

    - `on`: state, 1 for on and 0 for off.
    - `g_off`: leakage conductance at 0 V [S]; `v_pf`: nonlinearity of the leakage [V].
    - `v_threshold`: threshold voltage [V], 1.26 V for GeTe with carbon (L. Wang et al., IEEE
        Electron Device Lett. 42, 688 (2021), doi:10.1109/LED.2021.3064857).
    - `v_hold`: holding voltage [V], at most `v_threshold`; `i_hold`: holding current [A].
    - `r_on`: series resistance when on [ohm].

    Raises `ValueError` for a parameter that is negative or not finite.
    """

    on: Float[Array, "..."] = eqx.field(converter=physical("on"))
    g_off: Float[Array, "..."] = eqx.field(converter=physical("g_off"))
    v_pf: Float[Array, "..."] = eqx.field(converter=physical("v_pf", whole=True))
    v_threshold: Float[Array, "..."] = eqx.field(converter=physical("v_threshold", whole=True))
    v_hold: Float[Array, "..."] = eqx.field(converter=physical("v_hold", whole=True))
    r_on: Float[Array, "..."] = eqx.field(converter=physical("r_on"))
    i_hold: Float[Array, "..."] = eqx.field(converter=physical("i_hold"), default=0.0)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        for name, unit in (
            ("on", ""),
            ("g_off", "S"),
            ("v_pf", "V"),
            ("v_threshold", "V"),
            ("v_hold", "V"),
            ("r_on", "ohm"),
            ("i_hold", "A"),
        ):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        leak = PooleFrenkel(self.g_off, self.v_pf).current(v_row, v_col)
        size = jnp.where(v >= 0, v, -v)
        beyond = jnp.maximum(size - self.v_hold, 0)
        held = beyond**2 / (beyond + V_SMOOTH) / self.r_on
        return leak + jnp.where(self.on > 0.5, jnp.where(v >= 0, held, -held), 0)

    def switched(self, v_row: PerDevice, v_col: PerDevice) -> "ThresholdSwitch":
        """The switch after a read at terminal voltages [V].

        Above `v_threshold` a switch turns on. Below `i_hold` or `v_hold` it turns off. Otherwise it
        keeps its state."""
        current = jnp.abs(self.current(v_row, v_col))
        fires = jnp.abs(v_row - v_col) > self.v_threshold
        stays = (self.on > 0.5) & (current >= self.i_hold) & (jnp.abs(v_row - v_col) > self.v_hold)
        parts = self.g_off, self.v_pf, self.v_threshold, self.v_hold, self.r_on, self.i_hold
        return ThresholdSwitch(jnp.where(fires | stays, 1.0, 0.0).astype(self.on.dtype), *parts)

    def valid(self) -> DeviceMask:
        sound = ((self.on == 0) | (self.on == 1)) & (self.g_off >= 0) & (self.v_pf > 0)
        sound &= (self.r_on > 0) & (self.v_threshold >= self.v_hold) & (self.v_hold >= 0)
        return sound & jnp.isfinite(self.g_off * self.v_pf * self.r_on * self.v_threshold)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return self.switched(v_row, v_col).on == self.on
