"""Direct solver for source lines parallel to bit lines: one circuit of two lines per column.

No wire joins one column to another. A column is a chain whose nodes are pairs: the ladder of
ladder.py with 2x2 matrices in place of numbers. Let `d = (-a, w)` be the drops of both lines of a
column. Below node `k`, the circuit is a Norton equivalent with conductance matrix and currents

    S = [[sigma_1 + p, -q], [-p, sigma_2 + q]],    c.

The segments above the node obey `A (d_k - d_{k-1}) = B u_k`, `J_k = A u_k` with diagonal `A`, `B`,
which gives

    X = (A + S B)^-1,   T = A X S,   d_k = (1 - B X S) d_{k-1} + B X c_k,   c_{k-1} = b + A X c_k.

`S` is kept as column sums `sigma` and couplings `p, q`, none of which is negative. All terms of

    det(A + S B) = a_1 a_2 + a_1 b_2 (sigma_2 + q) + a_2 b_1 (sigma_1 + p)
                   + b_1 b_2 (sigma_1 sigma_2 + sigma_1 q + sigma_2 p)

and of the expressions made from it are then non-negative, so nothing cancels. A node behind an
ideal far end is pinned at 0.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Float

from .._types import PerCell, PerCol
from ..kirchhoff.network import Field, Network
from . import ladder
from .lines import scaled_current
from .recurrences import law

Pair = Float[Array, "2 *rows cols"]


class Factors(NamedTuple):
    """Factors per segment, from the top down. `X = [[m_1, b_2 q], [b_1 p, m_2]]`."""

    network: Network
    a: Pair  # (2, rows, cols): source line, bit line
    b: Pair
    m: Pair  # 0 at a pinned node
    p: PerCell  # divided by the determinant
    q: PerCell
    t: tuple[PerCol, PerCol, PerCol, PerCol]  # T of the whole chain: t_11, t_22, p, q


class TwinLadders(lx.AbstractLinearSolver[Factors]):
    """Exact direct solve of an array whose source lines run parallel to its bit lines. The network
    need not be symmetric.

    Cost: operations proportional to `rows cols`, without iteration.

    Raises ValueError for arrays whose lines cross.
    """

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Factors:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"TwinLadders solves a Network, not a {type(operator).__name__}.")
        if not operator.parallel:
            raise ValueError(
                "TwinLadders needs source lines parallel to the bit lines, xb.Wires(parallel=True);"
                " here the lines cross: use LadderCG or LadderBiCGStab."
            )
        return _factor(operator)

    def compute(
        self, state: Factors, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        del options
        x = _solve(state, vector)
        return x, lx.RESULTS.successful, {"num_steps": jnp.asarray(1)}

    def transpose(self, state: Factors, options: dict[str, Any]):
        *t, p, q = state.t
        turned = state._replace(
            network=state.network.transpose(), p=state.q, q=state.p, t=(*t, q, p)
        )
        return turned, options

    def conj(self, state: Factors, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


def _factor(network: Network) -> Factors:
    row, col = law(network.row.r), law(network.col.r)
    a, b = jnp.stack([row[0], col[0]]), jnp.stack([row[1], col[1]])
    own = (network.g_row - network.g_cr, network.g_col - network.g_rc)  # column sums of cells

    def through(below, a, b):
        """`T` of a segment with the chain below it, and the factors of the segment."""
        sigma_1, sigma_2, p, q, pin_1, pin_2 = below
        sigma_1 = jnp.where(pin_1, 0, sigma_1 + jnp.where(pin_2, p, 0))
        sigma_2 = jnp.where(pin_2, 0, sigma_2 + jnp.where(pin_1, q, 0))
        p, q = (jnp.where(pin_1 | pin_2, 0, x) for x in (p, q))
        (a_1, a_2), (b_1, b_2) = a, b
        # an open segment with nothing below it passes nothing, whatever the divisor
        safe_1 = jnp.where((a_1 == 0) & (b_1 * (sigma_1 + p) == 0), 1, a_1)
        safe_2 = jnp.where((a_2 == 0) & (b_2 * (sigma_2 + q) == 0), 1, a_2)
        one, two = safe_1 + b_1 * (sigma_1 + p), safe_2 + b_2 * (sigma_2 + q)
        det = safe_1 * two + safe_2 * b_1 * (sigma_1 + p)
        det += b_1 * b_2 * (sigma_1 * sigma_2 + sigma_1 * q + sigma_2 * p)
        m = jnp.where(pin_1, 0, two / det), jnp.where(pin_2, 0, one / det)
        t_1 = a_1 * (sigma_1 * two + sigma_2 * b_2 * p) / det
        t_2 = a_2 * (sigma_2 * one + sigma_1 * b_1 * q) / det
        behind_pin = lambda a, b: jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
        t_1 = jnp.where(pin_1, behind_pin(a_1, b_1), t_1)
        t_2 = jnp.where(pin_2, behind_pin(a_2, b_2), t_2)
        t_p, t_q = a_1 * a_2 * p / det, a_1 * a_2 * q / det
        return (t_1, t_2, t_p, t_q, pin_1 & (b_1 == 0), pin_2 & (b_2 == 0)), (m, p / det, q / det)

    def add(below, at):
        own, g_cr, g_rc, a, b = at
        sigma_1, sigma_2, p, q, *pins = below
        node = (sigma_1 + own[0], sigma_2 + own[1], p + g_cr, q + g_rc, *pins)
        return through(node, a, b)

    nothing, pinned = jnp.zeros_like(a[0, 0]), jnp.ones(a[0, 0].shape, bool)
    terminal = (*(nothing,) * 4, pinned, pinned)
    below, _ = through(terminal, a[:, -1], b[:, -1])
    rows = lambda x: jnp.moveaxis(x[:, :-1], 1, 0)
    xs = (own, network.g_cr, network.g_rc, rows(a), rows(b))
    (t_1, t_2, p, q, *_), (m, p_row, q_row) = lax.scan(add, below, xs, reverse=True)
    t = (t_1 + p, t_2 + q, p, q)
    return Factors(network, a[:, :-1], b[:, :-1], jnp.stack(m), p_row, q_row, t)


def _solve(state: Factors, vector: Field) -> Field:
    network, a, b, m, p, q, (t_11, t_22, t_p, t_q) = state
    (a_1, a_2), (b_1, b_2), (m_1, m_2) = a, b, m
    # drops are counted from the drops that the electromotive forces cause without current
    offset_row, v_row = ladder.offsets(network.row.over_alpha(vector.row_segments), near_last=False)
    offset_col, v_col = ladder.offsets(
        network.col.over_alpha(-vector.col_segments), near_last=False
    )
    i_row = vector.row - network.g_row * offset_row - network.g_rc * offset_col
    i_col = vector.col - network.g_cr * offset_row - network.g_col * offset_col

    def gather(below, at):
        i_1, i_2, a_1, a_2, b_1, b_2, m_1, m_2, p, q = at
        c_1, c_2 = i_1 + below[0], i_2 + below[1]
        above = a_1 * (m_1 * c_1 + b_2 * q * c_2), a_2 * (b_1 * p * c_1 + m_2 * c_2)
        return above, (c_1, c_2)

    def spread(above, at):
        c_1, c_2, a_1, a_2, b_1, b_2, m_1, m_2, p, q = at
        d_1, d_2 = above
        here_1 = a_1 * m_1 * d_1 + a_2 * b_1 * q * d_2 + b_1 * (m_1 * c_1 + b_2 * q * c_2)
        here_2 = a_1 * b_2 * p * d_1 + a_2 * m_2 * d_2 + b_2 * (b_1 * p * c_1 + m_2 * c_2)
        return (here_1, here_2), (here_1, here_2)

    segments = (a_1, a_2, b_1, b_2, m_1, m_2, p, q)
    none = jnp.zeros_like(v_row)
    c, (c_1, c_2) = lax.scan(gather, (none, none), (-i_row, i_col, *segments), reverse=True)
    v = -v_row, v_col
    _, (d_1, d_2) = lax.scan(spread, v, (c_1, c_2, *segments))
    near_1 = c[0] - t_11 * v[0] + t_q * v[1]
    near_2 = c[1] + t_p * v[0] - t_22 * v[1]
    x_row, x_col = -d_1, d_2
    lost = network.g_row * x_row + network.g_rc * x_col - i_row
    j_row = ladder.currents(lost, -near_1, near_last=False)
    lost = network.g_cr * x_row + network.g_col * x_col - i_col
    j_col = ladder.currents(lost, near_2, near_last=False)
    a, w = x_row + offset_row, x_col + offset_col
    along = lambda d: jnp.diff(d, axis=0, prepend=0, append=0)
    y_row = scaled_current(network.row, j_row, along(a), vector.row_segments)
    y_col = scaled_current(network.col, -j_col, -along(w), vector.col_segments)
    return Field(a, y_row, w, y_col)
