from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .poole_frenkel import PooleFrenkel

V_SMOOTH = 1e-3  # [V] within which a switch that is on begins to conduct


class ThresholdSwitch(AbstractRangedCell):
    """An ovonic threshold switch in a given state: a leak where it is off, a held voltage and a
    resistance where it is on.

        off:  I = g_off v exp(sqrt(|v| / v_pf))          (as `PooleFrenkel`)
        on:   that, and (|v| - v_hold) / r_on the same way as v, above v_hold

    with `v = v_row - v_col` and the corner at `v_hold` rounded within 1 mV. Between the two lies a
    negative resistance, in which a static read has no single answer: so the state is a parameter,
    and `switched` says what it will be after a read. Off beyond `v_threshold` or on below `i_hold`
    is a state that does not last, and is flagged as out of range.

    **Arguments:** scalars or `(rows, cols)`.

    - `on`: 1 where it is on, 0 where it is off.
    - `g_off`: leakage conductance at 0 V [S]; `v_pf`: its nonlinearity [V].
    - `v_threshold`, `v_hold`: [V]; a threshold of 1.26 V for GeTe with carbon (L. Wang et al., IEEE
        Electron Device Lett. 42, 688 (2021), doi:10.1109/LED.2021.3064857).
    - `r_on`: [ohm]; `i_hold`: [A].
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
        """The switch after a read at terminal voltages [V]: on above its threshold, off below its
        holding current, else as before."""
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
