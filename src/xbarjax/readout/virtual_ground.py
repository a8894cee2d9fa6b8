import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import (
    PerCol,
    optional,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
)
from .readout import AbstractIdealReadout


class VirtualGround(AbstractIdealReadout):
    """Current sense: the bit line ends at `v_ref + v_offset` behind an input resistance.

    The output is the current [A], `(cols,)`, into the sense from both ends and all straps.

    **Arguments:** each a scalar or `(cols,)`.

    - `r_in`: input resistance [ohm] below the lead-out at the last row; inf leaves this end open.
    - `r_in_far`: resistance [ohm] of the one further wire segment and the sense input above row 0;
        inf (the default) leaves this end open.
    - `r_strap`: resistance [ohm] of straps from single nodes of the line to the same sense, in
        parallel with `r_in`: `(rows, cols)` or a scalar; positive, inf where there is no strap.
    - `v_ref`: reference voltage [V].
    - `v_offset`: offset voltage [V] of the amplifier, added to the reference.

    Raises `ValueError` for a negative or NaN resistance, a strap of 0 ohm, or a voltage that is not
    finite.
    """

    r_in: Float[Array, "*cols"] = eqx.field(converter=physical("r_in"), default=0.0)
    r_in_far: Float[Array, "*cols_"] = eqx.field(
        converter=physical("r_in_far"), default=float("inf")
    )
    v_ref: Float[Array, "*cols__"] = eqx.field(converter=physical("v_ref", whole=True), default=0.0)
    v_offset: Float[Array, "*cols___"] = eqx.field(
        converter=physical("v_offset", whole=True), default=0.0
    )
    r_strap: Float[Array, "*rows_cols"] | None = eqx.field(
        converter=optional("r_strap"), default=None
    )

    def __check_init__(self):
        require_nonnegative(self.r_in, "r_in", "ohm", open_allowed=True)
        require_nonnegative(self.r_in_far, "r_in_far", "ohm", open_allowed=True)
        if self.r_strap is not None:
            require_positive(self.r_strap, "r_strap", "ohm", open_allowed=True)
        require_finite(self.v_ref, "v_ref", "V")
        require_finite(self.v_offset, "v_offset", "V")

    def voltage(self, cols: int) -> PerCol:
        """Voltage [V] of the input, `(cols,)`."""
        return jnp.broadcast_to(self.v_ref + self.v_offset, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        del v
        return i
