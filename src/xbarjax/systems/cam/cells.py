"""Cells of content-addressable memories, made of memristors and transistors.

A cell compares one entry of a query with what it stores. Where they do not match, transistors pull
the match line of the row down. What is between the search lines (dividers, which hold the gates of
the pull-downs) carries a static current; what is on the match line discharges it.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import (
    described,
    everywhere,
    optional,
    physical,
    require_finite,
    require_nonnegative,
)
from ...cells import AbstractCell, Level1Mosfet, Mosfet, Ohmic, Parallel, PChannel, Series
from . import dividers, spacing
from .cell import AbstractAnalogCell, AbstractStaticCamCell, Nodes, Programmed, Supplied

Transistor = Mosfet | Level1Mosfet


class Analog6T2M(AbstractStaticCamCell, AbstractAnalogCell):
    """An analog cell of six transistors and two memristors (6T2M), which stores an interval.

    A data line is the gate of two dividers. Each has a memristor at the high search line and an
    n-channel transistor at the low one, and a node between them. The node of the memristor `g_low`
    is the gate of one pull-down: a low voltage of the data line leaves the node high, and the match
    line is discharged. The node of `g_high` goes through an inverter to the gate of the other
    pull-down: a high voltage of the data line discharges the match line. Between the two bounds the
    match line stays. C. Li et al., Nat. Commun. 11, 1638 (2020), doi:10.1038/s41467-020-15254-4.

    A larger conductance is a higher bound: without a lower bound `g_low` is 0, without an upper one
    `g_high` is large.

    **Arguments:**

    - `g_low`, `g_high`: conductances [S] of the memristors, `(rows, cols)`.
    - `divider`, `pull_down`: n-channel transistors, a `Mosfet` or a `Level1Mosfet`; their own gate
        voltages do not count.
    - `inverter`: n-channel transistor of the inverter; the p-channel one is its mirror image.
    - `v_high`, `v_low`: voltages [V] of the search lines; the published cell has 0.5 V and 0.
    - `v_inverter`: supply [V] of the inverter, by default `v_high`.
    """

    g_low: Float[Array, "rows cols"] = eqx.field(converter=physical("g_low"))
    g_high: Float[Array, "rows cols"] = eqx.field(converter=physical("g_high"))
    divider: Transistor
    pull_down: Transistor
    inverter: Transistor
    v_high: Float[Array, ""] = eqx.field(converter=physical("v_high"), default=0.5)
    v_low: Float[Array, ""] = eqx.field(converter=physical("v_low", whole=True), default=0.0)
    v_inverter: Float[Array, ""] | None = eqx.field(converter=optional("v_inverter"), default=None)

    def __check_init__(self):
        require_cells(self, "g_low", "g_high")
        for name in ("divider", "pull_down", "inverter"):
            require_transistor(getattr(self, name), name)
        for name in ("v_high", "v_low", "v_inverter"):
            if getattr(self, name) is not None:
                require_finite(getattr(self, name), name, "V")

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.g_low.shape
        return rows, cols

    def require_query(self, query: Array) -> None:
        require_finite(query, "query", "V")

    def _dividers(self, query: Array) -> tuple[Series, Series]:
        """One with each memristor. One `query` per column."""
        gate = jnp.broadcast_to(query, self.shape)
        of = lambda g: Series(Ohmic(g), self.divider.gated(gate))
        return of(self.g_low), of(self.g_high)

    def supplied(self, query: Float[Array, " cols"]) -> tuple[Supplied, ...]:
        of = lambda v: jnp.broadcast_to(v, query.shape).astype(query.dtype)
        return (Supplied(Parallel(*self._dividers(query)), of(self.v_high), of(self.v_low)),)

    def gates(self, query: Float[Array, " cols"], nodes: tuple[Nodes, ...]) -> tuple[Array, Array]:
        (at,) = nodes
        return self.gates_at(query, at)

    def gates_at(self, v_data: Array, at: Nodes) -> tuple[Array, Array]:
        """Gate voltages [V] of the pull-downs at data-line voltages [V] that broadcast to `(rows,
        cols)`."""
        low, high = (d.v_inner(at.v_high, at.v_low) for d in self._dividers(v_data))
        return low, self.inverted(high)

    @property
    def v_supply(self) -> Float[Array, ""]:
        """Supply [V] of the inverters."""
        return self.v_high if self.v_inverter is None else self.v_inverter

    def inverted(self, v: Array) -> Array:
        """Output [V] of the inverters at inputs `v` [V]."""
        supply = jnp.broadcast_to(self.v_supply, v.shape).astype(v.dtype)
        inverters = Series(PChannel(self.inverter, v, supply), self.inverter.gated(v))
        return inverters.v_inner(supply, jnp.zeros_like(v))

    def pull_downs(self, gates: tuple[Array, ...]) -> AbstractCell:
        low, high = gates
        return Parallel(self.pull_down.gated(low), self.pull_down.gated(high))

    def v_data(self, query: Float[Array, " cols"]) -> tuple[Array, ...]:
        return (query,)

    def bounds(self, tile: Any) -> tuple[Array, Array]:
        return dividers.bounds(tile)

    def programmed(self, tile: Any, low: Array, high: Array, g_max: Any) -> Programmed:
        return dividers.stored(tile, low, high, g_max)

    def levels(self, tile: Any, count: int, g_min: Any, g_max: Any) -> tuple[Array, Array]:
        return spacing.levels(tile, count, g_min, g_max)


def _raised(query: Array, v: Array) -> tuple[Array, Array]:
    """Voltages [V] of the two lines of each column: `v` on the one that a bit raises, else 0; NaN
    for what is no bit, which shows in the status of a search where no error can be raised."""
    known = (query == 0) | (query == 1) | (query == 0.5)
    on = lambda raised: jnp.where(known, jnp.where(raised, v, 0), jnp.nan).astype(query.dtype)
    return on(query == 1), on(query == 0)


def require_bits(query: Array) -> None:
    """Raises `ValueError` for other entries than 0, 1 and 0.5."""
    require_finite(query, "query", "")
    if not everywhere(lambda query: (query == 0) | (query == 1) | (query == 0.5), query):
        raise ValueError("query has entries other than 0, 1 and 0.5, which matches either bit.")


class Ternary2T2R(AbstractStaticCamCell):
    """A ternary cell of two transistors and two memristors (2T2R).

    Each half is a memristor in series with a transistor, from the match line to ground. A query bit
    of 1 raises the gate of the first half, 0 that of the second. A stored 1 has a first half of low
    conductance and a second of high conductance; both are low where either bit matches.

    **Arguments:**

    - `g_one`, `g_zero`: conductances [S] of the halves that a query of 1, of 0, opens; `(rows,
        cols)`.
    - `switch`: n-channel transistor; its own gate voltage does not count.
    - `v_gate`: voltage [V] of a raised search line.

    A query has entries 0, 1, and 0.5 where either stored bit matches.
    """

    g_one: Float[Array, "rows cols"] = eqx.field(converter=physical("g_one"))
    g_zero: Float[Array, "rows cols"] = eqx.field(converter=physical("g_zero"))
    switch: Transistor
    v_gate: Float[Array, ""] = eqx.field(converter=physical("v_gate"), default=1.2)

    def __check_init__(self):
        require_cells(self, "g_one", "g_zero")
        require_transistor(self.switch, "switch")
        require_finite(self.v_gate, "v_gate", "V")

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.g_one.shape
        return rows, cols

    def require_query(self, query: Array) -> None:
        require_bits(query)

    def supplied(self, query: Float[Array, " cols"]) -> tuple[Supplied, ...]:
        return ()

    def gates(self, query: Float[Array, " cols"], nodes: tuple[Nodes, ...]) -> tuple[Array, Array]:
        one, zero = self.v_data(query)
        return jnp.broadcast_to(one, self.shape), jnp.broadcast_to(zero, self.shape)

    def pull_downs(self, gates: tuple[Array, ...]) -> AbstractCell:
        one, zero = gates
        half = lambda g, gate: Series(Ohmic(g), self.switch.gated(gate))
        return Parallel(half(self.g_one, one), half(self.g_zero, zero))

    def v_data(self, query: Float[Array, " cols"]) -> tuple[Array, Array]:
        return _raised(query, self.v_gate)


class Ternary4T2R(AbstractStaticCamCell):
    """A ternary cell of four transistors and two memristors (4T2R).

    Each half is a divider of a memristor at a data line and a transistor at ground, and the node
    between them is the gate of a pull-down. A query bit of 1 raises the data line of the first
    half, 0 that of the second. The transistor's resistance is between those of the memristor's two
    states, so that a memristor of high conductance opens the pull-down (US patent 9,721,661).

    **Arguments:**

    - `g_one`, `g_zero`: conductances [S] of the halves that a query of 1, of 0, raises; `(rows,
        cols)`. A stored 1 has a low `g_one` and a high `g_zero`.
    - `switch`: n-channel transistor of the dividers; `v_word`: its gate voltage [V].
    - `pull_down`: n-channel transistor on the match line.
    - `v_data_high`: voltage [V] of a raised data line.

    A query has entries 0, 1, and 0.5 where either stored bit matches.
    """

    g_one: Float[Array, "rows cols"] = eqx.field(converter=physical("g_one"))
    g_zero: Float[Array, "rows cols"] = eqx.field(converter=physical("g_zero"))
    switch: Transistor
    pull_down: Transistor
    v_word: Float[Array, ""] = eqx.field(converter=physical("v_word"), default=0.25)
    v_data_high: Float[Array, ""] = eqx.field(converter=physical("v_data_high"), default=0.5)

    def __check_init__(self):
        require_cells(self, "g_one", "g_zero")
        for name in ("switch", "pull_down"):
            require_transistor(getattr(self, name), name)
        for name in ("v_word", "v_data_high"):
            require_finite(getattr(self, name), name, "V")

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.g_one.shape
        return rows, cols

    def require_query(self, query: Array) -> None:
        require_bits(query)

    def _dividers(self) -> tuple[Series, Series]:
        word = jnp.broadcast_to(self.v_word, self.shape)
        of = lambda g: Series(Ohmic(g), self.switch.gated(word))
        return of(self.g_one), of(self.g_zero)

    def supplied(self, query: Float[Array, " cols"]) -> tuple[Supplied, ...]:
        still = jnp.zeros_like(query)
        return tuple(Supplied(d, v, still) for d, v in zip(self._dividers(), self.v_data(query)))

    def gates(self, query: Float[Array, " cols"], nodes: tuple[Nodes, ...]) -> tuple[Array, ...]:
        return tuple(d.v_inner(*at) for d, at in zip(self._dividers(), nodes))

    def pull_downs(self, gates: tuple[Array, ...]) -> AbstractCell:
        one, zero = gates
        return Parallel(self.pull_down.gated(one), self.pull_down.gated(zero))

    def v_data(self, query: Float[Array, " cols"]) -> tuple[Array, Array]:
        return _raised(query, self.v_data_high)


class Ternary16T(AbstractStaticCamCell):
    """A ternary cell of 16 transistors, the digital reference: two SRAM bits of six transistors
    each, and two pairs of transistors in series on the match line.

    The gate of one transistor of a pair is a stored bit, that of the other a search line.

    **Arguments:**

    - `one`, `zero`: whether a query of 1, of 0, discharges the match line, `(rows, cols)`, 1 or 0.
        A stored 1 has `one = 0` and `zero = 1`; both are 0 where either bit matches.
    - `transistor`: n-channel transistor of the pairs.
    - `v_supply`: supply [V], also of a raised search line.

    A query has entries 0, 1, and 0.5 where either stored bit matches.
    """

    one: Float[Array, "rows cols"] = eqx.field(converter=physical("one", whole=True))
    zero: Float[Array, "rows cols"] = eqx.field(converter=physical("zero", whole=True))
    transistor: Transistor
    v_supply: Float[Array, ""] = eqx.field(converter=physical("v_supply"), default=0.8)

    def __check_init__(self):
        require_cells(self, "one", "zero", "")
        require_transistor(self.transistor, "transistor")
        require_finite(self.v_supply, "v_supply", "V")

    @property
    def shape(self) -> tuple[int, int]:
        rows, cols = self.one.shape
        return rows, cols

    def require_query(self, query: Array) -> None:
        require_bits(query)

    def supplied(self, query: Float[Array, " cols"]) -> tuple[Supplied, ...]:
        return ()

    def gates(self, query: Float[Array, " cols"], nodes: tuple[Nodes, ...]) -> tuple[Array, Array]:
        one, zero = self.v_data(query)
        return jnp.broadcast_to(one, self.shape), jnp.broadcast_to(zero, self.shape)

    def pull_downs(self, gates: tuple[Array, ...]) -> AbstractCell:
        n = self.transistor
        pair = lambda bit, gate: Series(n.gated(gate), n.gated(bit * self.v_supply))
        return Parallel(pair(self.one, gates[0]), pair(self.zero, gates[1]))

    def v_data(self, query: Float[Array, " cols"]) -> tuple[Array, Array]:
        return _raised(query, self.v_supply)


def require_cells(cell: Any, first: str, second: str, unit: str = "S") -> None:
    """Raises `ValueError` unless two fields are `(rows, cols)` and at least 0."""
    a, b = getattr(cell, first), getattr(cell, second)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"{first} has shape {a.shape} and {second} {b.shape}; both must be (rows, cols)."
        )
    for name in (first, second):
        require_nonnegative(getattr(cell, name), name, unit, open_allowed=False)


def require_transistor(x: Any, name: str) -> None:
    """Raises `TypeError` for anything but an n-channel transistor."""
    if not isinstance(x, (Mosfet, Level1Mosfet)):
        raise TypeError(f"{name} is {described(x)}; pass an n-channel Mosfet or Level1Mosfet.")
