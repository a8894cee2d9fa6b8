"""Measurement of a die: a pure function of settings and a key."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .._types import PerRow
from ..analyses.read import read
from ..crossbar import Crossbar
from ..kirchhoff.solution import Solution, usable
from ..solvers import AutoLadder, Solver
from ..variability import AbstractPerturbation

Settings: TypeAlias = Mapping[str, Array]
Metrics: TypeAlias = dict[str, Array]
Metric: TypeAlias = Callable[[Solution, Crossbar], Array]


@dataclasses.dataclass(frozen=True)
class Die:
    """A die, `(settings, key) -> metrics`: build the array as designed, let fabrication happen to
    it, read it, and measure.

    **Arguments:**

    - `build`: `settings -> Crossbar`, the design; `settings` is a dict of scalars.
    - `v_in`: what every die is read with, `(rows,)` [V].
    - `metrics`: by name, `(solution, design) -> scalar`: any function of the solution of this die's
        read and of the array as it was designed.
    - `vary`: `settings -> perturbation` of a `Crossbar`; nothing by default.
    - `solver`: as in `read`.

    The metrics come with the solution's `status`; where that says that the numbers cannot be used,
    they are NaN.

    Raises `ValueError` where `metrics` is empty or names a `status`.
    """

    build: Callable[[Settings], Crossbar]
    v_in: PerRow
    metrics: Mapping[str, Metric]
    vary: Callable[[Settings], AbstractPerturbation] | None = None
    solver: Solver = AutoLadder()

    def __post_init__(self):
        if not self.metrics:
            raise ValueError("metrics is empty; name at least one thing to measure.")
        if "status" in self.metrics:
            raise ValueError("metrics has a 'status'; that name is taken by the solver's.")

    def crossbar(self, settings: Settings, key: PRNGKeyArray) -> Crossbar:
        """The array of one die, to be looked at: a sweep names dies by their key."""
        design = self.build(settings)
        return design if self.vary is None else self.vary(settings)(design, key)

    def draw(self, settings: Settings, key: PRNGKeyArray) -> Any:
        """The standard normal numbers of one die, a pytree."""
        return () if self.vary is None else self.vary(settings).draw(self.build(settings), key)

    def measure(self, settings: Settings, drawn: Any) -> Metrics:
        """The metrics of the die for which `drawn` was drawn."""
        design = self.build(settings)
        die = design if self.vary is None else self.vary(settings).apply(design, drawn)
        solution = read(die, self.v_in, solver=self.solver)
        fine = usable(solution.status)
        values = {name: jnp.asarray(f(solution, design)) for name, f in self.metrics.items()}
        values = {name: jnp.where(fine, x, jnp.nan) for name, x in values.items()}
        return values | {"status": solution.status}

    def __call__(self, settings: Settings, key: PRNGKeyArray) -> Metrics:
        return self.measure(settings, self.draw(settings, key))
