"""Analog to digital: what a converter makes of currents or voltages, with what spoils it.

A converter has codes 0 to `n = 2^bits - 1` over a range from `lo` to `hi`, the first and the last
code standing for its ends, and gives back what a code stands for,

    y = lo + (hi - lo) k / n,    ideally    k = round(u),    u = n (x - lo) / (hi - lo),

in the unit of `x`. Codes come from comparisons, so that gradients go straight through: `dy/dx` is 1
within the range and 0 beyond. What the ends gain follows from the same rule, `dy/dlo = (u - k) / n`
within and 1 below (learned step sizes: Esser et al., ICLR 2020, arXiv:1902.08153), so that ranges
are learned like any other parameter.

Parameters are scalars or broadcast against `x`: a range a column is an array `(cols,)`, and what is
a list, of bits or thresholds, is its last axis.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .._types import (
    alike,
    between,
    everywhere,
    is_concrete,
    physical,
    require_bits,
    require_finite,
    straight_through,
    widest,
)

Signal = Float[Array, "..."]  # [A] or [V]
Code = Int[Array, "..."]


class AbstractConverter(eqx.Module):
    """An analog-to-digital converter: from a signal to codes, and to the values that codes stand
    for."""

    @abc.abstractmethod
    def code(self, x: Signal) -> Code:
        """Codes of a signal, from 0 on."""

    @abc.abstractmethod
    def __call__(self, x: Signal) -> Signal:
        """Values that the codes of a signal stand for, in its unit, with a gradient straight
        through."""


class AbstractUniformConverter(AbstractConverter):
    """A converter whose `2^bits` codes are equally spaced from `lo` to `hi`."""

    bits: eqx.AbstractVar[int]
    lo: eqx.AbstractVar[Signal]
    hi: eqx.AbstractVar[Signal]

    def __call__(self, x: Signal) -> Signal:
        """Values that the codes of a signal stand for, in its unit, with a gradient straight
        through.

        On concrete values raises `ValueError` where the whole signal lies beyond the range."""
        u = self.scaled(x)
        last = 2**self.bits - 1
        if is_concrete((x, u)) and np.all((np.asarray(u) < 0) | (np.asarray(u) > last)):
            raise ValueError(
                f"the whole signal lies beyond the converter's range, {self.lo} to {self.hi}:"
                " nothing is left of it. Move lo and hi to where the signal is."
            )
        within = jnp.where(u < 0, 0, jnp.where(u > last, last, u))
        code = jnp.add(*alike(self.code(x), straight_through(within)))
        return between(self.lo, self.hi, code / last)

    def scaled(self, x: Signal) -> Signal:
        """The signal in steps from `lo`."""
        x, lo, hi = alike(x, self.lo, self.hi)
        return (2**self.bits - 1) * (x - lo) / (hi - lo)


class Adc(AbstractUniformConverter):
    """An ideal converter: the nearest code, halfway between two of them the even one.

    **Arguments:** `bits`, and the range from `lo` to `hi` in the unit of the signal. Raises
    `ValueError` for a range without a width.
    """

    bits: int = eqx.field(static=True)
    lo: Signal = eqx.field(converter=physical("lo", whole=True))
    hi: Signal = eqx.field(converter=physical("hi", whole=True))

    def __check_init__(self):
        _require_range(self)

    def code(self, x: Signal) -> Code:
        return _clipped(jnp.round(self.scaled(x)), self.bits)


class Sar(AbstractUniformConverter):
    """Successive approximation by capacitors that do not match.

    Bit after bit, from the most significant one, the sum of the capacitors kept so far and of the
    next is compared with the signal: `kept + C_b <= u + 1/2`, with `C_b` in proportion to
    `2^b (1 + mismatch_b)` and all of them together `n`. The register takes the bits at their
    nominal weights.

    **Arguments:**

    - `bits`, `lo`, `hi`: as of `Adc`.
    - `mismatch`: relative errors of the capacitors, shape `(..., bits)`, the least significant bit
        first. For unit capacitors of deviation `sigma` that of bit `b` is `sigma / sqrt(2^b)`.
    - `offset`: of the comparator, in the unit of the signal.
    """

    bits: int = eqx.field(static=True)
    lo: Signal = eqx.field(converter=physical("lo", whole=True))
    hi: Signal = eqx.field(converter=physical("hi", whole=True))
    mismatch: Float[Array, "... bits"] = eqx.field(converter=physical("mismatch"))
    offset: Signal = eqx.field(converter=physical("offset", whole=True), default=0.0)

    def __check_init__(self):
        _require_range(self)
        require_finite(self.offset, "offset", "")
        _require_last(self.mismatch, "mismatch", self.bits, "one error per capacitor")
        if not everywhere(lambda x: x > -1, self.mismatch):
            worst = float(np.min(self.mismatch))
            raise ValueError(f"mismatch has an entry of {worst}; no capacitor is negative or none.")

    def code(self, x: Signal) -> Code:
        last = 2**self.bits - 1
        nominal = 2.0 ** jnp.arange(self.bits, dtype=self.mismatch.dtype)
        capacitors = jnp.multiply(*alike(nominal, 1 + self.mismatch))
        capacitors = last * capacitors / jnp.sum(capacitors, axis=-1, keepdims=True)
        u = self.scaled(jnp.add(*alike(x, self.offset)))
        u, *capacitors = alike(u, *jnp.moveaxis(capacitors, -1, 0))
        kept, code = jnp.zeros_like(u), jnp.zeros(jnp.shape(u), int)
        for b in reversed(range(self.bits)):
            keeps = kept + capacitors[b] <= u + 0.5
            kept = jnp.where(keeps, kept + capacitors[b], kept)
            code = code + jnp.where(keeps, 2**b, 0)
        return code


class Flash(AbstractUniformConverter):
    """As many comparators as there are steps, each with a threshold that is off by its own offset.
    The code is how many of them are passed, so that thresholds out of order give no wild codes.

    **Arguments:**

    - `bits`, `lo`, `hi`: as of `Adc`.
    - `offset`: of the comparators, in the unit of the signal, shape `(..., 2^bits - 1)`.
    """

    bits: int = eqx.field(static=True)
    lo: Signal = eqx.field(converter=physical("lo", whole=True))
    hi: Signal = eqx.field(converter=physical("hi", whole=True))
    offset: Float[Array, "... thresholds"] = eqx.field(converter=physical("offset", whole=True))

    def __check_init__(self):
        _require_range(self)
        _require_last(self.offset, "offset", 2**self.bits - 1, "one offset per comparator")

    def code(self, x: Signal) -> Code:
        last = 2**self.bits - 1
        ends = self.lo[..., None], self.hi[..., None]
        middles = jnp.arange(last, dtype=self.offset.dtype) + 0.5
        low, high, middles, offset = alike(*ends, middles, self.offset)
        thresholds = low + (high - low) * middles / last + offset
        return jnp.sum(jnp.greater(*alike(x[..., None], thresholds)), axis=-1)


class Ramp(AbstractConverter):
    """A ramp that all columns share: a comparator a column stops a counter when the ramp passes its
    signal. The ramp need not be straight: its `levels` are what the codes stand for, so that a
    learned ramp is a learned quantiser, and one that begins at 0 is a rectifier.

    The code is that of the nearest level, halfway between two that of the lower. Gradients go
    straight through, as those of `Adc`, whose gradients an even ramp has: that of the signal is 1
    between the first and the last level. A level's is 1 for the signals that it is nearest to, less
    its part in a signal that lies between two levels, `x = (1 - p) L_j + p L_{j+1}`, since codes
    change as it moves. Without that part a mean over many signals has a gradient of the wrong size,
    and learning diverges.

    **Arguments:**

    - `levels`: the ramp at every count, rising, in the unit of the signal, shape `(2^bits,)`.
    - `offset`: of the comparators, in the unit of the signal, a scalar or one per column.
    """

    levels: Float[Array, " codes"] = eqx.field(converter=physical("levels", whole=True))
    offset: Signal = eqx.field(converter=physical("offset", whole=True), default=0.0)

    def __check_init__(self):
        require_finite(self.levels, "levels", "")
        require_finite(self.offset, "offset", "")
        if jnp.ndim(self.levels) != 1 or jnp.size(self.levels) < 2:
            raise ValueError(
                f"levels have shape {jnp.shape(self.levels)}; a ramp needs two or more."
            )
        if not everywhere(lambda x: np.diff(x) > 0, self.levels):
            at = int(np.argmin(np.diff(np.asarray(self.levels)) > 0))
            raise ValueError(f"levels do not rise after the one at {at}; a ramp has to.")

    def code(self, x: Signal) -> Code:
        """Codes of a signal, 0 to one less than there are levels."""
        compared, levels = self._compared(x)
        return jnp.searchsorted((levels[1:] + levels[:-1]) / 2, compared, side="left")

    def _compared(self, x: Signal) -> tuple[Signal, Float[Array, " codes"]]:
        """Signal at the comparators, and their levels."""
        x, offset = alike(x, self.offset)
        dtype = widest(x, self.levels)
        return (x + offset).astype(dtype), self.levels.astype(dtype)

    def __call__(self, x: Signal) -> Signal:
        """The levels nearest to a signal."""
        compared, levels = self._compared(x)
        beyond = (compared < levels[0]) | (compared > levels[-1])
        above = jnp.clip(jnp.searchsorted(levels, compared), 1, jnp.size(levels) - 1)
        low, high = levels[above - 1], levels[above]
        part = lax.stop_gradient(jnp.clip((compared - low) / (high - low), 0, 1))
        passed = compared - ((1 - part) * low + part * high)  # 0, but for its slopes
        return levels[self.code(x)] + jnp.where(beyond, 0, straight_through(passed))


def _clipped(code: Signal, bits: int) -> Code:
    return jnp.clip(code, 0, 2**bits - 1).astype(int)


def _require_range(converter: AbstractUniformConverter) -> None:
    require_bits(converter.bits, "bits")
    lo, hi = converter.lo, converter.hi
    require_finite(lo, "lo", "")
    require_finite(hi, "hi", "")
    if not everywhere(lambda lo, hi: hi > lo, lo, hi):
        raise ValueError(
            f"the range from lo = {lo} to hi = {hi} has no width: hi must be above lo."
        )


def _require_last(x: Array, name: str, n: int, what: str) -> None:
    require_finite(x, name, "")
    if jnp.ndim(x) == 0 or jnp.shape(x)[-1] != n:
        raise ValueError(f"{name} has shape {jnp.shape(x)}; its last axis must be {n}, {what}.")
