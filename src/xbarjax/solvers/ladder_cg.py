"""The array: conjugate gradients over the columns, with rows eliminated by ladders.

With `R = (L_r + g_row)^-1`, a ladder along every row, the row drops leave the equations and

    S w = b_col - g_cr R b_row,      S = (L_c + g_col) - g_cr R g_rc

remains, symmetric and positive definite. The column ladder `M = L_c + g_col` is its
preconditioner. What `M` does to a search direction is known from the residuals it came from, so
nothing is ever divided by a wire resistance: an iteration is one row ladder and one column ladder.

An iteration does little but move memory, and takes less than half the time in float32. So that is
where float64 systems are iterated, from a residual that is computed in float64: every pass takes a
factor of up to 1e6 off it (iterative refinement; C. B. Moler, J. ACM 14, 316, 1967,
doi:10.1145/321386.321394).
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax

from .._types import PerCell, Scalar
from ..network import Field, Network
from . import ladder
from .lines import (
    Injected,
    Lines,
    Round,
    factor,
    field,
    injected,
    round_from,
    row_drops,
    size,
)

MAX_PASSES = 6  # of conjugate gradients in either dtype; mostly two are enough
ROUNDING = 1  # unit of rounding of the injected currents: less is not asked for
NOISE = 0.01  # of the error bound of a float32 pass is what it errs by in practice
COARSE = 1e-6  # what a pass in float32 leaves of its residual


class LadderCG(lx.AbstractLinearSolver[Lines]):
    """Exact solve of a linear array by conjugate gradients preconditioned with line solves.

    It stops when the violation of Kirchhoff's current law, as a 2-norm over nodes, is below `rtol`
    times the currents that reach the columns, for each system of a batch on its own. The violation
    is computed afresh after every pass of conjugate gradients, and another pass begun from it until
    it passes, or stops falling.

    **Arguments:**

    - `rtol`: relative tolerance; by default 1e-12 in float64 and 1e-6 in float32.
    - `max_steps`: most iterations of one pass. The count grows like `N sqrt(r g)`.
    - `mixed`: whether float64 systems are iterated in float32, until that no longer brings their
      violation down. Their answer is as good.

    Cost: one ladder along the rows and one along the columns an iteration, and a round of them
    in float64 before, between and after passes. Refuses networks that are not symmetric.
    """

    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=10_000)
    mixed: bool = eqx.field(static=True, default=True)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Lines:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"LadderCG solves a Network, not a {type(operator).__name__}.")
        if not operator.symmetric:
            raise ValueError(
                "LadderCG needs a symmetric network (cells that see v_row - v_col alone); this one"
                " is not: use Dense."
            )
        return factor(operator)

    def compute(
        self, state: Lines, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        del options
        double = vector.row.dtype == jnp.float64
        rtol = self.rtol if self.rtol is not None else (1e-12 if double else 1e-6)
        b = injected(state, vector)
        coarse = _cast(state, jnp.float32) if self.mixed else state
        first = round_from(state, b, jnp.zeros_like(b.col))
        rounding = ROUNDING * jnp.finfo(b.row.dtype).eps * size(b.row)
        enough = jnp.maximum(rtol * first.reached, rounding)
        now = _iterate(state, first, coarse.network.g_row.dtype)
        steps = jnp.asarray(0)
        if self.mixed and double:
            now, steps = _passes(state, b, now, enough, coarse, self.max_steps)
        now, more = _passes(state, b, now, enough, state, self.max_steps)
        last = round_from(state, b, now.w)
        return field(state, b, vector, last), lx.RESULTS.successful, {"num_steps": steps + more}

    def transpose(self, state: Lines, options: dict[str, Any]):
        return state, options  # symmetric, or init would have refused

    def conj(self, state: Lines, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


class _Iterate(NamedTuple):
    w: PerCell  # column drops
    off: PerCell  # what they leave violated, scaled to size 1, in the dtype of the iteration
    left: Scalar  # its size


def _iterate(lines: Lines, x: Round, dtype) -> _Iterate:
    off = lines.network.g_rc * (x.w - x.seen)
    left = size(off)
    off = (off / jnp.where(left > 0, left, 1)).astype(dtype)
    return _Iterate(x.w, off, left)


def _passes(lines: Lines, b: Injected, now: _Iterate, enough, within: Lines, max_steps: int):
    """Corrects column drops by conjugate gradients `within` lines of the same or a lower precision,
    until `enough` is left violated or it is no longer halved. Also returns the iterations.

    A lower precision leaves noise, which slow modes of the array amplify by up to `gain`, without
    much of a violation that would show it: that has to be small as well."""
    dtype = within.network.g_row.dtype
    exact = dtype == b.row.dtype

    def one_pass(carry):
        (w, off, left), _, _, gain, steps, count = carry
        r = within.network.g_cr * row_drops(within, off.astype(dtype))
        target = jnp.maximum(enough / (gain * left), 0.0 if exact else COARSE).astype(dtype)
        begin = w / left if exact else jnp.zeros_like(r)
        dw, gain, more = _conjugate_gradients(within, begin, r, target, max_steps)
        if exact:
            w, noise, gain = left * dw, jnp.zeros_like(left), jnp.ones_like(left)
        else:  # a correction that overflowed is none
            sound = jnp.isfinite(jnp.sum(dw)) & jnp.isfinite(gain)
            w = w + left * jnp.where(sound, dw, 0)
            gain = jnp.where(sound, gain, 1).astype(left.dtype)
            noise = gain**2 * left * jnp.finfo(dtype).eps * NOISE
        new = _iterate(lines, round_from(lines, b, w), off.dtype)
        return new, left, noise, gain, steps + more, count + 1

    def unfinished(carry):
        (_, _, left), before, noise, gain, _, count = carry
        done = (gain * left <= enough) & (noise <= enough)
        return ~done & (left > 0) & ~(left >= 0.5 * before) & (count < MAX_PASSES)

    one = jnp.ones_like(now.left)
    start = (now, jnp.inf * one, 0 * one, one, jnp.asarray(0), 0)
    now, *_, steps, _ = lax.while_loop(unfinished, one_pass, start)
    return now, steps


def _cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def _conjugate_gradients(lines: Lines, w, r, enough, max_steps: int):
    """Corrects `w`, whose residual is `r`, until that is below `enough` as a 2-norm.

    A last round of line solves follows: what is left may sit in a few nodes that carry little.
    Also returns the longest step, a lower bound of the largest eigenvalue of `S^-1 M`, and their
    number."""
    network, _, cols = lines

    def unfinished(carry):
        *_, rr, curvature, _, step = carry
        return (rr > enough**2) & (curvature > 0) & (step < max_steps)

    def iterate(carry):
        w, r, p, m_p, rz_before, _, _, longest, step = carry
        z, _ = ladder.drops(cols, r)
        rz = jnp.sum(r * z)
        turn = rz / rz_before
        p = z + turn * p
        m_p = r + turn * m_p  # the column ladder's matrix times p
        s_p = m_p - network.g_cr * row_drops(lines, network.g_rc * p)
        curvature = jnp.sum(p * s_p)
        length = jnp.where(curvature > 0, rz / curvature, 0)
        r = r - length * s_p
        longest = jnp.maximum(longest, length)
        return w + length * p, r, p, m_p, rz, jnp.sum(r * r), curvature, longest, step + 1

    one, none = jnp.ones((), r.dtype), jnp.zeros_like(r)
    start = (w, r, none, none, one, jnp.sum(r * r), one, one, 0)
    w, r, *_, longest, steps = lax.while_loop(unfinished, iterate, start)
    return w + ladder.drops(cols, r)[0], longest, steps
