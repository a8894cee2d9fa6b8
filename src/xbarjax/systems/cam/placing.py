"""Where the levels of an analog memory lie on the voltage of its data lines."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._types import Values, described
from .bounds import Bounds, analog_cell
from .tile import Tile


class DataLevels(NamedTuple):
    """Data-line voltages of the levels of an analog memory."""

    edges: Float[Array, " levels+1"]  # [V], bounds between levels; the outer ones are -inf and inf
    queries: Float[Array, " levels"]  # [V] of the data line for each level


def data_levels(tile: Tile, count: int, *, g_min: float = 1e-6, g_max: float = 1e-4) -> DataLevels:
    """Data-line voltages of `count` levels.

    The inner edges are the lower bounds of conductances in geometric order from `g_min` to `g_max`
    [S], without wires. Of the queries between the edges of a level, the one is taken that keeps the
    most distance both ways from the current that just takes a match line to the reference: a row of
    cells that store this level draws less, one cell that stores a level next to it draws more.
    Cells without an upper bound then need some `10 g_max` (`stored`). Queries of `AnalogLatched`
    cells are in the middle of their level.

    **Returns:** `DataLevels`, in V.

    **Errors:** `TypeError` for cells that store no interval; `ValueError` for fewer than 2 levels.
    """
    cell = analog_cell(tile)
    if count < 2:
        raise ValueError(f"count is {count}; there must be at least 2 levels.")
    inner, queries = cell.levels(tile, count, g_min, g_max)
    none = jnp.full((1,), jnp.inf, inner.dtype)
    return DataLevels(jnp.concatenate([-none, inner, none]), queries)


def placed(levels: DataLevels, low: Values, high: Values) -> Bounds:
    """Bounds [V] of cells whose bounds are levels: `low <= level < high`.

    **Arguments:**

    - `levels`: data-line voltages of `n` levels.
    - `low`, `high`: whole numbers from 0 to `n`, and -inf and inf for none, of the same shape, such
        as those of a `Table` that is `quantised` or of its `Tiles`. Level 0 is no lower bound, and
        `n` no upper one.

    **Returns:** `Bounds`. Cells with `low >= high` match nothing and get -inf for both.

    **Errors:** `TypeError` unless `levels` is a `DataLevels`; `ValueError` for bounds that are no
    whole numbers, or beyond the levels.
    """
    if not isinstance(levels, DataLevels):
        raise TypeError(f"levels is {described(levels)}; pass xb.cam.data_levels(tile, count).")
    count = levels.queries.shape[0]
    pair = np.asarray(low, float), np.asarray(high, float)
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"low has shape {pair[0].shape} and high {pair[1].shape}; one must fit.")
    for name, x in zip(("low", "high"), pair):
        known = np.isfinite(x)
        bad = np.isnan(x) | (known & ((x < 0) | (x > count) | (np.where(known, x, 0) % 1 > 0)))
        if bad.any():
            k = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{name}[{k}] = {x[k]:g} is beyond the levels: pass whole numbers from 0 to {count}"
                ", or -inf and inf for no bound."
            )
    place = (np.clip(x, 0, count).astype(int) for x in pair)
    never = pair[0] >= pair[1]
    return Bounds(*(jnp.where(never, -jnp.inf, levels.edges[k]) for k in place))
