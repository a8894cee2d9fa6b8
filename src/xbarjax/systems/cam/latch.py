"""The race in latched cells: two currents discharge two nodes, and a latch decides which was first.

A latch has five nodes, of which `x_mem`, `x_data`, `mem` and `data` begin at the supply:

    supply -- p(data) -- mem -- n(data) -- x_mem -- reference transistor -- m -- memristor -- line
    supply -- p(mem) -- data -- n(mem) -- x_data -- transistor of the data line -- line

where `n(data)` is the n-channel transistor with its gate at `data`. At 0 s the gates at the bottom
rise. The side with the larger current falls faster, which shuts the other side and opens its
p-channel transistor. The line is the low search line of the column, a wire with the two latches of
each cell on it, and ends in its driver below the last row. It has no capacitance.

The method is that of arrays in time (transient/sdirk2.py): two stages of `v = v_h + d dv/dt`, each
by Newton's method. The nodes of a latch are eliminated first; what is left of a cell is a current
into the search line and its slope, and the lines are ladders. All latches take the same steps.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..._types import Scalar
from ...cells import Level1Mosfet, Mosfet, Ohmic, PChannel, Series
from ...solvers import ladder
from ...transient.adaptive import AbstractStep, follow, knots_of
from ...transient.sdirk2 import ERROR, GAMMA

MOST = 30  # turns of Newton's method in a stage
CLOSE = 1e-7, 1e-4  # of the supply, of a turn that is the last, by dtype: the next is its square
M, X_MEM, X_DATA, MEM, DATA = range(5)

Nodes = Float[Array, "5 bounds rows cols"]  # of the latches of the lower and of the upper bound
Cells = Float[Array, "rows cols"]


class Latches(eqx.Module):
    """The latches of all cells of a tile, at a query."""

    g: Float[Array, "bounds rows cols"]  # [S]
    v_data: Cells  # [V]
    v_gate: Scalar  # [V] of the reference transistors
    branch: Mosfet | Level1Mosfet
    latch: Mosfet | Level1Mosfet
    v_high: Scalar  # [V]
    v_low: Scalar  # [V] of the drivers of the low lines
    c_node: Scalar  # [F] of `mem` and `data`
    c_inner: Scalar  # [F] of `x_mem` and `x_data`
    r_low: Cells  # [ohm]

    @property
    def c(self) -> Float[Array, "5 1 1 1"]:
        """Capacitances [F] of the nodes."""
        none = jnp.zeros_like(self.c_node)
        each = jnp.stack([none, self.c_inner, self.c_inner, self.c_node, self.c_node])
        return each[:, None, None, None]

    def sides(self, v: Nodes, low: Cells) -> tuple[Array, ...]:
        """Voltages [V] at the transistors of either side, the memristor's first: of the gate, top
        and bottom of the n-channel one, of the bottom of the branch and of its gate."""
        m, x_mem, x_data, mem, data = v
        over = lambda x: jnp.broadcast_to(x, m.shape)
        pairs = (data, mem), (mem, data), (x_mem, x_data), (m, over(self.v_low + low))
        return *map(jnp.stack, pairs), jnp.stack([over(self.v_gate), over(self.v_data)])

    def devices(self, gate: Array, out: Array, x: Array, bottom: Array, v_gate: Array):
        """Currents [A] of one side as functions of voltages [V], and these voltages."""
        top = jnp.broadcast_to(self.v_high, out.shape)
        p = lambda gate, out: PChannel(self.latch, gate, top).current(top, out)
        n = lambda gate, out, x: self.latch.gated(gate).current(out, x)
        t = lambda x, bottom: self.branch.gated(v_gate).current(x, bottom)
        return (p, (gate, out)), (n, (gate, out, x)), (t, (x, bottom))

    def currents(self, v: Nodes, low: Cells) -> tuple[Nodes, Float[Array, "bounds rows cols"]]:
        """Currents [A] out of the nodes through devices, and into the search lines."""
        p, n, t = (f(*at) for f, at in self.devices(*self.sides(v, low)))
        return self.shared(p, n, t, v[M], low)

    def shared(
        self, p: Array, n: Array, t: Array, m: Array, low: Cells
    ) -> tuple[Nodes, Float[Array, "bounds rows cols"]]:
        """`currents` from those of the devices."""
        g = self.g * (m - (self.v_low + low)[None])
        out = jnp.stack([g - t[0], t[0] - n[0], t[1] - n[1], n[0] - p[0], n[1] - p[1]])
        return out, g + t[1]

    def drawn(self, v: Nodes, low: Cells) -> Scalar:
        """Current [A] out of the supply."""
        (p, at), *_ = self.devices(*self.sides(v, low))
        return jnp.sum(p(*at))


class _Tangent(NamedTuple):
    """Newton's equations of all latches, `(bounds, rows, cols)` and by sides before."""

    n: tuple[Array, Array, Array]  # slopes [S] of the current by the gate, the top and the bottom
    t: tuple[Array, Array]  # by the top and the bottom
    g: Array  # [S] of the memristors
    m: Array  # pivot [S] of the node `m`
    x: Array  # pivots of `x_mem` and `x_data`
    own: Array  # of `mem` and `data` once the others are gone, by themselves
    other: Array  # and by the other side

    def solved(self, b: Nodes) -> Nodes:
        """Changes [V] of the nodes by currents `b` [A] into them."""
        by_gate, by_out, by_x = self.n
        b_x = b[1:3] + jnp.stack([self.t[1][0] * (b[M] / self.m), jnp.zeros_like(b[M])])
        b_out = b[3:] + by_x * (b_x / self.x)
        # Cramer's rule
        det = self.own[0] * self.own[1] - self.other[0] * self.other[1]
        out = (self.own[::-1] * b_out - self.other * b_out[::-1]) / det[None]
        x = (b_x + by_out * out + by_gate * out[::-1]) / self.x
        m = (b[M] + self.t[0][0] * x[0]) / self.m
        return jnp.stack([m, *x, *out])

    def into(self, dv: Nodes) -> Cells:
        """Change [A] of the currents into the search lines by changes [V] of the nodes."""
        return jnp.sum(self.g * dv[M] + self.t[0][1] * dv[X_DATA], axis=0)

    def by_low(self) -> Nodes:
        """Changes of the nodes by that of the drop of the search line."""
        none = jnp.zeros_like(self.m)
        return self.solved(jnp.stack([self.g, none, self.t[1][1], none, none]))

    def to_ground(self, by_low: Nodes) -> Cells:
        """Conductance [S] of the cells from the search line, with nodes that follow it."""
        return jnp.sum(self.g + self.t[1][1], axis=0) - self.into(by_low)


