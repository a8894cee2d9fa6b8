"""The plan of a sweep, as a value: axes, dies, seed and what is measured."""

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._types import as_index
from .die import Die, Metrics, Settings


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Dies at every point of a grid of settings.

    Die `n` has the key `fold_in(key(seed), n)` at every setting, so that settings are compared on
    the same dies (common random numbers), and any die can be made again alone.

    **Arguments:**

    - `die`: `(settings, key) -> {name: scalar}`, pure: a `Die`, or any function.
    - `axes`: by name, the values of each setting; every combination is computed. `{}` for one
        design alone.
    - `dies`: how many at each setting.
    - `seed`: of the keys.
    - `limits`: by metric, `(low, high)`: what a good die stays within; inf for no limit.
    - `units`: of axes and metrics, by name, kept with the results.
    - `batch`: dies that one device computes at a time, and that lie together in the store. Results
        do not depend on how many devices there are, but their last bits may depend on this.
    - `about`: what this is, in words, kept with the results.

    Raises `ValueError` for numbers that are not whole, axes without values, with one twice or of a
    name that is taken, and limits that are none.
    """

    die: Callable[[Settings, PRNGKeyArray], Metrics]
    axes: Mapping[str, Sequence[float]]
    dies: int
    seed: int = 0
    limits: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)
    batch: int = 1024
    about: str = ""

    def __post_init__(self):
        for name, least in (("dies", 1), ("batch", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
                raise ValueError(
                    f"{name} is {value!r}; it must be a whole number, {least} or more."
                )
            object.__setattr__(self, name, operator.index(value))
        for name, values in self.axes.items():
            require_name(name, "axes")
            if name in ("die", "status"):
                raise ValueError(f"axes has a {name!r}; that name is taken.")
            values = np.asarray(values, float)
            if values.ndim != 1 or not values.size:
                raise ValueError(f"axes[{name!r}] has no list of values; give at least one number.")
            if not np.isfinite(values).all() or np.unique(values).size != values.size:
                raise ValueError(
                    f"axes[{name!r}] has a value that is not finite, or one twice; give each once."
                )
        for name, limit in self.limits.items():
            if len(limit) != 2 or not limit[0] <= limit[1]:
                raise ValueError(f"limits[{name!r}] is {limit}; give (low, high), low not above.")
        object.__setattr__(self, "batch", min(self.batch, self.dies))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of every metric: one entry for each value of the axes, and for each die."""
        return (*map(len, self.axes.values()), self.dies)

    @property
    def batches(self) -> int:
        """Number of batches at one setting; the last may be partly filled."""
        return math.ceil(self.dies / self.batch)

    @property
    def points(self) -> int:
        """Number of settings."""
        return math.prod(map(len, self.axes.values()))

    def settings(self, point: int) -> dict[str, Array]:
        """The settings at a point of the grid; the last axis runs fastest."""
        at = np.unravel_index(point, self.shape[:-1]) if self.axes else ()
        axes = zip(self.axes.items(), at, strict=True)
        return {name: jnp.asarray(float(values[int(k)])) for (name, values), k in axes}

    def key(self, die: Any) -> PRNGKeyArray:
        """Key of one die, at every setting. Raises `IndexError` for one that is not among `dies`,
        where it is known; negative ones count from the end."""
        die = die if isinstance(die, jax.core.Tracer) else as_index(die, self.dies, "die")
        return jax.random.fold_in(jax.random.key(self.seed), die)

    def check(self) -> None:
        """Builds designs and their perturbations from plain numbers, for every value of every axis
        with the others at their first, so that those that cannot be raise what they would alone:
        under tracing nothing can."""
        if not isinstance(self.die, Die):
            return
        lengths = self.shape[:-1]
        for axis in range(max(len(lengths), 1)):
            for k in range(lengths[axis] if lengths else 1):
                at = [k if a == axis else 0 for a in range(len(lengths))]
                point = int(np.ravel_multi_index(at, lengths)) if lengths else 0
                self.die.crossbar(self.settings(point), self.key(0))


def require_name(name: str, where: str) -> None:
    """Raises `ValueError` for what cannot be the name of a variable in a store."""
    if not name or "/" in name or set(name) <= {"."} or name.startswith("__"):
        raise ValueError(
            f"{where} has the name {name!r}; leave out slashes and leading underscores."
        )
