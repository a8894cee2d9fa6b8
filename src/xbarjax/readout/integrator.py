import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import PerCol, as_physical, is_concrete, physical, require_finite, require_nonnegative
from .readout import AbstractReadout

K_B = 1.380649e-23  # J/K


class Integrator(AbstractReadout):
    """An amplifier with a capacitor in its feedback, which collects the column's charge.

    Of an ideal amplifier the input is a virtual ground, and after a time `t` at a constant current
    from a reset on the output has moved by

        v_out = v - i r_leak (1 - exp(-t / (r_leak c))) - q_injected / c,

    `i t / c` without a leak. What else is on the capacitor is noise: `reset_noise`. (Amplifiers of
    finite gain move their input as they charge, so that the current is not constant: that is a
    transient.)

    **Arguments:** each a scalar or `(cols,)`.

    - `c`: capacitance [F]. - `seconds`: how long it integrates [s].
    - `r_leak`: resistance [ohm] beside the capacitor; inf by default.
    - `q_injected`: charge [C] that the reset switch leaves.
    - `v_ref`, `v_offset`: [V], as of a `VirtualGround`.

    Its output is a voltage [V]. Raises `ValueError` for a capacitance or a time that is not
    positive.
    """

    c: Float[Array, "*cols"] = physical("c")
    seconds: Float[Array, "*cols_"] = physical("seconds")
    r_leak: Float[Array, "*cols__"] = physical("r_leak", float("inf"))
    q_injected: Float[Array, "*cols___"] = physical("q_injected", 0.0)
    v_ref: Float[Array, "*c"] = physical("v_ref", 0.0)
    v_offset: Float[Array, "*c_"] = physical("v_offset", 0.0)

    def __check_init__(self):
        for name, unit in (("c", "F"), ("seconds", "s"), ("r_leak", "ohm")):
            x = getattr(self, name)
            require_nonnegative(x, name, unit, open_allowed=name == "r_leak")
            if is_concrete(x) and not bool(jnp.all(x > 0)):
                raise ValueError(f"{name} is 0 {unit}; it must be positive.")
        for name, unit in (("q_injected", "C"), ("v_ref", "V"), ("v_offset", "V")):
            require_finite(getattr(self, name), name, unit)

    @property
    def r_in(self) -> Float[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.zeros((), self.c.dtype)

    @property
    def r_in_far(self) -> Float[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.full((), jnp.inf, self.c.dtype)

    @property
    def r_tap(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None

    def voltage(self, cols: int) -> PerCol:
        return jnp.broadcast_to(self.v_ref + self.v_offset, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        decades = self.seconds / (self.r_leak * self.c)
        leaks = decades > 0
        lost = jnp.where(leaks, decades, 1)
        kept = jnp.where(leaks, -jnp.expm1(-lost) / lost, 1)
        return v - i * self.seconds / self.c * kept - self.q_injected / self.c


def reset_noise(c: ArrayLike, temperature: ArrayLike = 300.0) -> Float[Array, "..."]:
    """Standard deviation [V] of the voltage that a switch leaves on a capacitor `c` [F],
    `sqrt(k T / c)`: 64 uV at 1 pF. Raises `ValueError` for a capacitance that is not positive."""
    c, temperature = as_physical(c, "c"), as_physical(temperature, "temperature")
    require_nonnegative(c, "c", "F", open_allowed=False)
    if is_concrete(c) and not bool(jnp.all(c > 0)):
        raise ValueError("c is 0 F; a capacitor on which a voltage is held is not.")
    return jnp.sqrt(K_B * temperature / c)
