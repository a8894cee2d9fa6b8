"""Selections: which cells are written and read together, and how the lines are biased for them.

A selection divides the cells of an array into groups. It gives each group

- the circuit in which it is written: the whole array, or the part of it that carries current;
- the bias that puts given voltages across its cells, `v_row - v_col` before IR drop.
"""

import abc
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import everywhere
from ..analyses.schemes import Scheme, grounded, half
from ..cells import has_gate
from ..crossbar import Crossbar
from ..drive import Bias, Drive
from ..readout import VirtualGround
from ..wires import Wires

if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar  # type checkers see class variables

Cells = Float[Array, " cells"]  # of one group


class AbstractSelection(eqx.Module):
    """A division of the cells into groups, which follow each other row by row."""

    is_isolated: AbstractClassVar[bool]  # groups do not change each other

    @abc.abstractmethod
    def size(self, shape: tuple[int, int]) -> int:
        """Number of cells in a group."""

    @abc.abstractmethod
    def part(self, crossbar: Crossbar, group: Any) -> Crossbar:
        """The circuit in which a group is written and read."""

    @abc.abstractmethod
    def write(self, part: Crossbar, group: Any, v: Cells, v_gate: Array | None) -> Bias:
        """The bias with voltages `v` [V] across the cells of a group, 0 for those that are not to
        be written, and a gate voltage [V] of those that are."""

    @abc.abstractmethod
    def read(self, part: Crossbar, group: Any, v: Array, v_gate: Array | None) -> Bias:
        """The bias that reads the cells of a group at `v` [V]."""

    @abc.abstractmethod
    def of(self, part: Crossbar, group: Any, x: Array) -> Cells:
        """Values of the cells of a group, from those of all cells of its circuit."""

    @abc.abstractmethod
    def require(self, crossbar: Crossbar) -> None:
        """Raises `ValueError` for an array whose cells cannot be selected in this way."""


class SelectRows(AbstractSelection):
    """Row by row through transistors: the gates of one row are on, those of all others are off, and
    every bit line has its own voltage.

    Only the selected row is simulated, with the resistances of all wires that its currents pass.
    This leaves out the currents of transistors that are off, and the capacitance of lines: pulses
    last longer than lines take to settle.
    """

    is_isolated: ClassVar[bool] = True

    def size(self, shape: tuple[int, int]) -> int:
        return shape[1]

    def part(self, crossbar: Crossbar, group: Any) -> Crossbar:
        return _row(crossbar, group)

    def write(self, part: Crossbar, group: Any, v: Cells, v_gate: Array | None) -> Bias:
        return _across(part, v, v_gate)

    def read(self, part: Crossbar, group: Any, v: Array, v_gate: Array | None) -> Bias:
        return _across(part, jnp.broadcast_to(v, part.shape[1:]), v_gate)

    def of(self, part: Crossbar, group: Any, x: Array) -> Cells:
        return x[0]

    def require(self, crossbar: Crossbar) -> None:
        _require_isolation(crossbar)


