"""The best match: the row whose line falls last, and the number of its cells that do not match."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from ..._types import Values, as_physical, described, everywhere
from .curves import Sensed
from .search import Found

__all__ = ["Nearest", "mismatches", "nearest"]


def __dir__() -> list[str]:
    return __all__


class Nearest(NamedTuple):
    """The rows that match best, the best one first."""

    row: Int[Array, "... k"]
    t_fall: Float[Array, "... k"]
    """Times [s] at which their lines are seen to fall; inf for lines that are not."""
    alike: Int[Array, "... k"]
    """Number of rows, itself included, that are seen to fall at this time."""


def nearest(
    found: Found | Sensed,
    k: int = 1,
    *,
    t_clock: float | None = None,
    t_end: float | None = None,
) -> Nearest:
    """The `k` rows that fall last, which in a ternary memory have the least Hamming distance.

    Every cell that does not match adds its current, so a line falls the sooner the more there are.
    Levels as `thermometer` bits give the best match in L1. Analog cells (`Analog6T2M`) draw the
    more the farther a query is from their interval, but only to the most that the pull-down
    carries: they find the best match in L1 where queries are within a level of the row, and else
    come close to that in numbers of cells (`experiments.few_shot`).

    Lines that never fall (`t_fall` inf) are not told apart, nor are lines that fall in the same
    period of the clock. Of such rows the first comes first, as a priority encoder has it, and
    `alike` counts them. A search follows lines to its last time only: later falls are inf.

    **Arguments:**

    - `found`: result of `search`, or of `lookup`, also in batches.
    - `k`: number of rows.
    - `t_clock`: period [s] of the clock that samples the comparators. A fall is seen at the next
        edge. Without it every time is told apart.
    - `t_end`: time [s] after which no fall is seen.

    **Returns:** `Nearest`. Rows of a search that failed have `t_fall` NaN and come last.

    **Errors:** `TypeError` for something else than a result, and `ValueError` for a `k` beyond the
    rows and times that are not above 0.
    """
    t = _seen(found, t_clock, t_end)
    rows = t.shape[-1]
    if not (isinstance(k, int) and 1 <= k <= rows):
        raise ValueError(f"k is {k}; it must be a whole number from 1 to {rows}, the rows.")
    order = jnp.argsort(-t, axis=-1, stable=True)[..., :k]
    times = jnp.take_along_axis(t, order, axis=-1)
    alike = jnp.sum(times[..., None] == t[..., None, :], axis=-1)
    return Nearest(order, times, alike)


def mismatches(
    found: Found | Sensed,
    times: Values,
    *,
    t_clock: float | None = None,
    t_end: float | None = None,
) -> Int[Array, "... rows"]:
    """Numbers of cells that do not match, read off the times of the falls.

    The numbers of several tiles that share the bits of a word add up to its distance.

    **Arguments:**

    - `found`: result of `search` or `lookup`.
    - `times`: times [s] of the fall of lines with 0, 1, ... cells that do not match, falling; inf
        for lines that do not. A time is counted as the number whose time is next to it on a
        logarithmic scale. A tile with a ladder of words measures them:
        `lookup(Curves.of(TernaryCam(np.tri(cols + 1, cols, -1)), (0, 1)), np.zeros(cols, int))`.
    - `t_clock`, `t_end`: as of `nearest`. A fall is counted as in the middle of its period.

    **Returns:** `(..., rows)`, and -1 for rows of a search that failed.

    **Errors:** as of `nearest`, and `ValueError` for times that do not fall.
    """
    t = _seen(found, t_clock, t_end)
    if t_clock is not None:
        t = t - t_clock / 2
    known = as_physical(times, "times", whole=True)
    falls = lambda x: (x[1:] < x[:-1]) & (x[1:] > 0)
    if known.ndim != 1 or known.size < 2 or not everywhere(falls, known):
        raise ValueError(
            f"times has shape {known.shape}; it must be (numbers,), at least 2, falling, above 0."
        )
    known = known.astype(t.dtype)
    between = (jnp.sqrt(known[:-1]) * jnp.sqrt(known[1:])).reshape((1,) * t.ndim + (-1,))
    count = jnp.sum(t[..., None] < between, axis=-1)
    return jnp.where(jnp.isnan(t), -1, count)


def _seen(found: Found | Sensed, t_clock: float | None, t_end: float | None) -> Array:
    """Times [s] at which falls are seen."""
    if not isinstance(found, (Found, Sensed)):
        raise TypeError(
            f"found is {described(found)}; pass a result of xb.cam.search or xb.cam.lookup."
        )
    t = found.t_fall
    for name, x in (("t_clock", t_clock), ("t_end", t_end)):
        if x is not None and not everywhere(lambda x: x > 0, jnp.asarray(x)):
            raise ValueError(f"{name} is {x} s; it must be above 0.")
    if t_clock is not None:
        # a few roundings past an edge count as on it
        t = jnp.ceil(t / t_clock * (1 - 4 * jnp.finfo(t.dtype).eps)) * t_clock
    return t if t_end is None else jnp.where(t > t_end, jnp.inf, t)
