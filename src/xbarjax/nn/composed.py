"""Products made of several products.

A product is called with inputs `(inputs,)` and, for noise, a key, and has `weights()`, its
effective weights `(inputs, outputs)`. `Arrays` is a single product.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .tiling import Matrix


class Chain(eqx.Module):
    """Two products in series: `y = second(first(x))`."""

    first: Any
    second: Any

    def __call__(
        self, x: Float[Array, " inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        one, two = (None, None) if key is None else jax.random.split(key)
        return self.second(self.first(x, one), two)

    def weights(self) -> Matrix:
        with jax.default_matmul_precision("highest"):
            return self.first.weights() @ self.second.weights()


class Sum(eqx.Module):
    """A sum of products of the same inputs: `y = parts[0](x) + parts[1](x) + ...`."""

    parts: tuple[Any, ...]

    def __call__(
        self, x: Float[Array, " inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        count = len(self.parts)
        keys = [None] * count if key is None else list(jax.random.split(key, count))
        each = [part(x, k) for part, k in zip(self.parts, keys, strict=True)]
        return functools.reduce(jnp.add, each)

    def weights(self) -> Matrix:
        return functools.reduce(jnp.add, [part.weights() for part in self.parts])


class Permuted(eqx.Module):
    """A product with reordered lines: input `rows[i]` drives row `i`, and column `j` gives output
    `cols[j]`."""

    inner: Any
    rows: Int[Array, " inputs"]
    cols: Int[Array, " outputs"]

    def __call__(
        self, x: Float[Array, " inputs"], key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        y = self.inner(x[self.rows], key)
        return jnp.zeros_like(y).at[self.cols].set(y)

    def weights(self) -> Matrix:
        inner = self.inner.weights()
        return jnp.zeros_like(inner).at[self.rows[:, None], self.cols].set(inner)
