"""Target of a compensation, and how well arrays reach it."""

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
    """A compensation problem: `weights` on the arrays that `build` makes of conductances."""

    weights: PerCell
    k: Scalar  # [S per unit of weight]
    mapping: AbstractMapping
    build: Callable[[PerCell], Crossbar]
    solver: lx.AbstractLinearSolver = eqx.field(static=True)

    def transfers(self, g: Stack) -> Stack:
        """Effective matrix [S] of every physical array."""
        one = lambda g: transfer(self.build(g), solver=self.solver)
        if is_concrete(g):  # one compilation serves every array, step and report
            return jnp.stack([one(array) for array in g])
        return lax.map(one, g)

    def products(self, g: Stack, gain: PerCol) -> PerCell:
        """The weights that the arrays compute with."""
        return _products(self.mapping, self.k, self.transfers(g), gain)

    @property
    def wanted(self) -> PerCell:
        """Target of `combine` where every gain is 1 [S]."""
        return self.mapping.zero + self.k * self.weights


class Report(eqx.Module):
    """Accuracy of the weights that arrays compute with.

    **Attributes:** `error` `(cols,)`: rms error of each column's weights over the rms of all
    weights; `rms`: that of all; `worst`: largest error over the largest weight; `used` `(cols,)`:
    the largest part of the conductance range each column takes; `saturated`: cells at a bound.
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
    """The parts of a report, for the effective matrices `found` [S]."""
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
