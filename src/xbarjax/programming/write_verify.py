"""Write-verify: read a cell, write it towards its target, and again until it is in the window."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._types import (
    PerCell,
    Scalar,
    everywhere,
    is_concrete,
    optional,
    physical,
    require_nonnegative,
    require_positive,
)
from ..analyses.read import read
from ..cells import AbstractCell, bounds_of, gated, has_gate, states_of, with_states
from ..crossbar import Crossbar
from ..drive.waveform import BiasWaveform, Waveform, pulse
from ..kirchhoff.solution import usable
from ..transient.simulate import Transient, simulate
from .pulses import Pulses, Staircase
from .selection import AbstractSelection, Cells, SelectRows
from .writing import AbstractProgramming, Programmed

STEPS = 256  # most steps of the transient of one pulse


class WriteVerify(AbstractProgramming):
    """Write-verify: each cell is read and, while it is outside the acceptance window, gets one more
    pulse towards its target.

    Pulses of one polarity follow their staircase, which starts anew when the polarity changes. A
    cell that a verify has accepted gets no more pulses. (W. Wan et al., Nature 608, 504 (2022),
    doi:10.1038/s41586-022-04992-8, write RRAM cells in this way.)

    **Arguments:**

    - `set`, `reset`: the `Pulses` that raise and lower the conductance.
    - `acceptance`: half the width of the window around the target [S], a scalar or `(rows, cols)`.
    - `v_read`: read voltage [V]; `v_gate_read`: gate voltage [V] of the selected row in a read.
        What a verify reads is the current per `v_read`, with the wires and transistors in its path.
    - `read_noise`: standard deviation of one verify [S]. At most half of the acceptance, or
        write-verify would chase the noise.
    - `v_spread`: standard deviation [V] of the voltage of a pulse, for the spread of switching from
        cycle to cycle.
    - `most`: most pulses of a cell.
    - `select`: which cells are written together: `SelectRows()`, `SelectCells()` or
        `SelectCrosspoints(scheme)`.
    - `rtol`: relative tolerance of the transient of a pulse, as of `xb.simulate`.

    Raises `ValueError` for a window that is not positive or less than twice the noise, a read
    voltage of 0 V, and no pulses; `xb.program` for targets that no state of a device reaches, gate
    voltages that are missing or too many, and gates that step while cells share them.
    """

    set: Pulses
    reset: Pulses
    acceptance: Float[Array, "*rows_cols"] = eqx.field(converter=physical("acceptance"))
    v_read: Scalar = eqx.field(converter=physical("v_read", whole=True))
    v_gate_read: Scalar | None = eqx.field(
        converter=optional("v_gate_read", whole=True), default=None
    )
    read_noise: Scalar = eqx.field(converter=physical("read_noise"), default=0.0)
    v_spread: Scalar = eqx.field(converter=physical("v_spread"), default=0.0)
    most: int = eqx.field(static=True, default=50)
    select: AbstractSelection = eqx.field(default_factory=SelectRows)
    rtol: Scalar = eqx.field(converter=physical("rtol"), default=1e-3)

    def __check_init__(self):
        require_positive(self.acceptance, "acceptance", "S")
        require_positive(self.rtol, "rtol", "")
        if not everywhere(lambda v: (v != 0) & np.isfinite(v), self.v_read):
            raise ValueError(f"v_read is {self.v_read} V; a read needs a voltage other than 0.")
        require_nonnegative(self.read_noise, "read_noise", "S", open_allowed=False)
        require_nonnegative(self.v_spread, "v_spread", "V", open_allowed=False)
        if self.most < 1:
            raise ValueError(f"most is {self.most}; a cell needs at least one pulse.")
        if not everywhere(lambda n, a: n <= a / 2, self.read_noise, self.acceptance):
            raise ValueError(
                f"read_noise is {self.read_noise} S, but acceptance goes down to"
                f" {jnp.min(self.acceptance)} S: write-verify would chase the noise. Accept at"
                " least twice the noise, or average reads."
            )

    def require(self, crossbar: Crossbar, target: PerCell) -> None:
        self.select.require(crossbar)
        gates = {
            "set.v_gate": self.set.v_gate,
            "reset.v_gate": self.reset.v_gate,
            "v_gate_read": self.v_gate_read,
        }
        for name, v in gates.items():
            if has_gate(crossbar.cell) and v is None:
                raise ValueError(
                    f"{name} is None, but the cells have gates: pass their voltage [V]."
                )
            if not has_gate(crossbar.cell) and v is not None:
                raise ValueError(f"{name} is given, but the cells have no gate: leave it out.")
            ramps = isinstance(v, Staircase) and not everywhere(lambda d: d == 0, v.step)
            if ramps and self.select.size(crossbar.shape) > 1:
                raise ValueError(
                    f"{name} rises in steps, but the cells of a row share their gate: select by"
                    " xb.SelectCells()."
                )
        _require_range(self, crossbar, target)

    def written(self, crossbar: Crossbar, target: PerCell, key: PRNGKeyArray) -> Programmed:
        rows, cols = crossbar.shape
        full = lambda x: jnp.broadcast_to(x, (rows, cols))
        cell = jax.tree.map(full, crossbar.cell)
        crossbar = eqx.tree_at(lambda c: c.cell, crossbar, cell)
        size = self.select.size((rows, cols))
        count = rows * cols // size
        in_groups = lambda x: full(x).reshape(count, size)
        given = (
            jnp.arange(count),
            in_groups(target),
            in_groups(self.acceptance),
            jax.random.split(key, count),
        )
        back = lambda x: x.reshape(rows, cols, *x.shape[2:])
        device = lambda cell: _conductance(self, cell)
        if self.select.is_isolated:

            def alone(k, *given):
                part, log = _group(self, self.select.part(crossbar, k), k, *given)
                return states_of(part.cell), log

            states, log = jax.vmap(alone)(*given)
            states = jax.tree.map(lambda x: x.reshape(rows, cols), states)
            after = eqx.tree_at(lambda c: c.cell, crossbar, with_states(cell, states))
            disturb = jnp.zeros((rows, cols), log.g.dtype)
        else:

            def among(crossbar, given):
                crossbar, log = _group(self, crossbar, *given)
                left = device(crossbar.cell)
                return crossbar, (log, self.select.of(crossbar, given[0], left))

            after, (log, own) = lax.scan(among, crossbar, given)
            disturb = device(after.cell) - back(own)
        return Programmed(
            after,
            back(log.g),
            back(log.good),
            back(log.sets),
            back(log.resets),
            back(log.energy),
            disturb,
            back(jnp.moveaxis(log.v, 1, -1)),
            back(jnp.moveaxis(log.v_gate, 1, -1)),
            jnp.bitwise_or.reduce(log.status),
        )


class _Log(NamedTuple):
    """What the pulses of a group did."""

    g: Cells  # [S]
    good: Bool[Array, " cells"]
    sets: Int[Array, " cells"]
    resets: Int[Array, " cells"]
    energy: Cells  # [J]
    v: Float[Array, "pulses cells"]  # [V]
    v_gate: Float[Array, "pulses cells"]
    status: Int[Array, ""]


class _Work(NamedTuple):
    """A group between two pulses."""

    states: Any
    log: _Log
    level: Int[Array, " cells"]  # number of pulses of the same polarity before
    last: Int[Array, " cells"]  # polarity of the last pulse: 1 for a set, -1 for a reset
    number: Int[Array, ""]  # of the next pulse
    key: PRNGKeyArray


def _group(
    method: WriteVerify,
    part: Crossbar,
    group: Any,
    target: Cells,
    acceptance: Cells,
    key: PRNGKeyArray,
) -> tuple[Crossbar, _Log]:
    """The circuit of a group after write-verify of its cells."""
    n, dtype = target.size, target.dtype
    with_ = lambda states: eqx.tree_at(lambda c: c.cell, part, with_states(part.cell, states))
    # cells of one group that are set and those that are reset take turns
    phases = jnp.asarray([1, -1]) if n > 1 else jnp.asarray([0])

    def verified(states) -> tuple[Cells, Array]:
        found = read(
            with_(states), method.select.read(part, group, method.v_read, method.v_gate_read)
        )
        i = method.select.of(part, group, found.i_cell)
        return (i / method.v_read).astype(dtype), found.status

    def step(work: _Work) -> _Work:
        key, for_read, for_write = jax.random.split(work.key, 3)
        clean, status = verified(work.states)
        log = work.log
        noisy = clean + method.read_noise * jax.random.normal(for_read, (n,), dtype)
        good = log.good | (jnp.abs(target - noisy) <= acceptance)
        way = jnp.where(good | (work.number == method.most), 0, jnp.sign(target - noisy))
        way = way.astype(int)
        level = jnp.where(way == work.last, work.level + 1, 0)
        v = jnp.where(way > 0, method.set.v(level), method.reset.v(level)).astype(dtype)
        seen = v + method.v_spread * jax.random.normal(for_write, (n,), dtype)

        def phase(carry, polarity):
            states, energy, status = carry
            counts = (way != 0) if n == 1 else (way == polarity)
            up = way[0] > 0 if n == 1 else polarity > 0
            either = lambda of, up=up: jnp.where(up, of(method.set), of(method.reset))
            lasts = either(lambda p: p.width), either(lambda p: p.edge)
            v_gate = None
            if method.set.v_gate is not None:
                v_gate = either(lambda p: p.v_gate(level[0] if n == 1 else 0 * level[0]))
            across = jnp.where(counts, seen, 0)
            found = _pulse(method, with_(states), group, across, *lasts, v_gate)
            states = jax.tree.map(
                lambda new, old: jnp.where(usable(found.status), new, old),
                states_of(found.crossbar.cell),
                states,
            )
            left = method.select.of(part, group, found.energy)
            energy = energy + jnp.where(counts, left, 0)
            shown = jnp.nan if v_gate is None else v_gate
            return (states, energy, status | found.status), jnp.where(counts, shown, jnp.nan)

        begin = work.states, log.energy, log.status | status
        (states, energy, status), gates = lax.scan(phase, begin, phases)
        gate = jnp.where(jnp.isnan(gates[0]), gates[-1], gates[0])
        log = _Log(
            clean,
            good,
            log.sets + (way > 0).astype(int),
            log.resets + (way < 0).astype(int),
            energy,
            log.v.at[work.number].set(jnp.where(way == 0, jnp.nan, v), mode="drop"),
            log.v_gate.at[work.number].set(gate, mode="drop"),
            status,
        )
        last = jnp.where(way == 0, work.last, way)
        return _Work(states, log, level, last, work.number + 1, key)

    none, zeros = jnp.zeros((n,), int), jnp.zeros((n,), dtype)
    table = jnp.full((method.most, n), jnp.nan, dtype)
    status = jnp.zeros((), jnp.int32)
    log = _Log(zeros, none > 0, none, none, zeros, table, table, status)
    begin = _Work(states_of(part.cell), log, none, none, jnp.zeros((), int), key)
    unfinished = lambda work: (work.number <= method.most) & ~jnp.all(work.log.good)
    end = lax.while_loop(unfinished, step, begin)
    return with_(end.states), end.log


def _pulse(
    method: WriteVerify,
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


def _conductance(method: WriteVerify, cell: AbstractCell) -> PerCell:
    """Conductance [S] of each cell at the read voltage, without wires."""
    if method.v_gate_read is not None:
        cell = gated(cell, method.v_gate_read)
    v = jnp.broadcast_to(method.v_read, cell.shape)
    i = cell.current(jnp.maximum(v, 0), jnp.maximum(-v, 0))
    return i / method.v_read


def _require_range(method: WriteVerify, crossbar: Crossbar, target: PerCell) -> None:
    """Raises `ValueError` for the first target that no state of its device has."""
    if not is_concrete((crossbar, method, target)):
        return
    ends = [
        np.asarray(_conductance(method, with_states(crossbar.cell, end)))
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
