"""Piecewise-linear driver voltages over time, like the PWL sources of SPICE."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import (
    PerCol,
    Values,
    as_physical,
    everywhere,
    physical,
    require_finite,
    require_positive,
)
from .sources import Bias

__all__ = ["BiasWaveform", "Waveform", "pulse", "pwm", "step"]


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

    @property
    def corners(self) -> Float[Array, " corners_"]:
        """Times [s] of the corners of all lines, in any order."""
        return jnp.ravel(self.t)

    @property
    def largest(self) -> Float[Array, " lines"]:
        """Voltage [V] of largest size of each line, at whatever time."""
        at = jnp.argmax(jnp.abs(self.v), axis=0)[None]
        return jnp.take_along_axis(self.v, at, axis=0)[0]

    @property
    def rises(self) -> Bool[Array, ""]:
        """Whether the times of the corners rise."""
        return jnp.all(jnp.diff(self.t, axis=0) > 0)


class BiasWaveform(eqx.Module):
    """Waveforms at both line families and at the gates: the `Bias` of an array over time.

    **Arguments:** waveforms, each with its own corners.

    - `row`, `col`: voltages of the word lines and the bit lines at their near ends; without `col`
        bit lines stay at the voltage of the readout.
    - `gate`: gate voltages, one line per row; without it cells keep their own.
    - `row_far`, `col_far`: voltages of the far ends, by default those of the near ends.

    Lines are those of a `Bias`. A write pulse of the V/2 scheme is
    `BiasWaveform(pulse(v / 2 at the row, ...), pulse(-v / 2 at the column, ...))`.
    """

    row: Waveform
    col: Waveform | None = None
    gate: Waveform | None = None
    row_far: Waveform | None = None
    col_far: Waveform | None = None

    def __call__(self, t: ArrayLike, within: ArrayLike | None = None) -> Float[Array, " lines"]:
        """Voltages [V] of the word lines, `(lines,)`, as of a `Waveform`."""
        return self.row(t, within)

    @property
    def lines(self) -> int:
        """Number of word lines."""
        return self.row.lines

    @property
    def parts(self) -> tuple[Waveform, ...]:
        """All waveforms that are given."""
        every = self.row, self.col, self.gate, self.row_far, self.col_far
        return tuple(x for x in every if x is not None)

    @property
    def corners(self) -> Float[Array, " corners_"]:
        """Times [s] of all corners, in any order."""
        return jnp.concatenate([x.corners for x in self.parts])

    @property
    def rises(self) -> Bool[Array, ""]:
        """Whether the times of the corners of each waveform rise."""
        return jnp.all(jnp.stack([x.rises for x in self.parts]))

    def bias(self, of: Callable[[Waveform], Array], v_col: PerCol) -> Bias:
        """The bias of a value of each waveform; bit lines without a waveform are at `v_col` [V]."""
        row, col = of(self.row), v_col if self.col is None else of(self.col)
        row_far = row if self.row_far is None else of(self.row_far)
        col_far = col if self.col_far is None else of(self.col_far)
        return Bias(row, row_far, col, col_far, None if self.gate is None else of(self.gate))


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


def pulse(
    v: Values, width: ArrayLike, edge: ArrayLike, start: ArrayLike = 0.0, *, rest: Values = 0.0
) -> Waveform:
    """Pulse from `rest` [V], a scalar or `(lines,)`, to `v` [V], `(lines,)`, and back.

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
    low = jnp.broadcast_to(as_physical(rest, "rest", whole=True), v.shape).astype(v.dtype)
    return Waveform(t, jnp.stack([low, v, v, low]))


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
