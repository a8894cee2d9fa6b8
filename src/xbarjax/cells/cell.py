import abc
from collections.abc import Callable
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._types import DeviceMask, Inner, PerDevice

if TYPE_CHECKING:
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar  # type checkers see class variables


class AbstractCell(eqx.Module):
    """Two-terminal devices, one per crosspoint: the two terminal voltages give one current.

    A subclass defines the current; the conductances of the linearisation are its derivatives. The
    type decides whether a cell is linear. Parameters are scalars or arrays that broadcast to
    `(rows, cols)`.
    """

    is_linear: AbstractVar[bool]  # the current is linear in the terminal voltages
    is_reciprocal: AbstractVar[bool]  # the current depends on v_row - v_col alone

    @property
    def shape(self) -> tuple[int, ...]:
        """`(rows, cols)`, to which all parameters broadcast."""
        if isinstance(self, AbstractNestedCell):
            return self.extent
        return np.broadcast_shapes(*(jnp.shape(x) for x in jax.tree.leaves(self)))

    @abc.abstractmethod
    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        """Current [A] from row to column at terminal voltages [V].

        The current must be 0 at equal voltages, and must never fall as `v_row` rises or `v_col`
        falls."""

    @abc.abstractmethod
    def valid(self) -> DeviceMask:
        """Mask of cells whose parameters are physically possible."""

    def inner(self, v_row: PerDevice, v_col: PerDevice, guess: Inner = None) -> Inner:
        """Voltages [V] of the nodes inside the cell, as a pytree; empty for most cells.

        A search for these voltages starts at `guess`, which may save steps and changes nothing
        else."""
        return self.nodes(v_row, v_col, guess) if isinstance(self, AbstractNestedCell) else ()

    def linearise(
        self, v_row: PerDevice, v_col: PerDevice, inner: Inner = None
    ) -> tuple[PerDevice, PerDevice, PerDevice]:
        """`(I, dI/dv_row, -dI/dv_col)` [A], [S], [S] at terminal voltages [V], by differentiation.

        `inner` is the result of `self.inner` at these voltages, if known. The current of a cell
        depends on its own voltages alone, so one tangent serves all cells. A reciprocal cell
        returns one array for both conductances."""
        if isinstance(self, AbstractNestedCell):
            return self.tangents(v_row, v_col, inner)
        return differentiated(self.current, self.is_reciprocal, v_row, v_col)


class AbstractNestedCell(AbstractCell):
    """A cell made of other cells. The subclass defines the shape, the inner nodes and the
    linearisation, which other cells derive from their parameters and their current."""

    @property
    @abc.abstractmethod
    def parts(self) -> tuple[AbstractCell, ...]:
        """The cells inside this cell."""

    @property
    @abc.abstractmethod
    def extent(self) -> tuple[int, ...]:
        """`(rows, cols)`, returned as `shape`."""

    @abc.abstractmethod
    def with_parts(self, parts: tuple[AbstractCell, ...]) -> "AbstractNestedCell":
        """The cell with other cells inside, in the order of `parts`."""

    @abc.abstractmethod
    def nodes(self, v_row: PerDevice, v_col: PerDevice, guess: Inner) -> Inner:
        """Voltages [V] of the nodes inside the cell, returned by `inner`."""

    @abc.abstractmethod
    def insides(self, inner: Inner) -> tuple[Inner, ...]:
        """The inner voltages [V] of each cell inside the cell, from those of the cell."""

    @abc.abstractmethod
    def tangents(
        self, v_row: PerDevice, v_col: PerDevice, inner: Inner
    ) -> tuple[PerDevice, PerDevice, PerDevice]:
        """Current [A] and conductances [S] at terminal voltages [V], returned by `linearise`."""


class AbstractRangedCell(AbstractCell):
    """A cell whose model holds in a limited range of voltages."""

    @abc.abstractmethod
    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        """Mask of cells whose terminal voltages [V] are in the range of their model."""


class AbstractGatedCell(AbstractCell):
    """A cell with a gate: a third terminal that takes no current and controls the other two."""

    @abc.abstractmethod
    def gated(self, v_gate: PerDevice) -> "AbstractGatedCell":
        """The same devices at other gate voltages [V]."""

    @abc.abstractmethod
    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        """Mask of cells whose gate is above threshold at terminal voltages [V]."""


def differentiated(
    current: Callable[[PerDevice, PerDevice], PerDevice],
    is_reciprocal: bool,
    v_row: PerDevice,
    v_col: PerDevice,
) -> tuple[PerDevice, PerDevice, PerDevice]:
    """A current [A] and its conductances [S] at terminal voltages [V], as of `linearise`."""
    ones = jnp.ones_like(v_row)
    if is_reciprocal:
        i, g = jax.jvp(lambda v: current(v, v_col), (v_row,), (ones,))
        return i, g, g
    i, tangent = jax.linearize(current, v_row, v_col)
    none = jnp.zeros_like(ones)
    return i, tangent(ones, none), tangent(none, -ones)


def in_range(cell: AbstractCell, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
    """Mask of cells within the range of their model; all True for a cell without a range."""
    everywhere = jnp.ones(jnp.shape(v_row), bool)
    return cell.in_range(v_row, v_col) if isinstance(cell, AbstractRangedCell) else everywhere


def conducts(cell: AbstractCell, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
    """Mask of cells whose gate is above threshold; all True for a cell without a gate."""
    everywhere = jnp.ones(jnp.shape(v_row), bool)
    return cell.conducts(v_row, v_col) if isinstance(cell, AbstractGatedCell) else everywhere


def has_gate(cell: AbstractCell) -> bool:
    """Whether a cell, or a cell inside it, has a gate."""
    if isinstance(cell, AbstractNestedCell):
        return any(has_gate(part) for part in cell.parts)
    return isinstance(cell, AbstractGatedCell)


def gated(cell: AbstractCell, v_gate: PerDevice) -> AbstractCell:
    """The cell at other gate voltages [V]; a cell without a gate stays the same."""
    if isinstance(cell, AbstractGatedCell) and has_gate(cell):
        return cell.gated(v_gate)
    return cell
