"""Target of a compensation, and the accuracy with which arrays or loops reach it."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jaxtyping import Array, Bool

from .._types import PerCell, PerCol, Scalar, described, is_concrete
from ..analyses.dc import finished
from ..analyses.response import response_of
from ..analyses.transfer import transfer
from ..crossbar import Crossbar
from ..elements.circuit import Circuit
from ..kirchhoff.solution import Status
from .mapping import AbstractMapping, Stack


class AbstractHardware(eqx.Module):
    """What computes with the conductances of a `Problem`."""

    @abc.abstractmethod
    def effective(
        self, mapping: AbstractMapping, g: Stack, solver: lx.AbstractLinearSolver
    ) -> tuple[PerCell, Stack]:
        """The matrix [S] that it computes with, and by how much each cell counts in it.

        The matrix is `(rows, cols)`, in logical columns. How much a cell counts is an estimate of
        the change of its entry with its conductance, above 0 and at most 1, `(arrays, rows,
        physical)`."""


class OpenArrays(AbstractHardware):
    """Arrays that multiply: their effective matrices, combined.

    **Arguments:** `build`: function from conductances `(rows, physical)` to an array.
    """

    build: Callable[[PerCell], Crossbar]

    def effective(
        self, mapping: AbstractMapping, g: Stack, solver: lx.AbstractLinearSolver
    ) -> tuple[PerCell, Stack]:
        one = lambda g: transfer(self.build(g), solver=solver)
        if is_concrete(g):  # one compilation serves every array, step and report
            return _combined(mapping, g, jnp.stack([one(array) for array in g]))
        return _combined(mapping, g, lax.map(one, g))


class InverseLoop(AbstractHardware):
    """A loop that solves linear systems, in place of arrays that multiply.

    Its answer to source values `i` is `x = -M^-T i`. The matrix `M`, found from the loop's own
    response `dx/di`, includes wires, inverters, and the finite gain and output resistance of
    amplifiers. Compensation makes its columns proportional to those of the matrix that was meant.
    Column gains apply to the inputs: with `gain * i` [A], the answer is `-(zero + k weights)^-T i`.
    `k` and `zero` are those of the mapping; a pair has `zero = 0`. (Open arrays are compensated
    with the same steps.)

    Stability is no part of it: `xb.solve` of the compensated loop says whether it is stable.

    **Arguments:**

    - `build`: function from conductances `(arrays, n, n)` to a circuit, such as
        `lambda g: xb.systems.loops.inverse(g, jnp.zeros(n), wires=wires, amplifier=amplifier)`,
        with inverters or balanced (`r_inverter=None`).
    - `source`: the element that takes `i`; `bus`: the bus of the answer.
    """

    build: Callable[[Stack], Circuit]
    source: str = eqx.field(static=True, default="source")
    bus: str = eqx.field(static=True, default="x")

    def effective(
        self, mapping: AbstractMapping, g: Stack, solver: lx.AbstractLinearSolver
    ) -> tuple[PerCell, Stack]:
        loop = self.build(g)
        if not isinstance(loop, Circuit):
            raise TypeError(f"build of the loop returns {described(loop)}; return an xb.Circuit.")
        found = response_of(loop, self.source, self.bus, solver)
        seen = finished(loop, solver, found.gain, found.status & ~int(Status.UNSTABLE))
        return _inverted(seen), jnp.ones_like(g)


@eqx.filter_jit
def _combined(mapping: AbstractMapping, g: Stack, transfers: Stack) -> tuple[PerCell, Stack]:
    # sneak paths can carry more current than a cell that is nearly off
    slope = jnp.clip(jnp.where(g > 0, transfers / jnp.where(g > 0, g, 1), 1), 1e-3, 1)
    return mapping.combine(transfers), slope


@eqx.filter_jit
def _inverted(response: PerCell) -> PerCell:
    return -jnp.linalg.inv(response).T


class Problem(eqx.Module):
    """Compensation problem: `weights` on hardware with conductances."""

    weights: PerCell
    k: Scalar  # [S per unit of weight]
    mapping: AbstractMapping
    hardware: AbstractHardware
    solver: lx.AbstractLinearSolver = eqx.field(static=True)

    def effective(self, g: Stack) -> tuple[PerCell, Stack]:
        """The matrix [S] that the hardware computes with, and by how much each cell counts."""
        return self.hardware.effective(self.mapping, g, self.solver)

    def products(self, g: Stack, gain: PerCol) -> PerCell:
        """Weights that the hardware computes with, `(rows, cols)`."""
        return _products(self.mapping, self.k, self.effective(g)[0], gain)

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
        found, _ = problem.effective(g)
        return cls(*_report(problem.mapping, problem.weights, problem.k, g, gain, found))


@eqx.filter_jit
def _report(mapping: AbstractMapping, weights: PerCell, k: Scalar, g: Stack, gain: PerCol, found):
    """Fields of a `Report` for the effective matrix `found` [S]."""
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
def _products(mapping: AbstractMapping, k: Scalar, found: PerCell, gain: PerCol) -> PerCell:
    return (found / gain[None] - mapping.zero) / k
