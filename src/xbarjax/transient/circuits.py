"""Transients of circuits: two implicit stages per step, as for arrays (sdirk2.py).

With unknowns `z`, currents `F(z, t)` and charges `Q(z)`, Kirchhoff's law is `F + dQ/dt = 0`. One
stage of length `d` solves

    F(z, t) + (Q(z) - Q_h) / d = 0,

where `Q_h` is the charge that the stages before it leave. Charge is integrated, so that it is
conserved to rounding, whatever the voltages do.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .._types import Scalar, described, in_dtype
from ..analyses.dc import finished, solved
from ..analyses.nodal import (
    Equilibrated,
    admittances,
    equilibrated,
    in_one_dtype,
    is_linear,
    jacobian_of,
    kirchhoff,
    newton,
)
from ..drive.waveform import Waveform
from ..elements import AbstractElement, CurrentSource, VoltageSource
from ..elements.circuit import Circuit
from ..kirchhoff.solution import Status, usable
from ..kirchhoff.terminals import Layout, arrays_of, layout_of, stated, through
from ..solvers import Solver
from .adaptive import AbstractStep, equal_steps, follow, knots_of
from .sdirk2 import ERROR, GAMMA

FAINT = 1e-6  # share of a voltage that currents would lead to
DRIVEN = {VoltageSource: "v", CurrentSource: "i"}  # the field that a waveform takes the place of


class CircuitTransient(eqx.Module):
    """Waveforms of a circuit, with one entry per time in front.

    **Attributes:**

    - `t`: times [s].
    - `v`: voltages [V] of each bus, `(times, nodes)`, by its name.
    - `i`: current [A] of each element that is no array and stores no charge at its terminals,
        `(times, lanes)`, as of a `CircuitSolution`.
    - `residual`: largest violation of Kirchhoff's current law in any stage [A]; `status`: a
        `Status`; `accepted`, `rejected`: numbers of steps.
    """

    t: Float[Array, "*batch times"]
    v: dict[str, Float[Array, "*batch times nodes_"]]
    i: dict[str, Float[Array, "*batch times lanes_"]]
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    accepted: Int[Array, "*batch"]
    rejected: Int[Array, "*batch"]


class _State(NamedTuple):
    z: Array
    charge: Array  # [C], and of the elements' own laws
    slope: Array  # its change at the end of the last step
    largest: Scalar  # voltage [V] so far
    residual: Scalar
    status: Array


class _Step(AbstractStep):
    """Two stages of one circuit."""

    circuit: Circuit
    waves: dict[str, Waveform]
    y: dict[str, Array]  # admittances of linear arrays
    rtol: Scalar
    solver: Any

    def __call__(self, state: _State, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool):
        d, layout = GAMMA * h, layout_of(self.circuit)
        linear = is_linear(self.circuit)
        jacobian_at = partial(_stage_jacobian, self.circuit, layout, self.solver, self.y, d)
        factors = equilibrated(jacobian_at(state.z)) if linear else None
        z, held = state.z, state.charge
        slopes, residuals, good = [state.slope], [state.residual], []
        for beyond, part in ((0.0, GAMMA), (1 + np.sqrt(2), 1.0)):
            at = driven(self.circuit, self.waves, t + part * h, middle)
            before = state.charge + beyond * (held - state.charge)
            z, missed, converged = _stage(at, self.solver, self.y, before, d, z, factors)
            held = stated(at, layout, z, charges=True)
            slopes.append((held - before) / d)
            nodes = jnp.abs(lax.stop_gradient(missed[: layout.nodes]))
            residuals.append(jnp.max(nodes, initial=0).astype(d.dtype))
            good.append(converged & jnp.all(jnp.isfinite(z)))
        failed = ~(good[0] & good[1])
        status = jnp.where(failed, int(Status.NOT_CONVERGED), 0).astype(state.status.dtype)
        v = jnp.max(jnp.abs(lax.stop_gradient(z[: layout.nodes])), initial=0)
        largest = jnp.maximum(state.largest, jnp.where(jnp.isfinite(v), v, 0))
        error = jnp.zeros_like(h)
        if judged:
            weights = 1 / GAMMA, -1 / (GAMMA * (1 - GAMMA)), 1 / (1 - GAMMA)
            lost = ERROR * h * sum(w * s for w, s in zip(weights, slopes))
            here = equilibrated(jacobian_at(z)) if factors is None else factors
            by = here.solve(lost / d)[: layout.nodes]
            error = jnp.max(jnp.abs(by), initial=0) / (self.rtol * largest)
            error = jnp.where(failed, jnp.inf, error)
        residual = jnp.max(jnp.stack(residuals))
        new = _State(z, held, slopes[-1], largest, residual, state.status | status)
        return new, z, lax.stop_gradient(error)


def driven(circuit: Circuit, waves: dict[str, Waveform], t, middle=None) -> Circuit:
    """The circuit with its sources at a moment [s]."""
    names = list(waves)
    field = lambda element: DRIVEN[type(element)]
    where = lambda c: [getattr(c.elements[name], field(c.elements[name])) for name in names]
    full = lambda name: jnp.broadcast_to(waves[name](t, middle), (circuit.lanes(name),))
    return eqx.tree_at(where, circuit, [full(name) for name in names])


def _missed(circuit: Circuit, layout: Layout, solver, y, before, d, z) -> Array:
    """Violations of Kirchhoff's law in a stage."""
    stored = (stated(circuit, layout, z, charges=True) - before) / d
    return kirchhoff(circuit, layout, solver, z, y)[0] + stored


