from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._types import (
    Scalar,
    as_physical,
    everywhere,
    in_dtype,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
)
from ..cells.constants import thermal_voltage
from .perturbation import AbstractPerturbation, normals
from .programming import polynomial, require_polynomial

Conductances = Float[Array, "..."]


class ClippedLog(eqx.Module):
    """Parameter that depends on a conductance: `clip(slope ln(g/g_max) + offset, low, high)`.

    At `g = 0` the logarithm counts as 0.

    **Arguments:** `slope`, `offset`, `low`, `high`: [unit of the parameter]; `g_max`: [S]. Raises
    `ValueError` for `low` above `high` and for a `g_max` that is not positive.
    """

    slope: Scalar = eqx.field(converter=physical("slope"))
    offset: Scalar = eqx.field(converter=physical("offset"))
    low: Scalar = eqx.field(converter=physical("low"))
    high: Scalar = eqx.field(converter=physical("high"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))

    def __check_init__(self):
        require_positive(self.g_max, "g_max", "S")
        if not everywhere(lambda low, high: low <= high, self.low, self.high):
            raise ValueError(f"low is {self.low}; it must not exceed high, {self.high}.")

    def __call__(self, g: Conductances) -> Conductances:
        ratio = jnp.where(g > 0, g / self.g_max, 1)
        number = jnp.where(g > 0, self.slope * jnp.log(ratio) + self.offset, self.offset)
        return jnp.clip(number, self.low, self.high)


def _exponent(name: str) -> Any:
    return eqx.field(converter=lambda x: x if isinstance(x, ClippedLog) else as_physical(x, name))


class Drift(AbstractPerturbation):
    """Conductance drift of phase-change cells by structural relaxation: `g (t/t_0)^-nu`,
    `nu = mean + spread xi`, with a standard normal `xi` per cell (Ielmini et al., IEEE Trans.
    Electron Devices 54, 308, 2007).

    `ln g` is normal: its mean falls by `mean ln(t/t_0)`, and its standard deviation is
    `spread ln(t/t_0)`. One key at two times gives the same cells at two times.

    **Arguments:** `t`, `t_0`: times [s] of this read and of the first read, since programming;
    `mean`, `spread`: mean and standard deviation of the exponent `nu`, numbers or functions of `g`
    (`ClippedLog`). Raises `ValueError` for times that are not positive.
    """

    t: Scalar = eqx.field(converter=physical("t"))
    t_0: Scalar = eqx.field(converter=physical("t_0"))
    mean: Scalar | ClippedLog = _exponent("mean")
    spread: Scalar | ClippedLog = _exponent("spread")

    def __check_init__(self):
        require_positive(self.t, "t", "s")
        require_positive(self.t_0, "t_0", "s")
        for name in ("mean", "spread"):
            if not isinstance(getattr(self, name), ClippedLog):
                require_finite(getattr(self, name), name, "1")

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        self = in_dtype(self, x.dtype)
        nu = _at(self.mean, x) + _at(self.spread, x) * drawn
        return (x * jnp.exp(-nu * jnp.log(self.t / self.t_0))).astype(x.dtype)


class Relaxation(AbstractPerturbation):
    """Conductance relaxation after write-verify: `g + age (shift(g) + size(g) xi)`, not below 0,
    with a standard normal `xi` per cell.

    `shift` and `size` (at least 0) are polynomials in `g/g_max`, measured at a reference time and
    temperature, where `age` is 1. Filaments relax roughly with the logarithm of time, each at its
    own pace; hence one key at two ages gives the same cells at two times. `logarithmic` and
    `equivalent_time` give the `age`.

    **Arguments:** `shift`, `size`: coefficients [S], lowest power first; `g_max`: [S]; `age`: [1].
    """

    shift: Float[Array, " powers"] = eqx.field(converter=physical("shift"))
    size: Float[Array, " powers_"] = eqx.field(converter=physical("size"))
    g_max: Scalar = eqx.field(converter=physical("g_max"))
    age: Scalar = eqx.field(converter=physical("age"), default=1.0)

    def __check_init__(self):
        require_polynomial(self.shift, "shift")
        require_polynomial(self.size, "size")
        require_positive(self.g_max, "g_max", "S")
        require_nonnegative(self.age, "age", "of the reference", open_allowed=False)

    def draw(self, x: Any, key: PRNGKeyArray) -> Conductances:
        return normals(x, key)

    def apply(self, x: Conductances, drawn: Conductances) -> Conductances:
        self = in_dtype(self, x.dtype)
        shift, size = (polynomial(p, x / self.g_max) for p in (self.shift, self.size))
        moved = self.age * (shift + jnp.maximum(size, 0) * drawn)
        return jnp.maximum(x + moved, 0).astype(x.dtype)


def logarithmic(t: ArrayLike, t_ref: ArrayLike, t_0: ArrayLike) -> Array:
    """Age of a process that grows with the logarithm of time: `ln(1 + t/t_0)/ln(1 + t_ref/t_0)`.

    The age is 0 at `t = 0` and 1 at the reference time.

    **Arguments:** `t`: time [s] since programming; `t_ref`: time [s] of the reference measurement;
    `t_0`: time [s] at which relaxation sets in.
    """
    t, t_ref, t_0 = (jnp.asarray(x, float) for x in (t, t_ref, t_0))
    return jnp.log1p(t / t_0) / jnp.log1p(t_ref / t_0)


def equivalent_time(
    t: ArrayLike, temperature: ArrayLike, temperature_ref: ArrayLike, e_a: ArrayLike
) -> Array:
    """Time [s] at a reference temperature with the same effect as `t` at `temperature`, by
    Arrhenius: `t exp(e_a/k (1/temperature_ref - 1/temperature))`.

    **Arguments:** `t`: [s]; `temperature`, `temperature_ref`: [K]; `e_a`: activation energy [eV].
    """
    t, hot, ref, e_a = (jnp.asarray(x, float) for x in (t, temperature, temperature_ref, e_a))
    return t * jnp.exp(e_a / thermal_voltage(ref) - e_a / thermal_voltage(hot))


def _at(number: Scalar | ClippedLog, g: Conductances) -> Array:
    return number(g) if isinstance(number, ClippedLog) else number
