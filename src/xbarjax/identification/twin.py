"""The identified array, and how sure it is."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .problem import Problem, U


class Twin(eqx.Module):
    """The array that explains reads at its terminals, and how sure it is.

    **Attributes:**

    - `crossbar`: the array found.
    - `std`: a crossbar whose numbers are the standard deviations of the found ones, given the
        reads: 0 for what was not free, inf for what the reads do not show.
    - `converged`: whether the search came to rest; `steps`: number of its steps.
    - `chi2`: sum of the squared residuals of the reads over the degrees of freedom, 1 for noise as
        stated, outliers left out.
    - `refuted`: whether the residuals are no noise: `chi2` is 5 standard errors above 1, or more
        than 2 % of the readings are outliers. The model then lacks something, and the deviations
        say too little. A model that is not refuted may still lack what cells make up for.
    - `residuals`: for each `Measured`, the residuals in standard deviations, `(reads, lines)`, by
        the name of what was sensed.
    - `outliers`: number of readings beyond the limit `robust`; `missing`: number of NaN readings.
    - `singular_values`: of the Jacobian of all residuals, for parameters in units that change the
        residuals by one deviation: all in falling order, or the largest and the smallest of more
        than 600.
    - `status`: `Status` of the reads of the array found.
    - `advice`: what the reads do not show, where they refute the model and what to do, in words;
        empty if there is nothing to say.
    """

    crossbar: Any  # a `Crossbar`, whose parts have the types they came with
    std: Any
    converged: Bool[Array, ""]
    steps: Int[Array, ""]
    chi2: Float[Array, ""]
    refuted: Bool[Array, ""]
    residuals: list[dict[str, Array]]
    outliers: int = eqx.field(static=True)
    missing: int = eqx.field(static=True)
    singular_values: np.ndarray
    status: Int[Array, ""]
    advice: str = eqx.field(static=True)
    problem: Problem
    u: U  # the parameters found
    spread: Float[Array, "directions parameters"]  # rows whose squares add to the covariance
    unseen: Float[Array, "others parameters"]  # directions that no read shows, or 0

    def std_of(self, function: Callable[[Any], Any]) -> Any:
        """Standard deviation of a function of the array, given the reads, such as `xb.transfer`.

        It has the structure of the function's value, in its units; inf where the reads do not show
        the value. Deviations are those of the linearised function. Functions that are equal are not
        compiled anew."""
        return deviations(self.problem, self.u, self.spread, self.unseen, function)

    def sample(self, key: PRNGKeyArray, count: int) -> Any:
        """Arrays that the reads allow, `(count, ...)`: draws from the linearised posterior.
        Directions that no read shows stay as they are."""
        return _sampled(self.problem, self.u, self.spread, key, count)

    def summary(self) -> str:
        """What was found, in words."""
        lines = [
            f"{'converged' if self.converged else 'NOT converged'} after {int(self.steps)} steps;"
            f" chi2 {float(self.chi2):.3g}, {self.outliers} outliers, {self.missing} missing"
        ]
        leaves, stds = jax.tree.leaves(self.crossbar), jax.tree.leaves(self.std)
        for parameters in self.problem.parameters:
            for name, place in zip(parameters.names, parameters.places):
                x, std = np.asarray(leaves[place]), np.asarray(stds[place])
                low, high = x.min(), x.max()
                value = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
                lines.append(f"{name}: {value}, deviation {np.median(std):.2g} (median)")
        return "\n".join(lines + ([self.advice] if self.advice else []))


@eqx.filter_jit
def deviations(problem: Problem, u: U, spread, unseen, function: Callable) -> Any:
    """Standard deviations of a function of the array."""
    flat, unravel = ravel_pytree(u)
    of = lambda flat: function(problem.at(unravel(flat)))
    along = lambda d: jax.tree.map(jnp.square, jax.jvp(of, (flat,), (d,))[1])
    summed = lambda rows: jax.tree.map(lambda x: jnp.sum(x, 0), lax.map(along, rows))
    variance, hidden = summed(spread), summed(unseen)

    def joined(variance, hidden, value):
        std = jnp.sqrt(variance)
        floor = 1e-6 * (jnp.max(jnp.abs(value)) + jnp.max(std))
        return jnp.where(jnp.sqrt(hidden) > floor, jnp.inf, std)

    return jax.tree.map(joined, variance, hidden, of(flat))


@eqx.filter_jit
def _sampled(problem: Problem, u: U, spread, key, count: int) -> Any:
    flat, unravel = ravel_pytree(u)
    xi = jax.random.normal(key, (count, len(spread)), flat.dtype)
    return jax.vmap(lambda d: problem.at(unravel(flat + d)))(xi @ spread)