def _stage_jacobian(circuit: Circuit, layout: Layout, solver, y, d, z) -> Array:
    here = admittances(circuit, layout, solver, z, linear=False)
    charges = jax.jacfwd(lambda z: stated(circuit, layout, z, charges=True))(z)
    return jacobian_of(circuit, layout, z, y | here) + charges / d


def _stage(circuit: Circuit, solver: Solver, y, before, d, guess, factors: Equilibrated | None):
    """Unknowns at the end of a stage, violations of Kirchhoff's law there, and whether the search
    converged. The derivative is that of the solution."""
    arrays, rest = eqx.partition((circuit, y, before, d), eqx.is_array)
    layout = layout_of(circuit)

    def missed(arrays, z):
        circuit, y, before, d = eqx.combine(arrays, rest)
        return _missed(circuit, layout, solver, y, before, d, z)

    def matrix(arrays, z):
        circuit, y, _, d = eqx.combine(arrays, rest)
        return _stage_jacobian(circuit, layout, solver, y, d, z)

    def search(arrays, guess, factors):
        if factors is None:
            z, _, _, converged = newton(
                lambda z: missed(arrays, z), lambda z: matrix(arrays, z), guess
            )
            return z, converged
        z = guess
        for _ in range(2):
            z = z - factors.solve(missed(arrays, z))
        return z, ~factors.is_singular

    found: Any = jax.custom_jvp(search)

    def rule(primals, tangents):
        z, converged = found(*primals)
        _, moved = jax.jvp(lambda arrays: missed(arrays, z), primals[:1], tangents[:1])
        dz = -equilibrated(matrix(primals[0], z)).solve(moved)
        return (z, converged), (dz, np.zeros((), jax.dtypes.float0))

    found.defjvp(rule)
    held = lax.stop_gradient((guess, factors))
    z, converged = found(arrays, *held)
    return z, missed(arrays, z), converged


def waves_of(circuit: Circuit, waveforms: Mapping[str, Waveform] | Waveform) -> dict[str, Waveform]:
    """The waveforms of a circuit's sources, by name."""
    sources = [k for k, x in circuit.elements.items() if type(x) in DRIVEN]
    if isinstance(waveforms, Waveform):
        if len(sources) != 1:
            raise ValueError(
                f"waveform is one for {len(sources)} sources ({', '.join(sources)}): pass a"
                " dictionary of waveforms by their names."
            )
        waveforms = {sources[0]: waveforms}
    for name, wave in waveforms.items():
        if name not in sources:
            raise ValueError(
                f"waveforms names {name!r}, which is no source of the circuit: its sources are"
                f" {', '.join(map(repr, sources)) or 'none'}."
            )
        if not isinstance(wave, Waveform):
            raise TypeError(f"the waveform of {name!r} is {described(wave)}; pass an xb.Waveform.")
        lanes = circuit.lanes(name)
        if wave.lines not in (1, lanes):
            raise ValueError(
                f"the waveform of {name!r} has {wave.lines} lines, but the source has {lanes}."
            )
    for name, array in arrays_of(circuit).items():
        if array.has_capacitance:
            raise ValueError(
                f"array {name!r} has line capacitance, which simulate takes of a Crossbar alone:"
                " leave c_row, c_col and c_cell out, and put Capacitors at its terminals."
            )
    return dict(waveforms)


