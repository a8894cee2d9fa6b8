"""2T2R: the two devices of a differential pair in one cell, where their currents subtract.

Both devices of a 2T2R cell end on the same bit line, at inputs `v` and `-v`. The bit line carries
only the difference of their currents, and so has less IR drop. Currents and IR drops of the two
word lines do not change. (On the chip of Q. Liu et al., ISSCC 2020,
doi:10.1109/ISSCC19947.2020.9062953, source lines play the part of these bit lines.)
"""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..wires import Wires
from . import AbstractCell

__all__ = ["in_cell", "opposed"]


def __dir__() -> list[str]:
    return __all__


Cell = TypeVar("Cell", bound=AbstractCell)


def in_cell(plus: Cell, minus: Cell, wires: Wires | None = None) -> tuple[Cell, Wires]:
    """Cells and wires of an array with both devices of a pair in one cell.

    **Arguments:**

    - `plus`, `minus`: cells of the same type and shape, `(rows, cols)`.
    - `wires`: wires at the pitch of a pair, ideal by default: `r_row` and `c_row` of each of the
        two word lines, `r_col` from one cell to the next, `c_col` at each cell, `c_cell` across
        each device.

    **Returns:** cells and wires of shape `(2 rows, cols)`. Word lines `2 i` and `2 i + 1` are those
    of row `i`, driven by `opposed(v)`.

    **Errors:** `ValueError` for a pair of different types or shapes, and for `parallel` wires.
    """
    if type(plus) is not type(minus) or plus.shape != minus.shape:
        raise ValueError(
            f"plus is {type(plus).__name__} {plus.shape} and minus is"
            f" {type(minus).__name__} {minus.shape}: a pair has two cells of the same type and"
            " shape."
        )
    wires = Wires() if wires is None else wires
    if wires.parallel:
        raise ValueError("wires are parallel; in_cell needs word lines that cross the bit lines.")
    shape = rows, cols = plus.shape
    full = lambda x: jnp.broadcast_to(x, shape)
    between = lambda a, b: jnp.stack([full(a), full(b)], axis=1).reshape(2 * rows, cols)
    cell = jax.tree.map(between, *(eqx.filter(x, eqx.is_array) for x in (plus, minus)))
    r_col = between(jnp.zeros_like(wires.r_col), wires.r_col)  # ideal wire inside the cell
    twice = lambda c: None if c is None else between(c, c)
    c_col = None if wires.c_col is None else between(jnp.zeros_like(wires.c_col), wires.c_col)
    inside = Wires(
        between(wires.r_row, wires.r_row),
        r_col,
        c_row=twice(wires.c_row),
        c_col=c_col,
        c_cell=twice(wires.c_cell),
    )
    return eqx.combine(cell, plus), inside


def opposed(v: Float[Array, "*batch rows"]) -> Float[Array, "*batch 2*rows"]:
    """Word-line voltages [V] of a 2T2R array: `v` and `-v` for each row, `(2 rows,)`."""
    return jnp.stack([v, -v], axis=-1).reshape(*v.shape[:-1], -1)
