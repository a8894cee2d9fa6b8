from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import (
    PerCol,
    Scalar,
    optional,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
)
from .readout import AbstractReadoutInTime, Memory, conductance_of


class VoltageSense(AbstractReadoutInTime):
    """Voltage sense: bit lines float, and their voltage is sampled in place of their current.

    Without wires a column settles at the voltage of zero net current, for `v_ref = 0`

        v_j = sum_i G_ij v_i / (sum_i G_ij + 1 / r_load),

    an average of the inputs. The product is `v_j` times the column's sum, which a chip keeps in a
    register (`normalised`). With wires both line families have IR drop: no current leaves a bit
    line, but current flows along it, from rows of higher voltage to rows of lower voltage. W. Wan
    et al., Nature 608, 504 (2022), doi:10.1038/s41586-022-04992-8, built a chip that senses
    voltages.

    **Arguments:** each a scalar or `(cols,)`.

    - `r_load`: load resistance [ohm] of the sampling circuit, to `v_ref`; inf by default.
    - `v_ref`: voltage [V] at the other end of the load.
    - `c_sample`: sampling capacitance [F]; none by default. In `simulate`, a switch of `r_switch`
        [ohm] closes at the first time and charges the capacitor from `v_sampled` [V]; both are 0 by
        default.

    The output is the voltage [V] at the line's end; in time, with a capacitor, the voltage of the
    capacitor, `c_sample dv_out/dt = (v - v_out) / r_switch`. Raises `ValueError` for a negative or
    NaN load, a negative or infinite `r_switch`, a `c_sample` that is not positive, a load of 0 ohm
    beside a capacitor, and a voltage that is not finite.
    """

    r_load: Float[Array, "*cols"] = eqx.field(converter=physical("r_load"), default=float("inf"))
    v_ref: Float[Array, "*cols_"] = eqx.field(converter=physical("v_ref", whole=True), default=0.0)
    c_sample: Float[Array, "*c_sample"] | None = eqx.field(
        converter=optional("c_sample"), default=None
    )
    r_switch: Float[Array, "*r_switch"] = eqx.field(converter=physical("r_switch"), default=0.0)
    v_sampled: Float[Array, "*v_sampled"] = eqx.field(
        converter=physical("v_sampled", whole=True), default=0.0
    )
    is_static: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True
    settles: ClassVar[bool] = True
    takes_current: ClassVar[bool] = False

    def __check_init__(self):
        require_nonnegative(self.r_switch, "r_switch", "ohm", open_allowed=False)
        require_finite(self.v_sampled, "v_sampled", "V")
        if self.c_sample is not None:
            require_positive(self.c_sample, "c_sample", "F")
            require_positive(self.r_load, "r_load", "ohm", open_allowed=True)
        require_nonnegative(self.r_load, "r_load", "ohm", open_allowed=True)
        require_finite(self.v_ref, "v_ref", "V")

    @property
    def r_in(self) -> Float[Array, "*cols"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.r_load

    @property
    def follows(self) -> Float[Array, ""]:
        return jnp.ones(())

    def noise_conductance(self) -> Float[Array, "*cols"]:
        return conductance_of(self.r_load)

    def voltage(self, cols: int) -> PerCol:
        return jnp.broadcast_to(self.v_ref, (cols,))

    def output(self, i: PerCol, v: PerCol) -> PerCol:
        del i
        return v

    def valid(self) -> Bool[Array, "..."]:
        if self.c_sample is None:
            return jnp.ones((), bool)
        return (self.c_sample > 0) & (self.r_load > 0) & (self.r_switch >= 0)

    @property
    def has_memory(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.c_sample is not None

    def released(self, cols: int) -> tuple[PerCol, PerCol]:
        return self.voltage(cols), jnp.broadcast_to(self.r_load, (cols,))

    def begin(self, i: PerCol, v: PerCol) -> Memory:
        out = jnp.broadcast_to(self.v_sampled, v.shape).astype(v.dtype)
        return Memory(out, jnp.zeros_like(v), v)

    def _branch(self, d: Scalar) -> Array:
        """Resistance [ohm] that stands for the switch and the capacitor in a stage of `d` [s]."""
        assert self.c_sample is not None
        return self.r_switch + d / self.c_sample

    def companion(self, d: Scalar, y_h: Memory) -> tuple[PerCol, PerCol]:
        beside = self._branch(d) / self.r_load
        v = (y_h.out + beside * self.v_ref) / (1 + beside)
        return v, jnp.broadcast_to(self._branch(d) / (1 + beside), v.shape)

    def end(self, d: Scalar, y_h: Memory, i: PerCol, v: PerCol) -> Memory:
        del i
        assert self.c_sample is not None
        out = y_h.out + d / self.c_sample * (v - y_h.out) / self._branch(d)
        return Memory(out, y_h.across, v)

    def damped(self, d: Scalar, error: Memory) -> Memory:
        del d
        return error

    def capacitance(self) -> Float[Array, "..."]:
        assert self.c_sample is not None
        return self.c_sample

    def error_scale(self, v: Scalar, i: Scalar, q: Scalar) -> Float[Array, "..."]:
        del i, q
        return v


def normalised(v_out: Float[Array, "*batch cols"], g_sum: PerCol) -> Float[Array, "*batch cols"]:
    """Currents [A] that virtual grounds would have sensed, `v_out g_sum`; exact without wires.

    **Arguments:** `v_out`: voltages [V] of floating bit lines, `(..., cols)`; `g_sum`: the columns'
    sums `sum_i G_ij + 1 / r_load` [S], `(cols,)`."""
    return v_out * g_sum
