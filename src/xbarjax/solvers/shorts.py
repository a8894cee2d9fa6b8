"""Shorts: cells that conduct far better than the wires beside them, up to `g = inf`.

A short holds its two nodes together. Its current `g (a + w)` is a large number times a small
difference, which rounding destroys. So the current becomes an unknown `y` of its own (`Shorts`),
with the law `(a + w) - y / g = e`.

Solvers need not know of shorts. They solve the capped network, in which the short is a finite
conductance `c`, large beside the wires. The residual of the law,

    r = e - (a + w) + y / g,

enters the network as a current `c r`, round after round (refinement.py). This is the method of
multipliers (M. R. Hestenes, J. Optim. Theory Appl. 4, 303, 1969, doi:10.1007/BF00927673). A round
multiplies the residual by `(1 - c / g) / (1 + c R)`, where `R` is the resistance between the two
nodes without the cell. `c` is `CAP` times an estimate of `1 / R`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from .. import _native
from .._types import CellMask, PerCell, Scalar
from ..kirchhoff.network import CAP, Network, Segments, Shorts
from . import ladder
from .batching import sequential_vmap

KNIT = 0.05  # resistance taken for ideal wires of a line, relative to its best other wire
ROUNDS = 8  # cells: range of the search for wires that hold a short
SOLVED = 1e6  # times the conductance of the wires alone: cells up to that need no unknown current
IDEAL = 1e30  # [S]: more than any wire, and finite in float32 when multiplied by a resistance


def parted(network: Network) -> Network:
    """The network with its shorts separated from its other cells (`Network.shorts`). A network that
    is not symmetric is returned unchanged: transistors are not taken for shorts."""
    if not network.symmetric or network.shorts is not None:
        return network
    g = network.g_rc
    kind = _kinds_of(lax.stop_gradient(network))
    alpha = kind.short.astype(g.dtype)
    beta = jnp.where(kind.short, 1 / jnp.where(kind.short, g, 1), 1)
    weak = jnp.where(kind.short, 0, g)
    return network.with_cells(weak, weak, Shorts(alpha, beta, kind.cap, kind.open))


class _Kinds(NamedTuple):
    """Classification of the cells of a network."""

    short: CellMask
    cap: PerCell  # [S]; 0 for ordinary cells and for shorts with both nodes held by wires
    open: CellMask  # shorts beside ideal wires, with which they may share their current


def _kinds_of(network: Network) -> _Kinds:
    """Classifies the cells, by the kernel if it is available."""
    if not _native.available():
        return sequential_vmap(_kinds)(network)
    nodes, dtype, parallel = network.g_rc.shape, network.g_rc.dtype, network.parallel
    g, shunts = network.g_rc, (network.shunt_row, network.shunt_col)
    operands = network.row.r, network.col.r, g, g, *shunts
    results = [(nodes, bool), (nodes, dtype), (nodes, bool)]
    found = _native.call("kinds", operands, results, Kinds(parallel), dtype, parallel=parallel)
    return _Kinds(*found)


class Kinds(NamedTuple):
    """Pure JAX form of the kernel's classification."""

    parallel: bool

    def __call__(self, r_row, r_col, g_rc, g_cr, shunt_row, shunt_col):
        lines = Segments(r_row), Segments(r_col)
        return _kinds(Network(*lines, g_rc, g_cr, shunt_row, shunt_col, True, self.parallel))


def _kinds(network: Network) -> _Kinds:
    no = jnp.zeros(network.g_rc.shape, bool)
    none = _Kinds(no, jnp.zeros_like(network.g_rc), no)
    few = jnp.max(network.g_rc) * _most(network) <= CAP  # False for inf times 0 as well
    return lax.cond(few, lambda network: none, _exactly, network)


def _most(network: Network) -> Scalar:
    """Upper bound of the resistance [ohm] between the two nodes of a cell, through both lines. Each
    line counts with all segments between nodes and the better of its two end segments."""
    return _along(network.row.r, network.row_axis) + _along(network.col.r, 0)


def _along(r, axis: int) -> Scalar:
    end = lambda k: lax.index_in_dim(r, k, axis, keepdims=False)
    inner = jnp.sum(lax.slice_in_dim(r, 1, r.shape[axis] - 1, axis=axis), axis)
    return jnp.max(inner + jnp.minimum(end(0), end(-1)))


def _exactly(network: Network) -> _Kinds:
    of_row, of_col = _yields(network)
    # a node that is held by its cell alone counts as 0
    finite = lambda rho: jnp.where(jnp.isinf(rho), 0, rho)
    alone, beside, rho = (finite(a) + finite(b) for a, b in zip(of_row, of_col))
    held = (alone == 0) & jnp.isfinite(of_row[0]) & jnp.isfinite(of_col[0])
    g = jnp.minimum(network.g_rc, IDEAL)
    shared = g * beside <= CAP
    short = (g * rho > CAP) & (~shared | (g * alone > SOLVED))
    short = jnp.isinf(network.g_rc) | jnp.where(held, g > 0, short)
    cap = jnp.where(rho > 0, CAP / jnp.where(rho > 0, rho, 1), 1)
    return _Kinds(short, jnp.where(short & ~held, cap, 0), short & shared & ~held)


def _yields(network: Network) -> list[list[PerCell]]:
    """Resistances [ohm] from every node into its line, for rows and for columns, each in three
    variants:

    - without cells;
    - with cells;
    - with cells and with a resistance for ideal wires (`KNIT`). Otherwise shorts that ideal wires
      join would hold each other, which would hide the wires that hold all of them.

    A cell of the line counts as its own resistance in series with the resistance into its other
    line, from the previous round. In the first round its other node is at rest."""
    turn = (lambda x: x) if network.parallel else jnp.transpose
    rows = turn(network.row.r), network.shunt_row, turn
    sides = rows, (network.col.r, network.shunt_col, lambda x: x)
    least = 1 / jnp.minimum(network.g_rc, IDEAL)
    still = jnp.zeros_like(least)
    most = max(r.shape[0] for r, *_ in sides)

    def knit(r):
        wire = jnp.where((r > 0) & jnp.isfinite(r), r, jnp.inf)
        best = KNIT * jnp.min(wire, axis=0, keepdims=True)
        return jnp.where((r == 0) & jnp.isfinite(best), best, r)

    def beside(parts, length: int, fill):
        """Lines of both families side by side, padded to one length. An infinite shunt at the first
        padded node ends a shorter line."""
        wide = [jnp.concatenate(x, 1) for x in parts]
        ends = [((0, length - len(x)), (0, 0)) for x in wide]
        return jnp.concatenate(
            [jnp.pad(x, end, constant_values=fill) for x, end in zip(wide, ends, strict=True)], 1
        )

    lines = beside([[r, r, knit(r)] for r, *_ in sides], most, 0)

    def one_round(_, found):
        nodes = []
        for (_, shunt, way), others in zip(sides, found[::-1], strict=True):
            own = still if shunt is None else shunt
            seen = [own, *(own + 1 / (least + rho) for rho in others[1:])]
            nodes.append([way(x) for x in seen])
        y = ladder.around(lines, beside(nodes, most - 1, jnp.inf))
        out, start = [], 0
        for r, shunt, way in sides:
            own, n, lanes = 0 if shunt is None else shunt, len(r) - 1, r.shape[1]
            end = start + 3 * lanes
            out.append([1 / (way(y[:n, k : k + lanes]) + own) for k in range(start, end, lanes)])
            start = end
        return out

    return lax.fori_loop(0, ROUNDS, one_round, [[still] * 3] * 2)
