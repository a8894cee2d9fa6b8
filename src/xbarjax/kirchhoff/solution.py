"""The solution of a circuit, and its status."""

import enum
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..drive import Bias
from .islands import Undetermined


class Status(enum.IntFlag):
    """Flags of a solution. `OK` is 0; several may hold at once."""

    OK = 0
    FLOATING = 1
    SPLIT = 2
    NOT_CONVERGED = 4
    NOT_FINITE = 8
    INVALID_CELL = 16
    INVALID_WIRE = 32
    SHORT_CIRCUIT = 64
    NEGATIVE_RESISTANCE = 128
    OUT_OF_RANGE = 256
    GATES_OFF = 512
    SATURATED = 1024
    OUT_OF_STEPS = 2048
    TIME_NOT_RISING = 4096
    SINGULAR = 8192
    UNSTABLE = 16384

    @property
    def is_error(self) -> bool:
        """Whether the numbers cannot be used: `FLOATING` and `SPLIT` leave the rest right, and
        with `GATES_OFF` and `SATURATED` all of it is."""
        return bool(self & ~_HARMLESS)


_HARMLESS = Status.FLOATING | Status.SPLIT | Status.GATES_OFF | Status.SATURATED


def usable(status: Int[Array, "*batch"]) -> Bool[Array, "*batch"]:
    """Whether the numbers that come with a status may be used, for values that are traced too."""
    return (status & ~int(_HARMLESS)) == 0


def one_or_nan(status: Int[Array, "*batch"], dtype: Any) -> Float[Array, "*batch"]:
    """A factor [1], so that what cannot be used has no gradient either: that of a choice would be
    0."""
    return jnp.where(usable(status), 1.0, jnp.nan).astype(dtype)


class Faults(eqx.Module):
    """Cells that a status is about, `(rows, cols)`."""

    negative: Bool[Array, "*batch rows cols"]  # differential resistance below 0
    beyond: Bool[Array, "*batch rows cols"]  # the range of the model


