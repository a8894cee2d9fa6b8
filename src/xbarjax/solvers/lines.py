"""An array as two families of lines: right-hand sides, line solves and currents, in any dtype."""

from typing import NamedTuple

import jax.numpy as jnp

from .._types import PerCell, PerCol, PerRow, Scalar
from ..kirchhoff.network import Field, Network, Segments
from . import ladder
from .ladder import Ladder


class Lines(NamedTuple):
    """A network with its lines factored."""

    network: Network
    rows: Ladder  # lanes are rows: arrays (cols, rows)
    cols: Ladder  # lanes are columns: arrays (rows, cols)


class Injected(NamedTuple):
    """A right-hand side without electromotive forces, for drops counted from offsets.

    Currents and drops are divided by the largest current, because squares of nanoamperes would
    underflow in float32."""

    row: PerCell
    col: PerCell
    v_row: PerRow  # drop of the near end of each line
    v_col: PerCol
    unit: Scalar  # [A]
    offset_row: PerCell  # [V]
    offset_col: PerCell


class Round(NamedTuple):
    """One round of line solves: the rows for column drops `seen`, then the columns for row drops.

    Only the rows' current law remains violated, by `g_rc (w - seen)`."""

    a: PerCell  # row drops
    w: PerCell  # column drops
    seen: PerCell  # column drops before the round
    i_row: PerRow  # currents in the near segments
    i_col: PerCol
    reached: Scalar  # size of the currents that reach the columns


def factor(network: Network) -> Lines:
    row, col = network.row, network.col
    rows = ladder.factor(row.r.T, network.g_row.T, near_last=False)
    cols = ladder.factor(col.r, network.g_col, near_last=True)
    return Lines(network, rows, cols)


def injected(lines: Lines, vector: Field) -> Injected:
    """The right-hand side for drops counted from offsets that satisfy all electromotive forces."""
    network = lines.network
    offset_row, v_row, offset_col, v_col = _offsets(lines, vector)
    row = vector.row - network.g_row * offset_row - network.g_rc * offset_col
    col = vector.col - network.g_cr * offset_row - network.g_col * offset_col
    unit = jnp.max(jnp.maximum(jnp.abs(row), jnp.abs(col)))
    unit = jnp.where(unit > 0, unit, 1)
    ends = v_row / unit, v_col / unit
    return Injected(row / unit, col / unit, *ends, unit, offset_row, offset_col)


def column_drops(b: Injected, x: Field) -> PerCell:
    """Column drops of a field, counted and scaled as in a `Round`."""
    return (x.col - b.offset_col) / b.unit


def _offsets(lines: Lines, vector: Field):
    """Drops [V] of nodes and of near ends that satisfy the electromotive forces of all segments
    without current: of rows, then of columns."""
    network, rows, cols = lines

    turned = network.row.over_alpha(vector.row_segments).T
    offset_row, v_row = ladder.offsets(turned, near_last=rows.near_last)
    col = network.col.over_alpha(vector.col_segments)
    return offset_row.T, v_row, *ladder.offsets(col, near_last=cols.near_last)


def round_from(lines: Lines, b: Injected, w: PerCell) -> Round:
    """Solves every row for column drops `w`, then every column for the resulting row drops."""
    network, rows, cols = lines
    a, i_row = ladder.drops(rows, (b.row - network.g_rc * w).T, b.v_row)
    reached = b.col - network.g_cr * a.T
    better, i_col = ladder.drops(cols, reached, b.v_col)
    return Round(a.T, better, w, i_row, i_col, size(reached))


def local_resistances(network: Network) -> tuple[PerCell, PerCell]:
    """Resistances [ohm] from every row node and from every column node into its own line, without
    the node's own cell and with all other lines at rest. A node's voltage yields to the current of
    its cell by this much. Infinite where the node is cut off."""
    row, g_row = network.row.r, network.g_row
    if network.parallel:
        rows = ladder.around(row, g_row)
    else:
        rows = ladder.around(row.T, g_row.T).T
    return 1 / rows, 1 / ladder.around(network.col.r, network.g_col)


def row_drops(lines: Lines, b: PerCell) -> PerCell:
    """`R b`: drops of the row nodes for currents `b` injected into them."""
    return ladder.drops(lines.rows, b.T)[0].T


def field(lines: Lines, b: Injected, vector: Field, x: Round) -> Field:
    """Drops [V] of all nodes and scaled currents [A] of all segments after a round `x`."""
    network, rows, cols = lines
    lost = network.g_row * x.a + network.g_rc * x.seen - b.row
    j_row = ladder.currents(lost.T, x.i_row, near_last=rows.near_last).T
    lost = network.g_cr * x.a + network.g_col * x.w - b.col
    j_col = ladder.currents(lost, x.i_col, near_last=cols.near_last)
    a, w = b.unit * x.a + b.offset_row, b.unit * x.w + b.offset_col
    along_row = jnp.diff(a, axis=1, prepend=0, append=0)
    along_col = -jnp.diff(w, axis=0, prepend=0, append=0)
    y_row = scaled_current(network.row, b.unit * j_row, along_row, vector.row_segments)
    y_col = scaled_current(network.col, b.unit * j_col, along_col, vector.col_segments)
    return Field(a, y_row, w, y_col)


def scaled_current(line: Segments, j, along, e):
    """`y` of segments: their currents `j` where `alpha = 1`, and from Ohm's law beyond `R_BROKEN`,
    for drops `along` the segments and forces `e`."""
    ordinary = line.alpha == 1
    return jnp.where(ordinary, j, (line.alpha * along - e) / jnp.where(ordinary, 1, line.beta))


def size(x) -> Scalar:
    """2-norm of an array."""
    return jnp.sqrt(jnp.sum(x * x))
