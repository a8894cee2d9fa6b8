"""Settling times of a read, from a transient; Elmore delays and the slowest time constant.

A linear array obeys `C dx/dt = s - K x`, with capacitances `C` [F] and conductances `K` [S]. After
a step of the inputs, the remaining change of the node voltages integrates over time to `K^-1 C x`,
with the settled voltages `x` [V]. One more solve therefore gives the charge [C] that the outputs
lack. Divided by the settled currents, this charge is the delay of W. C. Elmore (J. Appl. Phys. 19,
55 (1948), doi:10.1063/1.1697872), here of the whole array and not of a single line. The slowest
time constant is the largest eigenvalue of `K^-1 C`.
"""

from collections.abc import Mapping
from typing import overload

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

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
from ..drive.waveform import BiasWaveform, step
from ..elements.circuit import Circuit
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
from .settled import entered, errors

# relative change of a time constant from one iteration to the next; in float32 1e-6
ENOUGH = 1e-7
MOST = 2000  # iterations


def elmore_delay(
    crossbar: Crossbar, v_in: Values, *, solver: lx.AbstractLinearSolver = AutoLadder()
) -> PerCol:
    """Elmore delay [s] of every output current, `(cols,)`, by two reads and one more solve:

        T_j = integral of (1 - i_j(t) / i_j) dt    after a step of the inputs to `v_in`.

    At the end of a pulse longer than the settling time, the output lacks the charge `i_j T_j` [C],
    which follows after the pulse. A line without cells, of `N` nodes with `c` [F] each behind
    `R_s` [ohm] and segments of `r` [ohm], has `T = R_s N c + r c N (N - 1) / 2`. Cells make the
    line faster, and lines of the other family make it slower. `jax.vmap` over the rows of an
    identity matrix gives the delay by the position of the input.

    **Arguments:** `crossbar`: a linear array, whose readout memories are left out; `v_in`,
    `solver`: as for `read`.

    **Returns:** delays [s]; NaN for an output without current, and where a solve failed under a
    transformation.

    **Errors:** those of `read`; `ValueError` for nonlinear cells or readouts.
    """
    linear_only(crossbar, "elmore_delay")
    v_in = as_physical(v_in, "v_in", whole=True)
    found, status = _delay(crossbar, v_in, solver)
    return finish(found, status)


def slowest_mode(crossbar: Crossbar, *, solver: lx.AbstractLinearSolver = AutoLadder()) -> Scalar:
    """The slowest time constant `tau` [s] of a linear array.

    Once all faster modes have settled, the rest decays as `exp(-t / tau)`. An edge settles to half
    a step of `b` bits in some `(b + 1) ln 2` time constants.

    Power iteration, one solve per iteration, stops at a relative change below 1e-7, or 1e-6 in
    float32. The gradient is that of an eigenvalue and needs `tau` apart from other eigenvalues.

    **Arguments:** as for `elmore_delay`. **Returns:** `tau`, NaN where the iteration failed under a
    transformation. **Errors:** `RuntimeError` for an iteration that did not converge; `ValueError`
    for nonlinear cells or readouts and for an array without capacitors.
    """
    linear_only(crossbar, "slowest_mode")
    wires = crossbar.wires
    given = [c for c in (wires.c_row, wires.c_col, wires.c_cell) if c is not None]
    if not given or (is_concrete(given) and not any(np.any(np.asarray(c)) for c in given)):
        raise ValueError("wires have no capacitance: give them c_row, c_col or c_cell.")
    found, status = _slowest(crossbar, solver)
    return finish(found, status)


@overload
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
) -> PerCol: ...


@overload
def settling_time(
    crossbar: Circuit,
    v_in: Values | Mapping[str, Values],
    bits: int,
    *,
    edge: ArrayLike,
    until: ArrayLike,
    bus: str,
    points: int = 256,
    steps_per_interval: int | None = None,
    full_scale: ArrayLike | None = None,
    rtol: ArrayLike | None = None,
    max_steps: int = 1024,
    solver: Solver = AutoLadder(),
) -> Float[Array, " nodes"]: ...


