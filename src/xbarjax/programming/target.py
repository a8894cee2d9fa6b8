"""Target of a compensation, and the accuracy with which arrays reach it."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool

from .._types import PerCell, PerCol, Scalar, is_concrete
from ..analyses.transfer import transfer
from ..crossbar import Crossbar
from .mapping import AbstractMapping, Stack


class Problem(eqx.Module):
    """Compensation problem: `weights` on the arrays that `build` makes of conductances."""

    weights: PerCell
    k: Scalar  # [S per unit of weight]
    mapping: AbstractMapping
    build: Callable[[PerCell], Crossbar]
    solver: lx.AbstractLinearSolver = eqx.field(static=True)

    def transfers(self, g: Stack) -> Stack:
        """Effective matrix [S] of every physical array, `(arrays, rows, physical)`."""
        one = lambda g: transfer(self.build(g), solver=self.solver)
        if is_concrete(g):  # one compilation serves every array, step and report
            return jnp.stack([one(array) for array in g])
        return lax.map(one, g)

    def products(self, g: Stack, gain: PerCol) -> PerCell:
        """Weights that the arrays compute with, `(rows, cols)`."""
        return _products(self.mapping, self.k, self.transfers(g), gain)

    @property
    def wanted(self) -> PerCell:
        """Target [S] of `combine` at gains of 1."""
        return self.mapping.zero + self.k * self.weights


class Report(eqx.Module):
    """Accuracy of the weights that arrays compute with.

    **Attributes:**

    - `error`: rms error of each column's weights, relative to the rms of all weights, `(cols,)`.
    - `rms`: rms error of all weights, relative to their rms.
    - `worst`: largest error, relative to the largest weight.
    - `used`: largest fraction of the conductance range that each column takes, `(cols,)`.
    - `saturated`: mask of cells at a bound.
    """

    error: PerCol
    rms: Scalar
    worst: Scalar
    used: PerCol
    saturated: Bool[Array, "arrays rows physical"]

    @classmethod
    def of(cls, problem: Problem, g: Stack, gain: PerCol) -> "Report":
        found = problem.transfers(g)
        return cls(*_report(problem.mapping, problem.weights, problem.k, g, gain, found))


@eqx.filter_jit
def _report(mapping: AbstractMapping, weights: PerCell, k: Scalar, g: Stack, gain: PerCol, found):
    """Fields of a `Report` for the effective matrices `found` [S]."""
    off = _products(mapping, k, found, gain) - weights
    size = jnp.sqrt(jnp.mean(weights**2))
    return (
        jnp.sqrt(jnp.mean(off**2, axis=0)) / size,
        jnp.sqrt(jnp.mean(off**2)) / size,
        jnp.max(jnp.abs(off)) / jnp.max(jnp.abs(weights)),
        mapping.used(g),
        mapping.saturated(g),
    )


@eqx.filter_jit
def _products(mapping: AbstractMapping, k: Scalar, found: Stack, gain: PerCol) -> PerCell:
    return (mapping.combine(found) / gain[None] - mapping.zero) / k
