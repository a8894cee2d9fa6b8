"""Routes to the output currents of linear arrays: by effective matrices, by reads, or by the
cheaper of the two. All give the same currents.

A route is a function `(arrays, v) -> currents`: from the word-line voltages of each block row,
`(down, rows)` [V], to the currents of every column of every tile, `(down, across, cols)` [A].
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
    """Currents by the exact effective matrices of linear arrays. Under `jax.vmap` over inputs the
    matrices are computed once for the whole batch."""
    i = jnp.einsum("dr,darc->dac", v, arrays.effective(), precision=lax.Precision.HIGHEST)
    return i if arrays.still == arrays.build else i + arrays.read(jnp.zeros_like(v))


def by_reads(arrays: Any, v: Inputs) -> Currents:
    """Currents by one read per tile and input."""
    return arrays.read(v)


def cheapest(arrays: Any, v: Inputs) -> Currents:
    """Currents by reads for few inputs and by effective matrices for many (`crossover`).

    The number of inputs is the product of the batch sizes of all enclosing `jax.vmap`s over inputs.
    For a batch of arrays it is counted per array. Under `jit` outside of any `vmap` it is unknown
    while tracing, since the compiled function may itself be mapped; both routes are then compiled,
    and one of them runs.
    """
    crossbar = arrays.build(arrays.conductances[0, 0, 0])
    limit = crossover(*arrays.g_relative.shape[-2:])
    many = _at_least(limit, 1)(*lax.stop_gradient((v, eqx.filter(crossbar, eqx.is_array))))
    if not isinstance(many, jax.core.Tracer):
        return by_matrix(arrays, v) if many else by_reads(arrays, v)
    return lax.cond(many, lambda v: by_matrix(arrays, v), lambda v: by_reads(arrays, v), v)


def _at_least(limit: int, known: int) -> custom_vmap:
    """A function `(inputs, arrays) -> bool`: whether each array has at least `limit` inputs. The
    function uses only the batching of its arguments, not their values; `known` is the number of
    inputs per array counted in enclosing `vmap`s."""

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
    """Number of inputs from which on `cheapest` uses the effective matrix: the number of lines on
    the shorter side of a tile.

    By solves, a matrix costs one read per line of the shorter side. By block elimination it cost
    16, 42, 177, 143, 155 and 206 reads of a batch at 16, 32, 64, 128, 250 and 500 rows and columns,
    on two cores that were not idle (experiments/routes). By these numbers, the chosen route costs
    at most three times as much as the other.
    """
    return min(rows, cols)
