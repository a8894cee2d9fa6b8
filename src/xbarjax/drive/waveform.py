"""Piecewise-linear driver voltages over time, like the PWL sources of SPICE."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from .._types import Values, as_physical, everywhere, physical, require_finite, require_positive

__all__ = ["Waveform", "pulse", "pwm", "step"]


def __dir__() -> list[str]:
    return __all__


class Waveform(eqx.Module):
    """Piecewise-linear voltages, constant before the first corner and after the last:

        v(t) = v_k + (v_{k+1} - v_k) (t - t_k) / (t_{k+1} - t_k).

    **Arguments:**

    - `t`: times [s] of the corners, rising: `(corners,)`, or `(corners, lines)` with times per
        line.
    - `v`: voltages [V] at the corners, `(corners, lines)`.

    Every edge takes time: a jump would cause infinite currents where wires are ideal. Raises
    `ValueError` for times that do not rise and for shapes that do not fit.
    """

    t: Float[Array, "corners *lines"] = eqx.field(converter=physical("t"))
    v: Float[Array, "corners lines"] = eqx.field(converter=physical("v", whole=True))

    def __check_init__(self):
        require_finite(self.t, "t", "s")
        require_finite(self.v, "v", "V")
        v, t = jnp.shape(self.v), jnp.shape(self.t)
        if len(v) != 2 or t not in (v, v[:1]):
            raise ValueError(
                f"t has shape {t} and v {v}: v must be (corners, lines), t the same or (corners,)."
            )
        if not everywhere(lambda t: np.diff(t, axis=0) > 0, self.t):
            at = np.argwhere(~(np.diff(np.asarray(self.t), axis=0) > 0))[0]
            raise ValueError(
                f"t does not rise after corner {at[0]}: corners must be in order of time."
            )

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.v.shape[1]

    def __call__(self, t: ArrayLike, within: ArrayLike | None = None) -> Float[Array, " lines"]:
        """Voltages [V] of all lines, `(lines,)`, at the time `t` [s].

        With `within` [s], the straight segment at that time is extended to `t`. At a corner,
        `within` thus selects the slope before or after."""
        t = jnp.asarray(t)
        within = lax.stop_gradient(t if within is None else jnp.asarray(within))
        axis = 1 if self.t.ndim == 2 else None
        return jax.vmap(_on_segment, (None, None, axis, 1))(t, within, self.t, self.v)


def _on_segment(t: Array, within: Array, corners: Array, v: Array) -> Array:
    after = jnp.searchsorted(lax.stop_gradient(corners), within)
    k = jnp.clip(after - 1, 0, corners.size - 2) if corners.size > 1 else 0
    j = jnp.minimum(k + 1, corners.size - 1)
    rise = (v[j] - v[k]) / jnp.where(j > k, corners[j] - corners[k], 1)
    inside = v[k] + rise * (t - corners[k])
    return jnp.where(after == 0, v[0], jnp.where(after == corners.size, v[-1], inside))


def step(v: Values, edge: ArrayLike, start: ArrayLike = 0.0) -> Waveform:
    """Step from 0 V to `v` [V], `(lines,)`, that begins at `start` [s] and takes `edge` [s].

    Raises `ValueError` for an edge that takes no time."""
    v = as_physical(v, "v", whole=True)
    edge, start = _time(edge, "edge"), as_physical(start, "start")
    return Waveform(jnp.stack([start, start + edge]), jnp.stack([jnp.zeros_like(v), v]))


def pulse(v: Values, width: ArrayLike, edge: ArrayLike, start: ArrayLike = 0.0) -> Waveform:
    """Pulse from 0 V to `v` [V], `(lines,)`, and back.

    The rising edge begins at `start` [s]; both edges take `edge` [s]. The `width` [s], a scalar or
    one per line `(lines,)`, lasts from the middle of the rising edge to the middle of the falling
    edge. Raises `ValueError` for a width that is not longer than an edge.
    """
    v = as_physical(v, "v", whole=True)
    width, edge = _time(width, "width"), _time(edge, "edge")
    if not everywhere(lambda width, edge: width > edge, width, edge):
        raise ValueError(
            f"width is {np.min(width)} s, but edges take {edge} s: a pulse must be longer."
        )
    on = as_physical(start, "start") + jnp.zeros_like(width)
    t = jnp.stack([on, on + edge, on + width, on + width + edge])
    return Waveform(t, jnp.stack([jnp.zeros_like(v), v, v, jnp.zeros_like(v)]))


def pwm(
    codes: Values, v: Values, lsb: ArrayLike, edge: ArrayLike, start: ArrayLike = 0.0
) -> Waveform:
    """Pulse-width modulation: pulses of length `codes` times `lsb` [s], with `codes` `(lines,)`.

    Pulses have the voltage `v` [V], a scalar or one per line; `edge` and `start` [s] are those of
    `pulse`. A line of code 0 stays at 0 V. Floating codes have gradients. Raises `ValueError` for
    codes below 0 or between 0 and 1, and for an `lsb` that is not longer than an edge."""
    codes = as_physical(codes, "codes", whole=True).astype(float)
    if not everywhere(lambda codes: (codes == 0) | (codes >= 1), codes):
        raise ValueError(f"codes go down to {np.min(codes)}; every code must be 0 or at least 1.")
    v, lsb = as_physical(v, "v", whole=True), _time(lsb, "lsb")
    if not everywhere(lambda lsb, edge: lsb > edge, lsb, _time(edge, "edge")):
        raise ValueError(f"lsb is {np.min(lsb)} s, but edges take {edge} s: lsb must be longer.")
    some = codes > 0
    return pulse(jnp.where(some, v, 0), lsb * jnp.where(some, codes, 1), edge, start)


def _time(x: ArrayLike, name: str) -> Array:
    x = as_physical(x, name)
    require_positive(x, name, "s")
    return x
