"""Open-loop programming: one pulse per cell, found by inverting a model of the array."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from .._types import (
    PerCell,
    Scalar,
    optional,
    physical,
    require_nonnegative,
    require_positive,
)
from ..cells import has_memory
from ..crossbar import Crossbar
from .groups import (
    AbstractGroupProgramming,
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
PARTS = [math.nan] * 2 + [x for part in ROUNDS for x in (part, *[math.nan] * (HALVINGS - 1))]


class _Search(NamedTuple):
    """The search for the pulses of a group."""

    share: Cells  # of the range of pulses, as tried last
    low: Cells
    high: Cells
    weakest: Cells  # [S], conductances after the weakest and the strongest pulses
    strongest: Cells
    number: Array
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
        before, status = verified(self, model, group)
        sign = jnp.sign(target - before)
        way = sign.astype(int)
        none = jnp.zeros((n,), int)

        def look(search: _Search, part: Scalar) -> tuple[_Search, None]:
            """The model after the pulses at a share of their range, and where to look next. `part`
            is the part of the range in which a round begins, NaN within a round."""
            begins = jnp.isfinite(part)
            low = jnp.where(begins, jnp.clip(search.share - part, 0, 1), search.low)
            high = jnp.where(begins, jnp.clip(search.share + part, 0, 1), search.high)
            # the weakest and the strongest pulse come first
            first = search.number.astype(dtype)
            share = jnp.where(search.number < 2, first, (low + high) / 2)
            v = jnp.where(way > 0, self.set.between(share), self.reset.between(share))
            given = pulsed(self, model, group, way, v, none)
            g, flags = verified(self, with_group(model, given.states), group)
            beyond = (sign * (g - target) > 0) & (search.number > 1)
            return _Search(
                jnp.where(search.number < 2, 0.5, share).astype(dtype),
                jnp.where(beyond, low, share),
                jnp.where(beyond, share, high),
                jnp.where(search.number == 0, g, search.weakest).astype(dtype),
                jnp.where(search.number == 1, g, search.strongest).astype(dtype),
                search.number + 1,
                search.status | flags | given.status,
            ), None

        half = jnp.full((n,), 0.5, dtype)
        begin = _Search(half, half, half, half, half, jnp.zeros((), int), status)
        search, _ = lax.scan(look, begin, jnp.asarray(PARTS, dtype))
        weakest, strongest, status = search.weakest, search.strongest, search.status
        share = jnp.where(sign * (target - strongest) >= 0, 1, (search.low + search.high) / 2)
        helps = jnp.abs(weakest - target) < jnp.abs(before - target)
        way = jnp.where(helps | (sign * (target - weakest) > 0), way, 0)
        v = jnp.where(way > 0, self.set.between(share), self.reset.between(share)).astype(dtype)
        seen = v + self.v_spread * jax.random.normal(key, (n,), dtype)
        given = pulsed(self, part, group, way, seen, none)
        after = with_group(part, given.states)
        g, last = verified(self, after, group)
        good = jnp.abs(g - target) <= acceptance
        return after, logged(g, good, way, v, given, status | last)
