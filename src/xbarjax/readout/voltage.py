import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import PerCol, physical, require_finite, require_nonnegative
from .readout import AbstractNearReadout


class VoltageSense(AbstractNearReadout):
    """Bit lines that float: their voltage is sampled, not their current.

    Without wires a column settles where no current is left,

        v_j = sum_i G_ij v_i / (sum_i G_ij + 1 / r_load),

    an average of the inputs: the product is `v_j` times the column's sum, which a chip keeps in a
    register (`normalised`). With wires, word lines drop voltage as ever, and so do bit lines:
    no current leaves them, but some flows along them, from rows of more voltage to rows of less.
    A chip that senses this way is that of W. Wan et al., Nature 608, 504 (2022),
    doi:10.1038/s41586-022-04992-8.

    **Arguments:** each a scalar or `(cols,)`.

    - `r_load`: what the sampling circuit puts on the line [ohm], to `v_ref`; inf by default.
    - `v_ref`: [V] where the load ends.

    Its output is the voltage [V] of the line's end.
    """

    r_load: Float[Array, "*cols"] = physical("r_load", float("inf"))
    v_ref: Float[Array, "*cols_"] = physical("v_ref", 0.0)

    def __check_init__(self):
        require_nonnegative(self.r_load, "r_load", "ohm", open_allowed=True)
        require_finite(self.v_ref, "v_ref", "V")

    @property
    def r_in(self) -> Float[Array, "*cols"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.r_load

    def voltage(self, cols: int) -> PerCol:
        return jnp.broadcast_to(self.v_ref, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        del i
        return v


def normalised(v_out: Float[Array, "*batch cols"], g_sum: PerCol) -> Float[Array, "*batch cols"]:
    """Currents [A] that a virtual ground would have had, of voltages [V] on floating bit lines and
    the columns' sums `sum_i G_ij + 1 / r_load` [S]: exact without wires."""
    return v_out * g_sum
