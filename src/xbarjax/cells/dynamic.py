from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative, require_positive
from .cell import AbstractRangedCell
from .memory import AbstractMemoryCell

LOST = 0.999  # largest part of its distance from where it is going that a state loses in a pulse


class DynamicMemristor(AbstractMemoryCell, AbstractRangedCell):
    """Dynamic memristor: a voltage moves its conductance, which relaxes by itself.

        I = x (k_p max(v, 0)^3 + k_n min(v, 0)^3),    v = v_row - v_col
        dx/dt = -ln(1 - y) / (y t_pulse) ((1 - r) (x_0 - x) + u (s - x)),    y = 1 - r + u
        u = alpha |v| / (1 + alpha |v|),    s = 1 for v > 0, else 0.

    A pulse of a constant voltage and of the length `t_pulse` leaves
    `r x + (1 - r) x_0 + u (s - x)`, the published recurrence. That is the exact solution, so two
    pulses of half the length leave the same state.

    Source: Y. Zhong et al., Nature Communications 12 (2021), doi:10.1038/s41467-020-20692-1,
    with the numbers of the authors' code, which has currents in microamperes. It counts pulses and
    has no time: `t_pulse` is the length of one.

    The recurrence is the solution of no rate equation from `u = r` on, at which a pulse would wipe
    out the state. The rate is constant from `y = 0.999` on, which is reported as out of range. With
    the defaults this is at 391 V.

    **Arguments:** scalars or `(rows, cols)`.

    - `x`: state [1], 0 to 1; `t_pulse`: length of a pulse [s].
    - `r`: part of `x - x_0` that is left after a pulse of 0 V [1], between 0 and 1.
    - `x_0`: state [1] to which the device relaxes, 0 to 1.
    - `k_p`, `k_n`: current per cube of a positive and of a negative voltage [A/V^3].
    - `alpha`: rise of `u` with the voltage [1/V].

    Raises `ValueError` for a parameter that is negative or not finite.
    """

    x: Float[Array, "..."] = eqx.field(converter=physical("x"))
    t_pulse: Float[Array, "..."] = eqx.field(converter=physical("t_pulse"))
    r: Float[Array, "..."] = eqx.field(converter=physical("r"), default=0.99)
    x_0: Float[Array, "..."] = eqx.field(converter=physical("x_0"), default=0.5)
    k_p: Float[Array, "..."] = eqx.field(converter=physical("k_p"), default=9.13e-6)
    k_n: Float[Array, "..."] = eqx.field(converter=physical("k_n"), default=0.32e-6)
    alpha: Float[Array, "..."] = eqx.field(converter=physical("alpha"), default=0.23)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("x",)

    def __check_init__(self):
        units = {"x": "", "r": "", "x_0": "", "k_p": "A/V^3", "k_n": "A/V^3", "alpha": "1/V"}
        for name, unit in units.items():
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        require_positive(self.t_pulse, "t_pulse", "s")

    def _update(self, v: PerDevice) -> PerDevice:
        driven = self.alpha * jnp.where(v >= 0, v, -v)
        return driven / (1 + driven)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        return self.x * jnp.where(v > 0, self.k_p, self.k_n) * v**3

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        v = v_row - v_col
        u = self._update(v)
        lost = jnp.minimum(1 - self.r + u, LOST)
        pulled = (1 - self.r) * (self.x_0 - self.x) + u * (jnp.where(v > 0, 1, 0) - self.x)
        return (-jnp.log1p(-lost) / (lost * self.t_pulse) * pulled,)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((jnp.zeros_like(self.x_0), jnp.ones_like(self.x_0)),)

    def valid(self) -> DeviceMask:
        sound = (self.x >= 0) & (self.x <= 1) & (self.x_0 >= 0) & (self.x_0 <= 1)
        sound &= (self.r > 0) & (self.r < 1) & (self.t_pulse > 0) & (self.alpha >= 0)
        return sound & (self.k_p >= 0) & (self.k_n >= 0)

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return 1 - self.r + self._update(v_row - v_col) <= LOST
