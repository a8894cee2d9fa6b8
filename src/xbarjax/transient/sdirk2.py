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

from .._types import PerCell, PerCol, Scalar, in_dtype
from ..analyses.read import read
from ..cells import has_memory, states_of
from ..crossbar import Crossbar
from ..drive import Bias
from ..drive.waveform import BiasWaveform, Waveform
from ..kirchhoff.circuit import circuit_of
from ..kirchhoff.companion import Charge, capacitances, voltages
from ..kirchhoff.network import Field
from ..kirchhoff.solution import Solution, Status
from ..readout import AbstractReadoutInTime
from .adaptive import AbstractStep, Followed, Knots, equal_steps, follow, knots_of
from .stage import ROUNDING, Dynamic, Outputs, Stage, Stats, at_first

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
    energy: PerCell  # [J] that cells turned into heat
    stats: Stats


class _Step(AbstractStep):
    """A step of two stages."""

    crossbar: Crossbar
    waveform: BiasWaveform
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
            now = bias_at(self.crossbar, self.waveform, t + of_h * h, middle)
            end = stage(now, y_h, x)
            slope = jax.tree.map(lambda y, y_h: (y - y_h) / d, end.held, y_h)
            last = (end.tangent, end.kept) if judged else None
            return (end.held, end.x, last), (slope, end.outputs, end.power, end.stats)

        def last_of(state: State):
            end = stage(bias_at(self.crossbar, self.waveform, t), y_0, state.x)
            return end.tangent, end.kept

        last = jax.eval_shape(last_of, state)
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), last) if judged else None
        stages = jnp.asarray([[0, GAMMA], [1 + math.sqrt(2), 1]])
        begin = y_0, state.x, blank
        (y, x, known), (slopes, outputs, power, stats) = lax.scan(one, begin, stages)
        over = lambda i: jax.tree.map(lambda i: h * ((1 - GAMMA) * i[0] + GAMMA * i[1]), i)
        q, energy = jax.tree.map(jnp.add, (state.q, state.energy), over((outputs.i, power)))
        last, slope = jax.tree.map(lambda x: x[1], (outputs, slopes))
        new = State(y, slope, x, last, q, energy, _together(state.stats, stats))
        error = jnp.zeros_like(h)
        if judged:
            assert known is not None
            tangent, kept = known
            error = self._error(stage, tangent, kept, state, slopes, outputs, new, h)
            # a shorter step may converge, and in one the states of devices move less
            amiss = int(Status.NOT_CONVERGED)
            if has_memory(self.crossbar.cell):
                amiss |= int(Status.NEGATIVE_RESISTANCE)
            failed = jnp.any(stats.status & amiss != 0)
            error = jnp.where(failed, jnp.inf, error)
        return new, (last, q), lax.stop_gradient(error)

    def _error(
        self, stage: Stage, tangent, kept, state: State, slopes: Dynamic, outputs: Outputs, new, h
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
            *stage.moved(kept, jax.tree.map(of, state.slope.states, slopes.states)),
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
    crossbar: Crossbar, waveform: BiasWaveform, ts: Array, rtol: Array, steps, max_steps, solver
) -> tuple[State, Knots, Followed]:
    """Initial state of an array, the knots, and the result of all steps."""
    resting = at_first(crossbar)
    at = lambda bias: read(resting, bias, solver=solver)
    begin = bias_at(resting, waveform, ts[0])
    if steps is None:
        highest = _highest(resting, waveform)
        stacked = jax.tree.map(lambda *x: jnp.stack(x), begin, in_dtype(highest, begin.v_row.dtype))
        both = jax.vmap(at)(stacked)  # compiled once
        first, peak = (jax.tree.map(lambda x, k=k: x[k], both) for k in range(2))
    else:
        first, peak = at(begin), None
    dtype = first.drop_row.dtype
    ts, rtol = ts.astype(dtype), rtol.astype(dtype)
    start = _start(crossbar, resting, first, begin)
    rises = jnp.all(jnp.diff(ts) > 0) & waveform.rises
    backwards = jnp.where(rises, 0, int(Status.TIME_NOT_RISING)) | start.stats.status
    start = start._replace(stats=start.stats._replace(status=lax.stop_gradient(backwards)))
    corners = waveform.corners.astype(dtype)
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


def bias_at(crossbar: Crossbar, waveform: BiasWaveform, t, middle=None) -> Bias:
    """The bias [V] of an array at a time [s]. Where nothing is charged, a voltage of which rounding
    is all that is left is 0: no current would be larger than its rounding."""
    wires = crossbar.wires
    charges = (wires.c_row, wires.c_col, wires.c_cell) != (None, None, None)
    exact = charges or crossbar.readout.has_memory

    def of(wave: Waveform) -> Array:
        v = wave(t, middle)
        lost = jnp.abs(v) <= ROUNDING * jnp.finfo(v.dtype).eps * jnp.max(jnp.abs(wave.v))
        return v if exact else jnp.where(lost, v - lax.stop_gradient(v), v)

    row = waveform.row.v
    v_col = crossbar.readout.voltage(crossbar.shape[1]).astype(row.dtype)
    return waveform.bias(of, v_col)


def _highest(crossbar: Crossbar, waveform: BiasWaveform) -> Bias:
    """The bias with the largest voltage [V] of every line and gate, at whatever time."""
    v_col = crossbar.readout.voltage(crossbar.shape[1])
    return lax.stop_gradient(waveform.bias(lambda wave: wave.largest, v_col))


def _start(crossbar, resting, first: Solution, begin: Bias) -> State:
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
    states = in_dtype(states_of(crossbar.cell), first.v_row.dtype)
    return State(
        Dynamic(v, memory, states),
        Dynamic(none(v), slope, none(states)),
        lax.stop_gradient(circuit_of(resting, begin).guess_from(first)),
        Outputs(i, first.v_sense, output),
        none(i),
        none(first.v_row),
        Stats(lax.stop_gradient(first.residual), largest, 0 * largest, status, *counts),
    )


def _sizes(crossbar, peak: Solution, start: State, waveform: BiasWaveform, knots: Knots) -> _Sizes:
    """Error scales from a read at the largest voltages of the waveform and from the first state."""
    dtype = peak.v_row.dtype
    most = lambda *xs: jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in xs])).astype(dtype)
    memory = () if start.held.memory is None else start.held.memory
    begun = start.held.v.row, start.held.v.col, *memory
    row = most(waveform.row.v, peak.v_row, peak.v_col, peak.bias.v_col, *begun)
    row = jnp.maximum(row, jnp.finfo(dtype).tiny ** 0.25)
    rest = peak.bias.v_col
    col = jnp.maximum(most(peak.v_col - rest[None], start.held.v.col - rest[None]), TINY * row)
    t = waveform.corners
    inner = jnp.where((t > knots.t[0]) & (t < knots.t[-1]), t, jnp.nan)
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
