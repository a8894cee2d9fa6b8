"""What is unknown about an array, and how its numbers hang together."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import Array, ArrayLike, Float, Int

from .._types import between
from ..crossbar import Crossbar

BEND = 0.5  # of a number, where its parameter bends away from its bound
LEAST = 1e-12  # of a first guess, below which a number counts as at its bound
TIES = {"each": (), "row": (1,), "col": (0,), "array": (0, 1)}  # axes of one shared number


class Unknown(eqx.Module):
    """Numbers of a crossbar that are to be found, and how they are tied.

    Tied numbers share one parameter: one factor of their first guesses, or one shift of a guess
    that is not above 0. A profile along the lines in the first guess is thereby kept.

    **Arguments:**

    - `of`: picks an array of the crossbar or a tuple of these, for example
        `lambda c: c.wires.r_row` or `lambda c: (c.wires.r_row, c.wires.r_col)`. Several arrays
        share their parameters.
    - `per`: how many parameters there are: `"each"`, one for every entry; `"row"` or `"col"`, one
        for every row or column, which is one per word line or bit line, or a profile along the
        lines; `"array"`, a single one; or whole numbers from 0, `(rows, cols)` or one per line, of
        which equal ones share a parameter, such as those of zones of an array. A scalar of the
        crossbar becomes an entry for each cell or line.
    - `sigma`: standard deviation of what is known before the reads, around the first guess, in the
        unit of the numbers (of the mean of tied ones); a number or one per parameter. Without it
        nothing is known before.
    - `low`, `high`: bounds. A number that starts above 0 has the lower bound 0 by default, others
        have none.

    Raises `ValueError` for another `per`, a `sigma` that is not above 0, and bounds without room.
    """

    of: Callable[[Any], Any] = eqx.field(static=True)
    per: str | Int[np.ndarray, "..."] = "each"
    sigma: ArrayLike | None = None
    low: float | None = eqx.field(static=True, default=None)
    high: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if isinstance(self.per, str) and self.per not in TIES:
            raise ValueError(
                f"per is {self.per!r}; it must be one of {', '.join(map(repr, TIES))}, or whole"
                " numbers."
            )
        if not isinstance(self.per, str):
            _require_labels(np.asarray(self.per))
        if self.sigma is not None and not np.all(np.asarray(self.sigma) > 0):
            raise ValueError(f"sigma is {self.sigma}; a standard deviation must be above 0.")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low is {self.low} and high {self.high}; low must be the smaller.")


def _require_labels(labels: np.ndarray) -> None:
    """Raises `ValueError` unless all whole numbers from 0 to the largest occur."""
    if not np.issubdtype(labels.dtype, np.integer) or labels.size == 0:
        raise ValueError(f"per has entries of type {labels.dtype}; give whole numbers from 0.")
    missing = np.setdiff1d(np.arange(labels.max(initial=0) + 1), labels)
    if labels.min() < 0 or missing.size:
        what = f"the entry {labels.min()}" if labels.min() < 0 else f"no entry {missing[0]}"
        raise ValueError(f"per has {what}; number the parameters 0, 1, 2 and so on.")


class Parameters(eqx.Module):
    """The parameters of one `Unknown`, for a crossbar whose leaves have an entry each.

    At numbers `x_0`, a parameter `u` that starts at 0 gives

    - above a bound, `x = low + d f(u s / d)`, with `d = x_0 - low` here, `s` the same of the first
      guess, and `f(y) = (v + sqrt(v^2 + 4 b^2)) / 2`, `v = y + 1 - b^2`: about linear as `x` grows,
      and above the bound however far it falls;
    - between two bounds, `x = low + (high - low) sigmoid(logit_0 + u)`;
    - without bounds, `x = x_0 + u`.

    `moved` starts anew from the numbers reached. Steps are in units of the first guess, so that a
    number that fell too far climbs back.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    places: tuple[int, ...] = eqx.field(static=True)  # among the leaves of the crossbar
    ties: tuple[int, ...] = eqx.field(static=True)  # axes along which one parameter holds
    labels: Int[Array, "..."] | None  # the parameter of each entry, where these are numbered
    shape: tuple[int, ...] = eqx.field(static=True)  # of the parameters, ones along the ties
    low: float | None = eqx.field(static=True)
    high: float | None = eqx.field(static=True)
    first: tuple[Array, ...]  # the numbers at `u = 0`
    sizes: tuple[Array, ...]  # first guesses above their lower bound
    guess: Array  # means of the first guesses
    sigma: Array | None

    @property
    def start(self) -> Array:
        """The parameters of the first guess."""
        return jnp.zeros(self.shape, self.first[0].dtype)

    def values(self, u: Float[Array, "..."]) -> tuple[Array, ...]:
        """The numbers of the crossbar at parameters `u`."""
        u = u if self.labels is None else u[self.labels]
        return tuple(self._value(*at, u) for at in zip(self.first, self.sizes))

    def _value(self, first: Array, size: Array, u: Array) -> Array:
        if self.low is None and self.high is None:
            return first + u
        if self.high is None:
            low = jnp.asarray(self.low, first.dtype)
            d = first - low
            v = u * size / jnp.maximum(d, LEAST * size) + (1 - BEND**2)
            return low + d * (v + jnp.sqrt(v**2 + 4 * BEND**2)) / 2
        low, high = (jnp.asarray(x, first.dtype) for x in (self.low, self.high))
        start = jax.scipy.special.logit((first - low) / (high - low))
        return between(low, high, jax.nn.sigmoid(start + u))

    def moved(self, u: Array) -> "Parameters":
        """The same parameters, that are 0 at the numbers that `u` gives here."""
        return eqx.tree_at(lambda p: p.first, self, self.values(u))

    def means(self, values: tuple[Array, ...]) -> Array:
        """Means of tied numbers, one per parameter."""
        return _means(values, self.ties, self.labels, self.shape)

    def prior(self, u: Array) -> Array | None:
        """How far the means are from the first guess, in standard deviations."""
        if self.sigma is None:
            return None
        return (self.means(self.values(u)) - self.guess) / self.sigma


