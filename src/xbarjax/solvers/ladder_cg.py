"""Conjugate gradients over the column drops of an array, with rows eliminated by ladders.

With `R = (L_r + g_row)^-1`, one ladder per row, the row drops are eliminated. The system

    S w = b_col - g_cr R b_row,      S = (L_c + g_col) - g_cr R g_rc

remains, symmetric and positive definite. Its preconditioner is the column ladder
`M = L_c + g_col`. The product of `M` with a search direction follows from the residuals, so `M`
itself is never applied and nothing is divided by a wire resistance. An iteration is one row ladder
and one column ladder. Where rows and columns share slow modes, a coarse grid joins the
preconditioner (coarse.py).

An iteration does little but move memory, and takes less than half the time in float32. So float64
systems are iterated in float32, from a residual that is computed in float64. Every pass reduces the
residual by a factor of up to 1e6 (iterative refinement; C. B. Moler, J. ACM 14, 316, 1967,
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
    """Line factors and coarse grid of a network, for conjugate gradients."""

    lines: Lines
    grid: Coarse | None


class LadderCG(Kernel):
    """Exact solve of a symmetric linear array by conjugate gradients preconditioned with line
    solves.

    It stops when the violation of Kirchhoff's current law, as a 2-norm over nodes, is below `rtol`
    times the currents that reach the columns. Each system of a batch stops on its own. The
    violation is computed afresh after every pass of conjugate gradients. Further passes follow
    until the criterion holds or the violation no longer halves.

    **Arguments:**

    - `rtol`: relative tolerance; by default 1e-12 in float64 and 1e-6 in float32.
    - `max_steps`: most iterations of one pass. Their number grows like `N sqrt(r g)`, and several
        times more slowly with the coarse grid.
    - `mixed`: whether float64 systems are first iterated in float32, until the violation no longer
        halves. The solution is as accurate.
    - `coarse`: whether a coarse grid corrects modes that are smooth along both rows and columns, in
        arrays that are large and resistive enough to gain by it.
    - `native`: whether CPUs run the C++ kernel, if it was built. XLA then has less to compile.
        Accelerators always run the JAX form.
    - `one_block`: whether NVIDIA GPUs iterate each array of at most 256 rows and columns in one
        kernel (one_block.py). The kernel has run in an interpreter only, and is off until it has
        been measured.

    `compute` takes an initial guess as `options["y0"]`, as lineax's iterative solvers do. Only the
    guess's column drops are used; they determine all other unknowns. `options["rtol"]` loosens
    `rtol` for one solve, as in an inexact Newton method.

    Cost per iteration: one ladder along the rows and one along the columns (two along the columns
    with the coarse grid). One round of ladders in float64 comes before the first pass and after
    each pass.

    Raises ValueError for networks that are not symmetric, and for lines in parallel.
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
                "LadderCG needs a symmetric network (cells that depend on v_row - v_col alone);"
                " this one is not: use LadderBiCGStab."
            )
        if operator.parallel:
            raise ValueError(
                "LadderCG needs lines that cross; here both families run along the columns: use"
                " TwinLadders, which solves each pair of lines exactly."
            )
        if self.has_kernel(operator):
            return operator  # the kernel factors the network itself
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
            # float32 passes seldom leave an error, and a smooth one even less often
            on_grid = grid if first else None
            plain = lambda w, r, target: conjugate_gradients(
                lines, on_grid, w, r, target, self.max_steps
            )
            if not (self.one_block and r.dtype == jnp.float32):
                return plain(w, r, target)
            from . import one_block  # imported on demand: takes a second, rarely used

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
        return state, options  # symmetric: init refuses other networks

    def conj(self, state: Factors | Network, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True
