"""Select schemes: biases that address one cell of an array, and their effect on all other cells.

A scheme is a function `(crossbar, row, col, v) -> (crossbar, bias)`. The read
`read(*half(crossbar, row, col, v))` has `v` [V], less the IR drop, across the cell at `(row, col)`.
The selected column stays at the voltage of its readout, `ref` below; the selected row is at
`ref + v`.

`row` and `col` are integers from 0 up; negative ones count from the end, as in NumPy. A position
outside the array raises `IndexError`. Positions may be traced, so that any scheme maps over them. A
traced position outside the array makes the bias NaN and the status of the read `NOT_FINITE`.

| scheme     | other rows    | other columns | voltage of other cells (half-select)            |
|------------|---------------|---------------|-------------------------------------------------|
| `half`     | `ref + v/2`   | `ref + v/2`   | `v/2` on the two selected lines, else 0          |
| `third`    | `ref + v/3`   | `ref + 2v/3`  | `v/3` on the two selected lines, else `-v/3`     |
| `grounded` | `ref`         | `ref`         | `v` on the selected row, else 0                 |
| `floating` | no terminal   | no terminal   | that of the sneak paths                         |
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Int

from .._types import PerCell, Values, as_index, as_physical, is_inside
from ..crossbar import Crossbar, require_crossbar
from ..drive import Bias, Drive
from ..kirchhoff.solution import usable
from ..readout import VirtualGround
from .read import read

__all__ = [
    "WriteMap",
    "floating",
    "gated",
    "grounded",
    "half",
    "pulse_strength",
    "read_margin",
    "sneak_current",
    "third",
    "transposed",
    "write_map",
]


def __dir__() -> list[str]:
    return __all__


Scheme = Callable[[Crossbar, Any, Any, Any], tuple[Crossbar, Bias]]


def half(crossbar: Crossbar, row: Any, col: Any, v: ArrayLike) -> tuple[Crossbar, Bias]:
    """V/2 scheme: unselected rows and columns at half the voltage."""
    return _biased(crossbar, row, col, v, 1 / 2, 1 / 2)


def third(crossbar: Crossbar, row: Any, col: Any, v: ArrayLike) -> tuple[Crossbar, Bias]:
    """V/3 scheme: unselected rows at a third of the voltage, unselected columns at two thirds."""
    return _biased(crossbar, row, col, v, 1 / 3, 2 / 3)


def grounded(crossbar: Crossbar, row: Any, col: Any, v: ArrayLike) -> tuple[Crossbar, Bias]:
    """Grounded scheme: all unselected lines at the voltage of the selected column."""
    return _biased(crossbar, row, col, v, 0.0, 0.0)


def floating(crossbar: Crossbar, row: Any, col: Any, v: ArrayLike) -> tuple[Crossbar, Bias]:
    """Floating scheme: the ends and straps of unselected lines are open.

    The returned crossbar has a `VirtualGround` in place of its readout, with the same voltage and
    resistances. An amplifier with a swing raises `ValueError`."""
    require_crossbar(crossbar)
    if not crossbar.readout.is_linear:
        raise ValueError("floating needs a linear readout: leave v_low and v_high out.")
    (rows, cols), (row, col) = crossbar.shape, _selected(crossbar, row, col)
    of_row, of_col = jnp.arange(rows) == row, jnp.arange(cols) == col
    drive, readout = crossbar.drive, crossbar.readout
    opened = lambda r, selected: jnp.where(selected, r, jnp.inf)
    strapped = lambda r, selected: None if r is None else opened(r, selected)
    ends = opened(drive.r_source, of_row), opened(drive.r_source_far, of_row)
    drive = Drive(*ends, strapped(drive.r_strap, of_row[:, None]))
    ends = opened(readout.r_in, of_col), opened(readout.r_in_far, of_col)
    straps = strapped(readout.r_strap, of_col)
    readout = VirtualGround(*ends, v_ref=readout.voltage(cols), r_strap=straps)
    _, bias = _biased(crossbar, row, col, v, 0.0, 0.0)
    return Crossbar(crossbar.cell, crossbar.wires, drive, readout), bias


def gated(
    crossbar: Crossbar, on: Values, v_read: ArrayLike, v_on: ArrayLike, v_off: ArrayLike = 0.0
) -> Bias:
    """Bias of binary inputs on the gates: rows that are on conduct, all others are disconnected.

    **Arguments:**

    - `crossbar`: an array with a transistor in every cell.
    - `on`: 1 or 0 per row, `(rows,)`: floating if its gradient matters, else integer or boolean.
    - `v_read`: voltage [V] of all lines of the row family.
    - `v_on`, `v_off`: gate voltages [V].

    **Returns:** a `Bias`. **Errors:** `ValueError` for another shape of `on`.
    """
    require_crossbar(crossbar)
    rows, cols = crossbar.shape
    on = as_physical(on, "on", whole=True, boolean=True)
    if on.shape != (rows,):
        raise ValueError(f"on has shape {on.shape}; it must be ({rows},), one input per row.")
    given = {"v_read": v_read, "v_on": v_on, "v_off": v_off}
    volts = {name: as_physical(v, name, whole=True).astype(on.dtype) for name, v in given.items()}
    v_row = jnp.broadcast_to(volts["v_read"], (crossbar.lines,))
    v_col = crossbar.readout.voltage(cols).astype(on.dtype)
    v_gate = volts["v_off"] + on * (volts["v_on"] - volts["v_off"])
    return Bias(v_row, v_row, v_col, v_col, v_gate)


def transposed(crossbar: Crossbar, v: Values) -> Bias:
    """Bias of a transposed read: columns driven, rows sensed.

    Word lines are at 0 V. The current out of them, `-read(crossbar, bias).i_in` [A], `(rows,)`, is
    by reciprocity `transfer(crossbar) @ v`. Resistances of drive and readout stay where they are.

    **Arguments:** `v`: voltages [V] of the columns, `(cols,)`. **Errors:** `ValueError` for another
    shape of `v`.
    """
    require_crossbar(crossbar)
    v, still = as_physical(v, "v", whole=True), jnp.zeros((crossbar.lines,))
    if v.shape != (crossbar.shape[1],):
        raise ValueError(
            f"v has shape {v.shape}; it must be ({crossbar.shape[1]},), one voltage per column."
        )
    still = still.astype(v.dtype)
    return Bias(still, still, v, v)


def _biased(crossbar, row, col, v, at_rows: float, at_cols: float) -> tuple[Crossbar, Bias]:
    require_crossbar(crossbar)
    if crossbar.wires.parallel:
        raise ValueError(
            "a select scheme needs rows that cross the columns; with source lines along the bit"
            " lines, cells are selected by their gates: use xbarjax.schemes.gated."
        )
    (rows, cols), (row, col) = crossbar.shape, _selected(crossbar, row, col)
    v = jnp.where(_is_selected(crossbar, row, col), as_physical(v, "v", whole=True), jnp.nan)
    held = crossbar.readout.voltage(cols).astype(v.dtype)
    ref = held[col]
    v_row = ref + jnp.where(jnp.arange(rows) == row, v, at_rows * v)
    v_col = jnp.where(jnp.arange(cols) == col, held, ref + at_cols * v)
    return crossbar, Bias(v_row, v_row, v_col, v_col)


def _selected(crossbar: Crossbar, row: Any, col: Any) -> tuple[Any, Any]:
    rows, cols = crossbar.shape
    return as_index(row, rows, "row"), as_index(col, cols, "col")


def _is_selected(crossbar: Crossbar, row: Any, col: Any) -> Bool[Array, ""]:
    """Whether the selected cell is in the array; False only for a traced row or column."""
    rows, cols = crossbar.shape
    return is_inside(row, rows) & is_inside(col, cols)


def sneak_current(
    crossbar: Crossbar, row: Any, col: Any, v: ArrayLike, scheme: Scheme = floating
) -> Array:
    """Sneak current [A] in the selected column, `i_out[col] - i_cell[row, col]`; NaN where the read
    failed under a transformation. Raises `IndexError` for a cell outside the array."""
    row, col = _selected(crossbar, row, col)
    solution = read(*scheme(crossbar, row, col, v))
    good = usable(solution.status) & _is_selected(crossbar, row, col)
    return jnp.where(good, solution.i_out[col] - solution.i_cell[row, col], jnp.nan)


def read_margin(
    on: Crossbar, off: Crossbar, row: Any, col: Any, v: ArrayLike, scheme: Scheme = floating
) -> Array:
    """Read margin [1]: change of the output voltage with the state of a cell, per read voltage,

        (V_on - V_off) / v,    V = r_in i_out,

    with the input resistance `r_in` [ohm] of the selected column as load. With ideal wires, other
    cells of resistance `R` and floating lines, the sneak path in parallel with the cell is

        R_sneak = R / (cols - 1) + R / ((rows - 1) (cols - 1)) + R / (rows - 1),

    and `V / v = r_in / (R_cell || R_sneak + r_in)`.

    **Arguments:**

    - `on`, `off`: the array with the selected cell in its on and in its off state. The other cells
        carry the sneak current, most of it if all of them conduct.
    - `row`, `col`: the selected cell. The farthest from driver and sense is `(0, -1)`.
    - `v`: [V]; `scheme`: one of this module, or your own.

    **Returns:** the margin, 1 at most; NaN where a read failed under a transformation. For arrays
    with wires and nonlinear cells the general model is that of A. Chen, IEEE Trans. Electron
    Devices 60, 1318 (2013), doi:10.1109/TED.2013.2246791. **Errors:** `IndexError` for a cell
    outside the array; those of `read`.
    """
    row, col = _selected(on, row, col)
    r_in = jnp.broadcast_to(on.readout.r_in, (on.shape[1],))[col]
    reads = [read(*scheme(x, row, col, v)) for x in (on, off)]
    # a number carries no status of its own
    good = usable(reads[0].status) & usable(reads[1].status) & _is_selected(on, row, col)
    i_on, i_off = (solution.i_out[col] for solution in reads)
    return jnp.where(good, r_in * (i_on - i_off) / v, jnp.nan)


class WriteMap(NamedTuple):
    """Voltages and currents while each cell in turn is written, `(rows, cols)`."""

    v_selected: PerCell  # [V] across the selected cell
    v_disturb: PerCell  # [V] largest magnitude across any other cell
    i_row: PerCell  # [A] from the driver of its row, half-selected cells included
    status: Int[Array, "rows cols"]  # `Status` of each read


@eqx.filter_jit
def write_map(crossbar: Crossbar, v: ArrayLike, scheme: Scheme = half) -> WriteMap:
    """Voltage across each cell while it is written, and across the other cells meanwhile.

    It takes one read per cell, one after the other.

    **Arguments:** `v`: the write voltage [V]; `scheme`: one of this module, or your own.
    """
    require_crossbar(crossbar)
    rows, cols = crossbar.shape

    def one(k):
        row, col = k // cols, k % cols
        solution = read(*scheme(crossbar, row, col, v))
        across = solution.v_cell
        selected = across[row, col]
        others = jnp.abs(across).at[row, col].set(0)
        return selected, jnp.max(others), solution.i_in[row], solution.status

    found = lax.map(one, jnp.arange(rows * cols))
    return WriteMap(*jax.tree.map(lambda x: x.reshape(rows, cols), found))


def pulse_strength(
    crossbar: Crossbar, v: ArrayLike, rate: Callable[[Array], Array], scheme: Scheme = half
) -> PerCell:
    """Effect [1] of a write pulse at each cell, relative to ideal wires: `rate(v_cell) / rate(v)`,
    where `v_cell` [V] is the write voltage less the IR drop.

    As an argument of `variability.OpenLoopWrite`, it makes a write depend on the cell's position.

    **Arguments:**

    - `crossbar`: the array in its state during the write; its cells determine the IR drop.
    - `v`: the write voltage [V]; `scheme`: one of this module, or your own.
    - `rate`: rate of change of a cell at a voltage [V], in any unit, 0 where it does not change:
        `lambda v: jnp.maximum(v / v_th - 1, 0)**alpha` (VTEAM),
        `lambda v: jnp.sinh(v / v_0)` (ions that hop over a barrier).

    **Returns:** `(rows, cols)`, at least 0; NaN where a read failed. One read a cell.
    """
    found, v = write_map(crossbar, v, scheme), as_physical(v, "v", whole=True)
    strength = jnp.maximum(rate(found.v_selected) / rate(v), 0)
    return jnp.where(usable(found.status), strength, jnp.nan)
