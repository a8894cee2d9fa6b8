"""Effective matrix of an array by block elimination from the far ends of its columns.

Every row is driven in turn. Rows of nodes are eliminated one after another (blocks.py), and the
currents of all driven rows are carried along, so that no voltage is ever computed. The cost is
`6 rows cols^3 + 2 rows^2 cols^2` operations, nearly all in matrix products, without iteration.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from .._types import PerCell
from ..kirchhoff.network import Network
from . import ladder
from .blocks import row_of_nodes, segments
from .recurrences import law


def near_currents(network: Network) -> PerCell:
    """Currents [A] `(rows, cols)` out of the near ends of the columns: per row, for 1 V at its
    terminals and 0 V at all others. If the far ends of the columns are open, no other current
    leaves the columns."""
    rows, cols = network.g_rc.shape
    a, beta = law(network.col.r)
    held = jnp.maximum(network.row.alpha[:, 0], network.row.alpha[:, -1]) > 0
    lines = ladder.factor(network.row.r.T, network.g_row.T, near_last=False)
    free = jnp.zeros(cols, bool)
    # all rows at once: drops along each row with its terminals at 1 V
    drop = network.g_cr * ladder.drops(lines, network.g_row.T)[0].T
    driven = jnp.where(held[:, None], network.g_cr - drop, 0)

    def add(i, equivalent):
        s, c = equivalent
        lost, _, s, _ = segments(a[i], beta[i], s, free)
        return s + row_of_nodes(network, lines, i), (c - lost @ c).at[:, i].set(driven[i])

    dtype = network.g_rc.dtype
    start = jnp.zeros((cols, cols), dtype), jnp.zeros((cols, rows), dtype)
    with jax.default_matmul_precision("highest"):
        s, c = lax.fori_loop(0, rows, add, start)
        lost, *_ = segments(a[rows], beta[rows], s, free)
        return (c - lost @ c).T


def far_ends_open(network: Network) -> Bool[Array, ""]:
    """Whether the far ends of all columns are open, so that currents leave at near ends only."""
    return jnp.all(network.col.alpha[0] == 0)
