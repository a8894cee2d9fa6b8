import equinox as eqx
from jaxtyping import Array, Float

from .._types import (
    PerCol,
    optional,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
)


class Drive(eqx.Module):
    """Word-line drivers: a voltage source behind a resistance, at one end of each line or at both.

    **Arguments:**

    - `r_source`: resistance [ohm] between the source and the lead-in at column 0; inf leaves this
        end open. A scalar or `(rows,)`; `(cols,)` for source lines along the bit lines.
    - `r_source_far`: resistance [ohm] of the one further wire segment and the source beyond the
        last column; inf (the default) leaves this end open, 0 drives it ideally.
    - `r_strap`: resistance [ohm] of straps from the source to single nodes of its line, in parallel
        with `r_source`: `(rows, cols)` or a scalar; positive, inf where there is no strap.

    Both ends of a line have the same voltage unless a `Bias` says otherwise. Straps have the
    voltage of the near end. Raises `ValueError` for a negative or NaN resistance, and for a strap
    of 0 ohm.
    """

    r_source: Float[Array, "*rows"] = eqx.field(converter=physical("r_source"), default=0.0)
    r_source_far: Float[Array, "*rows_"] = eqx.field(
        converter=physical("r_source_far"), default=float("inf")
    )
    r_strap: Float[Array, "*rows_cols"] | None = eqx.field(
        converter=optional("r_strap"), default=None
    )

    def __check_init__(self):
        require_nonnegative(self.r_source, "r_source", "ohm", open_allowed=True)
        require_nonnegative(self.r_source_far, "r_source_far", "ohm", open_allowed=True)
        if self.r_strap is not None:
            require_positive(self.r_strap, "r_strap", "ohm", open_allowed=True)


class Bias(eqx.Module):
    """Voltages at both ends of all lines and at the gates: the general input of a read.

    `read(crossbar, v_in)` is short for a `Bias` with `v_in` at both ends of the row family's lines
    and the readout's own reference at both ends of the bit lines. An end whose resistance is inf
    ignores its voltage. Select schemes and transposed reads are biases.

    **Arguments:** voltages [V]; whole numbers and lists are welcome.

    - `v_row`, `v_row_far`: word lines at column 0 and beyond the last column, `(rows,)`. For source
        lines along the bit lines: at row 0 and below the last row, `(cols,)`.
    - `v_col`, `v_col_far`: bit lines below the last row and above row 0, `(cols,)`.
    - `v_gate`: gate voltages that replace the cells' own `v_gate`: one per row, `(rows,)`, one per
        column, `(1, cols)`, or one per cell, `(rows, cols)`.

    Raises `ValueError` for a voltage that is not finite.
    """

    v_row: Float[Array, " lines"] = eqx.field(converter=physical("v_row", whole=True))
    v_row_far: Float[Array, " lines"] = eqx.field(converter=physical("v_row_far", whole=True))
    v_col: PerCol = eqx.field(converter=physical("v_col", whole=True))
    v_col_far: PerCol = eqx.field(converter=physical("v_col_far", whole=True))
    v_gate: Float[Array, "..."] | None = eqx.field(
        converter=optional("v_gate", whole=True), default=None
    )

    def __check_init__(self):
        for name in ("v_row", "v_row_far", "v_col", "v_col_far", "v_gate"):
            if getattr(self, name) is not None:
                require_finite(getattr(self, name), name, "V")
