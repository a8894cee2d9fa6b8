"""What Kirchhoff's laws leave open, found before they are solved.

An island is a set of nodes with no path to any source or ground. No current flows in it and its
voltages are arbitrary, so it is cut out: its cells and wires carry nothing and each of its nodes
stands alone, at zero drop. A line of ideal wire between two ideal terminals leaves the split of
its current between them open; its far end is freed, so that the near end carries all of it. The
network that remains determines everything, and what was cut is named by masks.
"""

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from ._types import CellMask, PerCell
from .network import Network, Segments


class Undetermined(eqx.Module):
    """Masks of what a circuit does not determine."""

    row: CellMask  # row nodes of islands
    col: CellMask  # column nodes of islands
    row_split: Bool[Array, " lines"]  # word lines of ideal wire between two ideal sources
    col_split: Bool[Array, " cols"]  # bit lines of ideal wire between two ideal grounds


def determined(network: Network) -> tuple[Network, Undetermined]:
    """The part of a network that is determined, and masks of the rest."""
    axis = network.row_axis
    row, row_split = _free_far_end(network.row, axis, far_last=True)
    col, col_split = _free_far_end(network.col, 0, far_last=False)
    links = jnp.isfinite(row.r), jnp.isfinite(col.r)
    cells = (network.g_rc > 0) | (network.g_cr > 0)
    shunts = _shunts(network.g_row, network.g_cr), _shunts(network.g_col, network.g_rc)
    row_grounded, col_grounded = _grounded(*links, cells, axis, shunts)
    floating = ~row_grounded, ~col_grounded
    cells = jnp.where(floating[0] | floating[1], 0, network.g_rc)  # those that touch an island
    masked = {id(network.g_rc): cells}  # cells without shunts stay one array, in four places

    def without(floating, g):
        return masked.get(id(g), jnp.where(floating, 0, g))

    network = Network(
        _cut(row, row_grounded, axis),
        _cut(col, col_grounded, 0),
        without(floating[0], network.g_row),
        without(floating[1], network.g_col),
        cells,
        without(floating[0] | floating[1], network.g_cr),
        network.symmetric,
        network.parallel,
    )
    return network, Undetermined(*floating, row_split, col_split)


def _shunts(g: PerCell, of_cells: PerCell) -> CellMask | bool:
    """Nodes with more than their cell: a way to a terminal of their own."""
    return False if g is of_cells else g > of_cells


def _free_far_end(line: Segments, axis: int, far_last: bool) -> tuple[Segments, Array]:
    split = jnp.all(line.r == 0, axis, keepdims=True)
    where = lax.broadcasted_iota(int, line.r.shape, axis)
    freed = split & (where == (line.r.shape[axis] - 1 if far_last else 0))
    return Segments(jnp.where(freed, jnp.inf, line.r)), jnp.squeeze(split, axis)


def _cut(line: Segments, grounded: CellMask, axis: int) -> Segments:
    """Opens the segments at nodes of islands; their other ends are in the island, or open."""
    ends = lambda fill: [(0, 0) if k != axis else fill for k in range(2)]
    kept = jnp.pad(grounded, ends((1, 0)), constant_values=True) & jnp.pad(
        grounded, ends((0, 1)), constant_values=True
    )
    return Segments(jnp.where(kept, line.r, jnp.inf))


def _grounded(row_link, col_link, cell, row_axis: int, shunts) -> tuple[CellMask, CellMask]:
    """Nodes with a path to a terminal, spread from neighbour to neighbour until none is added.

    It starts from the lines that are whole and end in a terminal, so that in most circuits there
    is nothing to spread, and in most others a cell or two away.
    """
    shape = cell.shape

    def whole(link, axis: int):
        n = link.shape[axis]
        near = jnp.all(lax.slice_in_dim(link, 0, n - 1, axis=axis), axis, keepdims=True)
        far = jnp.all(lax.slice_in_dim(link, 1, n, axis=axis), axis, keepdims=True)
        return jnp.broadcast_to(near | far, shape)

    def by_wire(link, node, axis: int):
        n = node.shape[axis]
        ends = [(1, 1) if k == axis else (0, 0) for k in range(2)]
        wide = jnp.pad(node, ends, constant_values=True)  # with the terminals
        take = lambda x, start: lax.slice_in_dim(x, start, start + n, axis=axis)
        return (take(link, 0) & take(wide, 0)) | (take(link, 1) & take(wide, 2))

    def add(state):
        row, col, _ = state
        new_row = row | by_wire(row_link, row, row_axis) | (cell & col)
        new_col = col | by_wire(col_link, col, 0) | (cell & row)
        return new_row, new_col, jnp.any(new_row != row) | jnp.any(new_col != col)

    def unfinished(state):
        row, col, added = state
        return added & ~(jnp.all(row) & jnp.all(col))

    seeds = whole(row_link, row_axis) | shunts[0], whole(col_link, 0) | shunts[1]
    row, col, _ = lax.while_loop(unfinished, add, (*seeds, True))
    return row, col
