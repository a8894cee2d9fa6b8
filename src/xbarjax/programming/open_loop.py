"""Open-loop programming: one pulse per cell, found by inverting a model of the array."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._types import (
    PerCell,
    Scalar,
    optional,
    physical,
    require_nonnegative,
    require_positive,
)
from ..cells import has_memory, states_of
from ..crossbar import Crossbar
from .groups import (
    AbstractGroupProgramming,
    Given,
    Log,
    logged,
    pulsed,
    require_cells,
    require_read_voltage,
    verified,
    with_group,
)
from .pulses import Pulses, require_range
from .selection import AbstractSelection, Cells, SelectRows

HALVINGS = 8  # in a round
# Cells of a group pull on each other's voltages: the whole range is halved, then a part of it
# around the pulses that were found, and again.
ROUNDS = 0.5, 1 / 16, 1 / 128
# A search reads the model as it is, tries the weakest pulses and the strongest, and halves. Each
# number is the part of the range in which a round begins, NaN within a round.
BEFORE, WEAKEST, STRONGEST = range(3)
PARTS = [math.nan] * 3 + [x for part in ROUNDS for x in (part, *[math.nan] * (HALVINGS - 1))]
LAST = len(PARTS)  # the array is written


class _Search(NamedTuple):
    """The search for the pulses of a group."""

    share: Cells  # of the range of pulses, as tried last
    low: Cells
    high: Cells
    before: Cells  # [S], conductances before
    weakest: Cells  # and after the weakest and the strongest pulses
    strongest: Cells


class _Tried(NamedTuple):
    """One pulse on each cell of a group."""

    way: Int[Array, " cells"]  # 1 for a set, -1 for a reset, 0 for none
    v: Cells  # [V]
    given: Given
    g: Cells  # [S], after it
    status: Array


class OpenLoop(AbstractGroupProgramming):
    """Open-loop programming: each cell gets at most one pulse, and nothing is read on the way.

    The voltage of a pulse is the one that brings the cell of a model to its target. The range from
    the weakest to the strongest pulse is halved for all cells of a group at once, each time by a
    transient and a read of the model. A cell gets no pulse if the weakest one would leave it
    further from its target than it is.

    **Arguments:**

    - `set`, `reset`: the `Pulses` that raise and lower the conductance. The `start` and `stop` of
        their staircases are the weakest and the strongest voltage.
    - `model`: the array as the inversion takes it to be, with the states before programming, for
        example with ideal wires or mean devices. By default the array itself.
    - `acceptance`: half the width of the window around the target [S] for `Programmed.good`.
    - `v_read`, `v_gate_read`: read voltage and gate voltage [V] that define conductance, as in
        `xb.WriteVerify`.
    - `v_spread`: standard deviation [V] of the voltage of a pulse.
    - `select`, `rtol`: as in `xb.WriteVerify`.

    Raises `ValueError` for staircases without `stop`, a window that is not positive, and a model of
    another shape; `xb.program` for what `xb.WriteVerify` refuses.
    """

    set: Pulses
    reset: Pulses
    acceptance: Float[Array, "*rows_cols"] = eqx.field(converter=physical("acceptance"))
    v_read: Scalar = eqx.field(converter=physical("v_read", whole=True))
    v_gate_read: Scalar | None = eqx.field(
        converter=optional("v_gate_read", whole=True), default=None
    )
    model: Crossbar | None = None
    v_spread: Scalar = eqx.field(converter=physical("v_spread"), default=0.0)
    select: AbstractSelection = eqx.field(default_factory=SelectRows)
    rtol: Scalar = eqx.field(converter=physical("rtol"), default=1e-3)

    def __check_init__(self):
        require_positive(self.acceptance, "acceptance", "S")
        require_positive(self.rtol, "rtol", "")
        require_nonnegative(self.v_spread, "v_spread", "V", open_allowed=False)
        require_read_voltage(self.v_read)
        for name in ("set", "reset"):
            require_range(getattr(self, name), name)

    @property
    def rounds(self) -> int:
        return 1

    def require(self, crossbar: Crossbar, target: PerCell) -> None:
        model = self.model
        if model is not None and not (model.shape == crossbar.shape and has_memory(model.cell)):
            raise ValueError(
                f"model has {model.shape} cells of {type(model.cell).__name__}; pass a Crossbar of"
                f" {crossbar.shape} cells with memory."
            )
        require_cells(self, crossbar, target)

    def group(
        self, part: Crossbar, group: Any, target: Cells, acceptance: Cells, key: PRNGKeyArray
    ) -> tuple[Crossbar, Log]:
        n, dtype = target.size, target.dtype
        model = part if self.model is None else self.select.part(self.model, group)
        # where the model has the form of the array, one loop has both: compiled once
        together = jax.tree.structure(model) == jax.tree.structure(part)
        noise = self.v_spread * jax.random.normal(key, (n,), dtype)

        def write(circuit: Crossbar, way: Array, v: Cells, more: Cells, reads: Any) -> _Tried:
            """A circuit after pulses of `v + more` [V], or as it is if it `reads` alone."""
            given = pulsed(self, circuit, group, way, v + more, 0 * way)
            kept = lambda new, old: jnp.where(reads, old, new)
            states = jax.tree.map(kept, given.states, states_of(circuit.cell))
            g, status = verified(self, with_group(circuit, states), group)
            given = given._replace(states=states, status=kept(given.status, 0))
            return _Tried(way, v, given, g.astype(dtype), status | given.status)

        def voltage(way: Array, share: Array) -> Cells:
            return jnp.where(way > 0, self.set.between(share), self.reset.between(share))

        def found(search: _Search) -> tuple[Array, Cells]:
            """Polarities and voltages [V] of the pulses on the array."""
            sign = jnp.sign(target - search.before)
            enough = sign * (target - search.strongest) < 0
            share = jnp.where(enough, (search.low + search.high) / 2, 1)
            helps = jnp.abs(search.weakest - target) < jnp.abs(search.before - target)
            way = jnp.where(helps | (sign * (target - search.weakest) > 0), sign, 0).astype(int)
            return way, voltage(way, share).astype(dtype)

        def look(search: _Search, at: tuple[Array, Scalar]) -> tuple[_Search, _Tried]:
            """What pulses at a share of their range do to the model, and where to look next."""
            number, part_of = at
            begins = jnp.isfinite(part_of)
            low = jnp.where(begins, jnp.clip(search.share - part_of, 0, 1), search.low)
            high = jnp.where(begins, jnp.clip(search.share + part_of, 0, 1), search.high)
            first = (number == STRONGEST).astype(dtype)
            share = jnp.where(number <= STRONGEST, first, (low + high) / 2)
            sign = jnp.sign(target - search.before)
            way = sign.astype(int)
            v, more, circuit = voltage(way, share).astype(dtype), 0 * noise, model
            if together:
                last = lambda a, b: jnp.where(number == LAST, a, b)
                way, v, more = jax.tree.map(last, (*found(search), noise), (way, v, more))
                circuit = model if self.model is None else jax.tree.map(last, part, model)
            tried = write(circuit, way, v, more, number == BEFORE)
            beyond = (sign * (tried.g - target) > 0) & (number > STRONGEST)
            then = lambda k, old: jnp.where(number == k, tried.g, old)
            return _Search(
                jnp.where(number <= STRONGEST, 0.5, share).astype(dtype),
                jnp.where(beyond, low, share).astype(dtype),
                jnp.where(beyond, share, high).astype(dtype),
                then(BEFORE, search.before),
                then(WEAKEST, search.weakest),
                then(STRONGEST, search.strongest),
            ), tried

        half = jnp.full((n,), 0.5, dtype)
        begin = _Search(half, half, half, target, target, target)  # on target: without a pulse
        parts = jnp.asarray([*PARTS, math.nan][: LAST + together], dtype)
        search, tried = lax.scan(look, begin, (jnp.arange(parts.size), parts))
        status = jnp.bitwise_or.reduce(tried.status)
        done = jax.tree.map(lambda x: x[-1], tried)
        if not together:
            done = write(part, *found(search), noise, False)
            status = status | done.status
        good = jnp.abs(done.g - target) <= acceptance
        after = with_group(part, done.given.states)
        return after, logged(done.g, good, done.way, done.v, done.given, status)
