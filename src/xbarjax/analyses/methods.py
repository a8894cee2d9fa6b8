"""How the voltages of a circuit and the currents of its arrays are found together."""

import abc
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from ..kirchhoff.terminals import Unknowns
from .admittance import AbstractAnswer, Resting
from .krylov import conjugate_residuals, norm
from .line_by_line import LineByLine
from .reduction import Factors

if TYPE_CHECKING:  # checkers do not know the other one
    from typing import ClassVar as AbstractClassVar
else:
    from equinox import AbstractClassVar

NEWTON_STEPS = 20  # of `NewtonKrylov`, from a point near the solution

Law = Callable[[Unknowns], Unknowns]


class AbstractMethod(eqx.Module):
    """How the voltages of a circuit and the currents of its arrays are found together."""

    is_exact: AbstractClassVar[bool]  # whether its factors are those of the Jacobian

    @abc.abstractmethod
    def answers(self, arrays: Mapping[str, Resting]) -> Mapping[str, AbstractAnswer]:
        """The arrays as the method sees them. Their currents are exact."""

    @abc.abstractmethod
    def corrected(
        self, law: Law, by: Factors, factors: Callable[[Unknowns], Factors], z: Unknowns
    ) -> tuple[Unknowns, Int[Array, ""], Bool[Array, ""]]:
        """Unknowns at a zero of the law, from a point near it with its factors `by`. With it the
        number of further linearisations, and whether they converged."""

    @abc.abstractmethod
    def solve(self, law: Law, factors: Factors, z: Unknowns, b: Unknowns) -> Unknowns:
        """`x` with `J x = b`, where `J` is the derivative of the law at `z`. The derivative of `x`
        is that of the solution."""


class Admittance(AbstractMethod):
    """Every array by its exact admittance.

    It takes one solve of an array per terminal, in every step of Newton's method if its cells are
    nonlinear. A batch that shares an array shares its admittance."""

    is_exact: ClassVar[bool] = True

    def answers(self, arrays: Mapping[str, Resting]) -> Mapping[str, AbstractAnswer]:
        return arrays

    def corrected(
        self, law: Law, by: Factors, factors: Callable[[Unknowns], Factors], z: Unknowns
    ) -> tuple[Unknowns, Int[Array, ""], Bool[Array, ""]]:
        # once more with reads in place of admittances, which takes what those have lost in rounding
        return z - by.solve(law(z)), jnp.asarray(0), jnp.asarray(True)

    def solve(self, law: Law, factors: Factors, z: Unknowns, b: Unknowns) -> Unknowns:
        return factors.solve(b)


class NewtonKrylov(AbstractMethod):
    """Newton's method whose linear systems are solved by reads of the arrays.

    A Krylov method takes one read of every array per step. It is preconditioned by admittances for
    which lines of one family do not see each other. A few steps are enough where wires lose less
    than half of the voltage: arrays of many terminals are solved much faster than by their
    `Admittance`. Every member of a batch takes its own reads. (D. Knoll, D. Keyes, J. Comput. Phys.
    193, 357 (2004), doi:10.1016/j.jcp.2003.08.010.)

    **Attributes:**

    - `rtol`: error of the unknowns relative to their size; by default 1e-13 in float64 and 1e-6
        in float32.
    - `most`: largest number of steps per linear system. If they leave Kirchhoff's law violated,
        the status says so; a derivative that they do not reach is NaN.
    """

    rtol: float | None = eqx.field(static=True, default=None)
    most: int = eqx.field(static=True, default=64)
    is_exact: ClassVar[bool] = False

    def __check_init__(self):
        if self.rtol is not None and not self.rtol > 0:
            raise ValueError(f"rtol is {self.rtol}; it must be above 0, or None.")
        if self.most < 1:
            raise ValueError(f"most is {self.most}; it must be at least 1 step.")

    def answers(self, arrays: Mapping[str, Resting]) -> Mapping[str, AbstractAnswer]:
        return {name: LineByLine(at.array, at.solver) for name, at in arrays.items()}

    def corrected(
        self, law: Law, by: Factors, factors: Callable[[Unknowns], Factors], z: Unknowns
    ) -> tuple[Unknowns, Int[Array, ""], Bool[Array, ""]]:
        rtol, scale = self._rtol(z), by.reduction.cols

        def step(z: Unknowns, by: Factors) -> tuple[Unknowns, Array]:
            off, product = jax.linearize(law, z)
            enough = rtol * norm(z / scale)
            dx, _ = self._scaled(by, product, -off, enough)
            # the next step would be about the square of this one
            return z + scale * dx, norm(dx) <= 0.01 * rtol**0.5 * norm(z / scale)

        if by.small is None:  # a linear circuit
            return step(z, by)[0], jnp.asarray(0), jnp.asarray(True)

        def again(at):
            z, steps, _ = at
            z, done = step(z, factors(z))
            return z, steps + 1, done

        more = lambda at: ~at[2] & (at[1] < NEWTON_STEPS)
        return lax.while_loop(more, again, (z, jnp.asarray(0), jnp.asarray(False)))

    def solve(self, law: Law, factors: Factors, z: Unknowns, b: Unknowns) -> Unknowns:
        scale = lax.stop_gradient(factors.reduction.cols)
        rtol = self._rtol(z)

        def known(x: Unknowns, left: Array, size: Array) -> Unknowns:
            # no status speaks for a derivative
            return jnp.where(left <= rtol**0.5 * size, x, jnp.nan)

        def forward(product: Law, b: Unknowns) -> Unknowns:
            size = norm(factors.apply(b[:, None])[:, 0] / scale)
            return scale * known(*self._scaled(factors, product, b, rtol * size), size)

        def backward(product: Law, b: Unknowns) -> Unknowns:
            # the transpose of what `_scaled` solves
            near = lambda w: factors.apply_transposed((w / scale)[:, None])[:, 0]
            whole = lambda w: scale * product(near(w))
            first, size = scale * b, norm(scale * b)
            w, left = conjugate_residuals(whole, first, rtol * size, self.most)
            return near(known(w, left, size))

        _, product = jax.linearize(law, z)
        return lax.custom_linear_solve(product, b, forward, backward)

    def _scaled(
        self, factors: Factors, product: Law, b: Unknowns, enough: Array
    ) -> tuple[Unknowns, Array]:
        """`x` with `J x = b`, over the scales of the unknowns, and what is left of this system."""
        scale = factors.reduction.cols
        near = lambda b: factors.apply(b[:, None])[:, 0] / scale
        return conjugate_residuals(lambda x: near(product(scale * x)), near(b), enough, self.most)

    def _rtol(self, z: Unknowns) -> float:
        return self.rtol or (1e-13 if z.dtype == jnp.float64 else 1e-6)
