"""Dense systems of a circuit in LU factors.

On a CPU, the matrices of a batch are factored and solved one after another. Two batched LAPACK
calls that run at once may each hold a thread, wait for that of the other, and never end (jaxlib
0.10.2, two cores)."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array

PROBES = 4  # right-hand sides that look for singular matrices


def one_by_one(plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose batches are worked off one by one on a CPU, and at once elsewhere."""
    found = custom_vmap(plain)

    @found.def_vmap
    def rule(size: int, batched: Any, *args: Any):
        full = [x if of else jnp.broadcast_to(x, (size, *x.shape)) for x, of in zip(args, batched)]
        each = lambda *full: lax.map(lambda one: found(*one), full)
        out = lax.platform_dependent(*full, cpu=each, default=jax.vmap(plain))
        return out, jax.tree.map(lambda _: True, out)

    return found


lu = one_by_one(lax.linalg.lu)
eigenvalues = one_by_one(jnp.linalg.eigvals)


@functools.cache
def _triangular(lower: bool, transposed: bool) -> Callable[[Array, Array], Array]:
    def plain(a, b):
        how = {"left_side": True, "lower": lower, "unit_diagonal": lower}
        return lax.linalg.triangular_solve(a, b, transpose_a=transposed, **how)

    many, found = one_by_one(plain), custom_vmap(plain)

    @found.def_vmap
    def rule(size: int, batched: Any, a: Any, b: Any):
        if batched[0]:
            return jax.vmap(many, in_axes=(0, 0 if batched[1] else None))(a, b), True
        # one matrix: all right-hand sides at once
        flat = jnp.moveaxis(b, 0, 1).reshape(b.shape[1], -1)
        return jnp.moveaxis(found(a, flat).reshape(b.shape[1], size, b.shape[2]), 1, 0), True

    return found


def lower(factors: Array, b: Array, *, transposed: bool = False) -> Array:
    """`L^-1 b` or `L^-T b`, with the lower factor `L` of a matrix, of unit diagonal."""
    return _triangular(True, transposed)(factors, b)


def upper(factors: Array, b: Array, *, transposed: bool = False) -> Array:
    """`U^-1 b` or `U^-T b`, with the upper factor `U` of a matrix."""
    return _triangular(False, transposed)(factors, b)


def scales(matrix: Array) -> tuple[Array, Array, Array]:
    """Scales of the rows and columns of a matrix, and the scaled matrix: entries of at most 1."""
    inverse = lambda x: 1 / jnp.where(x > 0, x, 1)
    size = jnp.abs(matrix)
    rows = inverse(jnp.max(size, axis=1, initial=0))
    cols = inverse(jnp.max(rows[:, None] * size, axis=0, initial=0))
    return rows, cols, rows[:, None] * matrix * cols[None, :]


def signs(size: int, dtype: Any) -> Array:
    """Right-hand sides of random signs: no direction is likely to be orthogonal to all of them."""
    return jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (size, PROBES)), dtype)


def lost(found: Array) -> Array:
    """Whether rounding takes the digits of solutions, which are those of a scaled matrix for
    right-hand sides of 1 or -1. Their size is a lower bound of the condition number."""
    share = 1e-3 if found.dtype == jnp.float64 else 5e-2
    return ~(jnp.max(jnp.abs(found), initial=0) < share / jnp.finfo(found.dtype).eps)


class Equilibrated(eqx.Module):
    """A matrix, and its LU factors with rows and columns scaled to entries of at most 1."""

    matrix: Array
    lu: Array
    order: Array  # of the rows in the factors
    place: Array  # of each row in this order
    rows: Array  # scales
    cols: Array

    def solve(self, b: Array) -> Array:
        """`A^-1 b`, for one right-hand side or several as columns. The derivative is that of the
        solution."""
        return linear_solve(lambda x: self.matrix @ x, self.apply, self.apply_transposed, b)

    def apply(self, b: Array) -> Array:
        """`A^-1 b` by the factors, for columns `b`."""
        return self.cols[:, None] * self._scaled(self.rows[:, None] * b)

    def apply_transposed(self, b: Array) -> Array:
        """`A^-T b` by the factors, for columns `b`."""
        half = upper(self.lu, self.cols[:, None] * b, transposed=True)
        return self.rows[:, None] * lower(self.lu, half, transposed=True)[self.place]

    def _scaled(self, b: Array) -> Array:
        return upper(self.lu, lower(self.lu, b[self.order]))

    @property
    def is_singular(self) -> Array:
        """Whether the solution is lost in rounding."""
        return lost(self._scaled(signs(self.rows.shape[0], self.rows.dtype)))


def linear_solve(
    product: Callable[[Array], Array],
    solve: Callable[[Array], Array],
    transposed: Callable[[Array], Array],
    b: Array,
) -> Array:
    """The solution `x` of `product(x) = b`, given functions that solve it and its transpose for
    columns of right-hand sides."""
    one = b.ndim == 1
    columns = lambda of: lambda _, b: of(b[:, None])[:, 0] if one else of(b)
    return lax.custom_linear_solve(product, b, columns(solve), columns(transposed))


def equilibrated(matrix: Array) -> Equilibrated:
    """A matrix in LU factors, with rows and columns scaled."""
    rows, cols, scaled = scales(lax.stop_gradient(matrix))
    factors, _, order = lu(scaled)
    return Equilibrated(matrix, factors, order, jnp.argsort(order).astype(jnp.int32), rows, cols)