class Solution(eqx.Module):
    """A solved array. Voltages in V, currents in A, powers in W; rows by columns.

    **Attributes:**

    - `i_out`, `i_out_near`, `i_out_far`: current into the readout, in all and at each end,
        `(cols,)`.
    - `v_sense`: voltage at the input of the readout below the last row, `(cols,)`.
    - `output`: what the readout puts out, `(cols,)`: the voltage [V] of an amplifier, the current
        [A] of a mirror; `i_out` for a virtual ground.
    - `v_row`, `v_col`: node voltages, `(rows, cols)`; `drop_row`, `drop_col`: how far row nodes
        have fallen below their source and column nodes risen above their readout.
    - `i_cell`: cell currents, `(rows, cols)`; `v_cell`: the voltage across each, row to column.
    - `i_row[i, j]`, `i_col[i, j]`: current in the segment that enters cell `(i, j)` from the
        driver's side, and in the one that leaves it towards the sense side; `i_row_far`
        `(rows,)` leaves the last column for the far source, `i_col_far` `(cols,)` enters row 0
        from the far readout.
    - `i_in`, `i_in_near`, `i_in_far`: current that each source delivers, `(rows,)`.
    - `i_strap_row`, `i_strap_col` `(rows, cols)`: current that straps bring to nodes of word lines,
        and take from nodes of bit lines; part of `i_in` and `i_out`. None without straps.
    - `p_cell`, `p_row`, `p_col`: dissipated power, `(rows, cols)`, `(rows, cols + 1)` and
        `(rows + 1, cols)` (end resistances belong to their end segments); `p_dissipated` and
        `p_delivered` are totals, which Tellegen's theorem makes equal.
    - `floating_row`, `floating_col` `(rows, cols)`, `split_row` `(rows,)`, `split_col` `(cols,)`:
        what the circuit leaves open.
    - `residual`: largest mismatch [A] of Kirchhoff's current law over all nodes.
    - `status`: a `Status`; 0 is good. `num_steps`: iterations of the solver; `newton_steps`:
        linearisations of the cells, 0 for linear ones.
    - `negative`, `beyond` `(rows, cols)`: cells that the status is about; None for linear cells.

    Where the lines of the row family run along the bit lines, whatever belongs to a line is
    `(cols,)`, and to its segments `(rows + 1, cols)`: `i_row[i, j]` comes from row 0.

    Every attribute holds for batches too, with the batch in front.
    """

    drop_row: Float[Array, "*batch rows cols"]
    drop_col: Float[Array, "*batch rows cols"]
    i_cell: Float[Array, "*batch rows cols"]
    i_row_segments: Float[Array, "*batch line_rows line_cols"]
    i_col_segments: Float[Array, "*batch rows+1 cols"]
    v_row_reference: Float[Array, "*batch lines"]
    v_col_reference: Float[Array, "*batch cols"]
    bias: Bias
    v_sense: Float[Array, "*batch cols"]
    output: Float[Array, "*batch cols"]
    undetermined: Undetermined
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    num_steps: Int[Array, "*batch"]
    newton_steps: Int[Array, "*batch"]
    faults: Faults | None
    i_strap_row: Float[Array, "*batch rows cols"] | None
    i_strap_col: Float[Array, "*batch rows cols"] | None
    parallel: bool = eqx.field(static=True)

    @property
    def _along(self) -> int:
        """The axis that lines of the row family run along."""
        return -2 if self.parallel else -1

    def _of_row(self, segment: int) -> Array:
        return lax.index_in_dim(self.i_row_segments, segment, self._along, keepdims=False)

    @property
    def v_row(self) -> Array:
        v = jnp.expand_dims(self.v_row_reference, self._along) - self.drop_row
        return jnp.where(self.floating_row, 0, v)

    @property
    def v_col(self) -> Array:
        v = self.v_col_reference[..., None, :] + self.drop_col
        return jnp.where(self.floating_col, 0, v)

    @property
    def v_cell(self) -> Array:
        return self.v_row - self.v_col

    @property
    def i_row(self) -> Array:
        n = self.i_row_segments.shape[self._along]
        return lax.slice_in_dim(self.i_row_segments, 0, n - 1, axis=self._along)

    @property
    def i_row_far(self) -> Array:
        return self._of_row(-1)

    @property
    def i_col(self) -> Array:
        return self.i_col_segments[..., 1:, :]

    @property
    def i_col_far(self) -> Array:
        return self.i_col_segments[..., 0, :]

    @property
    def i_out_near(self) -> Array:
        return self.i_col_segments[..., -1, :]

    @property
    def i_out_far(self) -> Array:
        return -self.i_col_far

    @property
    def i_out(self) -> Array:
        return jnp.sum(self.i_cell, axis=-2)  # all that enters a bit line leaves at its ends

    @property
    def i_in_near(self) -> Array:
        return self._of_row(0)

    @property
    def i_in_far(self) -> Array:
        return -self.i_row_far

    @property
    def i_in(self) -> Array:
        ends = self.i_in_near + self.i_in_far
        return ends if self.i_strap_row is None else ends + jnp.sum(self.i_strap_row, self._along)

    @property
    def p_cell(self) -> Array:
        return self.i_cell * self.v_cell

    @property
    def p_row(self) -> Array:
        near = (self.bias.v_row, self.v_row_reference)
        far = (self.bias.v_row_far, self.v_row_reference)
        axis = self._along
        ends = [jnp.expand_dims(reference - v, axis) for v, reference in (near, far)]
        drop = jnp.concatenate([ends[0], self.drop_row, ends[1]], axis)
        return self.i_row_segments * jnp.diff(drop, axis=axis)

    @property
    def p_col(self) -> Array:
        near = (self.bias.v_col, self.v_col_reference)
        far = (self.bias.v_col_far, self.v_col_reference)
        ends = [(v - reference)[..., None, :] for v, reference in (near, far)]
        rise = jnp.concatenate([ends[1], self.drop_col, ends[0]], axis=-2)
        return -self.i_col_segments * jnp.diff(rise, axis=-2)

    @property
    def p_dissipated(self) -> Array:
        parts = [self.p_cell, self.p_row, self.p_col]
        if self.i_strap_row is not None:
            v = jnp.expand_dims(self.bias.v_row, self._along)
            parts.append(self.i_strap_row * (v - self.v_row))
        if self.i_strap_col is not None:
            parts.append(self.i_strap_col * (self.v_col - self.bias.v_col[..., None, :]))
        return jnp.sum(jnp.stack([jnp.sum(p, (-2, -1)) for p in parts]), axis=0)

    @property
    def p_delivered(self) -> Array:
        near_in, near_out = self.i_in - self.i_in_far, self.i_out_near
        if self.i_strap_col is not None:
            near_out = near_out + jnp.sum(self.i_strap_col, axis=-2)
        rows = self.bias.v_row * near_in + self.bias.v_row_far * self.i_in_far
        cols = self.bias.v_col * near_out + self.bias.v_col_far * self.i_out_far
        return jnp.sum(rows, axis=-1) - jnp.sum(cols, axis=-1)

    @property
    def negative(self) -> Array | None:
        return None if self.faults is None else self.faults.negative

    @property
    def beyond(self) -> Array | None:
        return None if self.faults is None else self.faults.beyond

    @property
    def floating_row(self) -> Array:
        return self.undetermined.row

    @property
    def floating_col(self) -> Array:
        return self.undetermined.col

    @property
    def split_row(self) -> Array:
        return self.undetermined.row_split

    @property
    def split_col(self) -> Array:
        return self.undetermined.col_split
