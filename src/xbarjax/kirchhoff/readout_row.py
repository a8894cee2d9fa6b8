"""Nonlinear readouts as one more row of cells.

An amplifier whose output saturates is, like a cell, a nonlinear device: it lies between the end of
its bit line and ground. The array is therefore extended by a row of readouts below the last row.
Bit lines continue to this row behind their lead-outs, and ideal wire holds the line of this row at
a fixed voltage. Newton's method, its gradient and its flags then need no case for amplifiers.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._types import DeviceMask, Inner, PerCell, PerCol, PerDevice
from ..cells import (
    AbstractCell,
    AbstractGatedCell,
    AbstractNestedCell,
    AbstractRangedCell,
    conducts,
    gated,
    in_range,
)
from ..crossbar import Crossbar
from ..drive import Bias, Drive
from ..readout import AbstractClampedReadout, VirtualGround
from ..wires import Wires
from .circuit import at_gates, working_dtype
from .islands import Undetermined
from .solution import Solution, Status


class WithReadout(AbstractNestedCell, AbstractGatedCell, AbstractRangedCell):
    """Cells, and below them a row of readouts.

    **Arguments:**

    - `cell`: the cells of the array, `(rows, cols)`.
    - `readout`: the readouts, one per column.
    - `v_source`: reference voltage [V] of each readout, `(cols,)`.
    - `v_line`: voltage [V] of the line of the readouts' row, `(cols,)`.
    - `rows`: number of rows of the array.
    """

    cell: AbstractCell
    readout: AbstractClampedReadout
    v_source: PerCol
    v_line: PerCol
    rows: int = eqx.field(static=True)

    @property
    def is_linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    @property
    def is_reciprocal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.is_reciprocal

    @property
    def parts(self) -> tuple[AbstractCell]:
        return (self.cell,)

    @property
    def extent(self) -> tuple[int, ...]:
        return self.rows + 1, self.v_line.shape[0]

    def _readout(self, v_row: PerCell, v_col: PerCell) -> PerCol:
        """Current [A] out of the readouts' inputs into the bit lines."""
        v = self.v_line - (v_row[-1] - v_col[-1])
        return -self.readout.current(v, self.v_source)

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.linearise(v_row, v_col)[0]

    def nodes(self, v_row: PerDevice, v_col: PerDevice, guess: Inner) -> Inner:
        guess = None if guess is None else jax.tree.map(lambda x: x[:-1], guess)
        nodes = self.cell.inner(v_row[:-1], v_col[:-1], guess)
        # Newton's method wants the extended shape for nodes inside cells: the last row is unused
        return jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])]), nodes)

    def with_parts(self, parts: tuple[AbstractCell, ...]) -> "WithReadout":
        (cell,) = parts
        return WithReadout(cell, self.readout, self.v_source, self.v_line, self.rows)

    def insides(self, inner: Inner) -> tuple[Inner]:
        return (jax.tree.map(lambda x: x[:-1], inner),)

    def tangents(
        self, v_row: PerDevice, v_col: PerDevice, inner: Inner
    ) -> tuple[PerDevice, PerDevice, PerDevice]:
        inner = None if inner is None else jax.tree.map(lambda x: x[:-1], inner)
        i, g_row, g_col = self.cell.linearise(v_row[:-1], v_col[:-1], inner)
        ones = jnp.ones_like(v_row)
        current, g = jax.jvp(lambda v: self._readout(v, v_col), (v_row,), (ones,))
        below = lambda cells, last: jnp.concatenate([_full(cells, self), last[None]])
        both = below(g_row, g)
        return below(i, current), both, both if self.is_reciprocal else below(g_col, g)

    def valid(self) -> DeviceMask:
        last = jnp.broadcast_to(self.readout.valid(), (1, self.shape[1]))
        return jnp.concatenate([_full(self.cell.valid(), self), last])

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        cells = in_range(self.cell, v_row[:-1], v_col[:-1])
        return jnp.concatenate([_full(cells, self), self._true])

    def gated(self, v_gate: PerDevice) -> AbstractGatedCell:
        return self.with_parts((gated(self.cell, v_gate),))

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        cells = conducts(self.cell, v_row[:-1], v_col[:-1])
        return jnp.concatenate([_full(cells, self), ~self._true])

    @property
    def _true(self) -> DeviceMask:
        return jnp.ones((1, self.shape[1]), bool)


def _full(x: Array, cell: WithReadout) -> Array:
    return jnp.broadcast_to(x, (cell.rows, cell.shape[1]))


