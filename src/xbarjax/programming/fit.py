"""Fits a cell to a measured current-voltage curve, with the uncertainty of what it finds."""

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
    """A fitted cell and how well it is known.

    **Attributes:**

    - `cell`: the cell with the fitted parameters.
    - `i_offset`: current [A] that the instrument adds, 0 if it was not fitted.
    - `std`: a cell whose parameters are the standard deviations of the fitted ones, in their units;
        0 where a parameter was kept, inf where the data does not determine it.
    - `i_offset_std`: that of the offset [A].
    - `rms`: of what is left, in units of `sigma` where that was given, else [A].
    - `converged`: whether the search came to rest.
    """

    cell: Any
    i_offset: Float[Array, ""]
    std: Any
    i_offset_std: Float[Array, ""]
    rms: Float[Array, ""]
    converged: Bool[Array, ""]

    def current(self, v: ArrayLike) -> Array:
        """Current [A] that the instrument reads at voltages [V] across the device."""
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
    """Finds the parameters with which a cell passes the measured currents: least squares,

        min sum_k ((I(v_k) + i_offset - i_k) / sigma_k)^2,

    by the Levenberg-Marquardt method (D. W. Marquardt, J. Soc. Ind. Appl. Math. 11, 431, 1963,
    doi:10.1137/0111030). One device a call; many go through `jax.vmap`.

    **Arguments:**

    - `cell`: the model and where to begin, with scalar parameters. One that begins above 0 stays
        above 0; one that begins at 0 or below may take either sign. What was in series with the
        device, a shunt or a switch, belongs into the model: `Series(cell, Ohmic(1 / r))`.
    - `v`, `i`: voltages [V] across the device, current [A] through it, `(points,)`. Only finite
        points count.
    - `free`: which parameters are fitted, for example `lambda cell: (cell.g, cell.b)`; all by
        default.
    - `offset`: whether a constant current of the instrument is fitted too.
    - `sigma`: standard deviation [A] of each current, scalar or `(points,)`. Without it all are
        taken to be equal, and estimated from what is left.
    - `rtol`, `max_steps`: when the search ends; 1e-8 by default, in float32 1e-5.

    **Returns:** a `Fit`. Its standard deviations are those of a linearised model with independent
    errors; what they do not know of is how wrong the model is.

    **Errors:** `ValueError` for shapes that do not fit, fewer points than parameters or a `sigma`
    that is not above 0; on concrete values it warns where the search did not converge.
    """
    v, i = as_physical(v, "v", whole=True), as_physical(i, "i")
    if v.ndim != 1 or v.shape != i.shape:
        raise ValueError(
            f"v has shape {v.shape} and i {i.shape}; both must be (points,), one device a call"
            " (several go through jax.vmap)."
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
                f"sigma has shape {sigma.shape}; it must be a scalar or as v, {v.shape}."
            )
        if is_concrete(sigma) and not np.all(np.asarray(sigma) > 0):
            raise ValueError(f"the smallest sigma is {np.min(sigma)} A; it must be above 0.")
    points = v.size
    if is_concrete((v, i)):
        points = int(np.sum(np.isfinite(v) & np.isfinite(i)))
    if points < len(start) + offset:
        raise ValueError(
            f"there are {points} points for {len(start) + offset} parameters: measure more, or"
            " choose fewer with free=."
        )
    if rtol is None:
        rtol = 1e-8 if v.dtype == jnp.float64 else 1e-5
    found = _fit(cell, v, i, free, offset, sigma, rtol, max_steps)
    if is_concrete(found.converged) and not np.all(np.asarray(found.converged)):
        warnings.warn(
            "fit did not converge: begin nearer, free fewer parameters, or allow more max_steps.",
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
        """Residuals at every point, for all parameters and the offset."""
        return weight * (_current(filled(p), v) + p[start.size] - i)

    # Above 0 in logarithms; else in units that change the currents by as much as they are.
    begin = jnp.append(start, 0.0)
    size = jnp.sqrt(jnp.sum(jax.jacfwd(left)(begin) ** 2, axis=0))
    total = jnp.sqrt(jnp.sum((weight * i) ** 2))
    scale = jnp.where(size > 0, total / jnp.where(size > 0, size, 1), 1)
    scale = scale.at[-1].multiply(1.0 if offset else 0.0)
    positive = jnp.append(start > 0, False)
    exponent = lambda x: jnp.exp(jnp.clip(jnp.where(positive, x, 0), -30, 30))
    at = lambda x: jnp.where(positive, begin * exponent(x), begin + scale * x)

    solver = optx.LevenbergMarquardt(rtol=rtol, atol=rtol)
    x0 = jnp.zeros(begin.shape)  # optimistix searches in the default float alone
    objective = lambda x, _: left(at(x.astype(begin.dtype))).astype(x0.dtype)
    # a singular value decomposition: what is kept or undetermined has no derivative of its own
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
