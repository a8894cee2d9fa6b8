"""Coarse-grid correction of modes that are smooth along both rows and columns.

Conjugate gradients preconditioned by column ladders converge slowly in modes that rows and columns
share over many cells. Let `M = L_c + g_col`, and let `S` be the system with the rows eliminated
(ladder_cg.py). Eliminating the columns instead gives an exact identity (Woodbury's; W. W. Hager,
SIAM Review 31, 221, 1989, doi:10.1137/1031049):

    S^-1 = M^-1 + M^-1 g_cr T^-1 g_rc M^-1,      T = L_r + g_row - g_rc M^-1 g_cr.

`T^-1` is large exactly on the slow modes, and the slow modes are smooth. So `T` is replaced by its
Galerkin approximation with bilinear hat functions, `T_c = H^T T H`. The preconditioner stays
symmetric positive definite and costs one more column ladder per iteration. `T_c` is made from the
coarse conductances of the cells, `H^T g H`, and of the segments: it is a crossbar of a few lines.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from .._types import PerCell
from ..kirchhoff.network import Network, Segments
from .inverse import inverse

STIFF = 10.0  # times g N^2: limit of a segment's conductance, above which a wire is nearly ideal
SMALL = 160**2  # cells, below which the grid gains little and compilation takes longer
LARGE = 768**2  # cells, from which a finer grid is worth its larger matrix
SLOW = 30.0  # N^2 r g above which fewer iterations outweigh their higher cost


class Coarse(NamedTuple):
    """Coarse grid: hat functions over the rows and over the columns, and the inverse of `T_c`."""

    over_rows: Float[Array, "rows p"]
    over_cols: Float[Array, "cols q"]
    inverse: Float[Array, "pq pq"]
    pays: Bool[Array, ""]  # whether the correction is used


def hats(rows: int, cols: int) -> tuple[int, int] | None:
    """Numbers of equally spaced hat functions over rows and columns; None for a small array."""
    most = 256 if rows * cols >= LARGE else 64
    spacing = math.sqrt(rows * cols / most)
    count = lambda n: min(max(round(n / spacing), 1), most)
    return (count(rows), count(cols)) if rows * cols >= SMALL else None


def factor(network: Network, count: tuple[int, int], dtype) -> Coarse:
    """Coarse grid of a network in a dtype, with `count` hat functions over rows and columns."""
    rows, cols = network.g_rc.shape
    h, k = _hats(rows, count[0], dtype), _hats(cols, count[1], dtype)
    r = jnp.minimum(_typical(network.row.r, axis=0), _typical(network.col.r, axis=1))
    pays = jnp.mean(network.g_rc) * r * (rows * cols) > SLOW
    nothing = jnp.zeros((count[0] * count[1],) * 2, dtype)
    t = lax.cond(pays, lambda: _inverse_of_t(network, h, k), lambda: nothing)
    return Coarse(h, k, t, pays & jnp.isfinite(jnp.sum(t)))


def _typical(r, axis: int):
    """Mean resistance [ohm] of the segments between cells. Positions along the lines at which any
    segment is open are left out."""
    each = jnp.mean(r, axis)[1:-1]
    unbroken = jnp.isfinite(each)
    count = jnp.maximum(jnp.sum(unbroken.astype(r.dtype)), 1)
    return jnp.sum(jnp.where(unbroken, each, 0)) / count


def _inverse_of_t(network: Network, h, k) -> Float[Array, "pq pq"]:
    stiff = STIFF * jnp.max(network.g_rc) * max(network.g_rc.shape) ** 2

    def segments(line: Segments):
        return jnp.minimum(line.alpha**2 / jnp.maximum(line.beta, 1 / stiff), stiff)

    coarse = lambda h, x, k: _galerkin(h, x.astype(h.dtype), k)
    with jax.default_matmul_precision("highest"):
        coupling = coarse(h, network.g_rc, k)
        own = coarse(_steps(h), segments(network.col), k)
        own += coarse(h, network.g_col - network.g_cr, k)
        t = coarse(h, segments(network.row), _steps(k))
        t += coarse(h, network.g_row - network.g_rc, k)
        # equal to g_rc - g_rc (L_c + g_col)^-1 g_cr, without its cancellation
        t += coupling @ inverse(own + coupling) @ own
        return inverse((t + t.T) / 2)


def currents(coarse: Coarse, network: Network, w: PerCell) -> PerCell:
    """`g_cr H T_c^-1 H^T g_rc w`: smooth part of the currents into the columns by which the rows
    respond to column drops `w`."""
    h, k, inverse, _ = coarse
    with jax.default_matmul_precision("highest"):
        e = inverse @ (h.T @ (network.g_rc * w) @ k).ravel()
        return network.g_cr * (h @ e.reshape(h.shape[1], k.shape[1]) @ k.T)


def _hats(n: int, count: int, dtype) -> Float[Array, "n count"]:
    """Piecewise linear hat functions on `n` nodes, which sum to one."""
    x = jnp.arange(n, dtype=dtype) * ((count - 1) / max(n - 1, 1))
    return jnp.maximum(0, 1 - jnp.abs(x[:, None] - jnp.arange(count, dtype=dtype)[None]))


def _steps(h) -> Float[Array, "segments count"]:
    """Differences of hat functions `h` along every segment, with both terminals at 0."""
    return jnp.diff(h, axis=0, prepend=0, append=0)


def _galerkin(left, weight, right) -> Float[Array, "pq pq"]:
    """Galerkin matrix `sum_ij weight_ij (left_ia right_ic) (left_ib right_id)`, of `ac` by `bd`.

    Only neighbouring hats overlap, so few products of two hats are nonzero."""
    products = lambda f: jnp.concatenate([f * f, f[:, :-1] * f[:, 1:]], axis=1)
    each = products(left).T @ weight @ products(right)
    p, q = left.shape[1], right.shape[1]
    at = _neighbours(p).astype(each.dtype), _neighbours(q).astype(each.dtype)
    full = jnp.einsum("sab,st,tcd->acbd", at[0], each, at[1])
    return full.reshape(p * q, p * q)


def _neighbours(n: int):
    """Indicator matrices of the `n` diagonal and `n - 1` off-diagonal elements of a symmetric
    tridiagonal matrix."""
    unit = np.eye(n, dtype=np.float32)
    above = unit[:-1, :, None] * unit[1:, None, :]
    return np.concatenate([unit[:, :, None] * unit[:, None, :], above + above.transpose(0, 2, 1)])
