"""Least-squares fits of models to measured curves, with the parameters' uncertainty."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import as_physical, is_concrete


class Measured(eqx.Module):
    """A model and one more parameter, of its measurement: an offset or a starting point."""

    model: Any
    extra: Float[Array, ""]


class Free(eqx.Module):
    """Picks the fitted parameters of a `Measured`: those of the model by `of_model`, and `extra` if
    wanted. Two that pick alike are equal, so that nothing is traced anew."""

    of_model: Callable = eqx.field(static=True)
    extra: bool = eqx.field(static=True)

    def __call__(self, measured: Measured) -> Any:
        picked = jax.tree.leaves(self.of_model(measured.model))
        return [*picked, measured.extra] if self.extra else picked


class Found(eqx.Module):
    """Fitted model.

    **Attributes:** `model`; `std`: a model whose parameters are the standard deviations of the
    fitted ones, 0 for fixed ones and inf for undetermined ones; `rms`: of the residuals, in units
    of `sigma` where given; `converged`.
    """

    model: Any
    std: Any
    rms: Float[Array, ""]
    converged: Bool[Array, ""]


def least_squares(
    model: Any,
    predict: Callable[[Any, Any], Array],
    x: Any,
    y: Float[Array, " points"],
    *,
    free: Callable[[Any], Any],
    sigma: ArrayLike | None,
    unit: str,
    rtol: float | None,
    max_steps: int,
) -> Found:
    """Model with the least `sum_k ((predict(model, x)_k - y_k) / sigma_k)^2`, by the
    Levenberg-Marquardt method (D. W. Marquardt, J. Soc. Ind. Appl. Math. 11, 431, 1963,
    doi:10.1137/0111030).

    Parameters that start above 0 stay above 0. Points whose `y` is not finite are left out.

    **Arguments:** `unit` of `y`, for messages; `predict` and `free` defined once, or they compile
    anew; others as of `fit`.

    **Errors:** `ValueError` for free parameters that are no scalars, fewer points than parameters
    and a `sigma` of another shape or not above 0. Concrete fits warn if the search does not
    converge.
    """
    start = jax.tree.leaves(free(model))
    if any(jnp.ndim(p) for p in start):
        raise ValueError(
            f"the free parameters have shapes {[jnp.shape(p) for p in start]}; they must be"
            " scalars."
        )
    if sigma is not None:
        sigma = as_physical(sigma, "sigma")
        if sigma.shape not in ((), y.shape):
            raise ValueError(
                f"sigma has shape {sigma.shape}; it must be a scalar or {y.shape}, one per point."
            )
        if is_concrete(sigma) and not np.all(np.asarray(sigma) > 0):
            raise ValueError(f"the smallest sigma is {np.min(sigma)} {unit}; it must be above 0.")
    points = int(np.sum(np.isfinite(y))) if is_concrete(y) else y.size
    if points < len(start):
        raise ValueError(
            f"there are {points} points for {len(start)} parameters: measure more, or fit fewer"
            " with free=."
        )
    if rtol is None:
        rtol = 1e-8 if y.dtype == jnp.float64 else 1e-5
    found = _search(model, predict, x, y, free, sigma, rtol, max_steps)
    if is_concrete(found.converged) and not np.all(np.asarray(found.converged)):
        warnings.warn(
            "fit did not converge: start closer, free fewer parameters, or raise max_steps.",
            stacklevel=3,
        )
    return found


@eqx.filter_jit
def _search(model, predict, x, y, free, sigma, rtol: float, max_steps: int) -> Found:
    begin = jnp.stack([jnp.asarray(p, y.dtype) for p in jax.tree.leaves(free(model))])
    counts = jnp.isfinite(y)
    count = jnp.sum(counts).astype(y.dtype)
    y = jnp.where(counts, y, 0)
    unit = jnp.sqrt(jnp.sum(y**2) / jnp.maximum(count, 1))
    unit = jnp.where(unit > 0, unit, 1)
    weight = jnp.where(counts, 1 / jnp.asarray(unit if sigma is None else sigma, y.dtype), 0)

    def filled(model, p):
        structure = jax.tree.structure(free(model))
        return eqx.tree_at(free, model, jax.tree.unflatten(structure, list(p)))

    def left(p):
        """Residuals at every point."""
        return weight * (predict(filled(model, p), x) - y)

    # Logarithms of parameters above 0; others in units that change `y` by its own size.
    size = jnp.sqrt(jnp.sum(jax.jacfwd(left)(begin) ** 2, axis=0))
    total = jnp.sqrt(jnp.sum((weight * y) ** 2))
    scale = jnp.where(size > 0, total / jnp.where(size > 0, size, 1), 1)
    positive = begin > 0
    exponent = lambda z: jnp.exp(jnp.clip(jnp.where(positive, z, 0), -30, 30))
    at = lambda z: jnp.where(positive, begin * exponent(z), begin + scale * z)

    solver = optx.LevenbergMarquardt(rtol=rtol, atol=rtol)
    z0 = jnp.zeros(begin.shape)  # optimistix searches in the default float only
    objective = lambda z, _: left(at(z.astype(begin.dtype))).astype(z0.dtype)
    # SVD, since undetermined parameters make the Jacobian singular
    adjoint = optx.ImplicitAdjoint(lx.SVD())
    end = optx.least_squares(
        objective, solver, z0, max_steps=max_steps, adjoint=adjoint, throw=False
    )
    p = at(end.value.astype(begin.dtype))
    std = _deviations(jax.jacfwd(left)(p), left(p), count, sigma is None)
    rms = jnp.sqrt(jnp.sum(left(p) ** 2) / count) * (unit if sigma is None else 1)
    none = jax.tree.map(lambda x: jnp.zeros_like(x) if eqx.is_array(x) else x, model)
    converged = end.result == optx.RESULTS.successful
    return Found(filled(model, p), filled(none, std), rms, converged)


def _deviations(jacobian, left, count, estimate: bool) -> Array:
    """Standard deviations of the parameters from the curvature of the sum of squares."""
    norms = jnp.sqrt(jnp.sum(jacobian**2, axis=0))
    _, s, vt = jnp.linalg.svd(jacobian / jnp.where(norms > 0, norms, 1)[None], full_matrices=False)
    known = s > s[0] * 1e3 * jnp.finfo(s.dtype).eps
    parts = (vt / jnp.where(known, s, 1)[:, None]) ** 2
    variance = jnp.sum(jnp.where(known[:, None], parts, 0), axis=0)
    undetermined = jnp.sum(jnp.where(known[:, None], 0, vt**2), axis=0) > 1e-6
    freedom = jnp.maximum(count - jacobian.shape[1], 1)
    noise = jnp.sum(left**2) / freedom if estimate else 1.0
    std = jnp.sqrt(variance * noise) / jnp.where(norms > 0, norms, 1)
    return jnp.where(undetermined | (norms == 0), jnp.inf, std)
