from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractRangedCell
from .exponential import sinhc, usual
from .memory import AbstractMemoryCell


class Yakopcic(AbstractMemoryCell, AbstractRangedCell):
    """Yakopcic model: a current `a x sinh(b v)`, and a state that moves beyond threshold voltages.

        I = a x sinh(b v),    a = a_1 for v >= 0, else a_2,    v = v_row - v_col
        dx/dt = eta g(v) f(x)
        g = k_p (e^v - e^v_p)       for v > v_p,
            -k_n (e^-v - e^v_n)     for v < -v_n,    else 0
        f = exp(-alpha_p (x - x_p)) (1 - x) / (1 - x_p)    for x >= x_p while x rises,
            exp(alpha_n (x - 1 + x_n)) x / (1 - x_n)       for x <= 1 - x_n while x falls,   else 1.

    Exponents `v` are in units of 1 V. `f` reaches 0 at the bound that the state moves to, and is
    not 0 in the other direction, so that no bound traps the state.

    Source: C. Yakopcic et al., IEEE Electron Device Lett. 32, 1436 (2011),
    doi:10.1109/LED.2011.2163292; C. Yakopcic et al., IEEE Trans. Comput.-Aided Des. 32, 1201
    (2013), doi:10.1109/TCAD.2013.2252057. `xb.presets` has published parameters.

    **Arguments:** scalars or `(rows, cols)`. The defaults are devices whose state stays.

    - `x`: state [1], 0 to 1.
    - `a_1`, `a_2`: current scales [A]; `b`: nonlinearity [1/V].
    - `k_p`, `k_n`: rates [1/s], at least 0; `v_p`, `v_n`: thresholds [V], at least 0.
    - `x_p`, `x_n`: parts of the range [1] over which the state moves freely, from 0 to below 1;
        `alpha_p`, `alpha_n`: decays of the motion beyond them [1], at least 0.
    - `eta`: 1, or -1 if `x` falls at positive voltages.

    Above `|b v| = 40` the curve continues as its tangent, and the read is flagged as out of range.
    Raises `ValueError` for a parameter that is negative or not finite (other than `eta`).
    """

    x: Float[Array, "..."] = eqx.field(converter=physical("x"))
    a_1: Float[Array, "..."] = eqx.field(converter=physical("a_1"))
    a_2: Float[Array, "..."] = eqx.field(converter=physical("a_2"))
    b: Float[Array, "..."] = eqx.field(converter=physical("b"))
    k_p: Float[Array, "..."] = eqx.field(converter=physical("k_p"), default=0.0)
    k_n: Float[Array, "..."] = eqx.field(converter=physical("k_n"), default=0.0)
    v_p: Float[Array, "..."] = eqx.field(converter=physical("v_p"), default=0.0)
    v_n: Float[Array, "..."] = eqx.field(converter=physical("v_n"), default=0.0)
    x_p: Float[Array, "..."] = eqx.field(converter=physical("x_p"), default=0.0)
    x_n: Float[Array, "..."] = eqx.field(converter=physical("x_n"), default=0.0)
    alpha_p: Float[Array, "..."] = eqx.field(converter=physical("alpha_p"), default=0.0)
    alpha_n: Float[Array, "..."] = eqx.field(converter=physical("alpha_n"), default=0.0)
    eta: Float[Array, "..."] = eqx.field(converter=physical("eta"), default=1.0)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("x",)

    def __check_init__(self):
        units = {"a_1": "A", "a_2": "A", "b": "1/V", "k_p": "1/s", "k_n": "1/s", "v_p": "V"}
        units |= {"v_n": "V", "x": "", "x_p": "", "x_n": "", "alpha_p": "", "alpha_n": ""}
        for name, unit in units.items():
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        return jnp.where(v >= 0, self.a_1, self.a_2) * self.x * self.b * v * sinhc(self.b * v)

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        v, x = v_row - v_col, self.x
        beyond = lambda v, v_0: jnp.exp(jnp.maximum(v, v_0)) - jnp.exp(v_0)
        g = self.k_p * beyond(v, self.v_p) - self.k_n * beyond(-v, self.v_n)
        up, down = x - self.x_p, 1 - self.x_n - x
        slowed = lambda past, alpha, left: jnp.exp(-alpha * jnp.maximum(past, 0)) * left
        up = slowed(up, self.alpha_p, jnp.where(up > 0, (1 - x) / (1 - self.x_p), 1))
        down = slowed(down, self.alpha_n, jnp.where(down > 0, x / (1 - self.x_n), 1))
        return (self.eta * g * jnp.where(self.eta * v >= 0, up, down),)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((jnp.zeros_like(self.x), jnp.ones_like(self.x)),)

    def valid(self) -> DeviceMask:
        sound = (self.x >= 0) & (self.x <= 1) & (self.a_1 >= 0) & (self.a_2 >= 0) & (self.b >= 0)
        sound &= (self.k_p >= 0) & (self.k_n >= 0) & (self.v_p >= 0) & (self.v_n >= 0)
        sound &= (self.x_p >= 0) & (self.x_p < 1) & (self.x_n >= 0) & (self.x_n < 1)
        return sound & (self.alpha_p >= 0) & (self.alpha_n >= 0) & (jnp.abs(self.eta) == 1)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return usual(self.b * (v_row - v_col))