def _tangent(at: Latches, d: Scalar, v: Nodes, low: Cells):
    """Currents as of `Latches.currents`, and the equations of a stage."""

    def slope(f: Any, x: tuple[Array, ...], k: int) -> tuple[Array, Array]:
        return jax.jvp(lambda y: f(*x[:k], y, *x[k + 1 :]), (x[k],), (jnp.ones_like(x[k]),))

    def of_side(side):
        return [[slope(f, x, k) for k in range(len(x))] for f, x in at.devices(*side)]

    # in a loop, whose results are stored: compilers would compute the transistors again for every
    # use of them
    p, n, t = lax.map(of_side, at.sides(v, low))
    out, sunk = at.shared(p[0][0], n[0][0], t[0][0], v[M], low)
    p_gate, p_out = (x for _, x in p)
    n_gate, n_out, n_x = n[0][1], n[1][1], -n[2][1]
    t_x, t_bottom = t[0][1], -t[1][1]
    m = at.g + t_bottom[0]
    m = jnp.where(m == 0, jnp.inf, m)  # without a current the node stays where it is
    shorted = t_x - jnp.stack([t_bottom[0] * (t_x[0] / m), jnp.zeros_like(m)])
    x = at.c_inner / d + n_x + shorted
    kept = 1 - n_x / x
    own = at.c_node / d - p_out + n_out * kept
    other = n_gate * kept - p_gate
    tangent = _Tangent((n_gate, n_out, n_x), (t_x, t_bottom), at.g, m, x, own, other)
    return out, sunk, tangent


