import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import PerCol, physical, require_finite, require_nonnegative, require_positive
from .readout import AbstractIdealReadout


class Ammeter(AbstractIdealReadout):
    """Instrument that shows the current of a bit line with an error of its own:

        output = gain i + offset    [A].

    To the array it is a voltage `v_ref` behind a resistance `r_in`, as a `VirtualGround` is. Gain
    and offset of converters behind the instrument are the same two numbers.

    **Arguments:** each a scalar or `(cols,)`.

    - `r_in`, `r_in_far`: input resistance [ohm] below the lead-out at the last row, and of the one
        further wire segment and the input above row 0; inf leaves this end open, as the far end is
        by default.
    - `v_ref`: voltage [V] at which the instrument holds the line.
    - `gain`: shown per true current [1]; `offset`: current [A] shown without any.

    Raises `ValueError` for a negative or NaN resistance, a gain that is not positive, and a voltage
    or offset that is not finite.
    """

    r_in: Float[Array, "*cols"] = eqx.field(converter=physical("r_in"), default=0.0)
    r_in_far: Float[Array, "*cols_"] = eqx.field(
        converter=physical("r_in_far"), default=float("inf")
    )
    v_ref: Float[Array, "*cols__"] = eqx.field(converter=physical("v_ref", whole=True), default=0.0)
    gain: Float[Array, "*cols___"] = eqx.field(converter=physical("gain", whole=True), default=1.0)
    offset: Float[Array, "*cols____"] = eqx.field(converter=physical("offset"), default=0.0)

    def __check_init__(self):
        require_nonnegative(self.r_in, "r_in", "ohm", open_allowed=True)
        require_nonnegative(self.r_in_far, "r_in_far", "ohm", open_allowed=True)
        require_finite(self.v_ref, "v_ref", "V")
        require_positive(self.gain, "gain", "")
        require_finite(self.offset, "offset", "A")

    @property
    def r_strap(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None

    def voltage(self, cols: int) -> PerCol:
        return jnp.broadcast_to(self.v_ref, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        del v
        return self.gain * i + self.offset
