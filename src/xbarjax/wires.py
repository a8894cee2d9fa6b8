import equinox as eqx
from jaxtyping import Array, Float

from ._types import optional, physical, require_nonnegative


class Wires(eqx.Module):
    """Resistance of the wire segments of both line families.

    Each line has as many segments as cells: `r_row[i, j]` is the wire that enters cell `(i, j)`
    from the driver's side (`j = 0` is the lead-in), `r_col[i, j]` the wire that leaves it
    towards the sense side (`i = rows - 1` is the lead-out). Source and input resistances come
    on top, in `Drive` and in the readout, which also own the one more segment beyond the far
    end of each line.

    In arrays with a selector at every cell, the lines of the row family are source lines, and the
    word lines are the gates. Source lines may run along the bit lines: then `r_row[i, j]` enters
    cell `(i, j)` of source line `j` from row 0, where it is driven.

    **Arguments:**

    - `r_row`, `r_col`: [ohm per segment], a scalar or an array `(rows, cols)`; 0 is an ideal wire,
        inf a broken one.
    - `parallel`: whether the lines of the row family run along the bit lines, one per column. Then
        whatever belongs to one of them has the shape `(cols,)`.
    - `c_row`, `c_col`: capacitance [F] from every node of a line to ground, that of its segment of
        wire and of the devices on it; `c_cell`: across every cell. Scalars or `(rows, cols)`; none
        by default. Only what happens in time depends on them (`simulate`).

    Raises `ValueError` for a negative or NaN resistance or capacitance; `TypeError` for an integer
    array.
    """

    r_row: Float[Array, "*rows_cols"] = eqx.field(converter=physical("r_row"), default=0.0)
    r_col: Float[Array, "*rows_cols_"] = eqx.field(converter=physical("r_col"), default=0.0)

    parallel: bool = eqx.field(static=True, default=False)

    c_row: Float[Array, "*c_rows_cols"] | None = eqx.field(
        converter=optional("c_row"), default=None
    )
    c_col: Float[Array, "*c_rows_cols_"] | None = eqx.field(
        converter=optional("c_col"), default=None
    )
    c_cell: Float[Array, "*c_rows_cols__"] | None = eqx.field(
        converter=optional("c_cell"), default=None
    )

    def __check_init__(self):
        require_nonnegative(self.r_row, "r_row", "ohm", open_allowed=True)
        require_nonnegative(self.r_col, "r_col", "ohm", open_allowed=True)
        for name in ("c_row", "c_col", "c_cell"):
            if getattr(self, name) is not None:
                require_nonnegative(getattr(self, name), name, "F", open_allowed=False)
