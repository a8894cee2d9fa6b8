"""A read in time: the same network with capacitors, one solve a stage.

Kirchhoff's law holds at every moment; capacitors integrate. A step of TR-BDF2 (R. E. Bank et al.,
IEEE Trans. CAD 4, 436 (1985), doi:10.1109/TCAD.1985.1270142; M. E. Hosea, L. F. Shampine, Appl.
Numer. Math. 20, 21 (1996), doi:10.1016/0168-9274(95)00115-8) from `t` to `t + h` is
two stages of one form, `y = y_h + d y'`, with the same `d = h (1 - 1 / sqrt 2)`:

    at t + gamma h, gamma = 2 - sqrt 2:    y_h = y_0 + d y'_0                            trapezoid
    at t + h:                              y_h = (y_1 - (1 - gamma)^2 y_0) / (gamma (2 - gamma))

It is of second order, damps what is faster than a step (L-stable), and its second stage is its
result, so that nodes without a capacitor obey Kirchhoff's law there as in a read. All that is
integrated, `y_2 - y_0 = h (b y'_0 + b y'_1 + (d / h) y'_2)` with `b = sqrt 2 / 4`, is so with the
same weights: charge that flows is charge that is stored, to rounding.
"""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from ._types import PerCol, Scalar, as_physical, everywhere, is_concrete, require_finite
from .assembly import at_rest, circuit_of, right_hand_side
from .capacitors import Charge, capacitances, voltages, with_capacitors
from .connectivity import determined
from .crossbar import Crossbar
from .network import Field
from .operating_point import faults, linear_solver, operating_point
from .read import bias_of, guess_from, raise_if_bad, read, sensed
from .readout import Integrator, require_linear
from .solution import Status, usable
from .solvers import Newton, factor, solve
from .waveform import Waveform

GAMMA = 2 - math.sqrt(2)
D, B = 1 - math.sqrt(0.5), math.sqrt(2) / 4
OF_NEW, OF_OLD = 1 / (GAMMA * (2 - GAMMA)), (1 - GAMMA) ** 2 / (GAMMA * (2 - GAMMA))


