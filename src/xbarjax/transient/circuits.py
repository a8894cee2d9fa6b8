"""Transients of circuits: two implicit stages per step, as for arrays (sdirk2.py).

With unknowns `z`, currents `F(z, t)` and charges `Q(z)`, Kirchhoff's law is `F + dQ/dt = 0`. One
stage of length `d` solves

    F(z, t) + (Q(z) - Q_h) / d = 0,

where `Q_h` follows from the charges before the step and after its first stage. What is integrated
is charge, so that it is conserved to rounding.

An array with line capacitance keeps the voltages across all its capacitors from stage to stage. In
a stage it is an array without memory, whose admittance at its terminals includes its capacitors.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .._types import Scalar, described, in_dtype
from ..analyses.admittance import (
    AbstractAnswer,
    Admitting,
)
from ..analyses.dc import finished, solved
from ..analyses.nodal import in_one_dtype, kirchhoff, resting
from ..analyses.reduction import factors
from ..cells import has_memory, in_stage, states_of, with_states
from ..drive.waveform import Waveform
from ..elements import AbstractElement, Capacitor, Device, VoltageSource
from ..elements.circuit import Circuit, sources_of, with_values
from ..kirchhoff.circuit import circuit_of
from ..kirchhoff.companion import Charge, voltages
from ..kirchhoff.laws import stated, through
from ..kirchhoff.network import Field
from ..kirchhoff.solution import Status, usable
from ..kirchhoff.terminals import Nodal, added, at_nodes, nodal_of, nodes_of
from .adaptive import AbstractStep, equal_steps, follow, knots_of
from .laws import Laws, Staged, end_of_stage, entering, moves, reduced
from .sdirk2 import ERROR, GAMMA
from .stage import Dynamic, Stage

FAINT = 1e-6  # share of a voltage that currents would lead to


class CircuitTransient(eqx.Module):
    """Waveforms of a circuit, with one entry per time in front.

    **Attributes:**

    - `t`: times [s].
    - `v`: voltages [V] of each bus, `(times, nodes)`, by its name.
    - `i`: current [A] of each element that is no array and stores no charge at its terminals,
        `(times, lanes)`, as of a `CircuitSolution`.
    - `circuit`: the circuit that is left, whose arrays of devices with memory are in their last
        state.
    - `residual`: largest violation of Kirchhoff's current law in any stage [A]; `status`: a
        `Status`; `accepted`, `rejected`: numbers of steps.
    """

    t: Float[Array, "*batch times"]
    v: dict[str, Float[Array, "*batch times nodes_"]]
    i: dict[str, Float[Array, "*batch times lanes_"]]
    circuit: Circuit
    residual: Float[Array, "*batch"]
    status: Int[Array, "*batch"]
    accepted: Int[Array, "*batch"]
    rejected: Int[Array, "*batch"]


class _Lines(NamedTuple):
    """An array with line capacitance or devices with memory: voltages [V] across its capacitors and
    states of its devices, and their slope at the end of the last step."""

    held: Dynamic
    slope: Dynamic


class _State(NamedTuple):
    z: Array
    charge: Array  # [C] at every node, and what the elements' own laws store
    slope: Array  # its change at the end of the last step
    lines: dict[str, _Lines]
    x: dict[str, Field]  # drops and segment currents of these arrays
    largest: Scalar  # voltage [V] so far
    residual: Scalar
    status: Array


class _Step(AbstractStep):
    """Two stages of one circuit."""

    circuit: Circuit
    waves: dict[str, Waveform]
    still: dict[str, AbstractAnswer]  # arrays without capacitance
    rtol: Scalar
    solver: Any

    def __call__(self, state: _State, t: Scalar, h: Scalar, middle: Scalar, *, judged: bool):
        d, arrays = GAMMA * h, nodal_of(self.circuit, driven=False).arrays
        stages = {
            name: Stage(arrays[name].crossbar, self.solver, d, lines.held)
            for name, lines in state.lines.items()
        }
        circuit = _without_memory(self.circuit, state.lines, d)
        nodal = nodal_of(circuit, driven=False)
        at = lambda v, x: {
            name: Staged(nodal.arrays[name], stage, v[name], x[name])
            for name, stage in stages.items()
        }
        v_0 = {name: lines.held for name, lines in state.lines.items()}
        moving = at(v_0, state.x)
        tangents = {
            name: answer.tangent(at_nodes(state.z, nodes_of(nodal, answer.array)))
            for name, answer in moving.items()
            if answer.array.array.is_linear
        }
        parts = reduced(nodal, self.still, tangents, state.z, d)
        between = lambda a, b, beyond: jax.tree.map(lambda a, b: a + beyond * (b - a), a, b)

        def one(carry, stage):
            (z, held, v, x), (beyond, part) = carry, stage.astype(d.dtype)
            now = driven(circuit, self.waves, t + part * h, middle)
            answers = at(between(v_0, v, beyond), x)
            before = between(state.charge, held, beyond)
            laws = Laws(nodal_of(now, driven=False), self.still, answers, tangents, before, d)
            z, change, converged = end_of_stage(laws, z, parts)
            total, ends, said = laws.end(z)
            held = stated(laws.nodal, z, charges=True)
            slope = jax.tree.map(
                lambda new, old: (new - old) / d,
                (held, {name: end.held for name, end in ends.items()}),
                (before, {name: answer.held for name, answer in answers.items()}),
            )
            v = {name: end.held for name, end in ends.items()}
            x = {name: end.x for name, end in ends.items()}
            off, holds = laws.judged(z, total, factors(parts, change))
            good = converged & holds & jnp.all(jnp.isfinite(z))
            last = change, {name: (end.tangent, end.kept) for name, end in ends.items()}
            return (z, held, v, x), (slope, off, good, said, lax.stop_gradient(last))

        weights = jnp.asarray([[0, GAMMA], [1 + np.sqrt(2), 1]])
        start = state.z, state.charge, v_0, state.x
        (z, held, v, x), (slopes, off, good, said, last) = lax.scan(one, start, weights)
        failed = ~jnp.all(good)
        status = jnp.where(failed, int(Status.NOT_CONVERGED), 0) | said[0] | said[1]
        status = status.astype(state.status.dtype)
        most = jnp.max(jnp.abs(lax.stop_gradient(z[: nodal.layout.nodes])), initial=0)
        largest = jnp.maximum(state.largest, jnp.where(jnp.isfinite(most), most, 0))
        error = jnp.zeros_like(h)
        if judged:
            earlier = state.slope, {name: lines.slope for name, lines in state.lines.items()}
            weights = 1 / GAMMA, -1 / (GAMMA * (1 - GAMMA)), 1 / (1 - GAMMA)
            lost, of_lines = jax.tree.map(
                lambda a, bc: (
                    ERROR * h * (weights[0] * a + weights[1] * bc[0] + weights[2] * bc[1])
                ),
                earlier,
                slopes,
            )
            change, networks = jax.tree.map(lambda x: x[1], last)
            inside, moved, at_buses = [], [], lost / d
            for name, stage in stages.items():
                (network, kept), missed = networks[name], of_lines[name]
                e = Charge(*(jnp.where(c > 0, e, 0) for c, e in zip(stage.c, missed.v)))
                found = stage.filtered(network, e)
                moved += stage.moved(kept, missed.states)
                inside += [jnp.max(jnp.abs(found.row)), jnp.max(jnp.abs(found.col))]
                array = nodal.arrays[name]
                i = entering(array, stage, network, found)
                at_buses = added(at_buses, nodes_of(nodal, array), -i)
            by = factors(parts, change).solve(at_buses)[: nodal.layout.nodes]
            # with terminals held, and what these add: no node moves more than the terminals do
            inner = jnp.max(jnp.asarray(inside, by.dtype), initial=0)
            most = jnp.max(jnp.abs(by), initial=0) + inner
            most = jnp.max(jnp.stack([most / largest, *moved]))
            error = jnp.where(failed, jnp.inf, most / self.rtol)
        slope, slope_lines = jax.tree.map(lambda x: x[1], slopes)
        lines = {name: _Lines(v[name], slope_lines[name]) for name in stages}
        residual = jnp.maximum(state.residual, jnp.max(off))
        new = _State(z, held, slope, lines, x, largest, residual, state.status | status)
        return new, z, lax.stop_gradient(error)


def _without_memory(circuit: Circuit, lines: dict[str, _Lines], d: Scalar) -> Circuit:
    """The circuit in a stage of `d` [s], as its laws see it: no device of an array has a memory.
    From where states start in the stage is known to the stages of the arrays."""
    for name, of in lines.items():
        circuit = _with_cells(circuit, name, lambda cell, of=of: in_stage(cell, of.held.states, d))
    return circuit


def _with_cells(circuit: Circuit, name: str, change: Callable[[Any], Any]) -> Circuit:
    """The circuit with other cells in an array."""
    cells: Any = lambda c: c.elements[name].cell
    return eqx.tree_at(cells, circuit, change(cells(circuit)))


def driven(circuit: Circuit, waves: dict[str, Waveform], t, middle=None) -> Circuit:
    """The circuit with its sources at a moment [s]."""
    for name, wave in waves.items():
        values = jnp.broadcast_to(wave(t, middle), (circuit.lanes(name),))
        circuit = with_values(circuit, name, values)
    return circuit


def waves_of(circuit: Circuit, waveforms: Mapping[str, Waveform] | Waveform) -> dict[str, Waveform]:
    """The waveforms of a circuit's sources, by name."""
    sources = sources_of(circuit)
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
    return dict(waveforms)