def _lines(r_low: Cells, g: Cells, b: Cells) -> Cells:
    """Drops [V] of search lines with shunts [S] and currents `b` [A] into their nodes."""
    open_end = jnp.full((1, r_low.shape[1]), jnp.inf, r_low.dtype)
    whole = jnp.concatenate([open_end, r_low])
    return ladder.drops(ladder.factor(whole, g, near_last=True), b)[0]


class _State(NamedTuple):
    v: Nodes
    slope: Nodes  # [V/s]
    low: Cells
    q: Scalar  # [C] out of the supply
    failed: Scalar  # number of stages that did not converge


class _Step(AbstractStep):
    latches: Latches
    allowed: Scalar  # local error [V]
    seen: bool = eqx.field(static=True)

    def __call__(
        self, state: _State, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool
    ) -> tuple[_State, Any, Scalar]:
        at, d = self.latches, GAMMA * h
        v_1, low_1, failed_1 = _stage(at, d, state.v, state.v + d * state.slope, state.low)
        slope_1 = (v_1 - state.v) / d
        v_h = state.v + (1 + math.sqrt(2)) * (v_1 - state.v)
        v_2, low_2, failed_2 = _stage(at, d, v_h, state.v + h * slope_1, low_1)
        slope_2 = (v_2 - v_h) / d
        i_1, i_2 = at.drawn(v_1, low_1), at.drawn(v_2, low_2)
        q = state.q + h * ((1 - GAMMA) * i_1 + GAMMA * i_2)
        failed = failed_1 + failed_2
        error = jnp.zeros((), v_2.dtype)
        if judged:
            w_0, w_1, w_2 = 1 / GAMMA, -1 / (GAMMA * (1 - GAMMA)), 1 / (1 - GAMMA)
            raw = ERROR * h * (w_0 * state.slope + w_1 * slope_1 + w_2 * slope_2)
            # through the latch, which takes off what settles within the step
            tangent = _tangent(at, d, v_2, low_2)[2]
            smooth = tangent.solved(at.c / d * raw)
            error = jnp.max(jnp.abs(smooth)) / self.allowed
            # a shorter step may converge
            error = lax.stop_gradient(jnp.where(failed > 0, jnp.inf, error))
        after = _State(v_2, slope_2, low_2, q, state.failed + failed)
        return after, v_2 if self.seen else (), error


