"""BiCGStab for arrays whose cells depend on more than the difference `v_row - v_col`.

A transistor's current depends on its gate voltage and on its source voltage. So `g_rc` and `g_cr`
differ, and `S` of ladder_cg.py is not symmetric. Row elimination and column ladders are as there:

    S = (L_c + g_col) - g_cr R g_rc = (1 - E) M,    E = g_cr R g_rc M^-1,    M = L_c + g_col.

`E` has no negative entry. Part of every current leaves through the terminals, so the columns of `E`
sum to less than one. Therefore the Neumann series of `(1 - E)^-1`, which passes currents back and
forth between rows and columns, converges. BiCGStab (H. A. van der Vorst, SIAM J. Sci. Stat. Comput.
13, 631, 1992, doi:10.1137/0913035) sums this series faster.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax import lax

from .. import _native
from ..kirchhoff.network import Field, Network
from . import kernel, ladder
from .batching import Kernel, Settings
from .lines import Lines, factor, row_drops
from .passes import iterated, tolerance


class LadderBiCGStab(Kernel):
    """Exact solve of any linear array with crossing lines, by BiCGStab preconditioned with line
    solves.

    Use it for networks that are not symmetric. For symmetric ones, `LadderCG` takes half the work.

    **Arguments:** `rtol` (by default 1e-12 in float64 and 1e-6 in float32), `max_steps`, `mixed`
    and `native`, as for `LadderCG`. The stopping criterion and the options of `compute` are those
    of `LadderCG` as well.

    Cost: two ladders along the rows and two along the columns per iteration.

    Raises ValueError for lines in parallel.
    """

    rtol: float | None = eqx.field(static=True, default=None)
    max_steps: int = eqx.field(static=True, default=10_000)
    mixed: bool = eqx.field(static=True, default=True)
    native: bool = eqx.field(static=True, default=True)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Lines | Network:
        del options
        if not isinstance(operator, Network):
            raise TypeError(f"LadderBiCGStab solves a Network, not a {type(operator).__name__}.")
        if operator.parallel:
            raise ValueError(
                "LadderBiCGStab needs lines that cross; here both families run along the columns:"
                " use TwinLadders, which solves each pair of lines exactly."
            )
        return operator if self.has_kernel(operator) else factor(operator)

    def compute(
        self, state: Lines | Network, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, lx.RESULTS, dict[str, Any]]:
        if isinstance(state, Network):
            x, stats = self._by_kernel(state, vector, options, refine=False)
            return x, lx.RESULTS.successful, stats

        def krylov(lines, first, w, r, target):
            del first
            return _bicgstab(lines, w, r, target, self.max_steps)

        x, steps = iterated(state, vector, options, krylov, rtol=self.rtol, mixed=self.mixed)
        return x, lx.RESULTS.successful, {"num_steps": steps}

    def has_kernel(self, network: Network) -> bool:
        return self.native and not network.parallel and _native.available()

    def refined(
        self, network: Network, vector: Field, options: dict[str, Any]
    ) -> tuple[Field, dict[str, Any]]:
        return self._by_kernel(network, vector, options, refine=True)

    def _by_kernel(self, network: Network, vector: Field, options: dict[str, Any], *, refine: bool):
        return kernel.solve(network, vector, options, self, symmetric=False, refine=refine)

    def settings(self, shape: tuple[int, ...], dtype: Any) -> Settings:
        del shape
        rtol = tolerance(self.rtol, dtype)
        return Settings(rtol, self.max_steps, self.mixed)

    @property
    def plain(self) -> "LadderBiCGStab":
        return LadderBiCGStab(self.rtol, self.max_steps, self.mixed, native=False)

    def transpose(self, state: Lines | Network, options: dict[str, Any]):
        if isinstance(state, Network):
            return state.transpose(), options
        return state._replace(network=state.network.transpose()), options  # the ladders stay

    def conj(self, state: Lines | Network, options: dict[str, Any]):
        return state, options  # real

    def assume_full_rank(self) -> bool:
        return True


def _bicgstab(lines: Lines, w, r, enough, max_steps: int):
    """Corrects `w`, whose residual is `r`, until the 2-norm of the residual is below `enough` or
    the method breaks down. After a breakdown, the next pass begins with another shadow residual. A
    last column solve follows.

    **Returns:** the corrected `w`; the largest step length, which slow modes make large; and the
    number of steps."""
    network, _, cols = lines
    shadow = r

    def s_times(p):
        """`p' = M^-1 p` and `S p'`."""
        solved, _ = ladder.drops(cols, p)
        return solved, p - network.g_cr * row_drops(lines, network.g_rc * solved)

    def ratio(a, b):
        sound = jnp.isfinite(a) & jnp.isfinite(b) & (b != 0)
        return jnp.where(sound, a, 0) / jnp.where(sound, b, 1)

    def unfinished(carry):
        *_, rr, alive, _, step = carry
        return (rr > enough**2) & alive & (step < max_steps)

    def iterate(carry):
        w, r, p, s_p, rho_before, alpha, omega, _, _, largest, step = carry
        rho = jnp.sum(shadow * r)
        p = r + ratio(rho, rho_before) * ratio(alpha, omega) * (p - omega * s_p)
        p_solved, s_p = s_times(p)
        alpha = ratio(rho, jnp.sum(shadow * s_p))
        half = r - alpha * s_p
        half_solved, s_half = s_times(half)
        omega = ratio(jnp.sum(s_half * half), jnp.sum(s_half * s_half))
        w = w + alpha * p_solved + omega * half_solved
        r = half - omega * s_half
        rr = jnp.sum(r * r)
        alive = (alpha != 0) & ((omega != 0) | (rr <= enough**2)) & jnp.isfinite(rr)
        largest = jnp.maximum(largest, jnp.maximum(jnp.abs(alpha), jnp.abs(omega)))
        return w, r, p, s_p, rho, alpha, omega, rr, alive, largest, step + 1

    one, none = jnp.ones((), r.dtype), jnp.zeros_like(r)
    start = (w, r, none, none, one, one, one, jnp.sum(r * r), jnp.asarray(True), one, 0)
    w, r, *_, largest, steps = lax.while_loop(unfinished, iterate, start)
    return w + ladder.drops(cols, r)[0], largest, steps
