"""The residuals of reads against a crossbar with unknown numbers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..crossbar import Crossbar
from ..solvers import Solver
from .measured import Measured
from .predict import predicted
from .terminal_admittance import Few
from .unknown import Parameters, with_values

FEW = 16  # parameters of an unknown whose derivatives are made once

U = tuple[Array, ...]  # the parameters of every unknown


class Problem(eqx.Module):
    """Reads, a crossbar at its first guess, and what is unknown.

    The residuals are those of the reads, `(predicted - measured) / sigma`, and of what was known
    before. Beyond `robust` standard deviations a residual `r` of a read counts as

        r sqrt(2 / (1 + sqrt(1 + (r / robust)^2))),

    whose square grows as `|r|` (P. Charbonnier et al., IEEE Trans. Image Process. 6, 298, 1997,
    doi:10.1109/83.551699).
    """

    crossbar: Crossbar
    parameters: tuple[Parameters, ...]
    measured: tuple[Measured, ...]
    robust: Float[Array, ""]
    solver: Solver
    ends: tuple[tuple[str, ...], ...] = eqx.field(static=True)  # of each of `measured`

    @property
    def start(self) -> U:
        return tuple(p.start for p in self.parameters)

    def at(self, u: U) -> Crossbar:
        """The crossbar at parameters `u`."""
        return with_values(self.crossbar, self.parameters, u)

    def moved(self, u: U) -> "Problem":
        """The same problem, whose parameters are 0 where they are `u` here."""
        parameters = tuple(p.moved(x) for p, x in zip(self.parameters, u))
        return eqx.tree_at(lambda p: p.parameters, self, parameters)

    def off(self, u: U) -> list[dict[str, Array]]:
        """Residuals of the reads in standard deviations, 0 where nothing was measured."""
        single = [p.start.size <= FEW for p in self.parameters]
        part = lambda xs, wanted: tuple(x for x, s in zip(xs, single) if s == wanted)
        crossbar = with_values(self.crossbar, part(self.parameters, False), part(u, False))
        few = Few(part(u, True), _Put(part(self.parameters, True)))
        every = []
        for measured, ends in zip(self.measured, self.ends):
            seen, _ = predicted(crossbar, measured, self.solver, ends, few)
            of = {}
            for name, x in measured.sensed.items():
                known = jnp.isfinite(x)
                y = jnp.where(known, x, 0).astype(seen[name].dtype)
                sigma = measured.sigma[name]  # pyright: ignore[reportOptionalSubscript]
                of[name] = jnp.where(known, (seen[name] - y) / sigma.astype(y.dtype), 0)
            every.append(of)
        return every

    def bent(self, r: Array) -> Array:
        """A residual as it counts."""
        return r * jnp.sqrt(2 / (1 + jnp.sqrt(1 + (r / self.robust) ** 2)))

    def residuals(self, u: U) -> Any:
        """All residuals whose squares are summed."""
        prior = [p.prior(x) for p, x in zip(self.parameters, u)]
        return jax.tree.map(self.bent, self.off(u)), prior


class _Put(eqx.Module):
    """Puts the values of few parameters into a crossbar."""

    parameters: tuple[Parameters, ...]

    def __call__(self, crossbar: Crossbar, u: U) -> Crossbar:
        return with_values(crossbar, self.parameters, u)


class Scale(eqx.Module):
    """Coordinates `z` of the parameters, `u = at + unit P z`, in which the squares of the residuals
    curve about alike in all directions.

    `P` changes the part of `z` in the span of a few orthonormal vectors: `P = 1 + V^T (S - 1) V`.
    """

    at: U
    unit: U
    span: Float[Array, "few parameters"]  # V
    stretch: Float[Array, "few few"]  # S - 1

    def u(self, z: Float[Array, " parameters"]) -> U:
        """Parameters at coordinates `z`."""
        flat, unravel = ravel_pytree(self.at)
        return unravel(flat + self.steps(z))

    def stretched(self, z: Float[Array, " parameters"]) -> Float[Array, " parameters"]:
        """`P z`; `P` is symmetric."""
        return z + (self.stretch @ (self.span @ z)) @ self.span

    def steps(self, z: Float[Array, " parameters"]) -> Float[Array, " parameters"]:
        """Change of the flat parameters for a change of `z`."""
        return ravel_pytree(self.unit)[0] * self.stretched(z)

    @staticmethod
    def plain(at: U, unit: U) -> "Scale":
        """Coordinates that differ from the parameters by their units alone."""
        flat, _ = ravel_pytree(at)
        return Scale(at, unit, jnp.zeros((0, flat.size), flat.dtype), jnp.zeros((0, 0), flat.dtype))


class Scaled(eqx.Module):
    """The residuals as a flat function of coordinates."""

    problem: Problem
    scale: Scale

    def __call__(self, z: Float[Array, " parameters"]) -> Float[Array, " residuals"]:
        return ravel_pytree(self.problem.residuals(self.scale.u(z)))[0]
