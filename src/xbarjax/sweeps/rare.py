"""Rates of rare failures by importance sampling around the likeliest failures."""

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

    - `probability`: of a failure; `standard_error`: of that, from the spread of the samples.
    - `distance`: of the likeliest failure of every margin from the die without variation, in
        standard deviations; `found`: whether the search for it ended there.
    - `reads`: evaluations of the margins, gradients counted as two more.
    - `unusable`: part of the samples where a margin was NaN: they count as failures.
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
    """The probability that any of the `margins` of a die is below 0.

    For every margin `h` the likeliest failure is sought: the point `u` nearest to the origin of
    the standard normal numbers with `h(u) = 0`, by `u <- u + s (u' - u)`,
    `u' = (grad h . u - h) grad h/|grad h|^2`, with `s` halved as often as a merit function asks
    (Zhang and Der Kiureghian, 1995: the improved method of Hasofer, Lind, Rackwitz and Fiessler).
    Samples are drawn from a mixture of standard normals about these points, in proportion to
    `Phi(-|u|)`, and a tenth of them about the origin (nine tenths where the die without variation
    fails already), and weighed by the likelihood ratio (balance heuristic; Veach and Guibas, 1995,
    10.1145/218380.218498). The estimate has no bias wherever the points are; how good they are
    decides its error, and where failures lie far from all of them, `standard_error` does not know.
    So give each way to fail a smooth margin of its own: for an error with a sign, two for each
    output, and neither their minimum nor an absolute value.

    **Arguments:**

    - `margins`: `drawn -> (modes,)` or a scalar, what a die has left until it fails, smooth:
        `lambda drawn: die.measure(settings, drawn)["i"] - i_least`.
    - `like`: what a die draws, as `die.draw(settings, key)` gives it.
    - `key`: of the samples.
    - `samples`: how many; `steps`: of the search for each margin at most; `chunk`: samples at a
        time.

    Raises `RuntimeError` where neither the search nor a sample finds a failure, on concrete values.
    """
    origin, unravel = ravel_pytree(jax.tree.map(jnp.zeros_like, like))
    flat = lambda u: jnp.ravel(margins(unravel(u)))
    at_rest = flat(origin)
    points, found, reads = _likeliest(flat, origin, at_rest, steps)
    distance = jnp.linalg.norm(points, axis=1)
    at_origin = jnp.where(jnp.all(at_rest >= 0), 0.1, 0.9)
    # By logarithms: Phi(-d) is 0 in float32 from d = 14 on.
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
            "No failure was found: margins have no gradient that leads below 0. Let them vary"
            " smoothly with what is drawn, or raise steps."
        )
    return answer


def _likeliest(
    flat: Callable[[Array], Array], origin: Array, at_rest: Float[Array, " modes"], steps: int
) -> tuple[Float[Array, "modes size"], Bool[Array, " modes"], Int[Array, ""]]:
    """Nearest zero of each margin (`at_rest` at the origin), whether it is one, and how many reads
    that took."""

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

            # The whole step first, by the same lines: each place that reads is compiled apart.
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
