"""Conjugate gradients that stop early, for the steps of a search."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax.flatten_util import ravel_pytree


class TruncatedCG(lx.AbstractLinearSolver):
    """Conjugate gradients to a residual of `rtol` of the right side, or `max_steps` of them.

    A step of a search that is cut short still leads downhill (T. Steihaug, SIAM J. Numer. Anal. 20,
    626, 1983, doi:10.1137/0720042), so that only one that is not finite is a failure.
    """

    rtol: Any
    max_steps: int = eqx.field(static=True, default=300)

    def _cg(self, atol: Any = 1.0) -> lx.CG:
        return lx.CG(0.0, atol, norm=optx.two_norm, max_steps=self.max_steps)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        return self._cg().init(operator, options)

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        norm = jnp.linalg.norm(ravel_pytree(vector)[0])
        atol = self.rtol * jnp.where(norm > 0, norm, 1)
        solution, _, stats = self._cg(atol).compute(state, vector, options)
        finite = jnp.all(jnp.isfinite(ravel_pytree(solution)[0]))
        result = lx.RESULTS.where(finite, lx.RESULTS.successful, lx.RESULTS.breakdown)
        return solution, result, stats

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return self._cg().transpose(state, options)

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return self._cg().conj(state, options)

    def assume_full_rank(self) -> bool:
        return True
