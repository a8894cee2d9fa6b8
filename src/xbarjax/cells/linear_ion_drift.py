from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative, require_positive
from .memory import AbstractMemoryCell
from .windows import AbstractWindow


class LinearIonDrift(AbstractMemoryCell):
    """Linear ion drift: a doped and an undoped part in series, whose border drifts with the
    current.

        I = v / R,    R = r_on w / length + r_off (1 - w / length),    v = v_row - v_col
        dw/dt = mobility r_on / length I f(w / length).

    The border stops at both ends of the film, and leaves an end as soon as the current turns
    around, unless the window `f` traps it there (see `xb.windows`). There is no threshold: every
    current moves the border.

    Source: D. B. Strukov et al., Nature 453, 80 (2008), doi:10.1038/nature06932; `length` and
    `mobility` are, by default, those of its figure 2.

    **Arguments:** scalars or `(rows, cols)`.

    - `w`: width of the doped part, the state [m], 0 to `length`.
    - `r_on`, `r_off`: resistances [ohm] of a film that is doped throughout and not at all, above 0.
    - `length`: thickness of the film [m]; `mobility`: that of the dopants [m^2/(V s)]. Both are
        above 0.
    - `window`: an `xb.windows.AbstractWindow`, by default none (1 everywhere).

    Raises `ValueError` for a resistance or mobility that is negative or not finite, and for a
    `length` that is not positive.
    """

    w: Float[Array, "..."] = eqx.field(converter=physical("w"))
    r_on: Float[Array, "..."] = eqx.field(converter=physical("r_on"))
    r_off: Float[Array, "..."] = eqx.field(converter=physical("r_off"))
    length: Float[Array, "..."] = eqx.field(converter=physical("length"), default=1e-8)
    mobility: Float[Array, "..."] = eqx.field(converter=physical("mobility"), default=1e-14)
    window: AbstractWindow | None = None
    is_linear: ClassVar[bool] = True
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("w",)

    def __check_init__(self):
        for name, unit in (("r_on", "ohm"), ("r_off", "ohm"), ("mobility", "m^2/(V s)")):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        require_positive(self.length, "length", "m")

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        share = self.w / self.length
        return (v_row - v_col) / (self.r_on * share + self.r_off * (1 - share))

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        i = self.current(v_row, v_col)
        dw = self.mobility * self.r_on / self.length * i
        return (dw if self.window is None else dw * self.window(self.w / self.length, i >= 0),)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((jnp.zeros_like(self.length), self.length),)

    def valid(self) -> DeviceMask:
        sound = (self.w >= 0) & (self.w <= self.length) & (self.length > 0)
        return sound & (self.r_on > 0) & (self.r_off > 0) & (self.mobility > 0)
