"""Causes of a compensation that misses its tolerance, with a remedy for each."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

# In units of the dtype's eps: smallest error of weights that the dtype can show, and largest error
# by rounding alone. In float32, outputs of 256 x 256 cells on wires are off by 17 eps.
SHOWN, ROUNDING = 64, 256


class Tried(NamedTuple):
    """Settings of a compensation method, and the course of its run."""

    rtol: float
    history: Sequence[float]  # error after every step
    max_steps: int | None  # None if unknown, as for a user's own method
    free_gain: bool
    programmed: bool  # whether the error contains programming errors
    saturated: bool  # whether a cell is at a bound


def advice(tried: Tried, dtype: jnp.dtype) -> str:
    """One cause and its remedy: rounding, programming, too few steps, cells at their bounds, or a
    method that came to rest off the target."""
    best, eps = min(tried.history), float(jnp.finfo(dtype).eps)
    if tried.rtol < SHOWN * eps and best <= ROUNDING * eps:
        other = " or use float64" if dtype == jnp.float32 else ""
        return (
            f"The tolerance, {tried.rtol:.0e}, is below what {dtype} can show, and the remaining"
            f" error, {best:.1e}, is rounding: ask for at least {SHOWN * eps:.0e}{other}."
        )
    if tried.programmed:
        return (
            "The error contains programming errors: program more exactly, or ask for less (rtol)."
        )
    if len(tried.history) == tried.max_steps and not stalled(tried.history, 0):
        steps = len(tried.history)
        return f"The error was still falling after {steps} steps: allow more (max_steps)."
    if tried.saturated:
        free = "" if tried.free_gain else " free the gains (free_gain),"
        return f"Cells are at their bounds: lower the scale,{free} or use smaller tiles."
    return (
        "No cell is at a bound, and more steps no longer help: use another method (FixedPoint,"
        " Descent), or smaller tiles."
    )


def stalled(history: Sequence[float], after: int, window: int = 6) -> bool:
    """Whether the last `window` steps brought less than one percent."""
    if len(history) <= after + window:
        return False
    return min(history[-window:]) > 0.99 * min(history[:-window])
