"""The time integration of an array: an L-stable SDIRK method, two stages per step, one solve each.

Kirchhoff's law holds at every moment; capacitors integrate. A step from `t` to `t + h` has two
stages of the same form, `y = y_h + d y'`, with the same `d = gamma h`, `gamma = 1 - 1 / sqrt 2`
(R. Alexander, SIAM J. Numer. Anal. 14, 1006 (1977), doi:10.1137/0714068):

    at t + gamma h:    y_h = y_0
    at t + h:          y_h = y_0 + (1 + sqrt 2) (y_1 - y_0)

- The method has second order and damps modes that are faster than a step (L-stable).
- The second stage is the result of the step, so nodes without a capacitor obey Kirchhoff's law at
  `t + h` as in a read.
- Charge adds up with the same weights, `h ((1 - gamma) i_1 + gamma i_2)`, so the charge that flows
  is the charge that is stored, to rounding.

For linear arrays with constant inputs the method equals TR-BDF2 (R. E. Bank et al., IEEE Trans. CAD
4, 436 (1985), doi:10.1109/TCAD.1985.1270142): both have the only stability function of this order
for two such stages. But TR-BDF2 starts with the slope at `t`, which has two values at the corner of
an edge. This method does not use that slope: corners need no step of lower order, coinciding
corners of several lines have the same derivatives as separate ones, and edges err by a quarter as
much.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._types import PerCol, Scalar
from ..analyses.read import read
from ..crossbar import Crossbar
from ..drive.waveform import Waveform
from ..kirchhoff.circuit import bias_of, circuit_of
from ..kirchhoff.companion import Charge, capacitances, voltages
from ..kirchhoff.network import Field
from ..kirchhoff.solution import Solution, Status
from ..readout import AbstractReadoutInTime
from .adaptive import AbstractStep, Followed, Knots, equal_steps, follow, knots_of
from .stage import Dynamic, Outputs, Stage, Stats, at_first

GAMMA = 1 - math.sqrt(0.5)
# local error for y' = l y, in units of h^3 times half the third derivative
ERROR = (4 * GAMMA**3 + 3 * (1 - 2 * GAMMA) * GAMMA**2 - 1 / 6) / GAMMA
INPUT = 0.01  # least scale of column voltages, relative to the error scale of outputs
TINY = 1e-9  # least error scale, relative to the largest node voltage and cell current


class _Sizes(NamedTuple):
    """Scales of errors: largest voltage [V] of any node or readout memory, largest rise [V] of a
    column above its readout, and largest current [A] and charge [C] of a column."""

    row: Scalar
    col: Scalar
    i: Scalar
    q: Scalar


class State(NamedTuple):
    """State of the array at one moment, and the charge since the first time."""

    held: Dynamic
    slope: Dynamic  # [V/s] at the end of the last step
    x: Field  # drops and segment currents
    last: Outputs
    q: tuple[PerCol, Array]  # [C] into the readout, out of the drivers
    stats: Stats


class _Step(AbstractStep):
    """A step of two stages."""

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
            y, x, outputs, stats, tangent = stage(v_in, y_h, x)
            slope = jax.tree.map(lambda y, y_h: (y - y_h) / d, y, y_h)
            return (y, x, tangent if judged else None), (slope, outputs, stats)

        tangent = jax.eval_shape(lambda: stage(self.waveform(t), y_0, state.x)[4])
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tangent) if judged else None
        stages = jnp.asarray([[0, GAMMA], [1 + math.sqrt(2), 1]])
        (y, x, tangent), (slopes, outputs, stats) = lax.scan(one, (y_0, state.x, blank), stages)
        flown = jax.tree.map(lambda i: h * ((1 - GAMMA) * i[0] + GAMMA * i[1]), outputs.i)
        q = jax.tree.map(jnp.add, state.q, flown)
        last, slope = jax.tree.map(lambda x: x[1], (outputs, slopes))
        new = State(y, slope, x, last, q, _together(state.stats, stats))
        error = jnp.zeros_like(h)
        if judged:
            error = self._error(stage, tangent, state, slopes, outputs, new, h)
            # a shorter step may converge
            failed = jnp.any(stats.status & int(Status.NOT_CONVERGED) != 0)
            error = jnp.where(failed, jnp.inf, error)
        return new, (last, q), lax.stop_gradient(error)

    def _error(
        self, stage: Stage, tangent, state: State, slopes: Dynamic, outputs: Outputs, new, h
    ):
        """Largest `ERROR h^3 y''' / 2` of voltages, memories and charges, per allowed error."""
        weights = 1 / GAMMA, -1 / (GAMMA * (1 - GAMMA)), 1 / (1 - GAMMA)  # of slopes at 0, gamma, 1
        of = lambda a, bc: ERROR * h * (weights[0] * a + weights[1] * bc[0] + weights[2] * bc[1])
        v = jax.tree.map(of, state.slope.v, slopes.v)
        v = Charge(*(jnp.where(c > 0, e, 0) for c, e in zip(stage.c, v)))
        lost = stage.filtered(tangent, v)
        most = lambda x: jnp.max(jnp.abs(x))
        q, readout = jnp.maximum(self.sizes.q, most(new.q[0])), self.crossbar.readout
        of_col, memory = self.sizes.col, []
        if state.slope.memory is not None:
            assert isinstance(readout, AbstractReadoutInTime)
            allowed = readout.error_scale(self.sizes.row, self.sizes.i, q)
            allowed = jnp.maximum(allowed, TINY * self.sizes.row)
            # the input of an amplifier moves far less than its output
            of_col = jnp.maximum(of_col, INPUT * jnp.max(allowed))
            each = jax.tree.map(of, state.slope.memory, slopes.memory)
            each = readout.damped(stage.d, each)
            memory = [most(each.out / allowed), most(each.across / allowed)]
        errors = [
            most(lost.row) / self.sizes.row,
            most(lost.col) / of_col,
            most(of(state.last.i[0], outputs.i[0])) / q,
            *memory,
        ]
        return jnp.max(jnp.stack(errors)) / self.rtol


def _together(before: Stats, stages: Stats) -> Stats:
    largest = jnp.maximum(before.largest, jnp.max(stages.largest))
    tolerance = 1e-8 if largest.dtype == jnp.float64 else 1e-4
    enough = tolerance * largest + stages.rounding
    missed = jnp.where(stages.residual <= enough, 0, int(Status.NOT_CONVERGED))
    status = stages.status | missed.astype(stages.status.dtype)
    return Stats(
        jnp.maximum(before.residual, jnp.max(stages.residual)),
        largest,
        jnp.max(stages.rounding),
        before.status | status[0] | status[1],
        before.num_steps + jnp.sum(stages.num_steps),
        before.newton_steps + jnp.sum(stages.newton_steps),
    )


def followed(
    crossbar: Crossbar, waveform: Waveform, ts: Array, rtol: Array, steps, max_steps, solver
) -> tuple[State, Knots, Followed]:
    """Initial state of an array, the knots, and the result of all steps."""
    resting = at_first(crossbar)
    at = lambda v: read(resting, bias_of(resting, v), solver=solver)
    v_in = waveform(ts[0])
    if steps is None:
        # largest voltage of every line, at whatever time
        largest = jnp.argmax(jnp.abs(waveform.v), axis=0)[None]
        highest = lax.stop_gradient(jnp.take_along_axis(waveform.v, largest, axis=0)[0])
        both = jax.vmap(at)(jnp.stack([v_in, highest.astype(v_in.dtype)]))  # compiled once
        first, peak = (jax.tree.map(lambda x, k=k: x[k], both) for k in range(2))
    else:
        first, peak = at(v_in), None
    dtype = first.drop_row.dtype
    ts, rtol = ts.astype(dtype), rtol.astype(dtype)
    start = _start(crossbar, resting, first, v_in)
    rises = jnp.all(jnp.diff(ts) > 0) & jnp.all(jnp.diff(waveform.t, axis=0) > 0)
    backwards = jnp.where(rises, 0, int(Status.TIME_NOT_RISING)) | start.stats.status
    start = start._replace(stats=start.stats._replace(status=lax.stop_gradient(backwards)))
    corners = jnp.ravel(waveform.t).astype(dtype)
    inside = jnp.where(corners < ts[0], ts[0], jnp.where(corners > ts[-1], ts[-1], corners))
    t = jnp.concatenate([ts, inside])
    knots = knots_of(t)
    if steps is None:
        assert peak is not None
        sizes = _sizes(crossbar, peak, start, waveform, knots)
        step = _Step(crossbar, waveform, solver, lax.stop_gradient(sizes), lax.stop_gradient(rtol))
        found = follow(step, start, knots, None, max_steps)
    else:
        one = jnp.ones((), dtype)
        step = _Step(crossbar, waveform, solver, _Sizes(one, one, one, one), one)
        found = follow(step, start, knots, equal_steps(knots, steps), 0)
    short = jnp.where(lax.stop_gradient(found.s) < knots.end, int(Status.OUT_OF_STEPS), 0)
    stats = found.state.stats._replace(status=found.state.stats.status | short)
    return start, knots, found._replace(state=found.state._replace(stats=stats))


def _start(crossbar, resting, first: Solution, v_in) -> State:
    v = voltages(first.v_row, first.v_col)
    i = first.i_out, first.i_in
    memory = slope = None
    output = first.output
    if crossbar.readout.has_memory:
        memory = crossbar.readout.begin(first.i_out, first.v_sense)
        slope, output = jax.tree.map(jnp.zeros_like, memory), memory.out
    none = lambda x: jax.tree.map(jnp.zeros_like, x)
    largest = lax.stop_gradient(jnp.max(jnp.abs(first.i_cell)))
    counts = first.num_steps, first.newton_steps
    c = capacitances(crossbar.wires, crossbar.shape, first.v_row.dtype)
    sound = [jnp.all((x >= 0) & jnp.isfinite(x)) for x in c]
    sound.append(jnp.all(crossbar.readout.valid()))
    flags = jnp.where(jnp.all(jnp.stack(sound)), 0, int(Status.INVALID_CELL))
    status = lax.stop_gradient(first.status | flags.astype(first.status.dtype))
    return State(
        Dynamic(v, memory),
        Dynamic(none(v), slope),
        lax.stop_gradient(circuit_of(resting, bias_of(resting, v_in)).guess_from(first)),
        Outputs(i, first.v_sense, output),
        none(i),
        Stats(lax.stop_gradient(first.residual), largest, 0 * largest, status, *counts),
    )


def _sizes(crossbar, peak: Solution, start: State, waveform: Waveform, knots: Knots) -> _Sizes:
    """Error scales from a read at the largest voltages of the waveform and from the first state."""
    dtype = peak.v_row.dtype
    most = lambda *xs: jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in xs])).astype(dtype)
    memory = () if start.held.memory is None else start.held.memory
    begun = start.held.v.row, start.held.v.col, *memory
    row = most(waveform.v, peak.v_row, peak.v_col, peak.bias.v_col, *begun)
    row = jnp.maximum(row, jnp.finfo(dtype).tiny ** 0.25)
    rest = peak.bias.v_col
    col = jnp.maximum(most(peak.v_col - rest[None], start.held.v.col - rest[None]), TINY * row)
    inner = jnp.where((waveform.t > knots.t[0]) & (waveform.t < knots.t[-1]), waveform.t, jnp.nan)
    lasts = jnp.nanmax(inner) - jnp.nanmin(inner)
    lasts = jnp.where(lasts > 0, lasts, knots.t[-1] - knots.t[0]).astype(dtype)
    g = jnp.max(jnp.abs(peak.i_cell)) / row
    i = jnp.maximum(jnp.maximum(most(peak.i_out), TINY * g * row), jnp.finfo(dtype).tiny ** 0.5)
    # without a lasting current, charge is that of the capacitors
    c = capacitances(crossbar.wires, crossbar.shape, dtype)
    taken = jnp.max(jnp.sum(c.col + c.cell, axis=0))
    if start.held.memory is not None:
        taken += jnp.max(crossbar.readout.capacitance())
    return _Sizes(row, col, *(x.astype(dtype) for x in (i, jnp.maximum(i * lasts, taken * row))))
