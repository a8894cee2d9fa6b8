from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import (
    Scalar,
    between,
    everywhere,
    in_dtype,
    physical,
    require_nonnegative,
    require_positive,
    straight_through,
)
from .perturbation import AbstractPerturbation, normals

Conductances = Float[Array, "..."]


class OpenLoopWrite(AbstractPerturbation):
    """Open-loop write: a counted number of pulses from `g_min` upwards, without verification.

    With `x = (g - g_min)/(g_max - g_min)`, a pulse adds `step (1 - slope x)` to `x`. A target needs
    `n = -ln(1 - slope x)/(step slope)` pulses, or `x/step` at `slope = 0`, not rounded to whole
    pulses. If every pulse does `rate` times its nominal step, the cell ends at

        1 - slope x' = (1 - slope x)^rate,    rate = max(strength (1 + device xi), 0).

    Pulse-to-pulse variation adds a random walk of standard deviation
    `cycle rate step (1 - slope x') sqrt(n)`. The cell stays between `g_min` and `g_max`. Per cell,
    `xi` is one standard normal number and the walk another.

    The model is the linear step with multiplicative noise of IBM's AIHWKit (Rasch et al., IEEE
    AICAS, 2021, 10.1109/AICAS51828.2021.9458494), with many small steps taken as one. Soft bounds
    (Fusi and Abbott, Nat. Neurosci. 10, 485, 2007, 10.1038/nn1859) are the limit of `slope` to 1.

    IR drop lowers the write voltage, most at cells far from the drivers: `schemes.pulse_strength`
    gives the `strength` of a pulse at every cell of an array.

    **Arguments:**

    - `step`: increment of the first pulse, as a fraction of `g_max - g_min`; `slope`: relative
        decrease of the increment up to `g_max` [1], at least 0 and below 1.
    - `g_min`, `g_max`: [S].
    - `device`, `cycle`: relative deviations of a step from cell to cell, from pulse to pulse [1].
    - `strength`: a pulse's effect as a fraction of its nominal step [1], a scalar or one per cell.

    Raises `ValueError` for other `step` or `slope`, `g_min` not below `g_max`, and negative
    deviations or strengths.
    """

    step: Scalar = eqx.field(converter=physical("step"))
    slope: Scalar = eqx.field(converter=physical("slope"))
    g_min: Scalar = eqx.field(converter=physical("g_min"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))
    device: Scalar = eqx.field(converter=physical("device"), default=0.0)
    cycle: Scalar = eqx.field(converter=physical("cycle"), default=0.0)
    strength: Float[Array, "..."] = eqx.field(converter=physical("strength"), default=1.0)

    def __check_init__(self):
        require_positive(self.step, "step", "of the range")
        for name in ("device", "cycle", "strength"):
            require_nonnegative(getattr(self, name), name, "1", open_allowed=False)
        if not everywhere(lambda s: (s >= 0) & (s < 1), self.slope):
            raise ValueError(f"slope is {self.slope}; it must be at least 0 and below 1.")
        if not everywhere(lambda low, high: low < high, self.g_min, self.g_max):
            raise ValueError(f"g_min is {self.g_min} S; it must lie below g_max, {self.g_max} S.")

    def count(self, g: Conductances) -> Conductances:
        """Number of pulses to a target conductance [S]."""
        self = in_dtype(self, g.dtype)
        x = self._share(g)
        return x * _log_ratio(self.slope * x) / self.step

    def draw(self, x: Any, key: PRNGKeyArray) -> Float[Array, "2 ..."]:
        return normals(jnp.broadcast_to(jnp.zeros((), x.dtype), (2, *x.shape)), key)

    def apply(self, x: Conductances, drawn: Float[Array, "2 ..."]) -> Conductances:
        self = in_dtype(self, x.dtype)
        n = self.count(x)
        rate = jnp.maximum(self.strength * (1 + self.device * drawn[0]), 0)
        done = rate * n * self.step
        share = done * _exp_ratio(self.slope * done)
        root = jnp.where(n > 0, jnp.sqrt(jnp.where(n > 0, n, 1)), 0)
        walk = self.cycle * rate * self.step * (1 - self.slope * share) * root * drawn[1]
        share = within_one(share + walk)
        return between(self.g_min, self.g_max, share).astype(x.dtype)

    def _share(self, g: Conductances) -> Conductances:
        return within_one((g - self.g_min) / (self.g_max - self.g_min))


def within_one(x: Array) -> Array:
    """`x` clipped to 0 and 1, with full gradients at the ends and within rounding beyond them.

    Half the cells of a differential pair are at an end."""
    near = jnp.where(x < -1e-6, 0, jnp.where(x > 1 + 1e-6, 1, x))
    return lax.stop_gradient(jnp.clip(near, 0, 1)) + straight_through(near)


def _log_ratio(y: Array) -> Array:
    """`-ln(1 - y)/y`, 1 at 0."""
    small = jnp.abs(y) < 1e-3
    series = 1 + y * (1 / 2 + y * (1 / 3 + y * (1 / 4 + y * (1 / 5 + y / 6))))
    safe = jnp.where(small, 0.5, y)
    return jnp.where(small, series, -jnp.log1p(-safe) / safe)


def _exp_ratio(y: Array) -> Array:
    """`(1 - exp(-y))/y`, 1 at 0."""
    small = jnp.abs(y) < 1e-3
    series = 1 - y / 2 * (1 - y / 3 * (1 - y / 4 * (1 - y / 5 * (1 - y / 6))))
    safe = jnp.where(small, 0.5, y)
    return jnp.where(small, series, -jnp.expm1(-safe) / safe)
