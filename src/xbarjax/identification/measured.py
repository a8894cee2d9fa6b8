"""What an instrument drove and sensed at the terminals of an array."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .._types import Values, as_physical, is_concrete, require_finite, require_positive
from ..crossbar import Crossbar, require_crossbar
from ..drive import Bias
from ..solvers import AutoLadder, Solver
from .predict import UNITS, predicted

ENDS = "row", "row_far", "col", "col_far"


class Measured(eqx.Module):
    """Reads of an array: the voltages at its terminals, and what was sensed, with its noise.

    **Arguments:**

    - `v_row`: voltages [V] of the sources at column 0, `(reads, lines)`.
    - `sensed`: what was measured, by the name that `Solution` has for it, `(reads, lines)` or
        `(reads, cols)`, for example `{"i_out": i}`: `i_in`, `i_in_near`, `i_in_far`, `i_out`,
        `i_out_near`, `i_out_far` [A], `v_sense` [V] or `output`. NaN is a value that was not
        measured.
    - `sigma`: standard deviation of the noise of each of these, in the same unit: a number, an
        array that broadcasts, or a dictionary of such. Without it the noise is estimated from the
        residuals, and no statement is made about the model.
    - `v_row_far`: voltages [V] beyond the last column, as `v_row` by default.
    - `v_col`, `v_col_far`: voltages [V] below the last row and above row 0, `(reads, cols)`; the
        readout's own reference by default.
    - `v_gate`: gate voltages [V], `(reads, ...)`, as of a `Bias`.
    - `open_ends`: ends of lines that were left open in these reads, of `"row"`, `"row_far"`,
        `"col"` and `"col_far"`. Others are connected as the crossbar says.

    Raises `ValueError` for a name that is none of these, shapes that do not fit, voltages that are
    not finite, and a `sigma` that is not above 0.
    """

    v_row: Float[Array, "reads lines"]
    sensed: dict[str, Array]
    sigma: dict[str, Array] | None
    v_row_far: Float[Array, "reads lines"] | None
    v_col: Float[Array, "reads cols"] | None
    v_col_far: Float[Array, "reads cols"] | None
    v_gate: Float[Array, "reads ..."] | None
    open_ends: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        v_row: Values,
        sensed: Mapping[str, Values],
        sigma: ArrayLike | Mapping[str, ArrayLike] | None = None,
        *,
        v_row_far: Values | None = None,
        v_col: Values | None = None,
        v_col_far: Values | None = None,
        v_gate: Values | None = None,
        open_ends: tuple[str, ...] = (),
    ):
        of = lambda x, name: None if x is None else as_physical(x, name, whole=True)
        self.v_row = as_physical(v_row, "v_row", whole=True)
        self.sensed = {k: as_physical(x, f"sensed[{k!r}]", whole=True) for k, x in sensed.items()}
        if sigma is not None and not isinstance(sigma, Mapping):
            sigma = dict.fromkeys(sensed, sigma)
        self.sigma = (
            None
            if sigma is None
            else {k: as_physical(x, f"sigma[{k!r}]") for k, x in sigma.items()}
        )
        self.v_row_far, self.v_col = of(v_row_far, "v_row_far"), of(v_col, "v_col")
        self.v_col_far, self.v_gate = of(v_col_far, "v_col_far"), of(v_gate, "v_gate")
        self.open_ends = tuple(open_ends)

    def __check_init__(self):
        if self.v_row.ndim != 2:
            raise ValueError(
                f"v_row has shape {self.v_row.shape}; it must be (reads, lines), one line of"
                " voltages [V] per read."
            )
        if not self.sensed:
            raise ValueError("sensed is empty; give what was measured, such as {'i_out': i}.")
        reads = len(self.v_row)
        for name, x in self.sensed.items():
            if name not in UNITS:
                raise ValueError(
                    f"sensed has {name!r}; it must be one of {', '.join(UNITS)}, as in a Solution."
                )
            if x.ndim != 2 or len(x) != reads:
                raise ValueError(
                    f"sensed[{name!r}] has shape {x.shape}, but v_row has {reads} reads: it must be"
                    f" ({reads}, lines)."
                )
        for name in ("v_row", "v_row_far", "v_col", "v_col_far", "v_gate"):
            v = getattr(self, name)
            if v is None:
                continue
            require_finite(v, name, "V")
            if len(v) != reads:
                raise ValueError(f"{name} has {len(v)} reads, but v_row has {reads}.")
        if self.sigma is not None:
            for name, x in self.sigma.items():
                if name not in self.sensed:
                    raise ValueError(f"sigma has {name!r}, which was not sensed; leave it out.")
                require_positive(x, f"sigma[{name!r}]", UNITS[name])
                try:
                    np.broadcast_shapes(x.shape, self.sensed[name].shape)
                except ValueError:
                    raise ValueError(
                        f"sigma[{name!r}] has shape {x.shape}; it must broadcast to"
                        f" {self.sensed[name].shape}."
                    ) from None
            missing = [name for name in self.sensed if name not in self.sigma]
            if missing:
                raise ValueError(f"sigma lacks {missing[0]!r}; give its noise, or no sigma at all.")
        for end in self.open_ends:
            if end not in ENDS:
                raise ValueError(f"open_ends has {end!r}; an end is one of {', '.join(ENDS)}.")

    @property
    def reads(self) -> int:
        """Number of reads."""
        return self.v_row.shape[0]

    @property
    def count(self) -> int:
        """Number of measured values, those that are NaN left out."""
        return sum(int(np.isfinite(np.asarray(x)).sum()) for x in self.sensed.values())

    @property
    def missing(self) -> int:
        """Number of values that are NaN."""
        return sum(x.size for x in self.sensed.values()) - self.count

    def bias(self, crossbar: Crossbar) -> Bias:
        """The `Bias` of all reads, `(reads, ...)`."""
        _, cols = crossbar.shape
        own = jnp.broadcast_to(crossbar.readout.voltage(cols), (self.reads, cols))
        v_col = own.astype(self.v_row.dtype) if self.v_col is None else self.v_col
        far_row = self.v_row if self.v_row_far is None else self.v_row_far
        far_col = v_col if self.v_col_far is None else self.v_col_far
        parts = self.v_row, far_row, v_col, far_col, self.v_gate
        one = lambda *parts: Bias(*parts)
        return eqx.filter_vmap(one)(*parts)

    @staticmethod
    def of(
        crossbar: Crossbar,
        v_row: Values,
        sigma: ArrayLike | Mapping[str, ArrayLike],
        key: PRNGKeyArray,
        *,
        sense: tuple[str, ...] = ("i_out",),
        solver: Solver = AutoLadder(),
        **more: Any,
    ) -> "Measured":
        """Reads of a simulated array, with normal noise.

        **Arguments:** `sense`: names of what is sensed; `sigma`: deviations of the noise, as of
        `Measured`, and 0 for none; others as of `Measured`.
        """
        require_crossbar(crossbar)
        v_row = as_physical(v_row, "v_row", whole=True)
        lines = {name: width(crossbar, name) for name in sense}
        blank = {k: jnp.zeros((len(v_row), n), v_row.dtype) for k, n in lines.items()}
        plan = Measured(v_row, blank, None, **more)
        exact, _ = predicted(crossbar, plan, solver)
        if not isinstance(sigma, Mapping):
            sigma = dict.fromkeys(sense, sigma)
        noisy = {}
        for k, (name, x) in enumerate(sorted(exact.items())):
            xi = jax.random.normal(jax.random.fold_in(key, k), x.shape, x.dtype)
            noisy[name] = x + jnp.asarray(sigma[name], x.dtype) * xi
        given = [jnp.asarray(s, v_row.dtype) for s in sigma.values()]
        quiet = any(is_concrete(s) and np.any(np.asarray(s) == 0) for s in given)
        return Measured(v_row, noisy, None if quiet else sigma, **more)


def width(crossbar: Crossbar, name: str) -> int:
    """Number of lines of what is sensed."""
    return crossbar.lines if name.startswith("i_in") else crossbar.shape[1]
