"""Dividers of a memristor and a transistor: from bounds to conductances and back.

The bound of a 6T2M cell is the voltage of its data line at which the cell alone takes its match
line from the precharge voltage to the comparator's reference in the sense time. This needs one gate
voltage of the pull-down, and so one voltage `m` of the divider's node, where the memristor and the
transistor carry the same current:

    g (v_high - m) = I(m, v_low; data line).

So the conductance follows from the bound in closed form, and the bound from the conductance by one
search in one unknown. Functions take the `Tile` of the cells.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jax import lax
from jaxtyping import Array, Float

from ...cells import PChannel
from .cell import Nodes, Programmed, Steps
from .rooting import SPAN, root
from .tile import Tile

POINTS = 16  # of the integral over the fall
INSIDE = 9  # points of an interval, of which cells leak least at one
LEVELS = 33  # data-line voltages at which the search lines are solved
TRIED = 97  # voltages of a data line, between which a bound lies
SETTLED = 1e-6, 1e-4  # relative change of conductances, by dtype
LEAST = 1e-15  # [S]
CLOSE = 1e-9  # of derivatives of settled conductances
TURNS = 4  # in which voltages of search lines come closer to unknown bounds
Cells = Float[Array, "rows cols"]


def stored(tile: Tile, low: Cells, high: Cells, g_max: Any) -> Programmed:
    """Conductances for bounds [V] as if wires were ideal and no cell leaked."""
    cell: Any = tile.cell
    of = lambda v: jnp.broadcast_to(v, tile.shape).astype(low.dtype)
    ideal = Nodes(of(cell.v_high), of(cell.v_low))
    none = jnp.zeros(tile.shape[:1], low.dtype)
    return _programmed(tile, low, high, (ideal, ideal), none, g_max)


@eqx.filter_jit
def compensated(tile: Tile, low: Cells, high: Cells, g_max: Any, rounds: int) -> Programmed:
    """Conductances for bounds [V], wires and leakage included. Conductances that have not settled
    count as lost."""
    grid = _grid(tile, low, high)

    enough = SETTLED[low.dtype != jnp.float64]

    def again(g, _):
        now = holding(tile, *g)
        at = _lines(now, grid)
        leak = _leak(now, at, low, high)
        made = _programmed(now, low, high, (at(low), at(high)), leak, g_max)
        moving = [jnp.abs(x - y) > enough * x + LEAST for x, y in zip(made.g, g)]
        return made.g, made._replace(lost=tuple(a | b for a, b in zip(made.lost, moving)))

    settled = optx.fixed_point(
        again,
        optx.FixedPointIteration(rtol=enough, atol=LEAST),
        lax.stop_gradient(stored(tile, low, high, g_max).g),
        has_aux=True,
        max_steps=rounds,
        adjoint=optx.ImplicitAdjoint(lx.GMRES(rtol=CLOSE, atol=0.0)),
        throw=False,
    )
    return settled.aux._replace(g=settled.value)


def holding(tile: Tile, g_low: Array, g_high: Array) -> Tile:
    """The tile with other conductances [S]."""
    return eqx.tree_at(lambda t: (t.cell.g_low, t.cell.g_high), tile, (g_low, g_high))


@eqx.filter_jit
def bounds(tile: Tile) -> tuple[Cells, Cells]:
    """Bounds [V] of the cells, wires and leakage of their row included."""

    # the search lines are solved closer and closer to the bounds
    def closer(_, carry):
        found, leak = carry
        at = _lines(tile, _grid(tile, *found))
        found = _alone(tile, at, leak)
        return found, _leak(tile, at, *found)

    cell: Any = tile.cell
    every = jnp.zeros_like(cell.g_low), jnp.full_like(cell.g_low, SPAN * cell.v_high)
    none = jnp.zeros(tile.shape[:1], every[0].dtype)
    return lax.fori_loop(0, TURNS, closer, (every, none))[0]


def _programmed(
    tile: Tile, low: Cells, high: Cells, at: tuple[Nodes, Nodes], leak: Array, g_max: Any
) -> Programmed:
    """Conductances for search lines at given voltages [V] at each bound."""
    cell: Any = tile.cell
    gate = gate_at_bound(tile, leak)[:, None]
    before = inverter_input(cell, gate)
    found, lost = [], []
    for bound, m, nodes in ((low, gate, at[0]), (high, before, at[1])):
        known = jnp.isfinite(bound)
        m = jnp.broadcast_to(m, tile.shape)
        i = cell.divider.gated(jnp.where(known, bound, 0)).current(m, nodes.v_low)
        room = nodes.v_high - m
        g = jnp.where(room > 0, i / jnp.where(room > 0, room, 1), jnp.inf)
        found.append(jnp.maximum(g, 0))
        lost.append(known & ((room <= 0) | (i < 0)))  # a line has passed the node
    over = tuple((g > g_max) & jnp.isfinite(b) for g, b in zip(found, (low, high)))
    g_low = jnp.where(jnp.isneginf(low), 0, found[0])
    g_high = jnp.where(jnp.isposinf(high), g_max, found[1])
    g_high = jnp.where(jnp.isneginf(high), 0, g_high)  # whatever its row leaks
    g = jnp.minimum(g_low, g_max), jnp.minimum(g_high, g_max)
    return Programmed(g, over, tuple(lost))  # pyright: ignore[reportArgumentType]


def gate_at_bound(tile: Tile, leak: Array) -> Float[Array, " rows"]:
    """Gate voltage [V] of a pull-down that takes a match line to the reference in the sense time,
    beside the leakage [A] of its row."""
    cell: Any = tile.cell
    c = tile.c_line
    reference = jnp.broadcast_to(tile.v_ref + tile.v_offset, c.shape)
    x, w = (jnp.asarray(p, c.dtype)[:, None] for p in np.polynomial.legendre.leggauss(POINTS))
    reference, c, leak = reference[None], c[None], leak[None]
    v = reference + (tile.v_pre - reference) * (x + 1) / 2
    weight = (tile.v_pre - reference) * w / 2

    def late(gate):
        i = cell.pull_down.gated(jnp.broadcast_to(gate[None], v.shape)).current(
            v, jnp.zeros_like(v)
        )
        i = i + leak
        return jnp.sum(weight * c / i, axis=0) - tile.t_sense  # inf without current

    floor = jnp.zeros_like(c[0])
    return root(lambda g: -late(g), floor, jnp.full_like(floor, SPAN * tile.v_pre))


def inverter_input(cell: Any, gate: Array) -> Array:
    """Input [V] of an inverter whose output is `gate` [V]."""
    top = jnp.broadcast_to(cell.v_supply, gate.shape).astype(gate.dtype)

    def excess(v):
        n = cell.inverter.gated(v).current(gate, jnp.zeros_like(gate))
        return n - PChannel(cell.inverter, v, top).current(top, gate)

    return root(excess, jnp.zeros_like(gate), top)


def _grid(tile: Tile, low: Cells, high: Cells) -> Array:
    """Data-line voltages [V] at which the search lines are solved, in order: from the least finite
    bound to the largest, half evenly and half where the bounds are."""
    cell: Any = tile.cell
    both = jnp.sort(jnp.stack([low, high]).ravel())
    known = jnp.isfinite(both)
    count = jnp.sum(known)
    none = jnp.zeros_like(both[:1]), jnp.broadcast_to(cell.v_high, (1,)).astype(both.dtype)
    below = jnp.sum(jnp.isneginf(both))
    share = jnp.linspace(0, 1, LEVELS, dtype=both.dtype)
    place = below + jnp.round(share * jnp.maximum(count - 1, 0).astype(share.dtype)).astype(int)
    there = both[jnp.minimum(place, both.size - 1)]
    there = jnp.where(count > 0, there, jnp.linspace(*none, LEVELS)[:, 0])
    # a little beyond both ends, where slopes are one-sided
    pad = 1e-2 * cell.v_high
    first, last = jnp.maximum(there[0] - pad, 0), there[-1] + pad
    return lax.stop_gradient((there + first + share * (last - first)) / 2)


def _lines(tile: Tile, grid: Float[Array, " levels"]) -> Callable[[Cells], Nodes]:
    """Voltages [V] of the search lines at each cell, as a function of the voltage of its data
    line.

    Search lines are solved with all data lines at each voltage of the grid. Between these the
    voltages are cubic, with the slopes of parabolas through three of them, and beyond constant.
    """
    _, cols = tile.shape
    cell: Any = tile.cell
    none = Steps(jnp.zeros(()), 0)  # cells at rest take none
    rest = lambda v: cell.evaluated(jnp.full((cols,), v), tile.search_lines, none).nodes
    (nodes,) = lax.map(rest, grid)
    step = jnp.diff(grid)

    def slopes(n):
        rise = jnp.diff(n, axis=0) / step[:, None, None]
        part = (step[:-1] / (step[:-1] + step[1:]))[:, None, None]
        inner = rise[:-1] + part * (rise[1:] - rise[:-1])
        ends = 2 * rise[:1] - inner[:1], 2 * rise[-1:] - inner[-1:]
        return jnp.concatenate([ends[0], inner, ends[1]])

    both = [(n, slopes(n)) for n in nodes]

    def at(v: Cells) -> Nodes:
        v = jnp.clip(jnp.where(jnp.isfinite(v), v, 0), grid[0], grid[-1])
        k = jnp.clip(jnp.searchsorted(grid, v, side="right") - 1, 0, LEVELS - 2)
        h = step[k]
        x = (v - grid[k]) / h
        pick = lambda of, k: jnp.take_along_axis(of, k[None], axis=0)[0]

        def between(n, slope):
            first, last = pick(n, k), pick(n, k + 1)
            rise = last - first
            bend = h * pick(slope, k) - rise, rise - h * pick(slope, k + 1)
            return first + x * rise + x * (1 - x) * ((1 - x) * bend[0] + x * bend[1])

        return Nodes(*(between(*one) for one in both))

    return at


def _leak(
    tile: Tile, at: Callable[[Cells], Nodes], low: Cells, high: Cells
) -> Float[Array, " rows"]:
    """What the other cells of a matching row leak [A] beside one at its bound.

    Each cell leaks the least between its bounds. Cells that never match do not count."""
    cell: Any = tile.cell
    never = jnp.isposinf(low) | jnp.isneginf(high)
    low = jnp.where(jnp.isfinite(low), low, 0)
    high = jnp.where(jnp.isfinite(high), high, low + 0.2 * cell.v_high)
    half = jnp.full(tile.shape, (tile.v_pre + tile.v_ref) / 2)

    def leaks(part):
        inside = low + part * (high - low)
        gates = cell.gates_at(inside, at(inside))
        return cell.pull_downs(gates).current(half, jnp.zeros_like(half))

    each = jnp.min(lax.map(leaks, jnp.linspace(0.1, 0.9, INSIDE, dtype=low.dtype)), axis=0)
    cols = tile.shape[1]
    return jnp.sum(jnp.where(never, 0, each), axis=1) * (cols - 1) / cols


def _alone(tile: Tile, at: Callable[[Cells], Nodes], leak: Array) -> tuple[Cells, Cells]:
    """Bounds [V] of each cell beside a leakage [A] of its row, the lowest where wires make for
    several; inf where no data line reaches it."""
    cell: Any = tile.cell
    gate = jnp.broadcast_to(gate_at_bound(tile, leak)[:, None], tile.shape)
    before = inverter_input(cell, gate)
    tried = jnp.linspace(0, SPAN * cell.v_high, TRIED, dtype=gate.dtype)

    def of(g, m):
        def excess(v):
            nodes = at(v)
            return cell.divider.gated(v).current(m, nodes.v_low) - g * (nodes.v_high - m)

        above = lax.map(lambda v: excess(jnp.full(tile.shape, v)) > 0, lax.stop_gradient(tried))
        first = jnp.argmax(above, axis=0)
        found = root(excess, tried[jnp.maximum(first - 1, 0)], tried[first])
        found = jnp.where(jnp.any(above, axis=0), found, jnp.inf)
        return jnp.where(above[0], -jnp.inf, found)

    return of(cell.g_low, gate), of(cell.g_high, before)
