from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp

from .._types import DeviceMask, PerDevice, physical, require_nonnegative
from .._units import warn_of_units
from .cell import AbstractCell


class Ohmic(AbstractCell):
    """Ohmic conductance: `I = g (v_row - v_col)`.

    **Arguments:**

    - `g`: conductance [S], from 0 (no cell) to inf (a short). Shape `(rows, cols)`, one per
        crosspoint, or a scalar: one device, or the same series resistance in every cell of a
        `Series`.

    Raises `ValueError` for an empty array, another number of axes, or a negative or NaN
    conductance; `TypeError` for an integer array. Warns (`UnitWarning`) of concrete conductances
    above 0.1 S, which no cell has: they may be in another unit.
    """

    g: PerDevice = eqx.field(converter=physical("g"))
    is_linear: ClassVar[bool] = True
    is_reciprocal: ClassVar[bool] = True

    def __check_init__(self):
        if jnp.ndim(self.g) not in (0, 2) or 0 in jnp.shape(self.g):
            raise ValueError(
                f"g has shape {jnp.shape(self.g)}; it must be (rows, cols) with at least one row"
                " and one column, or a scalar (batches go through jax.vmap)."
            )
        ends = "0 (no cell) to inf (a short)"
        require_nonnegative(self.g, "g", "S", open_allowed=True, ends=ends)
        if jnp.ndim(self.g) == 2:
            warn_of_units(self.g, "g")

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.g * (v_row - v_col)

    def valid(self) -> DeviceMask:
        return self.g >= 0
