"""Linear systems by products with a matrix near the identity."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._types import Scalar

Product = Callable[[Array], Array]


class _Step(NamedTuple):
    """Where the method is: an answer `x`, what is left `r`, directions and their products."""

    x: Array
    r: Array
    directions: Array
    products: Array
    steps: Array


def conjugate_residuals(
    product: Product, b: Array, enough: Scalar, most: int
) -> tuple[Array, Scalar]:
    """The solution of `product(x) = b`, for a product near the identity, and the 2-norm of what is
    left of `b`.

    Every step takes one product, and what is left of `b` is then the least in its 2-norm that all
    directions so far allow. It stops where this is `enough`, or after `most` steps, and takes at
    least one. Unlike lineax's GMRES, it looks after every product. (Generalised conjugate
    residuals: S. Eisenstat, H. Elman, M. Schultz, SIAM J. Numer. Anal. 20, 345 (1983),
    doi:10.1137/0720023.)"""

    def step(at: _Step) -> _Step:
        p, q = at.r, product(at.r)
        for _ in range(2):  # once more takes what the first leaves in rounding
            part = at.products @ q
            p, q = p - part @ at.directions, q - part @ at.products
        size = norm(q)
        size = jnp.where(size > 0, size, 1)  # nothing is left
        p, q = p / size, q / size
        along = q @ at.r
        directions = at.directions.at[at.steps].set(p)
        products = at.products.at[at.steps].set(q)
        return _Step(at.x + along * p, at.r - along * q, directions, products, at.steps + 1)

    none = jnp.zeros((most, len(b)), b.dtype)
    start = _Step(0 * b, b, none, none, jnp.asarray(0))
    # once at least: rounding of `b` may be more than what it is known to
    more = lambda at: (at.steps == 0) | ((norm(at.r) > enough) & (at.steps < most))
    end = lax.while_loop(more, step, start)
    return end.x, norm(end.r)


def norm(r: Array) -> Scalar:
    """2-norm of a vector."""
    return jnp.sqrt(jnp.sum(r * r))
