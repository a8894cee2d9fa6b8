"""The plan of a sweep: axes, number of dies, seed, and the measurement of a die."""

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
    """A Monte Carlo sweep: the same number of dies at every point of a grid of settings.

    Die `n` has the key `fold_in(key(seed), n)` at every setting. Settings are therefore compared on
    the same dies (common random numbers), and any single die can be reproduced.

    **Arguments:**

    - `die`: `(settings, key) -> {name: scalar}`, a `Die` or any pure function.
    - `axes`: values of each setting by name; every combination is computed. `{}` is a single
        design.
    - `dies`: number of dies per setting.
    - `seed`: of the keys.
    - `limits`: `(low, high)` by metric; a good die stays within all of them. Use inf for no limit.
    - `units`: of axes and metrics by name, stored with the results.
    - `batch`: number of dies per call of a device and per chunk of the store. Results do not depend
        on the number of devices; their last bits may depend on `batch`.
    - `about`: a description, stored with the results.

    Raises `ValueError` for

    - `dies`, `batch` or `seed` that is not a whole number in range;
    - an axis without values, with a value that is repeated or not finite, or with a reserved name;
    - limits that are not `(low, high)` with `low <= high`.
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
                raise ValueError(f"axes has a {name!r}, a name of the results; choose another.")
            values = np.asarray(values, float)
            if values.ndim != 1 or not values.size:
                raise ValueError(
                    f"axes[{name!r}] is not a list of numbers; give at least one number."
                )
            if not np.isfinite(values).all() or np.unique(values).size != values.size:
                raise ValueError(
                    f"axes[{name!r}] has a value that is not finite, or one twice; give each once."
                )
        for name, limit in self.limits.items():
            if len(limit) != 2 or not limit[0] <= limit[1]:
                raise ValueError(f"limits[{name!r}] is {limit}; give (low, high), low <= high.")
        object.__setattr__(self, "batch", min(self.batch, self.dies))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of every metric in the results: the lengths of all axes, then the number of
        dies."""
        return (*map(len, self.axes.values()), self.dies)

    @property
    def batches(self) -> int:
        """Number of batches per setting; the last one may be partly filled."""
        return math.ceil(self.dies / self.batch)

    @property
    def points(self) -> int:
        """Number of points of the grid of settings."""
        return math.prod(map(len, self.axes.values()))

    def settings(self, point: int) -> dict[str, Array]:
        """The settings at a point of the grid; the last axis runs fastest."""
        at = np.unravel_index(point, self.shape[:-1]) if self.axes else ()
        axes = zip(self.axes.items(), at, strict=True)
        return {name: jnp.asarray(float(values[int(k)])) for (name, values), k in axes}

    def key(self, die: Any) -> PRNGKeyArray:
        """The key of die number `die`, the same at every setting. Negative numbers count from the
        end. Raises `IndexError` for a concrete number out of range."""
        die = die if isinstance(die, jax.core.Tracer) else as_index(die, self.dies, "die")
        return jax.random.fold_in(jax.random.key(self.seed), die)

    def check(self) -> None:
        """Builds the design and its perturbation with concrete numbers at every value of every
        axis, with the other axes at their first values. Invalid values raise their errors here,
        since traced values raise none in the sweep."""
        if not isinstance(self.die, Die):
            return
        lengths = self.shape[:-1]
        for axis in range(max(len(lengths), 1)):
            for k in range(lengths[axis] if lengths else 1):
                at = [k if a == axis else 0 for a in range(len(lengths))]
                point = int(np.ravel_multi_index(at, lengths)) if lengths else 0
                self.die.crossbar(self.settings(point), self.key(0))


def require_name(name: str, where: str) -> None:
    """Raises `ValueError` for a name that a variable in a Zarr store cannot have."""
    if not name or "/" in name or set(name) <= {"."} or name.startswith("__"):
        raise ValueError(
            f"{where} has the name {name!r}; give a name without slashes or a leading __."
        )
