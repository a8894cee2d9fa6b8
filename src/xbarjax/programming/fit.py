"""Fit of a cell to a measured current-voltage curve, with the parameters' uncertainty."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import Values, as_physical
from ..cells import AbstractCell
from .least_squares import Free, Measured, least_squares

Cell = TypeVar("Cell", bound=AbstractCell)


class Fit(eqx.Module):
    """Fitted cell, with the uncertainty of its parameters.

    **Attributes:**

    - `cell`: the cell with the fitted parameters.
    - `i_offset`: current offset [A] of the instrument, 0 if not fitted.
    - `std`: a cell whose parameters are the standard deviations of the fitted ones, in their units:
        0 for a fixed parameter, inf for a parameter that the data does not determine.
    - `i_offset_std`: standard deviation of the offset [A].
    - `rms`: rms of the residuals, in units of `sigma` where given, else [A].
    - `converged`: whether the search converged.
    """

    cell: Any
    i_offset: Float[Array, ""]
    std: Any
    i_offset_std: Float[Array, ""]
    rms: Float[Array, ""]
    converged: Bool[Array, ""]

    def current(self, v: ArrayLike) -> Array:
        """Current [A] that the instrument reads, offset included, at device voltages [V]."""
        return _current(Measured(self.cell, self.i_offset), jnp.asarray(v))


def fit(
    cell: Cell,
    v: Values,
    i: ArrayLike,
    *,
    free: Callable[[Cell], Any] = jax.tree.leaves,
    offset: bool = False,
    sigma: ArrayLike | None = None,
    rtol: float | None = None,
    max_steps: int = 256,
) -> Fit:
    """Least-squares fit of a cell's parameters to measured currents,

        min sum_k ((I(v_k) + i_offset - i_k) / sigma_k)^2,

    by the Levenberg-Marquardt method (D. W. Marquardt, J. Soc. Ind. Appl. Math. 11, 431, 1963,
    doi:10.1137/0111030). One call fits one device; many go through `jax.vmap`.

    **Arguments:**

    - `cell`: model and starting point, with scalar parameters. A parameter that starts above 0
        stays above 0; a parameter that starts at 0 or below may take either sign. A shunt or a
        switch in series with the device belongs in the model: `Series(cell, Ohmic(1 / r))`.
    - `v`, `i`: voltages [V] across the device, currents [A] through it, `(points,)`. Points that
        are not finite are left out.
    - `free`: picks the fitted parameters, for example `lambda cell: (cell.g, cell.b)`; all by
        default.
    - `offset`: whether to fit a constant current of the instrument too.
    - `sigma`: standard deviation [A] of each current, scalar or `(points,)`. Without `sigma` all
        are equal, and estimated from the residuals.
    - `rtol`: tolerance of the search, 1e-8 by default, in float32 1e-5; `max_steps`: step limit.

    **Returns:** a `Fit`. The standard deviations are those of a linearised model with independent
    errors. They do not contain errors of the model itself.

    **Errors:** `ValueError` for shapes that do not fit, fewer points than parameters or a `sigma`
    that is not above 0. Concrete fits warn if the search does not converge.
    """
    v, i = as_physical(v, "v", whole=True), as_physical(i, "i")
    if v.ndim != 1 or v.shape != i.shape:
        raise ValueError(
            f"v has shape {v.shape} and i {i.shape}; both must be (points,), one device per"
            " call (several go through jax.vmap)."
        )
    v, i = jnp.where(jnp.isfinite(v), v, 0), jnp.where(jnp.isfinite(v), i, jnp.nan)
    found = least_squares(
        Measured(cell, jnp.zeros((), v.dtype)),
        _current,
        v,
        i,
        free=Free(free, offset),
        sigma=sigma,
        unit="A",
        rtol=rtol,
        max_steps=max_steps,
    )
    best, std = found.model, found.std
    return Fit(best.model, best.extra, std.model, std.extra, found.rms, found.converged)


def _current(measured: Measured, v: Array) -> Array:
    return measured.model.current(v, jnp.zeros_like(v)) + measured.extra