def simulated(circuit: Circuit, waveforms, ts, rtol, steps, max_steps, solver) -> CircuitTransient:
    """`simulate` of a circuit; its arguments are checked."""
    waves = waves_of(circuit, waveforms)
    found = _simulated(circuit, waves, ts, rtol, steps, max_steps, solver)
    return finished(circuit, solver, found, found.status)


@eqx.filter_jit
def _simulated(circuit, waves, ts, rtol, steps, max_steps, solver) -> CircuitTransient:
    circuit = in_one_dtype(circuit)
    layout = layout_of(circuit)
    start = driven(circuit, waves, ts[0])
    z, _, solution = solved(start, solver)
    dtype = z.dtype
    ts, rtol, waves = ts.astype(dtype), rtol.astype(dtype), in_dtype(waves, dtype)
    inside = [jnp.clip(jnp.ravel(w.t).astype(dtype), ts[0], ts[-1]) for w in waves.values()]
    knots = knots_of(jnp.concatenate([ts, *inside]))
    y = admittances(circuit, layout, solver, z, linear=True)
    least = lax.stop_gradient(jnp.max(jnp.abs(z[: layout.nodes]), initial=0))
    volts = [w for name, w in waves.items() if isinstance(circuit.elements[name], VoltageSource)]
    for wave in volts:
        least = jnp.maximum(least, lax.stop_gradient(jnp.max(jnp.abs(wave.v))))
    if steps is None and len(volts) < len(waves):
        # currents from rest: a small part of where they would lead to
        peaks = {name: _peak(wave) for name, wave in waves.items()}
        peak, *_ = solved(driven(circuit, peaks, ts[0]), solver)
        led = FAINT * lax.stop_gradient(jnp.max(jnp.abs(peak[: layout.nodes]), initial=0))
        least = jnp.maximum(least, jnp.where(jnp.isfinite(led), led, 0))
    least = jnp.maximum(least, jnp.finfo(dtype).tiny ** 0.25)
    step = _Step(circuit, waves, y, lax.stop_gradient(rtol), solver)
    charge = stated(start, layout, z, charges=True)
    state = _State(z, charge, jnp.zeros_like(z), least, solution.residual, solution.status)
    if steps is None:
        found = follow(step, state, knots, None, max_steps)
    else:
        found = follow(step, state, knots, equal_steps(knots, steps), 0)
    s = knots.named(ts)
    at = jnp.searchsorted(found.ends, s)
    seen = jnp.where((s == 0)[:, None], z[None], found.outputs[at])
    status = found.state.status
    short = lax.stop_gradient(found.s) < knots.end
    status |= jnp.where(short, int(Status.OUT_OF_STEPS), 0)
    rises = jnp.all(jnp.diff(ts) > 0)
    status |= jnp.where(rises, 0, int(Status.TIME_NOT_RISING))
    seen = jnp.where(usable(status), seen, jnp.nan)
    shown = jax.vmap(lambda t, z: through(driven(circuit, waves, t), layout, z))(ts, seen)
    stores = lambda x: isinstance(x, AbstractElement) and any(isinstance(k, str) for k in x.stores)
    shown = {name: i for name, i in shown.items() if not stores(circuit.elements[name])}
    return CircuitTransient(
        ts,
        {bus: seen[:, first : first + width] for bus, (first, width) in layout.buses.items()},
        shown,
        found.state.residual,
        lax.stop_gradient(status),
        found.taken,
        found.rejected,
    )


def _peak(wave: Waveform) -> Waveform:
    """The largest value of each line, at all times."""
    at = jnp.argmax(jnp.abs(wave.v), axis=0)[None]
    return Waveform(jnp.zeros((1,), wave.v.dtype), jnp.take_along_axis(wave.v, at, axis=0))
