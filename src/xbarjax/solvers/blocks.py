"""Direct solver of an array: rows eliminated by ladders, columns by a ladder of matrices.

Row drops are eliminated as in ladder_cg.py. The remaining system is block tridiagonal: cells and
row wires couple the columns within a row of nodes, and only column segments couple one row of
nodes to the next. It is the ladder of ladder.py with matrices in place of numbers. From the far
ends, every row of nodes sees the rest of the array as a Norton equivalent, conductances `S` [S]
and currents `c` [A]. Seen from the next row, through the segments `(a, beta)`, the equivalent is

    S - L S,   c - L c,   L = S beta X,   X = (S beta + a)^-1.

The sweep back to the far ends gives `d_k = d_{k-1} - L_k^T d_{k-1} + beta X c_k`. `S` is a
diagonally dominant conductance matrix, so nothing is pivoted. `1 - L` is never formed: where
segments drop little, its rounding error would be relative to 1, and alike in every row. A node
behind an ideal far end is pinned at 0 (`pinned`) and removed from the matrices.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool, Float

from .._types import PerCol
from ..kirchhoff.network import Field, Network, Segments
from . import ladder, lines
from .batching import Together
from .inverse import inverse
from .ladder import Ladder
from .lines import Lines
from .recurrences import law

Square = Float[Array, "cols cols"]


class Blocks(NamedTuple):
    """Block factor of a network: per row of nodes, the matrices of its segments."""

    lines: Lines
    lost: Float[Array, "rows cols cols"]  # L [1]: part of the far-side currents not passed on
    rho: Float[Array, "rows cols cols"]  # beta X [ohm]: far-side drops per far-side current


class BlockElimination(Together):
    """Exact direct solve of a symmetric linear array, for many right-hand sides at once.

    Use it for about one right-hand side per line, as in `transfer` and its gradient. For a few
    right-hand sides, `LadderCG` is faster.

    Cost: `6 rows cols^3` operations per array and `6 rows cols^2` per right-hand side, with `cols`
    the shorter side. Nearly all of them are matrix products, and their number does not depend on
    the wires. `2 rows cols^2` numbers are kept.

    Raises ValueError for networks that are not symmetric, and for lines in parallel.
    """

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Blocks:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"BlockElimination solves a Network, not a {type(operator).__name__}.")
        if not operator.symmetric or operator.parallel:
            raise ValueError(
                "BlockElimination needs crossing lines and cells that depend on v_row - v_col"
                " alone; use LadderBiCGStab, or TwinLadders for source lines parallel to bit lines."
            )
        return factor(turned(operator) if _is_wide(operator) else operator)

    def compute(
        self, state: Blocks, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        del options
        wide = vector.row.shape[0] < vector.row.shape[1]
        x = _solve(state, turned_field(vector) if wide else vector)
        x = turned_field(x) if wide else x
        return x, lx.RESULTS.successful, {"num_steps": jnp.asarray(1)}

    def transpose(self, state: Blocks, options: dict[str, Any]):
        return state, options  # symmetric: init refuses other networks

    def conj(self, state: Blocks, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


def factor(network: Network) -> Blocks:
    """Block factor of a network. The rows of nodes are eliminated one after another, from the far
    ends of the columns."""
    factored = lines.factor(network)
    a, beta = law(network.col.r)
    rows, cols = network.g_rc.shape
    ends = (a[0] > 0) & (beta[0] > 0)
    s = jnp.diag(jnp.where(ends, a[0] / jnp.where(ends, beta[0], 1), 0))

    def add(carry, i):
        s, pinned = carry
        s = s + row_of_nodes(network, factored.rows, i)
        lost, rho, s, pinned = segments(a[i + 1], beta[i + 1], s, pinned)
        return (s, pinned), (lost, rho)

    with jax.default_matmul_precision("highest"):
        _, (lost, rho) = lax.scan(add, (s, (a[0] > 0) & ~ends), jnp.arange(rows))
    return Blocks(factored, lost, rho)


def row_of_nodes(network: Network, rows: Ladder, i) -> Square:
    """Conductance matrix [S] between the column nodes of row `i`, through its cells and wire."""
    line = jax.tree.map(lambda x: x[..., i, None], rows)
    through, _ = ladder.drops(line, jnp.diag(network.g_rc[i]))
    return jnp.diag(network.g_col[i]) - network.g_cr[i, :, None] * through


def segments(
    a: PerCol, beta: PerCol, s: Square, pinned: Bool[Array, " cols"]
) -> tuple[Square, Square, Square, Bool[Array, " cols"]]:
    """Passes conductances `s` [S] and pinned nodes through the column segments `(a, beta)` of one
    row of nodes.

    **Returns:** `L` [1], `beta X` [ohm], and the conductances and pinned nodes on the near side."""
    s = jnp.where(pinned[:, None] | pinned[None], 0, s)
    scaled, cut = s * beta[None], a == 0
    alone = cut & (jnp.diagonal(scaled) == 0)
    x = inverse(scaled + jnp.diag(jnp.where(alone, 1, a)))
    lost = scaled @ x
    held = pinned | alone
    rho = jnp.where(held[:, None] | held[None], 0, beta[:, None] * x)
    behind = jnp.where(cut[:, None] | cut[None], 0, s - lost @ s)
    shorted, seen = pinned & ~cut & (beta == 0), pinned & ~cut & (beta > 0)
    to_pin = jnp.where(seen, a / jnp.where(seen, beta, 1), 0)
    lost = jnp.where(cut[:, None] | pinned[None], jnp.eye(len(a), dtype=s.dtype), lost)
    return lost, rho, behind + jnp.diag(to_pin), shorted


def _solve(state: Blocks, vector: Field) -> Field:
    network = state.lines.network
    b = lines.injected(state.lines, vector)
    a, _ = ladder.drops(state.lines.rows, b.row.T, b.v_row)
    w = drops(state, (b.col - network.g_cr * a.T)[..., None], b.v_col[:, None])[..., 0]
    return lines.field(state.lines, b, vector, lines.round_from(state.lines, b, w))


def drops(
    state: Blocks, b: Float[Array, "rows cols many"], v: Float[Array, "cols many"] | float = 0.0
) -> Float[Array, "rows cols many"]:
    """Drops [V] of the column nodes for injected currents `b` [A] and near ends at `v` [V]."""

    def gather(behind, x):
        lost, b = x
        c = b + behind
        return c - lost @ c, c

    def spread(before, x):
        lost, rho, c = x
        here = before - lost.T @ before + rho @ c
        return here, here

    lost, rho = state.lost, state.rho
    with jax.default_matmul_precision("highest"):
        _, c = lax.scan(gather, jnp.zeros_like(b[0]), (lost, b))
        v = jnp.broadcast_to(jnp.asarray(v, b.dtype), b.shape[1:])
        _, d = lax.scan(spread, v, (lost, rho, c), reverse=True)
    return d


def _is_wide(network: Network) -> bool:
    return network.g_rc.shape[0] < network.g_rc.shape[1]


def turned(network: Network) -> Network:
    """The network with rows and columns exchanged, both counted from their other end."""
    row, col = Segments(turn(network.col.r)), Segments(turn(network.row.r))
    g_rc = turn(network.g_cr)
    g_cr = g_rc if network.symmetric else turn(network.g_rc)
    other = lambda g: None if g is None else turn(g)
    shunts = other(network.shunt_col), other(network.shunt_row)
    kind = network.symmetric
    return Network(row, col, g_rc, g_cr, *shunts, kind, transposed=network.transposed)


def turned_field(x: Field) -> Field:
    """A vector of the network, exchanged as by `turned`."""
    return Field(turn(x.col), turn(x.col_segments), turn(x.row), turn(x.row_segments))


def turn(x) -> Float[Array, "cols rows"]:
    return x[::-1, ::-1].T
