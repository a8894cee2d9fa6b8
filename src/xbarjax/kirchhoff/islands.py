"""Parts of a circuit that Kirchhoff's laws leave undetermined, found before the solve.

- An island is a set of nodes with no path to any source or ground. No current flows in an island
  and its voltages are arbitrary. It is cut out: its cells and wires carry no current, and each of
  its nodes stands alone at zero drop.
- In a line of ideal wire between two ideal terminals, the split of the current between the ends is
  undetermined. The far end is freed, so that the near end carries all of the current.

The remaining network is determined. Masks name the parts that were cut.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from .. import _native
from .._types import CellMask, Scalar
from .network import CAP, Network, Segments

FIRM = 1e-3  # share of the largest cell conductance: a node held by less is weakly held


class Undetermined(eqx.Module):
    """Masks of the undetermined parts of a circuit."""

    row: CellMask  # row nodes of islands
    col: CellMask  # column nodes of islands
    row_split: Bool[Array, " lines"]  # word lines of ideal wire between two ideal sources
    col_split: Bool[Array, " cols"]  # bit lines of ideal wire between two ideal grounds
    cell_split: CellMask | None = None  # shorts that share their current with ideal wires
    cell_lost: CellMask | None = None  # shorts whose law is violated


def determined(network: Network) -> tuple[Network, Undetermined]:
    """The determined part of a network, and masks of the rest. The flag `hangs` of the network
    marks a weakly held node: its voltage may be off while all currents are right."""
    axis = network.row_axis
    row, row_split = _free_far_end(network.row, axis, far_last=True)
    col, col_split = _free_far_end(network.col, 0, far_last=False)
    shunts = network.shunt_row, network.shunt_col

    row_grounded, col_grounded, hangs = islands(row, col, network)
    floating = ~row_grounded, ~col_grounded
    touched = floating[0] | floating[1]  # cells that touch an island
    g_rc = jnp.where(touched, 0, network.g_rc)
    network = Network(
        _cut(row, row_grounded, axis),
        _cut(col, col_grounded, 0),
        g_rc,
        g_rc if network.g_cr is network.g_rc else jnp.where(touched, 0, network.g_cr),
        *shunts,  # a node with a shunt is on no island
        network.symmetric,
        network.parallel,
        hangs=hangs,
    )
    return network, Undetermined(*floating, row_split, col_split)


def islands(row: Segments, col: Segments, network: Network) -> tuple[CellMask, CellMask, Array]:
    """Masks of row nodes and of column nodes with a path to a terminal or a reference, and whether
    any of them is weakly held. Computed by the C++ kernel if present."""
    dtype, nodes = network.g_rc.dtype, network.g_rc.shape
    shunts = network.shunt_row, network.shunt_col
    operands = lax.stop_gradient((row.r, col.r, network.g_rc, network.g_cr, *shunts))
    pure = Islands(network.parallel)
    if not _native.available():
        return pure(*operands)
    results = [(nodes, bool), (nodes, bool), ((), bool)]
    found = _native.call("islands", operands, results, pure, dtype, parallel=network.parallel)
    return found[0], found[1], found[2]


class Islands(NamedTuple):
    """The search of `islands`, in JAX."""

    parallel: bool

    def __call__(self, r_row, r_col, g_rc, g_cr, shunt_row, shunt_col):
        joined = jnp.maximum(g_rc, g_cr)
        axis = 0 if self.parallel else 1
        # thresholds [S] of two searches: paths of any conductance, and paths of good ones
        scale = _scale(r_row, r_col, joined, axis)
        least = jnp.stack([jnp.zeros_like(scale), FIRM * scale])[:, None, None]
        links = r_row[None] * least < 1, r_col[None] * least < 1  # false for inf times 0
        seeds = [False if g is None else g[None] > least for g in (shunt_row, shunt_col)]
        of_rows, of_cols = _grounded(links, joined[None] > least, axis - 2, seeds)
        (row, row_firm), (col, col_firm) = of_rows, of_cols
        return row, col, jnp.any(row & ~row_firm) | jnp.any(col & ~col_firm)


def _free_far_end(line: Segments, axis: int, far_last: bool) -> tuple[Segments, Array]:
    split = jnp.all(line.r == 0, axis, keepdims=True)
    where = lax.broadcasted_iota(int, line.r.shape, axis)
    freed = split & (where == (line.r.shape[axis] - 1 if far_last else 0))
    return Segments(jnp.where(freed, jnp.inf, line.r)), jnp.squeeze(split, axis)


def _cut(line: Segments, grounded: CellMask, axis: int) -> Segments:
    """A line with the segments inside islands opened. Segments out of islands are open already."""
    ends = lambda fill: [(0, 0) if k != axis else fill for k in range(2)]
    kept = jnp.pad(grounded, ends((1, 0)), constant_values=True) & jnp.pad(
        grounded, ends((0, 1)), constant_values=True
    )
    return Segments(jnp.where(kept, line.r, jnp.inf))


def _scale(r_row, r_col, g, row_axis: int) -> Scalar:
    """Largest conductance [S] of a cell in a solver: at most `CAP` times that of the wires next to
    the cell, if they are not ideal."""

    def next_to(r, axis: int):
        n = r.shape[axis]
        return jnp.minimum(
            lax.slice_in_dim(r, 0, n - 1, axis=axis), lax.slice_in_dim(r, 1, n, axis=axis)
        )

    r = (next_to(r_row, row_axis) + next_to(r_col, 0)) / CAP
    limited = jnp.where(jnp.isinf(g), 1 / r, g / (1 + g * r))  # NaN if g = 0, r = inf
    return jnp.max(jnp.where(jnp.isfinite(limited), limited, 0))


def _grounded(links, cell, row_axis: int, shunts) -> tuple[Array, Array]:
    """Masks of row and column nodes with a path to a terminal, for each of a stack of circuits.

    The search spreads from neighbour to neighbour until no node is added. It starts from unbroken
    lines with a terminal, so most circuits need no spreading, and most others one or two cells.
    """
    row_link, col_link = links

    def whole(link, axis: int):
        n = link.shape[axis]
        near = jnp.all(lax.slice_in_dim(link, 0, n - 1, axis=axis), axis, keepdims=True)
        far = jnp.all(lax.slice_in_dim(link, 1, n, axis=axis), axis, keepdims=True)
        return jnp.broadcast_to(near | far, cell.shape)

    def by_wire(link, node, axis: int):
        n = node.shape[axis]
        ends = [(1, 1) if k == axis else (0, 0) for k in range(-node.ndim, 0)]
        wide = jnp.pad(node, ends, constant_values=True)  # with the terminals
        take = lambda x, start: lax.slice_in_dim(x, start, start + n, axis=axis)
        return (take(link, 0) & take(wide, 0)) | (take(link, 1) & take(wide, 2))

    def add(state):
        row, col, _ = state
        new_row = row | by_wire(row_link, row, row_axis) | (cell & col)
        new_col = col | by_wire(col_link, col, -2) | (cell & row)
        return new_row, new_col, jnp.any(new_row != row) | jnp.any(new_col != col)

    def unfinished(state):
        row, col, added = state
        return added & ~(jnp.all(row) & jnp.all(col))

    row, col = whole(row_link, row_axis) | shunts[0], whole(col_link, -2) | shunts[1]
    return lax.while_loop(unfinished, add, (row, col, True))[:2]
