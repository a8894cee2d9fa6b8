"""Amplifier with a resistor and a capacitor as parallel feedback, within one stage of a time step.

The output `v_out` and the voltage `u = v - v_out` across the feedback are states,

    dv_out/dt = w (e - v) - w / A v_out,        w = 2 pi gbw,
    i = u / r_f + c_f du/dt + c_in dv/dt,

with the current `i` into the input, the input voltage `v`, the reference and offset voltage `e`,
the open-loop gain `A` at DC and the unity-gain frequency `gbw`. A stage ends at `y = y_h + d dy/dt`
for both states. With `rho = 1 / (1 / r_f + c_f / d)` and `x = 1 / (d w) + 1 / A`,

    v = v_s + r i,    r = rho x / (1 + x),
    v_s = (e + v_out_h / (d w) + x rho c_f / d u_h) / (1 + x).

In parallel lies `c_in`, a resistance `d / c_in` to its own earlier voltage `v_h`. An ideal
amplifier has `x = 0`; no expression divides by `x`.
"""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .._types import PerCol, Scalar
from .readout import Memory


class Feedback(eqx.Module):
    """Parameters of the amplifiers, scalars or one per column. Infinities are ordinary values."""

    e: Array  # [V]
    gain: Array  # [1]
    gbw: Array  # [Hz]
    r_f: Array  # [ohm]
    c_f: Array  # [F]
    c_in: Array  # [F]

    def _slow(self, d: Scalar) -> Array:
        """`1 / (d w)`, divided in an order that has a derivative at `gbw = inf`."""
        return 1 / self.gbw / (2 * math.pi * d)

    def _stage(self, d: Scalar, y_h: Memory) -> tuple[Array, Array, Array, Array]:
        """Voltage [V] and resistance [ohm] without `c_in`, `rho` [ohm], and `rho c_f / d` [1]."""
        slow = self._slow(d)
        x = slow + 1 / self.gain
        # two forms, so that both r_f = 0 and r_f = inf stay finite
        small = self.r_f < 1
        r = jnp.where(small, self.r_f, 1)
        large = jnp.where(small, 1, self.r_f)
        rho = jnp.where(small, r / (1 + r * self.c_f / d), 1 / (1 / large + self.c_f / d))
        share = rho * self.c_f / d
        v = (self.e + slow * y_h.out + x * share * y_h.across) / (1 + x)
        return v, rho * x / (1 + x), rho, share

    def companion(self, d: Scalar, y_h: Memory) -> tuple[PerCol, PerCol]:
        v, r, _, _ = self._stage(d, y_h)
        beside = r * self.c_in / d
        cols = y_h.out.shape
        v, r = (v + beside * y_h.at) / (1 + beside), r / (1 + beside)
        return jnp.broadcast_to(v, cols), jnp.broadcast_to(r, cols)

    def damped(self, d: Scalar, error: Memory) -> Memory:
        _, _, _, share = self._stage(d, error)
        slow = self._slow(d)
        return Memory(error.out * slow / (1 + slow), error.across * share, error.at)

    def end(self, d: Scalar, y_h: Memory, i: PerCol, v: PerCol) -> Memory:
        _, _, rho, share = self._stage(d, y_h)
        i = i - self.c_in / d * (v - y_h.at)
        across = rho * i + share * y_h.across
        return Memory(v - across, across, v)