class Transient(eqx.Module):
    """What an array does in time; one entry a time in front.

    **Attributes:**

    - `t`: [s]. - `v_in`: of the drivers [V], `(times, lines)`.
    - `i_out`: current into the readout [A], `(times, cols)`; `q_out`: charge into it [C] since the
        first time. - `i_in`, `q_in`: current and charge that the drivers deliver, `(times, lines)`.
    - `v_sense`, `output`: as of a `Solution`, `(times, cols)`.
    - `v_row`, `v_col`: node voltages at the last time [V], `(rows, cols)`.
    - `residual`: largest violation of Kirchhoff's current law in any stage [A]; `status`: a
        `Status`; `num_steps`, `newton_steps`: iterations and linearisations, in all.
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
    num_steps: Int[Array, "*batch"]
    newton_steps: Int[Array, "*batch"]


def simulate(
    crossbar: Crossbar,
    waveform: Waveform,
    ts: ArrayLike,
    *,
    steps: int = 1,
    solver: lx.AbstractLinearSolver | Newton | None = None,
) -> Transient:
    """Follows an array in time, from the read at the first time on.

    `steps` equal steps of TR-BDF2 lie between any two neighbours among the times and the corners of
    the waveform, so that no step goes over a corner. Errors fall with the square of the step: twice
    the steps and a third of the difference is an estimate of what is left.

    **Arguments:**

    - `crossbar`: the array; `Wires` have the capacitances. Its readout is linear.
    - `waveform`: voltages of the drivers.
    - `ts`: times [s], rising, `(times,)`, two at least.
    - `steps`: in each interval.
    - `solver`: as of `read`.

    **Returns:** a `Transient`. **Errors:** as of `read`; `ValueError` for times that do not rise.
    """
    ts = as_physical(ts, "ts")
    if jnp.ndim(ts) != 1 or jnp.size(ts) < 2:
        raise ValueError(f"ts has shape {jnp.shape(ts)}; it must be (times,), two at least.")
    require_finite(ts, "ts", "s")
    if not everywhere(lambda ts: np.diff(ts) > 0, ts):
        at = int(np.argmin(np.diff(np.asarray(ts)) > 0))
        raise ValueError(f"ts[{at + 1}] is {ts[at + 1]} s, after {ts[at]} s: times must rise.")
    if steps < 1:
        raise ValueError(f"steps is {steps}; an interval needs one step at least.")
    if waveform.v.shape[1] != crossbar.lines:
        raise ValueError(
            f"waveform has {waveform.v.shape[1]} lines, but the array has {crossbar.lines}."
        )
    require_linear(crossbar.readout, "simulate")
    if isinstance(crossbar.readout, Integrator):
        raise ValueError(
            "readout is an Integrator; simulate has no memory in readouts: q_out of a VirtualGround"
            " is the charge that one collects."
        )
    found = _simulate(crossbar, waveform, ts, steps, solver)
    if is_concrete(found.status):
        raise_if_bad(Status(int(np.bitwise_or.reduce(np.asarray(found.status), axis=None))))
    return found


class _State(NamedTuple):
    """Where the array is, and what it has passed."""

    t: Scalar
    v: Charge  # [V]
    slope: Charge  # [V/s]
    x: Field  # drops and segment currents
    i: tuple[PerCol, Array]  # into the readout, out of the drivers
    q: tuple[PerCol, Array]
    v_sense: PerCol
    residual: Scalar
    largest: Scalar  # current [A] so far, that violations are judged by
    status: Array
    counts: tuple[Array, Array]


class _Seen(NamedTuple):
    """What there is to say of one stage."""

    i: tuple[PerCol, Array]
    v_sense: PerCol
    residual: Scalar
    largest: Scalar
    status: Array
    counts: tuple[Array, Array]


@eqx.filter_jit
def _simulate(crossbar, waveform, ts, steps: int, solver) -> Transient:
    first = read(crossbar, bias_of(crossbar, waveform(ts[0])), solver=solver)
    dtype = first.drop_row.dtype
    c = capacitances(crossbar.wires, crossbar.shape, dtype)
    ts = ts.astype(dtype)

    knots, at = _knots(waveform, ts)
    v = voltages(first.v_row, first.v_col)
    none = jax.tree.map(jnp.zeros_like, v)
    circuit = circuit_of(crossbar, bias_of(crossbar, waveform(ts[0])))
    i = first.i_out, first.i_in
    start = _State(
        ts[0],
        v,
        none,
        guess_from(circuit, first),
        i,
        jax.tree.map(jnp.zeros_like, i),
        first.v_sense,
        first.residual,
        jnp.max(jnp.abs(first.i_cell)),
        first.status,
        (first.num_steps, first.newton_steps),
    )

    def go(state, h):
        some = jnp.where(h > 0, h, 1)  # under vmap both branches run
        step = lambda s: _step(crossbar, waveform, c, solver, s, some)
        return lax.cond(h > 0, step, lambda s: s, state)

    @jax.checkpoint  # a gradient keeps the states between intervals, and one interval of steps
    def interval(state: _State, ends):
        t_0, t_1 = ends
        h = (t_1 - t_0) / steps
        state, _ = lax.scan(lambda s, _: (go(s, h), None), state, None, steps)
        state = state._replace(t=t_1)
        return state, (state.i, state.q, state.v_sense)

    end, (i, q, v_sense) = lax.scan(interval, start, (knots[:-1], knots[1:]))
    seen = lambda first, rest: jnp.concatenate([first[None], rest])[at]
    i_out, i_in = jax.tree.map(seen, start.i, i)
    q_out, q_in = jax.tree.map(seen, start.q, q)
    v_in = jax.vmap(waveform)(ts)
    v_sense = seen(start.v_sense, v_sense)
    output = jax.vmap(crossbar.readout.output)(i_out, v_sense)
    good = usable(end.status)
    flag = lambda x: jnp.where(good, x, jnp.nan)
    return Transient(
        t=ts,
        v_in=v_in,
        i_out=flag(i_out),
        q_out=flag(q_out),
        i_in=flag(i_in),
        q_in=flag(q_in),
        v_sense=flag(v_sense),
        output=flag(output).astype(dtype),
        v_row=end.v.row,
        v_col=end.v.col,
        residual=end.residual,
        status=end.status,
        num_steps=end.counts[0],
        newton_steps=end.counts[1],
    )


def _knots(waveform: Waveform, ts: Array) -> tuple[Array, Array]:
    """Times and the corners between them, in order, and which of them are the times. Corners
    outside become the first or the last time, with an interval of no length."""
    corners = jnp.ravel(waveform.t).astype(ts.dtype)
    inside = jnp.where(corners < ts[0], ts[0], jnp.where(corners > ts[-1], ts[-1], corners))
    knots = jnp.concatenate([ts, inside])
    order = jnp.argsort(lax.stop_gradient(knots))
    return knots[order], jnp.argsort(order)[: ts.size]


def _step(crossbar, waveform, c: Charge, solver, s: _State, h: Scalar) -> _State:
    d = D * h

    def stage(carry, coefficients):
        """`v_h = new v + old v_0 + d slope_0`, one form for both, so that they compile once."""
        v, x, _ = carry
        at, new, old, of_slope = coefficients.astype(d.dtype)
        held = lambda v, v_0, slope: new * v + old * v_0 + of_slope * d * slope
        v_h = jax.tree.map(held, v, s.v, s.slope)
        v, x, seen = _stage(crossbar, waveform(s.t + at * h), c, d, v_h, x, solver)
        return (v, x, jax.tree.map(lambda v, v_h: (v - v_h) / d, v, v_h)), seen

    stages = jnp.asarray([[GAMMA, 1, 0, 1], [1, OF_NEW, -OF_OLD, 0]])
    (v, x, slope), found = lax.scan(stage, (s.v, s.x, s.slope), stages)
    largest = jnp.maximum(s.largest, jnp.max(found.largest))
    tolerance = 1e-8 if largest.dtype == jnp.float64 else 1e-4
    missed = jnp.where(found.residual <= tolerance * largest, 0, int(Status.NOT_CONVERGED))
    status = found.status | missed.astype(found.status.dtype)
    passed = lambda q, i_0, i: q + h * (B * i_0 + B * i[0] + D * i[1])
    return _State(
        s.t + h,
        v,
        slope,
        x,
        jax.tree.map(lambda i: i[1], found.i),
        jax.tree.map(passed, s.q, s.i, found.i),
        found.v_sense[1],
        jnp.maximum(s.residual, jnp.max(found.residual)),
        largest,
        s.status | status[0] | status[1],
        jax.tree.map(lambda n, more: n + jnp.sum(more), s.counts, found.counts),
    )


def _stage(crossbar, v_in, c: Charge, d: Scalar, v_h: Charge, guess: Field, solver):
    """The array at the end of a stage, `v = v_h + d i / c`."""
    bias = bias_of(crossbar, v_in)
    circuit = circuit_of(crossbar, bias)
    circuit = with_capacitors(circuit, c, d, v_h, crossbar.wires)
    if crossbar.cell.is_linear:
        network, cut = determined(at_rest(circuit)[0])
        kind = {"symmetric": network.symmetric, "parallel": network.parallel}
        factored = factor(network, linear_solver(**kind) if solver is None else solver)
        vector = right_hand_side(circuit, at_rest(circuit)[1], cut)
        x, stats = solve(factored, vector, guess)
        off = jax.tree.map(jnp.subtract, vector, network.mv(x))
        counts = (jnp.asarray(stats["num_steps"]), jnp.asarray(0))
        flags = {}
    else:
        newton = solver if isinstance(solver, Newton) else Newton(solver)
        x, network, cut, _, off, stats = operating_point(circuit, newton, guess)
        counts = stats.num_steps, stats.newton_steps
        _, flags = faults(*lax.stop_gradient((circuit, network, x)))
        flags[Status.NOT_CONVERGED] = ~stats.converged
    axis = network.row_axis
    i_row, i_col = network.row.alpha * x.row_segments, network.col.alpha * x.col_segments
    i_in, i_out = jnp.take(i_row, 0, axis) - jnp.take(i_row, -1, axis), i_col[-1] - i_col[0]
    if circuit.tap_row is not None:
        i_in += jnp.sum(circuit.tap_row * x.row, axis)
    if circuit.tap_col is not None:
        i_out += jnp.sum(circuit.tap_col * x.col, 0)
    residual = lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(off.row)), jnp.max(jnp.abs(off.col))))
    largest = lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(i_row)), jnp.max(jnp.abs(i_col))))
    v_row, v_col = circuit.voltages(x.row, x.col)
    v_row, v_col = jnp.where(cut.row, 0, v_row), jnp.where(cut.col, 0, v_col)
    v_sense = sensed(crossbar, bias, i_col[-1], v_col[-1])
    status = jnp.zeros((), jnp.int32)
    for flag, holds in flags.items():
        status |= jnp.where(holds, int(flag), 0)
    said = residual, largest, lax.stop_gradient(status), counts
    return voltages(v_row, v_col), x, _Seen((i_out, i_in), v_sense, *said)
