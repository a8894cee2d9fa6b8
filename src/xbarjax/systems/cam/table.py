"""Tables of intervals: what a content-addressable memory holds, and what its matches add up to.

A row is a box in the space of features. It matches a sample that lies in all its intervals, and
then adds its values to the outputs. A decision tree is such a table with one row per leaf, and an
ensemble is the rows of all its trees (G. Pedretti et al., Nat. Commun. 12, 5806 (2021),
doi:10.1038/s41467-021-25873-0).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import ArrayLike, Bool, Float, Int

from ..._types import Values, as_physical, described, everywhere, is_concrete, widest

__all__ = ["Table", "classify", "matches", "outputs", "predict"]


def __dir__() -> list[str]:
    return __all__


class Table(eqx.Module):
    """A table of intervals.

    A row matches a sample `x` if `low <= x < high` for all features. An end at -inf or inf puts no
    limit to a feature, and a row with `low = high` never matches. The outputs of a sample are
    `base` plus the sum of `value` over all rows that match, in the order of the rows.

    Samples are compared in the dtype of `low`, after rounding to it.

    **Arguments:**

    - `low`, `high`: ends of the intervals, `(rows, features)`, in units of the features, or in
        levels.
    - `value`: what a row adds to the outputs, `(rows, outputs)`.
    - `tree`: number of the tree that a row belongs to, `(rows,)`; one tree by default.
    - `base`: outputs of a sample that no row matches, `(outputs,)`; 0 by default.
    - `levels`: number of levels, if features are levels from 0 to `levels - 1`.

    **Errors:** `ValueError` for other shapes, NaN, `low > high`, `low = inf`, `high = -inf`, bounds
    beyond the levels, and values that are not finite; `TypeError` for a `tree` that is not whole.
    """

    low: Float[Array, "rows features"]
    high: Float[Array, "rows features"]
    value: Float[Array, "rows outputs"]
    tree: Int[Array, " rows"]
    base: Float[Array, " outputs"]
    levels: int | None = eqx.field(static=True)

    def __init__(
        self,
        low: Values,
        high: Values,
        value: Values,
        tree: Any = None,
        base: Values | None = None,
        levels: int | None = None,
    ) -> None:
        low, high = as_physical(low, "low", whole=True), as_physical(high, "high", whole=True)
        dtype = widest(low, high)
        self.low, self.high = low.astype(dtype), high.astype(dtype)
        self.value = as_physical(value, "value", whole=True)
        _require_shape("low", self.low, "(rows, features)", 2)
        _require_shape("value", self.value, "(rows, outputs)", 2)
        rows, n_outputs = self.value.shape
        tree = np.zeros(rows, int) if tree is None else tree
        if not jnp.issubdtype(jnp.result_type(tree), jnp.integer):
            raise TypeError(f"tree is an array of {jnp.result_type(tree)}; pass whole numbers.")
        self.tree = jnp.asarray(tree)
        if base is None:
            base = jnp.zeros(n_outputs, self.value.dtype)
        self.base = as_physical(base, "base", whole=True)
        self.levels = levels

    def __check_init__(self) -> None:
        rows, features = self.low.shape
        n_outputs = self.value.shape[1]
        for name, x, shape in (
            ("high", self.high, (rows, features)),
            ("value", self.value, (rows, n_outputs)),
            ("tree", self.tree, (rows,)),
            ("base", self.base, (n_outputs,)),
        ):
            if x.shape != shape:
                raise ValueError(
                    f"{name} has shape {x.shape}; low has {rows} rows and {features} features, and"
                    f" value {n_outputs} outputs: it must be {shape}."
                )
        if self.levels is not None and not (isinstance(self.levels, int) and self.levels >= 2):
            raise ValueError(f"levels is {self.levels}; it must be a whole number of at least 2.")
        if is_concrete((self.low, self.high)):
            _require_intervals(np.asarray(self.low), np.asarray(self.high), self.levels)
        for name, x in (("value", self.value), ("base", self.base)):
            if not everywhere(np.isfinite, x):
                raise ValueError(f"{name} has entries that are not finite; pass finite numbers.")


def matches(table: Table, x: Values) -> Bool[Array, "..."]:
    """Which rows of a table match a sample.

    **Arguments:**

    - `x`: features of one sample, `(features,)`, or of many, `(batch, features)`.

    **Returns:** `(rows,)` or `(batch, rows)`. **Errors:** `ValueError` for another number of
    features, NaN, and levels that the table does not have. Under tracing, such a sample matches no
    row.
    """
    require_table(table)
    samples = as_samples(x, table.low.shape[1], "x")
    _require_known(table, samples)
    return _matches(table, samples)


def outputs(table: Table, matched: ArrayLike) -> Float[Array, "..."]:
    """`base` plus the sum of the values of the rows that match.

    Rows are added one after another, as scikit-learn adds trees, so that ties end alike.

    **Arguments:**

    - `matched`: which rows match, `(rows,)` or `(batch, rows)`.

    **Returns:** `(outputs,)` or `(batch, outputs)`. **Errors:** `TypeError` unless `matched` is
    boolean, and `ValueError` for another number of rows.
    """
    require_table(table)
    flags = jnp.asarray(matched)
    rows = table.low.shape[0]
    if flags.dtype != jnp.bool_:
        raise TypeError(f"matched is {flags.dtype}; pass booleans, such as v_match > v_threshold.")
    if flags.ndim not in (1, 2) or flags.shape[-1] != rows:
        raise ValueError(
            f"matched has shape {flags.shape}; the table has {rows} rows: it must be ({rows},) or"
            f" (batch, {rows})."
        )
    return _outputs(table, flags)


def predict(table: Table, x: Values) -> Float[Array, "..."]:
    """Outputs of a table, `outputs(table, matches(table, x))`.

    **Returns:** `(outputs,)` or `(batch, outputs)`. **Errors:** those of `matches`; under tracing,
    the outputs are NaN.
    """
    require_table(table)
    samples = as_samples(x, table.low.shape[1], "x")
    _require_known(table, samples)
    return _predict(table, samples)


def classify(table: Table, x: Values) -> Int[Array, "..."]:
    """Class of a sample: the number of its largest output, the first of equal ones.

    With one output, the class is 1 if the output is positive, else 0. Errors are those of
    `matches`; under tracing, the class is -1.
    """
    y = predict(table, x)
    best = (y[..., 0] > 0).astype(int) if y.shape[-1] == 1 else jnp.argmax(y, axis=-1)
    return jnp.where(jnp.isnan(y).any(axis=-1), -1, best)


@jax.jit
def _matches(table: Table, x: Array) -> Array:
    def of_sample(x: Array) -> Array:
        # feature by feature, so that no array of batch x rows x features is made
        def inside(so_far: Array, feature: tuple[Array, Array, Array]) -> tuple[Array, None]:
            low, high, x = feature
            return so_far & (low <= x) & ((x < high) | (high == jnp.inf)), None

        start = jnp.broadcast_to(~_is_unknown(table, x), table.low.shape[:1])
        features = table.low.T, table.high.T, x.astype(table.low.dtype)
        return lax.scan(inside, start, features)[0]

    return jax.vmap(of_sample)(x) if x.ndim == 2 else of_sample(x)


@jax.jit
def _outputs(table: Table, matched: Array) -> Array:
    dtype = widest(table.value, table.base)
    start = jnp.broadcast_to(table.base.astype(dtype), (*matched.shape[:-1], table.base.size))

    def add(total: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        match, value = row
        more = jnp.broadcast_to(value.astype(dtype), total.shape)
        return total + jnp.where(match[..., None], more, 0), None

    return lax.scan(add, start, (jnp.moveaxis(matched, -1, 0), table.value))[0]


@jax.jit
def _predict(table: Table, x: Array) -> Array:
    y = _outputs(table, _matches(table, x))
    unknown = jnp.broadcast_to(_is_unknown(table, x)[..., None], y.shape)
    return jnp.where(unknown, jnp.nan, y)


def _is_unknown(table: Table, x: Array) -> Array:
    """Whether a sample has a missing feature or a level that the table does not have."""
    unknown = jnp.isnan(x)
    if table.levels is not None:
        unknown |= (x < 0) | (x > table.levels - 1)
    return unknown.any(axis=-1)


def as_samples(x: Values, features: int, name: str) -> Array:
    """`x` as a floating array of one or many samples, with as many features as given."""
    samples = as_physical(x, name, whole=True)
    if samples.ndim not in (1, 2) or samples.shape[-1] != features:
        raise ValueError(
            f"{name} has shape {samples.shape}; there are {features} features: it must be"
            f" ({features},) or (batch, {features})."
        )
    require_no_nan(samples, name)
    return samples


def require_no_nan(x: Array, name: str) -> None:
    if is_concrete(x) and np.isnan(x).any():
        at = ", ".join(map(str, np.argwhere(np.isnan(x))[0]))
        raise ValueError(
            f"{name}[{at}] is NaN; an interval knows no missing values: replace them by numbers."
        )


def require_table(table: Any) -> None:
    if not isinstance(table, Table):
        raise TypeError(f"table is {described(table)}; pass an xb.cam.Table.")


def _require_known(table: Table, x: Array) -> None:
    if table.levels is None or not is_concrete(x):
        return
    bad = (np.asarray(x) < 0) | (np.asarray(x) > table.levels - 1)
    if bad.any():
        at = tuple(np.argwhere(bad)[0])
        raise ValueError(
            f"x[{', '.join(map(str, at))}] is {np.asarray(x)[at]}; the table has levels from 0 to"
            f" {table.levels - 1}: pass levels, such as digitise gives."
        )


def _require_shape(name: str, x: Array, shape: str, ndim: int) -> None:
    if x.ndim != ndim:
        raise ValueError(f"{name} has shape {x.shape}; it must be {shape}.")


def _require_intervals(low: np.ndarray, high: np.ndarray, levels: int | None) -> None:
    for name, x, never in (("low", low, np.inf), ("high", high, -np.inf)):
        bad = np.isnan(x) | (x == never)
        if bad.any():
            row, col = np.argwhere(bad)[0]
            raise ValueError(
                f"{name}[{row}, {col}] is {x[row, col]}; pass a number, or {-never} for no limit."
            )
        if levels is None:
            continue
        beyond = np.isfinite(x) & ((x < 0) | (x > levels))
        if beyond.any():
            row, col = np.argwhere(beyond)[0]
            raise ValueError(
                f"{name}[{row}, {col}] is {x[row, col]}; with {levels} levels, bounds must be from"
                f" 0 to {levels}, or infinite."
            )
    if (low > high).any():
        row, col = np.argwhere(low > high)[0]
        raise ValueError(
            f"low[{row}, {col}] = {low[row, col]} lies above high[{row}, {col}] ="
            f" {high[row, col]}; pass low = high for a row that never matches."
        )
