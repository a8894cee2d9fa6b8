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

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax import lax

from .. import _native
from ..kirchhoff.network import Field, Network
from . import coarse, kernel
from .batching import Kernel, Settings
from .coarse import Coarse
from .conjugate_gradients import conjugate_gradients
from .lines import Lines, factor
from .passes import iterated, tolerance


class Factors(NamedTuple):
    """Factors of a network for conjugate gradients."""

    lines: Lines
    grid: Coarse | None


class LadderCG(Kernel):
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
    - `native`: whether CPUs run it as a kernel in C++, where that was built, which leaves XLA less
        to compile. Accelerators run the form in JAX, as all do without it.
    - `one_block`: whether NVIDIA GPUs iterate each array of at most 256 rows and columns in a
        kernel of its own (one_block.py). It has run in an interpreter alone, and is off until it is
        measured.

    `compute` takes a field to begin from as `options["y0"]`, as lineax's iterative solvers do, and
    uses its column drops: the rest follows from them. `options["rtol"]` asks for less than `rtol`,
    as an inexact Newton method does.

    Cost: one ladder along the rows and one along the columns an iteration (two with the coarse
    grid), and a round of them in float64 before the first pass and after each. Refuses networks
    that are not symmetric.
    """

    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=10_000)
    mixed: bool = eqx.field(static=True, default=True)
    coarse: bool = eqx.field(static=True, default=True)
    native: bool = eqx.field(static=True, default=True)
    one_block: bool = eqx.field(static=True, default=False)

    def init(
        self, operator: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> Factors | Network:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"LadderCG solves a Network, not a {type(operator).__name__}.")
        if not operator.symmetric:
            raise ValueError(
                "LadderCG needs a symmetric network (cells that see v_row - v_col alone); this one"
                " is not: use LadderBiCGStab."
            )
        if operator.parallel:
            raise ValueError(
                "LadderCG needs lines that cross; here both families run along the columns: use"
                " TwinLadders, which solves each pair of lines exactly."
            )
        if self.has_kernel(operator):
            return operator  # the kernel factors what it solves
        count = coarse.hats(*operator.g_rc.shape) if self.coarse else None
        dtype = jnp.float32 if self.mixed else operator.g_rc.dtype
        grid = None if count is None else coarse.factor(operator, count, dtype)
        return Factors(factor(operator), grid)

    def compute(
        self, state: Factors | Network, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        if isinstance(state, Network):
            x, stats = self._by_kernel(state, vector, options, refine=False)
            return x, lx.RESULTS.successful, stats
        lines, grid = state

        def krylov(lines, first, w, r, target):
            # what a lower precision leaves is rare, and seldom smooth
            on_grid = grid if first else None
            plain = lambda w, r, target: conjugate_gradients(
                lines, on_grid, w, r, target, self.max_steps
            )
            if not (self.one_block and r.dtype == jnp.float32):
                return plain(w, r, target)
            from . import one_block  # few want it, and it takes a second

            if max(r.shape) > one_block.MOST:
                return plain(w, r, target)
            block = lambda w, r, target: one_block.conjugate_gradients(
                lines, w, r, target, self.max_steps
            )
            return lax.platform_dependent(w, r, target, cuda=block, default=plain)

        x, steps = iterated(lines, vector, options, krylov, rtol=self.rtol, mixed=self.mixed)
        return x, lx.RESULTS.successful, {"num_steps": steps}

    def has_kernel(self, network: Network) -> bool:
        crossing = network.symmetric and not network.parallel
        return self.native and crossing and _native.available()

    def refined(
        self, network: Network, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, dict[str, Any]]:
        return self._by_kernel(network, vector, options, refine=True)

    def _by_kernel(self, network: Network, vector: Field, options: dict[str, Any], *, refine: bool):
        return kernel.solve(network, vector, options, self, symmetric=True, refine=refine)

    def settings(self, shape: tuple[int, ...], dtype: Any) -> Settings:
        hats = coarse.hats(*shape) if self.coarse else None
        rtol = tolerance(self.rtol, dtype)
        return Settings(rtol, self.max_steps, self.mixed, hats or (0, 0), coarse.SLOW)

    @property
    def plain(self) -> "LadderCG":
        return dataclasses.replace(self, native=False)

    def transpose(self, state: Factors | Network, options: dict[str, Any]):
        return state, options  # symmetric, or init would have refused

    def conj(self, state: Factors | Network, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True
