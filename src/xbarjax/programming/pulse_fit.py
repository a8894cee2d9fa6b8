"""Fit of a pulse response to a measured curve of potentiation and depression."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from .._types import Values, as_physical
from ..variability import PulseResponse, pulsed
from ..variability.pulses import as_counts
from .least_squares import Free, Measured, least_squares


class PulseFit(eqx.Module):
    """Fitted pulse response, with the uncertainty of its parameters.

    **Attributes:**

    - `response`: the pulse response with the fitted parameters.
    - `g_start`: conductance [S] before the first pulse.
    - `std`: a response whose parameters are the standard deviations of the fitted ones, in their
        units: 0 for a fixed parameter, inf for a parameter that the data does not determine.
    - `g_start_std`: standard deviation of `g_start` [S], 0 if it was given.
    - `rms`: rms of the residuals, in units of `sigma` where given, else [S].
    - `converged`: whether the search converged.
    """

    response: PulseResponse
    g_start: Float[Array, ""]
    std: PulseResponse
    g_start_std: Float[Array, ""]
    rms: Float[Array, ""]
    converged: Bool[Array, ""]

    def curve(self, pulses: Values) -> Float[Array, " points"]:
        """Mean conductances [S] after trains of `pulses` one after another, `(points,)`."""
        return _curve(Measured(self.response, self.g_start), as_counts(pulses))


def steps_alone(response: PulseResponse) -> Any:
    """The parameters of the steps up and down, without the window."""
    return response.up, response.down


def fit_pulses(
    response: PulseResponse,
    pulses: Values,
    g: Values,
    *,
    g_start: ArrayLike | None = None,
    free: Callable[[PulseResponse], Any] = steps_alone,
    sigma: ArrayLike | None = None,
    rtol: float | None = None,
    max_steps: int = 256,
) -> PulseFit:
    """Least-squares fit of a pulse response to conductances measured along a train of pulses, such
    as a curve of potentiation and depression (LTP and LTD),

        min sum_k ((g_k(parameters) - g_k) / sigma_k)^2,

    where `g_k(parameters)` are the conductances after mean pulses. The search is that of `fit`. One
    call fits one device; many go through `jax.vmap`.

    **Arguments:**

    - `response`: model and starting point, with scalar parameters. A parameter that starts above 0
        stays above 0.
    - `pulses`: whole number of pulses given before each measurement, positive up, negative down,
        `(points,)`: `[0] + 15 * [1] + 15 * [-1]` for a curve of 16 levels.
    - `g`: conductances [S] measured after them, `(points,)`. Where `g` is not finite, the pulses
        count but the point does not.
    - `g_start`: conductance [S] before the first pulse; fitted if not given.
    - `free`: picks the fitted parameters; by default those of the steps. The ends of the window are
        known where the curve saturates. Where it does not, soft bounds are found by
        `lambda r: (r.up.step, r.down.step, r.g_min, r.g_max)`.
    - `sigma`: standard deviation [S] of each conductance, scalar or `(points,)`. Without `sigma`
        all are equal, and estimated from the residuals.
    - `rtol`: tolerance of the search, 1e-8 by default, in float32 1e-5; `max_steps`: step limit.

    **Returns:** a `PulseFit`. The standard deviations are those of a linearised model with
    independent errors of the points, such as read and write noise. Variation from pulse to pulse
    adds up along a train; where it is the larger part, true deviations are larger.

    **Errors:** `TypeError` for pulses that are no whole numbers, `ValueError` for shapes that do
    not fit, fewer points than parameters or a `sigma` that is not above 0. Concrete fits warn if
    the search does not converge.
    """
    counts, g = as_counts(pulses), as_physical(g, "g")
    if g.ndim != 1 or counts.shape != g.shape:
        raise ValueError(
            f"pulses has shape {counts.shape} and g {g.shape}; both must be (points,), one device"
            " per call (several go through jax.vmap)."
        )
    start = _first(g) if g_start is None else as_physical(g_start, "g_start").astype(g.dtype)
    found = least_squares(
        Measured(response, start),
        _curve,
        counts,
        g,
        free=Free(free, g_start is None),
        sigma=sigma,
        unit="S",
        rtol=rtol,
        max_steps=max_steps,
    )
    best, std = found.model, found.std
    return PulseFit(best.model, best.extra, std.model, std.extra, found.rms, found.converged)


@jax.jit
def _curve(measured: Measured, pulses: Array) -> Array:
    response = measured.model

    def train(g, count):
        g = pulsed(response, g, count).hidden
        return g, g

    return lax.scan(train, measured.extra, pulses)[1]


def _first(g: Array) -> Array:
    """The first finite conductance."""
    return g[jnp.argmax(jnp.isfinite(g))]
