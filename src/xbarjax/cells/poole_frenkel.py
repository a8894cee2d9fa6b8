from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .cell import AbstractCell

V_SMOOTH = 1e-3  # [V] rounding of the square root of the voltage near 0 V


class PooleFrenkel(AbstractCell):
    """Poole-Frenkel emission from traps: `I = g v exp(sqrt(|v| / v_pf))`.

    With `v = v_row - v_col`. The field lowers the depth of a charged trap by
    `q sqrt(q |v| / (pi eps d))` in a film of permittivity `eps` and thickness `d`; hence
    `v_pf = pi eps d (k T)^2 / q^3`. The square root is infinitely steep at 0 V. Therefore `|v|`
    stands for `sqrt(v^2 + (1 mV)^2)`, and the exponent is counted from its value at 0 V, so that
    `g` is the conductance there. Source: J. Frenkel, Phys. Rev. 54, 647 (1938),
    doi:10.1103/PhysRev.54.647.

    **Arguments:** scalars or `(rows, cols)`.

    - `g`: conductance at 0 V [S], at least 0.
    - `v_pf`: voltage [V] that lowers the traps by `k T`, above 0.

    Raises `ValueError` for a parameter that is negative or not finite.
    """

    g: Float[Array, "..."] = eqx.field(converter=physical("g"))
    v_pf: Float[Array, "..."] = eqx.field(converter=physical("v_pf", whole=True))
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        require_nonnegative(self.g, "g", "S", open_allowed=False)
        require_nonnegative(self.v_pf, "v_pf", "V", open_allowed=False)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        lowering = (v**2 + V_SMOOTH**2) ** 0.25 - V_SMOOTH**0.5
        return self.g * v * jnp.exp(lowering / jnp.sqrt(self.v_pf))

    def valid(self) -> DeviceMask:
        return (self.g >= 0) & (self.v_pf > 0) & jnp.isfinite(self.g * self.v_pf)
