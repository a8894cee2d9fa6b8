"""All products of an array at once, by block elimination from the far ends of its columns.

Where every row of an array is to be driven in turn, rows of cells are eliminated into full matrices
over the columns, one after the other. It is the ladder of ladder.py with matrices for numbers: with
everything from the far ends to a node row as a Norton equivalent, conductances `S` and currents
`C`, the segments `(a, beta)` next to it give

    T = a X S,   a X C,   X = (a + S beta)^-1,      S' = T + g_col - g_cr R g_rc,

where `R` is what a row of wire drops. `a X` is near one, so that `1 - S beta X` is taken for it.
`S` is a matrix of conductances, with a diagonal that dominates: nothing is pivoted.

It takes `6 rows cols^3 + 2 rows^2 cols^2` operations, nearly all in matrix products, and no
iteration.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from .._types import PerCell
from ..network import Network, Segments
from . import ladder
from .inverse import inverse
from .sweeps import law


def near_currents(network: Network) -> PerCell:
    """Currents [A] out of the near ends of the columns for 1 V at the terminals of one row and 0 V
    at all others, for each row. It is all that leaves the columns where their far ends are open."""
    rows, cols = network.g_rc.shape
    a, beta = law(network.col.r)
    held = jnp.maximum(network.row.alpha[:, 0], network.row.alpha[:, -1]) > 0
    lines = ladder.factor(network.row.r.T, network.g_row.T, near_last=False)

    def dropped(i, b):
        """Drops along row `i` for each column of injected currents `b`."""
        line = jax.tree.map(lambda x: x[..., i, None], lines)
        return ladder.drops(line, b)[0]

    def behind(s, c, k):
        """The Norton equivalent behind the segments in row `k`."""
        scaled = s * beta[k]
        unconnected = (jnp.diagonal(scaled) == 0) & (a[k] == 0)
        x = inverse(scaled + jnp.diag(jnp.where(unconnected, 1, a[k])))
        lost = scaled @ x
        cut = a[k] == 0
        c = jnp.where(cut[:, None], 0, c - lost @ c)
        return jnp.where(cut[:, None] | cut, 0, s - lost @ s), c

    def add(i, equivalent):
        s, c = equivalent
        s, c = behind(s, c, i)
        # drops along the row for unit currents through its cells, and for its terminals at 1 V
        sources = jnp.concatenate([jnp.diag(network.g_rc[i]), network.g_row[i, :, None]], axis=1)
        through = network.g_cr[i, :, None] * dropped(i, sources)
        driven = jnp.where(held[i], network.g_cr[i] - through[:, -1], 0)
        return s + jnp.diag(network.g_col[i]) - through[:, :-1], c.at[:, i].set(driven)

    dtype = network.g_rc.dtype
    start = jnp.zeros((cols, cols), dtype), jnp.zeros((cols, rows), dtype)
    with jax.default_matmul_precision("highest"):
        s, c = lax.fori_loop(0, rows, add, start)
        _, c = behind(s, c, rows)
    return c.T


def far_ends_open(network: Network) -> Bool[Array, ""]:
    """Whether all that leaves the columns leaves at their near ends."""
    return jnp.all(network.col.alpha[0] == 0)


def turned(network: Network) -> Network:
    """The same array with rows for columns, both counted from the other end."""
    row, col = Segments(turn(network.col.r)), Segments(turn(network.row.r))
    g_row, g_col = turn(network.g_col), turn(network.g_row)
    g_rc, g_cr = turn(network.g_cr), turn(network.g_rc)
    return Network(row, col, g_row, g_col, g_rc, g_cr, network.symmetric)


def turn(x) -> Float[Array, "cols rows"]:
    return x[::-1, ::-1].T
