"""All products of an array and how they change with its cells, by block elimination.

With every column in turn at 1 V, terminals and all, and the rows at 0 V, the cells of row `i` carry

    g_i C_i,    C_i = (1 - R_i g_i) W_i,

where `W_i` are the voltages of the column nodes, `R_i` what a row of wire drops for injected
currents, and the matrices have a column for every driven one. The currents into the rows are the
matrix that the array multiplies with, by reciprocity:

    T_i = sum over the row of g_i C_i.

A change `dg` of cells is a source of `dg C` across them, so that

    dT_i = sum over the row of (dg_i C_i + g_i (change of C_i for these sources)),

as many solves with the same factor; a gradient is the transpose of that. (S. W. Director and R. A.
Rohrer, IEEE Trans. Circuit Theory 16, 318, 1969, doi:10.1109/TCT.1969.1082965: sensitivities by
the adjoint network.)

It takes `14 rows cols^3` operations, nearly all in matrix products, a change or a gradient 10 more,
and `4 rows cols^2` numbers are kept.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._types import PerCell
from ..kirchhoff.network import Network
from . import blocks, ladder
from .blocks import Blocks
from .elimination import far_ends_open

Each = Float[Array, "rows cols driven"]


class Products(NamedTuple):
    """Effective matrix of an array, and what its derivatives need."""

    factor: Blocks
    r: Float[Array, "rows cols cols"]  # drops along each row of wire [V] for injected currents [A]
    c: Each  # voltage [V] across every cell, from column to row, for each driven column
    matrix: PerCell  # [S]


def products(network: Network) -> Products:
    """Effective matrix of a symmetric network whose cells see `v_row - v_col` alone, at best no
    wider than tall."""
    g, factor = network.g_rc, blocks.factor(network)
    unit = jnp.eye(g.shape[1], dtype=g.dtype)
    along = jax.vmap(lambda line: ladder.drops(_column(line), unit)[0])
    r = along(jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), factor.lines.rows))
    with jax.default_matmul_precision("highest"):
        w = lax.cond(
            far_ends_open(network),
            lambda: blocks.drops(factor, jnp.zeros_like(r), unit),  # exact where little is left
            lambda: (
                unit[None] - blocks.drops(factor, g[:, :, None] * (unit[None] - r * g[:, None, :]))
            ),
        )
        c = w - r @ (g[:, :, None] * w)
    return Products(factor, r, c, jnp.sum(g[:, :, None] * c, axis=1))


def change(of: Products, dg: PerCell) -> PerCell:
    """`dT` [S] for a change `dg` [S] of the cells, linear in it."""
    factor, r, c, _ = of
    g = factor.lines.network.g_rc[:, :, None]
    source = dg[:, :, None] * c
    with jax.default_matmul_precision("highest"):
        a = r @ source
        w = blocks.drops(factor, g * a - source)
        a = a + r @ (g * w)
    return jnp.sum(source + g * (w - a), axis=1)


def _column(line):
    return jax.tree.map(lambda x: x[..., None], line)
