"""Write-verify: read a cell, write it towards its target, and again until it is in the window."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._types import (
    PerCell,
    Scalar,
    everywhere,
    optional,
    physical,
    require_nonnegative,
    require_positive,
)
from ..cells import states_of
from ..crossbar import Crossbar
from .groups import (
    AbstractGroupProgramming,
    Log,
    next_level,
    pulsed,
    require_cells,
    require_read_voltage,
    verified,
    with_group,
)
from .pulses import Pulses
from .selection import AbstractSelection, Cells, SelectRows


class WriteVerify(AbstractGroupProgramming):
    """Write-verify: each cell is read and, while it is outside the acceptance window, gets one more
    pulse towards its target.

    Pulses of one polarity follow their staircase, which starts anew when the polarity changes. The
    cells of a group share wires, so that pulses of one move the reading of others: a cell that has
    left its window again gets the pulse that it got last. A group ends when a verify finds all of
    its cells in their windows. (W. Wan et al., Nature 608, 504 (2022),
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
        require_read_voltage(self.v_read)
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

    @property
    def rounds(self) -> int:
        return self.most

    def require(self, crossbar: Crossbar, target: PerCell) -> None:
        require_cells(self, crossbar, target)

    def group(
        self, part: Crossbar, group: Any, target: Cells, acceptance: Cells, key: PRNGKeyArray
    ) -> tuple[Crossbar, Log]:
        n, dtype = target.size, target.dtype

        def step(work: _Work) -> _Work:
            key, for_read, for_write = jax.random.split(work.key, 3)
            now = with_group(part, work.states)
            clean, status = verified(self, now, group)
            clean, log = clean.astype(dtype), work.log
            noisy = clean + self.read_noise * jax.random.normal(for_read, (n,), dtype)
            good = jnp.abs(target - noisy) <= acceptance
            way = jnp.where(good | (work.number == self.most), 0, jnp.sign(target - noisy))
            way = way.astype(int)
            level = next_level(way, work.last, work.level, (~log.good).astype(int))
            v = jnp.where(way > 0, self.set.v(level), self.reset.v(level)).astype(dtype)
            seen = v + self.v_spread * jax.random.normal(for_write, (n,), dtype)
            given = pulsed(self, now, group, way, seen, level)
            log = Log(
                clean,
                good,
                log.sets + (way > 0).astype(int),
                log.resets + (way < 0).astype(int),
                log.energy + given.energy,
                log.v.at[work.number].set(jnp.where(way == 0, jnp.nan, v), mode="drop"),
                log.v_gate.at[work.number].set(given.v_gate, mode="drop"),
                log.status | status | given.status,
            )
            last = jnp.where(way == 0, work.last, way)
            return _Work(given.states, log, level, last, work.number + 1, key)

        none, zeros = jnp.zeros((n,), int), jnp.zeros((n,), dtype)
        table = jnp.full((self.most, n), jnp.nan, dtype)
        status = jnp.zeros((), jnp.int32)
        log = Log(zeros, none > 0, none, none, zeros, table, table, status)
        begin = _Work(states_of(part.cell), log, none, none, jnp.zeros((), int), key)
        unfinished = lambda work: (work.number <= self.most) & ~jnp.all(work.log.good)
        end = lax.while_loop(unfinished, step, begin)
        return with_group(part, end.states), end.log


class _Work(NamedTuple):
    """A group between two pulses."""

    states: Any
    log: Log
    level: Int[Array, " cells"]  # number of pulses of the same polarity before
    last: Int[Array, " cells"]  # polarity of the last pulse: 1 for a set, -1 for a reset
    number: Int[Array, ""]  # of the next pulse
    key: PRNGKeyArray
