from typing import ClassVar, TypeAlias

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .memory import AbstractMemoryCell

Threshold: TypeAlias = tuple[Array, Array, Array]  # threshold `x_0`, rate `k`, exponent `alpha`


class VTEAM(AbstractMemoryCell):
    """VTEAM model: a resistance that is linear in a state, which moves beyond a threshold voltage.

        I = v / R,    R = r_on + (r_off - r_on) (w - w_on) / (w_off - w_on),    v = v_row - v_col
        dw/dt = k_off (v / v_off - 1)^alpha_off    for v > v_off,
                k_on (v / v_on - 1)^alpha_on       for v < v_on,    else 0.

    Source: S. Kvatinsky et al., IEEE Trans. Circuits Syst. II 62, 786 (2015),
    doi:10.1109/TCSII.2015.2433536. The defaults are those of MemTorch. There is no window: the
    state stops at `w_on` and `w_off`, and leaves them as soon as its rate points inwards.

    **Arguments:** scalars or `(rows, cols)`.

    - `w`: state [m], between `w_on` and `w_off` [m].
    - `r_on`, `r_off`: resistances [ohm] at `w_on` and `w_off`, above 0.
    - `k_on`, `k_off`: rates [m/s], at most and at least 0.
    - `v_on`, `v_off`: thresholds [V], below and above 0.
    - `alpha_on`, `alpha_off`: exponents [1], at least 1.

    Raises `ValueError` for a resistance that is negative or not finite.
    """

    w: Float[Array, "..."] = eqx.field(converter=physical("w"))
    r_on: Float[Array, "..."] = eqx.field(converter=physical("r_on"), default=50.0)
    r_off: Float[Array, "..."] = eqx.field(converter=physical("r_off"), default=1000.0)
    w_on: Float[Array, "..."] = eqx.field(converter=physical("w_on"), default=0.0)
    w_off: Float[Array, "..."] = eqx.field(converter=physical("w_off"), default=3e-09)
    k_on: Float[Array, "..."] = eqx.field(converter=physical("k_on"), default=-10.0)
    k_off: Float[Array, "..."] = eqx.field(converter=physical("k_off"), default=5e-4)
    v_on: Float[Array, "..."] = eqx.field(converter=physical("v_on"), default=-0.2)
    v_off: Float[Array, "..."] = eqx.field(converter=physical("v_off"), default=0.02)
    alpha_on: Float[Array, "..."] = eqx.field(converter=physical("alpha_on"), default=3.0)
    alpha_off: Float[Array, "..."] = eqx.field(converter=physical("alpha_off"), default=1.0)
    is_linear: ClassVar[bool] = True
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("w",)

    def __check_init__(self):
        require_nonnegative(self.r_on, "r_on", "ohm", open_allowed=False)
        require_nonnegative(self.r_off, "r_off", "ohm", open_allowed=False)

    def _share(self) -> Array:
        return (self.w - self.w_on) / (self.w_off - self.w_on)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return (v_row - v_col) / (self.r_on + (self.r_off - self.r_on) * self._share())

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        off, on = (
            (self.v_off, self.k_off, self.alpha_off),
            (self.v_on, self.k_on, self.alpha_on),
        )
        return (beyond_thresholds(v_row - v_col, off, on),)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((self.w_on, self.w_off),)

    def valid(self) -> DeviceMask:
        share = self._share()
        sound = (share >= 0) & (share <= 1) & (self.r_on > 0) & (self.r_off > 0)
        sound &= (self.k_on <= 0) & (self.k_off >= 0) & (self.v_on < 0) & (self.v_off > 0)
        return sound & (self.alpha_on >= 1) & (self.alpha_off >= 1)


def beyond_thresholds(x: PerDevice, above: Threshold, below: Threshold) -> PerDevice:
    """`k (x / x_0 - 1)^alpha` beyond a threshold `x_0` above 0 or one below 0, else 0."""
    # one power, which is most of what a rate costs, instead of one per threshold
    x_0, k, alpha = (jnp.where(x > 0, *pair) for pair in zip(above, below))
    beyond = x / x_0 - 1
    return k * jnp.where(beyond > 0, jnp.where(beyond > 0, beyond, 1) ** alpha, 0)
