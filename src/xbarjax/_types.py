"""The one table of units, signs and shapes, and the conversion of what holds a physical number.

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
PerDevice: TypeAlias = Float[Array, "..."]  # devices, in an array of them or not
DeviceMask: TypeAlias = Bool[Array, "..."]
Inner: TypeAlias = PyTree[PerDevice]  # nodes inside devices; None where none are known
Scalar: TypeAlias = Float[Array, ""]


@runtime_checkable
class Table(Protocol):
    """A frame or series of numbers, as those of pandas."""

    def to_numpy(self) -> np.ndarray: ...


Values: TypeAlias = ArrayLike | list | tuple | Table  # where whole numbers and lists are welcome


def as_physical(
    x: Any, name: str = "value", *, whole: bool = False, boolean: bool = False
) -> Array:
    """`x` as a floating array: float32 and float64 are kept, a number and a list of numbers take
    the default float, another NumPy dtype of floats (big-endian, extended) becomes float64. A frame
    or series of pandas is the array that it holds.

    `whole`, `boolean`: whether whole numbers are welcome, as they are for voltages, codes and
    weights, and booleans, as they are for what is on or off; they take the default float. Raises
    `TypeError` for other integer arrays, which JAX gives no gradient, and for complex and
    half-precision numbers and masked entries.
    """
    if _is_number(x):
        return jnp.asarray(float(x), dtype=_default())
    if isinstance(x, (list, tuple)) and all(map(_is_number, jax.tree.leaves(x))):
        x = jax.tree.map(float, x)  # whole numbers have one meaning here
    if isinstance(x, jax.ShapeDtypeStruct):
        return cast(Array, x)  # JAX asks for shapes alone
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
    """A value in the words of an error message: `an array of shape (3, 2)`, `a Drive`, `the number
    2.0`."""
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
    """Raises `TypeError` for a floating dtype that is not enough for a circuit."""
    if dtype not in (jnp.float32, jnp.float64):
        raise TypeError(
            f"{name} is {dtype}: neither float16 nor bfloat16 nor less is enough for a circuit."
            " Pass float32 or float64."
        )


def _is_number(x: Any) -> bool:
    """Whether `x` is one number of Python, or a whole one of NumPy."""
    return isinstance(x, (int, float, np.integer)) and not isinstance(x, (bool, np.floating))


def _default() -> Any:
    return jnp.zeros(()).dtype


def _as_array(x: Any, name: str) -> Any:
    """A JAX array as it is, a NumPy array of anything else that is one."""
    if isinstance(x, np.ma.MaskedArray):
        if np.ma.is_masked(x):
            raise TypeError(
                f"{name} is a masked array with {np.ma.count_masked(x)} masked entries, and what"
                f" they stand for is not known: pass {name}.filled(...), for conductances of cells"
                " that are not there .filled(0.0)."
            )
        x = x.data
    if isinstance(x, jax.Array):
        return x
    if isinstance(x, Table):
        x = x.to_numpy()
    if not isinstance(x, (bool, np.ndarray, np.generic, list, tuple)):
        raise TypeError(f"{name} is {described(x)}; pass a number or a floating array.")
    if any(isinstance(entry, jax.Array) for entry in jax.tree.leaves(x)):
        return jnp.asarray(x)  # a list of traced numbers, too
    try:
        array = np.asarray(x)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    except ValueError as error:
        raise ValueError(
            f"{name} is {described(x)} whose parts differ in length; pass an array."
        ) from error


def _no_floats(x: Any, dtype: Any, name: str) -> str:
    """Message about an array without floating numbers."""
    if isinstance(x, (bool, np.bool_)):
        return f"{name} is a boolean; pass a floating number."
    what = "a list" if isinstance(x, (list, tuple)) else "an array"
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return f"{name} is {what} of {dtype}; it must be real, with a floating dtype."
    if jnp.issubdtype(dtype, jnp.integer):
        is_list = isinstance(x, (list, tuple))
        cure = "write its numbers with a point" if is_list else f"pass {name}.astype(float)"
        return (
            f"{name} is {what} of {dtype}; it needs a floating dtype so that it has a gradient:"
            f" {cure}."
        )
    return f"{name} is {what} of {dtype}; pass floating numbers."


def physical(name: str, *, whole: bool = False) -> Callable[[Values], Array]:
    """The converter of a field that holds a physical number: to a floating array leaf, as
    `as_physical` makes it. `name` is that of the field, for its error messages."""

    def convert(x: Any) -> Array:
        return as_physical(x, name, whole=whole)

    return convert


def optional(name: str, *, whole: bool = False) -> Callable[[Values | None], Array | None]:
    """The converter of a `physical` field that may be left out, None."""

    def convert(x: Any) -> Array | None:
        return None if x is None else as_physical(x, name, whole=whole)

    return convert


@jax.custom_jvp
def straight_through(x: Array) -> Array:
    """0, with the gradient of `x`: what carries a gradient past a comparison. `level + 0` is
    exactly the level, whatever `x` is; NaN where `x` is."""
    return jnp.where(jnp.isnan(x), x, 0)


@straight_through.defjvp
def _(primals, tangents):
    return straight_through(*primals), tangents[0]


@contextmanager
def promoting() -> Iterator[None]:
    """Context for code of other libraries that promotes dtypes and ranks, as optax does."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def widest(*arrays: Any) -> Any:
    """The dtype that holds all of them, whatever promotion JAX is set to: here it is a choice."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(*arrays)


def in_dtype(tree: Any, dtype: Any) -> Any:
    """A tree with its floating arrays in one dtype."""
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tree)


def alike(*arrays: Any) -> list[Array]:
    """Arrays in one dtype and one shape, as NumPy would promote and broadcast them."""
    dtype, shape = widest(*arrays), np.broadcast_shapes(*map(jnp.shape, arrays))
    return [jnp.broadcast_to(x, shape).astype(dtype) for x in arrays]


@jax.jit
def between(low: Array, high: Array, part: Array) -> Array:
    """`low + part (high - low)`, exactly `low` where the part is 0 and `high` where it is 1 or a
    rounding off: compiled, `n / n` is `n (1 / n)`."""
    low, high, part = alike(low, high, part)
    x = low + part * (high - low)
    end = jnp.abs(part - 1) <= 2 * float(jnp.finfo(part.dtype).eps)
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


def require_nonnegative(
    x: Any, name: str, unit: str, *, open_allowed: bool, ends: str = "0 (ideal) to inf (open)"
) -> None:
    """Raises `ValueError` on the first entry that is NaN, negative, or infinite where it may
    not be; `ends` says what 0 and inf mean where they may be. Says nothing while tracing: there a
    verb returns the status instead."""
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


def as_index(k: Any, count: int, name: str) -> Any:
    """The position `k` among `count`, from 0 up; negative ones count from the end, as in NumPy.

    Raises `TypeError` for what is no whole number and `IndexError` for one that lies outside. A
    traced one that lies outside comes back as `count`, of which `is_inside` is false."""
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
            f" {count - 1}, where negative ones count from the end."
        )
    return int(k) % count


def is_inside(k: Any, count: int) -> Bool[Array, ""]:
    """Whether a position from `as_index` lies among `count`: known ones do."""
    return (0 <= jnp.asarray(k)) & (jnp.asarray(k) < count)


def require_bits(bits: int, name: str) -> None:
    """Raises `ValueError` for what is no number of bits of a converter."""
    if not (isinstance(bits, int) and 1 <= bits <= 16):
        raise ValueError(f"{name} is {bits}; it must be a whole number of bits from 1 to 16.")
