"""Bounds of latched cells: data-line voltages at which a race is a tie.

The nodes of a latch end level where neither side wins. This voltage rises with the conductance of
the memristor. It is found by halving an interval, with a whole race for every half: currents that
balance at one voltage of the nodes do not at another, so the bound has no closed form. Wires are
left out: each latch is alone.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..._types import is_concrete
from .latch import DATA, MEM, Latches, raced
from .latched import AnalogLatched
from .rooting import SPAN, root

RTOL, STEPS = 1e-5, 2048  # of the races
LEAST = 1e-12  # [S]


def tie_voltages(cell: AnalogLatched, g: Array) -> Array:
    """Data-line voltages [V] at which latches with memristors `g` [S] end level, up to `SPAN` times
    the supply; `g` has the shape of the cells, or any other if all transistors are alike."""
    return _each(_tie_voltages, cell, g)


def tie_conductances(cell: AnalogLatched, v_data: Array, g_max: float) -> Array:
    """Conductances [S] up to `g_max` with which latches end level at data-line voltages [V]."""
    return _each(lambda cell, v: _tie_conductances(cell, v, g_max), cell, v_data)


def _each(do: Callable, cell: AnalogLatched, x: Array) -> Array:
    """`do` once for every number that occurs, if these are known and all transistors are alike."""
    alike = all(p.ndim == 0 for p in jax.tree.leaves((cell.branch, cell.latch)))
    if not (alike and is_concrete(x)):
        return do(cell, x)
    once, place = np.unique(np.asarray(x), return_inverse=True)
    return do(cell, jnp.asarray(once)[None])[0][place.reshape(x.shape)]


def _ahead(cell: AnalogLatched, g: Array, v_data: Array) -> Array:
    """By how much [V] the data line has won when the latches are done."""
    at = Latches(
        g[None], v_data, cell.v_gate, cell.branch, cell.latch, cell.v_high, cell.v_low, cell.c_node,
        cell.c_inner, jnp.zeros_like(g),
    )  # fmt: skip
    found = raced(at, cell.t_latch[None], jnp.asarray(RTOL, g.dtype), STEPS)
    return found.v[MEM, 0] - found.v[DATA, 0]


@eqx.filter_jit
def _tie_voltages(cell: AnalogLatched, g: Array) -> Array:
    most = jnp.full_like(g, SPAN * cell.v_high)
    return root(lambda v: _ahead(cell, g, v), jnp.zeros_like(g), most)


@eqx.filter_jit
def _tie_conductances(cell: AnalogLatched, v_data: Array, g_max: float) -> Array:
    ends = (jnp.full_like(v_data, np.log(g)) for g in (LEAST, g_max))
    return jnp.exp(root(lambda x: -_ahead(cell, jnp.exp(x), v_data), *ends))