def _means(
    values: tuple[Array, ...], ties: tuple[int, ...], labels: Array | None, shape: tuple[int, ...]
) -> Array:
    if labels is None:
        mean = lambda x: jnp.mean(x, axis=ties, keepdims=True)
    else:
        add = lambda x: jnp.zeros(shape, x.dtype).at[labels].add(x)
        mean = lambda x: add(x) / add(jnp.ones_like(x))
    return sum(map(mean, values[1:]), mean(values[0])) / len(values)


def parameters_of(
    unknowns: tuple[Unknown, ...], crossbar: Crossbar, dtype: Any
) -> tuple[Crossbar, tuple[Parameters, ...]]:
    """A crossbar in which every unknown number has an entry of its own, and its parameters.

    Raises `TypeError` for what is no array of the crossbar, `ValueError` for a number that two
    unknowns pick, for first guesses outside of their bounds and for a resistance that starts at 0
    or inf."""
    if not unknowns:
        raise ValueError(
            "free is empty; name what is unknown, such as xb.Unknown(lambda c: c.cell.g)."
        )
    paths, structure = tree_flatten_with_path(crossbar)
    names = [keystr(path).lstrip(".") for path, _ in paths]
    leaves = [x for _, x in paths]
    numbered = jax.tree.unflatten(structure, range(len(leaves)))
    found, taken = [], {}
    for unknown in unknowns:
        picked = unknown.of(numbered)
        places = tuple(picked) if isinstance(picked, (tuple, list)) else (picked,)
        for place in places:
            if type(place) is not int:
                raise TypeError(
                    f"an Unknown picks {place!r}; it must pick arrays of the crossbar, such as"
                    f" {', '.join(names[:4])}."
                )
            if place in taken:
                raise ValueError(f"{names[place]} is picked twice; pick it once.")
            taken[place] = True
            leaves[place] = jnp.broadcast_to(
                jnp.asarray(leaves[place], dtype), _shape(names[place], crossbar)
            )
        found.append(_parameters(unknown, places, names, leaves))
    return jax.tree.unflatten(structure, leaves), tuple(found)


