"""Analog-to-digital converters of currents or voltages, with their errors.

A converter has codes 0 to `n = 2^bits - 1` over a range from `lo` to `hi`; the first and the last
code stand for the ends. The converter returns the value of the code,

    y = lo + (hi - lo) k / n,    ideally    k = round(u),    u = n (x - lo) / (hi - lo),

in the unit of `x`. Codes come from comparisons, so gradients pass straight through: `dy/dx` is 1
within the range and 0 beyond. The gradients of the ends follow from the same rule,
`dy/dlo = (u - k) / n` within the range and 1 below (learned step sizes: Esser et al., ICLR 2020,
arXiv:1902.08153), so that ranges are learned like any other parameter.

Parameters are scalars or broadcast against `x`: one range per column is an array `(cols,)`. A
parameter with one entry per bit, threshold or level has these entries along its last axis.
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
    """Analog-to-digital converter: from a signal to codes, and to the values of these codes."""

    @abc.abstractmethod
    def code(self, x: Signal) -> Code:
        """Codes of a signal, from 0."""

    @abc.abstractmethod
    def __call__(self, x: Signal) -> Signal:
        """Values of the codes of a signal, in its unit; gradients pass straight through."""


class AbstractUniformConverter(AbstractConverter):
    """A converter whose `2^bits` codes are equally spaced from `lo` to `hi`."""

    bits: eqx.AbstractVar[int]
    lo: eqx.AbstractVar[Signal]
    hi: eqx.AbstractVar[Signal]

    def __call__(self, x: Signal) -> Signal:
        """Values of the codes of a signal, in its unit; gradients pass straight through.

        Raises `ValueError` if all entries of a concrete signal lie beyond the range."""
        u = self.scaled(x)
        last = 2**self.bits - 1
        if is_concrete((x, u)) and np.all((np.asarray(u) < 0) | (np.asarray(u) > last)):
            raise ValueError(
                f"the whole signal lies beyond the converter's range, {self.lo} to {self.hi}:"
                " choose lo and hi around the signal."
            )
        within = jnp.where(u < 0, 0, jnp.where(u > last, last, u))
        code = jnp.add(*alike(self.code(x), straight_through(within)))
        return between(self.lo, self.hi, code / last)

    def scaled(self, x: Signal) -> Signal:
        """Signal in steps above `lo`: `u = n (x - lo) / (hi - lo)`."""
        x, lo, hi = alike(x, self.lo, self.hi)
        return (2**self.bits - 1) * (x - lo) / (hi - lo)


class Adc(AbstractUniformConverter):
    """Ideal converter: the nearest code, ties to the even code.

    **Arguments:** `bits`: number of bits, 1 to 16; `lo`, `hi`: ends of the range, in the unit of
    the signal. Raises `ValueError` for other `bits` and for a range without width.
    """

    bits: int = eqx.field(static=True)
    lo: Signal = eqx.field(converter=physical("lo", whole=True))
    hi: Signal = eqx.field(converter=physical("hi", whole=True))

    def __check_init__(self):
        _require_range(self)

    def code(self, x: Signal) -> Code:
        return _clipped(jnp.round(self.scaled(x)), self.bits)


class Sar(AbstractUniformConverter):
    """Successive-approximation converter with capacitor mismatch.

    From the most significant bit down, the converter keeps bit `b` if `kept + C_b <= u + 1/2`,
    where `kept` is the sum of the capacitors kept so far. Capacitor `C_b` is proportional to
    `2^b (1 + mismatch_b)`, and all capacitors sum to `n`. The register adds up the kept bits at
    their nominal weights.

    **Arguments:**

    - `bits`, `lo`, `hi`: as in `Adc`.
    - `mismatch`: relative errors of the capacitors, above -1, `(..., bits)`, the least significant
        bit first. Made of unit capacitors of deviation `sigma`, bit `b` has the deviation
        `sigma / sqrt(2^b)`.
    - `offset`: comparator offset, in the unit of the signal.

    Raises `ValueError` for other shapes and values.
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
            raise ValueError(f"mismatch has an entry of {worst}; every entry must be above -1.")

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
    """Flash converter: one comparator per step, each with an offset of its threshold.

    The code is the number of thresholds passed, so thresholds out of order cause no large errors.

    **Arguments:**

    - `bits`, `lo`, `hi`: as in `Adc`.
    - `offset`: comparator offsets, in the unit of the signal, `(..., 2^bits - 1)`.

    Raises `ValueError` for other shapes and values.
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
    """Ramp converter: one ramp for all columns, and per column a comparator that stops a counter.

    A ramp may have any rising shape; its `levels` are the values of the codes. A learned ramp is
    therefore a learned quantiser, and a ramp that starts at 0 is a rectifier. The code is that of
    the nearest level, ties to the lower level.

    Gradients pass straight through. For evenly spaced levels they are those of `Adc`:

    - The gradient of the signal is 1 between the first and the last level.
    - The gradient of a level is 1 for each signal nearest to the level, minus the level's weight in
        each signal between two levels, `x = (1 - p) L_j + p L_{j+1}`. The second part counts
        because codes change as levels move: without it, a mean over many signals has a gradient of
        the wrong size, and learning diverges.

    **Arguments:**

    - `levels`: the ramp at every count, rising, in the unit of the signal, `(2^bits,)`.
    - `offset`: comparator offsets, in the unit of the signal, a scalar or one per column.

    Raises `ValueError` for fewer than two levels, or levels that do not rise.
    """

    levels: Float[Array, " codes"] = eqx.field(converter=physical("levels", whole=True))
    offset: Signal = eqx.field(converter=physical("offset", whole=True), default=0.0)

    def __check_init__(self):
        require_finite(self.levels, "levels", "")
        require_finite(self.offset, "offset", "")
        if jnp.ndim(self.levels) != 1 or jnp.size(self.levels) < 2:
            raise ValueError(
                f"levels has shape {jnp.shape(self.levels)}; a ramp needs two or more in a list."
            )
        if not everywhere(lambda x: np.diff(x) > 0, self.levels):
            at = int(np.argmin(np.diff(np.asarray(self.levels)) > 0))
            raise ValueError(f"levels do not rise after the one at {at}; a ramp must rise.")

    def code(self, x: Signal) -> Code:
        """Codes of a signal, 0 to one less than the number of levels."""
        compared, levels = self._compared(x)
        return jnp.searchsorted((levels[1:] + levels[:-1]) / 2, compared, side="left")

    def _compared(self, x: Signal) -> tuple[Signal, Float[Array, " codes"]]:
        """Signal plus comparator offset, and the levels, in one dtype."""
        x, offset = alike(x, self.offset)
        dtype = widest(x, self.levels)
        return (x + offset).astype(dtype), self.levels.astype(dtype)

    def __call__(self, x: Signal) -> Signal:
        """Nearest level for each entry of a signal; gradients pass straight through."""
        compared, levels = self._compared(x)
        beyond = (compared < levels[0]) | (compared > levels[-1])
        above = jnp.clip(jnp.searchsorted(levels, compared), 1, jnp.size(levels) - 1)
        low, high = levels[above - 1], levels[above]
        part = lax.stop_gradient(jnp.clip((compared - low) / (high - low), 0, 1))
        passed = compared - ((1 - part) * low + part * high)  # 0 in range, with gradients
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
