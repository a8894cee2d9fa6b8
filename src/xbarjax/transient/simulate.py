"""The transient of an array: currents, charges and outputs over time under a waveform."""

from collections.abc import Mapping
from typing import overload

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._types import as_physical, described, everywhere, require_finite, require_positive
from ..cells import with_states
from ..crossbar import Crossbar, require_crossbar
from ..drive.waveform import BiasWaveform, Waveform
from ..elements.circuit import Circuit
from ..kirchhoff.advice import finish
from ..kirchhoff.solution import usable
from ..solvers import AutoLadder, Solver
from .adaptive import Followed, Knots
from .circuits import CircuitTransient, simulated
from .sdirk2 import State, followed


class Transient(eqx.Module):
    """Waveforms of an array, with the axis of times in front.

    **Attributes:**

    - `t`: times [s], `(times,)`. - `v_in`: voltages of the drivers [V], `(times, lines)`.
    - `i_out`, `q_out`: current [A] into the readout and its charge [C] since the first time,
        `(times, cols)`; `i_in`, `q_in`: current and charge from the drivers, `(times, lines)`.
    - `v_sense`, `output`: as in a `Solution`, `(times, cols)`.
    - `v_row`, `v_col`: node voltages [V] at the last time, `(rows, cols)`.
    - `energy`: energy [J] that each cell turned into heat since the first time, `(rows, cols)`.
    - `crossbar`: the array that is left, whose devices with memory are in their last state.
    - `residual`: largest violation [A] of Kirchhoff's current law in any stage. - `status`: a
        `Status`. - `accepted`, `rejected`: number of steps accepted, and of steps repeated because
        of their local error. - `num_steps`, `newton_steps`: total iterations and linearisations.
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
    energy: Float[Array, "*batch rows cols"]
    crossbar: Crossbar
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    accepted: Int[Array, "*batch"]
    rejected: Int[Array, "*batch"]
    num_steps: Int[Array, "*batch"]
    newton_steps: Int[Array, "*batch"]


@overload
def simulate(
    crossbar: Crossbar,
    waveform: Waveform | BiasWaveform,
    ts: ArrayLike,
    *,
    rtol: ArrayLike = 1e-4,
    steps_per_interval: int | None = None,
    max_steps: int = 1024,
    solver: Solver = AutoLadder(),
) -> Transient: ...


@overload
def simulate(
    crossbar: Circuit,
    waveform: Waveform | Mapping[str, Waveform],
    ts: ArrayLike,
    *,
    rtol: ArrayLike = 1e-4,
    steps_per_interval: int | None = None,
    max_steps: int = 1024,
    solver: Solver = AutoLadder(),
) -> CircuitTransient: ...


def simulate(
    crossbar: Crossbar | Circuit,
    waveform: Waveform | BiasWaveform | Mapping[str, Waveform],
    ts: ArrayLike,
    *,
    rtol: ArrayLike = 1e-4,
    steps_per_interval: int | None = None,
    max_steps: int = 1024,
    solver: Solver = AutoLadder(),
) -> Transient | CircuitTransient:
    """The transient of an array or a circuit under waveforms, from its operating point at the first
    time on, with the voltages that capacitors of a circuit start from.

    Every capacitor `c` [F] passes `i = c dv/dt` [A] in Kirchhoff's law, integrated by an L-stable
    SDIRK method of second order (transient/sdirk2.py). So are the states of devices with memory:
    every stage solves the equation of each device, bounds included. No step crosses one of the
    times `ts` or a corner of the waveform. Between these, an estimate of the local error sets the
    step lengths. One step may add an error of `rtol` to

    - node voltages and the state of readouts, relative to their largest values at the first time
        or in a read of the waveform's largest voltages; columns count from the voltage at which
        their readout holds them;
    - the charge of a column, relative to the charge of all its pulses;
    - the state of a device with memory, relative to its range from bound to bound.

    Errors of many steps add up. With `steps_per_interval`, each interval between neighbouring times
    and corners has this number of equal steps instead, whose errors fall with the square of their
    length.

    **Arguments:**

    - `crossbar`: the array, with capacitances of its `Wires` and of its readout, which is linear;
        or a `Circuit`, with those of its elements and the poles of its amplifiers, which may have
        a swing. Errors of a circuit are relative to the largest voltage so far.
    - `waveform`: voltages [V] of the drivers over time; a `BiasWaveform` also those of bit lines,
        far ends and gates; of a circuit, voltages [V] or currents [A] of its sources, a dictionary
        of waveforms by their names (or one, if it has one source).
    - `ts`: times [s], rising, `(times,)`, at least two.
    - `rtol`: relative local error of a step [1], as above.
    - `steps_per_interval`: steps in each interval; None (the default) chooses them by `rtol`.
    - `max_steps`: largest number of steps chosen by `rtol`.
    - `solver`: as for `read`.

    **Returns:** a `Transient`, or a `CircuitTransient` of a circuit. In a gradient, forward or
    reverse, the steps move with the corners beside them. A gradient costs about three runs more and
    keeps a state every 32 steps.

    **Errors:** those of `read`; `ValueError` for times that do not rise, for a nonlinear readout,
    and if `max_steps` do not reach the last time.
    """
    if not isinstance(crossbar, Circuit):
        require_crossbar(crossbar)
    ts, rtol = as_physical(ts, "ts"), as_physical(rtol, "rtol")
    if jnp.ndim(ts) != 1 or jnp.size(ts) < 2:
        raise ValueError(f"ts has shape {jnp.shape(ts)}; it must be (times,), at least two.")
    require_finite(ts, "ts", "s")
    require_positive(rtol, "rtol", "")
    if not everywhere(lambda ts: np.diff(ts) > 0, ts):
        at = int(np.argmin(np.diff(np.asarray(ts)) > 0))
        raise ValueError(f"ts[{at + 1}] is {ts[at + 1]} s, after {ts[at]} s: times must rise.")
    for name, count in (("steps_per_interval", steps_per_interval), ("max_steps", max_steps)):
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1.")
    if isinstance(crossbar, Circuit):
        options = steps_per_interval, max_steps, solver
        return simulated(crossbar, waveform, ts, rtol, *options)
    if not isinstance(waveform, (Waveform, BiasWaveform)):
        raise TypeError(
            f"waveform is {described(waveform)}; pass an xb.Waveform or an xb.BiasWaveform."
        )
    if waveform.lines != crossbar.lines:
        raise ValueError(
            f"waveform has {waveform.lines} lines, but the array has {crossbar.lines}."
        )
    if not crossbar.readout.is_linear:
        raise ValueError(
            "simulate needs a linear readout, and an amplifier with a swing is not: leave v_low and"
            " v_high out, or simulate the circuit"
            ' xb.Circuit(source=el.VoltageSource(to="x", v=v_in, r=r_source),'
            ' array=el.Array(cell, wires, rows="x", cols="e"),'
            ' feedback=el.Resistor("e", "o", r_f), amps=el.OpAmp(minus="e", out="o", gain=gain,'
            " gbw=gbw, v_low=v_low, v_high=v_high)), with el = xb.elements."
        )
    if isinstance(waveform, BiasWaveform) and crossbar.readout.has_memory:
        if waveform.col is not None or waveform.col_far is not None:
            raise ValueError(
                f"waveform drives bit lines, but the readout, {type(crossbar.readout).__name__},"
                " holds them itself: leave col and col_far out, or use an xb.VirtualGround."
            )
    biases = BiasWaveform(waveform) if isinstance(waveform, Waveform) else waveform
    found = _simulate(crossbar, biases, ts, rtol, steps_per_interval, max_steps, solver)
    return finish(found, found.status)


@eqx.filter_jit
def _simulate(crossbar, waveform, ts, rtol, steps, max_steps, solver) -> Transient:
    start, knots, found = followed(crossbar, waveform, ts, rtol, steps, max_steps, solver)
    return _transient(crossbar, waveform, ts.astype(knots.t.dtype), start, knots, found)


def _transient(crossbar, waveform, ts, start: State, knots: Knots, found: Followed) -> Transient:
    s = knots.named(ts)
    at = jnp.searchsorted(found.ends, s)
    begun = lambda x, of: jnp.where(jnp.expand_dims(s == 0, range(1, x.ndim + 1)), x[None], of[at])
    last, q = found.outputs
    outputs, q = jax.tree.map(begun, (start.last, start.q), (last, q))
    end = found.state
    status = end.stats.status
    good = usable(status)
    flag = lambda x: jnp.where(good, x, jnp.nan)
    (i_out, i_in), (q_out, q_in) = outputs.i, q
    cell = with_states(crossbar.cell, jax.tree.map(flag, end.held.states))
    return Transient(
        t=ts,
        v_in=jax.vmap(waveform)(ts),
        i_out=flag(i_out),
        q_out=flag(q_out),
        i_in=flag(i_in),
        q_in=flag(q_in),
        v_sense=flag(outputs.v_sense),
        output=flag(outputs.output),
        v_row=flag(end.held.v.row),
        v_col=flag(end.held.v.col),
        energy=flag(end.energy),
        crossbar=eqx.tree_at(lambda c: c.cell, crossbar, cell),
        residual=end.stats.residual,
        status=status,
        accepted=found.taken,
        rejected=found.rejected,
        num_steps=end.stats.num_steps,
        newton_steps=end.stats.newton_steps,
    )
