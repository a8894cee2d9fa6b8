"""Operational amplifiers."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._types import (
    optional,
    physical,
    require_finite,
    require_gain_and_swing,
    require_nonnegative,
    require_positive,
)
from .element import GROUND, AbstractNoisyElement, Lanes, NoiseSource, Pick, none, terminal


class OpAmp(AbstractNoisyElement):
    """An operational amplifier of one pole, with offset, swing and output resistance.

    Its inputs draw no current. With `x = v_plus - v_minus + v_offset` and the drive `p` [V],

        p / gain + (1 / (2 pi gbw)) d y(p)/dt = x,    v_out = y(p) - r_out i,

    where `i` is the current that it delivers and `y(p) = p` without a swing. With one

        y(p) = c + h tanh((p - c) / h),    c, h = (v_high +- v_low) / 2,

    so that at DC `v_out = c + h tanh((gain x - c) / h)` as that of a `Tia`. In time the output
    moves at `2 pi gbw x` until it comes to an end of its swing, and leaves it as soon as `x`
    changes its sign: the amplifier does not wind up.

    **Arguments:** each number a scalar or `(lanes,)`.

    - `minus`, `out`, `plus`: buses of the inputs and the output; `plus` is ground by default.
    - `gain`: open-loop gain at DC; inf is an ideal amplifier.
    - `gbw`: gain-bandwidth product [Hz]; None (the default) has no pole.
    - `v_offset`: input offset voltage [V].
    - `v_low`, `v_high`: ends of the swing [V], both or none.
    - `r_out`: output resistance [ohm].
    - `e_n`: noise of the input voltage [V/sqrt(Hz)], in series with an input.
    - `i_n`: noise of the input currents [A/sqrt(Hz)], alike and independent at both inputs.

    Noise is white, and `e_n` is all that the amplifier itself has: `r_out` has none.

    Raises `ValueError` for a gain that is not positive, a swing with one end or no width, or of an
    amplifier of infinite gain.
    """

    minus: Pick = eqx.field(converter=terminal)
    out: Pick = eqx.field(converter=terminal)
    plus: Pick = eqx.field(converter=terminal, default=GROUND)
    gain: Float[Array, "..."] = eqx.field(
        converter=physical("gain", whole=True), default=float("inf")
    )
    gbw: Float[Array, "..."] | None = eqx.field(converter=optional("gbw", whole=True), default=None)
    v_offset: Float[Array, "..."] = eqx.field(
        converter=physical("v_offset", whole=True), default=0.0
    )
    v_low: Float[Array, "..."] | None = eqx.field(
        converter=optional("v_low", whole=True), default=None
    )
    v_high: Float[Array, "..."] | None = eqx.field(
        converter=optional("v_high", whole=True), default=None
    )
    r_out: Float[Array, "..."] = eqx.field(converter=physical("r_out", whole=True), default=0.0)
    e_n: Float[Array, "..."] = eqx.field(converter=physical("e_n", whole=True), default=0.0)
    i_n: Float[Array, "..."] = eqx.field(converter=physical("i_n", whole=True), default=0.0)
    unknowns: ClassVar[int] = 2
    holds: ClassVar[tuple[str, ...]] = ("out",)

    def __check_init__(self):
        if self.gbw is not None:
            require_positive(self.gbw, "gbw", "Hz")
        require_finite(self.v_offset, "v_offset", "V")
        require_nonnegative(self.r_out, "r_out", "ohm", open_allowed=False)
        require_nonnegative(self.e_n, "e_n", "V/sqrt(Hz)", open_allowed=False)
        require_nonnegative(self.i_n, "i_n", "A/sqrt(Hz)", open_allowed=False)
        require_gain_and_swing(self.gain, self.v_low, self.v_high)

    def valid(self) -> Bool[Array, "..."]:
        sound = (self.gain > 0) & jnp.isfinite(self.v_offset)
        for x in (self.r_out, self.e_n, self.i_n):
            sound &= (x >= 0) & jnp.isfinite(x)
        if self.gbw is not None:
            sound &= (self.gbw > 0) & jnp.isfinite(self.gbw)
        if self.v_low is None or self.v_high is None:
            return sound
        width = self.v_high - self.v_low
        return sound & jnp.isfinite(self.gain) & (width > 0) & jnp.isfinite(width)

    @property
    def terminals(self) -> dict[str, Pick]:
        return {"minus": self.minus, "plus": self.plus, "out": self.out}

    def limited(self, p: Array) -> Array:
        """Output [V] without a load, for the drive [V]."""
        if self.v_low is None or self.v_high is None:
            return p
        middle, half = (self.v_high + self.v_low) / 2, (self.v_high - self.v_low) / 2
        return middle + half * jnp.tanh((p - middle) / half)

    @property
    def is_linear(self) -> bool:
        return self.v_low is None

    @property
    def stores(self) -> tuple[str | int, ...]:
        return () if self.gbw is None else (0,)

    def current(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        (minus, plus, out), (p, i) = v, x
        inputs = p / self.gain - (plus - minus + self.v_offset)
        zero = jnp.zeros_like(i)
        return (zero, zero, -i), (inputs, out - self.limited(p) + self.r_out * i)

    def charge(self, v: Lanes, x: Lanes) -> tuple[Lanes, Lanes]:
        p, i = x
        stored = 0 * p if self.gbw is None else self.limited(p) / (2 * np.pi * self.gbw)
        return none(v, 3), (stored, jnp.zeros_like(i))

    def through(self, v: Lanes, x: Lanes) -> Array:
        return x[1]

    def noise(self, v: Lanes, x: Lanes, temperature: Array) -> tuple[NoiseSource, ...]:
        one, zero = jnp.ones_like(x[0]), jnp.zeros_like(x[0])
        return (
            NoiseSource((zero, zero, zero), (one, zero), self.e_n**2),
            NoiseSource((one, zero, zero), (zero, zero), self.i_n**2),
            NoiseSource((zero, one, zero), (zero, zero), self.i_n**2),
        )