def require_moving(circuit: Circuit) -> None:
    """Raises `ValueError` for a device with memory outside of arrays, whose states would stay."""
    for name, part in circuit.elements.items():
        if isinstance(part, Device) and has_memory(part.cell):
            raise ValueError(
                f"element {name!r} is a Device with memory, whose states move in arrays alone: use"
                " xb.elements.Array(cell, rows=..., cols=...), with a cell of (1, 1) for one."
            )


def begun(circuit: Circuit) -> Circuit:
    """The circuit at the first time: capacitors that start from a voltage are sources of it."""
    for name, part in circuit.elements.items():
        if isinstance(part, Capacitor) and part.v_start is not None:
            v = jnp.broadcast_to(part.v_start, (circuit.lanes(name),))
            source = VoltageSource(to=part.a, v=v, back=part.b)
            circuit = eqx.tree_at(lambda c, name=name: c.elements[name], circuit, source)
    return circuit


def _carried(z: Array, old: Nodal, new: Nodal) -> Array:
    """Unknowns of a circuit, from those of one with more unknowns of its elements."""
    parts = [z[: new.layout.nodes]]
    for name, (_, lanes) in new.layout.own.items():
        at = old.layout.own[name][0]
        parts.append(z[at : at + new.elements[name].unknowns * lanes])
    return jnp.concatenate(parts)


