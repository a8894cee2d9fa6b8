"""Two ways to the currents of arrays, which give the same, and a choice between them.

A route is a function `(arrays, v) -> currents` [A] of every column of every tile, for what every
block row gets, `v` [V].
"""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float

Inputs = Float[Array, "down rows"]
Currents = Float[Array, "down across cols"]


def by_matrix(arrays: Any, v: Inputs) -> Currents:
    """By the exact effective matrices of linear arrays, which cost the same whatever the batch:
    `jax.vmap` over inputs computes them once."""
    i = jnp.einsum("dr,darc->dac", v, arrays.effective(), precision=lax.Precision.HIGHEST)
    return i if arrays.still == arrays.build else i + arrays.read(jnp.zeros_like(v))


def by_reads(arrays: Any, v: Inputs) -> Currents:
    """By a read of every tile for every input."""
    return arrays.read(v)


def cheapest(arrays: Any, v: Inputs) -> Currents:
    """By reads for few inputs, by effective matrices for many (`crossover`).

    How many there are is what `jax.vmap` says, levels in levels multiplied; inputs of a batch of
    arrays count for each. Under `jit` outside of any `vmap` the batch is not known while tracing,
    since the compiled function may be mapped itself: both routes are then compiled, and one runs.
    """
    crossbar = arrays.build(arrays.conductances[0, 0, 0])
    limit = crossover(*arrays.g_relative.shape[-2:])
    many = _at_least(limit, 1)(*lax.stop_gradient((v, eqx.filter(crossbar, eqx.is_array))))
    if not isinstance(many, jax.core.Tracer):
        return by_matrix(arrays, v) if many else by_reads(arrays, v)
    return lax.cond(many, lambda v: by_matrix(arrays, v), lambda v: by_reads(arrays, v), v)


def _at_least(limit: int, known: int) -> custom_vmap:
    """Whether one array has at least `limit` inputs, where `known` levels of `vmap` have said of
    so many: a function of inputs and arrays that looks at nothing but how they are mapped."""

    @custom_vmap
    def many(v: Any, of: Any) -> Bool[Array, ""]:
        del v, of
        return jnp.asarray(known >= limit)

    @many.def_vmap
    def rule(axis_size: int, in_batched: Any, v: Any, of: Any) -> tuple[Any, bool]:
        each_has_its_own = any(jax.tree.leaves(in_batched[1]))
        count = known if each_has_its_own or not in_batched[0] else known * axis_size
        enough = count >= limit
        return np.bool_(True) if enough else _at_least(limit, count)(v, of), False

    return many


def crossover(rows: int, cols: int) -> int:
    """From how many inputs on the effective matrix of a tile is taken: as many as its shorter side
    has lines.

    By solves a matrix is a read for each of these lines. By elimination of blocks it cost 16, 42,
    177, 143, 155 and 206 reads of a batch at 16, 32, 64, 128, 250 and 500 rows and columns, on two
    cores that were not idle (experiments/routes): by those numbers, what is taken costs three times
    the other at worst.
    """
    return min(rows, cols)
