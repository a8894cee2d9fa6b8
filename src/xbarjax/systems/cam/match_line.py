"""The discharge of match lines: wires with cells on them, left to fall from the precharge voltage.

A match line is a ladder of `n` nodes, one per cell, and the input of the sense amplifier beyond the
last. Node `k` has a capacitance `c_k` and loses the current `I_k(v_k)` of its cell:

    c_k dv_k/dt = (v_{k-1} - v_k) / r_{k-1} + (v_{k+1} - v_k) / r_k - I_k(v_k).

Gates take no current, so those of the pull-downs do not change while the line falls. All lines of a
tile take the same steps, of the same method as arrays in time (transient/sdirk2.py): two stages of
`v = v_h + d dv/dt`, each by Newton's method, whose linear systems are ladders.
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
from ...cells import AbstractCell
from ...solvers import ladder
from ...transient.adaptive import AbstractStep, follow, knots_of
from ...transient.sdirk2 import ERROR, GAMMA

MOST = 30  # turns of Newton's method in a stage
CLOSE = 1e-10, 1e-5  # of the precharge voltage, of a turn that is the last, by dtype

Lines = Float[Array, "nodes rows"]


class MatchLines(eqx.Module):
    """Match lines, along axis 0: `n` cells and the input of the sense amplifier."""

    cells: AbstractCell  # between line and ground, with parameters `(n, rows)`
    r: Float[Array, "segments rows"]  # [ohm], from each cell towards the amplifier
    c: Lines  # [F] of every node to ground
    v_pre: Scalar  # [V]

    def currents(self, v: Lines) -> tuple[Lines, Lines]:
        """Currents [A] of the cells out of the nodes, and their slopes [S]."""
        at = v[:-1]
        i, g, _ = self.cells.linearise(at, jnp.zeros_like(at))
        none = jnp.zeros_like(v[-1:])
        return jnp.concatenate([i, none]), jnp.concatenate([g, none])


def along(r: Array, v: Lines) -> Lines:
    """Currents [A] out of the nodes into the wire, where no segment is ideal."""
    j = jnp.diff(v, axis=0) / r
    none = jnp.zeros_like(v[:1])
    return jnp.concatenate([none, j]) - jnp.concatenate([j, none])


def solved(r: Array, shunt: Lines, b: Lines) -> Lines:
    """Voltages [V] of lines with shunts [S] to ground and currents `b` [A] into the nodes."""
    open_end = jnp.full((1, r.shape[1]), jnp.inf, r.dtype)
    whole = jnp.concatenate([open_end, r, open_end])
    return ladder.drops(ladder.factor(whole, shunt, near_last=True), b)[0]


class _State(NamedTuple):
    v: Lines
    slope: Lines  # [V/s]
    failed: Scalar  # number of stages that did not converge


class _Step(AbstractStep):
    lines: MatchLines
    allowed: Scalar  # local error [V]

    def __call__(
        self, state: _State, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool
    ) -> tuple[_State, tuple[Array, Array, Array], Scalar]:
        lines, d = self.lines, GAMMA * h
        v_1, failed_1 = _stage(lines, d, state.v, state.v + d * state.slope)
        slope_1 = (v_1 - state.v) / d
        v_h = state.v + (1 + math.sqrt(2)) * (v_1 - state.v)
        v_2, failed_2 = _stage(lines, d, v_h, state.v + h * slope_1)
        slope_2 = (v_2 - v_h) / d
        error = jnp.zeros((), v_2.dtype)
        if judged:
            w_0, w_1, w_2 = 1 / GAMMA, -1 / (GAMMA * (1 - GAMMA)), 1 / (1 - GAMMA)
            raw = ERROR * h * (w_0 * state.slope + w_1 * slope_1 + w_2 * slope_2)
            _, g = lines.currents(v_2)
            stored = lines.c / d
            # through the line, which takes off what settles within the step
            smooth = solved(lines.r, stored + g, stored * raw)
            error = lax.stop_gradient(jnp.max(jnp.abs(smooth)) / self.allowed)
        after = _State(v_2, slope_2, state.failed + failed_1 + failed_2)
        return after, (v_2[-1], slope_2[-1], jnp.sum(lines.c * v_2, axis=0)), error


def _stage(lines: MatchLines, d: Scalar, v_h: Lines, guess: Lines) -> tuple[Lines, Array]:
    """Voltages [V] that obey `v = v_h + d dv/dt`, and whether the search for them failed."""
    moving, still = eqx.partition(lines, eqx.is_inexact_array)
    return _stage_of(still, moving, d, v_h, lax.stop_gradient(guess))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _stage_of(still: Any, moving: Any, d: Scalar, v_h: Lines, guess: Lines):
    lines = eqx.combine(moving, still)
    stored = lines.c / d
    enough = CLOSE[v_h.dtype != jnp.float64] * lines.v_pre

    def turn(carry):
        v, _, k = carry
        i, g = lines.currents(v)
        new = solved(lines.r, stored + g, stored * v_h - i + g * v)
        return new, jnp.max(jnp.abs(new - v)), k + 1

    def unfinished(carry):
        _, off, k = carry
        return (off > enough) & (k < MOST)

    start = guess, jnp.full((), jnp.inf, v_h.dtype), 0
    v, off, _ = lax.while_loop(unfinished, turn, start)
    return v, 1 - (off <= enough).astype(v.dtype)


@_stage_of.defjvp
def _(still, primals, tangents):
    moving, d, v_h, guess = primals
    v, failed = _stage_of(still, moving, d, v_h, guess)

    def lost(moving, d, v_h):
        lines = eqx.combine(moving, still)
        return lines.c / d * (v - v_h) + lines.currents(v)[0]

    kept, off = jax.jvp(lost, primals[:3], tangents[:3])
    lines, shunt = eqx.combine(moving, still), moving.c / d
    shunt = shunt + lines.currents(v)[1]
    # a change of resistance acts as a source in its segment, whose current Kirchhoff's law gives
    j = -jnp.cumsum(kept, axis=0)[:-1]
    sources = jnp.cumsum(-j * tangents[0].r, axis=0)
    sources = jnp.concatenate([jnp.zeros_like(v[:1]), sources])
    change = lax.custom_linear_solve(
        lambda x: along(lines.r, x) + shunt * x,
        -off - shunt * sources,
        lambda _, b: solved(lines.r, shunt, b),
        symmetric=True,
    )
    return (v, failed), (change + sources, jnp.zeros_like(failed))


class Fallen(NamedTuple):
    """Voltages at the inputs of the sense amplifiers."""

    v: Float[Array, "times rows"]  # [V] at the times asked for
    t: Float[Array, " steps"]  # ends [s] of the steps; the last time for steps not taken
    each: Float[Array, "steps rows"]  # [V] at the ends of the steps
    slopes: Float[Array, "steps rows"]  # [V/s]
    lost: Float[Array, "times rows"]  # [C] since the precharge
    failed: Scalar  # number of stages that did not converge
    complete: Array  # whether the last time was reached


def fall(lines: MatchLines, ts: Float[Array, " times"], rtol: Scalar, max_steps: int) -> Fallen:
    """The fall of match lines from the precharge voltage at 0 s through the times `ts` [s]."""
    v = jnp.broadcast_to(lines.v_pre, lines.c.shape).astype(lines.c.dtype)
    begin = _State(v, -lines.currents(v)[0] / lines.c, jnp.zeros((), v.dtype))
    knots = knots_of(jnp.concatenate([jnp.zeros((1,), ts.dtype), ts]))
    step = _Step(lines, rtol * lines.v_pre)
    found = follow(step, begin, knots, None, max_steps)
    v_end, slope_end, charge = found.outputs
    at = knots.named(ts)
    place = jnp.searchsorted(found.ends, at)
    begins = (at == 0)[:, None]
    seen = jnp.where(begins, v[-1], v_end[place])
    lost = jnp.where(begins, 0, jnp.sum(lines.c * v, axis=0)[None] - charge[place])
    times = knots.times(found.ends)
    failed, complete = found.state.failed, found.s >= knots.end
    return Fallen(seen, times, v_end, slope_end, lost, failed, complete)
