"""A read in time: voltages over time in, currents, charges and outputs over time out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from .._types import as_physical, everywhere, require_finite, require_positive
from ..crossbar import Crossbar, require_crossbar
from ..drive.waveform import Waveform
from ..kirchhoff.advice import finish
from ..kirchhoff.solution import usable
from ..solvers import AutoLadder, Solver
from .adaptive import Followed, Knots
from .sdirk2 import State, followed


class Transient(eqx.Module):
    """Waveforms of an array; one entry per time in front.

    **Attributes:**

    - `t`: [s]. - `v_in`: of the drivers [V], `(times, lines)`.
    - `i_out`: current into the readout [A], `(times, cols)`; `q_out`: charge into it [C] since the
        first time. - `i_in`, `q_in`: current and charge that the drivers deliver, `(times, lines)`.
    - `v_sense`, `output`: as of a `Solution`, `(times, cols)`.
    - `v_row`, `v_col`: node voltages at the last time [V], `(rows, cols)`.
    - `residual`: largest violation of Kirchhoff's current law in any stage [A]; `status`: a
        `Status`; `accepted`, `rejected`: steps that were taken, and done again because they erred
        too much; `num_steps`, `newton_steps`: iterations and linearisations, in all.
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
    accepted: Int[Array, "*batch"]
    rejected: Int[Array, "*batch"]
    num_steps: Int[Array, "*batch"]
    newton_steps: Int[Array, "*batch"]


def simulate(
    crossbar: Crossbar,
    waveform: Waveform,
    ts: ArrayLike,
    *,
    rtol: ArrayLike = 1e-4,
    steps_per_interval: int | None = None,
    max_steps: int = 1024,
    solver: Solver = AutoLadder(),
) -> Transient:
    """Follows an array in time, from the read at the first time on.

    No step goes over one of the times or a corner of the waveform. Between them steps are as long
    as an estimate of their errors allows: `rtol` is what one of them may add to node voltages and
    to what amplifiers hold, relative to the largest there are at first or in a read of the
    waveform's largest voltages (of columns, from where their readout holds them), and to the charge
    of a column, relative to that of all its pulses. Errors of many steps add up. With
    `steps_per_interval` there are so many equal ones between neighbours among the times and the
    corners instead, whose errors fall with the square of their length.

    **Arguments:**

    - `crossbar`: the array; `Wires` have the capacitances, readouts their own. Readouts are linear.
    - `waveform`: voltages of the drivers.
    - `ts`: times [s], rising, `(times,)`, two at least.
    - `rtol`: see above.
    - `steps_per_interval`: steps in each interval; None (the default) to choose them by `rtol`.
    - `max_steps`: the most that are taken in all, by `rtol`.
    - `solver`: as of `read`.

    **Returns:** a `Transient`. A gradient, forward or backward, holds the grid of steps by its
    corners; it costs about three runs more and keeps a state every 32 steps.

    **Errors:** as of `read`; `ValueError` for times that do not rise, and where `max_steps` do not
    reach the last of them.
    """
    require_crossbar(crossbar)
    ts, rtol = as_physical(ts, "ts"), as_physical(rtol, "rtol")
    if jnp.ndim(ts) != 1 or jnp.size(ts) < 2:
        raise ValueError(f"ts has shape {jnp.shape(ts)}; it must be (times,), two at least.")
    require_finite(ts, "ts", "s")
    require_positive(rtol, "rtol", "")
    if not everywhere(lambda ts: np.diff(ts) > 0, ts):
        at = int(np.argmin(np.diff(np.asarray(ts)) > 0))
        raise ValueError(f"ts[{at + 1}] is {ts[at + 1]} s, after {ts[at]} s: times must rise.")
    for name, count in (("steps_per_interval", steps_per_interval), ("max_steps", max_steps)):
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; it must be one at least.")
    if waveform.lines != crossbar.lines:
        raise ValueError(
            f"waveform has {waveform.lines} lines, but the array has {crossbar.lines}."
        )
    if not crossbar.readout.is_linear:
        raise ValueError(
            "simulate needs a linear readout, and an amplifier with a swing is not: leave v_low and"
            " v_high out."
        )
    found = _simulate(crossbar, waveform, ts, rtol, steps_per_interval, max_steps, solver)
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
        residual=end.stats.residual,
        status=status,
        accepted=found.taken,
        rejected=found.rejected,
        num_steps=end.stats.num_steps,
        newton_steps=end.stats.newton_steps,
    )
