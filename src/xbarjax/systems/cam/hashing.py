"""Locality-sensitive hashing in a crossbar of random conductances."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from ..._types import Values, as_physical, described, everywhere
from ...analyses.read import read
from ...crossbar import Crossbar

__all__ = ["differences", "hashed"]


def __dir__() -> list[str]:
    return __all__


def differences(array: Crossbar, v: Values, **solver: Any) -> Float[Array, "..."]:
    """Differences [A] of the output currents of neighbouring columns, `2 j` minus `2 j + 1`.

    With random conductances each is the product of the input with a random vector: on which side of
    a random plane it lies. The currents are those of a `read` of the array, with all wires.

    **Arguments:**

    - `array`: `(rows, 2 bits)`. The scatter of devices makes the conductances, such as
        `xb.Ohmic(xb.variability.Lognormal(0.5)(g, key))`.
    - `v`: input voltages [V], `(..., rows)`. Of inputs that are all positive most bits are alike:
        take off the mean first.
    - `solver`: further arguments of `read`.

    **Returns:** `(..., bits)`. **Errors:** `ValueError` for an odd number of columns and inputs
    that do not fit; as of `read`.
    """
    if not isinstance(array, Crossbar):
        raise TypeError(f"array is {described(array)}; pass an xb.Crossbar.")
    rows, cols = array.shape
    if cols % 2:
        raise ValueError(f"array has {cols} columns; a bit needs two, so pass an even number.")
    v = as_physical(v, "v", whole=True)
    if v.shape[-1:] != (rows,):
        raise ValueError(f"v has shape {v.shape}; it must end in {rows}, the rows of the array.")
    flat = v.reshape(-1, rows)
    i = jax.vmap(lambda v: read(array, v, **solver).i_out)(flat)
    return (i[:, ::2] - i[:, 1::2]).reshape(*v.shape[:-1], cols // 2)


def hashed(difference: Values, threshold: Values = 0.0) -> Float[Array, "..."]:
    """Bits of a hash: 1 where a difference is positive, 0 where it is negative, and 0.5, which
    matches either bit, where its size is below a threshold.

    The Hamming distance of two hashes grows with the angle between their inputs (M. Charikar,
    Proc. 34th STOC, 380 (2002)). In a crossbar, currents close to each other may be ordered
    otherwise at the next read; bits of 0.5 leave them out (R. Mao et al., Nat. Commun. 13, 6284
    (2022), doi:10.1038/s41467-022-33629-7).

    **Arguments:** `difference`, of currents [A] or any numbers, such as `differences` gives;
    `threshold`, in the same unit. **Errors:** `ValueError` for a threshold below 0.
    """
    x = as_physical(difference, "difference", whole=True)
    least = as_physical(threshold, "threshold", whole=True).astype(x.dtype)
    if not everywhere(lambda x: x >= 0, least):
        raise ValueError(f"threshold is {threshold}; it must be at least 0.")
    bits = jnp.where(jnp.abs(x) < jnp.broadcast_to(least, x.shape), 0.5, (x > 0).astype(x.dtype))
    return jnp.where(jnp.isnan(x), jnp.nan, bits)
