"""The array in a stage of an implicit method: a read with companion models of capacitors."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from .._types import PerCell, PerCol, Scalar, in_dtype
from ..analyses.operating_point import Prepared, linear_point, operating_point, prepare
from ..cells import bounds_of, has_memory, in_stage, states_after
from ..crossbar import Crossbar
from ..drive import Bias
from ..kirchhoff.circuit import Circuit, at_gates, bias_of, circuit_of, sensed, terminal_current
from ..kirchhoff.companion import Charge, capacitances, injected, voltages, with_capacitors
from ..kirchhoff.judgement import status
from ..kirchhoff.network import Field, Network
from ..readout import AbstractReadoutInTime, Memory, VirtualGround
from ..solvers import Solver, factor, linear_of, roughly

ROUNDING = 64  # units of rounding of capacitor currents: a smaller violation does not count
ROUGH = 0.1  # relative tolerance of the solve for an error estimate


class Dynamic(NamedTuple):
    """State `y` that is integrated, `y = y_h + d dy/dt` in a stage."""

    v: Charge  # [V] across capacitors
    memory: Memory | None
    states: PyTree = ()  # of devices with memory


class Outputs(NamedTuple):
    """Outputs of a stage."""

    i: tuple[PerCol, Array]  # [A] into the readout, out of the drivers
    v_sense: PerCol  # [V]
    output: PerCol  # [A] or [V]


class Stats(NamedTuple):
    """Solver statistics of a stage."""

    residual: Scalar  # [A], largest violation of Kirchhoff's current law
    largest: Scalar  # [A], current scale of violations
    rounding: Scalar  # [A], of capacitor currents, which are large in a short stage
    status: Array
    num_steps: Array
    newton_steps: Array


class End(NamedTuple):
    """An array at the end of a stage."""

    held: Dynamic
    x: Field  # drops and segment currents
    outputs: Outputs
    power: PerCell  # [W] that cells turn into heat
    stats: Stats
    tangent: Network | None  # small-signal network of nonlinear cells
    kept: PyTree  # the part of an error of each state that is left after the stage


class Stage(eqx.Module):
    """An array in stages of one length `d` [s]. A linear array has one network in all stages."""

    crossbar: Crossbar
    solver: Solver
    d: Scalar
    c: Charge
    prepared: Prepared | None

    def __init__(self, crossbar: Crossbar, solver: Solver, d: Scalar, held: Dynamic):
        self.crossbar, self.solver, self.d = crossbar, solver, d
        self.c = capacitances(crossbar.wires, crossbar.shape, d.dtype)
        self.prepared = None
        if crossbar.cell.is_linear and not has_memory(crossbar.cell):
            still = jnp.zeros((crossbar.lines,), d.dtype)
            self.prepared = prepare(self._circuit(still, held)[2], linear_of(solver))

    def _circuit(self, v_in: Array | Bias, held: Dynamic) -> tuple[Crossbar, Bias, Circuit]:
        crossbar, d = with_companion(self.crossbar, held, self.d), self.d
        bias = bias_of(crossbar, v_in)
        if held.memory is not None:
            # the reference of a readout with memory moves from stage to stage
            v = crossbar.readout.voltage(crossbar.shape[1]).astype(bias.v_col.dtype)
            bias = eqx.tree_at(lambda b: (b.v_col, b.v_col_far), bias, (v, v))
        circuit = circuit_of(crossbar, bias)
        return crossbar, bias, with_capacitors(circuit, self.c, d, held.v, crossbar.wires)

    def __call__(self, v_in: Array | Bias, held: Dynamic, guess: Field) -> End:
        """The end of a stage that starts from `held`."""
        crossbar, bias, circuit = self._circuit(v_in, held)
        if self.prepared is None:
            # where all terminals have one voltage and nothing is charged, nothing flows: a search
            # that starts elsewhere would end in rounding
            ends = bias.v_row, bias.v_row_far, bias.v_col, bias.v_col_far
            same = [jnp.all(v == ends[0][0]) for v in ends]
            rests = jnp.all(jnp.stack(same + [jnp.all(c == 0) for c in self.c]))
            guess = jax.tree.map(lambda x: jnp.where(rests, 0, x), guess)
            found = operating_point(circuit, self.solver, guess)
        else:
            found = linear_point(circuit, self.prepared, guess)
        x, network, cut = found.x._replace(cell=None), found.network, found.undetermined
        tangent = None if self.prepared is not None else network
        i_row, i_col = network.i_row(x), network.i_col(x)
        axis = network.row_axis
        i_in, i_out = jnp.take(i_row, 0, axis) - jnp.take(i_row, -1, axis), i_col[-1] - i_col[0]
        strap_row = terminal_current(circuit.branches_row, x.row)
        strap_col = terminal_current(circuit.branches_col, x.col)
        i_in = i_in if strap_row is None else i_in + jnp.sum(strap_row, axis)
        i_out = i_out if strap_col is None else i_out + jnp.sum(strap_col, 0)
        off = found.violation
        most = lambda *xs: lax.stop_gradient(jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in xs])))
        v_row, v_col = circuit.voltages(x.row, x.col)
        v_row, v_col = jnp.where(cut.row, 0, v_row), jnp.where(cut.col, 0, v_col)
        v_sense = sensed(crossbar, bias, i_col[-1], v_col[-1])
        memory, readout = held.memory, self.crossbar.readout
        if memory is not None:
            assert isinstance(readout, AbstractReadoutInTime)
            memory = readout.end(self.d, memory, i_out, v_sense)
        output = readout.output(i_out, v_sense) if memory is None else memory.out
        taken = (c / self.d * v for c, v in zip(self.c, voltages(v_row, v_col)))
        rounding = ROUNDING * jnp.finfo(v_row.dtype).eps * most(*taken)
        violated, largest = most(off.row, off.col), most(i_row, i_col)
        flags = lax.stop_gradient(status(found.flags))
        stats = Stats(violated, largest, rounding, flags, found.num_steps, found.newton_steps)
        outputs = Outputs((i_out, i_in), v_sense, output.astype(i_out.dtype))
        v = voltages(v_row, v_col)
        beside = self.c.cell / self.d * (v.cell - held.v.cell)
        power = v.cell * (found.i_cell - beside)
        states, kept = self._states(bias, held, v_row, v_col)
        return End(Dynamic(v, memory, states), x, outputs, power, stats, tangent, kept)

    def _states(self, bias: Bias, held: Dynamic, v_row: Array, v_col: Array):
        """The states of devices at the end of a stage at given node voltages [V], and the part of
        an error of theirs that is left."""

        def after(held):
            cell = in_stage(at_gates(self.crossbar.cell, bias.v_gate), held, self.d)
            return states_after(in_dtype(cell, v_row.dtype), v_row, v_col)

        ones = jax.tree.map(jnp.ones_like, held.states)
        states, kept = jax.jvp(after, (held.states,), (ones,))
        return states, lax.stop_gradient(jax.tree.map(lambda x: jnp.clip(x, 0, 1), kept))

    def moved(self, kept: PyTree, error: PyTree) -> list[Scalar]:
        """Errors of the states of devices after a stage, relative to their ranges."""
        low, high = bounds_of(self.crossbar.cell)
        most = lambda kept, e, low, high: jnp.max(jnp.abs(kept * e)) / jnp.max(high - low)
        return jax.tree.leaves(jax.tree.map(most, kept, error, low, high))

    def filtered(self, tangent: Network | None, error: Charge) -> Field:
        """Filtered error estimate `x` [V] of row and column nodes, `(1 - d J) x = e`: a mode that
        relaxes within a step does not keep its error (M. E. Hosea, L. F. Shampine, Appl. Numer.
        Math. 20, 21 (1996), doi:10.1016/0168-9274(95)00115-8)."""
        if tangent is not None:
            factored = factor(tangent, linear_of(self.solver))
        else:
            assert self.prepared is not None
            factored = self.prepared.factored
        i = Charge(*(c / self.d * e for c, e in zip(self.c, error)))
        return roughly(factored, injected(i, factored.network), ROUGH)


def with_companion(crossbar: Crossbar, held: Dynamic, d: Scalar) -> Crossbar:
    """The array with the companion models of its readout and of devices with memory in a stage of
    `d` [s]."""
    readout, memory = crossbar.readout, held.memory
    if has_memory(crossbar.cell):
        cell = in_stage(crossbar.cell, held.states, d)
        crossbar = eqx.tree_at(lambda c: c.cell, crossbar, cell)
    if memory is None:
        return crossbar
    assert isinstance(readout, AbstractReadoutInTime)
    v, r = readout.companion(d, memory)
    return eqx.tree_at(lambda c: c.readout, crossbar, VirtualGround(r, v_ref=v))


def at_first(crossbar: Crossbar) -> Crossbar:
    """The array with the equivalent circuit of its readout before the first time."""
    readout = crossbar.readout
    if not readout.has_memory:
        return crossbar
    assert isinstance(readout, AbstractReadoutInTime)
    v, r = readout.released(crossbar.shape[1])
    return eqx.tree_at(lambda c: c.readout, crossbar, VirtualGround(r, v_ref=v))
