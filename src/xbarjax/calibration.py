"""The digital correction that every chip has: a gain and an offset per column."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._types import PerCol


class Calibration(eqx.Module):
    """`y = gain y_measured + offset`, column by column; `gain` and `offset` of shape `(cols,)`."""

    gain: PerCol
    offset: PerCol

    def __call__(self, y: Float[Array, "*batch cols"]) -> Float[Array, "*batch cols"]:
        return self.gain * y + self.offset


def calibrate(measured: Array, wanted: Array) -> Calibration:
    """The gain and offset per column that bring measured products closest to wanted ones, both of
    shape `(samples, cols)`.

    `gain = cov(measured, wanted) / var(measured)` and `offset = mean(wanted - gain measured)`,
    least squares over the samples (random inputs of the kind the array will see). A column whose
    products do not vary keeps gain 1.

    Raises `ValueError` for shapes that differ or fewer than two samples.
    """
    if measured.shape != wanted.shape or measured.ndim != 2 or measured.shape[0] < 2:
        raise ValueError(
            f"measured has shape {measured.shape} and wanted {wanted.shape}: both must be"
            " (samples, cols) with at least two samples."
        )
    center, target = jnp.mean(measured, axis=0), jnp.mean(wanted, axis=0)
    spread = jnp.sum((measured - center) ** 2, axis=0)
    along = jnp.sum((measured - center) * (wanted - target), axis=0)
    gain = jnp.where(spread > 0, along / jnp.where(spread > 0, spread, 1), 1)
    return Calibration(gain, target - gain * center)
