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
    """Status flags of a solution. `OK` is 0; several flags may hold at once (`explain`)."""

    OK = 0
    FLOATING = 1  # nodes without a path to any source or ground
    SPLIT = 2  # undetermined split of a current between ideal parts
    NOT_CONVERGED = 4  # the solver stopped before Kirchhoff's law held
    NOT_FINITE = 8  # NaN or inf in an input or a result
    INVALID_CELL = 16  # impossible parameter of a cell, a readout or a capacitor
    INVALID_WIRE = 32  # negative or NaN resistance, or a strap of 0 ohm
    SHORT_CIRCUIT = 64  # ideal parts join terminals at different voltages
    NEGATIVE_RESISTANCE = 128  # differential, at the operating point of a cell
    OUT_OF_RANGE = 256  # operating point beyond the range of a cell's model
    GATES_OFF = 512  # no gate above threshold
    SATURATED = 1024  # every amplifier at an end of its swing
    OUT_OF_STEPS = 2048  # last time not reached within max_steps
    TIME_NOT_RISING = 4096  # times or corners of a waveform
    SINGULAR = 8192  # no unique solution of a circuit
    UNSTABLE = 16384  # a loop that never reaches its operating point
    INVALID_ELEMENT = 32768  # impossible parameter of an element of a circuit

    @property
    def is_error(self) -> bool:
        """Whether the numbers are unusable. `FLOATING` and `SPLIT` leave all other nodes and
        lines right, `GATES_OFF` and `SATURATED` leave all numbers right."""
        return bool(self & ~_HARMLESS)


_HARMLESS = Status.FLOATING | Status.SPLIT | Status.GATES_OFF | Status.SATURATED


def usable(status: Int[Array, "*batch"]) -> Bool[Array, "*batch"]:
    """Whether the numbers of a solution with this status are usable. Works on traced values."""
    return (status & ~int(_HARMLESS)) == 0


def one_or_nan(status: Int[Array, "*batch"], dtype: Any) -> Float[Array, "*batch"]:
    """A factor [1] for results: 1, or NaN for an unusable status. A product makes the gradient NaN
    as well; with `jnp.where` the gradient would be 0."""
    return jnp.where(usable(status), 1.0, jnp.nan).astype(dtype)


class Faults(eqx.Module):
    """Masks of the cells at fault, `(rows, cols)`."""

    negative: Bool[Array, "*batch rows cols"]  # differential resistance below 0
    beyond: Bool[Array, "*batch rows cols"]  # operating point beyond the range of the model


class Solution(eqx.Module):
    """The solution of an array: voltages [V], currents [A] and powers [W].

    **Attributes:**

    - `i_out`, `i_out_near`, `i_out_far`: current into the readout, in total, at the near end and
        at the far end, `(cols,)`.
    - `v_sense`: voltage at the input of the readout below the last row, `(cols,)`.
    - `output`: output of the readout, `(cols,)`: the voltage [V] of an amplifier, the current [A]
        of a mirror; `i_out` for a virtual ground.
    - `v_row`, `v_col`: node voltages, `(rows, cols)`; `drop_row`, `drop_col`: drop of row nodes
        below their source, and rise of column nodes above their readout, `(rows, cols)`.
    - `i_cell`: cell currents, `(rows, cols)`; `v_cell`: voltage across each cell, row to column.
    - `i_row`, `i_col` `(rows, cols)`: current in the segment that enters cell `(i, j)` from the
        driver's side, and in the segment that leaves the cell towards the sense side.
    - `i_row_far` `(rows,)`: current from the last column into the far source; `i_col_far`
        `(cols,)`: current from the far readout into row 0.
    - `i_in`, `i_in_near`, `i_in_far`: current that each source delivers, in total, at the near end
        and at the far end, `(rows,)`.
    - `i_strap_row`, `i_strap_col` `(rows, cols)`: current of straps into nodes of word lines, and
        out of nodes of bit lines; part of `i_in` and `i_out`. None without straps.
    - `p_cell`, `p_row`, `p_col`: dissipated power, `(rows, cols)`, `(rows, cols + 1)` and
        `(rows + 1, cols)` (end resistances belong to their end segments); `p_dissipated` and
        `p_delivered` are totals, equal by Tellegen's theorem.
    - `floating_row`, `floating_col` `(rows, cols)`: masks of floating nodes; `split_row` `(rows,)`,
        `split_col` `(cols,)`: masks of lines whose current has an undetermined split.
    - `residual`: largest violation [A] of Kirchhoff's current law over all nodes.
    - `status`: a `Status`; 0 is good. `num_steps`: iterations of the solver; `newton_steps`:
        linearisations of the cells, 0 for linear cells.
    - `negative`, `beyond` `(rows, cols)`: masks of cells with a negative differential resistance,
        and beyond the range of their model; None for linear cells.

    For source lines along the bit lines, the attributes of lines of the row family have the shape
    `(cols,)` and those of their segments `(rows + 1, cols)`; `i_row[i, j]` comes from row 0.

    Attributes of a batch have the batch axes in front.
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
        """Axis along which lines of the row family run."""
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
        return jnp.sum(self.i_cell, axis=-2)  # cell currents leave a bit line into its readout

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
