"""The one table of units, signs and shapes, and the field that holds a physical number.

| quantity     | prefix | unit  | shape and sign                                              |
|--------------|--------|-------|-------------------------------------------------------------|
| conductance  | `g_`   | S     | `(rows, cols)`, row to column, at least 0                   |
| resistance   | `r_`   | ohm   | scalar, a line, or a segment; 0 (ideal) to inf (open)       |
| voltage      | `v_`   | V     | against the common ground                                   |
| current      | `i_`   | A     | positive from row to column to readout                      |
| drop         | `drop_`| V     | row: source minus node; column: node minus readout          |
| power        | `p_`   | W     | positive when dissipated (`p_delivered`: when delivered)    |

Rows are word lines and inputs, columns bit lines and outputs; arrays are `(rows, cols)`.
Word lines are driven at column 0, bit lines sensed below the last row. SI without prefixes.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PyTree

PerCell: TypeAlias = Float[Array, "rows cols"]
PerRow: TypeAlias = Float[Array, " rows"]
PerCol: TypeAlias = Float[Array, " cols"]
PerRowSegment: TypeAlias = Float[Array, "rows cols+1"]
PerColSegment: TypeAlias = Float[Array, "rows+1 cols"]
CellMask: TypeAlias = Bool[Array, "rows cols"]
PerDevice: TypeAlias = Float[Array, "..."]  # devices, in an array of them or not
DeviceMask: TypeAlias = Bool[Array, "..."]
Inner: TypeAlias = PyTree[PerDevice]  # nodes inside devices; None where none are known
Scalar: TypeAlias = Float[Array, ""]


def as_physical(x: Any, name: str = "value") -> Array:
    """`x` as a floating array: its dtype is kept, a Python number takes the default float.

    Raises `TypeError` for integer and boolean arrays: JAX gives those no gradient.
    """
    if isinstance(x, (bool, np.bool_)):
        raise TypeError(f"{name} is a boolean; pass a floating number.")
    if isinstance(x, (int, float)):
        return jnp.asarray(float(x), dtype=jnp.zeros(()).dtype)
    if isinstance(x, jax.ShapeDtypeStruct):
        return cast(Array, x)  # JAX asks for shapes alone
    if not isinstance(x, (jax.Array, np.ndarray, np.generic, list, tuple)):
        raise TypeError(f"{name} is a {type(x).__name__}; pass a number or a floating array.")
    array = x if isinstance(x, jax.Array) else np.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{name} is an array of {array.dtype}; it needs a floating dtype so that it has a"
            f" gradient: pass {name}.astype(float)."
        )
    return jnp.asarray(array)


def physical(name: str, default: Any = None) -> Any:
    """An `equinox` field that holds a physical number as a floating array leaf."""

    def convert(x: Any) -> Array:
        return as_physical(x, name)

    if default is None:
        return eqx.field(converter=convert)
    return eqx.field(converter=convert, default=default)


def optional(name: str) -> Any:
    """A `physical` field that may be left out: None by default."""
    return eqx.field(converter=lambda x: None if x is None else as_physical(x, name), default=None)


@jax.custom_jvp
def straight_through(x: Array) -> Array:
    """0, with the gradient of `x`: what carries a gradient past a comparison. `level + 0` is
    exactly the level, whatever `x` is; NaN where `x` is."""
    return jnp.where(jnp.isnan(x), x, 0)


@straight_through.defjvp
def _(primals, tangents):
    return straight_through(*primals), tangents[0]


def between(low: Array, high: Array, part: Array) -> Array:
    """`low + part (high - low)`, exactly `low` where the part is 0 and `high` where it is 1 or a
    rounding off: compiled, `n / n` is `n (1 / n)`."""
    x = low + part * (high - low)
    end = jnp.abs(part - 1) <= 2 * jnp.finfo(jnp.result_type(part)).eps
    return lax.stop_gradient(jnp.where(end, high, x)) + straight_through(x)


def is_concrete(tree: Any) -> bool:
    """Whether every leaf holds numbers, so that they may be looked at in Python."""
    return not any(
        isinstance(leaf, (jax.core.Tracer, jax.ShapeDtypeStruct)) or not eqx.is_array(leaf)
        for leaf in jax.tree.leaves(tree)
    )


def everywhere(test: Callable[..., Any], *arrays: Any) -> bool:
    """Whether a test of NumPy arrays holds for all entries; True while tracing, where a verb
    returns the status instead. (NumPy: under `jit` JAX traces operations on constants too.)"""
    return not is_concrete(arrays) or bool(np.all(test(*map(np.asarray, arrays))))


def require_nonnegative(x: Any, name: str, unit: str, *, open_allowed: bool) -> None:
    """Raises `ValueError` on the first entry that is NaN, negative, or infinite where it may
    not be. Says nothing while tracing: there a verb returns the status instead."""
    if not is_concrete(x):
        return
    values = np.asarray(x)
    bad = ~(values >= 0) if open_allowed else ~((values >= 0) & np.isfinite(values))
    if bad.any():
        at = tuple(int(k) for k in np.argwhere(bad)[0])
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        limits = "0 (ideal) to inf (open)" if open_allowed else "finite and at least 0"
        raise ValueError(f"{where} is {values[at]} {unit}; it must be {limits}.")


def require_finite(x: Any, name: str, unit: str) -> None:
    """Raises `ValueError` on the first entry that is not finite; says nothing while tracing."""
    if not is_concrete(x):
        return
    values = np.asarray(x)
    bad = ~np.isfinite(values)
    if bad.any():
        at = tuple(int(k) for k in np.argwhere(bad)[0])
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        raise ValueError(f"{where} is {values[at]} {unit}; it must be finite.")


def require_positive(x: Any, name: str, unit: str, *, open_allowed: bool = False) -> None:
    """Raises `ValueError` as `require_nonnegative` does, and on the first entry that is 0."""
    require_nonnegative(x, name, unit, open_allowed=open_allowed)
    if is_concrete(x) and bool((np.asarray(x) == 0).any()):
        at = tuple(int(k) for k in np.argwhere(np.asarray(x) == 0)[0])
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        raise ValueError(f"{where} is 0 {unit}; it must be positive.")


def require_bits(bits: int, name: str) -> None:
    """Raises `ValueError` for what is no number of bits of a converter."""
    if not (isinstance(bits, int) and 1 <= bits <= 16):
        raise ValueError(f"{name} is {bits}; it must be a whole number of bits from 1 to 16.")
