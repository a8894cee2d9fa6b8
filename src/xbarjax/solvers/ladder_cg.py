"""The array: conjugate gradients over the columns, with rows eliminated by ladders.

With `R = (L_r + g_row)^-1`, a ladder along every row, the row drops leave the equations and

    S w = b_col - g_cr R b_row,      S = (L_c + g_col) - g_cr R g_rc

remains, symmetric and positive definite. The column ladder `M = L_c + g_col` is its
preconditioner. What `M` does to a search direction is known from the residuals it came from, so
nothing is ever divided by a wire resistance: an iteration is one row ladder and one column ladder.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import ArrayLike

from .._types import PerCell, PerCol, PerRow, Scalar
from ..network import Field, Network, Segments
from . import ladder
from .ladder import Ladder

MAX_PASSES = 6  # of conjugate gradients; one is enough unless the array is badly conditioned


class LadderState(NamedTuple):
    network: Network
    rows: Ladder  # lanes are rows: arrays (cols, rows)
    cols: Ladder  # lanes are columns: arrays (rows, cols)


class Injected(NamedTuple):
    """A right-hand side in which no segment has an electromotive force, but line ends may."""

    row: PerCell  # [A]
    col: PerCell  # [A]
    v_row: PerRow  # drop [V] of the near end of each line
    v_col: PerCol


class LadderCG(lx.AbstractLinearSolver[LadderState]):
    """Exact solve of a linear array by conjugate gradients preconditioned with line solves.

    It stops when the residual of Kirchhoff's current law, as a 2-norm over nodes, is below `rtol`
    times that of the currents that reach the columns, for each system of a batch on its own. The
    residual is then computed afresh, and the iteration restarted from there until that one passes
    too, or stops falling.

    **Arguments:**

    - `rtol`: relative tolerance; by default 1e-12 in float64 and 1e-6 in float32.
    - `max_steps`: most iterations of one pass. The count grows like `N sqrt(r g)`.

    Cost: one ladder along the rows and one along the columns an iteration; about 20 numbers a
    cell. Refuses networks that are not symmetric.
    """

    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=10_000)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> LadderState:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"LadderCG solves a Network, not a {type(operator).__name__}.")
        if not operator.symmetric:
            raise ValueError(
                "LadderCG needs a symmetric network (cells that see v_row - v_col alone); this one"
                " is not: use Dense."
            )
        row, col = operator.row, operator.col
        rows = ladder.factor((row.alpha**2).T, row.beta.T, operator.g_row.T, near_last=False)
        cols = ladder.factor(col.alpha**2, col.beta, operator.g_col, near_last=True)
        return LadderState(operator, rows, cols)

    def compute(
        self, state: LadderState, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        del options
        network, rows, cols = state
        dtype = vector.row.dtype
        rtol = self.rtol if self.rtol is not None else (1e-12 if dtype == jnp.float64 else 1e-6)
        offset_row, offset_col, b, unit = _without_forces(state, vector)
        w, steps = _column_drops(state, b, rtol, self.max_steps)

        # the last ladders satisfy every law but the rows' current law, and that one to rtol
        b_row = (b.row - network.g_rc * w).T
        a, j_row = ladder.drops_and_currents(rows, network.g_row.T, b_row, b.v_row)
        b_col = b.col - network.g_cr * a.T
        w, j_col = ladder.drops_and_currents(cols, network.g_col, b_col, b.v_col)
        a, w = unit * a.T + offset_row, unit * w + offset_col
        along_row = jnp.diff(a, axis=1, prepend=0, append=0)
        along_col = -jnp.diff(w, axis=0, prepend=0, append=0)
        y_row = _scaled_current(network.row, unit * j_row.T, along_row, vector.row_segments)
        y_col = _scaled_current(network.col, unit * j_col, along_col, vector.col_segments)
        return Field(a, y_row, w, y_col), lx.RESULTS.successful, {"num_steps": steps}

    def transpose(self, state: LadderState, options: dict[str, Any]):
        return state, options  # symmetric, or init would have refused

    def conj(self, state: LadderState, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


def _without_forces(state: LadderState, vector: Field) -> tuple[PerCell, PerCell, Injected, Scalar]:
    """Offsets [V] of the nodes that satisfy the forces of all segments without current, and what
    is left to solve, in units of its largest current: squares of nanoamperes would underflow in
    float32."""
    network, rows, cols = state

    def forces(line: Segments, e):
        ideal_break = line.alpha == 0  # its force moves no charge
        return jnp.where(ideal_break, 0, e / jnp.where(ideal_break, 1, line.alpha))

    turned = forces(network.row, vector.row_segments).T
    offset_row, v_row = ladder.offsets(turned, near_last=rows.near_last)
    offset_row = offset_row.T
    offset_col, v_col = ladder.offsets(
        forces(network.col, vector.col_segments), near_last=cols.near_last
    )
    row = vector.row - network.g_row * offset_row - network.g_rc * offset_col
    col = vector.col - network.g_cr * offset_row - network.g_col * offset_col
    unit = jnp.max(jnp.maximum(jnp.abs(row), jnp.abs(col)))
    unit = jnp.where(unit > 0, unit, 1)
    return offset_row, offset_col, Injected(*(x / unit for x in (row, col, v_row, v_col))), unit


def _scaled_current(line: Segments, j, along, e):
    """`y` of a segment: its current where `alpha = 1`, from its own law beyond `R_BROKEN`."""
    ordinary = line.alpha == 1
    return jnp.where(ordinary, j, (line.alpha * along - e) / jnp.where(ordinary, 1, line.beta))


def _row_drops(rows: Ladder, b: PerCell, v: ArrayLike = 0) -> PerCell:
    return ladder.drops(rows, b.T, v).T


def _column_drops(state: LadderState, b: Injected, rtol: float, max_steps: int):
    """Column drops [V] by passes of conjugate gradients, and the iterations they took."""
    network, rows, cols = state
    rounding = 8 * jnp.finfo(b.row.dtype).eps * _size(b.row)

    def check(w):
        """One round of line solves from `w`, and the current law it leaves violated."""
        reached = b.col - network.g_cr * _row_drops(rows, b.row - network.g_rc * w, b.v_row)
        better = ladder.drops(cols, reached, b.v_col)
        violated = network.g_rc * (better - w)
        return better, violated, _size(reached)

    def unfinished(carry):
        _, _, size, before, enough, _, passes = carry
        return (size > enough) & (size < 0.5 * before) & (passes < MAX_PASSES)

    def one_pass(carry):
        w, violated, size, _, enough, steps, passes = carry
        r = network.g_cr * _row_drops(rows, violated)
        w, more = _conjugate_gradients(state, w, r, enough, max_steps)
        better, violated, _ = check(w)
        new_size = _size(violated)
        return better, violated, new_size, size, enough, steps + more, passes + 1

    w, violated, reached = check(jnp.zeros_like(b.col))
    size = _size(violated)
    enough = jnp.maximum(rtol * reached, rounding)
    start = (w, violated, size, jnp.full_like(size, jnp.inf), enough, 0, 0)
    w, *_, steps, _ = lax.while_loop(unfinished, one_pass, start)
    return w, steps


def _conjugate_gradients(state: LadderState, w, r, enough, max_steps: int):
    """Corrects `w`, whose residual is `r`, until that is below `enough` as a 2-norm."""
    network, rows, cols = state

    def unfinished(carry):
        _, _, _, _, _, rr, curvature, step = carry
        return (rr > enough**2) & (curvature > 0) & (step < max_steps)

    def iterate(carry):
        w, r, p, m_p, rz, _, _, step = carry
        s_p = m_p - network.g_cr * _row_drops(rows, network.g_rc * p)
        curvature = jnp.sum(p * s_p)
        length = jnp.where(curvature > 0, rz / curvature, 0)
        w = w + length * p
        r = r - length * s_p
        z = ladder.drops(cols, r)
        rz_next = jnp.sum(r * z)
        turn = rz_next / rz
        m_p = r + turn * m_p  # the column ladder's matrix times p
        return w, r, z + turn * p, m_p, rz_next, jnp.sum(r * r), curvature, step + 1

    z = ladder.drops(cols, r)
    start = (w, r, z, r, jnp.sum(r * z), jnp.sum(r * r), jnp.ones((), r.dtype), 0)
    w, *_, steps = lax.while_loop(unfinished, iterate, start)
    return w, steps


def _size(x) -> Scalar:
    return jnp.sqrt(jnp.sum(x * x))