def simulated(circuit: Circuit, waveforms, ts, rtol, steps, max_steps, solver) -> CircuitTransient:
    """`simulate` of a circuit; its arguments are checked."""
    waves = waves_of(circuit, waveforms)
    require_moving(circuit)
    found = _simulated(circuit, waves, ts, rtol, steps, max_steps, solver)
    return finished(begun(circuit), solver, found, found.status)


@eqx.filter_jit
def _simulated(circuit, waves, ts, rtol, steps, max_steps, solver) -> CircuitTransient:
    circuit = in_one_dtype(circuit)
    start = driven(circuit, waves, ts[0])
    nodal = nodal_of(start, driven=False)
    layout = nodal.layout
    z, _, solution = solved(begun(start), solver, driven=False)
    z = _carried(z, nodal_of(begun(start), driven=False), nodal)
    dtype = z.dtype
    ts, rtol, waves = ts.astype(dtype), rtol.astype(dtype), in_dtype(waves, dtype)
    inside = [jnp.clip(w.corners.astype(dtype), ts[0], ts[-1]) for w in waves.values()]
    knots = knots_of(jnp.concatenate([ts, *inside]))
    still: dict[str, AbstractAnswer] = {}
    lines, x = {}, {}
    for name, answer in resting(nodal, solver).items():
        array, found = answer.array.array, solution.arrays[name]
        if moves(array):
            v = voltages(found.v_row, found.v_col)
            held = Dynamic(v, None, in_dtype(states_of(array.cell), v.row.dtype))
            lines[name] = _Lines(held, jax.tree.map(jnp.zeros_like, held))
            biased = circuit_of(answer.array.crossbar, found.bias)
            x[name] = lax.stop_gradient(biased.guess_from(found))
        elif array.is_linear:
            tangent = answer.tangent(at_nodes(z, nodes_of(nodal, answer.array)))
            still[name] = Admitting(answer.array, tangent)
        else:
            still[name] = answer
    least = lax.stop_gradient(jnp.max(jnp.abs(z[: layout.nodes]), initial=0))
    volts = [w for name, w in waves.items() if isinstance(circuit.elements[name], VoltageSource)]
    for wave in volts:
        least = jnp.maximum(least, lax.stop_gradient(jnp.max(jnp.abs(wave.v))))
    if steps is None and len(volts) < len(waves):
        # from rest, errors count against a small part of the voltages that the currents lead to
        peaks = {name: _peak(wave) for name, wave in waves.items()}
        peak, *_ = solved(begun(driven(circuit, peaks, ts[0])), solver)
        led = FAINT * lax.stop_gradient(jnp.max(jnp.abs(peak[: layout.nodes]), initial=0))
        least = jnp.maximum(least, jnp.where(jnp.isfinite(led), led, 0))
    least = jnp.maximum(least, jnp.finfo(dtype).tiny ** 0.25)
    step = _Step(circuit, waves, still, lax.stop_gradient(rtol), solver)
    charge = stated(nodal, z, charges=True)
    rest = least, solution.residual, solution.status
    slope = jnp.zeros_like(z)
    if any(isinstance(x, Capacitor) and x.v_start is not None for x in nodal.elements.values()):
        slope -= lax.stop_gradient(kirchhoff(nodal, resting(nodal, solver), z))
    state = _State(z, charge, slope, lines, x, *rest)
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
    at = lambda t: nodal_of(driven(circuit, waves, t), driven=False)
    shown = jax.vmap(lambda t, z: through(at(t), z))(ts, seen)
    stores = lambda x: isinstance(x, AbstractElement) and any(isinstance(k, str) for k in x.stores)
    shown = {name: i for name, i in shown.items() if not stores(circuit.elements[name])}
    left = circuit
    for name, lines in found.state.lines.items():
        states = jax.tree.map(lambda x: jnp.where(usable(status), x, jnp.nan), lines.held.states)
        left = _with_cells(left, name, lambda cell, states=states: with_states(cell, states))
    return CircuitTransient(
        ts,
        {bus: seen[:, first : first + width] for bus, (first, width) in layout.buses.items()},
        shown,
        left,
        found.state.residual,
        lax.stop_gradient(status),
        found.taken,
        found.rejected,
    )


def _peak(wave: Waveform) -> Waveform:
    """The largest value of each line, at all times."""
    return Waveform(jnp.zeros((1,), wave.v.dtype), wave.largest[None])
