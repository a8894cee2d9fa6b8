"""Tables divided into tiles of cells, as arrays of a limited size hold them."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Bool, Float

from ..._types import Values
from .table import Table, as_samples, require_table

__all__ = ["Tiles", "joined", "split", "tiles"]


def __dir__() -> list[str]:
    return __all__


class Tiles(eqx.Module):
    """The cells of a table in tiles, stacked: `low[i, j]` is a tile, `(rows, cols)`.

    Rows of the table go down the blocks `i` in their order, and features along the blocks `j`. A
    row of the table matches if its rows in all blocks `j` match. Tiles are filled up: an unused row
    has `low = high = 0` in all cells and never matches; an unused column of a used row has no
    limits and matches everything.
    """

    low: Float[Array, "down along rows cols"]
    high: Float[Array, "down along rows cols"]
    used: Bool[Array, "down along rows cols"]
    """Which cells hold an interval of the table."""
    rows: int = eqx.field(static=True)
    """Rows of the table."""
    features: int = eqx.field(static=True)
    """Features of the table."""


def tiles(table: Table, rows: int, cols: int) -> Tiles:
    """The cells of a table in tiles of `rows` x `cols` cells.

    A tree may span several blocks of rows: `outputs(table, joined(...))` adds up all rows.

    **Errors:** `ValueError` for a tile without cells.
    """
    require_table(table)
    for name, n in (("rows", rows), ("cols", cols)):
        if not (isinstance(n, int) and n >= 1):
            raise ValueError(f"{name} is {n}; a tile has a whole number of at least 1.")
    all_rows, features = table.low.shape
    down, along = -(-all_rows // rows), -(-features // cols)
    more = (0, down * rows - all_rows), (0, along * cols - features)

    def fold(x: Array, free: float | bool) -> Array:
        wide = jnp.pad(x, ((0, 0), more[1]), constant_values=free)
        full = jnp.pad(wide, (more[0], (0, 0)))
        return full.reshape(down, rows, along, cols).swapaxes(1, 2)

    used = fold(jnp.ones(table.low.shape, bool), False)
    return Tiles(fold(table.low, -np.inf), fold(table.high, np.inf), used, all_rows, features)


def split(tiles: Tiles, x: Values) -> Float[Array, "..."]:
    """Samples in the columns of tiles, `(along, cols)` or `(batch, along, cols)`.

    Unused columns are 0.

    **Arguments:** `x`, samples, `(features,)` or `(batch, features)`. **Errors:** `ValueError` for
    another number of features, and NaN.
    """
    samples = as_samples(x, tiles.features, "x")
    _, along, _, cols = tiles.low.shape
    pad = [(0, 0)] * (samples.ndim - 1) + [(0, along * cols - tiles.features)]
    return jnp.pad(samples, pad).reshape(*samples.shape[:-1], along, cols)


def joined(tiles: Tiles, matched: ArrayLike) -> Bool[Array, "..."]:
    """Which rows of the table match, from those of its tiles.

    **Arguments:**

    - `matched`: which rows of the tiles match, `(..., down, along, rows)`.

    **Returns:** `(..., rows of the table)`. **Errors:** `ValueError` for other tiles, and
    `TypeError` unless `matched` is boolean.
    """
    flags = jnp.asarray(matched)
    if flags.dtype != jnp.bool_:
        raise TypeError(f"matched is {flags.dtype}; pass booleans, such as v_match > v_threshold.")
    if flags.shape[-3:] != tiles.low.shape[:3]:
        raise ValueError(
            f"matched has shape {flags.shape}; it must end in {tiles.low.shape[:3]}, which are"
            " blocks down, blocks along, and rows of a tile."
        )
    every = flags.all(axis=-2)
    return every.reshape(*flags.shape[:-3], -1)[..., : tiles.rows]
