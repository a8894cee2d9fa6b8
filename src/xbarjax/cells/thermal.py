from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative, require_positive
from .memory import AbstractMemoryCell


class ThermalSwitch(AbstractMemoryCell):
    """Electro-thermal threshold switch: a resistance that falls steeply as its current heats it.

        I = v / R,    R = r_0 exp(t_a / T) F + r_m,    v = v_row - v_col
        F = (1 + tanh(steepness (t_c - T))) / 2
        c_th dT/dt = v I - g_th (T - t_0)

    The current has a negative differential resistance where heat makes it run away. With a
    capacitor beside it and a resistor in series the device oscillates.

    Source: Y.-H. Zhang et al., Nat. Commun. 15, 6986 (2024), doi:10.1038/s41467-024-51254-4, with
    the numbers of the code of its authors for a film of VO2. Their resistance has a hysteresis of
    7.19 K, left out here: `t_c` is the middle of the transition as the film heats up.

    **Arguments:** scalars or `(rows, cols)`.

    - `temperature`: the state T [K].
    - `r_0`: resistance scale of the insulator [ohm]; `t_a`: its activation energy by k [K];
        `r_m`: resistance of the metal [ohm], above 0.
    - `t_c`: temperature of the transition [K]; `steepness`: of the transition [1/K].
    - `c_th`: heat capacity [J/K], above 0; `g_th`: thermal conductance to the surroundings [W/K];
        `t_0`: temperature of the surroundings [K].
    - `t_max`: largest temperature in `simulate` [K].

    Raises `ValueError` for a parameter that is negative or not finite.
    """

    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"))
    r_0: Float[Array, "..."] = eqx.field(converter=physical("r_0"), default=5.35882879e-3)
    t_a: Float[Array, "..."] = eqx.field(converter=physical("t_a"), default=5220.47417)
    r_m: Float[Array, "..."] = eqx.field(converter=physical("r_m"), default=1286.316504375)
    t_c: Float[Array, "..."] = eqx.field(converter=physical("t_c"), default=336.40262432)
    steepness: Float[Array, "..."] = eqx.field(converter=physical("steepness"), default=0.252796285)
    c_th: Float[Array, "..."] = eqx.field(converter=physical("c_th"), default=4.962776831e-11)
    g_th: Float[Array, "..."] = eqx.field(converter=physical("g_th"), default=2.0558726e-4)
    t_0: Float[Array, "..."] = eqx.field(converter=physical("t_0"), default=325.0)
    t_max: Float[Array, "..."] = eqx.field(converter=physical("t_max"), default=450.0)
    is_linear: ClassVar[bool] = True
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("temperature",)

    def __check_init__(self):
        for name, unit in (("r_0", "ohm"), ("t_a", "K"), ("steepness", "1/K"), ("g_th", "W/K")):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        for name, unit in (("r_m", "ohm"), ("c_th", "J/K"), ("temperature", "K"), ("t_c", "K")):
            require_positive(getattr(self, name), name, unit)
        require_positive(self.t_0, "t_0", "K")
        require_positive(self.t_max, "t_max", "K")

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        cold = (1 + jnp.tanh(self.steepness * (self.t_c - self.temperature))) / 2
        r = self.r_0 * jnp.exp(self.t_a / self.temperature) * cold + self.r_m
        return (v_row - v_col) / r

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        heat = (v_row - v_col) * self.current(v_row, v_col)
        return ((heat - self.g_th * (self.temperature - self.t_0)) / self.c_th,)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((self.t_0, self.t_max),)

    def valid(self) -> DeviceMask:
        sound = (self.temperature > 0) & (self.r_0 >= 0) & (self.t_a >= 0) & (self.r_m > 0)
        sound &= (self.t_c > 0) & (self.steepness >= 0) & (self.c_th > 0) & (self.g_th >= 0)
        return sound & (self.t_0 > 0) & (self.t_0 <= self.t_max)
