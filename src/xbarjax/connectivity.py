"""What Kirchhoff's laws leave open, found before they are solved.

An island is a set of nodes with no path to any source or ground. No current flows in it and its
voltages are arbitrary, so it is cut out: its cells and wires carry nothing and each of its nodes
stands alone, at zero drop. A line of ideal wire between two ideal terminals leaves the split of
its current between them open; its far end is freed, so that the near end carries all of it. The
network that remains determines everything, and what was cut is named by masks.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from ._types import CellMask, Scalar
from .drive import Bias
from .network import Network, Segments

FIRM = 1e-3  # of what the best cell conducts: nodes that are held by less are looked at again


class Undetermined(eqx.Module):
    """Masks of what a circuit does not determine."""

    row: CellMask  # row nodes of islands
    col: CellMask  # column nodes of islands
    row_split: Bool[Array, " lines"]  # word lines of ideal wire between two ideal sources
    col_split: Bool[Array, " cols"]  # bit lines of ideal wire between two ideal grounds
    cell_split: CellMask | None = None  # shorts that share their current with ideal wires
    cell_lost: CellMask | None = None  # shorts whose law does not hold


def determined(network: Network) -> tuple[Network, Undetermined]:
    """The part of a network that is determined, and masks of the rest. It also says whether a node
    is held by so little (`hangs`) that its voltage may be off where currents are not."""
    axis = network.row_axis
    row, row_split = _free_far_end(network.row, axis, far_last=True)
    col, col_split = _free_far_end(network.col, 0, far_last=False)
    joined = jnp.maximum(network.g_rc, network.g_cr)
    shunts = network.shunt_row, network.shunt_col

    def held(least, seeds):
        """Nodes with a path of conductances of more than that [S]."""
        links = row.r * least < 1, col.r * least < 1  # not of inf times 0
        return _grounded(
            links, joined > least, axis, [None if g is None else g > least for g in shunts], seeds
        )

    firmly = held(FIRM * _scale(network), None)
    row_grounded, col_grounded = held(jnp.zeros_like(joined[0, 0]), firmly)
    hangs = jnp.any(row_grounded & ~firmly[0]) | jnp.any(col_grounded & ~firmly[1])
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


def _scale(network: Network) -> Scalar:
    """The most that a cell conducts with the wires next to it [S], of those that are limited."""

    def next_to(r, axis: int):
        n = r.shape[axis]
        return jnp.minimum(
            lax.slice_in_dim(r, 0, n - 1, axis=axis), lax.slice_in_dim(r, 1, n, axis=axis)
        )

    r = next_to(network.row.r, network.row_axis) + next_to(network.col.r, 0)
    g = jnp.maximum(network.g_rc, network.g_cr)
    limited = jnp.where(jnp.isinf(g), 1 / r, g / (1 + g * r))  # 0 of NaN, where both are cut off
    return jnp.max(jnp.where(jnp.isfinite(limited), limited, 0))


def _grounded(links, cell, row_axis: int, shunts, seeds) -> tuple[CellMask, CellMask]:
    """Nodes with a path to a terminal, spread from neighbour to neighbour until none is added, and
    from `seeds`, which are known to have one.

    It starts from the lines that are whole and end in a terminal, so that in most circuits there
    is nothing to spread, and in most others a cell or two away.
    """
    shape, (row_link, col_link) = cell.shape, links

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

    row, col = whole(row_link, row_axis), whole(col_link, 0)
    row, col = (x if g is None else x | g for x, g in zip((row, col), shunts))
    if seeds is not None:
        row, col = row | seeds[0], col | seeds[1]
    row, col, _ = lax.while_loop(unfinished, add, (row, col, True))
    return row, col


def at_one_voltage(network: Network, bias: Bias) -> Bool[Array, ""]:
    """Whether the terminals that a node has a path to are at one voltage, for every node: then no
    current flows anywhere."""
    row_axis, joined = network.row_axis, (network.g_rc > 0) | (network.g_cr > 0)
    if network.shorts is not None:
        joined |= network.shorts.alpha > 0

    def by_wire(v, near, far, link, axis: int, near_last: bool):
        ends = [jnp.expand_dims(x, axis) for x in ((far, near) if near_last else (near, far))]
        wide, n = jnp.concatenate([ends[0], v, ends[1]], axis), v.shape[axis]
        at = lambda x, k: lax.slice_in_dim(x, k, n + k, axis=axis)
        through = lambda k, side: jnp.where(at(link, k), at(wide, side), jnp.inf)
        return jnp.minimum(through(0, 0), through(1, 2))

    def lowest(row, row_far, col, col_far):
        """Of the voltages that each node has a path to."""
        none = jnp.full(joined.shape, jnp.inf, network.g_rc.dtype)
        of_row = jnp.expand_dims(row, row_axis)
        start = (
            none if network.shunt_row is None else jnp.where(network.shunt_row > 0, of_row, none),
            none
            if network.shunt_col is None
            else jnp.where(network.shunt_col > 0, col[None], none),
        )

        def spread(carry):
            a, w, _ = carry
            links = network.row.alpha > 0, network.col.alpha > 0
            new_a = jnp.minimum(a, by_wire(a, row, row_far, links[0], row_axis, False))
            new_w = jnp.minimum(w, by_wire(w, col, col_far, links[1], 0, True))
            across = jnp.minimum(new_a, new_w)
            new_a, new_w = jnp.where(joined, across, new_a), jnp.where(joined, across, new_w)
            return new_a, new_w, jnp.any(new_a < a) | jnp.any(new_w < w)

        return lax.while_loop(lambda c: c[2], spread, (*start, jnp.asarray(True)))[:2]

    terminals = bias.v_row, bias.v_row_far, bias.v_col, bias.v_col_far
    both = [jnp.stack([x, -x]).astype(network.g_rc.dtype) for x in terminals]
    found = jax.vmap(lowest)(*both)  # the lowest, and minus the highest
    return jnp.all(jnp.stack([jnp.all((x[0] == -x[1]) | jnp.isinf(x[0])) for x in found]))
