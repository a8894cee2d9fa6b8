"""From bounds to conductances and back: what analog cells store."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..._types import described, is_concrete
from ...cells import Mosfet
from . import dividers
from .cell import AbstractAnalogCell, Programmed
from .cells import Analog6T2M, Transistor
from .dividers import holding
from .tile import Tile, require_tile

Cells = Float[Array, "rows cols"]


class Bounds(NamedTuple):
    """Data-line voltages [V] between which cells match, `(rows, cols)`; inf where there is none."""

    low: Cells
    high: Cells


def AnalogCam(
    low: ArrayLike,
    high: ArrayLike,
    *,
    divider: Transistor | None = None,
    pull_down: Transistor | None = None,
    inverter: Transistor | None = None,
    v_high: float = 0.5,
    g_max: float = 1e-4,
    **lines: Any,
) -> Tile:
    """A tile of analog cells (`Analog6T2M`) that match between given data-line voltages [V].

    **Arguments:**

    - `low`, `high`: bounds [V], `(rows, cols)`; -inf and inf for none.
    - `divider`, `pull_down`, `inverter`: transistors. Without them they are those of a generic
        process, no published one: EKV transistors of 250 uA/V^2 per W/L, W/L 4, 1 and 1, thresholds
        0.2, 0.3 and 0.2 V.
    - `v_high`: voltage [V] of the high search lines; `g_max`: largest conductance [S].
    - `lines`: arguments of `Tile`, such as `r_high`, `r_match` or `t_sense`.

    **Returns:** a `Tile` whose conductances are for ideal wires, as of `stored`.
    """
    low = jnp.asarray(low, float)
    generic = lambda w, v_t: Mosfet(w * 2.5e-4, v_t, 0.0, lam=0.05)
    blank = jnp.zeros(jnp.shape(low), low.dtype)
    cell = Analog6T2M(
        blank,
        blank,
        generic(4, 0.2) if divider is None else divider,
        generic(1, 0.3) if pull_down is None else pull_down,
        generic(1, 0.2) if inverter is None else inverter,
        v_high,
    )
    return stored(Tile(cell, **lines), low, high, g_max=g_max)


def bounds(tile: Tile) -> Bounds:
    """The bounds that the cells of a tile have, wires and leakage of their row included. Those of
    `AnalogLatched` cells are ties of their latches, without wires.

    **Errors:** `TypeError` for cells that store no interval."""
    return Bounds(*analog_cell(tile).bounds(tile))


def stored(
    tile: Tile, low: ArrayLike, high: ArrayLike, *, g_max: float = 1.5e-4, hold: bool = False
) -> Tile:
    """The tile with conductances for given bounds, as if wires were ideal and no cell leaked.

    **Arguments:**

    - `tile`: cells and lines; its conductances do not count.
    - `low`, `high`: data-line voltages [V] between which each cell matches, `(rows, cols)`; -inf
        and inf for none. A cell with both at -inf never matches.
    - `g_max`: largest conductance [S], which is that of a cell without an upper bound. A cell
        without a lower bound has 0 S.
    - `hold`: whether cells whose bounds are out of reach get the nearest conductance.

    **Returns:** a `Tile`, with gradients by the bounds. Conductances out of reach are NaN under
    `jit`, where no error can be raised, unless held.

    **Errors:** `TypeError` for cells that store no interval. `ValueError` for another shape, bounds
    that are NaN, that cross, or that need more than `g_max`, unless held.
    """
    cell = analog_cell(tile)
    low, high = _pair(tile, low, high)
    made = cell.programmed(tile, low, high, g_max)
    return _with(tile, made, low, high, g_max, hold)


def compensated(
    tile: Tile,
    low: ArrayLike,
    high: ArrayLike,
    *,
    g_max: float = 1.5e-4,
    hold: bool = False,
    rounds: int = 40,
) -> Tile:
    """The tile with conductances for which the bounds, wires and leakage included, are the given
    ones.

    Every round solves the search lines of the tile as it is and programs each cell for the voltages
    that its divider has at its bounds, and for what the other cells of its row leak, until
    conductances change by less than 1e-6 of themselves (1e-4 in float32). Where dividers draw too
    much for their search lines there are no such conductances.

    **Arguments:** as of `stored`; `rounds`: number of these at most.

    **Returns:** a `Tile`, as of `stored`, with gradients also by the lines. `bounds` tells how
    close it comes.

    **Errors:** as of `stored`, and `TypeError` for cells other than `Analog6T2M`; also `ValueError`
    for bounds that the search lines do not allow, unless held.
    """
    require_tile(tile)
    if not isinstance(tile.cell, Analog6T2M):
        raise TypeError(
            f"cell is {described(tile.cell)}; only xb.cam.Analog6T2M is compensated for wires."
        )
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; it must be at least 1.")
    low, high = _pair(tile, low, high)
    made = dividers.compensated(tile, low, high, g_max, rounds)
    return _with(tile, made, low, high, g_max, hold)


def _pair(tile: Tile, low: ArrayLike, high: ArrayLike) -> tuple[Array, Array]:
    dtype = tile.cell.g_low.dtype  # pyright: ignore[reportAttributeAccessIssue]
    pair = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
    for name, x in zip(("low", "high"), pair):
        if x.shape != tile.shape:
            raise ValueError(f"{name} has shape {x.shape}; the cells are {tile.shape}.")
        if is_concrete(x) and bool(jnp.any(jnp.isnan(x))):
            raise ValueError(f"{name} has NaN; give -inf or inf for no bound.")
    if is_concrete(pair) and bool(jnp.any(pair[0] > pair[1])):
        k = tuple(int(i) for i in np.argwhere(np.asarray(pair[0] > pair[1]))[0])
        raise ValueError(
            f"low[{k}] is {float(pair[0][k]):g} V, above high[{k}] = {float(pair[1][k]):g} V: the"
            " bounds cross, and nothing would match."
        )
    return pair


def _with(tile: Tile, made: Programmed, low: Array, high: Array, g_max: float, hold: bool) -> Tile:
    """The tile with conductances, held or NaN under `jit` where a bound is out of reach."""
    if hold:
        return holding(tile, *made.g)
    if not is_concrete((made.over, made.lost)):
        pairs = zip(made.g, made.over, made.lost)
        return holding(tile, *(jnp.where(over | lost, jnp.nan, g) for g, over, lost in pairs))
    for name, bound, over, lost in zip(("low", "high"), (low, high), made.over, made.lost):
        for what, why in (
            (over, f"needs more than g_max = {g_max:g} S: lower it, raise g_max, or give inf for"
             " no bound"),
            (lost, "is out of reach: the search lines drop too much there; take fewer rows, less"
             " wire resistance, or smaller conductances"),
        ):  # fmt: skip
            if bool(jnp.any(what)):
                k = tuple(int(i) for i in np.argwhere(np.asarray(what))[0])
                raise ValueError(
                    f"{name}[{k}] = {float(bound[k]):g} V {why}; hold=True keeps the nearest"
                    " conductance."
                )
    return holding(tile, *made.g)


def analog_cell(tile: Any) -> AbstractAnalogCell:
    """The cells of a tile that store intervals; `TypeError` for others."""
    require_tile(tile)
    if not isinstance(tile.cell, AbstractAnalogCell):
        raise TypeError(
            f"cell is {described(tile.cell)}; bounds are those of xb.cam.Analog6T2M and"
            " AnalogLatched."
        )
    return tile.cell