def with_readout(crossbar: Crossbar, bias: Bias) -> tuple[Crossbar, Bias]:
    """The array extended by the row of its readouts, and the bias of the extended array."""
    (rows, cols), readout, drive = crossbar.shape, crossbar.readout, crossbar.drive
    assert isinstance(readout, AbstractClampedReadout)
    wires = crossbar.wires
    along = lambda r, last: jnp.concatenate(
        [jnp.broadcast_to(r, (rows, cols)), jnp.broadcast_to(last, (1, cols)).astype(r.dtype)]
    )
    v_held, r_held = readout.held(bias.v_col)
    taps = None if drive.r_strap is None else along(drive.r_strap, jnp.inf)
    if wires.parallel:
        # the readouts' row lies between the ends of the source lines and their far sources
        r_row, v_line = along(wires.r_row, drive.r_source_far), bias.v_row_far
        drive = Drive(drive.r_source, jnp.zeros_like(drive.r_source_far), taps)
        v_row, v_row_far = bias.v_row, bias.v_row_far
    else:
        r_row, v_line = along(wires.r_row, 0), jnp.zeros_like(bias.v_col)
        more = lambda x, last: jnp.append(jnp.broadcast_to(x, (rows,)), last)
        drive = Drive(more(drive.r_source, 0), more(drive.r_source_far, jnp.inf), taps)
        v_row, v_row_far = more(bias.v_row, 0), more(bias.v_row_far, 0)
    cell = at_gates(crossbar.cell, bias.v_gate)
    cell = WithReadout(cell, readout, bias.v_col, v_line, rows)
    wires = Wires(r_row, along(wires.r_col, 0), wires.parallel)
    extended = Crossbar(cell, wires, drive, VirtualGround(r_held, readout.r_in_far))
    # scalars have become arrays, so the dtype is that of the original array
    dtype = working_dtype(crossbar, bias.v_row, bias.v_row_far)
    parts = extended, Bias(v_row, v_row_far, v_held, bias.v_col_far)
    cast = lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x
    return jax.tree.map(cast, parts)


def without_readout(solution: Solution, crossbar: Crossbar, bias: Bias) -> Solution:
    """The solution of the array alone, without the row of readouts."""
    parallel, v = crossbar.wires.parallel, solution.v_col[-1]
    cut = lambda x: x[:-1]
    per_line = (lambda x: x) if parallel else cut
    open_ = solution.undetermined
    i_cell = cut(solution.i_cell)
    readout = crossbar.readout
    assert isinstance(readout, AbstractClampedReadout)
    output = readout.output(jnp.sum(i_cell, axis=0), v).astype(v.dtype)
    saturated = lax.stop_gradient(jnp.all(readout.saturated(output)))
    status = solution.status | jnp.where(saturated, int(Status.SATURATED), 0)
    return Solution(
        cut(solution.drop_row),
        cut(solution.drop_col),
        i_cell,
        cut(solution.i_row_segments),
        cut(solution.i_col_segments),
        per_line(solution.v_row_reference),
        solution.v_col_reference,
        eqx.tree_at(lambda b: b.v_col, bias, v),
        v,
        output,
        Undetermined(cut(open_.row), cut(open_.col), per_line(open_.row_split), open_.col_split),
        solution.residual,
        status,
        solution.num_steps,
        solution.newton_steps,
        jax.tree.map(cut, solution.faults),
        None if solution.i_strap_row is None else cut(solution.i_strap_row),
        None,
        parallel,
    )


def start_with_readout(start: Solution) -> Solution:
    """A starting solution of the array, extended by the row of readouts."""
    more = lambda x: jnp.concatenate([x, jnp.zeros_like(x[:1])])
    per_line = (lambda x: x) if start.parallel else more
    sensed = start.v_sense - start.v_col_reference
    where = lambda s: (
        s.drop_row,
        s.drop_col,
        s.i_row_segments,
        s.i_col_segments,
        s.v_row_reference,
        s.undetermined,
    )
    nodes = more(start.undetermined.row), more(start.undetermined.col)
    splits = per_line(start.undetermined.row_split), start.undetermined.col_split
    extended = (
        more(start.drop_row),
        jnp.concatenate([start.drop_col, sensed[None]]),
        more(start.i_row_segments),
        more(start.i_col_segments),
        per_line(start.v_row_reference),
        Undetermined(*nodes, *splits),
    )
    return eqx.tree_at(where, start, extended)
