"""MOSFETs as selectors: the channel is the cell, the gate and the bulk are voltages."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, described, physical, require_finite, require_nonnegative
from .cell import AbstractGatedCell
from .constants import ROOM, thermal_voltage
from .exponential import softplus_ends


class Mosfet(AbstractGatedCell):
    """n-channel MOSFET from weak to strong inversion (EKV model):

        I = i_s (1 + lam |v_D - v_S|) (F((v_P - v_S) / v_T) - F((v_P - v_D) / v_T)),
        F(x) = ln(1 + exp(x / 2))^2,   v_P = (v_gate - v_t) / n,   i_s = 2 n beta v_T^2,

    with the thermal voltage `v_T = k T / q` and all voltages relative to the bulk. The drain is on
    the row side, the source on the column side; the channel is symmetric, so the equation also
    holds for a reverse current. Source: C. C. Enz, F. Krummenacher, E. A. Vittoz, Analog Integr.
    Circuits Signal Process. 8, 83 (1995), doi:10.1007/BF01239381; the channel-length factor is that
    of level 1.

    **Arguments:** scalars, or arrays that broadcast to `(rows, cols)`. One gate voltage per row is
    `v_gate[:, None]`.

    - `beta`: `mu C_ox W / L` [A/V^2], at least 0.
    - `v_t`: threshold voltage [V].
    - `v_gate`: gate voltage [V]; the gate voltages of a `Bias` take precedence.
    - `n`: slope factor, at least 1.
    - `lam`: channel-length modulation [1/V], at least 0.
    - `v_bulk`: bulk voltage [V].
    - `temperature`: [K].

    Raises `ValueError` for a parameter that is not finite, and for a negative `beta`, `n`, `lam` or
    `temperature`.
    """

    beta: Float[Array, "..."] = eqx.field(converter=physical("beta"))
    v_t: Float[Array, "..."] = eqx.field(converter=physical("v_t", whole=True))
    v_gate: Float[Array, "..."] = eqx.field(converter=physical("v_gate", whole=True))
    n: Float[Array, "..."] = eqx.field(converter=physical("n"), default=1.3)
    lam: Float[Array, "..."] = eqx.field(converter=physical("lam"), default=0.0)
    v_bulk: Float[Array, "..."] = eqx.field(converter=physical("v_bulk", whole=True), default=0.0)
    temperature: Float[Array, "..."] = eqx.field(converter=physical("temperature"), default=ROOM)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = False

    def __check_init__(self):
        for name, unit in (("beta", "A/V^2"), ("n", ""), ("lam", "1/V"), ("temperature", "K")):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        for name in ("v_t", "v_gate", "v_bulk"):
            require_finite(getattr(self, name), name, "V")

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v_t = thermal_voltage(self.temperature)
        pinch_off = (self.v_gate - self.v_bulk - self.v_t) / self.n
        x = (pinch_off - (v_row - self.v_bulk)) / (2 * v_t)
        both, rise = softplus_ends(x, (v_row - v_col) / (2 * v_t))
        modulation = 1 + self.lam * jnp.abs(v_row - v_col)
        i_s = 2 * self.n * self.beta * v_t**2
        return i_s * modulation * rise * both

    def valid(self) -> DeviceMask:
        sound = (self.beta >= 0) & (self.n >= 1) & (self.lam >= 0) & (self.temperature > 0)
        return sound & jnp.isfinite(self.beta + self.n + self.v_t + self.v_gate + self.v_bulk)

    def gated(self, v_gate: PerDevice) -> "Mosfet":
        parts = self.beta, self.v_t, v_gate, self.n, self.lam, self.v_bulk, self.temperature
        return Mosfet(*parts)

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        source = jnp.minimum(v_row, v_col) - self.v_bulk
        return (self.v_gate - self.v_bulk - self.v_t) / self.n > source


class Level1Mosfet(AbstractGatedCell):
    """n-channel MOSFET of SPICE level 1: square law with body effect.

    With `v_S` the lower terminal voltage, `v_DS` the voltage between the terminals, all voltages
    relative to the bulk, `v_th = v_t + gamma (sqrt(phi + v_S) - sqrt(phi))` and
    `v_ov = v_gate - v_S - v_th`:

        I = 0                                          v_ov <= 0
        I = beta (1 + lam v_DS) v_DS (v_ov - v_DS / 2)   v_DS < v_ov
        I = beta (1 + lam v_DS) v_ov^2 / 2               else.

    For `v_S < 0` the square root continues as its tangent, as in circuit simulators. Below
    threshold current and gradients are 0: to learn through transistors, use `Mosfet`. Source: H.
    Shichman, D. A. Hodges, IEEE J. Solid-State Circuits 3, 285 (1968),
    doi:10.1109/JSSC.1968.1049902.

    **Arguments:** scalars, or arrays that broadcast to `(rows, cols)`.

    - `beta`: `KP W / L` [A/V^2], at least 0.
    - `v_t`: threshold voltage [V] without body effect (`VTO`).
    - `v_gate`: gate voltage [V]; the gate voltages of a `Bias` take precedence.
    - `lam`: channel-length modulation [1/V], at least 0.
    - `gamma`: body effect [V^0.5], at least 0.
    - `phi`: surface potential [V], above 0.
    - `v_bulk`: bulk voltage [V].

    Raises `ValueError` for a parameter that is not finite, and for a negative `beta`, `lam`,
    `gamma` or `phi`.
    """

    beta: Float[Array, "..."] = eqx.field(converter=physical("beta"))
    v_t: Float[Array, "..."] = eqx.field(converter=physical("v_t", whole=True))
    v_gate: Float[Array, "..."] = eqx.field(converter=physical("v_gate", whole=True))
    lam: Float[Array, "..."] = eqx.field(converter=physical("lam"), default=0.0)
    gamma: Float[Array, "..."] = eqx.field(converter=physical("gamma"), default=0.0)
    phi: Float[Array, "..."] = eqx.field(converter=physical("phi"), default=0.6)
    v_bulk: Float[Array, "..."] = eqx.field(converter=physical("v_bulk", whole=True), default=0.0)
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = False

    def __check_init__(self):
        for name, unit in (
            ("beta", "A/V^2"),
            ("lam", "1/V"),
            ("gamma", "V^0.5"),
            ("phi", "V"),
        ):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        for name in ("v_t", "v_gate", "v_bulk"):
            require_finite(getattr(self, name), name, "V")

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v = v_row - v_col
        v_ds = jnp.where(v >= 0, v, -v)  # abs would have slope 0 at 0
        v_ov = jnp.maximum(self._overdrive(v_row, v_col), 0)
        v_sat = jnp.where(v_ds < v_ov, v_ds, v_ov)
        size = self.beta * (1 + self.lam * v_ds) * v_sat * (v_ov - v_sat / 2)
        return jnp.where(v >= 0, size, -size)

    def _overdrive(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        v_s = jnp.where(v_row >= v_col, v_col, v_row) - self.v_bulk
        root = jnp.sqrt(self.phi)
        above = jnp.sqrt(self.phi + jnp.maximum(v_s, 0))
        below = jnp.maximum(root + v_s / (2 * root), 0)
        body = self.gamma * (jnp.where(v_s >= 0, above, below) - root)
        return self.v_gate - self.v_bulk - v_s - self.v_t - body

    def valid(self) -> DeviceMask:
        sound = (self.beta >= 0) & (self.lam >= 0) & (self.gamma >= 0) & (self.phi > 0)
        return sound & jnp.isfinite(self.beta + self.v_t + self.v_gate + self.v_bulk)

    def gated(self, v_gate: PerDevice) -> "Level1Mosfet":
        parts = self.beta, self.v_t, v_gate, self.lam, self.gamma, self.phi, self.v_bulk
        return Level1Mosfet(*parts)

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return self._overdrive(v_row, v_col) > 0


class PChannel(AbstractGatedCell):
    """p-channel MOSFET: the mirror image of an n-channel one.

        I(v_row, v_col) = -I_n(v_bulk - v_row, v_bulk - v_col),    gate of I_n at v_bulk - v_gate

    **Arguments:**

    - `channel`: the n-channel transistor that is mirrored, such as a `Mosfet`, with the magnitudes
        of the parameters; its own gate voltage and bulk do not count.
    - `v_gate`: gate voltage [V]; the gate voltages of a `Bias` take precedence.
    - `v_bulk`: voltage [V] of the bulk, which is at the supply.

    Raises `TypeError` for another kind of channel, `ValueError` for a voltage that is not finite.
    """

    channel: Mosfet | Level1Mosfet
    v_gate: Float[Array, "..."] = eqx.field(converter=physical("v_gate", whole=True))
    v_bulk: Float[Array, "..."] = eqx.field(converter=physical("v_bulk", whole=True))
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = False

    def __check_init__(self):
        if not isinstance(self.channel, (Mosfet, Level1Mosfet)):
            raise TypeError(
                f"channel is {described(self.channel)}; pass a Mosfet or a Level1Mosfet."
            )
        for name in ("v_gate", "v_bulk"):
            require_finite(getattr(self, name), name, "V")

    @property
    def _mirrored(self) -> Mosfet | Level1Mosfet:
        at_zero = eqx.tree_at(lambda c: c.v_bulk, self.channel, jnp.zeros_like(self.v_bulk))
        return at_zero.gated(self.v_bulk - self.v_gate)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return -self._mirrored.current(self.v_bulk - v_row, self.v_bulk - v_col)

    def valid(self) -> DeviceMask:
        return self.channel.valid() & jnp.isfinite(self.v_gate + self.v_bulk)

    def gated(self, v_gate: PerDevice) -> "PChannel":
        return PChannel(self.channel, v_gate, self.v_bulk)

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return self._mirrored.conducts(self.v_bulk - v_row, self.v_bulk - v_col)
