"""Cells as they are around an operating point."""

from typing import ClassVar

from .._types import DeviceMask, PerCell, PerDevice
from ..cells import AbstractCell


class Tangent(AbstractCell):
    """Linear cells that see both terminals apart: `I = g_row v_row - g_col v_col`.

    **Arguments:** `g_row`, `g_col`: `dI/dv_row` and `-dI/dv_col` [S], `(rows, cols)`.
    """

    g_row: PerCell
    g_col: PerCell
    is_linear: ClassVar[bool] = True
    is_reciprocal: ClassVar[bool] = False

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.g_row * v_row - self.g_col * v_col

    def valid(self) -> DeviceMask:
        return (self.g_row >= 0) & (self.g_col >= 0)
