"""Match-line currents of a tile as tables, for many searches at once."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from ..._types import Values, as_physical, is_concrete, widest
from ...kirchhoff.advice import finish
from ...kirchhoff.solution import Status, one_or_nan
from .cell import Steps
from .tile import Tile, require_tile

VOLTS = 33  # points of the match-line voltage


class Curves(eqx.Module):
    """Currents of all cells into their match lines, at levels of the query and voltages of the
    line.

    Search lines run along the columns, so that all that a cell draws depends on the query of its
    own column: nothing is left out of the currents. The match line is one node, without its wires.

    **Attributes:**

    - `i`: currents [A], `(cols, levels, rows, volts)`, at match-line voltages from 0 to `v_pre`.
    - `queries`: the levels, as queries of one column.
    - `c`: capacitance [F] of each match line, `(rows,)`.
    - `v_pre`, `v_ref`, `v_offset`, `t_sense`: of the `Tile`.
    - `status`: `Status` of the reads of the search lines.
    """

    i: Float[Array, "cols levels rows volts"]
    queries: Float[Array, " levels"]
    c: Float[Array, " rows"]
    v_pre: Float[Array, ""]
    v_ref: Float[Array, ""]
    v_offset: Float[Array, " rows"]
    t_sense: Float[Array, ""]
    status: Int[Array, ""]

    @staticmethod
    def of(
        tile: Tile,
        queries: Values,
        *,
        volts: int = VOLTS,
        rtol: float = 1e-4,
        max_steps: int = 2048,
    ) -> "Curves":
        """The tables of a tile.

        **Arguments:**

        - `queries`: the levels, as queries of one column: voltages [V] or bits, `(levels,)`.
        - `volts`: number of match-line voltages. Currents between them are linear.
        - `rtol`, `max_steps`: of the time steps of latched cells, as of `search`.

        **Errors:** as of `search`.
        """
        require_tile(tile)
        queries = as_physical(queries, "queries", whole=True)
        if queries.ndim != 1:
            raise ValueError(f"queries has shape {queries.shape}; it must be (levels,).")
        tile.cell.require_query(queries)
        dtype = widest(*(x for x in jax.tree.leaves((tile, queries)) if eqx.is_inexact_array(x)))
        curves = _curves(tile, queries.astype(dtype), volts, jnp.asarray(rtol, dtype), max_steps)
        return finish(curves, curves.status)


@eqx.filter_jit
def _curves(tile: Tile, queries: Array, volts: int, rtol: Array, max_steps: int) -> Curves:
    dtype = queries.dtype
    tile = jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tile)
    rows, cols = tile.shape
    v = tile.v_pre * jnp.linspace(0, 1, volts, dtype=dtype)

    def at_level(level):
        query = jnp.full((cols,), level)
        found = tile.cell.evaluated(query, tile.search_lines, Steps(rtol, max_steps))
        cells = tile.cell.pull_downs(found.gates)
        at = lambda v: cells.current(jnp.full((rows, cols), v), jnp.zeros((rows, cols), dtype))
        return lax.map(at, v), found.status  # (volts, rows, cols)

    i, status = lax.map(at_level, queries)
    status = jnp.bitwise_or.reduce(status)
    status |= jnp.where(jnp.all(jnp.isfinite(i)), 0, Status.NOT_FINITE)
    i = one_or_nan(status, dtype) * i.transpose(3, 0, 2, 1)
    offset = jnp.broadcast_to(tile.v_offset, (rows,))
    return Curves(i, queries, tile.c_line, tile.v_pre, tile.v_ref, offset, tile.t_sense, status)


class Sensed(eqx.Module):
    """What the sense amplifiers see, `(..., rows)` each.

    **Attributes:** as of a `Found`.

    - `v_sense`: voltages [V] at `t_sense`; `margin`: [V] above the references.
    - `match`: rows whose margin is above 0.
    - `t_fall`: times [s] of the fall to the references; inf for lines that do not fall.
    """

    v_sense: Float[Array, "... rows"]
    match: Bool[Array, "... rows"]
    margin: Float[Array, "... rows"]
    t_fall: Float[Array, "... rows"]


def lookup(curves: Curves, levels: Any) -> Sensed:
    """The search of a tile by its tables, for many queries at once.

    A match line with the total current `I(v)` falls by `C dv/dt = -I(v)`, which a piecewise linear
    current gives in closed form. The wires of match lines are left out; `search` has them.

    **Arguments:**

    - `curves`: the tables.
    - `levels`: index of the level of each column, whole numbers, `(..., cols)`; or the share of
        each level, `(..., cols, levels)`, between which currents are linear.

    **Returns:** a `Sensed`, with gradients by the tables and by the shares.

    **Errors:** `ValueError` for another number of columns, and for levels that there are not.
    """
    if not isinstance(curves, Curves):
        raise TypeError(f"curves is a {type(curves).__name__}; pass xb.cam.Curves.of(tile, ...).")
    cols, count, *_ = curves.i.shape
    levels = jnp.asarray(levels)
    if jnp.issubdtype(levels.dtype, jnp.integer):
        if levels.shape[-1:] != (cols,):
            raise ValueError(f"levels has shape {levels.shape}, but the tile has {cols} columns.")
        if is_concrete(levels) and (int(levels.min()) < 0 or int(levels.max()) >= count):
            raise ValueError(
                f"levels runs from {int(levels.min())} to {int(levels.max())}, but the tables have"
                f" levels 0 to {count - 1}."
            )
        shares = jax.nn.one_hot(levels, count, dtype=curves.i.dtype)
    else:
        if levels.shape[-2:] != (cols, count):
            raise ValueError(
                f"levels has shape {levels.shape}; shares must be (..., {cols}, {count})."
            )
        shares = levels.astype(curves.i.dtype)
    return _lookup(curves, shares)


@eqx.filter_jit
def _lookup(curves: Curves, shares: Array) -> Sensed:
    *batch, cols, count = shares.shape
    rows, volts = curves.i.shape[2:]
    table = curves.i.reshape(cols * count, rows * volts)
    i = (shares.reshape(-1, cols * count) @ table).reshape(*batch, rows, volts)
    reference = curves.v_ref + curves.v_offset
    v_sense, t_fall = _fallen(curves, i, reference)
    margin = v_sense - jnp.broadcast_to(reference, v_sense.shape)
    return Sensed(v_sense, margin > 0, margin, t_fall)


def _fallen(curves: Curves, i: Array, reference: Array) -> tuple[Array, Array]:
    """Voltages [V] at the sense time and times [s] of the fall to `reference` [V]."""
    c, t = jnp.broadcast_to(curves.c, i.shape[:-1]), curves.t_sense
    i = jnp.maximum(i[..., ::-1], 0)  # from v_pre down
    dv = curves.v_pre / (i.shape[-1] - 1)
    v = curves.v_pre - dv * jnp.arange(i.shape[-1], dtype=i.dtype)
    above, below = i[..., :-1], i[..., 1:]
    # no current flows at 0 V, so that the last segment takes for ever, but begins at a finite time
    spent = _time(
        jnp.broadcast_to((c * dv)[..., None], above[..., :-1].shape),
        above[..., :-1],
        below[..., :-1],
    )
    begins = jnp.cumsum(jnp.pad(spent, [(0, 0)] * (spent.ndim - 1) + [(1, 0)]), axis=-1)
    k = jnp.sum(begins <= t, axis=-1) - 1
    pick = lambda x, k: jnp.take_along_axis(x, k[..., None], axis=-1)[..., 0]
    left = t - pick(begins, k)
    slope = (pick(above, k) - pick(below, k)) / dv
    fall = pick(above, k) * left / c * _grown(-slope * left / c)
    v_sense = v[k] - fall
    # to the reference: within the segment that holds it
    at = jnp.clip(jnp.floor((curves.v_pre - reference) / dv).astype(int), 0, i.shape[-1] - 2)
    at, part = (jnp.broadcast_to(x, i.shape[:-1]) for x in (at, v[at] - reference))
    i_there = pick(above, at) - part * (pick(above, at) - pick(below, at)) / dv
    return v_sense, pick(begins, at) + _time(c * part, pick(above, at), i_there)


def _time(charge: Array, a: Array, b: Array) -> Array:
    """Time [s] in which a charge [C] flows off while the current goes from `a` to `b`, linearly in
    the charge; inf where it ends at 0."""
    ends = (a > 0) & (b > 0)
    a, b = jnp.where(ends, a, 1), jnp.where(ends, b, 1)
    x = a / b - 1
    near = jnp.abs(x) < 1e-3
    series = 1 - x / 2 + x**2 / 3 - x**3 / 4
    log = jnp.log1p(x) / jnp.where(near, 1, x)
    # the choice comes last, so that no gradient is 0 times inf
    return jnp.where(ends, charge * jnp.where(near, series, log) / b, jnp.inf)


def _grown(x: Array) -> Array:
    """`(exp(x) - 1) / x`."""
    near = jnp.abs(x) < 1e-4
    safe = jnp.where(near, 1, x)
    return jnp.where(near, 1 + x / 2 + x**2 / 6, jnp.expm1(safe) / safe)
