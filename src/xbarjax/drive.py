import equinox as eqx
from jaxtyping import Array, Float

from ._types import PerCol, PerRow, physical, require_finite, require_nonnegative


class Drive(eqx.Module):
    """What a word line is driven by: a voltage source behind a resistance, at one end or both.

    **Arguments:**

    - `r_source`: resistance [ohm] between the source and the lead-in at column 0; inf leaves
        that end free. A scalar or `(rows,)`.
    - `r_source_far`: the one more segment beyond the last column: resistance [ohm] of wire and
        source there; inf (the default) leaves the end free, 0 drives it ideally.

    Both ends of a line are driven with the same voltage unless a `Bias` says otherwise.
    Raises `ValueError` for a negative or NaN resistance.
    """

    r_source: Float[Array, "*rows"] = physical("r_source", 0.0)
    r_source_far: Float[Array, "*rows_"] = physical("r_source_far", float("inf"))

    def __check_init__(self):
        require_nonnegative(self.r_source, "r_source", "ohm", open_allowed=True)
        require_nonnegative(self.r_source_far, "r_source_far", "ohm", open_allowed=True)


class Bias(eqx.Module):
    """The voltages at both ends of both line families: the general input of a read.

    `read(crossbar, v_in)` is short for `v_in` at both ends of the word lines and the readout's
    own reference at both ends of the bit lines. An end whose resistance is inf ignores its
    voltage. Select schemes and transposed reads are biases.

    **Arguments:** voltages [V] of shape `(rows,)`, `(rows,)`, `(cols,)`, `(cols,)`: word lines at
    column 0 and beyond the last column, bit lines below the last row and above row 0.
    """

    v_row: PerRow = physical("v_row")
    v_row_far: PerRow = physical("v_row_far")
    v_col: PerCol = physical("v_col")
    v_col_far: PerCol = physical("v_col_far")

    def __check_init__(self):
        for name in ("v_row", "v_row_far", "v_col", "v_col_far"):
            require_finite(getattr(self, name), name, "V")
