"""Inverse of a diagonally dominant matrix, without pivoting and without library calls."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

PANELS = 8, 16  # rows eliminated at a time, in matrices up to SMALL and in larger ones
SMALL = 192


def inverse(a) -> Float[Array, "n n"]:
    """Inverse of a symmetric positive definite matrix or a conductance matrix.

    Gauss-Jordan elimination in place, one panel of rows at a time, is nearly all matrix products.
    Library calls would differ between accelerators, and wait for each other in batches on few
    cores."""
    n = a.shape[0]
    panel = PANELS[n > SMALL]
    padding = -n % panel
    a = jnp.pad(a, ((0, padding), (0, padding)))
    a = a + jnp.diag((jnp.arange(n + padding) >= n).astype(a.dtype))

    def eliminate(k, a):
        at = k * panel
        pivot = _by_element(lax.dynamic_slice(a, (at, at), (panel, panel)))
        column = lax.dynamic_slice_in_dim(a, at, panel, axis=1)
        row = pivot @ lax.dynamic_slice_in_dim(a, at, panel, axis=0)
        a = lax.dynamic_update_slice_in_dim(a - column @ row, -column @ pivot, at, axis=1)
        row = lax.dynamic_update_slice_in_dim(row, pivot, at, axis=1)
        return lax.dynamic_update_slice_in_dim(a, row, at, axis=0)

    return lax.fori_loop(0, a.shape[0] // panel, eliminate, a)[:n, :n]


def _by_element(a):
    def eliminate(i, a):
        row, column = a[i] / a[i, i], a[:, i]
        a = (a - column[:, None] * row[None]).at[:, i].set(-column / column[i])
        return a.at[i].set(row.at[i].set(1 / column[i]))

    return lax.fori_loop(0, a.shape[0], eliminate, a)
