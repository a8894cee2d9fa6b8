"""Two devices in series at a crosspoint: 1T1R, 1S1R, 1D1R."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._types import DeviceMask, Inner, PerDevice
from .cell import (
    AbstractCell,
    AbstractGatedCell,
    AbstractNestedCell,
    AbstractRangedCell,
    conducts,
    gated,
    in_range,
)
from .threshold import ThresholdSwitch

MAX_STEPS = 100  # for the inner node; 50 bisections alone reach float64 precision


class Series(AbstractNestedCell, AbstractGatedCell, AbstractRangedCell):
    """Two devices in series, `first` on the row side and `second` on the column side.

    The voltage `m` of the node between them lies between the terminal voltages and obeys

        I_first(v_row, m) = I_second(m, v_col).

    Newton's method inside a bracket finds `m`. Derivatives are those of the solution: with
    `p = dI/dv_row` and `q = -dI/dv_col` of each device,

        dI/dv_row = p_1 p_2 / (q_1 + p_2),     -dI/dv_col = q_1 q_2 / (q_1 + p_2).

    **Arguments:**

    - `first`, `second`: cells whose parameters broadcast against each other, for example
        `Mosfet(...)` and `Ohmic(g)`, with the transistor on the side of the source line.
    """

    first: AbstractCell
    second: AbstractCell

    @property
    def is_linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return False

    @property
    def is_reciprocal(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.first.is_reciprocal and self.second.is_reciprocal

    def current(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        return self.linearise(v_row, v_col)[0]

    @property
    def parts(self) -> tuple[AbstractCell, AbstractCell]:
        return self.first, self.second

    @property
    def extent(self) -> tuple[int, ...]:
        return jnp.broadcast_shapes(self.first.shape, self.second.shape)

    def nodes(self, v_row: PerDevice, v_col: PerDevice, guess: Inner) -> Inner:
        """Voltage [V] of the node between the devices, then the inner voltages of each device."""
        m, in_1, in_2 = (None, None, None) if guess is None else guess
        m = _between(self, v_row, v_col, m)
        return m, self.first.inner(v_row, m, in_1), self.second.inner(m, v_col, in_2)

    def with_parts(self, parts: tuple[AbstractCell, ...]) -> "Series":
        first, second = parts
        return Series(first, second)

    def insides(self, inner: Inner) -> tuple[Inner, Inner]:
        return inner[1:]

    def tangents(
        self, v_row: PerDevice, v_col: PerDevice, inner: Inner
    ) -> tuple[PerDevice, PerDevice, PerDevice]:
        m, in_1, in_2 = self.inner(v_row, v_col) if inner is None else inner
        i_1, p_1, q_1 = self.first.linearise(v_row, m, in_1)
        i_2, p_2, q_2 = self.second.linearise(m, v_col, in_2)
        closed = q_1 + p_2 > 0
        total = jnp.where(closed, q_1 + p_2, 1)
        # each current weighted by the other's conductance: an error of m cancels in first order
        by_2, by_1 = lax.stop_gradient((q_1 / total, p_2 / total))
        current = jnp.where(closed, by_2 * i_2 + by_1 * i_1, i_2)
        g_row = p_1 / total * p_2
        return current, g_row, g_row if self.is_reciprocal else q_2 / total * q_1

    def v_inner(self, v_row: PerDevice, v_col: PerDevice) -> PerDevice:
        """Voltage [V] of the node between the two devices."""
        return _between(self, v_row, v_col, None)

    def valid(self) -> DeviceMask:
        return self.first.valid() & self.second.valid()

    def in_range(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        if not any(isinstance(x, AbstractRangedCell) for x in self.parts):
            return jnp.ones(jnp.shape(v_row), bool)
        m = self.v_inner(v_row, v_col)
        return in_range(self.first, v_row, m) & in_range(self.second, m, v_col)

    def gated(self, v_gate: PerDevice) -> "Series":
        return self.with_parts(tuple(gated(part, v_gate) for part in self.parts))

    def switched(self, v_row: PerDevice, v_col: PerDevice) -> "Series":
        """The devices after a read at terminal voltages [V]: threshold switches in their next
        state, other devices unchanged."""
        m = self.v_inner(v_row, v_col)

        def after(part, v_row, v_col):
            switches = isinstance(part, (Series, ThresholdSwitch))
            return part.switched(v_row, v_col) if switches else part

        return Series(after(self.first, v_row, m), after(self.second, m, v_col))

    def conducts(self, v_row: PerDevice, v_col: PerDevice) -> DeviceMask:
        """Mask of cells whose gated devices would all conduct at these terminal voltages [V].

        Each test treats the other device as a short. The result is the same: a channel that is off
        carries no current, so the other device drops no voltage."""
        return conducts(self.first, v_row, v_col) & conducts(self.second, v_row, v_col)


@eqx.filter_custom_jvp
def _between(
    cell: Series, v_row: PerDevice, v_col: PerDevice, guess: PerDevice | None
) -> PerDevice:
    """Voltage [V] of the inner node by Newton's method, from the middle without a guess.

    Each device iterates until its own step is so small that the next one is lost in rounding:
    Newton's method squares the error, and the current squares the error of the voltage once more.
    """
    enough = 1e-6 if v_row.dtype == jnp.float64 else 1e-4
    enough = enough * jnp.max(jnp.maximum(jnp.abs(v_row), jnp.abs(v_col)))

    def step(carry):
        m, low, high, last, k = carry
        excess, slope = jax.jvp(
            lambda m: cell.first.current(v_row, m) - cell.second.current(m, v_col),
            (m,),
            (-jnp.ones_like(m),),
        )
        # without a slope infinite, hence outside the bracket; the code below uses this quotient
        # alone, because compilers recompute the currents for each of their uses
        newton = excess / jnp.maximum(slope, 0)
        low, high = jnp.where(newton >= 0, m, low), jnp.where(newton <= 0, m, high)
        # bisect where the step leaves the bracket or is not well below the last one. A step just
        # beyond an end goes there: beside a device that is off, the node is at a terminal
        wanted = m + newton
        new = jnp.clip(wanted, low, high)
        near = (new == wanted) | (jnp.abs(wanted - new) < 0.1 * jnp.abs(newton))
        good = near & (jnp.abs(new - m) <= 0.6 * last)
        new = jnp.where(good, new, (low + high) / 2)
        length = jnp.where(good, jnp.abs(new - m), high - low)
        done = last <= enough
        return jnp.where(done, m, new), low, high, jnp.where(done, last, length), k + 1

    def unfinished(carry):
        *_, last, k = carry
        return jnp.any(last > enough) & (k < MAX_STEPS)

    low, high = jnp.minimum(v_row, v_col), jnp.maximum(v_row, v_col)
    m = middle = (low + high) / 2
    if guess is not None:
        m = jnp.where(jnp.isnan(guess), middle, jnp.clip(guess, low, high))
    start = m, low, high, jnp.full_like(low, jnp.inf), 0
    return lax.while_loop(unfinished, step, start)[0]


@_between.def_jvp
def _(primals, tangents):
    cell, v_row, v_col, guess = primals
    m = _between(cell, v_row, v_col, guess)

    def excess(cell, v_row, v_col):
        return cell.first.current(v_row, m) - cell.second.current(m, v_col)

    _, moved = eqx.filter_jvp(excess, primals[:3], tangents[:3])
    _, _, q_1 = cell.first.linearise(v_row, m)
    _, p_2, _ = cell.second.linearise(m, v_col)
    total = q_1 + p_2
    return m, jnp.where(total > 0, moved / jnp.where(total > 0, total, 1), 0)
