"""The array: conjugate gradients over the columns, with rows eliminated by ladders.

With `R = (L_r + g_row)^-1`, a ladder along every row, the row drops leave the equations and

    S w = b_col - g_cr R b_row,      S = (L_c + g_col) - g_cr R g_rc

remains, symmetric and positive definite. The column ladder `M = L_c + g_col` is its
preconditioner. What `M` does to a search direction is known from the residuals it came from, so
nothing is ever divided by a wire resistance: an iteration is one row ladder and one column ladder.
Where rows and columns share slow modes, a coarse grid joins the preconditioner (coarse.py).

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

from ..network import Field, Network
from . import coarse
from .coarse import Coarse
from .conjugate_gradients import conjugate_gradients
from .lines import (
    Injected,
    Lines,
    Round,
    column_drops,
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
GLANCE = 0.01  # of the residual of a guess is what its first pass leaves at most
FACTOR = 1e-6  # what a pass in float32 leaves of its residual


class Factors(NamedTuple):
    """What a network is to conjugate gradients."""

    lines: Lines
    grid: Coarse | None


class LadderCG(lx.AbstractLinearSolver[Factors]):
    """Exact solve of a linear array by conjugate gradients preconditioned with line solves.

    It stops when the violation of Kirchhoff's current law, as a 2-norm over nodes, is below `rtol`
    times the currents that reach the columns, for each system of a batch on its own. The violation
    is computed afresh after every pass of conjugate gradients, and another pass begun from it until
    it passes, or stops falling.

    **Arguments:**

    - `rtol`: relative tolerance; by default 1e-12 in float64 and 1e-6 in float32.
    - `max_steps`: most iterations of one pass. The count grows like `N sqrt(r g)`, and several
        times more slowly with the coarse grid.
    - `mixed`: whether float64 systems are iterated in float32, until that no longer brings their
        violation down. Their answer is as good.
    - `coarse`: whether modes that are smooth along both lines are corrected on a coarse grid, in
        arrays that are large and resistive enough to gain by it.

    `compute` takes a field to begin from as `options["y0"]`, as lineax's iterative solvers do, and
    uses its column drops: the rest follows from them.

    Cost: one ladder along the rows and one along the columns an iteration (two with the coarse
    grid), and a round of them in float64 before the first pass and after each. Refuses networks
    that are not symmetric.
    """

    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=10_000)
    mixed: bool = eqx.field(static=True, default=True)
    coarse: bool = eqx.field(static=True, default=True)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Factors:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"LadderCG solves a Network, not a {type(operator).__name__}.")
        if not operator.symmetric:
            raise ValueError(
                "LadderCG needs a symmetric network (cells that see v_row - v_col alone); this one"
                " is not: use Dense."
            )
        count = coarse.hats(*operator.g_rc.shape) if self.coarse else None
        dtype = jnp.float32 if self.mixed else operator.g_rc.dtype
        grid = None if count is None else coarse.factor(operator, count, dtype)
        return Factors(factor(operator), grid)

    def compute(
        self, state: Factors, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        lines, grid = state
        double = vector.row.dtype == jnp.float64
        rtol = self.rtol if self.rtol is not None else (1e-12 if double else 1e-6)
        b = injected(lines, vector)
        single = _cast(lines, jnp.float32) if self.mixed else lines
        guess = options.get("y0")
        begin = jnp.zeros_like(b.col) if guess is None else column_drops(lines, b, vector, guess)
        x = round_from(lines, b, begin)
        rounding = ROUNDING * jnp.finfo(b.row.dtype).eps * size(b.row)
        enough = jnp.maximum(rtol * x.reached, rounding)
        steps = jnp.asarray(0)
        if self.mixed and double:
            within = Factors(single, grid)
            x, steps = _passes(lines, b, x, enough, within, self.max_steps, guess is not None)
            grid = guess = None  # what float32 leaves is rare, and seldom smooth
        within = Factors(lines, grid)
        x, more = _passes(lines, b, x, enough, within, self.max_steps, guess is not None)
        return field(lines, b, vector, x), lx.RESULTS.successful, {"num_steps": steps + more}

    def transpose(self, state: Factors, options: dict[str, Any]):
        return state, options  # symmetric, or init would have refused

    def conj(self, state: Factors, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


def _left(lines: Lines, x: Round):
    """The violation of Kirchhoff's law that a round leaves, and its size."""
    off = lines.network.g_rc * (x.w - x.seen)
    return off, size(off)


def _passes(
    lines: Lines,
    b: Injected,
    x: Round,
    enough,
    within: Factors,
    max_steps: int,
    guessed: bool,
):
    """Corrects column drops by conjugate gradients `within` lines of the same or a lower precision,
    until `enough` is left violated or it is no longer halved. Also returns the iterations.

    A lower precision leaves noise, which slow modes of the array amplify by up to `gain`, without
    much of a violation that would show it: that has to be small as well. What was `guessed` may err
    by slow modes alone: it is never taken unseen."""
    network, dtype = within.lines.network, within.lines.network.g_row.dtype
    exact = dtype == b.row.dtype

    def one_pass(carry):
        x, left, _, _, gain, steps, count = carry
        off = (_left(lines, x)[0] / left).astype(dtype)  # of size 1
        r = network.g_cr * row_drops(within.lines, off)
        target = jnp.maximum(enough / (gain * left), 0.0 if exact else FACTOR).astype(dtype)
        if guessed:
            target = jnp.minimum(target, GLANCE)
        begin = x.w / left if exact else jnp.zeros_like(r)
        dw, gain, more = conjugate_gradients(*within, begin, r, target, max_steps)
        if exact:
            w, noise, gain = left * dw, jnp.zeros_like(left), jnp.ones_like(left)
        else:  # a correction that overflowed is none
            sound = jnp.isfinite(jnp.sum(dw)) & jnp.isfinite(gain)
            w = x.w + left * jnp.where(sound, dw, 0)
            gain = jnp.where(sound, gain, 1).astype(left.dtype)
            noise = gain**2 * left * jnp.finfo(dtype).eps * NOISE
        x = round_from(lines, b, w)
        return x, _left(lines, x)[1], left, noise, gain, steps + more, count + 1

    def unfinished(carry):
        _, left, before, noise, gain, _, count = carry
        done = (gain * left <= enough) & (noise <= enough)
        return ~done & (left > 0) & ~(left >= 0.5 * before) & (count < MAX_PASSES)

    left = _left(lines, x)[1]
    one = jnp.ones_like(left)
    unknown = jnp.inf if guessed else 0.0
    start = (x, left, jnp.inf * one, unknown * one, one, jnp.asarray(0), 0)
    x, *_, steps, _ = lax.while_loop(unfinished, one_pass, start)
    return x, steps


def _cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tree)
