import abc
from typing import TYPE_CHECKING

import equinox as eqx

from .._types import CellMask, PerCell

if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar


class AbstractCell(eqx.Module):
    """What sits at a crosspoint: the voltages of its two terminals give one current.

    A cell is an array of devices, one a crosspoint, and is linear or not by its type. What the
    network needs of it is the current [A] from row to column, and the two conductances [S] of
    its linearisation, `dI/dv_row` and `-dI/dv_col`.
    """

    is_linear: AbstractClassVar[bool]  # the current is a conductance times voltages
    is_reciprocal: AbstractClassVar[bool]  # two terminals: it sees v_row - v_col alone

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """`(rows, cols)`."""

    @abc.abstractmethod
    def current(self, v_row: PerCell, v_col: PerCell) -> PerCell:
        """Current [A] from row to column at terminal voltages [V]."""

    @abc.abstractmethod
    def conductances(self, v_row: PerCell, v_col: PerCell) -> tuple[PerCell, PerCell]:
        """`(dI/dv_row, -dI/dv_col)` [S] at terminal voltages [V]."""

    @abc.abstractmethod
    def valid(self) -> CellMask:
        """Which cells have parameters that a device can have."""
