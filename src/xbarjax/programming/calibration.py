"""Digital calibration of the outputs: a gain and an offset per column."""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._types import PerCol, alike, require_bits, straight_through


class Calibration(eqx.Module):
    """Digital correction `y = gain y_measured + offset`; `gain` and `offset` are `(cols,)`."""

    gain: PerCol
    offset: PerCol

    def __call__(self, y: Float[Array, "*batch cols"]) -> Float[Array, "*batch cols"]:
        gain, y, offset = alike(self.gain, y, self.offset)
        return gain * y + offset


def quantised(calibration: Calibration, bits: int) -> Calibration:
    """Calibration with signed integer coefficients of `bits` bits, in steps that all columns share,

        c = step round(c / step),    step = max |c| / (2^(bits - 1) - 1),

    separately for gains and for offsets; `round` takes ties to even. Gradients pass straight
    through. Raises `ValueError` for fewer than two bits.
    """
    require_bits(bits, "bits")
    if bits < 2:
        raise ValueError(f"bits is {bits}; a coefficient with a sign needs at least two.")

    def rounded(c: PerCol) -> PerCol:
        last = 2 ** (bits - 1) - 1
        largest = lax.stop_gradient(jnp.max(jnp.abs(c)))
        part = lax.stop_gradient(c) / jnp.where(largest > 0, largest, 1)
        return largest * (jnp.round(last * part) / last) + straight_through(c)

    return Calibration(rounded(calibration.gain), rounded(calibration.offset))


def calibrate(measured: Array, wanted: Array) -> Calibration:
    """Gain and offset per column that bring measured products closest to wanted products.

    `gain = cov(measured, wanted) / var(measured)` and `offset = mean(wanted - gain measured)`:
    least squares over the samples, which should be random inputs of the kind that the array will
    see. A column whose products do not vary keeps gain 1.

    **Arguments:** `measured`, `wanted`: products, `(samples, cols)`.

    Raises `ValueError` for shapes that differ or fewer than two samples.
    """
    if measured.shape != wanted.shape or measured.ndim != 2 or measured.shape[0] < 2:
        raise ValueError(
            f"measured has shape {measured.shape} and wanted {wanted.shape}: both must be"
            " (samples, cols) with at least two samples."
        )
    center, target = jnp.mean(measured, axis=0), jnp.mean(wanted, axis=0)
    away = measured - center[None]
    spread = jnp.sum(away**2, axis=0)
    along = jnp.sum(away * (wanted - target[None]), axis=0)
    rounding = jnp.finfo(spread.dtype).eps * jnp.max(jnp.abs(measured), axis=0)
    varies = spread > (measured.shape[0] * rounding) ** 2  # a mean is off by sqrt(n) roundings
    gain = jnp.where(varies, along / jnp.where(varies, spread, 1), 1)
    return Calibration(gain, target - gain * center)
