from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import DeviceMask, PerDevice, physical, require_nonnegative, require_positive
from .cell import AbstractGatedCell
from .memory import AbstractMemoryCell


class Ecram(AbstractMemoryCell, AbstractGatedCell):
    """Electrochemical memory: ions that a gate drives into a channel set its conductance.

        I = g v,    g = g_min + (g_max - g_min) (x - x_min) / (x_max - x_min)
        dx/dt = (v_gate / v_pulse) (step / t_pulse) (1 - gamma_up x / x_max) - x / tau
                                              for v_gate > 0,  (1 - gamma_down x / x_min) below 0

    A pulse of the gate of `v_pulse` and `t_pulse` moves the charge `x` by one `step` at `x = 0`.
    Steps shrink linearly towards the bounds. The charge leaks to 0 with the time constant `tau`.
    The gate voltage counts from the common ground, since the voltages along the channel are small
    beside it.

    Source: the linear steps of M. J. Rasch et al., AICAS (2021),
    doi:10.1109/AICAS51828.2021.9458494, with their mean numbers, which fit a device of lithium ions
    of J. Tang et al., IEDM (2018), doi:10.1109/IEDM.2018.8614551. Steps are spread evenly over a
    pulse here, and over voltages as in a gate of constant resistance.

    **Arguments:** scalars or `(rows, cols)`.

    - `x`: charge in the channel, the state [1], `x_min` to `x_max`.
    - `g_min`, `g_max`: conductances [S] at `x_min` and `x_max`.
    - `v_pulse`, `t_pulse`: height [V] and width [s] of the pulse of one step, above 0.
    - `v_gate`: gate voltage [V]; select schemes and waveforms of gates replace it.
    - `step`: change of `x` by one pulse at 0 [1].
    - `gamma_up`, `gamma_down`: share of a step that is lost at `x_max` and `x_min` [1], 0 to 1.
    - `x_min`, `x_max`: bounds [1], below and above 0.
    - `tau`: time constant of the leakage [s], inf without.

    Raises `ValueError` for a conductance, pulse, step or time constant that is negative.
    """

    x: Float[Array, "..."] = eqx.field(converter=physical("x"))
    g_min: Float[Array, "..."] = eqx.field(converter=physical("g_min"))
    g_max: Float[Array, "..."] = eqx.field(converter=physical("g_max"))
    v_pulse: Float[Array, "..."] = eqx.field(converter=physical("v_pulse"))
    t_pulse: Float[Array, "..."] = eqx.field(converter=physical("t_pulse"))
    v_gate: Float[Array, "..."] = eqx.field(converter=physical("v_gate"), default=0.0)
    step: Float[Array, "..."] = eqx.field(converter=physical("step"), default=0.002)
    gamma_up: Float[Array, "..."] = eqx.field(converter=physical("gamma_up"), default=0.1153)
    gamma_down: Float[Array, "..."] = eqx.field(converter=physical("gamma_down"), default=0.5085)
    x_min: Float[Array, "..."] = eqx.field(converter=physical("x_min"), default=-0.8276)
    x_max: Float[Array, "..."] = eqx.field(converter=physical("x_max"), default=1.1724)
    tau: Float[Array, "..."] = eqx.field(converter=physical("tau"), default=jnp.inf)
    is_linear: ClassVar[bool] = True
    is_reciprocal: ClassVar[bool] = True
    states: ClassVar[tuple[str, ...]] = ("x",)

    def __check_init__(self):
        for name, unit in (("g_min", "S"), ("g_max", "S"), ("step", "")):
            require_nonnegative(getattr(self, name), name, unit, open_allowed=False)
        require_positive(self.v_pulse, "v_pulse", "V")
        require_positive(self.t_pulse, "t_pulse", "s")
        require_positive(self.tau, "tau", "s", open_allowed=True)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        share = (self.x - self.x_min) / (self.x_max - self.x_min)
        return (self.g_min + (self.g_max - self.g_min) * share) * (v_row - v_col)

    def rate(self, v_row: PerDevice, v_col: PerDevice) -> tuple[PerDevice]:
        left = jnp.where(
            self.v_gate > 0,
            1 - self.gamma_up * self.x / self.x_max,
            1 - self.gamma_down * self.x / self.x_min,
        )
        pulses = self.v_gate / self.v_pulse / self.t_pulse
        rate = self.step * pulses * left - self.x / self.tau
        return (jnp.broadcast_to(rate, jnp.broadcast_shapes(rate.shape, v_row.shape)),)

    @property
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice]]:
        return ((self.x_min, self.x_max),)

    def gated(self, v_gate: PerDevice) -> "Ecram":
        return eqx.tree_at(lambda cell: cell.v_gate, self, v_gate)

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return jnp.ones(jnp.shape(v_row), bool)

    def valid(self) -> DeviceMask:
        sound = (self.x >= self.x_min) & (self.x <= self.x_max) & (self.step >= 0) & (self.tau > 0)
        sound &= (self.x_min < 0) & (self.x_max > 0) & (self.g_min >= 0) & (self.g_max >= 0)
        sound &= (self.gamma_up >= 0) & (self.gamma_up <= 1) & (self.gamma_down >= 0)
        return sound & (self.gamma_down <= 1) & (self.v_pulse > 0) & (self.t_pulse > 0)
