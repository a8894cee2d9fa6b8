from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative, require_positive
from .cell import AbstractRangedCell
from .constants import thermal_voltage
from .exponential import sinhc, usual
from .memory import AbstractMemoryCell


class StanfordPKU(AbstractMemoryCell, AbstractRangedCell):
    """Stanford-PKU model: tunnelling across the gap of a filament, which a hot field closes and
    opens.

        I = i_0 exp(-gap / g_0) sinh(v / v_0),    v = v_row - v_col
        dgap/dt = -rate_0 exp(-q e_a / k T) sinh(q gamma a_0 v / (length k T))
        T = t_0 + |v I| r_th,    gamma = gamma_0 - beta (gap / 1 nm)^3

    The field in the oxide is enhanced by `gamma`. Where `gamma |v| / length` is below `f_min`, the
    gap stays. A positive voltage closes the gap. The random part of the model is left out.

    Source: Z. Jiang et al., IEEE Trans. Electron Devices 63, 1884 (2016),
    doi:10.1109/TED.2016.2545412. The defaults are those of MemTorch, for gaps of 0.2 to 1.7 nm:
    542 ohm to 219 kohm at 0.1 V.

    **Arguments:** scalars or `(rows, cols)`.

    - `gap`: length of the gap, the state [m], at least 0.
    - `i_0`: current scale [A]; `g_0`: decay length [m]; `v_0`: voltage scale [V].
    - `rate_0`: rate of the gap [m/s]; `e_a`: activation energy [eV]; `a_0`: distance of atoms [m];
        `length`: thickness of the oxide [m].
    - `gamma_0`, `beta`: field enhancement without a gap, and its loss at 1 nm [1]; `f_min`: least
        enhanced field that moves the gap [V/m].
    - `r_th`: thermal resistance [K/W]; `t_0`: temperature around the device [K].
    - `gap_min`, `gap_max`: ends of the gap in `simulate` [m]. Reads take any gap.

    Above `|v| = 40 v_0` the curve continues as its tangent, and the read is flagged as out of
    range. Raises `ValueError` for a parameter that is negative or not finite.
    """

    gap: Float[Array, "..."] = eqx.field(converter=physical("gap"))
    i_0: Float[Array, "..."] = eqx.field(converter=physical("i_0"), default=0.001)
    g_0: Float[Array, "..."] = eqx.field(converter=physical("g_0"), default=2.5e-10)
    v_0: Float[Array, "..."] = eqx.field(converter=physical("v_0"), default=0.25)
    rate_0: Float[Array, "..."] = eqx.field(converter=physical("rate_0"), default=10.0)
    e_a: Float[Array, "..."] = eqx.field(converter=physical("e_a"), default=0.6)
    a_0: Float[Array, "..."] = eqx.field(converter=physical("a_0"), default=2.5e-10)
    length: Float[Array, "..."] = eqx.field(converter=physical("length"), default=1.2e-8)
    gamma_0: Float[Array, "..."] = eqx.field(converter=physical("gamma_0"), default=16.0)
    beta: Float[Array, "..."] = eqx.field(converter=physical("beta"), default=0.8)
    f_min: Float[Array, "..."] = eqx.field(converter=physical("f_min"), default=1.4e9)
    r_th: Float[Array, "..."] = eqx.field(converter=physical("r_th"), default=2.1e3)
    t_0: Float[Array, "..."] = eqx.field(converter=physical("t_0"), default=298.0)
    gap_min: Float[Array, "..."] = eqx.field(converter=physical("gap_min"), default=2e-10)
    gap_max: Float[Array, "..."] = eqx.field(converter=physical("gap_max"), default=1.7e-9)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("gap",)

    def __check_init__(self):
        units = {"gap": "m", "i_0": "A", "g_0": "m", "v_0": "V", "rate_0": "m/s", "e_a": "eV"}
        units |= {"a_0": "m", "gamma_0": "", "beta": "", "f_min": "V/m", "r_th": "K/W"}
        for name, unit in (units | {"gap_min": "m", "gap_max": "m"}).items():
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        require_positive(self.length, "length", "m")
        require_positive(self.t_0, "t_0", "K")

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        x = (v_row - v_col) / self.v_0
        return self.i_0 * jnp.exp(-self.gap / self.g_0) * x * sinhc(x)

    def filament_temperature(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        """Temperature [K] of the filament at terminal voltages [V]."""
        power = (v_row - v_col) * self.current(v_row, v_col)  # never negative
        return self.t_0 + power * self.r_th

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        v = v_row - v_col
        u_t = thermal_voltage(self.filament_temperature(v_row, v_col))
        field = (self.gamma_0 - self.beta * (self.gap / 1e-9) ** 3) * v / self.length
        x = self.a_0 * jnp.where(jnp.sign(v) * field < self.f_min, 0, field) / u_t
        return (-self.rate_0 * jnp.exp(-self.e_a / u_t) * x * sinhc(x),)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((self.gap_min, self.gap_max),)

    def valid(self) -> DeviceMask:
        sound = (self.gap >= 0) & (self.i_0 >= 0) & (self.g_0 > 0) & (self.v_0 > 0)
        sound &= (self.rate_0 >= 0) & (self.e_a >= 0) & (self.a_0 >= 0) & (self.length > 0)
        sound &= (self.gamma_0 >= 0) & (self.beta >= 0) & (self.f_min >= 0) & (self.r_th >= 0)
        return sound & (self.t_0 > 0) & (self.gap_min <= self.gap_max)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return usual((v_row - v_col) / self.v_0)
