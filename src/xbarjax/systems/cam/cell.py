"""What a cell of a content-addressable memory is to its tile."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._types import Scalar
from ...analyses.read import read
from ...cells import AbstractCell
from ...crossbar import Crossbar
from ...drive import Bias, Drive
from ...kirchhoff.solution import Status
from ...readout import VirtualGround
from ...wires import Wires


class Supplied(NamedTuple):
    """Devices between a high and a low search line of each column, `(rows, cols)`."""

    devices: AbstractCell
    v_high: Float[Array, " cols"]  # [V] of the driver of the high line
    v_low: Float[Array, " cols"]


class Nodes(NamedTuple):
    """Voltages [V] of the search lines at each cell, `(rows, cols)`."""

    v_high: Array
    v_low: Array


class Steps(NamedTuple):
    """How cells that decide in time are followed."""

    rtol: Scalar  # local error of a step, relative to the supply
    max_steps: int


class Evaluated(NamedTuple):
    """Cells that have compared a query, when the match lines are released."""

    gates: tuple[Array, ...]  # [V], on which the pull-downs depend
    nodes: tuple[Nodes, ...]  # of each pair of search lines
    power: Scalar  # [W] out of the supply while the match lines fall
    energy: Scalar  # [J] that the comparison took before
    status: Array


class AbstractCamCell(eqx.Module):
    """Cells of a content-addressable memory, one per row and column.

    The cells evaluate a query before the match lines are released. What they found, the gates of
    the pull-downs, holds while the match lines fall.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """`(rows, cols)`."""

    @abc.abstractmethod
    def require_query(self, query: Array) -> None:
        """Raises `ValueError` for a query that the cells cannot compare."""

    @abc.abstractmethod
    def evaluated(self, query: Float[Array, " cols"], wires: Wires, steps: Steps) -> Evaluated:
        """The cells at a query, with search lines of `wires` (`Wires.parallel`)."""

    @abc.abstractmethod
    def pull_downs(self, gates: tuple[Array, ...]) -> AbstractCell:
        """What is between the match line and ground."""

    @abc.abstractmethod
    def v_data(self, query: Float[Array, " cols"]) -> tuple[Array, ...]:
        """Voltages [V] of the data lines of each column."""


class AbstractStaticCamCell(AbstractCamCell):
    """Cells at rest when the match lines are released: search lines carry static currents."""

    @abc.abstractmethod
    def supplied(self, query: Float[Array, " cols"]) -> tuple[Supplied, ...]:
        """What is between search lines."""

    @abc.abstractmethod
    def gates(self, query: Float[Array, " cols"], nodes: tuple[Nodes, ...]) -> tuple[Array, ...]:
        """Gate voltages [V] on which the pull-downs depend, with search lines at `nodes` for each
        of `supplied`."""

    def evaluated(self, query: Float[Array, " cols"], wires: Wires, steps: Steps) -> Evaluated:
        nodes, power, status = [], jnp.zeros((), query.dtype), jnp.zeros((), jnp.int32)
        for part in self.supplied(query):
            array = Crossbar(part.devices, wires, Drive(0.0), VirtualGround(0.0))
            solution = read(array, Bias(part.v_high, part.v_high, part.v_low, part.v_low))
            nodes.append(Nodes(solution.v_row, solution.v_col))
            power += jnp.sum(solution.i_in * part.v_high) - jnp.sum(solution.i_out * part.v_low)
            # a data line below threshold is a query like others
            status |= solution.status & ~int(Status.GATES_OFF)
        gates = self.gates(query, tuple(nodes))
        return Evaluated(gates, tuple(nodes), power, jnp.zeros_like(power), status)


class Programmed(NamedTuple):
    """Conductances for wanted bounds, `(rows, cols)` for the lower and for the upper ones."""

    g: tuple[Array, Array]  # [S], the nearest where a bound is out of reach
    over: tuple[Array, Array]  # bounds that need more than the largest
    lost: tuple[Array, Array]  # bounds that the search lines do not allow


class AbstractAnalogCell(AbstractCamCell):
    """Cells that store an interval of data-line voltages in two memristors.

    Their bounds depend on the lines: methods take the `Tile` that holds the cells.
    """

    g_low: eqx.AbstractVar[Array]  # [S], `(rows, cols)`
    g_high: eqx.AbstractVar[Array]

    @abc.abstractmethod
    def bounds(self, tile: Any) -> tuple[Array, Array]:
        """Bounds [V], `(rows, cols)`; inf where there is none."""

    @abc.abstractmethod
    def programmed(self, tile: Any, low: Array, high: Array, g_max: Any) -> Programmed:
        """Conductances up to `g_max` [S] for bounds [V], as if wires were ideal."""

    @abc.abstractmethod
    def levels(self, tile: Any, count: int, g_min: Any, g_max: Any) -> tuple[Array, Array]:
        """Inner edges [V] of levels, lower bounds of conductances from `g_min` to `g_max` [S] in
        geometric order, and a query [V] for each level."""
