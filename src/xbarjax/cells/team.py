from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .memory import AbstractMemoryCell
from .vteam import beyond_thresholds
from .windows import AbstractWindow


class TEAM(AbstractMemoryCell):
    """TEAM model: a resistance that is linear in a state, which moves beyond a threshold current.

        I = v / R,    R = r_on + (r_off - r_on) s,    s = (w - w_on) / (w_off - w_on)
        dw/dt = k_off (I / i_off - 1)^alpha_off f(s)    for I > i_off,
                k_on (I / i_on - 1)^alpha_on f(s)       for I < i_on,    else 0.

    A voltage that turns a device on beyond its threshold raises its own current, and the device
    runs to `w_on` unless something in series limits it. The state stops at `w_on` and `w_off`, and
    leaves them as soon as its rate points inwards.

    Source: S. Kvatinsky et al., IEEE Trans. Circuits Syst. I 60, 211 (2013),
    doi:10.1109/TCSI.2012.2215714.

    **Arguments:** scalars or `(rows, cols)`.

    - `w`: state [m], between `w_on` and `w_off` [m].
    - `r_on`, `r_off`: resistances [ohm] at `w_on` and `w_off`, above 0.
    - `k_on`, `k_off`: rates [m/s], at most and at least 0.
    - `i_on`, `i_off`: thresholds [A], below and above 0.
    - `alpha_on`, `alpha_off`: exponents [1], at least 1.
    - `window`: `f`, an `xb.windows.AbstractWindow`, by default none (1 everywhere). That of the
        source is `xb.windows.Kvatinsky`.

    Raises `ValueError` for a resistance that is negative or not finite.
    """

    w: Float[Array, "..."] = eqx.field(converter=physical("w"))
    r_on: Float[Array, "..."] = eqx.field(converter=physical("r_on"))
    r_off: Float[Array, "..."] = eqx.field(converter=physical("r_off"))
    w_on: Float[Array, "..."] = eqx.field(converter=physical("w_on"))
    w_off: Float[Array, "..."] = eqx.field(converter=physical("w_off"))
    k_on: Float[Array, "..."] = eqx.field(converter=physical("k_on"))
    k_off: Float[Array, "..."] = eqx.field(converter=physical("k_off"))
    i_on: Float[Array, "..."] = eqx.field(converter=physical("i_on"))
    i_off: Float[Array, "..."] = eqx.field(converter=physical("i_off"))
    alpha_on: Float[Array, "..."] = eqx.field(converter=physical("alpha_on"))
    alpha_off: Float[Array, "..."] = eqx.field(converter=physical("alpha_off"))
    window: AbstractWindow | None = None
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
        i = self.current(v_row, v_col)
        off, on = (
            (self.i_off, self.k_off, self.alpha_off),
            (self.i_on, self.k_on, self.alpha_on),
        )
        dw = beyond_thresholds(i, off, on)
        return (dw if self.window is None else dw * self.window(self._share(), i >= 0),)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((self.w_on, self.w_off),)

    def valid(self) -> DeviceMask:
        share = self._share()
        sound = (share >= 0) & (share <= 1) & (self.r_on > 0) & (self.r_off > 0)
        sound &= (self.k_on <= 0) & (self.k_off >= 0) & (self.i_on < 0) & (self.i_off > 0)
        return sound & (self.alpha_on >= 1) & (self.alpha_off >= 1)
