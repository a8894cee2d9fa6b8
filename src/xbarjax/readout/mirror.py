import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import PerCol, physical, require_finite, require_nonnegative
from .readout import AbstractIdealReadout, AbstractNearReadout


class CurrentConveyor(  # pyright: ignore[reportIncompatibleVariableOverride]
    AbstractNearReadout, AbstractIdealReadout
):
    """Regulated current conveyor: an amplifier holds the bit line through a transistor, and a
    current mirror copies the transistor's current to the output.

    The line sees `r_in = 1 / (g_m (1 + gain))`, and the output is `ratio (1 + mismatch) i` [A]. The
    mismatch of a mirror of area `W L` at the overdrive `v_ov` has the standard deviation

        sqrt(((2 A_vt / v_ov)^2 + A_beta^2) / (W L))

    (M. J. M. Pelgrom, A. C. J. Duinmaijer, A. P. G. Welbers, IEEE J. Solid-State Circuits 24, 1433
    (1989), doi:10.1109/JSSC.1989.572629), which `mirror_mismatch` computes.

    **Arguments:** each a scalar or `(cols,)`.

    - `g_m`: transconductance [S] of the transistor.
    - `gain`: gain [1] of the regulating amplifier; 0 by default.
    - `ratio`, `mismatch`: current ratio and its relative error [1].
    - `v_ref`, `v_offset`: [V], as in `VirtualGround`.

    Raises `ValueError` for a negative or NaN `g_m` or `gain`, and for other values that are not
    finite.
    """

    g_m: Float[Array, "*cols"] = eqx.field(converter=physical("g_m"))
    gain: Float[Array, "*cols_"] = eqx.field(converter=physical("gain"), default=0.0)
    ratio: Float[Array, "*cols__"] = eqx.field(converter=physical("ratio"), default=1.0)
    mismatch: Float[Array, "*cols___"] = eqx.field(converter=physical("mismatch"), default=0.0)
    v_ref: Float[Array, "*c"] = eqx.field(converter=physical("v_ref", whole=True), default=0.0)
    v_offset: Float[Array, "*c_"] = eqx.field(
        converter=physical("v_offset", whole=True), default=0.0
    )

    def __check_init__(self):
        require_nonnegative(self.g_m, "g_m", "S", open_allowed=True)
        require_nonnegative(self.gain, "gain", "", open_allowed=True)
        for name, unit in (("ratio", ""), ("mismatch", ""), ("v_ref", "V"), ("v_offset", "V")):
            require_finite(getattr(self, name), name, unit)

    @property
    def r_in(self) -> Float[Array, "*cols"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 1 / (self.g_m * (1 + self.gain))

    def voltage(self, cols: int) -> PerCol:
        return jnp.broadcast_to(self.v_ref + self.v_offset, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        del v
        return self.ratio * (1 + self.mismatch) * i


def mirror_mismatch(
    area: ArrayLike, v_ov: ArrayLike, a_vt: ArrayLike, a_beta: ArrayLike
) -> Float[Array, "..."]:
    """Standard deviation [1] of a current mirror's mismatch, by the equation in `CurrentConveyor`.

    **Arguments:** `area`: `W L` of each transistor [m^2]; `v_ov`: overdrive [V]; `a_vt`: [V m];
    `a_beta`: [m].
    """
    threshold = 2 * jnp.asarray(a_vt) / jnp.asarray(v_ov)
    return jnp.sqrt((threshold**2 + jnp.asarray(a_beta) ** 2) / jnp.asarray(area))
