"""From a crossbar and its bias to the network and its right-hand side."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._types import PerCol, PerRow
from .cells import linearise
from .crossbar import Crossbar
from .drive import Bias
from .network import Field, Network, Segments


class Reference(eqx.Module):
    """The voltages [V] from which drops are counted: the near terminal's, the far one's where the
    near end of a line is free, and one of the other family's where both are."""

    v_row: PerRow
    v_col: PerCol


def assemble(crossbar: Crossbar, bias: Bias) -> tuple[Network, Field, Reference]:
    """Kirchhoff's law for the drops of a biased array.

    Returns the network, its right-hand side (the cell currents at zero drops are what is injected
    into both families), and the reference of the drops.
    """
    dtype = working_dtype(crossbar, bias.v_row, bias.v_row_far)
    rows, cols = crossbar.shape
    drive, readout = crossbar.drive, crossbar.readout
    wire = lambda r: jnp.broadcast_to(r, (rows, cols)).astype(dtype)
    end = lambda r, n: jnp.broadcast_to(r, (n,)).astype(dtype)
    first = jnp.arange(cols) == 0
    last = (jnp.arange(rows) == rows - 1)[:, None]
    near = jnp.where(first, end(drive.r_source, rows)[:, None], 0)
    far = end(drive.r_source_far, rows)[:, None]
    row = Segments(jnp.concatenate([wire(crossbar.wires.r_row) + near, far], axis=1))
    near = jnp.where(last, end(readout.r_in, cols), 0)
    far = end(readout.r_in_far, cols)[None]
    col = Segments(jnp.concatenate([far, wire(crossbar.wires.r_col) + near], axis=0))

    # An end that is free has no voltage; the other one is then the reference. A line that is free
    # at both counts from a line of the other family, so that what is at rest has no current.
    row_ends = row.alpha[:, 0] > 0, row.alpha[:, -1] > 0
    col_ends = col.alpha[-1] > 0, col.alpha[0] > 0
    near, far = bias.v_row.astype(dtype), bias.v_row_far.astype(dtype)
    v_row = jnp.where(row_ends[0], near, far)
    v_col = jnp.where(col_ends[0], bias.v_col.astype(dtype), bias.v_col_far.astype(dtype))
    held_row, held_col = row_ends[0] | row_ends[1], col_ends[0] | col_ends[1]
    rest_row, rest_col = _one(v_col, held_col), _one(v_row, held_row)
    v_row, v_col = jnp.where(held_row, v_row, rest_row), jnp.where(held_col, v_col, rest_col)
    inner = jnp.zeros((rows, cols - 1), dtype)
    e_row = jnp.concatenate([(v_row - near)[:, None], inner, (far - v_row)[:, None]], axis=1)
    near, far = bias.v_col.astype(dtype), bias.v_col_far.astype(dtype)
    inner = jnp.zeros((rows - 1, cols), dtype)
    e_col = jnp.concatenate([(v_col - far)[None], inner, (near - v_col)[None]], axis=0)
    e_row, e_col = row.alpha * e_row, col.alpha * e_col

    cell = _cast(crossbar.cell, dtype)
    at_row = jnp.broadcast_to(v_row[:, None], (rows, cols))
    at_col = jnp.broadcast_to(v_col[None, :], (rows, cols))
    current, g_row, g_col = linearise(cell, at_row, at_col)
    network = Network(row, col, g_row, g_col, g_col, g_row, cell.is_reciprocal)
    return network, Field(current, e_row, current, e_col), Reference(v_row, v_col)


def _one(v: Array, of: Array) -> Array:
    """The first of those voltages, 0 of none. A mean would round: equal ones must cancel."""
    return jnp.where(jnp.any(of), v[jnp.argmax(of)], 0)


def working_dtype(crossbar: Crossbar, *inputs: Array):
    """The dtype a read runs in: that of every array in the circuit and of its inputs. Scalars
    follow along."""
    parts = (crossbar.cell, crossbar.wires, crossbar.drive, crossbar.readout)
    leaves = [x for part in parts for x in _arrays(part) if jnp.ndim(x) > 0]
    return jnp.result_type(*leaves, *inputs)


def _arrays(tree) -> list[Array]:
    return [x for x in jax.tree.leaves(tree) if eqx.is_array_like(x)]


def _cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tree)
