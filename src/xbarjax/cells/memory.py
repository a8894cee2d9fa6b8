"""Devices with memory: a state that moves with the voltages, and sets the current.

    I = I(x, v_row, v_col),    dx/dt = f(x, v_row, v_col),    low <= x <= high.

A stage of an implicit method asks for the end of `x = x_h + d f(x, v)`, with `x_h` known. This
equation is solved for each device, which makes `x` a function of the voltages. What is left is a
device without memory: `InStage`.
"""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import PyTree

from .._types import DeviceMask, Inner, PerDevice, Scalar
from .cell import (
    AbstractCell,
    AbstractGatedCell,
    AbstractNestedCell,
    AbstractRangedCell,
    conducts,
    differentiated,
    gated,
    in_range,
)

if TYPE_CHECKING:
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar  # type checkers see class variables

MAX_STEPS = 100  # of the search for a state; 50 bisections alone reach float64 precision
States: TypeAlias = tuple[PerDevice, ...]


class AbstractMemoryCell(AbstractCell):
    """Devices with states that their voltages move.

    `states` names the fields that move. All other analyses take them as parameters: a read sees the
    device as it is. `xb.simulate` moves them, with any wires and drivers around the device.
    """

    states: AbstractClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def rate(self, v_row: PerDevice, v_col: PerDevice) -> States:
        """Change per second of each state, at terminal voltages [V]."""

    @property
    @abc.abstractmethod
    def bounds(self) -> tuple[tuple[PerDevice, PerDevice], ...]:
        """Smallest and largest value of each state, both finite. A state that has come to a bound
        stays there until its rate points inwards."""


class InStage(AbstractNestedCell, AbstractGatedCell, AbstractRangedCell):
    """Devices with memory in a stage of `d` [s]: devices without memory, whose states are at the
    end of `x = held + d rate(x, v)`."""

    cell: AbstractMemoryCell
    held: States
    d: Scalar

    @property
    def is_linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    @property
    def is_reciprocal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.is_reciprocal

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.cell_at(_states_at(self, v_row, v_col)).current(v_row, v_col)

    @property
    def parts(self) -> tuple[AbstractCell]:
        return (self.cell,)

    @property
    def extent(self) -> tuple[int, ...]:
        return self.cell.shape

    def nodes(self, v_row: PerDevice, v_col: PerDevice, guess: Inner) -> Inner:
        """The states at the end of the stage. The search always starts from those at its start, so
        that of several ends it takes the first one on the way."""
        return _states_at(self, v_row, v_col)

    def insides(self, inner: Inner) -> tuple[Inner]:
        return ((),)

    def with_parts(self, parts: tuple[AbstractCell, ...]) -> "InStage":
        (cell,) = parts
        assert isinstance(cell, AbstractMemoryCell)
        return InStage(cell, self.held, self.d)

    def tangents(
        self, v_row: PerDevice, v_col: PerDevice, inner: Inner
    ) -> tuple[PerDevice, PerDevice, PerDevice]:
        known = None if inner is None else lax.stop_gradient(inner)

        def current(v_row, v_col):
            return self.cell_at(_states_at(self, v_row, v_col, known)).current(v_row, v_col)

        return differentiated(current, self.is_reciprocal, v_row, v_col)

    def valid(self) -> DeviceMask:
        return self.cell.valid()

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return in_range(self.cell_at(_states_at(self, v_row, v_col)), v_row, v_col)

    def gated(self, v_gate: PerDevice) -> "InStage":
        return self.with_parts((gated(self.cell, v_gate),))

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return conducts(self.cell, v_row, v_col)

    def cell_at(self, states: States) -> AbstractMemoryCell:
        """The devices in given states."""
        return _with_own(self.cell, states)


def has_memory(cell: AbstractCell) -> bool:
    """Whether a cell, or a cell inside it, has a state that moves."""
    if isinstance(cell, AbstractNestedCell):
        return any(has_memory(part) for part in cell.parts)
    return isinstance(cell, AbstractMemoryCell)


def states_of(cell: AbstractCell) -> PyTree[PerDevice]:
    """The states of all devices of a cell, each in the cell's shape."""
    full = lambda x: jnp.broadcast_to(x, cell.shape)
    return jax.tree.map(full, _gathered(cell, _own))


def bounds_of(cell: AbstractCell) -> tuple[PyTree[PerDevice], PyTree[PerDevice]]:
    """Smallest and largest values of all states, in the structure of `states_of`."""
    full = lambda x: jnp.broadcast_to(jnp.asarray(x), cell.shape)
    end = lambda k: _gathered(cell, lambda c: tuple(full(pair[k]) for pair in c.bounds))
    return end(0), end(1)


def with_states(cell: AbstractCell, states: PyTree[PerDevice]) -> AbstractCell:
    """The cell with other states, as `states_of` returns them."""
    return _replaced(cell, states, _with_own)


def in_stage(cell: AbstractCell, held: PyTree[PerDevice], d: Scalar) -> AbstractCell:
    """The cell in a stage of `d` [s], without memory. States start from `held`."""
    return _replaced(cell, held, lambda own, states: InStage(own, states, d))


