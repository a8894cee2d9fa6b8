"""Voltages over time at the drivers of word lines, piecewise linear as sources of SPICE are."""

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
    """Straight from corner to corner, and constant before the first one and after the last,

        v(t) = v_k + (v_{k+1} - v_k) (t - t_k) / (t_{k+1} - t_k).

    **Arguments:**

    - `t`: times [s] of the corners, rising: `(corners,)`, or `(corners, lines)` where each line has
        its own.
    - `v`: voltages [V] at the corners, `(corners, lines)`.

    Edges take time: a jump is no circuit's, and would make its currents infinite where wires are
    ideal. Raises `ValueError` for times that do not rise and for shapes that do not fit.
    """

    t: Float[Array, "corners *lines"] = eqx.field(converter=physical("t"))
    v: Float[Array, "corners lines"] = eqx.field(converter=physical("v", whole=True))

    def __check_init__(self):
        require_finite(self.t, "t", "s")
        require_finite(self.v, "v", "V")
        v, t = jnp.shape(self.v), jnp.shape(self.t)
        if len(v) != 2 or t not in (v, v[:1]):
            raise ValueError(
                f"t has shape {t} and v {v}: v must be (corners, lines), and t that or (corners,)."
            )
        if not everywhere(lambda t: np.diff(t, axis=0) > 0, self.t):
            at = np.argwhere(~(np.diff(np.asarray(self.t), axis=0) > 0))[0]
            raise ValueError(f"t does not rise after corner {at[0]}: time runs forward only.")

    @property
    def lines(self) -> int:
        return self.v.shape[1]

    def __call__(self, t: ArrayLike, within: ArrayLike | None = None) -> Float[Array, " lines"]:
        """Voltages [V] of all lines at one time [s]; on the straight lines through the time
        `within`, if that is given: at a corner, they tell the derivative before it from the one
        after it."""
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
    """From 0 V to `v` [V], `(lines,)`, within `edge` [s] from `start` [s] on. Raises
    `ValueError` for an edge that takes no time."""
    v = as_physical(v, "v", whole=True)
    edge, start = _time(edge, "edge"), as_physical(start, "start")
    return Waveform(jnp.stack([start, start + edge]), jnp.stack([jnp.zeros_like(v), v]))


def pulse(v: Values, width: ArrayLike, edge: ArrayLike, start: ArrayLike = 0.0) -> Waveform:
    """From 0 V to `v` [V], `(lines,)`, and back: `width` [s] from the middle of the rising edge to
    the middle of the falling one, each of `edge` [s], from `start` [s] on. A width a line makes
    pulses of different lengths (`(lines,)`); each must be longer than an edge,
    else `ValueError`.
    """
    v = as_physical(v, "v", whole=True)
    width, edge = _time(width, "width"), _time(edge, "edge")
    if not everywhere(lambda width, edge: width > edge, width, edge):
        raise ValueError(
            f"width has {np.min(width)} s, but edges take {edge} s: a pulse must be longer."
        )
    on = as_physical(start, "start") + jnp.zeros_like(width)
    t = jnp.stack([on, on + edge, on + width, on + width + edge])
    return Waveform(t, jnp.stack([jnp.zeros_like(v), v, v, jnp.zeros_like(v)]))


def pwm(
    codes: Values, v: Values, lsb: ArrayLike, edge: ArrayLike, start: ArrayLike = 0.0
) -> Waveform:
    """Numbers as lengths of pulses: `codes` `(lines,)` times `lsb` [s] at `v` [V], a scalar or one
    a line, with edges of `edge` [s] and from `start` [s] on, as of `pulse`. The line of a 0 stays
    at 0 V. Codes may be floating, and then have gradients. Raises `ValueError` for codes below 0
    and between 0 and 1, and for an `lsb` that is not longer than an edge."""
    codes = as_physical(codes, "codes", whole=True).astype(float)
    if not everywhere(lambda codes: (codes == 0) | (codes >= 1), codes):
        raise ValueError(f"codes has {np.min(codes)}; a code is 0, or 1 at least.")
    v, lsb = as_physical(v, "v", whole=True), _time(lsb, "lsb")
    if not everywhere(lambda lsb, edge: lsb > edge, lsb, _time(edge, "edge")):
        raise ValueError(f"lsb is {np.min(lsb)} s, but edges take {edge} s: it must be longer.")
    some = codes > 0
    return pulse(jnp.where(some, v, 0), lsb * jnp.where(some, codes, 1), edge, start)


def _time(x: ArrayLike, name: str) -> Array:
    x = as_physical(x, name)
    require_positive(x, name, "s")
    return x
