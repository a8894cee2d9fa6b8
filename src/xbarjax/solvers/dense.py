"""Dense reference solver: a network by pivoted LU of dense matrices, without ladders."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from ..kirchhoff.network import Field, Network, Segments

Factors = tuple[Float[Array, "lines size size"], Array]


class Columns(NamedTuple):
    """Factors of a network with source lines parallel to its bit lines: one circuit per column of
    cells."""

    network: Network
    factors: Factors


class Crossing(NamedTuple):
    """Factors of a network whose rows cross its columns: one per line, and one of the array over
    the column drops."""

    network: Network
    rows: Factors
    cols: Factors
    array: tuple[Float[Array, "cells cells"], Array]


class Dense(lx.AbstractLinearSolver[Crossing | Columns]):
    """Exact solve by dense LU, for small arrays and as the reference of other solvers. The network
    need not be symmetric.

    Every line has the saddle-point matrix `[[g, B alpha], [alpha B', -beta]]` over its drops and
    currents. The inverses `R` (rows) and `C` (columns) leave one dense system over the column
    drops, `(1 - C g_cr R g_rc) w = C (b_col - g_cr R b_row)`. One step of iterative refinement
    follows. With source lines parallel to the bit lines there is one matrix per column instead.

    Cost: `(rows cols)^3` operations and `(rows cols)^2` numbers: 64x64 takes 130 MB. On a GPU it
    calls the vendor's LU.
    """

    def init(
        self, operator: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> Crossing | Columns:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"Dense solves a Network, not a {type(operator).__name__}.")
        if operator.parallel:
            return Columns(operator, lax.map(_column_lu, _columns(operator)))
        # one line after another: batched LAPACK calls can wait for each other on few cores
        rows = lax.map(lambda x: _line_lu(*x), (operator.row, operator.g_row))
        cols = lax.map(lambda x: _line_lu(*x), (_downwards(operator.col), operator.g_col.T))
        m, n = operator.g_rc.shape
        across = lax.map(lambda lu: _inverse(lu, n), rows)  # R: (m, n, n)
        along = lax.map(lambda lu: _inverse(lu, m), cols)  # C: (n, m, m)
        through = operator.g_cr[:, :, None] * across * operator.g_rc[:, None, :]
        coupled = jnp.einsum("jik,kjl->ijkl", along, through, precision="highest")
        coupled = coupled.reshape(m * n, m * n)
        array = jax.scipy.linalg.lu_factor(jnp.eye(m * n, dtype=coupled.dtype) - coupled)
        return Crossing(operator, rows, cols, array)

    def compute(
        self, state: Crossing | Columns, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        del options
        x = _substitute(state, vector)
        residual = jax.tree.map(jnp.subtract, vector, state.network.mv(x))
        x = jax.tree.map(jnp.add, x, _substitute(state, residual))
        return x, lx.RESULTS.successful, {"num_steps": 1}

    def transpose(self, state: Crossing | Columns, options: dict[str, Any]):
        if state.network.symmetric:
            return state, options
        return self.init(state.network.transpose(), options), options

    def conj(self, state: Crossing | Columns, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


def _downwards(col: Segments) -> Segments:
    """Columns as lines along the last axis, in the order of their storage: far end first."""
    return Segments(col.r.T)


def _line_lu(line: Segments, g: Float[Array, " n"]):
    """LU of one line's equations in its drops and scaled currents. The order of the nodes does not
    matter, because a segment's current leaves one neighbour and enters the other either way."""
    n = g.shape[0]
    incidence = jnp.eye(n, n + 1, dtype=g.dtype) - jnp.eye(n, n + 1, 1, dtype=g.dtype)
    coupling = incidence * line.alpha[None]
    # an isolated node has the equation 0 = 0
    alone = (g == 0) & (line.alpha[:-1] == 0) & (line.alpha[1:] == 0)
    g = jnp.where(alone, 1, g)
    return jax.scipy.linalg.lu_factor(
        jnp.block([[jnp.diag(g), coupling], [coupling.T, -jnp.diag(line.beta)]])
    )


def _inverse(lu, n: int) -> Float[Array, "n n"]:
    """Drops [V] for a current of 1 A into each node, one column per node."""
    size = lu[0].shape[0]
    return jax.scipy.linalg.lu_solve(lu, jnp.eye(size, n, dtype=lu[0].dtype))[:n]


def _substitute(state: Crossing | Columns, vector: Field) -> Field:
    if isinstance(state, Columns):
        return _substitute_columns(state, vector)
    network, rows, cols, array = state
    m, n = vector.row.shape

    def solve_rows(w):
        b = jnp.concatenate([vector.row - network.g_rc * w, vector.row_segments], axis=1)
        x = lax.map(lambda x: jax.scipy.linalg.lu_solve(*x), (rows, b))
        return x[:, :n], x[:, n:]

    def solve_cols(a):
        # stored far end first, against the order of the line: a segment's law changes sign
        b = jnp.concatenate([vector.col - network.g_cr * a, -vector.col_segments], axis=0).T
        x = lax.map(lambda x: jax.scipy.linalg.lu_solve(*x), (cols, b))
        return x[:, :m].T, -x[:, m:].T

    a, _ = solve_rows(jnp.zeros_like(vector.col))
    w, _ = solve_cols(a)
    w = jax.scipy.linalg.lu_solve(array, w.ravel()).reshape(m, n)
    a, y_row = solve_rows(w)
    w, y_col = solve_cols(a)
    return Field(a, y_row, w, y_col)


def _columns(network: Network) -> Network:
    """One network per column of cells, stacked along a leading axis."""
    per_column = eqx.tree_at(lambda n: n.hangs, network, None, is_leaf=lambda x: x is None)
    return jax.tree.map(lambda x: x.T[:, :, None], per_column)


def _column_lu(network: Network) -> tuple[Float[Array, "size size"], Int[Array, " size"]]:
    matrix = network.as_matrix()
    alone = jnp.all(matrix == 0, axis=1)  # an isolated node has the equation 0 = 0
    return jax.scipy.linalg.lu_factor(matrix + jnp.diag(alone.astype(matrix.dtype)))


def _substitute_columns(state: Columns, vector: Field) -> Field:
    def solve(x):
        factors, vector = x
        flat, unravel = ravel_pytree(vector)
        return unravel(jax.scipy.linalg.lu_solve(factors, flat))

    columns = jax.tree.map(lambda x: x.T[:, :, None], vector)
    return jax.tree.map(lambda x: x[:, :, 0].T, lax.map(solve, (state.factors, columns)))
