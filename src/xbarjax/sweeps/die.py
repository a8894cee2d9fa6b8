"""The measurement of a die: a pure function of settings and a key."""

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
    """The measurement of a die, a function `(settings, key) -> metrics`: build the designed array,
    perturb it, read it, and evaluate metrics of the solution.

    **Arguments:**

    - `build`: `settings -> Crossbar`, the design; `settings` is a dict of scalars.
    - `v_in`: word-line voltages of the read, `(rows,)` [V], the same for every die.
    - `metrics`: by name, `(solution, design) -> scalar`: functions of the solution of the perturbed
        array and of the designed array.
    - `vary`: `settings -> perturbation` of a `Crossbar`; by default nothing varies.
    - `solver`: as in `read`.

    The returned dict also holds the `status` of the solution. Metrics of a failed read are NaN.

    Raises `ValueError` if `metrics` is empty or contains the name `status`.
    """

    build: Callable[[Settings], Crossbar]
    v_in: PerRow
    metrics: Mapping[str, Metric]
    vary: Callable[[Settings], AbstractPerturbation] | None = None
    solver: Solver = AutoLadder()

    def __post_init__(self):
        if not self.metrics:
            raise ValueError("metrics is empty; give at least one metric.")
        if "status" in self.metrics:
            raise ValueError("metrics has a 'status', the name of the solver's status; rename it.")

    def crossbar(self, settings: Settings, key: PRNGKeyArray) -> Crossbar:
        """The perturbed array of one die, for example of a bad one that a sweep found."""
        design = self.build(settings)
        return design if self.vary is None else self.vary(settings)(design, key)

    def draw(self, settings: Settings, key: PRNGKeyArray) -> Any:
        """The random numbers of one die, a pytree of standard normal ones."""
        return () if self.vary is None else self.vary(settings).draw(self.build(settings), key)

    def measure(self, settings: Settings, drawn: Any) -> Metrics:
        """The metrics of the die with the random numbers `drawn` (from `draw`)."""
        design = self.build(settings)
        die = design if self.vary is None else self.vary(settings).apply(design, drawn)
        solution = read(die, self.v_in, solver=self.solver)
        fine = usable(solution.status)
        values = {name: jnp.asarray(f(solution, design)) for name, f in self.metrics.items()}
        values = {name: jnp.where(fine, x, jnp.nan) for name, x in values.items()}
        return values | {"status": solution.status}

    def __call__(self, settings: Settings, key: PRNGKeyArray) -> Metrics:
        return self.measure(settings, self.draw(settings, key))
