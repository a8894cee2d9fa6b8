"""Bounds of latched cells: data-line voltages at which a race is a tie.

The nodes of a latch end level where neither side wins. This voltage rises with the conductance of
the memristor. It is found by halving an interval, with a whole race for every half: currents that
balance at one voltage of the nodes do not at another, so the bound has no closed form. Wires are
left out: each latch is alone.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ..._types import is_concrete
from .cell import Programmed
from .latch import DATA, MEM, Latches, raced
from .rooting import SPAN, halved, with_slope
from .spacing import ends_of

RTOL, STEPS = 1e-5, 2048  # of the races
LEAST = 1e-12  # [S]
MOMENTS = 25  # at which slopes may be taken
CLOSE = 0.2  # lead at a slope, relative to the supply: a tie is no more than some 0.1 ahead before


def tie_voltages(cell: Any, g: Array) -> Array:
    """Data-line voltages [V] at which latches with memristors `g` [S] end level, up to `SPAN` times
    the supply; `g` has the shape of the cells, or any other if all transistors are alike."""
    return _each(_tie_voltages, cell, g)


def tie_conductances(cell: Any, v_data: Array, g_max: Any) -> Array:
    """Conductances [S] up to `g_max` with which latches end level at data-line voltages [V]."""
    return _each(lambda cell, v: _tie_conductances(cell, v, g_max), cell, v_data)


def bounds(cell: Any) -> tuple[Array, Array]:
    """Bounds [V] of cells alone; inf where there is none."""
    low, high = tie_voltages(cell, cell.g_low), tie_voltages(cell, cell.g_high)
    span = SPAN * cell.v_high * (1 - 1e-6)
    return jnp.where(cell.g_low > 0, low, -jnp.inf), jnp.where(high < span, high, jnp.inf)


def programmed(cell: Any, low: Array, high: Array, g_max: Any) -> Programmed:
    """Conductances [S] of both memristors for bounds [V], which may be infinite."""
    pair = low, high
    known = [jnp.where(jnp.isfinite(x), x, 0) for x in pair]
    tied = [tie_conductances(cell, v, g_max) for v in known]
    g = [
        jnp.where(jnp.isneginf(x), 0, jnp.where(jnp.isposinf(x), g_max, g))
        for g, x in zip(tied, pair)
    ]
    over = [(x >= g_max) & jnp.isfinite(b) for x, b in zip(g, pair)]
    none = jnp.zeros(low.shape, bool)
    return Programmed((g[0], g[1]), (over[0], over[1]), (none, none))


def levels(cell: Any, count: int, g_min: Any, g_max: Any) -> tuple[Array, Array]:
    """Inner edges [V] of levels, and queries [V] in the middle of each."""
    g = jnp.geomspace(g_min, g_max, count - 1, dtype=cell.g_low.dtype)
    inner = tie_voltages(cell, g[None])[0]
    ends = ends_of(cell, inner)
    return inner, (ends[1:] + ends[:-1]) / 2


def _each(do: Callable, cell: Any, x: Array) -> Array:
    """`do` once for every number that occurs, if these are known and all transistors are alike."""
    alike = all(p.ndim == 0 for p in jax.tree.leaves((cell.branch, cell.latch)))
    if not (alike and is_concrete(x)):
        return do(cell, x)
    once, place = np.unique(np.asarray(x), return_inverse=True)
    return do(cell, jnp.asarray(once)[None])[0][place.reshape(x.shape)]


def _ahead(cell: Any, g: Array, v_data: Array, ts: Array) -> Array:
    """By how much [V] the data line is ahead, over times [s] before the other axes."""
    at = Latches(
        g[None], v_data, cell.v_gate, cell.branch, cell.latch, cell.v_high, cell.v_low, cell.c_node,
        cell.c_inner, jnp.zeros_like(g),
    )  # fmt: skip
    seen = raced(at, ts, jnp.asarray(RTOL, g.dtype), STEPS, seen=ts.size > 1)
    v = seen.v[None] if seen.at is None else seen.at
    return v[:, MEM, 0] - v[:, DATA, 0]


@eqx.filter_jit
def _tie_voltages(cell: Any, g: Array) -> Array:
    ends = jnp.zeros_like(g), jnp.full_like(g, SPAN * cell.v_high)
    return _tie(cell, lambda cell, v, ts: _ahead(cell, g, v, ts), *ends)


@eqx.filter_jit
def _tie_conductances(cell: Any, v_data: Array, g_max: Any) -> Array:
    ends = (jnp.full_like(v_data, np.log(g)) for g in (LEAST, g_max))
    return jnp.exp(_tie(cell, lambda cell, x, ts: -_ahead(cell, jnp.exp(x), v_data, ts), *ends))


def _tie(cell: Any, ahead: Callable, low: Array, high: Array) -> Array:
    """Where a rising lead is 0, with its derivative.

    Once a latch has decided its nodes tell nothing of the numbers, so the slopes are those of the
    last moment at which they are still close to each other."""
    x = halved(lambda x: ahead(cell, x, cell.t_latch[None])[0], low, high)
    ts = cell.t_latch * jnp.geomspace(1 / 64, 1, MOMENTS, dtype=x.dtype)
    close = jnp.abs(ahead(cell, x, ts)) < CLOSE * cell.v_high
    last = lax.stop_gradient(jnp.maximum(jnp.sum(jnp.cumprod(close, axis=0), axis=0) - 1, 0))
    pick = lambda of: jnp.take_along_axis(of, last[None], axis=0)[0]
    return with_slope(lambda x: pick(ahead(cell, x, ts)), x)