class SelectCells(AbstractSelection):
    """Cell by cell through transistors: the gates of one row are on, and one bit line has a
    voltage. Gates can ramp from pulse to pulse.

    Only the selected cell is simulated, with the wires that its current passes. This leaves out
    the same as in `SelectRows`, and what leaks along the selected row.
    """

    is_isolated: ClassVar[bool] = True

    def size(self, shape: tuple[int, int]) -> int:
        return 1

    def part(self, crossbar: Crossbar, group: Any) -> Crossbar:
        cols = crossbar.shape[1]
        return _column(_row(crossbar, group // cols), group % cols)

    def write(self, part: Crossbar, group: Any, v: Cells, v_gate: Array | None) -> Bias:
        return _across(part, v, v_gate)

    def read(self, part: Crossbar, group: Any, v: Array, v_gate: Array | None) -> Bias:
        return _across(part, jnp.broadcast_to(v, (1,)), v_gate)

    def of(self, part: Crossbar, group: Any, x: Array) -> Cells:
        return x[0]

    def require(self, crossbar: Crossbar) -> None:
        _require_isolation(crossbar)


class SelectCrosspoints(AbstractSelection):
    """Cell by cell in the whole array, by a select scheme such as `xb.schemes.half` or `third`.
    Half-selected cells and all wires are part of each pulse, so that a write disturbs others.
    Write-verify of a written array brings back cells that have left their windows; the others get
    no pulses.

    **Arguments:**

    - `scheme`: bias of a write; `xb.schemes.half` by default.
    - `read_scheme`: bias of a read; by default all other lines are grounded.
    """

    scheme: Scheme = eqx.field(static=True, default=half)
    read_scheme: Scheme = eqx.field(static=True, default=grounded)
    is_isolated: ClassVar[bool] = False

    def size(self, shape: tuple[int, int]) -> int:
        return 1

    def part(self, crossbar: Crossbar, group: Any) -> Crossbar:
        return crossbar

    def write(self, part: Crossbar, group: Any, v: Cells, v_gate: Array | None) -> Bias:
        return self._bias(self.scheme, part, group, v[0])

    def read(self, part: Crossbar, group: Any, v: Array, v_gate: Array | None) -> Bias:
        return self._bias(self.read_scheme, part, group, v)

    def of(self, part: Crossbar, group: Any, x: Array) -> Cells:
        cols = part.shape[1]
        return x[group // cols, group % cols][None]

    def require(self, crossbar: Crossbar) -> None:
        if has_gate(crossbar.cell):
            raise ValueError(
                "select is SelectCrosspoints, which has no gates: select cells with transistors by"
                " SelectRows() or SelectCells()."
            )

    @staticmethod
    def _bias(scheme: Scheme, part: Crossbar, group: Any, v: Array) -> Bias:
        cols = part.shape[1]
        return scheme(part, group // cols, group % cols, v)[1]


def _across(part: Crossbar, v: Cells, v_gate: Array | None) -> Bias:
    """The bias of one row with voltages [V] across its cells, all lines at 0 V or above."""
    if part.wires.parallel:
        v_row = jnp.maximum(v, 0)
        v_col = v_row - v
    else:
        v_row = jnp.maximum(jnp.max(v), 0)[None]
        v_col = v_row - v
    gate = None if v_gate is None else jnp.broadcast_to(v_gate, (1,))
    return Bias(v_row, v_row, v_col, v_col, gate)


def _row(crossbar: Crossbar, row: Any) -> Crossbar:
    """The circuit of one row, all others being off."""
    (rows, cols), wires, drive = crossbar.shape, crossbar.wires, crossbar.drive
    full = lambda x: jnp.broadcast_to(x, (rows, cols))
    at = lambda x: jnp.take(full(x), row, axis=0)[None]
    cell = jax.tree.map(at, crossbar.cell)
    after, before = jnp.arange(rows) >= row, jnp.arange(rows) <= row
    passed = lambda r, of: jnp.sum(jnp.where(of[:, None], full(r), 0), axis=0)[None]
    r_col = passed(wires.r_col, after)
    if wires.parallel:
        return Crossbar(
            cell, Wires(passed(wires.r_row, before), r_col, True), drive, _near(crossbar)
        )
    r_source = jnp.broadcast_to(drive.r_source, (rows,))[row][None]
    return Crossbar(cell, Wires(at(wires.r_row), r_col), Drive(r_source), _near(crossbar))


def _column(row: Crossbar, col: Any) -> Crossbar:
    """The circuit of one cell of a row."""
    wires, cols = row.wires, row.shape[1]
    at = lambda x: jnp.take(jnp.broadcast_to(x, (1, cols)), col, axis=1)[:, None]
    cell, readout = jax.tree.map(at, row.cell), row.readout
    of_line = lambda x: jnp.broadcast_to(x, (cols,))[col][None]
    if wires.parallel:
        r_row, r_source = at(wires.r_row), of_line(row.drive.r_source)
    else:
        passed = jnp.where(jnp.arange(cols) <= col, jnp.broadcast_to(wires.r_row, (1, cols)), 0)
        r_row, r_source = jnp.sum(passed)[None, None], row.drive.r_source
    near = VirtualGround(of_line(readout.r_in))
    return Crossbar(cell, Wires(r_row, at(wires.r_col), wires.parallel), Drive(r_source), near)


def _near(crossbar: Crossbar) -> VirtualGround:
    """The resistances at the near ends of the bit lines, driven by a bias."""
    return VirtualGround(jnp.broadcast_to(crossbar.readout.r_in, (crossbar.shape[1],)))


def _require_isolation(crossbar: Crossbar) -> None:
    if not has_gate(crossbar.cell):
        raise ValueError(
            "select writes through gates, but the cells have none: put transistors in series"
            " (xb.Series), or select by SelectCrosspoints()."
        )
    drive, readout = crossbar.drive, crossbar.readout
    free = lambda r: everywhere(lambda r: r == float("inf"), r)
    if drive.r_strap is not None or readout.r_strap is not None:
        raise ValueError(
            "select isolates rows, which an array with straps does not: leave r_strap out."
        )
    if not (free(drive.r_source_far) and free(readout.r_in_far)):
        raise ValueError(
            "select isolates rows, which lines that are driven at both ends do not: leave the far"
            " ends open."
        )
