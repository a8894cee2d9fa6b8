"""Where the levels of an analog memory lie on the voltage of its data lines."""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._types import Values, described
from .balance import tie_voltages
from .bounds import Bounds, gate_at_bound, inverter_input, require_analog
from .cell import Nodes
from .latched import AnalogLatched
from .rooting import SPAN, root
from .tile import Tile, require_tile

TRIED = 62  # queries of a level
OPEN = 10.0  # times the largest conductance of a level, of a cell without an upper bound


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
    require_tile(tile)
    if count < 2:
        raise ValueError(f"count is {count}; there must be at least 2 levels.")
    if isinstance(tile.cell, AnalogLatched):
        g = jnp.geomspace(g_min, g_max, count - 1, dtype=tile.cell.g_low.dtype)
        inner = tie_voltages(tile.cell, g[None])[0]
        ends = _ends(tile.cell, inner)
        none = jnp.full((1,), jnp.inf, g.dtype)
        return DataLevels(jnp.concatenate([-none, inner, none]), (ends[1:] + ends[:-1]) / 2)
    require_analog(tile)
    return _data_levels(tile, count, g_min, g_max)


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


def _ends(cell: Any, inner: Array) -> Array:
    """Ends [V] of all levels; outer levels are as wide as their neighbours."""
    first, last = 2 * inner[:1] - inner[1:2], 2 * inner[-1:] - inner[-2:-1]
    if inner.size == 1:
        first, last = inner - 0.1 * cell.v_high, inner + 0.1 * cell.v_high
    return jnp.concatenate([first, inner, last])


@eqx.filter_jit
def _data_levels(tile: Tile, count: int, g_min: float, g_max: float) -> DataLevels:
    cell: Any = tile.cell
    dtype = cell.g_low.dtype
    gate = jnp.mean(gate_at_bound(tile, jnp.zeros(tile.shape[:1], dtype)))
    before = inverter_input(cell, gate)
    g = jnp.geomspace(g_min, g_max, count - 1, dtype=dtype)
    of = lambda v: jnp.full_like(v, cell.v_low)

    def excess(v):
        m = jnp.full_like(v, gate)
        return cell.divider.gated(v).current(m, of(v)) - g * (cell.v_high - m)

    inner = root(excess, jnp.zeros_like(g), jnp.full_like(g, SPAN * cell.v_high))
    ends = _ends(cell, inner)
    x = jnp.linspace(0, 1, TRIED + 2, dtype=dtype)[1:-1]
    tried = ends[:-1, None] + jnp.diff(ends)[:, None] * x[None]  # (levels, tried)

    def stored(m, edge):  # conductance of a cell with a bound there
        return cell.divider.gated(edge).current(jnp.full_like(edge, m), of(edge)) / (
            cell.v_high - m
        )

    lower, upper = (stored(m, ends)[:, None] + 0 * ends[None, :1] for m in (gate, before))
    at = Nodes(jnp.full_like(tried, cell.v_high), jnp.full_like(tried, cell.v_low))
    half = jnp.full_like(tried, (tile.v_pre + tile.v_ref) / 2)
    fill = lambda g: jnp.broadcast_to(g, tried.shape)

    def drawn(g_low, g_high):
        here = eqx.tree_at(lambda c: (c.g_low, c.g_high), cell, (fill(g_low), fill(g_high)))
        return here.pull_downs(here.gates_at(tried, at)).current(half, jnp.zeros_like(half))

    leak = drawn(lower[:-1].at[0].set(0.0), upper[1:].at[-1].set(OPEN * g_max))
    # of a cell that stores the next level up, or down
    pull_up = drawn(lower[1:], fill(jnp.asarray(OPEN * g_max, dtype)))
    pull_down = drawn(jnp.zeros_like(lower[:-1]), upper[:-1])
    inner_up = (jnp.arange(count) < count - 1)[:, None]
    inner_down = (jnp.arange(count) > 0)[:, None]
    pull = jnp.minimum(
        jnp.where(inner_up, pull_up, jnp.inf), jnp.where(inner_down, pull_down, jnp.inf)
    )
    enough = cell.pull_down.gated(gate).current(half[0, 0], jnp.zeros_like(gate))
    kept, told = enough / (tile.shape[1] * leak), pull / enough
    best = jnp.argmax(jnp.minimum(kept, told), axis=1)
    queries = jnp.take_along_axis(tried, best[:, None], axis=1)[:, 0]
    none = jnp.full((1,), jnp.inf, dtype)
    return DataLevels(jnp.concatenate([-none, inner, none]), queries)
