"""One pulse on 1T1R cells whose devices have one state: reads, and the state that a pulse leaves.

A pulse holds its voltages, so the rate `f(x)` of the state depends on the state alone, and

    t(x) = integral of dx' / f(x') from the state before to x

is the time at which the state comes to `x`. The rate is evaluated at all points of a grid at once,
each with the inner node of the cell solved; between them `ln f` is linear in `x`, so that an
exponential rate is exact. The grid ends at the bound that the state moves to, or where the rate
has become so small that the whole pulse would move the state by a millionth of the way. A second
grid ends at the first point beyond the state found. No step can be too long for a stiff rate. The
finite edges of a pulse are left out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

import xbarjax as xb

R_SHUNT = 560.0  # [ohm] in series at a read; the recorded resistances are without it
V_READ, V_GATE_READ = 0.2, 2.5  # [V]
POINTS = 40  # of a grid of states
LEAST = 1e-6  # share of the way that a pulse goes at the rate at which the grid ends
BISECTIONS = 32


class OneT1R(NamedTuple):
    """A device and its transistor, between bit line and source line."""

    device: xb.cells.AbstractMemoryCell  # with one state, of any value; other parameters scalars
    transistor: xb.Level1Mosfet  # its source is the source line
    sets: int  # 1 if a positive voltage sets the device, which then has its row at the bit line

    def cell(self, x: Array, v_gate: Array) -> xb.Series:
        """The cell in states `x`, with gates at `v_gate` [V]."""
        device = eqx.tree_at(lambda d: getattr(d, d.states[0]), self.device, x)
        transistor = self.transistor.gated(v_gate)
        return xb.Series(device, transistor) if self.sets > 0 else xb.Series(transistor, device)

    def terminals(self, v_bit: Array, v_source: Array) -> tuple[Array, Array]:
        """Voltages [V] of row and column."""
        return (v_bit, v_source) if self.sets > 0 else (v_source, v_bit)

    def bounds(self, like: Array) -> tuple[Array, Array]:
        """Smallest and largest state."""
        low, high = self.device.bounds[0]
        return jnp.broadcast_to(low, like.shape), jnp.broadcast_to(high, like.shape)


def resistance(one: OneT1R, x: Array) -> Array:
    """Resistance [ohm] that a read of states `x` records."""
    cell, shunt = one.cell(x, jnp.full_like(x, V_GATE_READ)), xb.Ohmic(1 / R_SHUNT)
    cell = xb.Series(shunt, cell) if one.sets > 0 else xb.Series(cell, shunt)  # at the bit line
    v_read, zero = jnp.full_like(x, V_READ), jnp.zeros_like(x)
    return V_READ / jnp.abs(cell.current(*one.terminals(v_read, zero))) - R_SHUNT


def state(one: OneT1R, r: Array) -> Array:
    """States whose reads record resistances `r` [ohm]; a bound where none does.

    The current of the read follows from `r`, the drop of the transistor from the current, and the
    state from the drop that is left."""
    i = V_READ / (r + R_SHUNT)
    zero, v = jnp.zeros_like(r), i * r  # across the cell
    read = one.transistor.gated(jnp.full_like(r, V_GATE_READ))
    drop = _root(lambda tr, m: jnp.log(tr.current(m, zero)) - jnp.log(i), read, 1e-12 * v, v)

    def off(parts, x):
        one, drop = parts
        device = one.cell(x, zero).parts[0 if one.sets > 0 else 1]
        row, col = one.terminals(v - drop, zero)
        return jnp.log(jnp.abs(device.current(row, col))) - jnp.log(i)

    return _root(off, (one, drop), *one.bounds(r))


def _root(
    off: Callable[[Any, Array], Array], parts: Any, low: Array, high: Array, falls: Any = None
) -> Array:
    """Where a monotone function `off(parts, x)` is 0 between `low` and `high`, else the end that is
    closer to it. Whether the function falls is looked up at the ends if it is not given."""
    held, low, high = lax.stop_gradient((eqx.filter(parts, eqx.is_array), low, high))
    held = eqx.combine(held, parts)
    rises = off(held, high) > off(held, low) if falls is None else not falls

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        below = (off(held, middle) < 0) == rises
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    below, above = lax.fori_loop(0, BISECTIONS, halve, (low, high))
    x = (below + above) / 2
    # a step of Newton's method gives the root its derivative by the parameters
    _, slope = jax.jvp(lambda x: off(held, x), (x,), (jnp.ones_like(x),))
    inside = (slope != 0) & jnp.isfinite(slope) & (below > low) & (above < high)
    step = off(parts, x) / lax.stop_gradient(jnp.where(inside, slope, 1))
    return jnp.where(inside, x - step, x)


def rate(one: OneT1R, x: Array, v_gate: Array, v_bit: Array, v_source: Array) -> Array:
    """Change of states `x` per second, in their cells. All have one shape."""
    row, col = one.terminals(v_bit, v_source)
    cell = one.cell(x, v_gate)
    between = cell.v_inner(row, col)
    device, at = (cell.first, (row, between)) if one.sets > 0 else (cell.second, (between, col))
    assert isinstance(device, xb.cells.AbstractMemoryCell)
    return device.rate(*at)[0]


def state_after(
    one: OneT1R, x: Array, width: Array, v_gate: Array, v_bit: Array, v_source: Array
) -> Array:
    """State that a pulse of `width` [s] leaves, from a state `x`. All are scalars."""
    low, high = one.bounds(x)
    ways = jnp.sign(rate(one, x, v_gate, v_bit, v_source))
    way = jnp.where(ways > 0, high, low) - x

    def speed(one: OneT1R, share: Array) -> Array:
        """Shares of the way that are gone in the time of the pulse, at given shares of it."""
        bias = (jnp.broadcast_to(v, share.shape) for v in (v_gate, v_bit, v_source))
        f = jnp.maximum(ways * rate(one, x + way * share, *bias), 0)
        return width / jnp.where(way == 0, 1, jnp.abs(way)) * f

    log_speed = lambda one, share: jnp.log(speed(one, share))
    slow = lambda one, share: log_speed(one, share) - jnp.log(LEAST)
    moves = slow(one, jnp.zeros_like(x)) > 0
    end = _root(slow, one, jnp.zeros_like(x), jnp.ones_like(x), falls=True)
    end = jnp.where(moves, end, 0)
    grid = 1 - (1 - jnp.linspace(0, 1, POINTS) ** 2) ** 4  # dense at the start, denser at the end
    gone = travelled(lax.stop_gradient(log_speed(one, end * grid)), grid, end)
    # the second grid ends at the first point beyond the state found
    end = end * jnp.min(jnp.where(grid > gone, grid, 1))
    return x + way * jnp.where(moves, end * travelled(log_speed(one, end * grid), grid, end), 0)


def travelled(log_speed: Array, grid: Array, end: Array) -> Array:
    """Share of `end` that is gone in the time 1, at speeds `exp(log_speed)` `(points,)` at
    the shares `grid` `(points,)` of it."""
    span, growth = jnp.diff(grid) * end, jnp.diff(log_speed)
    time = span * jnp.exp(-log_speed[:-1]) * _mean_exp(-growth)
    # the interval in which the pulse ends
    k = jnp.sum(jnp.cumsum(lax.stop_gradient(time)) < 1)
    arrived = k == time.size
    k = jnp.minimum(k, time.size - 1)
    left = 1 - jnp.sum(jnp.where(jnp.arange(time.size) < k, time, 0))
    gone = jnp.where(arrived, 0, left * jnp.exp(log_speed[k]) / span[k])  # at its first speed
    # gone = (1 - exp(-growth part)) / growth
    grown = jnp.where(jnp.abs(growth[k]) > 1e-8, growth[k], 1e-8)
    part = -jnp.log1p(-jnp.minimum(grown * gone, 1 - 1e-12)) / grown
    return jnp.where(arrived, 1, grid[k] + jnp.clip(part, 0, 1) * jnp.diff(grid)[k])


def _mean_exp(x: Array) -> Array:
    """`(exp(x) - 1) / x`, 1 at 0."""
    small = jnp.abs(x) < 1e-6
    safe = jnp.where(small, 1, x)
    return jnp.where(small, 1 + x / 2, jnp.expm1(safe) / safe)
