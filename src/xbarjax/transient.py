"""A read in time: the same network with capacitors, one solve a stage.

Kirchhoff's law holds at every moment; capacitors integrate. A step from `t` to `t + h` is two
stages of one form, `y = y_h + d y'`, with the same `d = gamma h`, `gamma = 1 - 1 / sqrt 2`
(R. Alexander, SIAM J. Numer. Anal. 14, 1006 (1977), doi:10.1137/0714068):

    at t + gamma h:    y_h = y_0
    at t + h:          y_h = y_0 + (1 + sqrt 2) (y_1 - y_0)

It is of second order, damps what is faster than a step (L-stable), and its second stage is its
result, so that nodes without a capacitor obey Kirchhoff's law there as in a read. Charge adds up
with the same weights, `h ((1 - gamma) i_1 + gamma i_2)`: what flows is what is stored, to rounding.

For what is linear and at rest that is TR-BDF2 (R. E. Bank et al., IEEE Trans. CAD 4, 436 (1985),
doi:10.1109/TCAD.1985.1270142): both have the one stability function of this order that two such
stages can have. But TR-BDF2 begins with the slope at `t`, and at the corner of an edge there are
two. This method does not look at it: corners need no step of lower order, corners of several lines
at one time have the derivatives that they have apart, and edges err by a quarter as much.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from ._types import (
    PerCol,
    Scalar,
    as_physical,
    everywhere,
    is_concrete,
    require_finite,
    require_positive,
)
from .assembly import circuit_of
from .capacitors import Charge, voltages
from .crossbar import Crossbar
from .network import Field
from .read import bias_of, guess_from, raise_if_bad, read
from .readout import AbstractReadoutInTime, has_memory, is_linear
from .solution import Solution, Status, usable
from .solvers import Newton
from .stage import Held, Said, Seen, Stage, at_first
from .stepping import AbstractStep, Followed, Knots, equal_steps, follow, knots_of
from .waveform import Waveform

GAMMA = 1 - math.sqrt(0.5)
# of h^3 times half the third derivative: what the method errs by where y' = l y
ERROR = (4 * GAMMA**3 + 3 * (1 - 2 * GAMMA) * GAMMA**2 - 1 / 6) / GAMMA
INPUT = 0.01  # of what amplifiers put out
TINY = 1e-9  # of the current that conductances and voltages stand for: less is taken for none


class Transient(eqx.Module):
    """What an array does in time; one entry a time in front.

    **Attributes:**

    - `t`: [s]. - `v_in`: of the drivers [V], `(times, lines)`.
    - `i_out`: current into the readout [A], `(times, cols)`; `q_out`: charge into it [C] since the
        first time. - `i_in`, `q_in`: current and charge that the drivers deliver, `(times, lines)`.
    - `v_sense`, `output`: as of a `Solution`, `(times, cols)`.
    - `v_row`, `v_col`: node voltages at the last time [V], `(rows, cols)`.
    - `residual`: largest violation of Kirchhoff's current law in any stage [A]; `status`: a
        `Status`; `steps`, `refused`: how many were taken, and done again because they erred too
        much; `num_steps`, `newton_steps`: iterations and linearisations, in all.
    """

    t: Float[Array, "*batch times"]
    v_in: Float[Array, "*batch times lines"]
    i_out: Float[Array, "*batch times cols"]
    q_out: Float[Array, "*batch times cols"]
    i_in: Float[Array, "*batch times lines"]
    q_in: Float[Array, "*batch times lines"]
    v_sense: Float[Array, "*batch times cols"]
    output: Float[Array, "*batch times cols"]
    v_row: Float[Array, "*batch rows cols"]
    v_col: Float[Array, "*batch rows cols"]
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    steps: Int[Array, "*batch"]
    refused: Int[Array, "*batch"]
    num_steps: Int[Array, "*batch"]
    newton_steps: Int[Array, "*batch"]


def simulate(
    crossbar: Crossbar,
    waveform: Waveform,
    ts: ArrayLike,
    *,
    rtol: ArrayLike = 1e-4,
    steps: int | None = None,
    max_steps: int = 1024,
    solver: lx.AbstractLinearSolver | Newton | None = None,
) -> Transient:
    """Follows an array in time, from the read at the first time on.

    No step goes over one of the times or a corner of the waveform. Between them steps are as long
    as an estimate of their errors allows: `rtol` is what one of them may add to node voltages and
    to what amplifiers hold, relative to the largest of them in a read of the waveform's largest
    voltages, and to the charge of a column, relative to that of all its pulses. With `steps` there
    are so many equal ones between neighbours among the times and the corners instead, whose errors
    fall with the square of their length.

    **Arguments:**

    - `crossbar`: the array; `Wires` have the capacitances, readouts their own. Readouts are linear.
    - `waveform`: voltages of the drivers.
    - `ts`: times [s], rising, `(times,)`, two at least.
    - `rtol`: see above. - `steps`: in each interval; None (the default) to choose by `rtol`.
    - `max_steps`: the most that are taken in all, by `rtol`.
    - `solver`: as of `read`.

    **Returns:** a `Transient`. A gradient, forward or backward, holds the grid of steps by its
    corners; it costs about three runs more and keeps a state every 32 steps.

    **Errors:** as of `read`; `ValueError` for times that do not rise, and where `max_steps` do not
    reach the last of them.
    """
    ts, rtol = as_physical(ts, "ts"), as_physical(rtol, "rtol")
    if jnp.ndim(ts) != 1 or jnp.size(ts) < 2:
        raise ValueError(f"ts has shape {jnp.shape(ts)}; it must be (times,), two at least.")
    require_finite(ts, "ts", "s")
    require_positive(rtol, "rtol", "")
    if not everywhere(lambda ts: np.diff(ts) > 0, ts):
        at = int(np.argmin(np.diff(np.asarray(ts)) > 0))
        raise ValueError(f"ts[{at + 1}] is {ts[at + 1]} s, after {ts[at]} s: times must rise.")
    for name, count in (("steps", steps), ("max_steps", max_steps)):
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; it must be one at least.")
    if waveform.lines != crossbar.lines:
        raise ValueError(
            f"waveform has {waveform.lines} lines, but the array has {crossbar.lines}."
        )
    if not is_linear(crossbar.readout):
        raise ValueError(
            "simulate needs a linear readout, and an amplifier with a swing is not: leave v_low and"
            " v_high out."
        )
    found = _simulate(crossbar, waveform, ts, rtol, steps, max_steps, solver)
    if is_concrete(found.status):
        raise_if_bad(Status(int(np.bitwise_or.reduce(np.asarray(found.status), axis=None))))
    return found


class _Sizes(NamedTuple):
    """What errors are judged by: largest voltages [V] of nodes and of what is remembered, currents
    [A] and charge [C] of a column."""

    row: Scalar
    col: Scalar
    i: Scalar
    q: Scalar


class State(NamedTuple):
    """Where the array is, and what has passed."""

    held: Held
    slope: Held  # in the end of the last step [V/s]
    x: Field  # drops and segment currents
    last: Seen
    q: tuple[PerCol, Array]
    said: Said


class _Step(AbstractStep):
    """Two stages."""

    crossbar: Crossbar
    waveform: Waveform
    solver: Any
    sizes: _Sizes
    rtol: Scalar

    def __call__(self, state: State, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool):
        d, y_0 = GAMMA * h, state.held
        stage = Stage(self.crossbar, self.solver, d, y_0)

        def one(carry, at):
            y, x, _ = carry
            beyond, of_h = at.astype(d.dtype)
            y_h = jax.tree.map(lambda y, y_0: y_0 + beyond * (y - y_0), y, y_0)
            v_in = self.waveform(t + of_h * h, middle)
            y, x, seen, said, tangent = stage(v_in, y_h, x)
            slope = jax.tree.map(lambda y, y_h: (y - y_h) / d, y, y_h)
            return (y, x, tangent if judged else None), (slope, seen, said)

        tangent = jax.eval_shape(lambda: stage(self.waveform(t), y_0, state.x)[4])
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tangent) if judged else None
        stages = jnp.asarray([[0, GAMMA], [1 + math.sqrt(2), 1]])
        (y, x, tangent), (slopes, seen, said) = lax.scan(one, (y_0, state.x, blank), stages)
        flown = jax.tree.map(lambda i: h * ((1 - GAMMA) * i[0] + GAMMA * i[1]), seen.i)
        q = jax.tree.map(jnp.add, state.q, flown)
        last, slope = jax.tree.map(lambda x: x[1], (seen, slopes))
        new = State(y, slope, x, last, q, _together(state.said, said))
        error = jnp.zeros_like(h)
        if judged:
            error = self._error(stage, tangent, state, slopes, seen, new, h)
        return new, (last, q), lax.stop_gradient(error)

    def _error(self, stage: Stage, tangent, state: State, slopes: Held, seen: Seen, new, h):
        """`ERROR h^3 y''' / 2` of all that integrates, by what is allowed."""
        third = lambda a, b, c: (
            ERROR * h * (a / GAMMA - b / (GAMMA * (1 - GAMMA)) + c / (1 - GAMMA))
        )
        of = lambda a, bc: third(a, bc[0], bc[1])
        v = jax.tree.map(of, state.slope.v, slopes.v)
        v = Charge(*(jnp.where(c > 0, e, 0) for c, e in zip(stage.c, v)))
        row, col = stage.filtered(tangent, v)
        most = lambda x: jnp.max(jnp.abs(x))
        q, readout = jnp.maximum(self.sizes.q, most(new.q[0])), self.crossbar.readout
        of_col, memory = self.sizes.col, []
        if state.slope.memory is not None:
            assert isinstance(readout, AbstractReadoutInTime)
            allowed = readout.reaches(self.sizes.row, self.sizes.i, q)
            allowed = jnp.maximum(allowed, TINY * self.sizes.row)
            # what an input moves by is little beside what that makes of the output
            of_col = jnp.maximum(of_col, INPUT * jnp.max(allowed))
            each = jax.tree.map(of, state.slope.memory, slopes.memory)
            memory = [most(each.out / allowed), most(each.across / allowed)]
        errors = [
            most(row) / self.sizes.row,
            most(col) / of_col,
            most(of(state.last.i[0], seen.i[0])) / q,
            *memory,
        ]
        return jnp.max(jnp.stack(errors)) / self.rtol


def _together(before: Said, stages: Said) -> Said:
    largest = jnp.maximum(before.largest, jnp.max(stages.largest))
    tolerance = 1e-8 if largest.dtype == jnp.float64 else 1e-4
    missed = jnp.where(stages.residual <= tolerance * largest, 0, int(Status.NOT_CONVERGED))
    status = stages.status | missed.astype(stages.status.dtype)
    return Said(
        jnp.maximum(before.residual, jnp.max(stages.residual)),
        largest,
        before.status | status[0] | status[1],
        before.num_steps + jnp.sum(stages.num_steps),
        before.newton_steps + jnp.sum(stages.newton_steps),
    )


@eqx.filter_jit
def _simulate(crossbar, waveform, ts, rtol, steps, max_steps, solver) -> Transient:
    start, knots, found = followed(crossbar, waveform, ts, rtol, steps, max_steps, solver)
    return _transient(crossbar, waveform, ts.astype(knots.t.dtype), start, knots, found)


def followed(
    crossbar: Crossbar, waveform: Waveform, ts: Array, rtol: Array, steps, max_steps, solver
) -> tuple["State", Knots, Followed]:
    """Where an array begins, and where all steps lead."""
    resting = at_first(crossbar)
    at = lambda v: read(resting, bias_of(resting, v), solver=solver)
    first = at(waveform(ts[0]))
    dtype = first.drop_row.dtype
    ts, rtol = ts.astype(dtype), rtol.astype(dtype)
    start = _start(crossbar, resting, first, waveform(ts[0]))
    corners = jnp.ravel(waveform.t).astype(dtype)
    inside = jnp.where(corners < ts[0], ts[0], jnp.where(corners > ts[-1], ts[-1], corners))
    t = jnp.concatenate([ts, inside])
    knots = knots_of(t)
    if steps is None:
        # of the largest voltage of every line, whenever it has it
        largest = jnp.argmax(jnp.abs(waveform.v), axis=0)[None]
        peak = at(lax.stop_gradient(jnp.take_along_axis(waveform.v, largest, axis=0)[0]))
        sizes = _sizes(peak, waveform, knots)
        step = _Step(crossbar, waveform, solver, lax.stop_gradient(sizes), lax.stop_gradient(rtol))
        found = follow(step, start, knots, None, max_steps)
    else:
        one = jnp.ones((), dtype)
        step = _Step(crossbar, waveform, solver, _Sizes(one, one, one, one), one)
        found = follow(step, start, knots, equal_steps(knots, steps), 0)
    return start, knots, found


def _start(crossbar, resting, first: Solution, v_in) -> State:
    v = voltages(first.v_row, first.v_col)
    i = first.i_out, first.i_in
    memory = slope = None
    output = first.output
    if has_memory(crossbar.readout):
        memory = crossbar.readout.begin(first.i_out, first.v_sense)
        slope, output = jax.tree.map(jnp.zeros_like, memory), memory.out
    none = lambda x: jax.tree.map(jnp.zeros_like, x)
    largest = lax.stop_gradient(jnp.max(jnp.abs(first.i_cell)))
    counts = first.num_steps, first.newton_steps
    return State(
        Held(v, memory),
        Held(none(v), slope),
        lax.stop_gradient(guess_from(circuit_of(resting, bias_of(resting, v_in)), first)),
        Seen(i, first.v_sense, output),
        none(i),
        Said(lax.stop_gradient(first.residual), largest, first.status, *counts),
    )


def _sizes(peak: Solution, waveform: Waveform, knots: Knots) -> _Sizes:
    """By a read of the largest voltages."""
    dtype = peak.v_row.dtype
    row = jnp.max(jnp.abs(waveform.v)).astype(dtype)
    row = jnp.maximum(row, jnp.finfo(dtype).tiny ** 0.25)
    col = jnp.max(jnp.abs(peak.v_col - peak.bias.v_col))
    inner = jnp.where((waveform.t > knots.t[0]) & (waveform.t < knots.t[-1]), waveform.t, jnp.nan)
    lasts = jnp.nanmax(inner) - jnp.nanmin(inner)
    lasts = jnp.where(lasts > 0, lasts, knots.t[-1] - knots.t[0]).astype(dtype)
    g = jnp.max(jnp.abs(peak.i_cell)) / row
    i = jnp.maximum(jnp.max(jnp.abs(peak.i_out)), TINY * g * row)
    i = jnp.maximum(i, jnp.finfo(dtype).tiny ** 0.5)
    col = jnp.maximum(col, TINY * row)
    return _Sizes(row, *(x.astype(dtype) for x in (col, i, i * lasts)))


def _transient(crossbar, waveform, ts, start: State, knots: Knots, found: Followed) -> Transient:
    s = knots.named(ts)
    at = jnp.searchsorted(found.ends, s)
    begun = lambda x, of: jnp.where(jnp.expand_dims(s == 0, range(1, x.ndim + 1)), x[None], of[at])
    last, q = found.seen
    seen, q = jax.tree.map(begun, (start.last, start.q), (last, q))
    end = found.state
    short = lax.stop_gradient(found.s) < knots.end
    status = end.said.status | jnp.where(short, int(Status.OUT_OF_STEPS), 0)
    good = usable(status)
    flag = lambda x: jnp.where(good, x, jnp.nan)
    (i_out, i_in), (q_out, q_in) = seen.i, q
    return Transient(
        t=ts,
        v_in=jax.vmap(waveform)(ts),
        i_out=flag(i_out),
        q_out=flag(q_out),
        i_in=flag(i_in),
        q_in=flag(q_in),
        v_sense=flag(seen.v_sense),
        output=flag(seen.output),
        v_row=flag(end.held.v.row),
        v_col=flag(end.held.v.col),
        residual=end.said.residual,
        status=status,
        steps=found.taken,
        refused=found.refused,
        num_steps=end.said.num_steps,
        newton_steps=end.said.newton_steps,
    )