def _stage(at: Latches, d: Scalar, v_h: Nodes, guess: Nodes, low: Cells):
    """Voltages [V] that obey `v = v_h + d dv/dt`, drops [V] of the search lines, and whether the
    search for them failed."""
    moving, still = eqx.partition(at, eqx.is_inexact_array)
    return _stage_of(still, moving, d, v_h, *lax.stop_gradient((guess, low)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _stage_of(still: Any, moving: Any, d: Scalar, v_h: Nodes, guess: Nodes, low: Cells):
    at = eqx.combine(moving, still)
    enough = CLOSE[v_h.dtype != jnp.float64] * at.v_high

    def turn(carry):
        v, low, _, k = carry
        out, sunk, tangent = _tangent(at, d, v, low)
        alone = tangent.solved(-out - at.c / d * (v - v_h))
        by_low = tangent.by_low()
        g = tangent.to_ground(by_low)
        b = jnp.sum(sunk, axis=0) + tangent.into(alone) + g * low
        new_low = _lines(at.r_low, g, b)
        dv = alone + by_low * (new_low - low)[None, None]
        return v + dv, new_low, jnp.max(jnp.abs(dv)), k + 1

    def unfinished(carry):
        *_, off, k = carry
        return (off > enough) & (k < MOST)

    start = guess, low, jnp.full((), jnp.inf, v_h.dtype), 0
    v, low, off, _ = lax.while_loop(unfinished, turn, start)
    return v, low, 1 - (off <= enough).astype(v.dtype)


@_stage_of.defjvp
def _(still, primals, tangents):
    moving, d, v_h, guess, low = primals
    v, low, failed = _stage_of(still, moving, d, v_h, guess, low)

    def lost(moving, d, v_h):
        at = eqx.combine(moving, still)
        out, sunk = at.currents(v, low)
        return out + at.c / d * (v - v_h), jnp.sum(sunk, axis=0)

    (_, sunk), (off, more) = jax.jvp(lost, primals[:3], tangents[:3])
    at = eqx.combine(moving, still)
    tangent = _tangent(at, d, v, low)[2]
    alone, by_low = tangent.solved(-off), tangent.by_low()
    g = tangent.to_ground(by_low)
    # a change of resistance acts as a source in its segment, whose current Kirchhoff's law gives
    fall = jnp.cumsum(sunk, axis=0) * tangents[0].r_low
    sources = jnp.cumsum(fall[::-1], axis=0)[::-1]
    change = lax.custom_linear_solve(
        lambda x: _along(at.r_low, x) + g * x,
        more + tangent.into(alone) - g * sources,
        lambda _, b: _lines(at.r_low, g, b),
        symmetric=True,
    )
    d_low = change + sources
    return (v, low, failed), (alone + by_low * d_low[None, None], d_low, jnp.zeros_like(failed))


def _along(r_low: Cells, x: Cells) -> Cells:
    """Currents [A] out of the nodes into the wire, where no segment is ideal."""
    j = (x - jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])) / r_low
    return j - jnp.concatenate([jnp.zeros_like(x[:1]), j[:-1]])


class Raced(NamedTuple):
    """Result of a race."""

    v: Nodes  # [V] at the last time
    low: Cells  # drops [V] of the search lines then
    at: Float[Array, "times 5 bounds rows cols"] | None  # [V] at the times, if they are asked for
    drawn: Scalar  # [C] out of the supply, the next precharge included
    power: Scalar  # [W] out of the supply at the last time
    failed: Scalar  # number of stages that did not converge
    complete: Array  # whether the last time was reached


def raced(
    at: Latches, ts: Float[Array, " times"], rtol: Scalar, max_steps: int, seen: bool = False
) -> Raced:
    """The race from 0 s to the last of `ts` [s].

    **Arguments:** `rtol`, local error of a step relative to the supply; `seen`, whether the nodes
    are wanted at all times.
    """
    shape = at.g.shape
    top = jnp.broadcast_to(at.v_high, shape)
    flat = lambda x: jnp.broadcast_to(x, shape).reshape(-1, shape[-1])
    below = Series(at.branch.gated(flat(at.v_gate)), Ohmic(flat(at.g)))
    m = lax.stop_gradient(below.v_inner(flat(at.v_high), flat(at.v_low))).reshape(shape)
    v = jnp.stack([m, top, top, top, top])
    low = jnp.zeros(shape[1:], v.dtype)
    out = at.currents(v, low)[0]
    slope = jnp.where(at.c > 0, -out / jnp.where(at.c > 0, at.c, 1), 0)
    zero = jnp.zeros((), v.dtype)
    begin = _State(v, slope, low, zero, zero)
    knots = knots_of(jnp.concatenate([jnp.zeros((1,), ts.dtype), ts]))
    found = follow(_Step(at, rtol * at.v_high, seen), begin, knots, None, max_steps)
    state: _State = found.state
    each = None
    if seen:
        place = knots.named(ts)
        each = found.outputs[jnp.searchsorted(found.ends, place)]
        each = jnp.where((place == 0)[:, None, None, None, None], v[None], each)
    refill = jnp.sum(at.c[1:] * (at.v_high - state.v[1:]))
    power = at.v_high * at.drawn(state.v, state.low)
    complete = found.s >= knots.end
    return Raced(state.v, state.low, each, state.q + refill, power, state.failed, complete)