def states_after(cell: AbstractCell, v_row: PerDevice, v_col: PerDevice) -> PyTree[PerDevice]:
    """The states of a cell `in_stage` at the end of the stage, at terminal voltages [V]."""

    def within(cell: AbstractCell, inner: Inner) -> PyTree[PerDevice]:
        if isinstance(cell, InStage):
            return inner
        if not isinstance(cell, AbstractNestedCell):
            return ()
        return tuple(within(*each) for each in zip(cell.parts, cell.insides(inner)))

    return within(cell, cell.inner(v_row, v_col))


def _gathered(cell: AbstractCell, of: Callable[[AbstractMemoryCell], Any]) -> Any:
    if isinstance(cell, AbstractNestedCell):
        return tuple(_gathered(part, of) for part in cell.parts)
    return of(cell) if isinstance(cell, AbstractMemoryCell) else ()


def _replaced(cell: AbstractCell, states: Any, by: Callable[..., AbstractCell]) -> AbstractCell:
    if isinstance(cell, AbstractNestedCell) and has_memory(cell):
        return cell.with_parts(tuple(_replaced(*each, by) for each in zip(cell.parts, states)))
    return by(cell, states) if isinstance(cell, AbstractMemoryCell) else cell


def _own(cell: AbstractMemoryCell) -> tuple[Any, ...]:
    return tuple(getattr(cell, name) for name in cell.states)


def _with_own(cell: AbstractMemoryCell, states: States) -> AbstractMemoryCell:
    return eqx.tree_at(_own, cell, states)


def _states_at(
    stage: InStage,
    v_row: PerDevice,
    v_col: PerDevice,
    known: States | None = None,
    before: States = (),
) -> States:
    """The states at the end of a stage, one after the other. The law of each state is solved with
    those after it as functions of it. With `known` states nothing is searched for."""
    k = len(before)
    if k == len(stage.held):
        return before
    full = lambda x: jnp.broadcast_to(jnp.asarray(x), v_row.shape).astype(v_row.dtype)
    low, high = map(full, stage.cell.bounds[k])
    args = stage, v_row, v_col, before
    if known is None:
        x = _search(*lax.stop_gradient((args, low, high, full(stage.held[k]))))
    else:
        x = full(known[k])
    x = _implicit(args, low, high, lax.stop_gradient(x))
    return _states_at(stage, v_row, v_col, known, (*before, x))


def _law(x: PerDevice, args: tuple) -> PerDevice:
    """`x - held - d rate` of the first state that is not yet found."""
    stage, v_row, v_col, before = args
    states = _states_at(stage, v_row, v_col, before=(*before, x))
    k = len(before)
    return x - stage.held[k] - stage.d * stage.cell_at(states).rate(v_row, v_col)[k]


def _search(args: tuple, low: PerDevice, high: PerDevice, held: PerDevice) -> PerDevice:
    """The state at the end of a stage, by Newton's method from its start inside a bracket; a bound
    if the state comes to it."""
    tol = (1e-12 if held.dtype == jnp.float64 else 1e-6) * (high - low)

    def step(carry):
        x, below, above, last, k = carry
        off, slope = jax.jvp(lambda x: _law(x, args), (x,), (jnp.ones_like(x),))
        newton = -off / slope
        below, above = jnp.where(off <= 0, x, below), jnp.where(off >= 0, x, above)
        # bisect where the step leaves the bracket, points the wrong way or does not halve the last
        new = x + newton
        good = (slope > 0) & (new >= below) & (new <= above) & (jnp.abs(newton) <= 0.5 * last)
        new = jnp.where(good, new, (below + above) / 2)
        done = last <= tol
        return jnp.where(done, x, new), below, above, jnp.where(done, last, jnp.abs(new - x)), k + 1

    def unfinished(carry):
        *_, last, k = carry
        return jnp.any(last > tol) & (k < MAX_STEPS)

    start = jnp.clip(held, low, high)
    x, below, above, *_ = lax.while_loop(unfinished, step, (start, low, high, high - low, 0))
    # all the way to a bound the rate leads further
    x = jnp.where((below == low) & (x - low <= 2 * tol), low, x)
    return jnp.where((above == high) & (high - x <= 2 * tol), high, x)


@eqx.filter_custom_jvp
def _implicit(args: tuple, low: PerDevice, high: PerDevice, x: PerDevice) -> PerDevice:
    """A solution of the law, with the derivative of solutions."""
    del args, low, high
    return x


@_implicit.def_jvp
def _(primals, tangents):
    args, low, high, _ = primals
    x = _implicit(*primals)
    _, moved = eqx.filter_jvp(lambda args: _law(x, args), (args,), tangents[:1])
    off, slope = jax.jvp(lambda x: _law(x, args), (x,), (jnp.ones_like(x),))
    stuck_low, stuck_high = (x <= low) & (off > 0), (x >= high) & (off < 0)
    of = lambda dx: jnp.zeros_like(x) if dx is None else dx
    dx = -of(moved) / jnp.where(slope == 0, 1, slope)
    return x, jnp.where(stuck_low, of(tangents[1]), jnp.where(stuck_high, of(tangents[2]), dx))
