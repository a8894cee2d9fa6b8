"""From bounds to conductances and back: what analog cells store.

The bound of a cell is the voltage of its data line at which the cell alone takes its match line
from the precharge voltage to the comparator's reference in the sense time. This needs one gate
voltage of the pull-down, and so one voltage `m` of the divider's node, where the memristor and the
transistor carry the same current:

    g (v_high - m) = I(m, v_low; data line).

So the conductance follows from the bound in closed form, and the bound from the conductance by one
search in one unknown.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from ..._types import described, is_concrete
from ...cells import Mosfet, PChannel
from .balance import tied_bounds, tied_conductances
from .cell import Nodes, Steps
from .cells import Analog6T2M, Transistor
from .latched import AnalogLatched
from .rooting import SPAN, root
from .tile import Tile, require_tile

POINTS = 16  # of the integral over the fall
INSIDE = 9  # points of an interval, of which cells leak least at one
LEVELS = 33  # data-line voltages at which the search lines are solved
TRIED = 97  # voltages of a data line, between which a bound lies
SETTLED = 1e-3  # relative change of conductances
TURNS = 4  # in which these come closer to unknown bounds
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
    require_tile(tile)
    if isinstance(tile.cell, AnalogLatched):
        return Bounds(*tied_bounds(tile.cell))
    require_analog(tile)
    return _bounds(tile)


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
    require_tile(tile)
    if isinstance(tile.cell, AnalogLatched):
        low, high = _pair(tile, low, high)
        g = tied_conductances(tile.cell, low, high, g_max)
        over = tuple((x >= g_max) & jnp.isfinite(b) for x, b in zip(g, (low, high)))
        none = (jnp.zeros(tile.shape, bool),) * 2
        made = _Made(_holding(tile, *g), over, none)  # pyright: ignore[reportArgumentType]
        return made.tile if hold else _reached(made, low, high, g_max)
    require_analog(tile)
    low, high = _pair(tile, low, high)
    ideal = _ideal(tile)
    made = _programmed(tile, low, high, (ideal, ideal), jnp.zeros(tile.shape[:1], low.dtype), g_max)
    return made.tile if hold else _reached(made, low, high, g_max)


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
    conductances change by less than 1e-3 of themselves. Where dividers draw too much for their
    search lines there are no such conductances.

    **Arguments:** as of `stored`; `rounds`: number of these at most.

    **Returns:** a `Tile`, as of `stored`. `bounds` tells how close it comes.

    **Errors:** as of `stored`, and `TypeError` for cells other than `Analog6T2M`; also `ValueError`
    for bounds that the search lines do not allow, unless held.
    """
    require_analog(tile)
    low, high = _pair(tile, low, high)
    first = stored(tile, low, high, g_max=g_max, hold=True)
    made = _compensated(first, low, high, g_max, rounds)
    return made.tile if hold else _reached(made, low, high, g_max)


class _Made(NamedTuple):
    """A programmed tile, and which of the two conductances of its cells are out of reach."""

    tile: Tile
    over: tuple[Array, Array]  # need more than the largest
    lost: tuple[Array, Array]  # have none that the search lines allow


@eqx.filter_jit
def _compensated(tile: Tile, low: Cells, high: Cells, g_max: float, rounds: int) -> _Made:
    grid = _grid(tile, low, high)

    def again(carry):
        now, *_, k = carry
        at = _lines(now, grid)
        leak = _leak(now, at, low, high)
        made = _programmed(now, low, high, (at(low), at(high)), leak, g_max)
        pairs = zip(_conductances(made.tile), _conductances(now))
        moving = tuple(jnp.abs(new - old) > SETTLED * jnp.maximum(new, old) for new, old in pairs)
        return made.tile, made.over, made.lost, moving, k + 1

    def unsettled(carry):
        *_, moving, k = carry
        return (k < rounds) & jnp.any(jnp.stack(moving))

    none = (jnp.zeros(tile.shape, bool),) * 2
    begin = tile, none, none, (jnp.ones(tile.shape, bool),) * 2, 0
    tile, over, lost, moving, _ = lax.while_loop(unsettled, again, begin)
    return _Made(tile, over, tuple(a | b for a, b in zip(lost, moving)))  # pyright: ignore


def _conductances(tile: Tile) -> tuple[Array, Array]:
    cell: Any = tile.cell
    return cell.g_low, cell.g_high


def _holding(tile: Tile, g_low: Array, g_high: Array) -> Tile:
    return eqx.tree_at(lambda t: (t.cell.g_low, t.cell.g_high), tile, (g_low, g_high))


def _programmed(
    tile: Tile, low: Cells, high: Cells, at: tuple[Nodes, Nodes], leak: Array, g_max: float
) -> _Made:
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
    held = _holding(tile, jnp.minimum(g_low, g_max), jnp.minimum(g_high, g_max))
    return _Made(held, over, tuple(lost))  # pyright: ignore[reportArgumentType]


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


def _ideal(tile: Tile) -> Nodes:
    cell: Any = tile.cell
    of = lambda v: jnp.broadcast_to(v, tile.shape).astype(cell.g_low.dtype)
    return Nodes(of(cell.v_high), of(cell.v_low))


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
    first, last = there[0], jnp.maximum(there[-1], there[0] + 1e-3 * cell.v_high)
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


@eqx.filter_jit
def _bounds(tile: Tile) -> Bounds:
    # the search lines are solved closer and closer to the bounds
    def closer(_, carry):
        found, leak = carry
        at = _lines(tile, _grid(tile, *found))
        found = _alone(tile, at, leak)
        return found, _leak(tile, at, *found)

    cell: Any = tile.cell
    every = Bounds(jnp.zeros_like(cell.g_low), jnp.full_like(cell.g_low, SPAN * cell.v_high))
    none = jnp.zeros(tile.shape[:1], every.low.dtype)
    return lax.fori_loop(0, TURNS, closer, (every, none))[0]


def _alone(tile: Tile, at: Callable[[Cells], Nodes], leak: Array) -> Bounds:
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

    return Bounds(of(cell.g_low, gate), of(cell.g_high, before))


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


def _reached(made: _Made, low: Array, high: Array, g_max: float) -> Tile:
    """The tile, if all bounds are within reach; conductances out of reach are NaN under `jit`."""
    if not is_concrete((made.over, made.lost)):
        g = [
            jnp.where(over | lost, jnp.nan, g)
            for g, over, lost in zip(_conductances(made.tile), made.over, made.lost)
        ]
        return _holding(made.tile, *g)
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
    return made.tile


def require_analog(tile: Any) -> None:
    require_tile(tile)
    if not isinstance(tile.cell, Analog6T2M):
        raise TypeError(f"cell is {described(tile.cell)}; bounds are those of xb.cam.Analog6T2M.")
