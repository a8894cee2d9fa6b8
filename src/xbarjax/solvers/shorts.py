"""Cells that conduct better than the wires beside them, up to shorts with `g = inf`.

Such a cell holds its two nodes together: `g (a + w)` is a large number times a small difference, of
which nothing is left. So its current becomes an unknown of its own (`Shorts`), with the law
`(a + w) - y / g = e`. Solvers need not know of it. They solve the network in which the cell is a
conductance `c`, large beside the wires and not more, and what that leaves violated,

    r = e - (a + w) + y / g,

goes back into the network as a current `c r` until nothing is left (refinement.py): the method of
multipliers (M. R. Hestenes, J. Optim. Theory Appl. 4, 303, 1969, doi:10.1007/BF00927673). A round
leaves `(1 - c / g) / (1 + c R)` of it, where `R` is the resistance of the wires between the two
nodes, which is at least half of what each line alone shows with its neighbours at rest.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._types import CellMask, PerCell, Scalar
from ..network import Network, Shorts
from . import ladder
from .batching import one_by_one

CAP = 100.0  # times what the wires conduct between the two nodes of a cell: more is a short
KNIT = 0.05  # of the best wire of a line: what its ideal wires are taken for beside a short
LEAST = 1e-4  # of the wires alone: how far other shorts may bring their resistance down
SOLVED = 1e6  # times what the wires alone conduct: what solvers can do without
IDEAL = 1e30  # [S]: more than any wire, and finite in float32 when multiplied with one


def parted(network: Network) -> Network:
    """The network with its shorts told apart, if its cells are symmetric: transistors are none."""
    if not network.symmetric or network.shorts is not None:
        return network
    g = network.g_rc
    kind = one_by_one(_kinds)(lax.stop_gradient(network))
    alpha = kind.short.astype(g.dtype)
    beta = jnp.where(kind.short, 1 / jnp.where(kind.short, g, 1), 1)
    weak = jnp.where(kind.short, 0, g)
    return network.with_cells(weak, weak, Shorts(alpha, beta, kind.cap, kind.open))


class _Kinds(NamedTuple):
    short: CellMask
    cap: PerCell  # [S], 0 of cells that are no shorts, and of those that are held at both nodes
    open: CellMask  # shorts beside ideal wires, which may share their current with others


def _kinds(network: Network) -> _Kinds:
    no = jnp.zeros(network.g_rc.shape, bool)
    none = _Kinds(no, jnp.zeros_like(network.g_rc), no)
    few = jnp.max(network.g_rc) * _most(network) <= CAP  # false of inf times 0, too
    return lax.cond(few, lambda network: none, _exactly, network)


def _most(network: Network) -> Scalar:
    """A bound of the resistance [ohm] between the two nodes of a cell, along both lines."""
    rows = _along(network.row.r, network.g_rc, network.row_axis)
    return rows + _along(network.col.r, network.g_rc, 0)


def _along(r, g, axis: int) -> Scalar:
    """Of the best of three ways along a line: to its near end, to its far one, or to any of its
    other cells, which conduct as much as all but the largest, spread evenly, or more."""
    inner = jnp.sum(lax.slice_in_dim(r, 1, r.shape[axis] - 1, axis=axis), axis)
    end = lambda k: lax.index_in_dim(r, k, axis, keepdims=False)
    others = jnp.sum(jnp.where(jnp.isinf(g), 0, g), axis) - jnp.max(g, axis)
    by_cells = jnp.where(others > 0, g.shape[axis] / jnp.where(others > 0, others, 1), jnp.inf)
    ends = jnp.minimum(end(0), end(r.shape[axis] - 1))
    return jnp.max(inner + jnp.minimum(ends, by_cells))


def _exactly(network: Network) -> _Kinds:
    turn = (lambda x: x) if network.parallel else jnp.transpose
    shunt = None if network.shunt_row is None else turn(network.shunt_row)
    of_row = _beside(turn(network.row.r), turn(network.g_rc), shunt)
    of_col = _beside(network.col.r, network.g_rc, network.shunt_col)
    # a node that hangs on its cell alone has nowhere to yield to
    yields = lambda rho: jnp.where(jnp.isinf(rho), 0, rho)
    alone, beside, knit = (yields(turn(a)) + yields(b) for a, b in zip(of_row, of_col))
    free = jnp.isinf(turn(of_row[0])) | jnp.isinf(of_col[0])
    held = (alone == 0) & ~free
    g = network.g_rc
    finite = jnp.minimum(g, IDEAL)
    rho = jnp.maximum(knit, LEAST * alone)
    shared = finite * beside <= CAP
    short = (finite * rho > CAP) & (~shared | (finite * alone > SOLVED))
    short = jnp.isinf(g) | jnp.where(held, g > 0, short)
    cap = jnp.where(rho > 0, CAP / jnp.where(rho > 0, rho, 1), 1)
    return _Kinds(short, jnp.where(short & ~held, cap, 0), short & shared & ~held)


def _beside(r, g, shunt) -> list[Array]:
    """Resistance [ohm] of a line as its nodes see it: without cells, with its cells' other nodes at
    rest, and so with its ideal wires taken for good ones. Else shorts that they join would hold
    each other, and nothing would show what holds them all."""
    own = jnp.zeros_like(g) if shunt is None else shunt
    wire = jnp.where((r > 0) & jnp.isfinite(r), r, jnp.inf)
    least = KNIT * jnp.min(wire, axis=0, keepdims=True)
    knit = jnp.where((r == 0) & jnp.isfinite(least), least, r)
    cells = own + jnp.minimum(g, IDEAL)
    lines, nodes = jnp.concatenate([r, r, knit], 1), jnp.concatenate([own, cells, cells], 1)
    return [1 / (y + own) for y in jnp.split(ladder.around(lines, nodes), 3, axis=1)]
