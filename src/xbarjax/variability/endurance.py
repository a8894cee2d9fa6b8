import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import in_dtype, physical, require_nonnegative, require_positive
from .pulses import PulseResponse


class Endurance(eqx.Module):
    """Endurance: the window of a device closes as a power of the pulses that it has received,

        g_max (n/onset)^-wear_max,    g_min (n/onset)^wear_min,    for n > onset,

    until both ends meet; then the device does not move any more. Up to `onset` nothing changes.
    The power law per end is that of gradual failure of metal-oxide RRAM (Lammie, Rahimi Azghadi and
    Ielmini, Semicond. Sci. Technol. 36, 065003, 2021, 10.1088/1361-6641/abf29d), fitted there to
    full SET and RESET cycles. How much of such a cycle a small pulse is, it does not say: give
    `onset` in pulses.

        done = pulsed(endurance(response, done.count), done, pulses, key)

    Devices wear out at different times where `onset` is an array, for example from `Lognormal`.

    **Arguments:** `onset`: pulses up to which the window stays open [1]; `wear_min`, `wear_max`:
    exponents of the ends [1]; each a number or one per device. Raises `ValueError` for an `onset`
    that is not positive and for negative exponents.
    """

    onset: Float[Array, "..."] = eqx.field(converter=physical("onset"))
    wear_min: Float[Array, "..."] = eqx.field(converter=physical("wear_min"))
    wear_max: Float[Array, "..."] = eqx.field(converter=physical("wear_max"))

    def __check_init__(self):
        require_positive(self.onset, "onset", "pulses")
        require_nonnegative(self.wear_min, "wear_min", "1", open_allowed=False)
        require_nonnegative(self.wear_max, "wear_max", "1", open_allowed=False)

    def __call__(self, response: PulseResponse, count: ArrayLike) -> PulseResponse:
        """The response of devices that have received `count` pulses, a number or one per device."""
        dtype = response.g_max.dtype
        self = in_dtype(self, dtype)
        worn = jnp.maximum(jnp.asarray(count).astype(dtype) / self.onset, 1)
        g_max = response.g_max * worn**-self.wear_max
        g_min = jnp.minimum(response.g_min.astype(dtype) * worn**self.wear_min, g_max)
        return eqx.tree_at(lambda r: (r.g_min, r.g_max), response, (g_min, g_max))
