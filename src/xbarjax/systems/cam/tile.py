"""A tile of a content-addressable memory: cells, their lines and the sense amplifiers."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import (
    Values,
    as_physical,
    described,
    physical,
    require_finite,
    require_nonnegative,
    require_positive,
)
from ...wires import Wires
from .cell import AbstractCamCell


class Tile(eqx.Module):
    """An array of cells with one match line per row and data and search lines along the columns.

    Before a search every node of a match line is at `v_pre`. Then the line is left to fall, and at
    `t_sense` a comparator beyond the last column says `match` where the voltage is above
    `v_ref + v_offset`. Search lines carry the static currents of the cells: the high one is driven
    above row 0, the low one sinks below the last row.

    **Arguments:**

    - `cell`: the cells, such as `Analog6T2M`, `(rows, cols)`.
    - `r_match`: resistance [ohm] of the segment of a match line from each cell to the next one, and
        from the last to the amplifier, a scalar or `(rows, cols)`; 0 is an ideal wire.
    - `r_high`, `r_low`: resistance [ohm] of the segments of the search lines at each cell, scalars
        or `(rows, cols)`.
    - `c_match`: capacitance [F] of the match line at each cell, a scalar or `(rows, cols)`;
        `c_sense`: of the amplifier's input, a scalar or `(rows,)`.
    - `v_pre`: precharge voltage [V].
    - `v_ref`: reference voltage [V] of the comparators; `v_offset`:
        their offsets [V], a scalar or `(rows,)`.
    - `t_sense`: time [s] from the end of the precharge to the decision.
    - `c_data`: capacitance [F] of a data line at each cell, for the energy alone.
    """

    cell: AbstractCamCell
    r_match: Float[Array, "..."] = eqx.field(converter=physical("r_match"), default=0.0)
    r_high: Float[Array, "..."] = eqx.field(converter=physical("r_high"), default=0.0)
    r_low: Float[Array, "..."] = eqx.field(converter=physical("r_low"), default=0.0)
    c_match: Float[Array, "..."] = eqx.field(converter=physical("c_match"), default=1e-15)
    c_sense: Float[Array, "..."] = eqx.field(converter=physical("c_sense"), default=5e-15)
    v_pre: Float[Array, ""] = eqx.field(converter=physical("v_pre"), default=0.8)
    v_ref: Float[Array, ""] = eqx.field(converter=physical("v_ref"), default=0.4)
    v_offset: Float[Array, "..."] = eqx.field(
        converter=physical("v_offset", whole=True), default=0.0
    )
    t_sense: Float[Array, ""] = eqx.field(converter=physical("t_sense"), default=5e-9)
    c_data: Float[Array, "..."] = eqx.field(converter=physical("c_data"), default=1e-16)

    def __check_init__(self):
        if not isinstance(self.cell, AbstractCamCell):
            raise TypeError(
                f"cell is {described(self.cell)}; pass cells such as xb.cam.Analog6T2M."
            )
        rows, cols = self.shape
        for name in ("r_match", "r_high", "r_low", "c_match", "c_data"):
            _require_shape(getattr(self, name), name, (rows, cols))
        for name in ("c_sense", "v_offset"):
            _require_shape(getattr(self, name), name, (rows,))
        for name in ("r_match", "r_high", "r_low"):
            require_nonnegative(getattr(self, name), name, "ohm", open_allowed=False)
        for name in ("c_match", "c_sense"):
            require_positive(getattr(self, name), name, "F")
        require_nonnegative(self.c_data, "c_data", "F", open_allowed=False)
        for name, unit in (("v_pre", "V"), ("t_sense", "s")):
            require_positive(getattr(self, name), name, unit)
        for name in ("v_ref", "v_offset"):
            require_finite(getattr(self, name), name, "V")

    @property
    def shape(self) -> tuple[int, int]:
        """`(rows, cols)`."""
        return self.cell.shape

    @property
    def search_lines(self) -> Wires:
        """The wires of the search lines."""
        return Wires(self.r_high, self.r_low, parallel=True)

    @property
    def c_line(self) -> Float[Array, " rows"]:
        """Capacitance [F] of each match line, with the amplifier."""
        line = jnp.broadcast_to(self.c_match, self.shape).sum(axis=1)
        return line + jnp.broadcast_to(self.c_sense, line.shape)


def _require_shape(x: Array, name: str, shape: tuple[int, ...]) -> None:
    if x.ndim and x.shape != shape:
        raise ValueError(f"{name} has shape {x.shape}; it must be {shape}, or one number.")


def as_query(tile: Tile, query: Values) -> Array:
    """A query with one entry per column that the cells can compare; `ValueError` for others."""
    query = as_physical(query, "query", whole=True)
    cols = tile.shape[1]
    if query.shape != (cols,):
        raise ValueError(
            f"query has shape {query.shape}, but the tile has {cols} columns: it must be ({cols},)."
        )
    tile.cell.require_query(query)
    return query


def require_tile(tile: Any) -> None:
    """Raises `TypeError` for anything but a `Tile`."""
    if not isinstance(tile, Tile):
        raise TypeError(f"tile is {described(tile)}; pass an xb.cam.Tile.")
