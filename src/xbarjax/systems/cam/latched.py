"""Analog cells that decide by a latch, before the match lines are released."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._types import (
    Scalar,
    Values,
    as_physical,
    described,
    everywhere,
    in_dtype,
    physical,
    require_finite,
    require_positive,
    widest,
)
from ...cells import AbstractCell, Parallel
from ...kirchhoff.advice import finish
from ...kirchhoff.solution import Status, one_or_nan
from ...wires import Wires
from . import balance
from .cell import AbstractAnalogCell, Evaluated, Nodes, Programmed, Steps
from .cells import Transistor, require_cells, require_transistor
from .latch import DATA, MEM, Latches, Raced, raced
from .tile import Tile, as_query, require_tile


class AnalogLatched(AbstractAnalogCell):
    """An analog cell whose two bounds are decided by latches, which stores an interval.

    Each bound has a latch of four transistors. Its two nodes are precharged to the supply. At 0 s
    the data line and a reference line rise. A transistor at the data line then discharges one node,
    and a transistor at the reference, in series with a memristor, the other one (`latch.py`). The
    faster side wins, and after `t_latch` the nodes are the gates of the pull-downs, near the supply
    or near ground. If the currents are so close that a latch has not decided by then, its nodes are
    in between. The lower bound discharges the match line where the memristor won, the upper one
    where the data line won.

    The cell is this library's own, in the manner of the strong-arm latched memristor cell of
    arXiv:2605.11847 (2026), whose idea is that a race of currents has more gain than a divider; no
    published schematic is claimed. Left out are the precharge switches, the wires of the supply
    (`r_high` does not count), the wire capacitance of search lines, and what the latches do after
    `t_latch`, when an ideal switch in each row lets the pull-downs act.

    A larger conductance is a higher bound: without a lower bound `g_low` is 0, without an upper one
    `g_high` is large.

    **Arguments:**

    - `g_low`, `g_high`: conductances [S] of the memristors, `(rows, cols)`.
    - `branch`, `pull_down`: n-channel transistors that discharge the nodes, and the match line; a
        `Mosfet` or a `Level1Mosfet` whose own gate voltages do not count.
    - `latch`: n-channel transistor of the latches; the p-channel ones are its mirror image.
    - `v_high`: supply [V] of the latches; `v_low`: voltage [V] of the search lines that take the
        currents, at their drivers.
    - `v_gate`: voltage [V] of the reference line.
    - `t_latch`: time [s] from the rise of the data lines to the release of the match lines.
    - `c_node`: capacitance [F] of each of the two nodes of a latch, the gate of a pull-down
        included; `c_inner`: of the nodes below the latch.
    """

    g_low: Float[Array, "rows cols"] = eqx.field(converter=physical("g_low"))
    g_high: Float[Array, "rows cols"] = eqx.field(converter=physical("g_high"))
    branch: Transistor
    pull_down: Transistor
    latch: Transistor
    v_high: Float[Array, ""] = eqx.field(converter=physical("v_high"), default=0.5)
    v_low: Float[Array, ""] = eqx.field(converter=physical("v_low", whole=True), default=0.0)
    v_gate: Float[Array, ""] = eqx.field(converter=physical("v_gate"), default=0.5)
    t_latch: Float[Array, ""] = eqx.field(converter=physical("t_latch"), default=5e-9)
    c_node: Float[Array, ""] = eqx.field(converter=physical("c_node"), default=1e-15)
    c_inner: Float[Array, ""] = eqx.field(converter=physical("c_inner"), default=2e-16)

    def __check_init__(self):
        require_cells(self, "g_low", "g_high")
        for name in ("branch", "pull_down", "latch"):
            require_transistor(getattr(self, name), name)
        for name in ("v_low", "v_gate"):
            require_finite(getattr(self, name), name, "V")
        for name, unit in (("v_high", "V"), ("t_latch", "s"), ("c_node", "F"), ("c_inner", "F")):
            require_positive(getattr(self, name), name, unit)

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.g_low.shape
        return rows, cols

    def require_query(self, query: Array) -> None:
        require_finite(query, "query", "V")

    def latches(self, v_data: Array, r_low: Array) -> Latches:
        """The latches at data-line voltages [V] that broadcast to `(rows, cols)`."""
        over = lambda x: jnp.broadcast_to(x, self.shape)
        return Latches(
            jnp.stack([self.g_low, self.g_high]),
            over(v_data),
            self.v_gate,
            self.branch,
            self.latch,
            self.v_high,
            self.v_low,
            self.c_node,
            self.c_inner,
            over(r_low),
        )

    def evaluated(self, query: Float[Array, " cols"], wires: Wires, steps: Steps) -> Evaluated:
        found = raced(self.latches(query, wires.r_col), self.t_latch[None], *steps)
        gates = found.v[DATA, 0], found.v[MEM, 1]
        high = jnp.broadcast_to(self.v_high, self.shape)
        nodes = (Nodes(high, self.v_low + found.low),)
        energy = self.v_high * found.drawn
        return Evaluated(gates, nodes, found.power, energy, status_of(found))

    def pull_downs(self, gates: tuple[Array, ...]) -> AbstractCell:
        low, high = gates
        return Parallel(self.pull_down.gated(low), self.pull_down.gated(high))

    def v_data(self, query: Float[Array, " cols"]) -> tuple[Array, Array]:
        return query, jnp.broadcast_to(self.v_gate, query.shape)

    def bounds(self, tile: Any) -> tuple[Array, Array]:
        return balance.bounds(self)

    def programmed(self, tile: Any, low: Array, high: Array, g_max: Any) -> Programmed:
        return balance.programmed(self, low, high, g_max)

    def levels(self, tile: Any, count: int, g_min: Any, g_max: Any) -> tuple[Array, Array]:
        return balance.levels(self, count, g_min, g_max)


def status_of(found: Raced) -> Array:
    """`Status` of a race."""
    status = jnp.where(found.failed > 0, Status.NOT_CONVERGED, 0)
    status |= jnp.where(found.complete, 0, Status.OUT_OF_STEPS)
    return status | jnp.where(jnp.all(jnp.isfinite(found.v)), 0, Status.NOT_FINITE)


class BothSides(NamedTuple):
    """Voltages [V] of the two nodes of latches, `(times, rows, cols)` each."""

    mem: Array  # discharged through the memristor
    data: Array  # discharged through the transistor of the data line


class Race(eqx.Module):
    """Latches in time.

    **Attributes:**

    - `low`, `high`: the latches of the lower and of the upper bounds. The gates of the pull-downs
        are `low.data` and `high.mem`.
    - `v_low`: voltages [V] of the search lines at the last time, `(rows, cols)`.
    - `energy`: energy [J] out of the supply until then and for the next precharge.
    - `status`: `Status` flags; NaN where it is an error.
    """

    low: BothSides
    high: BothSides
    v_low: Float[Array, "rows cols"]
    energy: Scalar
    status: Int[Array, ""]


def race(
    tile: Tile, query: Values, ts: Values, *, rtol: float = 1e-4, max_steps: int = 2048
) -> Race:
    """The latches of a tile of `AnalogLatched` cells in time, after the data lines rise at 0 s.

    **Arguments:**

    - `tile`, `query`: as of `search`.
    - `ts`: times [s], rising, at which the nodes are wanted. `t_latch` does not count.
    - `rtol`, `max_steps`: local error of a time step, relative to the supply, and limit of these.

    **Errors:** `TypeError` for other cells, `ValueError` for a query of another width and for times
    that do not rise.
    """
    latched_cell(tile)
    query, ts = as_query(tile, query), as_physical(ts, "ts", whole=True)
    if ts.ndim != 1 or ts.size == 0:
        raise ValueError(f"ts has shape {ts.shape}; it must be (times,), with at least one.")
    if not everywhere(lambda ts: (ts >= 0) & (jnp.diff(ts, prepend=-1.0) > 0), ts):
        raise ValueError(f"ts is {ts} s: times must rise, from 0 s or later.")
    dtype = widest(*(x for x in jax.tree.leaves((tile, query)) if eqx.is_inexact_array(x)))
    found = _race(in_dtype(tile, dtype), query.astype(dtype), ts.astype(dtype), rtol, max_steps)
    return finish(found, found.status)


@eqx.filter_jit
def _race(tile: Tile, query: Array, ts: Array, rtol: float, max_steps: int) -> Race:
    cell = latched_cell(tile)
    found = raced(
        cell.latches(query, tile.r_low), ts, jnp.asarray(rtol, query.dtype), max_steps, seen=True
    )
    assert found.at is not None
    status = status_of(found)
    good = one_or_nan(status, query.dtype)
    low, high = (BothSides(good * found.at[:, MEM, k], good * found.at[:, DATA, k]) for k in (0, 1))
    v_low = good * (cell.v_low + found.low)
    return Race(low, high, v_low, good * cell.v_high * found.drawn, status)


def latched_cell(tile: Tile) -> AnalogLatched:
    """The cells of a tile of latched ones; `TypeError` for others."""
    require_tile(tile)
    if not isinstance(tile.cell, AnalogLatched):
        raise TypeError(f"cell is {described(tile.cell)}; pass cells of xb.cam.AnalogLatched.")
    return tile.cell
