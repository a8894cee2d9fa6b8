"""Fit of a cell to a measured current-voltage curve, with the parameters' uncertainty."""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import Values, as_physical, is_concrete
from ..cells import AbstractCell

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
        return _current(self.cell, jnp.asarray(v)) + self.i_offset


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
    start = [jnp.asarray(x, v.dtype) for x in jax.tree.leaves(free(cell))]
    if any(x.ndim for x in start):
        raise ValueError(
            f"the free parameters have shapes {[x.shape for x in start]}; they must be scalars."
        )
    if sigma is not None:
        sigma = as_physical(sigma, "sigma")
        if sigma.shape not in ((), v.shape):
            raise ValueError(
                f"sigma has shape {sigma.shape}; it must be a scalar or {v.shape}, as v."
            )
        if is_concrete(sigma) and not np.all(np.asarray(sigma) > 0):
            raise ValueError(f"the smallest sigma is {np.min(sigma)} A; it must be above 0.")
    points = v.size
    if is_concrete((v, i)):
        points = int(np.sum(np.isfinite(v) & np.isfinite(i)))
    if points < len(start) + offset:
        raise ValueError(
            f"there are {points} points for {len(start) + offset} parameters: measure more,"
            " or fit fewer with free=."
        )
    if rtol is None:
        rtol = 1e-8 if v.dtype == jnp.float64 else 1e-5
    found = _fit(cell, v, i, free, offset, sigma, rtol, max_steps)
    if is_concrete(found.converged) and not np.all(np.asarray(found.converged)):
        warnings.warn(
            "fit did not converge: start closer, free fewer parameters, or raise max_steps.",
            stacklevel=2,
        )
    return found


@eqx.filter_jit
def _fit(cell, v, i, free, offset: bool, sigma, rtol: float, max_steps: int) -> Fit:
    start = jnp.stack([jnp.asarray(x, v.dtype) for x in jax.tree.leaves(free(cell))])
    counts = jnp.isfinite(v) & jnp.isfinite(i)
    count = jnp.sum(counts).astype(v.dtype)
    v, i = jnp.where(counts, v, 0), jnp.where(counts, i, 0)
    unit = jnp.sqrt(jnp.sum(i**2) / jnp.maximum(count, 1))
    unit = jnp.where(unit > 0, unit, 1)
    weight = jnp.where(counts, 1 / jnp.asarray(unit if sigma is None else sigma, v.dtype), 0)

    def filled(p):
        structure = jax.tree.structure(free(cell))
        return eqx.tree_at(free, cell, jax.tree.unflatten(structure, list(p[: start.size])))

    def left(p):
        """Residuals at every point, of all parameters and the offset."""
        return weight * (_current(filled(p), v) + p[start.size] - i)

    # Logarithms of parameters above 0; others in units that change currents by their own size.
    begin = jnp.append(start, 0.0)
    size = jnp.sqrt(jnp.sum(jax.jacfwd(left)(begin) ** 2, axis=0))
    total = jnp.sqrt(jnp.sum((weight * i) ** 2))
    scale = jnp.where(size > 0, total / jnp.where(size > 0, size, 1), 1)
    scale = scale.at[-1].multiply(1.0 if offset else 0.0)
    positive = jnp.append(start > 0, False)
    exponent = lambda x: jnp.exp(jnp.clip(jnp.where(positive, x, 0), -30, 30))
    at = lambda x: jnp.where(positive, begin * exponent(x), begin + scale * x)

    solver = optx.LevenbergMarquardt(rtol=rtol, atol=rtol)
    x0 = jnp.zeros(begin.shape)  # optimistix searches in the default float only
    objective = lambda x, _: left(at(x.astype(begin.dtype))).astype(x0.dtype)
    # SVD, since parameters that are kept or undetermined make the Jacobian singular
    adjoint = optx.ImplicitAdjoint(lx.SVD())
    end = optx.least_squares(
        objective, solver, x0, max_steps=max_steps, adjoint=adjoint, throw=False
    )
    p = at(end.value.astype(begin.dtype))
    std = _deviations(jax.jacfwd(left)(p), left(p), count, offset, sigma is None)
    rms = jnp.sqrt(jnp.sum(left(p) ** 2) / count) * (unit if sigma is None else 1)
    none = jax.tree.map(lambda x: jnp.zeros_like(x) if eqx.is_array(x) else x, cell)
    spread = eqx.tree_at(
        free, none, jax.tree.unflatten(jax.tree.structure(free(cell)), list(std[:-1]))
    )
    converged = end.result == optx.RESULTS.successful
    return Fit(filled(p), p[-1], spread, std[-1], rms, converged)


def _deviations(jacobian, left, count, offset: bool, estimate: bool) -> Array:
    """Standard deviations of the parameters from the curvature of the sum of squares."""
    fitted = jacobian if offset else jacobian[:, :-1]
    norms = jnp.sqrt(jnp.sum(fitted**2, axis=0))
    _, s, vt = jnp.linalg.svd(fitted / jnp.where(norms > 0, norms, 1)[None], full_matrices=False)
    known = s > s[0] * 1e3 * jnp.finfo(s.dtype).eps
    parts = (vt / jnp.where(known, s, 1)[:, None]) ** 2
    variance = jnp.sum(jnp.where(known[:, None], parts, 0), axis=0)
    undetermined = jnp.sum(jnp.where(known[:, None], 0, vt**2), axis=0) > 1e-6
    freedom = jnp.maximum(count - fitted.shape[1], 1)
    noise = jnp.sum(left**2) / freedom if estimate else 1.0
    std = jnp.sqrt(variance * noise) / jnp.where(norms > 0, norms, 1)
    std = jnp.where(undetermined | (norms == 0), jnp.inf, std)
    return std if offset else jnp.append(std, 0.0)


def _current(cell: AbstractCell, v: Array) -> Array:
    return cell.current(v, jnp.zeros_like(v))
