"""Effective matrix of an array and its derivative with respect to the cells, by block elimination.

Each column in turn has both of its terminals at 1 V, and the rows are at 0 V. The cells of row `i`
carry

    g_i C_i,    C_i = (1 - R_i g_i) W_i,

where `W_i` [V] are the voltages of the column nodes and `R_i` [ohm] the drops along the row wire
per injected current. The matrices have one column per driven column of the array. By reciprocity,
the currents into the rows are the effective matrix:

    T_i = sum over the row of g_i C_i.

A change `dg` of the cells acts as current sources `dg C` across them, so that

    dT_i = sum over the row of (dg_i C_i + g_i (change of C_i for these sources)),

which takes as many solves with the same factor. The gradient is the transpose of this linear map
(S. W. Director and R. A. Rohrer, IEEE Trans. Circuit Theory 16, 318, 1969,
doi:10.1109/TCT.1969.1082965: sensitivities by the adjoint network).

The matrix takes `14 rows cols^3` operations, nearly all in matrix products. A change or a gradient
takes `10 rows cols^3` more. `4 rows cols^2` numbers are kept.
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
    """Effective matrix of an array, with the data that its derivatives need."""

    factor: Blocks
    r: Float[Array, "rows cols cols"]  # drops along each row of wire [V] for injected currents [A]
    c: Each  # voltage [V] across every cell, from column to row, for each driven column
    matrix: PerCell  # [S]


def products(network: Network) -> Products:
    """Effective matrix of a symmetric network, whose cells depend on `v_row - v_col` alone. The
    cost is least for a network that is no wider than tall."""
    g, factor = network.g_rc, blocks.factor(network)
    unit = jnp.eye(g.shape[1], dtype=g.dtype)
    along = jax.vmap(lambda line: ladder.drops(_column(line), unit)[0])
    r = along(jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), factor.lines.rows))
    with jax.default_matmul_precision("highest"):
        w = lax.cond(
            far_ends_open(network),
            lambda: blocks.drops(factor, jnp.zeros_like(r), unit),  # exact for small voltages
            lambda: (
                unit[None] - blocks.drops(factor, g[:, :, None] * (unit[None] - r * g[:, None, :]))
            ),
        )
        c = w - r @ (g[:, :, None] * w)
    return Products(factor, r, c, jnp.sum(g[:, :, None] * c, axis=1))


def change(of: Products, dg: PerCell) -> PerCell:
    """Change `dT` [S] of the effective matrix, linear in a change `dg` [S] of the cells."""
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
