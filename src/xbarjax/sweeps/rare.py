"""Rates of rare failures, by importance sampling around the most likely failures."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.special import log_ndtr, logsumexp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._types import is_concrete

Margins = Callable[[Any], Float[Array, "..."]]


class FailureRate(eqx.Module):
    """Result of `failure_rate`.

    **Attributes:**

    - `probability`: of a failure [1]; `standard_error`: of the probability, from the spread of the
        samples.
    - `distance`: from the die without variation to the most likely failure of each margin
        [standard deviations]; `found`: whether the search for this failure converged.
    - `reads`: number of evaluations of the margins; a gradient counts as two more.
    - `unusable`: fraction of the samples in which a margin was NaN; they count as failures.
    """

    probability: Float[Array, ""]
    standard_error: Float[Array, ""]
    distance: Float[Array, " modes"]
    found: Bool[Array, " modes"]
    reads: Int[Array, ""]
    unusable: Float[Array, ""]


def failure_rate(
    margins: Margins,
    like: Any,
    key: PRNGKeyArray,
    *,
    samples: int = 20_000,
    steps: int = 40,
    chunk: int = 256,
) -> FailureRate:
    """The failure rate of a die: the probability that any of its `margins` is below 0.

    The most likely failure of a margin `h` is the point `u` with `h(u) = 0` nearest to the origin
    in the space of the standard normal numbers of a die. The search iterates
    `u <- u + s (u' - u)`, `u' = (grad h . u - h) grad h/|grad h|^2`, and halves `s` until a merit
    function decreases (Zhang and Der Kiureghian, 1995: the improved method of Hasofer, Lind,
    Rackwitz and Fiessler).

    Samples are drawn from a mixture of standard normals centred on these points, with weights in
    proportion to `Phi(-|u|)`, and on the origin, with a weight of 0.1 (0.9 if the die without
    variation already fails). Each sample is weighed by its likelihood ratio (balance heuristic;
    Veach and Guibas, 1995, 10.1145/218380.218498).

    The estimate is unbiased for any points, but its error depends on them: failures far from all
    points are rarely sampled, and `standard_error` does not show the loss. Give each failure mode a
    smooth margin of its own. An error with a sign needs two margins per output, not their minimum
    and not an absolute value.

    **Arguments:**

    - `margins`: `drawn -> (modes,)` or a scalar: smooth functions, positive for a good die, as
        `lambda drawn: die.measure(settings, drawn)["i"] - i_least`.
    - `like`: random numbers of any die, from `die.draw(settings, key)`, for their shapes.
    - `key`: of the samples.
    - `samples`: their number; `steps`: most steps of the search per margin; `chunk`: samples
        computed at a time.

    Raises `RuntimeError` if neither the search nor a sample finds a failure (concrete values only).
    """
    origin, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, like))
    flat = lambda u: jnp.ravel(margins(unravel(u)))
    at_rest = flat(origin)
    points, found, reads = _likeliest(flat, origin, at_rest, steps)
    distance = jnp.linalg.norm(points, axis=1)
    at_origin = jnp.where(jnp.all(at_rest >= 0), 0.1, 0.9)
    # Logarithms, since Phi(-d) underflows to 0 in float32 from d = 14 on.
    likely = jax.nn.softmax(jnp.where(found, log_ndtr(-distance), -jnp.inf))
    likely = jnp.where(jnp.any(found), likely, 0)
    share = jnp.append((1 - at_origin) * likely, at_origin)
    share = share / jnp.sum(share)
    centres = jnp.vstack([jnp.where(found[:, None], points, 0), origin])

    def sample(key):
        which, where = jax.random.split(key)
        about = centres[jax.random.choice(which, len(centres), p=share)]
        u = about + jax.random.normal(where, origin.shape, origin.dtype)
        # Ratio of densities: phi(u)/sum_k share_k phi(u - centre_k).
        log_ratio = centres @ u - jnp.sum(centres**2, axis=1) / 2
        weight = jnp.exp(-logsumexp(log_ratio, b=share))
        left = flat(u)
        return jnp.where(jnp.all(left >= 0), 0.0, weight), jnp.any(jnp.isnan(left))

    keys = jax.random.split(key, samples)
    weights, unusable = lax.map(sample, keys, batch_size=min(chunk, samples))
    answer = FailureRate(
        jnp.mean(weights),
        jnp.std(weights) / jnp.sqrt(samples),
        distance,
        found,
        reads + samples + 1,
        jnp.mean(unusable.astype(origin.dtype)),
    )
    if is_concrete(found) and not bool(jnp.any(found) | jnp.any(weights > 0)):
        raise RuntimeError(
            "No failure was found: margins have no gradient that leads below 0. Make the margins"
            " smooth functions of the drawn numbers, or raise steps."
        )
    return answer


def _likeliest(
    flat: Callable[[Array], Array], origin: Array, at_rest: Float[Array, " modes"], steps: int
) -> tuple[Float[Array, "modes size"], Bool[Array, " modes"], Int[Array, ""]]:
    """The nearest zero of each margin, whether the search converged to it, and the number of reads.
    `at_rest`: margins at the origin."""

    def search(mode):
        of_mode = lambda u: flat(u)[mode]
        value_and_slope = jax.value_and_grad(of_mode)
        scale = jnp.abs(at_rest[mode])

        def step(state):
            u, count, reads, _ = state
            h, slope = value_and_slope(u)
            steep = jnp.vdot(slope, slope)
            target = (jnp.vdot(slope, u) - h) / jnp.where(steep > 0, steep, 1) * slope
            way = target - u
            # Merit |u|^2/2 + c |h| with c > |u|/|slope| decreases along `way`.
            c = 2 * (1 + jnp.linalg.norm(u)) / jnp.sqrt(jnp.where(steep > 0, steep, 1))
            merit = lambda u, h: jnp.vdot(u, u) / 2 + c * jnp.abs(h)
            now = merit(u, h)

            def shorter(trial):
                s, _, reads = trial
                there = u + s / 2 * way
                return s / 2, merit(there, of_mode(there)), reads + 1

            # The loop also tries the whole step (s = 2/2): JAX compiles every call of the margins.
            worse = lambda trial: ~(trial[1] < now) & (trial[0] > 1e-3)
            start = (jnp.full_like(h, 2.0), jnp.full_like(h, jnp.inf), reads + 3)
            s, _, reads = lax.while_loop(worse, shorter, start)
            left = jnp.linalg.norm(way)
            near = (left < 1e-3 * (1 + jnp.linalg.norm(u))) & (jnp.abs(h) < 1e-3 * scale)
            fine = (steep > 0) & jnp.isfinite(steep) & jnp.isfinite(h)
            u = jnp.where(fine, u + s * way, u)
            return u, count + 1, reads, jnp.where(near & fine, 1, jnp.where(fine, 0, -1))

        start = (origin, 0, 0, 0)
        u, _, reads, end = lax.while_loop(lambda s: (s[1] < steps) & (s[3] == 0), step, start)
        return u, (end == 1) & jnp.any(u != 0), reads

    points, found, reads = lax.map(search, jnp.arange(len(at_rest)))
    return points, found, jnp.sum(reads)
