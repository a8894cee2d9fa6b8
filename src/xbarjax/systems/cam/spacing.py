"""Levels of cells with dividers on the voltage of their data lines."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from .cell import Nodes
from .dividers import gate_at_bound, inverter_input
from .rooting import SPAN, root
from .tile import Tile

TRIED = 62  # queries of a level
OPEN = 10.0  # times the largest conductance of a level, of a cell without an upper bound


def ends_of(cell: Any, inner: Array) -> Array:
    """Ends [V] of all levels; outer levels are as wide as their neighbours."""
    first, last = 2 * inner[:1] - inner[1:2], 2 * inner[-1:] - inner[-2:-1]
    if inner.size == 1:
        first, last = inner - 0.1 * cell.v_high, inner + 0.1 * cell.v_high
    return jnp.concatenate([first, inner, last])


@eqx.filter_jit
def levels(tile: Tile, count: int, g_min: Any, g_max: Any) -> tuple[Array, Array]:
    """Inner edges [V] of levels, and the queries [V] that are told best (`data_levels`)."""
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
    ends = ends_of(cell, inner)
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
    return inner, queries
