"""Settling times of a read: exactly, from the steps of a transient, and by moments and modes.

Linear arrays obey `C dx/dt = s - K x`. After a step of the inputs, what is yet to come of the node
voltages integrates to `K^-1 C x`, with the settled `x`: one more solve has the charge that the
outputs lack for ever. Divided by the settled currents it is W. C. Elmore's delay (J. Appl. Phys.
19, 55 (1948), doi:10.1063/1.1697872), of the whole array and not of a line alone. The slowest mode
is the largest eigenvalue of `K^-1 C`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike

from .._types import (
    PerCol,
    Scalar,
    Values,
    as_physical,
    described,
    is_concrete,
    require_bits,
    require_positive,
)
from ..analyses.operating_point import prepare
from ..analyses.read import read
from ..crossbar import Crossbar, require_crossbar
from ..drive.waveform import step
from ..kirchhoff.advice import finish
from ..kirchhoff.circuit import (
    alone_in_one_dtype,
    bias_of,
    circuit_of,
    linear_only,
    working_dtype,
)
from ..kirchhoff.companion import Charge, capacitances, injected, voltages
from ..kirchhoff.network import Field
from ..kirchhoff.solution import Status, usable
from ..solvers import AutoLadder, Factored, Solver, solve
from .sdirk2 import followed

# relative change of a time constant from one iteration to the next; in float32 1e-6
ENOUGH = 1e-7
MOST = 2000  # iterations


def elmore_delay(
    crossbar: Crossbar, v_in: Values, *, solver: lx.AbstractLinearSolver = AutoLadder()
) -> PerCol:
    """Elmore delay [s] of every output current, `(cols,)`, by two solves:

        T_j = integral of (1 - i_j(t) / i_j) dt    after a step of the inputs to `v_in`.

    A pulse longer than the array settles lacks the charge `i_j T_j` at its end, and gives it back
    after it. A line without cells has `T = R_s N c + r c N (N - 1) / 2`; cells make it faster, and
    the lines of the other family slower. For one input at a time, `jax.vmap` over the rows of an
    identity matrix, it is what a pulse loses by position.

    **Arguments:** as of `read`, of a linear array; what readouts remember is left out.

    **Returns:** delays, NaN where there is no current or, traced, where a solve failed.

    **Errors:** those of `read`; `ValueError` for cells or readouts that are not linear.
    """
    linear_only(crossbar, "elmore_delay")
    v_in = as_physical(v_in, "v_in", whole=True)
    found, status = _delay(crossbar, v_in, solver)
    return finish(found, status)


def slowest_mode(crossbar: Crossbar, *, solver: lx.AbstractLinearSolver = AutoLadder()) -> Scalar:
    """The longest time constant [s] of a linear array: what is left of a change falls by `e` in it,
    once all else has settled. To half a step of `b` bits an edge takes some `(b + 1) ln 2` of them.

    By power iteration, one solve each, until it changes by less than 1e-7, in float32 by 1e-6. Its
    gradient is that of an eigenvalue, where it is not one of several that are nearly the same.

    **Errors:** as of `elmore_delay`, and `ValueError` for an array without capacitors.
    """
    linear_only(crossbar, "slowest_mode")
    wires = crossbar.wires
    given = [c for c in (wires.c_row, wires.c_col, wires.c_cell) if c is not None]
    if not given or (is_concrete(given) and not any(np.any(np.asarray(c)) for c in given)):
        raise ValueError("wires have no capacitance: give them c_row, c_col or c_cell.")
    found, status = _slowest(crossbar, solver)
    return finish(found, status)


def settling_time(
    crossbar: Crossbar,
    v_in: Values,
    bits: int,
    *,
    edge: ArrayLike,
    until: ArrayLike,
    full_scale: ArrayLike | None = None,
    rtol: ArrayLike | None = None,
    max_steps: int = 1024,
    solver: Solver = AutoLadder(),
) -> PerCol:
    """When outputs come to within half a step of `bits` bits of their settled values for good [s],
    `(cols,)`, counted from the beginning of an edge from 0 V to `v_in`.

    The array is followed in time, whatever its cells and readouts; the last step that begins
    outside is taken for an exponential, or a line where the error changes its sign.

    **Arguments:**

    - `crossbar`, `v_in`, `solver`: as of `read`, of a readout that settles: no `Integrator`.
    - `bits`: resolution of the converter. - `full_scale`: its range [A or V]; by default the
        largest settled output.
    - `edge`: length of the edge [s]. - `until`: how long to follow [s].
    - `rtol`, `max_steps`: as of `simulate`; by default a hundredth of a step, at most 1e-4.

    **Returns:** times; inf for an output that has not settled until then. **Errors:** those of
    `simulate`.
    """
    require_crossbar(crossbar)
    require_bits(bits, "bits")
    if not crossbar.readout.settles:
        raise ValueError(
            f"readout is {described(crossbar.readout)}, which does not settle: use simulate."
        )
    v_in = as_physical(v_in, "v_in", whole=True)
    until, edge = (as_physical(x, name) for x, name in ((until, "until"), (edge, "edge")))
    require_positive(until, "until", "s")
    wave = step(v_in, edge)
    if is_concrete((until, edge)) and float(until) <= float(edge):
        raise ValueError(f"until is {until} s, but the edge takes {edge} s: follow it for longer.")
    small = min(1e-4, 2.0 ** -(bits + 7))
    rtol = as_physical(small if rtol is None else rtol, "rtol")
    settled = read(crossbar, v_in, solver=solver)
    if full_scale is not None:
        require_positive(full_scale, "full_scale", "of the output")
    scale = jnp.max(jnp.abs(settled.output)) if full_scale is None else jnp.asarray(full_scale)
    band = scale / 2 ** (bits + 1)
    ts = jnp.stack([jnp.zeros_like(until), until])
    found, status = _settling(crossbar, wave, ts, rtol, max_steps, solver, settled.output, band)
    return finish(found, status)


class _Array(eqx.Module):
    """A linear array: `K x = i` for node currents, and its capacitors."""

    factored: Factored
    c: Charge

    def answer(self, v: Charge) -> tuple[Field, Charge]:
        """Drops and currents, and voltages `x`, of `K x = C v`."""
        q = Charge(*(c * v for c, v in zip(self.c, v)))
        x, _ = solve(self.factored, injected(q, self.factored.network))
        return x, voltages(-x.row, x.col)

    def energy(self, u: Charge, v: Charge) -> Scalar:
        """`u C v`."""
        return jnp.sum(jnp.stack([jnp.sum(c * u * v) for c, u, v in zip(self.c, u, v)]))


def _array(crossbar: Crossbar, solver) -> _Array:
    crossbar = alone_in_one_dtype(crossbar)
    bias = bias_of(crossbar, jnp.zeros((crossbar.lines,), working_dtype(crossbar)))
    *_, factored = prepare(circuit_of(crossbar, bias), solver)
    dtype = factored.network.g_rc.dtype
    return _Array(factored, capacitances(crossbar.wires, crossbar.shape, dtype))


@eqx.filter_jit
def _delay(crossbar: Crossbar, v_in: Array, solver) -> tuple[PerCol, Array]:
    still = read(crossbar, jnp.zeros_like(v_in), solver=solver)
    end = read(crossbar, v_in, solver=solver)
    change = voltages(end.v_row - still.v_row, end.v_col - still.v_col)
    array = _array(crossbar, solver)
    x, _ = array.answer(change)
    alpha = array.factored.network.col.alpha
    lacks = alpha[-1] * x.col_segments[-1] - alpha[0] * x.col_segments[0]
    if crossbar.readout.r_strap is not None:
        lacks += jnp.sum(x.col / crossbar.readout.r_strap, axis=0)
    i = end.i_out - still.i_out
    flows = i != 0
    status = end.status | still.status
    good = usable(status) & flows
    return jnp.where(good, lacks / jnp.where(flows, i, 1), jnp.nan), status


@eqx.filter_jit
def _slowest(crossbar: Crossbar, solver) -> tuple[Scalar, Array]:
    array = _array(crossbar, solver)
    still = lax.stop_gradient(array)

    def go(carry):
        u, tau, _, count = carry
        _, z = still.answer(u)
        size = jnp.sqrt(still.energy(z, z))
        better = still.energy(z, z) / still.energy(z, u)
        return jax.tree.map(lambda z: z / size, z), better, tau, count + 1

    enough = jnp.where(still.c.row.dtype == jnp.float64, ENOUGH, 1e-6)

    def unfinished(carry):
        _, tau, before, count = carry
        return (jnp.abs(tau - before) > enough * jnp.abs(tau)) & (count < MOST)

    # of no symmetry, so that no mode is missed
    shape, dtype = crossbar.shape, still.c.row.dtype
    begin = voltages(*(jax.random.normal(jax.random.key(k), shape, dtype) for k in (0, 1)))
    zero = jnp.zeros((), dtype)
    u, *_, count = lax.while_loop(unfinished, go, (begin, zero, zero + jnp.inf, 0))
    u = lax.stop_gradient(u)
    _, z = array.answer(u)
    tau = array.energy(u, z) / array.energy(u, u)
    status = jnp.where((count < MOST) & jnp.isfinite(tau), 0, int(Status.NOT_CONVERGED))
    return jnp.where(status == 0, tau, jnp.nan), status


@eqx.filter_jit
def _settling(crossbar, wave, ts, rtol, max_steps, solver, settled, band):
    start, knots, found = followed(crossbar, wave, ts, rtol, None, max_steps, solver)
    output = jnp.concatenate([start.last.output[None], found.outputs[0].output])
    t = knots.times(jnp.concatenate([jnp.zeros((1,), found.ends.dtype), found.ends]))
    off = output - settled[None]
    steps = found.ends.size
    taken = jnp.arange(steps + 1) <= found.taken
    outside = (jnp.abs(off) > band) & taken[:, None]
    last = steps - jnp.argmax(outside[::-1], axis=0)  # the last that is outside
    ever, never = jnp.any(outside, axis=0), last >= found.taken
    at = lambda x, k: jnp.take_along_axis(x, jnp.minimum(k, steps)[None], axis=0)[0]
    before, after = jnp.abs(at(off, last)), jnp.abs(at(off, last + 1))
    same = at(off, last) * at(off, last + 1) > 0
    safe = same & (before > after)
    ratio = jnp.where(safe, before / jnp.where(safe, after, 1), 2)
    inside = jnp.log(jnp.where(safe, before / band, 1)) / jnp.log(ratio)
    straight = (before - band) / jnp.where(before + after > 0, before + after, 1)
    part = jnp.where(safe, inside, straight)
    t_0, t_1 = t[jnp.minimum(last, steps)], t[jnp.minimum(last + 1, steps)]
    time = jnp.where(ever, jnp.where(never, jnp.inf, t_0 + part * (t_1 - t_0)), 0.0)
    status = found.state.stats.status
    return jnp.where(usable(status), time, jnp.nan), status
