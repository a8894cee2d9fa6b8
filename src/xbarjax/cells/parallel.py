"""Two devices between the same two terminals of a crosspoint."""

import jax.numpy as jnp

from .._types import DeviceMask, Inner, PerDevice
from .cell import (
    AbstractCell,
    AbstractGatedCell,
    AbstractNestedCell,
    AbstractRangedCell,
    gated,
    has_gate,
    in_range,
)


class Parallel(AbstractNestedCell, AbstractGatedCell, AbstractRangedCell):
    """Two devices in parallel, whose currents add.

    **Arguments:**

    - `first`, `second`: cells whose parameters broadcast against each other.
    """

    first: AbstractCell
    second: AbstractCell

    @property
    def is_linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.first.is_linear and self.second.is_linear

    @property
    def is_reciprocal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.first.is_reciprocal and self.second.is_reciprocal

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.first.current(v_row, v_col) + self.second.current(v_row, v_col)

    @property
    def parts(self) -> tuple[AbstractCell, AbstractCell]:
        return self.first, self.second

    @property
    def extent(self) -> tuple[int, ...]:
        return jnp.broadcast_shapes(self.first.shape, self.second.shape)

    def nodes(self, v_row: PerDevice, v_col: PerDevice, guess: Inner) -> Inner:
        """Inner voltages [V] of each device."""
        in_1, in_2 = (None, None) if guess is None else guess
        return self.first.inner(v_row, v_col, in_1), self.second.inner(v_row, v_col, in_2)

    def with_parts(self, parts: tuple[AbstractCell, ...]) -> "Parallel":
        first, second = parts
        return Parallel(first, second)

    def insides(self, inner: Inner) -> tuple[Inner, Inner]:
        return inner

    def tangents(
        self, v_row: PerDevice, v_col: PerDevice, inner: Inner
    ) -> tuple[PerDevice, PerDevice, PerDevice]:
        in_1, in_2 = self.inner(v_row, v_col) if inner is None else inner
        i_1, p_1, q_1 = self.first.linearise(v_row, v_col, in_1)
        i_2, p_2, q_2 = self.second.linearise(v_row, v_col, in_2)
        g_row = p_1 + p_2
        return i_1 + i_2, g_row, g_row if self.is_reciprocal else q_1 + q_2

    def valid(self) -> DeviceMask:
        return self.first.valid() & self.second.valid()

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        return in_range(self.first, v_row, v_col) & in_range(self.second, v_row, v_col)

    def gated(self, v_gate: PerDevice) -> "Parallel":
        return self.with_parts(tuple(gated(part, v_gate) for part in self.parts))

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        """Mask of cells in which one of the devices has no gate, or a gate above threshold."""
        some = jnp.zeros(jnp.shape(v_row), bool)
        for part in self.parts:
            some |= (
                part.conducts(v_row, v_col)
                if isinstance(part, AbstractGatedCell) and has_gate(part)
                else True
            )
        return some
