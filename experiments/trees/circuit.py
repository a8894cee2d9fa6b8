"""Tables of few levels on tiles of analog cells: cells, bounds, wires, dies and answers."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import xbarjax as xb
from xbarjax.systems import cam
from xbarjax.variability import Lognormal

ROWS, COLS, LEVELS = 128, 16, 16


class Technology(NamedTuple):
    """Numbers of the cells and of the sensing, chosen for this experiment."""

    v_high: float = 1.8  # [V]
    v_pre: float = 1.2  # [V]
    t_sense: float = 1e-7  # [s]
    kp: float = 1.7e-4  # [A/V^2], of W/L = 1
    divider: float = 4.0  # W/L
    v_divider: float = 0.45  # [V], thresholds
    v_pull_down: float = 0.6
    v_inverter: float = 0.45
    g_min: float = 1e-6  # [S], of the inner bounds between levels
    g_max: float = 8e-5
    g_open: float = 5e-4  # [S], of cells without upper bound


# the supply of the published cell leaves no room for 16 levels: `worst` tells
SUPPLY_1V8 = Technology()
SUPPLY_0V5 = Technology(
    v_high=0.5, v_pre=0.8, t_sense=2e-7, kp=2.5e-4, v_divider=0.2, v_pull_down=0.3, v_inverter=0.2,
    g_min=1e-7,
)  # fmt: skip


def blank(tech: Technology, rows: int = ROWS, cols: int = COLS, r: float = 0.0) -> cam.Tile:
    """A tile whose cells have no bounds yet, with `r` [ohm] in each segment of search lines."""
    of = lambda size, v: xb.Mosfet(tech.kp * size, v, 0.0, 1.3, 0.05, temperature=300.15)
    g = np.full((rows, cols), tech.g_min)
    cell = cam.Analog6T2M(
        g, g, of(tech.divider, tech.v_divider), of(1.0, tech.v_pull_down),
        of(1.0, tech.v_inverter), v_high=tech.v_high,
    )  # fmt: skip
    return cam.Tile(
        cell, r_high=r, r_low=r, v_pre=tech.v_pre, v_ref=tech.v_pre / 2, t_sense=tech.t_sense,
        v_offset=np.zeros(rows),
    )  # fmt: skip


def scale(tech: Technology, levels: int = LEVELS) -> cam.DataLevels:
    """Data-line voltages of the levels."""
    return cam.data_levels(blank(tech, 1, 1), levels, g_min=tech.g_min, g_max=tech.g_max)


class Wanted(NamedTuple):
    """A table on tiles: the bounds of their cells [V], `(down, along, rows, cols)`."""

    table: cam.Table
    tiles: cam.Tiles
    low: np.ndarray
    high: np.ndarray


def wanted(table: cam.Table, levels: cam.DataLevels, rows: int = ROWS, cols: int = COLS) -> Wanted:
    """Rows that can match nothing, and unused ones, have both bounds at -inf."""
    tiles = cam.tiles(table, rows, cols)
    low, high = (np.asarray(b) for b in cam.placed(levels, tiles.low, tiles.high))
    dead = np.isneginf(high).any(axis=(1, 3))[:, None, :, None]
    return Wanted(table, tiles, np.where(dead, -np.inf, low), np.where(dead, -np.inf, high))


@eqx.filter_jit
def program(tile: cam.Tile, low: Any, high: Any, g_open: Any, compensate: bool) -> cam.Tile:
    """The tile with conductances for bounds; beyond `g_open` they are held there."""
    if compensate:
        return cam.compensated(tile, low, high, g_max=g_open, hold=True)
    return cam.stored(tile, low, high, g_max=g_open, hold=True)


def programmed(goal: Wanted, tile: cam.Tile, g_open: float, compensate: bool, offsets: Any = None):
    """The tiles of a table, in a dict by place; `offsets` [V] are those that are known."""
    found, g_open = {}, jnp.asarray(g_open)  # pyright: ignore[reportAssignmentType]
    for at in np.ndindex(goal.low.shape[:2]):
        here = tile if offsets is None else with_offset(tile, offsets[at])
        found[at] = program(here, goal.low[at], goal.high[at], g_open, compensate)
    return found


def with_offset(tile: cam.Tile, v_offset: Any) -> cam.Tile:
    return eqx.tree_at(lambda t: t.v_offset, tile, jnp.asarray(v_offset))


def ideal(tile: cam.Tile) -> cam.Tile:
    """The tile without the resistance of its search lines."""
    of = lambda t: (t.r_high, t.r_low)
    return eqx.tree_at(of, tile, tuple(jnp.zeros_like(r) for r in of(tile)))


def folded(x: Any, along: int) -> Any:
    """From one tile after another to blocks down and along."""
    return x.reshape(-1, along, *x.shape[1:])


class Die(NamedTuple):
    """What differs from one chip to the next."""

    sigma: float = 0.0  # of the logarithm of conductances
    offset: float = 0.0  # [V], deviation of the comparators
    seed: int = 0

    def offsets(self, goal: Wanted) -> np.ndarray:
        shape = goal.low.shape[:3]
        return self.offset * np.random.default_rng(self.seed).normal(size=shape)

    def on(self, tile: cam.Tile, at: tuple[int, ...], offsets: Any) -> cam.Tile:
        key = jax.random.fold_in(jax.random.key(self.seed), 1000 * at[0] + at[1])
        spread = Lognormal(self.sigma)
        one, other = jax.random.split(key)
        cell: Any = tile.cell
        g = tuple(
            spread.apply(g, spread.draw(g, k)) for g, k in ((cell.g_low, one), (cell.g_high, other))
        )
        tile = eqx.tree_at(lambda t: (t.cell.g_low, t.cell.g_high), tile, g)
        return with_offset(tile, offsets)


class Answers(NamedTuple):
    """What a circuit says of samples."""

    matched: np.ndarray  # (samples, rows of the table)
    margins: np.ndarray  # (samples, rows of the table) [V], the least of the tiles of a row
    outputs: np.ndarray  # (samples, outputs)

    @property
    def classes(self) -> np.ndarray:
        y = self.outputs
        return (y[:, 0] > 0).astype(int) if y.shape[1] == 1 else y.argmax(1)


def answers(goal: Wanted, made: dict, die: Die, queries: Any, x: np.ndarray) -> Answers:
    """The answers of the tiles `made` as a die to samples in levels."""
    parts = np.asarray(cam.split(goal.tiles, x)).astype(int)  # (samples, along, cols)
    down, along, rows, _ = goal.low.shape
    margins = np.zeros((len(x), down, along, rows))
    offsets = die.offsets(goal)
    for (i, j), tile in made.items():
        curves = cam.Curves.of(die.on(tile, (i, j), offsets[i, j]), queries)
        margins[:, i, j] = cam.lookup(curves, parts[:, j]).margin
    matched = np.asarray(cam.joined(goal.tiles, margins > 0))
    least = margins.min(2).reshape(len(x), -1)[:, : goal.tiles.rows]
    return Answers(matched, least, np.asarray(cam.outputs(goal.table, matched)))


def single(table: cam.Table, matched: np.ndarray) -> float:
    """Share of samples and trees of which exactly one row matches."""
    trees = np.asarray(table.tree)
    hits = np.stack([matched[:, trees == k].sum(1) for k in np.unique(trees)])
    return float(np.mean(hits == 1))


def worst(tech: Technology, levels: int, cols: int) -> dict[str, float]:
    """The hardest rows of a tile without wires: all cells one level wide, which must match; and
    one cell one level wide beside cells without bounds, which must not match the levels next to it.
    """
    edges, queries = scale(tech, levels)
    low = np.full((2 * levels, cols), -np.inf)
    high = -low
    edges = np.asarray(edges)
    low[:levels], high[:levels] = edges[:-1, None], edges[1:, None]
    low[levels:, 0], high[levels:, 0] = edges[:-1], edges[1:]
    made = program(blank(tech, *low.shape), low, high, jnp.asarray(tech.g_open), False)
    every = np.repeat(np.arange(levels)[:, None], cols, axis=1)
    v = np.asarray(cam.lookup(cam.Curves.of(made, queries), every).v_sense)
    same = np.eye(levels, dtype=bool)
    return {
        "least match": float(v[:, :levels][same].min()),
        "most mismatch": float(v[:, levels:][~same].max()),
        "v_ref": tech.v_pre / 2,
    }
