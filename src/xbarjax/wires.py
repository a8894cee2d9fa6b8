import equinox as eqx
from jaxtyping import Array, Float

from ._types import optional, physical, require_nonnegative


class Wires(eqx.Module):
    """Wire segments of both line families: resistance and capacitance.

    Each line has one segment per cell. `r_row[i, j]` is the wire that enters cell `(i, j)` from the
    driver's side (`j = 0` is the lead-in), `r_col[i, j]` the wire that leaves the cell towards the
    sense side (`i = rows - 1` is the lead-out). `Drive` and the readout add source and input
    resistances, and hold the one further segment beyond the far end of each line.

    In arrays with a selector in every cell, the lines of the row family are source lines, and the
    word lines are the gates. Source lines may run along the bit lines: `r_row[i, j]` then enters
    cell `(i, j)` of source line `j` from row 0, where the line is driven.

    **Arguments:**

    - `r_row`, `r_col`: resistance [ohm] per segment, a scalar or `(rows, cols)`; 0 is an ideal
        wire, inf a broken one.
    - `parallel`: whether the lines of the row family run along the bit lines, one per column.
        Values per line, such as `Drive.r_source`, then have the shape `(cols,)`.
    - `c_row`, `c_col`: capacitance [F] from every node of a line to ground, of its wire segment and
        of its devices; `c_cell`: capacitance [F] across every cell. Scalars or `(rows, cols)`; none
        by default. Only analyses in time (`simulate`) use capacitances.

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
