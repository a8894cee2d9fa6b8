"""Memories of ternary words: bits 0 and 1, and 0.5 where either bit matches."""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..._types import Values, as_physical, described, everywhere
from ...cells import Mosfet
from .cell import AbstractCamCell
from .cells import Ternary2T2R, Ternary4T2R, Ternary16T, Transistor
from .tile import Tile

__all__ = ["TernaryCam", "distances", "thermometer"]


def __dir__() -> list[str]:
    return __all__


def TernaryCam(
    words: Values,
    *,
    cell: type[AbstractCamCell] = Ternary2T2R,
    g_low: Values = 1e-7,
    g_high: Values = 5e-5,
    switch: Transistor | None = None,
    pull_down: Transistor | None = None,
    **lines: Any,
) -> Tile:
    """A tile of ternary cells that store given words.

    **Arguments:**

    - `words`: `(rows, cols)`, entries 0, 1, and 0.5 where either bit of a query matches.
    - `cell`: `Ternary2T2R`, `Ternary4T2R` or `Ternary16T`.
    - `g_low`, `g_high`: conductances [S] of the two states of memristors, scalars or `(rows,
        cols)`. A `Ternary16T` has none.
    - `switch`: transistor of a `Ternary2T2R`, of the dividers of a `Ternary4T2R`, or of all of a
        `Ternary16T`; `pull_down`: of a `Ternary4T2R`. Without them they are those of a generic
        process, no published one: EKV transistors of 250 uA/V^2 per W/L, W/L 1 and 4, thresholds
        0.3 V, and 0.2 V in dividers. The default conductances are generic too.
    - `lines`: arguments of `Tile`, such as `r_match` or `t_sense`.

    **Errors:** `ValueError` for other entries and shapes, a `g_low` that is not below `g_high`, and
    a `pull_down` where there is none; `TypeError` for another cell.
    """
    words = require_words(words, "words")
    if words.ndim != 2:
        raise ValueError(f"words has shape {words.shape}; it must be (rows, cols).")
    if pull_down is not None and cell is not Ternary4T2R:
        raise ValueError("pull_down is that of a Ternary4T2R: leave it out, or pass cell.")
    dtype = words.dtype
    low, high = (as_physical(g, n).astype(dtype) for g, n in ((g_low, "g_low"), (g_high, "g_high")))
    for name, g in (("g_low", low), ("g_high", high)):
        if g.ndim and g.shape != words.shape:
            raise ValueError(f"{name} has shape {g.shape}; words has {words.shape}.")
    if not everywhere(lambda low, high: low < high, low, high):
        raise ValueError(f"g_low is {g_low} S and g_high {g_high} S; g_low must be below g_high.")
    generic = lambda size, v_t: Mosfet(size * 2.5e-4, v_t, 0.0, lam=0.05)
    # the half that a query of 1 opens pulls a stored 0 down, and the other way round
    one, zero = jnp.where(words == 0, high, low), jnp.where(words == 1, high, low)
    if cell is Ternary2T2R:
        made = Ternary2T2R(one, zero, generic(1, 0.3) if switch is None else switch)
    elif cell is Ternary4T2R:
        made = Ternary4T2R(
            one,
            zero,
            generic(1, 0.2) if switch is None else switch,
            generic(4, 0.3) if pull_down is None else pull_down,
        )
    elif cell is Ternary16T:
        bits = (words == 0).astype(dtype), (words == 1).astype(dtype)
        made = Ternary16T(*bits, generic(1, 0.3) if switch is None else switch)
    else:
        raise TypeError(
            f"cell is {described(cell)}; pass xb.cam.Ternary2T2R, Ternary4T2R or Ternary16T."
        )
    return Tile(made, **lines)


def distances(words: Values, query: Values) -> Float[Array, "..."]:
    """Numbers of cells that do not match, in digital logic: the Hamming distance without the bits
    that are 0.5 on either side.

    **Arguments:** `words`, `(rows, cols)`; `query`, `(..., cols)`. **Returns:** `(..., rows)`.
    **Errors:** `ValueError` for entries other than 0, 1 and 0.5, and for other shapes.
    """
    stored, asked = require_words(words, "words"), require_words(query, "query")
    if stored.ndim != 2 or asked.shape[-1:] != stored.shape[1:]:
        raise ValueError(
            f"words has shape {stored.shape} and query {asked.shape}: they must be (rows, cols) and"
            " (..., cols)."
        )
    # +1, -1 or 0: a product is -1 where bits differ, and 0 where either is open
    stored, asked = 2 * stored - 1, (2 * asked - 1).astype(stored.dtype)
    known = jnp.abs(asked) @ jnp.abs(stored).T
    return (known - asked @ stored.T) / 2


def thermometer(levels: Values, count: int) -> Float[Array, "..."]:
    """Levels as bits, `count - 1` for each feature, of which the first so many are 1.

    The Hamming distance of two such words is the sum of the differences of their levels (L1), so a
    ternary memory finds the best match in L1.

    **Arguments:** `levels`, whole numbers from 0 to `count - 1`, `(..., features)`. **Returns:**
    `(..., features * (count - 1))`. **Errors:** `ValueError` for other levels.
    """
    x = as_physical(levels, "levels", whole=True)
    if not (isinstance(count, int) and count >= 2):
        raise ValueError(f"count is {count}; it must be a whole number of at least 2.")
    if x.ndim < 1 or not everywhere(lambda x: (x >= 0) & (x < count) & (x % 1 == 0), x):
        raise ValueError(f"levels must be whole numbers from 0 to {count - 1}, (..., features).")
    steps = jnp.arange(1, count, dtype=x.dtype).reshape((1,) * x.ndim + (-1,))
    return (x[..., None] >= steps).astype(x.dtype).reshape(*x.shape[:-1], -1)


def require_words(x: Values, name: str) -> Array:
    """`x` as a floating array of ternary entries."""
    words = as_physical(x, name, whole=True, boolean=True)
    if not everywhere(lambda x: (x == 0) | (x == 1) | (x == 0.5), words):
        raise ValueError(f"{name} has entries other than 0, 1 and 0.5, which matches either bit.")
    return words
