"""What methods that write group after group of cells share: the groups, their pulses and reads."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from equinox import AbstractVar
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._types import PerCell, Scalar, everywhere, is_concrete
from ..analyses.read import read
from ..cells import AbstractCell, bounds_of, gated, has_gate, states_of, with_states
from ..crossbar import Crossbar
from ..drive.waveform import BiasWaveform, Waveform, pulse
from ..kirchhoff.solution import usable
from ..transient.simulate import Transient, simulate
from .pulses import Pulses, Staircase
from .selection import AbstractSelection, Cells
from .writing import AbstractProgramming, Programmed

STEPS = 256  # most steps of the transient of one pulse
TABLE = [("step", "u4"), ("row", "u4"), ("col", "u4")]
TABLE += [("v", "f8"), ("v_gate", "f8"), ("width", "f8"), ("edge", "f8")]


class Log(NamedTuple):
    """What the pulses of a group did."""

    g: Cells  # [S]
    good: Bool[Array, " cells"]
    sets: Int[Array, " cells"]
    resets: Int[Array, " cells"]
    energy: Cells  # [J]
    v: Float[Array, "pulses cells"]  # [V]
    v_gate: Float[Array, "pulses cells"]
    status: Int[Array, ""]


class Given(NamedTuple):
    """What pulses left in a group."""

    states: PyTree
    energy: Cells  # [J]
    v_gate: Cells  # [V], NaN for cells without a pulse
    status: Array


class AbstractPulseProgramming(AbstractProgramming):
    """A method that writes groups of cells by pulses of two polarities."""

    set: AbstractVar[Pulses]
    reset: AbstractVar[Pulses]
    acceptance: AbstractVar[Float[Array, "*rows_cols"]]
    v_read: AbstractVar[Scalar]
    v_gate_read: AbstractVar[Scalar | None]
    select: AbstractVar[AbstractSelection]
    rtol: AbstractVar[Scalar]

    @property
    @abc.abstractmethod
    def rounds(self) -> int:
        """Most pulses of a cell."""

    @staticmethod
    @abc.abstractmethod
    def in_order(group: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The group and the number of pulses, that which changes last first."""

    def table(self, done: Programmed) -> np.ndarray:
        """The pulses of one array in the order in which an instrument has to play them: a
        structured array with the fields `step`, `row`, `col` (from 0), `v`, `v_gate` [V], `width`
        and `edge` [s]. Pulses of one `step` are given at once; a read comes between steps. Without
        gates `v_gate` is NaN. Raises `ValueError` for a batch, for what another method has written,
        and for set and reset pulses of one sign, whose voltages do not tell them apart."""
        v, v_gate = np.asarray(done.v, float), np.asarray(done.v_gate, float)
        if v.ndim != 3:
            raise ValueError(f"done.v has shape {v.shape}: pass one array of a batch.")
        first = float(self.set.v.start), float(self.reset.v.start)
        if not first[0] * first[1] < 0:
            raise ValueError(
                f"set pulses start at {first[0]:g} V and reset pulses at {first[1]:g} V: a table"
                " tells them apart by their signs, which must be opposite."
            )
        rows, cols, _ = v.shape
        size = self.select.size((rows, cols))
        if v.shape[-1] != self.rounds:
            raise ValueError(
                f"done.v holds up to {v.shape[-1]} pulses of a cell, but this method gives up to"
                f" {self.rounds}: ask the method that wrote the array."
            )
        row, col, number = np.nonzero(np.isfinite(v))
        volts = v[row, col, number]
        sets = np.sign(first[0]) == np.sign(volts)
        steps = np.stack([*self.in_order((row * cols + col) // size, number), ~sets], axis=1)
        _, step = np.unique(steps, axis=0, return_inverse=True)
        table = np.zeros(len(volts), TABLE)
        of = lambda name: [float(getattr(p, name)) for p in (self.set, self.reset)]
        columns = {"step": step.ravel(), "row": row, "col": col, "v": volts}
        columns["v_gate"] = v_gate[row, col, number]
        columns |= {name: np.where(sets, *of(name)) for name in ("width", "edge")}
        for name, x in columns.items():
            table[name] = x
        return table[np.argsort(table["step"], kind="stable")]


class AbstractGroupProgramming(AbstractPulseProgramming):
    """A method that ends with one group of cells before it begins with the next."""

    @abc.abstractmethod
    def group(
        self, part: Crossbar, group: Any, target: Cells, acceptance: Cells, key: PRNGKeyArray
    ) -> tuple[Crossbar, Log]:
        """The circuit of a group after programming of its cells."""

    def written(self, crossbar: Crossbar, target: PerCell, key: PRNGKeyArray) -> Programmed:
        rows, cols = crossbar.shape
        given = target, jnp.broadcast_to(self.acceptance, (rows, cols))
        after, log, disturb = by_groups(self, crossbar, self.group, given, key)
        return Programmed(
            after,
            log.g,
            log.good,
            log.sets,
            log.resets,
            log.energy,
            disturb,
            jnp.moveaxis(log.v, 0, -1),
            jnp.moveaxis(log.v_gate, 0, -1),
            log.status,
        )

    @staticmethod
    def in_order(group: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return group, number


def by_groups(
    method: Any,
    crossbar: Crossbar,
    write: Callable[..., tuple[Crossbar, Log]],
    given: tuple[Array, ...],
    key: PRNGKeyArray,
) -> tuple[Crossbar, Log, PerCell]:
    """The array after `write(part, group, *given, key)` of each group, what the pulses did as
    `(..., rows, cols)`, and the change of each device [S] by pulses of later groups."""
    rows, cols = crossbar.shape
    full = lambda x: jnp.broadcast_to(x, (rows, cols))
    cell = jax.tree.map(full, crossbar.cell)
    crossbar = eqx.tree_at(lambda c: c.cell, crossbar, cell)
    size = method.select.size((rows, cols))
    count = rows * cols // size
    given = jax.tree.map(lambda x: full(x).reshape(count, size), tuple(given))
    groups = jnp.arange(count), *given, jax.random.split(key, count)
    # groups come first and the cells of a group last
    back = lambda x: jnp.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], rows, cols)
    if method.select.is_isolated:

        def alone(k, *given):
            part, log = write(method.select.part(crossbar, k), k, *given)
            return states_of(part.cell), log

        states, log = jax.vmap(alone)(*groups)
        states = jax.tree.map(lambda x: x.reshape(rows, cols), states)
        after = eqx.tree_at(lambda c: c.cell, crossbar, with_states(cell, states))
        disturb = jnp.zeros((rows, cols), log.g.dtype)
    else:

        def among(crossbar, groups):
            crossbar, log = write(crossbar, *groups)
            left = conductance_of(method, crossbar.cell)
            return crossbar, (log, method.select.of(crossbar, groups[0], left))

        after, (log, own) = lax.scan(among, crossbar, groups)
        disturb = conductance_of(method, after.cell) - back(own)
    status = jnp.bitwise_or.reduce(log.status)
    log = jax.tree.map(back, log._replace(status=jnp.zeros((count, size))))
    return after, log._replace(status=status), disturb


def with_group(part: Crossbar, states: PyTree) -> Crossbar:
    """The circuit of a group with other states of its devices."""
    return eqx.tree_at(lambda c: c.cell, part, with_states(part.cell, states))


def verified(method: Any, part: Crossbar, group: Any) -> tuple[Cells, Array]:
    """Conductances [S] of the cells of a group as a read without noise finds them: current per read
    voltage, with the wires and transistors in its path. And the status of the read."""
    found = read(part, method.select.read(part, group, method.v_read, method.v_gate_read))
    return method.select.of(part, group, found.i_cell) / method.v_read, found.status


def next_level(
    way: Int[Array, "..."], last: Int[Array, "..."], level: Array, further: Any = 1
) -> Array:
    """Numbers of the next pulses on their staircases: `further` than the last one of the same
    polarity, 0 where the polarity changes, and as before for cells that get no pulse."""
    return jnp.where(way == 0, level, jnp.where(way == last, level + further, 0))


def pulsed(
    method: Any, part: Crossbar, group: Any, way: Int[Array, " cells"], v: Cells, level: Array
) -> Given:
    """A group after one pulse of `v` [V] on each cell: `way` is 1 for a set, -1 for a reset and 0
    for none. Cells that are set and those that are reset take turns. `level` is the number of the
    pulse on the staircase of its gate, of a cell that is alone in its group."""
    n = v.size
    phases = jnp.asarray([1, -1]) if n > 1 else jnp.asarray([0])

    def phase(carry, polarity):
        states, energy, status = carry
        counts = (way != 0) if n == 1 else (way == polarity)
        up = way[0] > 0 if n == 1 else polarity > 0
        either = lambda of: jnp.where(up, of(method.set), of(method.reset))
        lasts = either(lambda p: p.width), either(lambda p: p.edge)
        v_gate = None
        if method.set.v_gate is not None:
            v_gate = either(lambda p: p.v_gate(level[0] if n == 1 else 0 * level[0]))
        across = jnp.where(counts, v, 0)
        found = _pulse(method, with_group(part, states), group, across, *lasts, v_gate)
        states = jax.tree.map(
            lambda new, old: jnp.where(usable(found.status), new, old),
            states_of(found.crossbar.cell),
            states,
        )
        left = method.select.of(part, group, found.energy)
        energy = energy + jnp.where(counts, left, 0)
        shown = jnp.nan if v_gate is None else v_gate
        return (states, energy, status | found.status), jnp.where(counts, shown, jnp.nan)

    begin = states_of(part.cell), jnp.zeros_like(v), jnp.zeros((), jnp.int32)
    (states, energy, status), gates = lax.scan(phase, begin, phases)
    gate = jnp.where(jnp.isnan(gates[0]), gates[-1], gates[0]).astype(v.dtype)
    return Given(states, energy, gate, status)


def logged(
    g: Cells, good: Array, way: Int[Array, " cells"], v: Cells, given: Given, status: Array
) -> Log:
    """What one pulse of `v` [V] on each cell did."""
    return Log(
        g.astype(v.dtype),
        good,
        (way > 0).astype(int),
        (way < 0).astype(int),
        given.energy,
        jnp.where(way == 0, jnp.nan, v)[None],
        given.v_gate[None],
        status | given.status,
    )


def _pulse(
    method: Any,
    part: Crossbar,
    group: Any,
    v: Cells,
    width: Scalar,
    edge: Scalar,
    v_gate: Array | None,
) -> Transient:
    """One pulse on a group of cells."""
    top = method.select.write(part, group, v, v_gate)
    rest = method.select.write(part, group, 0 * v, v_gate)
    wave = lambda high, low: pulse(high, width, edge, rest=low)
    gate = None if top.v_gate is None else Waveform(jnp.zeros((1,), v.dtype), top.v_gate[None])
    bias = BiasWaveform(wave(top.v_row, rest.v_row), wave(top.v_col, rest.v_col), gate)
    ts = jnp.stack([0 * edge, width + edge])
    return simulate(part, bias, ts, rtol=method.rtol, max_steps=STEPS)


def require_cells(method: AbstractPulseProgramming, crossbar: Crossbar, target: PerCell) -> None:
    """Raises `ValueError` for cells that the pulses cannot select or bring to their targets."""
    method.select.require(crossbar)
    gates = {
        "set.v_gate": method.set.v_gate,
        "reset.v_gate": method.reset.v_gate,
        "v_gate_read": method.v_gate_read,
    }
    for name, v in gates.items():
        if has_gate(crossbar.cell) and v is None:
            raise ValueError(f"{name} is None, but the cells have gates: pass their voltage [V].")
        if not has_gate(crossbar.cell) and v is not None:
            raise ValueError(f"{name} is given, but the cells have no gate: leave it out.")
        ramps = isinstance(v, Staircase) and not everywhere(lambda d: d == 0, v.step)
        if ramps and method.select.size(crossbar.shape) > 1:
            raise ValueError(
                f"{name} rises in steps, but the cells of a row share their gate: select by"
                " xb.SelectCells()."
            )
    _require_range(method, crossbar, target)


def require_read_voltage(v_read: Scalar) -> None:
    """Raises `ValueError` for a read voltage that shows no conductance."""
    if not everywhere(lambda v: (v != 0) & np.isfinite(v), v_read):
        raise ValueError(f"v_read is {v_read} V; a read needs a voltage other than 0.")


def conductance_of(method: Any, cell: AbstractCell) -> PerCell:
    """Conductance [S] of each cell at the read voltage, without wires."""
    if method.v_gate_read is not None:
        cell = gated(cell, method.v_gate_read)
    v = jnp.broadcast_to(method.v_read, cell.shape)
    i = cell.current(jnp.maximum(v, 0), jnp.maximum(-v, 0))
    return i / method.v_read


def _require_range(method: Any, crossbar: Crossbar, target: PerCell) -> None:
    """Raises `ValueError` for the first target that no state of its device has."""
    if not is_concrete((crossbar, method, target)):
        return
    ends = [
        np.asarray(conductance_of(method, with_states(crossbar.cell, end)))
        for end in bounds_of(crossbar.cell)
    ]
    low, high = (np.broadcast_to(f(*ends), crossbar.shape) for f in (np.minimum, np.maximum))
    beyond = (np.asarray(target) < low) | (np.asarray(target) > high)
    if beyond.any():
        at = tuple(int(k) for k in np.argwhere(beyond)[0])
        raise ValueError(
            f"target[{at[0]}, {at[1]}] is {np.asarray(target)[at]:.4g} S, but the cell reaches from"
            f" {low[at]:.4g} to {high[at]:.4g} S at v_read: choose targets between."
        )
