"""Units, signs and shapes of all quantities, and the conversion of arguments to physical arrays.

| quantity     | prefix | unit  | shape and sign                                              |
|--------------|--------|-------|-------------------------------------------------------------|
| conductance  | `g_`   | S     | `(rows, cols)`, row to column, at least 0                   |
| resistance   | `r_`   | ohm   | scalar, per line or per segment; 0 (ideal) to inf (open)    |
| voltage      | `v_`   | V     | against the common ground                                   |
| current      | `i_`   | A     | positive from row to column to readout                      |
| drop         | `drop_`| V     | row: source minus node; column: node minus readout          |
| power        | `p_`   | W     | positive when dissipated (`p_delivered`: when delivered)    |

Rows are word lines and inputs, columns bit lines and outputs; arrays are `(rows, cols)`. Word lines
are driven at column 0, bit lines sensed below the last row. SI without prefixes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

PerCell: TypeAlias = Float[Array, "rows cols"]
PerRow: TypeAlias = Float[Array, " rows"]
PerCol: TypeAlias = Float[Array, " cols"]
PerRowSegment: TypeAlias = Float[Array, "rows cols+1"]
PerColSegment: TypeAlias = Float[Array, "rows+1 cols"]
CellMask: TypeAlias = Bool[Array, "rows cols"]
PerDevice: TypeAlias = Float[Array, "..."]  # one device or an array of devices
DeviceMask: TypeAlias = Bool[Array, "..."]
Inner: TypeAlias = PyTree[PerDevice]  # nodes inside devices; None if unknown
Scalar: TypeAlias = Float[Array, ""]


@runtime_checkable
class Table(Protocol):
    """A frame or series of numbers, such as those of pandas."""

    def to_numpy(self) -> np.ndarray: ...


Values: TypeAlias = ArrayLike | list | tuple | Table  # where whole numbers and lists are welcome


def as_physical(
    x: Any, name: str = "value", *, whole: bool = False, boolean: bool = False
) -> Array:
    """`x` as a floating JAX array.

    - float32 and float64 stay; big-endian arrays become native, extended precision becomes float64.
    - A number or a list of numbers takes the default float.
    - A frame or series of pandas becomes the array that it holds.
    - Integers (for voltages, codes and weights) take the default float if `whole`, booleans (for on
        and off) if `boolean`.

    Raises `TypeError` for other integers, to which JAX gives no gradient, other booleans, complex
    and half-precision numbers, and masked entries.
    """
    if _is_number(x):
        return jnp.asarray(float(x), dtype=_default())
    if isinstance(x, (list, tuple)) and all(map(_is_number, jax.tree.leaves(x))):
        x = jax.tree.map(float, x)  # a whole number in a list is meant as a float
    if isinstance(x, jax.ShapeDtypeStruct):
        return cast(Array, x)  # only shapes are known, as under eval_shape
    array = _as_array(x, name)
    dtype = array.dtype
    if (whole and jnp.issubdtype(dtype, jnp.integer)) or (boolean and dtype == jnp.bool_):
        return jnp.asarray(array).astype(_default())
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(_no_floats(x, dtype, name))
    if dtype == np.longdouble:
        array = array.astype(np.float64)
    require_enough(array.dtype, name)
    return jnp.asarray(array)


def described(x: Any) -> str:
    """A value in the words of an error message, such as `an array of shape (3, 2)`, `a Drive` or
    `the number 2.0`."""
    if x is None or isinstance(x, bool):
        return str(x)
    if isinstance(x, str):
        return f"the text {x!r}"
    if isinstance(x, (int, float)):
        return f"the number {x}"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"an array of shape {jnp.shape(x)}"
    if isinstance(x, type):
        return f"the class {x.__name__}"
    name = type(x).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def require_enough(dtype: Any, name: str) -> None:
    """Raises `TypeError` for a floating dtype that is too short for a circuit."""
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(
            f"{name} is {dtype}, which is too imprecise for a circuit: pass float32 or float64."
        )


def _is_number(x: Any) -> bool:
    """Whether `x` is a Python number or a NumPy integer."""
    return isinstance(x, (int, float, np.integer)) and not isinstance(x, (bool, np.floating))


def _default() -> Any:
    return jnp.zeros(()).dtype


def _as_array(x: Any, name: str) -> Any:
    """`x` if a JAX array, else `x` as a NumPy array."""
    if isinstance(x, np.ma.MaskedArray):
        if np.ma.is_masked(x):
            raise TypeError(
                f"{name} is a masked array with {np.ma.count_masked(x)} masked entries, whose"
                f" values are unknown: pass {name}.filled(...), such as .filled(0.0) for cells that"
                " are absent."
            )
        x = x.data
    if isinstance(x, jax.Array):
        return x
    if isinstance(x, Table):
        x = x.to_numpy()
    if not isinstance(x, (bool, np.ndarray, np.generic, list, tuple)):
        raise TypeError(f"{name} is {described(x)}; pass a number or a floating array.")
    if any(isinstance(entry, jax.Array) for entry in jax.tree.leaves(x)):
        return jnp.asarray(x)  # also a list of traced numbers
    try:
        array = np.asarray(x)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    except ValueError as error:
        raise ValueError(
            f"{name} is {described(x)} whose parts differ in length; pass an array."
        ) from error


def _no_floats(x: Any, dtype: Any, name: str) -> str:
    """Message about an array whose dtype is not floating."""
    if isinstance(x, (bool, np.bool_)):
        return f"{name} is a boolean; pass a floating number."
    what = "a list" if isinstance(x, (list, tuple)) else "an array"
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return f"{name} is {what} of {dtype}; it must be real, with a floating dtype."
    if jnp.issubdtype(dtype, jnp.integer):
        is_list = isinstance(x, (list, tuple))
        cure = "write its numbers with a decimal point" if is_list else f"pass {name}.astype(float)"
        return (
            f"{name} is {what} of {dtype}; it needs a floating dtype so that it has a gradient:"
            f" {cure}."
        )
    return f"{name} is {what} of {dtype}; pass floating numbers."


def physical(name: str, *, whole: bool = False) -> Callable[[Values], Array]:
    """Converter of a field called `name` to a floating array leaf, by `as_physical`."""

    def convert(x: Any) -> Array:
        return as_physical(x, name, whole=whole)

    return convert


def optional(name: str, *, whole: bool = False) -> Callable[[Values | None], Array | None]:
    """Converter of a `physical` field that may be None."""

    def convert(x: Any) -> Array | None:
        return None if x is None else as_physical(x, name, whole=whole)

    return convert


@jax.custom_jvp
def straight_through(x: Array) -> Array:
    """0 with the gradient of `x`, which carries a gradient past a comparison.

    `level + straight_through(x)` is exactly `level` for any `x`, except NaN for NaN."""
    return jnp.where(jnp.isnan(x), x, 0)


@straight_through.defjvp
def _(primals, tangents):
    return straight_through(*primals), tangents[0]


@contextmanager
def promoting() -> Iterator[None]:
    """Context for code of other libraries, such as optax, that promotes dtypes and ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def widest(*arrays: Any) -> Any:
    """Promoted dtype of all arrays, however JAX is set: here promotion is deliberate."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*arrays)


def in_dtype(tree: Any, dtype: Any) -> Any:
    """Pytree with all its floating arrays in one dtype."""
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tree)


def alike(*arrays: Any) -> list[Array]:
    """Arrays in one dtype and one shape, promoted and broadcast as in NumPy."""
    dtype, shape = widest(*arrays), np.broadcast_shapes(*map(jnp.shape, arrays))
    return [jnp.broadcast_to(x, shape).astype(dtype) for x in arrays]


@jax.jit
def between(low: Array, high: Array, part: Array) -> Array:
    """`low + part (high - low)`, exactly `low` at part 0 and exactly `high` at part 1.

    A part that is 1 up to rounding counts as 1, because compiled code computes `n / n` as
    `n (1 / n)`."""
    low, high, part = alike(low, high, part)
    x = low + part * (high - low)
    end = jnp.abs(part - 1) <= 2 * float(jnp.finfo(part.dtype).eps)
    return lax.stop_gradient(jnp.where(end, high, x)) + straight_through(x)


def is_concrete(tree: Any) -> bool:
    """Whether every leaf holds known numbers, which Python code may look at."""
    return not any(
        isinstance(leaf, (jax.core.Tracer, jax.ShapeDtypeStruct)) or not eqx.is_array(leaf)
        for leaf in jax.tree.leaves(tree)
    )


def everywhere(test: Callable[..., Any], *arrays: Any) -> bool:
    """Whether a test of NumPy arrays holds for all entries; True for traced arrays.

    For traced arrays a verb returns a status instead. The test is one of NumPy because JAX traces
    even operations on constants under `jit`."""
    return not is_concrete(arrays) or bool(np.all(test(*map(np.asarray, arrays))))


def require_nonnegative(
    x: Any, name: str, unit: str, *, open_allowed: bool, ends: str = "0 (ideal) to inf (open)"
) -> None:
    """Raises `ValueError` for the first entry that is NaN, negative or, unless `open_allowed`, inf.

    `ends` says what 0 and inf mean. Traced arrays raise nothing: a verb returns a status instead.
    """
    if not is_concrete(x):
        return
    values = np.asarray(x)
    bad = ~(values >= 0) if open_allowed else ~((values >= 0) & np.isfinite(values))
    if bad.any():
        at = tuple(int(k) for k in np.argwhere(bad)[0])
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        limits = ends if open_allowed else "finite and at least 0"
        raise ValueError(f"{where} is {values[at]} {unit}; it must be {limits}.")


def require_finite(x: Any, name: str, unit: str) -> None:
    """Raises `ValueError` for the first entry that is not finite; traced arrays raise nothing."""
    if not is_concrete(x):
        return
    values = np.asarray(x)
    bad = ~np.isfinite(values)
    if bad.any():
        at = tuple(int(k) for k in np.argwhere(bad)[0])
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        raise ValueError(f"{where} is {values[at]} {unit}; it must be finite.")


def require_positive(x: Any, name: str, unit: str, *, open_allowed: bool = False) -> None:
    """Raises `ValueError` as `require_nonnegative` does, and for the first entry that is 0."""
    require_nonnegative(x, name, unit, open_allowed=open_allowed)
    if is_concrete(x) and bool((np.asarray(x) == 0).any()):
        at = tuple(int(k) for k in np.argwhere(np.asarray(x) == 0)[0])
        where = f"{name}[{', '.join(map(str, at))}]" if at else name
        raise ValueError(f"{where} is 0 {unit}; it must be positive.")


def as_index(k: Any, count: int, name: str) -> Any:
    """Position `k` among `count`, from 0 up; negative positions count from the end, as in NumPy.

    Raises `TypeError` unless `k` is one whole number, and `IndexError` outside the range. A traced
    position outside the range becomes `count`, for which `is_inside` is false."""
    kind = jnp.result_type(k) if eqx.is_array_like(k) else None
    if kind is None or not jnp.issubdtype(kind, jnp.integer) or jnp.ndim(k) != 0:
        what = repr(k) if kind is None or jnp.ndim(k) == 0 else f"an array of shape {jnp.shape(k)}"
        raise TypeError(
            f"{name} is {what}; it must be one whole number (several go through jax.vmap)."
        )
    if isinstance(k, jax.core.Tracer):
        inside = (k >= -count) & (k < count)
        return jnp.where(inside, jnp.where(k < 0, k + count, k), count)
    if not -count <= int(k) < count:
        raise IndexError(
            f"{name} is {int(k)}; there are {count}: it must be from {-count} to"
            f" {count - 1}, and negative numbers count from the end."
        )
    return int(k) % count


def is_inside(k: Any, count: int) -> Bool[Array, ""]:
    """Whether a position from `as_index` lies among `count`; true for a concrete position."""
    return (0 <= jnp.asarray(k)) & (jnp.asarray(k) < count)


def require_bits(bits: int, name: str) -> None:
    """Raises `ValueError` unless `bits` is a whole number from 1 to 16."""
    if not (isinstance(bits, int) and 1 <= bits <= 16):
        raise ValueError(f"{name} is {bits}; it must be a whole number of bits from 1 to 16.")


def require_gain_and_swing(gain: Any, v_low: Any, v_high: Any) -> None:
    """Raises `ValueError` for a gain of an amplifier that is not positive, and for a swing [V] with
    one end, without a width, or of an infinite gain."""
    if not everywhere(lambda gain: gain > 0, gain):
        raise ValueError(f"gain is {np.min(gain)}; it must be positive, or inf if ideal.")
    if (v_low is None) != (v_high is None):
        raise ValueError("a swing needs two ends: give both v_low and v_high, or neither.")
    if v_low is None:
        return
    require_finite(v_low, "v_low", "V")
    require_finite(v_high, "v_high", "V")
    if not everywhere(lambda low, high: low < high, v_low, v_high):
        raise ValueError(f"v_low = {v_low} must lie below v_high = {v_high}.")
    if not everywhere(lambda gain: ~np.isinf(gain), gain):
        raise ValueError(
            "gain is inf, but an amplifier with a swing needs a finite gain, such as 1e5."
        )
