from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import (
    PerCol,
    Scalar,
    as_physical,
    optional,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
)
from ..cells.constants import BOLTZMANN
from .amplifier import Feedback
from .readout import AbstractReadoutInTime, Memory


class Integrator(AbstractReadoutInTime):
    """Integrator: an amplifier whose feedback capacitor collects the column's charge.

    The input of an ideal amplifier is a virtual ground. At a time `t` after the reset, with a
    constant current, the output is

        v_out = v - i r_leak (1 - exp(-t / (r_leak c))) - q_injected / c exp(-t / (r_leak c)),

    or `v - i t / c` without leak and injected charge. `reset_noise` is the noise of the reset. With
    a finite gain the input voltage changes as the capacitor charges, and so does the current:
    `integrate` gives the output, and `read`, which has no time, raises an error.

    **Arguments:** each a scalar or `(cols,)`.

    - `c`: feedback capacitance [F].
    - `t_int`: integration time [s] of a read; `simulate` ignores it.
    - `r_leak`: resistance [ohm] in parallel with the capacitor; inf by default.
    - `q_injected`: charge [C] that the reset switch leaves.
    - `gain`: open-loop gain of the amplifier; None (the default) is an ideal one.
    - `v_ref`, `v_offset`: [V], as in `VirtualGround`.
    - `gbw`: gain-bandwidth product [Hz]; `c_in`: capacitance [F] from the input to ground. Both are
        for `simulate`; None by default.

    In `simulate` the reset ends at the first time, when the amplifier has already responded to the
    injected charge.

    The output is a voltage [V]. Raises `ValueError` for a capacitance, a time or a gain that is not
    positive.
    """

    c: Float[Array, "*cols"] = eqx.field(converter=physical("c"))
    t_int: Float[Array, "*cols_"] = eqx.field(converter=physical("t_int"))
    r_leak: Float[Array, "*cols__"] = eqx.field(converter=physical("r_leak"), default=float("inf"))
    q_injected: Float[Array, "*cols___"] = eqx.field(converter=physical("q_injected"), default=0.0)
    v_ref: Float[Array, "*c"] = eqx.field(converter=physical("v_ref", whole=True), default=0.0)
    v_offset: Float[Array, "*c_"] = eqx.field(
        converter=physical("v_offset", whole=True), default=0.0
    )
    gain: Float[Array, "*c__"] | None = eqx.field(converter=optional("gain"), default=None)
    gbw: Float[Array, "*gbw"] | None = eqx.field(converter=optional("gbw"), default=None)
    c_in: Float[Array, "*c_in"] | None = eqx.field(converter=optional("c_in"), default=None)
    is_linear: ClassVar[bool] = True
    has_memory: ClassVar[bool] = True
    settles: ClassVar[bool] = False
    takes_current: ClassVar[bool] = True

    def __check_init__(self):
        for name, unit in (("c", "F"), ("t_int", "s"), ("r_leak", "ohm")):
            require_positive(getattr(self, name), name, unit, open_allowed=name == "r_leak")
        for name, unit in (("q_injected", "C"), ("v_ref", "V"), ("v_offset", "V")):
            require_finite(getattr(self, name), name, unit)
        if self.gain is not None:
            require_positive(self.gain, "gain", "", open_allowed=True)
        if self.gbw is not None:
            require_positive(self.gbw, "gbw", "Hz", open_allowed=True)
        if self.c_in is not None:
            require_nonnegative(self.c_in, "c_in", "F", open_allowed=False)

    @property
    def is_static(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.gain is None

    @property
    def follows(self) -> Float[Array, ""]:
        return jnp.ones(())

    def noise_conductance(self) -> Float[Array, ""]:
        return jnp.zeros(())

    def valid(self) -> Bool[Array, "..."]:
        gain = 1.0 if self.gain is None else self.gain
        sound = (self.c > 0) & (self.t_int > 0) & (self.r_leak > 0) & (jnp.asarray(gain) > 0)
        if self.gbw is not None:
            sound &= self.gbw > 0
        return sound if self.c_in is None else sound & (self.c_in >= 0) & jnp.isfinite(self.c_in)

    @property
    def r_in(self) -> Float[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return jnp.zeros((), self.c.dtype)

    def voltage(self, cols: int) -> PerCol:
        return jnp.broadcast_to(self.v_ref + self.v_offset, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        decades = self.t_int / self.r_leak / self.c  # has a derivative at r_leak = inf
        leaks = decades > 0
        lost = jnp.where(leaks, decades, 1)
        kept = jnp.where(leaks, -jnp.expm1(-lost) / lost, 1)
        left = self.q_injected / self.c * jnp.exp(-decades)
        return v - i * self.t_int / self.c * kept - left

    def _feedback(self) -> Feedback:
        given = lambda x, otherwise: jnp.asarray(otherwise, self.c.dtype) if x is None else x
        e, gain, gbw = self.v_ref + self.v_offset, given(self.gain, jnp.inf), self.gbw
        c_in = given(self.c_in, 0.0)
        return Feedback(e, gain, given(gbw, jnp.inf), self.r_leak, self.c, c_in)

    def _input(self) -> Array:
        """Input voltage [V] after the reset."""
        x = 0.0 if self.gain is None else 1 / self.gain
        return (self.v_ref + self.v_offset + x * self.q_injected / self.c) / (1 + x)

    def released(self, cols: int) -> tuple[PerCol, PerCol]:
        v = jnp.broadcast_to(self._input(), (cols,))
        return v, jnp.zeros_like(v)

    def begin(self, i: PerCol, v: PerCol) -> Memory:
        across = jnp.broadcast_to(self.q_injected / self.c, i.shape).astype(i.dtype)
        return Memory(v - across, across, v)

    def companion(self, d: Scalar, y_h: Memory) -> tuple[PerCol, PerCol]:
        return self._feedback().companion(d, y_h)

    def end(self, d: Scalar, y_h: Memory, i: PerCol, v: PerCol) -> Memory:
        return self._feedback().end(d, y_h, i, v)

    def damped(self, d: Scalar, error: Memory) -> Memory:
        return self._feedback().damped(d, error)

    def capacitance(self) -> Float[Array, "..."]:
        return self._feedback().c_in

    def error_scale(self, v: Scalar, i: Scalar, q: Scalar) -> Float[Array, "..."]:
        del v, i
        return q / self.c


def reset_noise(c: ArrayLike, temperature: ArrayLike = 300.0) -> Float[Array, "..."]:
    """Reset noise: standard deviation `sqrt(k T / c)` [V] of the voltage that a switch leaves on a
    capacitor, 64 uV at 1 pF and 300 K.

    **Arguments:** `c`: capacitance [F]; `temperature`: [K]. Raises `ValueError` for a capacitance
    that is not positive."""
    c, temperature = as_physical(c, "c"), as_physical(temperature, "temperature")
    require_positive(c, "c", "F")
    return jnp.sqrt(BOLTZMANN * temperature / c)
