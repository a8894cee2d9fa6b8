"""Windows: factors that slow the motion of a state near its bounds."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_positive

__all__ = ["AbstractWindow", "Biolek", "Joglekar", "Kvatinsky", "Prodromakis"]


def __dir__() -> list[str]:
    return __all__


class AbstractWindow(eqx.Module):
    """A factor of the rate of a state, by its share `s` of the range, 0 to 1.

    A window that is 0 at a bound in both directions traps the state there: once it has come to the
    bound it never leaves, and no later voltage has a gradient.
    """

    @abc.abstractmethod
    def __call__(self, share: PerDevice, rising: DeviceMask) -> PerDevice:
        """The factor [1] at shares of the range, of states that rise or fall."""


class Joglekar(AbstractWindow):
    """Joglekar's window `1 - (2 s - 1)^(2 p)`: 0 at both bounds, which trap the state and its
    gradient.

    Source: Y. N. Joglekar, S. J. Wolf, Eur. J. Phys. 30, 661 (2009),
    doi:10.1088/0143-0807/30/4/001.

    **Arguments:** `p`: steepness [1]; in the limit of a large `p` the window is 1 inside. Raises
    `ValueError` unless it is positive.
    """

    p: Float[Array, "..."] = eqx.field(converter=physical("p", whole=True))

    def __check_init__(self):
        require_positive(self.p, "p", "")

    def __call__(self, share: PerDevice, rising: DeviceMask) -> PerDevice:
        return 1 - _power((2 * share - 1) ** 2, self.p)


class Biolek(AbstractWindow):
    """Biolek's window `1 - s^(2 p)` while the state rises, `1 - (1 - s)^(2 p)` while it falls: 0 at
    the bound ahead alone, so that no bound traps the state. The factor jumps where the motion turns
    around, and the rate, which is 0 there, does not.

    Source: Z. Biolek, D. Biolek, V. Biolkova, Radioengineering 18, 210 (2009).

    **Arguments:** `p`: steepness [1]. Raises `ValueError` unless it is positive.
    """

    p: Float[Array, "..."] = eqx.field(converter=physical("p", whole=True))

    def __check_init__(self):
        require_positive(self.p, "p", "")

    def __call__(self, share: PerDevice, rising: DeviceMask) -> PerDevice:
        return 1 - _power(jnp.where(rising, share, 1 - share) ** 2, self.p)


class Prodromakis(AbstractWindow):
    """Prodromakis' window `j (1 - ((s - 1/2)^2 + 3/4)^p)`: 0 at both bounds, which trap the state
    and its gradient.

    Source: T. Prodromakis et al., IEEE Trans. Electron Devices 58, 3099 (2011),
    doi:10.1109/TED.2011.2158004.

    **Arguments:** `p`: steepness [1]; `j`: scale [1]. Raises `ValueError` unless both are positive.
    """

    p: Float[Array, "..."] = eqx.field(converter=physical("p", whole=True))
    j: Float[Array, "..."] = eqx.field(converter=physical("j", whole=True), default=1.0)

    def __check_init__(self):
        require_positive(self.p, "p", "")
        require_positive(self.j, "j", "")

    def __call__(self, share: PerDevice, rising: DeviceMask) -> PerDevice:
        return self.j * (1 - ((share - 0.5) ** 2 + 0.75) ** self.p)


class Kvatinsky(AbstractWindow):
    """The window of the TEAM model: `exp(-exp((s - s_off) / width))` while the state rises,
    `exp(-exp((s_on - s) / width))` while it falls. It never reaches 0, and traps no state.

    Source: S. Kvatinsky et al., IEEE Trans. Circuits Syst. I 60, 211 (2013),
    doi:10.1109/TCSI.2012.2215714.

    **Arguments:** `s_on`, `s_off`: shares [1] at which the motion slows to 1/e of its rate;
    `width`: share [1] over which it slows. Raises `ValueError` for a width that is not positive.
    """

    s_on: Float[Array, "..."] = eqx.field(converter=physical("s_on", whole=True))
    s_off: Float[Array, "..."] = eqx.field(converter=physical("s_off", whole=True))
    width: Float[Array, "..."] = eqx.field(converter=physical("width", whole=True))

    def __check_init__(self):
        require_positive(self.width, "width", "")

    def __call__(self, share: PerDevice, rising: DeviceMask) -> PerDevice:
        past = jnp.where(rising, share - self.s_off, self.s_on - share)
        return jnp.exp(-jnp.exp(past / self.width))


def _power(x: PerDevice, p: Array) -> PerDevice:
    """`x^p`, whose derivatives are finite also where `x` is 0."""
    return jnp.where(x > 0, jnp.where(x > 0, x, 1) ** p, 0)
