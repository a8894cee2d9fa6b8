"""Voltages over time at the drivers of word lines, piecewise linear as sources of SPICE are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ._types import as_physical, everywhere, physical, require_finite, require_positive


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

    t: Float[Array, "corners *lines"] = physical("t")
    v: Float[Array, "corners lines"] = physical("v")

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

    def __call__(self, t: ArrayLike) -> Float[Array, " lines"]:
        """Voltages [V] of all lines at one time [s]."""
        axis = 1 if self.t.ndim == 2 else None
        return jax.vmap(jnp.interp, (None, axis, 1))(jnp.asarray(t), self.t, self.v)


def step(v: ArrayLike, edge: ArrayLike, start: ArrayLike = 0.0) -> Waveform:
    """From 0 V to `v` [V], `(lines,)`, within `edge` [s] from `start` [s] on. Raises
    `ValueError` for an edge that takes no time."""
    v = as_physical(v, "v")
    edge, start = _time(edge, "edge"), as_physical(start, "start")
    return Waveform(jnp.stack([start, start + edge]), jnp.stack([jnp.zeros_like(v), v]))


def pulse(v: ArrayLike, width: ArrayLike, edge: ArrayLike, start: ArrayLike = 0.0) -> Waveform:
    """From 0 V to `v` [V], `(lines,)`, and back: `width` [s] from the middle of the rising edge to
    the middle of the falling one, each of `edge` [s], from `start` [s] on. A width a line makes
    pulses of different lengths (`(lines,)`); each must be longer than an edge,
    else `ValueError`.
    """
    v = as_physical(v, "v")
    width, edge = _time(width, "width"), _time(edge, "edge")
    if not everywhere(lambda width, edge: width > edge, width, edge):
        raise ValueError(
            f"width has {np.min(width)} s, but edges take {edge} s: a pulse must be longer."
        )
    on = as_physical(start, "start") + jnp.zeros_like(width)
    t = jnp.stack([on, on + edge, on + width, on + width + edge])
    return Waveform(t, jnp.stack([jnp.zeros_like(v), v, v, jnp.zeros_like(v)]))


def _time(x: ArrayLike, name: str) -> Array:
    x = as_physical(x, name)
    require_positive(x, name, "s")
    return x