def settling_time(
    crossbar: Crossbar | Circuit,
    v_in: Values | Mapping[str, Values],
    bits: int,
    *,
    edge: ArrayLike,
    until: ArrayLike,
    bus: str | None = None,
    points: int = 256,
    steps_per_interval: int | None = None,
    full_scale: ArrayLike | None = None,
    rtol: ArrayLike | None = None,
    max_steps: int = 1024,
    solver: Solver = AutoLadder(),
) -> Float[Array, " outputs"]:
    """Settling time [s] of every output, `(cols,)`, or of every node of a circuit's bus: time from
    the beginning of an edge from 0 to `v_in` until the output stays within half a step of `bits`
    bits of its settled value,

        |output(t) - output(settled)| <= full_scale / 2^(bits + 1).

    A transient follows the array, with any cells. In the last step that begins outside this band,
    the error is interpolated by an exponential, or by a line if it changes sign. A circuit is
    looked at `points` times between the end of the edge and `until`.

    **Arguments:**

    - `crossbar`, `v_in`, `solver`: as for `read`, with a readout that settles (no `Integrator`). Of
        a circuit, `v_in` has the values [V or A] of its sources after the edge: a dictionary by
        their names, or the values of the only one.
    - `bits`: resolution of the converter. - `full_scale`: its range [A or V]; by default the
        largest settled output.
    - `edge`: length of the edge [s]. - `until`: end of the transient [s], after the edge.
    - `rtol`, `max_steps`: as for `simulate`; by default `rtol` is `2^-(bits + 7)`, at most 1e-4.
    - `bus`, `points`, `steps_per_interval`: of a circuit alone: the bus of the answer, and as many
        equal steps from one point to the next. With these the gradient is exactly that of the time
        that is returned; with steps chosen by `rtol` it agrees to some `rtol`.

    **Returns:** times [s]; inf for an output that has not settled at `until`, NaN where a solve
    failed under a transformation. **Errors:** those of `simulate`; `ValueError` for a readout that
    does not settle, and for an `until` within the edge.
    """
    require_bits(bits, "bits")
    until, edge = (as_physical(x, name) for x, name in ((until, "until"), (edge, "edge")))
    require_positive(until, "until", "s")
    if is_concrete((until, edge)) and float(until) <= float(edge):
        raise ValueError(f"until is {until} s; it must be longer than the edge of {edge} s.")
    small = min(1e-4, 2.0 ** -(bits + 7))
    rtol = as_physical(small if rtol is None else rtol, "rtol")
    if full_scale is not None:
        require_positive(full_scale, "full_scale", "A or V")

    def band(settled: Array) -> Scalar:
        scale = jnp.max(jnp.abs(settled)) if full_scale is None else jnp.asarray(full_scale)
        return scale / 2 ** (bits + 1)

    if isinstance(crossbar, Circuit):
        if bus is None:
            raise ValueError(f"bus is None; name the one that settles: {list(crossbar.buses)}.")
        if points < 2:
            raise ValueError(f"points is {points}; it must be at least 2.")
        ts = jnp.concatenate([0 * edge[None], jnp.linspace(edge, until, points)])
        options = {"rtol": rtol, "steps_per_interval": steps_per_interval, "max_steps": max_steps}
        off, settled, status = errors(crossbar, v_in, edge, ts, bus, solver=solver, **options)
        time = entered(ts, off, band(settled), jnp.asarray(points))
        return jnp.where(usable(status), time, jnp.nan)
    require_crossbar(crossbar)
    if (bus, steps_per_interval) != (None, None):
        raise ValueError("bus and steps_per_interval are for circuits; an array has its readout.")
    if isinstance(v_in, Mapping):
        raise TypeError("v_in is a dictionary; inputs of an array are (lines,) voltages [V].")
    if not crossbar.readout.settles:
        raise ValueError(
            f"readout is {described(crossbar.readout)}, which does not settle: use simulate."
        )
    v_in = as_physical(v_in, "v_in", whole=True)
    still = read(crossbar, v_in, solver=solver).output
    ts = jnp.stack([jnp.zeros_like(until), until])
    wave = BiasWaveform(step(v_in, edge))
    found, status = _settling(crossbar, wave, ts, rtol, max_steps, solver, still, band(still))
    return finish(found, status)


class _Array(eqx.Module):
    """A linear array: its network, `K x = i` for node currents `i` [A], and its capacitors."""

    factored: Factored
    c: Charge

    def answer(self, v: Charge) -> tuple[Field, Charge]:
        """Solution of `K x = C v`: unknowns of the network, and voltages `x` across capacitors."""
        q = Charge(*(c * v for c, v in zip(self.c, v)))
        x, _ = solve(self.factored, injected(q, self.factored.network))
        return x, voltages(-x.row, x.col)

    def energy(self, u: Charge, v: Charge) -> Scalar:
        """Inner product `u C v`."""
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

    # a start without symmetry contains every mode
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
    time = entered(t, output - settled[None], band, found.taken)
    status = found.state.stats.status
    return jnp.where(usable(status), time, jnp.nan), status
