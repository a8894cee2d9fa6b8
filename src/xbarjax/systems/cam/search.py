"""A search of a tile: which rows match a query, by the fall of their match lines."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..._types import Values, as_physical, everywhere, require_nonnegative, widest
from ...kirchhoff.advice import finish
from ...kirchhoff.solution import Status, one_or_nan
from .cell import Nodes, Steps
from .match_line import Fallen, MatchLines, fall
from .tile import Tile, as_query, require_tile


class Found(eqx.Module):
    """Result of a search.

    **Attributes:**

    - `v_sense`: voltages [V] at the sense amplifiers at `t_sense`, `(rows,)`.
    - `match`: rows whose voltage is above the comparator's reference then, `(rows,)`.
    - `margin`: voltages [V] above the references, offsets included, `(rows,)`. A soft match is a
        smooth function of it, such as `jax.nn.sigmoid(margin / 0.05)`.
    - `t_fall`: times [s] at which the lines fall below the references, `(rows,)`; inf for lines
        that do not until the end. The best match is the line that falls last.
    - `v_match`: voltages [V] at the sense amplifiers at the times asked for, `(times, rows)`.
    - `gates`: gate voltages [V] of the pull-downs, `(rows, cols)` each.
    - `nodes`: voltages [V] of the search lines at each cell.
    - `energy_match`: energy [J] of the next precharge of all match lines, `v_pre` times the charge
        lost until the sense time; `energy_static`: energy [J] out of the search lines until then;
        `energy_latch`: energy [J] that cells took before the match lines were released;
        `energy_data`: energy [J] to raise the data lines.
    - `status`: `Status` flags; all numbers are NaN, and no row matches, where it is an error.
    """

    v_sense: Float[Array, " rows"]
    match: Bool[Array, " rows"]
    margin: Float[Array, " rows"]
    t_fall: Float[Array, " rows"]
    v_match: Float[Array, "times rows"]
    gates: tuple[Array, ...]
    nodes: tuple[Nodes, ...]
    energy_match: Float[Array, ""]
    energy_static: Float[Array, ""]
    energy_latch: Float[Array, ""]
    energy_data: Float[Array, ""]
    status: Int[Array, ""]

    @property
    def energy(self) -> Float[Array, ""]:
        """Energy [J] of the search, without sense amplifiers and inverters."""
        return self.energy_match + self.energy_static + self.energy_latch + self.energy_data


def search(
    tile: Tile,
    query: Values,
    ts: Values = (),
    *,
    rtol: float = 1e-4,
    max_steps: int = 2048,
) -> Found:
    """The exact search of a tile for one query.

    The search lines and the devices between them are solved as an array with all wires. They hold
    the gates of the pull-downs, which discharge the match lines in time.

    **Arguments:**

    - `tile`: the memory.
    - `query`: voltages [V] of the data lines for analog cells, bits 0, 1 or 0.5 (either) for
        ternary ones, `(cols,)`. Batches go through `jax.vmap`.
    - `ts`: further times [s] at which the match lines are wanted, rising. The search ends at the
        last of them or at `t_sense`.
    - `rtol`: local error of a time step, relative to the precharge voltage.
    - `max_steps`: limit of the time steps.

    **Returns:** a `Found`, whose voltages and times have gradients by every number of the tile and
    by the query.

    **Errors:** `ValueError` for a query of another width or one that the cells cannot compare, for
    times that do not rise, and if `max_steps` do not reach the last time. `RuntimeError` on
    concrete values for a search that did not converge; under a transformation see `status`.
    """
    require_tile(tile)
    query = as_query(tile, query)
    ts = as_physical(jnp.zeros((0,)) if isinstance(ts, tuple) and not ts else ts, "ts", whole=True)
    if ts.ndim != 1:
        raise ValueError(f"ts has shape {ts.shape}; it must be (times,).")
    require_nonnegative(ts, "ts", "s", open_allowed=False)
    if not everywhere(lambda ts: np.diff(ts) > 0, ts):
        at = int(np.argmin(np.diff(np.asarray(ts)) > 0))
        raise ValueError(f"ts[{at + 1}] is {ts[at + 1]} s, after {ts[at]} s: times must rise.")
    rtol = float(rtol)
    if not rtol > 0 or max_steps < 1:
        raise ValueError(
            f"rtol is {rtol} and max_steps {max_steps}; rtol must be above 0, max_steps at least 1."
        )
    dtype = widest(*(x for x in jax.tree.leaves((tile, query)) if eqx.is_inexact_array(x)))
    query = query.astype(dtype)
    found = _search(tile, query, ts.astype(dtype), jnp.asarray(rtol, dtype), max_steps)
    return finish(found, found.status)


@eqx.filter_jit
def _search(tile: Tile, query: Array, ts: Array, rtol: Array, max_steps: int) -> Found:
    dtype = query.dtype
    tile = jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tile)
    at = tile.cell.evaluated(query, tile.search_lines, Steps(rtol, max_steps))
    lines, status = match_lines(tile, at.gates), at.status
    sense = tile.t_sense[None]
    fallen = fall(lines, jnp.concatenate([sense, ts]), rtol, max_steps)
    status |= jnp.where(fallen.failed > 0, Status.NOT_CONVERGED, 0)
    status |= jnp.where(fallen.complete, 0, Status.OUT_OF_STEPS)
    seen = fallen.v, query, *at.gates
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in seen]))
    status |= jnp.where(finite, 0, Status.NOT_FINITE)
    good = one_or_nan(status, dtype)
    v_sense = good * fallen.v[0]
    reference = tile.v_ref + tile.v_offset
    margin = v_sense - reference
    over = lambda x: jnp.broadcast_to(x, tile.shape)
    data = [jnp.sum(over(tile.c_data) * over(v**2)) for v in tile.cell.v_data(query)]
    return Found(
        v_sense,
        margin > 0,
        margin,
        good * crossing(fallen, jnp.broadcast_to(reference, v_sense.shape), tile.v_pre),
        good * fallen.v[1:],
        jax.tree.map(lambda v: good * v, at.gates),
        jax.tree.map(lambda v: good * v, at.nodes),
        good * tile.v_pre * jnp.sum(fallen.lost[0]),
        good * at.power * tile.t_sense,
        good * at.energy,
        good * sum(data, jnp.zeros((), dtype)),
        status,
    )


def match_lines(tile: Tile, gates: tuple[Array, ...]) -> MatchLines:
    """The match lines with gates at given voltages [V]."""
    rows, dtype = tile.shape[0], tile.v_pre.dtype
    across = lambda x: jnp.broadcast_to(x, tile.shape).T.astype(dtype)
    cells = jax.tree.map(across, tile.cell.pull_downs(gates))
    c_sense = jnp.broadcast_to(tile.c_sense, (1, rows)).astype(dtype)
    c = jnp.concatenate([across(tile.c_match), c_sense])
    return MatchLines(cells, across(tile.r_match), c, tile.v_pre)


def crossing(fallen: Fallen, v: Array, v_pre: Array) -> Array:
    """Times [s] at which voltages fall below `v` [V], `(rows,)`; inf where they do not.

    Within a step a voltage is the cubic with the values and slopes at its ends."""
    t = jnp.concatenate([jnp.zeros_like(fallen.t[:1]), fallen.t])
    each = jnp.concatenate([jnp.full_like(fallen.each[:1], v_pre), fallen.each])
    slopes = jnp.concatenate([fallen.slopes[:1], fallen.slopes])
    taken = jnp.concatenate([jnp.ones((1,), bool), jnp.diff(fallen.t, prepend=0.0) > 0])
    below = (each < v[None]) & taken[:, None]
    falls = jnp.any(below, axis=0)
    k = jnp.maximum(jnp.argmax(below, axis=0), 1)
    pick = lambda x: jnp.take_along_axis(x, jnp.stack([k - 1, k]), axis=0)
    (a, b), (da, db) = pick(each), pick(slopes)
    begin, end = t[k - 1], t[k]
    h = jnp.where(falls, end - begin, 1)
    safe = lambda x, other: jnp.where(falls, x, other)
    part = _place(safe(a, 1.0), safe(b, 0.0), safe(h * da, -1.0), safe(h * db, -1.0), safe(v, 0.5))
    return jnp.where(falls, begin + part * h, jnp.inf)


def _cubic(x, a, b, da, db):
    """A cubic on 0 to 1 by the values and slopes at its ends."""
    return (
        a * (1 + 2 * x) * (1 - x) ** 2
        + da * x * (1 - x) ** 2
        + b * x**2 * (3 - 2 * x)
        + db * x**2 * (x - 1)
    )


@jax.custom_jvp
def _place(a, b, da, db, v):
    """Where in a step a falling cubic is `v`, by bisection."""

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = _cubic(middle, a, b, da, db) > v
        return jnp.where(above, middle, low), jnp.where(above, high, middle)

    low, high = jax.lax.fori_loop(0, 55, halve, (jnp.zeros_like(a), jnp.ones_like(a)))
    return (low + high) / 2


@_place.defjvp
def _(primals, tangents):
    x = _place(*primals)
    *ends, v = primals
    off = lambda *p: _cubic(x, *p[:4]) - p[4]
    _, moved = jax.jvp(off, primals, tangents)
    _, slope = jax.jvp(lambda x: _cubic(x, *ends), (x,), (jnp.ones_like(x),))
    return x, -moved / slope