def _shape(name: str, crossbar: Crossbar) -> tuple[int, ...]:
    """Shape of a number of the crossbar with an entry per cell or line."""
    part, _, field = name.partition(".")
    if part in ("cell", "wires") or field == "r_strap":
        return crossbar.shape
    return (crossbar.lines if part == "drive" else crossbar.shape[1],)


def _parameters(unknown: Unknown, places, names, leaves) -> Parameters:
    first = tuple(leaves[place] for place in places)
    its = tuple(names[place] for place in places)
    low, high = unknown.low, unknown.high
    if low is None and high is not None:
        raise ValueError(f"{its[0]} has the bound high = {high} alone; give low too.")
    for name, x in zip(its, first):
        x = np.asarray(x)
        if not np.all(np.isfinite(x)):
            raise ValueError(f"{name} starts at inf or NaN; give a finite first guess.")
        field = name.rpartition(".")[-1]
        unit = "ohm" if field.startswith("r_") else "S" if field == "g" else None
        if unit and not np.all(x > 0):
            raise ValueError(
                f"{name} starts at {np.min(x):g} {unit}; give a first guess above 0, which a factor"
                " can change."
            )
        if low is not None and not np.all(x > low) or high is not None and not np.all(x < high):
            raise ValueError(
                f"{name} starts between {np.min(x):g} and {np.max(x):g}; it must start inside of"
                f" its bounds, {low:g} to {'inf' if high is None else f'{high:g}'}."
            )
    if low is None and all(np.all(np.asarray(x) > 0) for x in first):
        low = 0.0
    ties, labels, shape = _tied(unknown, its, first)
    sigma = unknown.sigma
    if sigma is not None:
        sigma = jnp.broadcast_to(jnp.asarray(sigma, first[0].dtype), shape)
    sizes = tuple(x - (0.0 if low is None else low) for x in first)
    guess = _means(first, ties, labels, shape)
    return Parameters(
        its, tuple(places), ties, labels, shape, low, high, first, sizes, guess, sigma
    )


def _tied(unknown: Unknown, names: tuple[str, ...], first: tuple[Array, ...]):
    """Axes along which one parameter holds, the parameter of each entry, shape of all."""
    if not isinstance(unknown.per, str):
        labels = np.asarray(unknown.per)
        for name, x in zip(names, first):
            if x.shape != labels.shape:
                raise ValueError(
                    f"per has shape {labels.shape}, but {name} has {x.shape}: number all of its"
                    " entries."
                )
        return (), jnp.asarray(labels), (int(labels.max()) + 1,)
    axes = first[0].ndim
    ties = TIES[unknown.per] if axes == 2 else ((0,) if unknown.per == "array" else ())
    if axes == 1 and unknown.per in ("row", "col"):
        raise ValueError(
            f"{names[0]} has one entry per line; per must be 'each' or 'array', not"
            f" {unknown.per!r}."
        )
    shapes = {tuple(1 if k in ties else n for k, n in enumerate(x.shape)) for x in first}
    if len(shapes) > 1:
        raise ValueError(
            f"{' and '.join(names)} have {' and '.join(map(str, sorted(shapes)))} parameters; tied"
            " arrays need as many, for example with per='array'."
        )
    return ties, None, shapes.pop()


def with_values(
    crossbar: Crossbar, parameters: tuple[Parameters, ...], u: tuple[Array, ...]
) -> Crossbar:
    """The crossbar at parameters `u`."""
    leaves, structure = jax.tree.flatten(crossbar)
    for these, x in zip(parameters, u):
        for place, value in zip(these.places, these.values(x)):
            leaves[place] = value
    return jax.tree.unflatten(structure, leaves)
