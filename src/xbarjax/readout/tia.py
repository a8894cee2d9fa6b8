from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import (
    PerCol,
    Scalar,
    everywhere,
    optional,
    physical,
    require_finite,
    require_gain_and_swing,
    require_nonnegative,
    require_positive,
)
from .amplifier import Feedback
from .readout import AbstractClampedReadout, AbstractReadoutInTime, Memory, conductance_of


class Tia(AbstractClampedReadout, AbstractReadoutInTime):
    """Transimpedance amplifier at the end of every bit line, with finite gain, swing and bandwidth.

    The bit line ends at the inverting input, at the voltage `v`. The resistor `r_f` joins the input
    to the output,

        v_out = A (v_ref + v_offset - v),    i = (v - v_out) / r_f,

    so that the array sees, in place of a ground,

        r_in = r_f / (1 + A)    to    v_source = A / (1 + A) (v_ref + v_offset)

    exactly, and `v_out = v - r_f i`. With a swing the output saturates,

        v_out = c + h tanh((A (v_ref + v_offset - v) - c) / h),    c, h = (v_high +- v_low) / 2,

    and the read is nonlinear. At an end of the swing the bit line is no longer a virtual ground:
    its voltage rises and disturbs the other columns through the word lines.

    In time (`simulate`) the gain falls beyond `gbw / A`, which makes the input inductive.
    Capacitors join the input to the output (`c_f`) and to ground (`c_in`),

        dv_out/dt = 2 pi gbw (v_ref + v_offset - v - v_out / A),
        i = (v - v_out) / r_f + c_f d(v - v_out)/dt + c_in dv/dt.

    A static read ignores these three parameters. With the capacitance `C` of line and input,
    `c_f = sqrt(C / (pi r_f gbw))` prevents ringing (a quality factor of 0.7 for `c_f << C`).

    **Arguments:** each a scalar or `(cols,)`.

    - `r_f`: feedback resistance [ohm].
    - `gain`: open-loop gain `A` at DC; inf (the default) is an ideal amplifier.
    - `v_ref`, `v_offset`: voltage [V] of the other input, and offset voltage [V] of the amplifier.
    - `v_low`, `v_high`: ends of the output's swing [V], both or neither.
    - `gbw`: gain-bandwidth product [Hz]; `c_f`: feedback capacitance [F]; `c_in`: capacitance [F]
        from the input to ground. None of the three by default.

    The output is `v_out` [V]. Raises `ValueError` for:

    - a resistance or capacitance that is negative or not finite, a gain or `gbw` that is not
        positive;
    - a swing without width, with one end only, of an ideal amplifier or with `r_f = 0`.
    """

    r_f: Float[Array, "*cols"] = eqx.field(converter=physical("r_f"))
    gain: Float[Array, "*cols_"] = eqx.field(converter=physical("gain"), default=float("inf"))
    v_ref: Float[Array, "*cols__"] = eqx.field(converter=physical("v_ref", whole=True), default=0.0)
    v_offset: Float[Array, "*cols___"] = eqx.field(
        converter=physical("v_offset", whole=True), default=0.0
    )
    v_low: Float[Array, "*low"] | None = eqx.field(
        converter=optional("v_low", whole=True), default=None
    )
    v_high: Float[Array, "*high"] | None = eqx.field(
        converter=optional("v_high", whole=True), default=None
    )
    gbw: Float[Array, "*gbw"] | None = eqx.field(converter=optional("gbw"), default=None)
    c_f: Float[Array, "*c_f"] | None = eqx.field(converter=optional("c_f"), default=None)
    c_in: Float[Array, "*c_in"] | None = eqx.field(converter=optional("c_in"), default=None)
    is_static: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    takes_current: ClassVar[bool] = True

    def __check_init__(self):
        if self.gbw is not None:
            require_positive(self.gbw, "gbw", "Hz", open_allowed=True)
        for name in ("c_f", "c_in"):
            if getattr(self, name) is not None:
                require_nonnegative(getattr(self, name), name, "F", open_allowed=False)
        require_nonnegative(self.r_f, "r_f", "ohm", open_allowed=False)
        require_finite(self.v_ref, "v_ref", "V")
        require_finite(self.v_offset, "v_offset", "V")
        require_gain_and_swing(self.gain, self.v_low, self.v_high)
        if self.v_low is not None and not everywhere(lambda r: r != 0, self.r_f):
            raise ValueError(
                "r_f is 0 ohm, but an amplifier with a swing needs a feedback, r_f > 0."
            )

    @property
    def r_in(self) -> Float[Array, "*cols"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        loss = 1 / self.gain
        return self.r_f * loss / (1 + loss)

    @property
    def follows(self) -> Float[Array, "*cols"]:
        return 1 / (1 + 1 / self.gain)

    @property
    def is_linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.v_low is None

    def noise_conductance(self) -> Float[Array, "*cols"]:
        return conductance_of(self.r_f)

    def voltage(self, cols: int) -> PerCol:
        return jnp.broadcast_to((self.v_ref + self.v_offset) * self.follows, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        return v - self.r_f * i

    def held(self, v_source: PerCol) -> tuple[PerCol, PerCol]:
        """Output voltage [V] at zero input current, behind the feedback resistor [ohm]."""
        return jnp.clip(v_source, self.v_low, self.v_high), jnp.broadcast_to(
            self.r_f, v_source.shape
        )

    def current(self, v: PerCol, v_source: PerCol) -> PerCol:
        """Current [A] through the feedback resistor as the output departs from the voltage of
        `held`."""
        center, half = self._swing()
        wanted = v_source + self.gain * (v_source - v)  # A (v_ref + v_offset - v)
        v_out = center + half * jnp.tanh((wanted - center) / half)
        return (self.held(v_source)[0] - v_out) / self.r_f

    def valid(self) -> Bool[Array, "..."]:
        sound = (self.r_f >= 0) & (self.gain > 0) & jnp.isfinite(self.r_f + self.v_offset)
        if self.gbw is not None:
            sound &= self.gbw > 0
        for c in (self.c_f, self.c_in):
            sound &= True if c is None else (c >= 0) & jnp.isfinite(c)
        if self.is_linear:
            return sound
        center, half = self._swing()
        return sound & (self.r_f > 0) & (half > 0) & jnp.isfinite(self.gain + center + half)

    @property
    def has_memory(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not all(x is None for x in (self.gbw, self.c_f, self.c_in))

    def _feedback(self) -> Feedback:
        given = lambda x, otherwise: jnp.asarray(otherwise, self.r_f.dtype) if x is None else x
        e, gbw = self.v_ref + self.v_offset, given(self.gbw, jnp.inf)
        return Feedback(e, self.gain, gbw, self.r_f, given(self.c_f, 0.0), given(self.c_in, 0.0))

    def damped(self, d: Scalar, error: Memory) -> Memory:
        return self._feedback().damped(d, error)

    def capacitance(self) -> Float[Array, "..."]:
        return self._feedback().c_f + self._feedback().c_in

    def error_scale(self, v: Scalar, i: Scalar, q: Scalar) -> Float[Array, "..."]:
        del v, q
        return self.r_f * i

    def released(self, cols: int) -> tuple[PerCol, PerCol]:
        return self.voltage(cols), jnp.broadcast_to(self.r_in, (cols,))

    def begin(self, i: PerCol, v: PerCol) -> Memory:
        """State at rest, as in a static read."""
        return Memory(v - self.r_f * i, self.r_f * i, v)

    def companion(self, d: Scalar, y_h: Memory) -> tuple[PerCol, PerCol]:
        return self._feedback().companion(d, y_h)

    def end(self, d: Scalar, y_h: Memory, i: PerCol, v: PerCol) -> Memory:
        return self._feedback().end(d, y_h, i, v)

    def saturated(self, v_out: PerCol) -> Bool[Array, " cols"]:
        """Mask of outputs [V] within a hundredth of the swing from either end."""
        center, half = self._swing()
        return jnp.abs(v_out - center) > 0.98 * half

    def _swing(self) -> tuple[Array, Array]:
        """Centre and half width [V] of the output's swing."""
        assert self.v_low is not None and self.v_high is not None
        return (self.v_high + self.v_low) / 2, (self.v_high - self.v_low) / 2
