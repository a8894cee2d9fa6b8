"""A cell, a readout, a perturbation and a linear solver of one's own, each a class in one file."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

import xbarjax as xb
from xbarjax.readout import AbstractIdealReadout
from xbarjax.variability import AbstractPerturbation, At

G = np.random.default_rng(0).uniform(1e-6, 1e-4, (5, 4))
V = np.linspace(-0.2, 0.3, 5)


class Cubic(xb.AbstractCell):
    """`I = g v + a v^3`."""

    g: Array
    a: Array
    is_linear: ClassVar[bool] = False
    is_reciprocal: ClassVar[bool] = True

    def current(self, v_row: Array, v_col: Array) -> Array:
        v = v_row - v_col
        return self.g * v + self.a * v**3

    def valid(self) -> Array:
        return (self.g >= 0) & (self.a >= 0)


class Biased(AbstractIdealReadout):
    """A virtual ground at `v` [V], whose output is in microamperes."""

    r_in: Array  # pyright: ignore[reportIncompatibleVariableOverride]
    r_in_far: Array  # pyright: ignore[reportIncompatibleVariableOverride]
    v: Array
    r_strap: ClassVar[Array | None] = None

    def voltage(self, cols: int) -> Array:
        return jnp.broadcast_to(self.v, (cols,))

    def output(self, i: Array, v: Array) -> Array:
        return 1e6 * i


class Worn(AbstractPerturbation):
    """Cells that have lost a part of their conductance, uniform from 0 to `most`."""

    most: Array

    def draw(self, x: Any, key: Any) -> Array:
        return jax.random.uniform(key, x.shape, x.dtype)

    def apply(self, x: Array, drawn: Array) -> Array:
        return x * (1 - self.most * drawn)


class Direct(lx.AbstractLinearSolver):
    """Dense LU of the whole network at once."""

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        return jax.scipy.linalg.lu_factor(operator.as_matrix())

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        flat, unravel = ravel_pytree(vector)
        return (
            unravel(jax.scipy.linalg.lu_solve(state, flat)),
            lx.RESULTS.successful,
            {"num_steps": 1},
        )

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return state, options  # for symmetric networks

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return state, options

    def assume_full_rank(self) -> bool:
        return True


def test_a_cell_is_one_class() -> None:
    cell = Cubic(jnp.asarray(G), jnp.asarray(1e-3))
    want = (G * V[:, None] + 1e-3 * V[:, None] ** 3).sum(0)
    np.testing.assert_allclose(xb.read(xb.Crossbar(cell), V).i_out, want, rtol=1e-12)
    on_wires = xb.read(xb.Crossbar(cell, xb.Wires(2.0, 3.0)), V)
    assert on_wires.residual < 1e-12 * np.abs(want).max()
    slope = jax.grad(lambda cell: xb.read(xb.Crossbar(cell), V).i_out.sum())(cell)
    np.testing.assert_allclose(slope.a, 4 * (V**3).sum(), rtol=1e-10)


def test_a_readout_is_one_class() -> None:
    readout = Biased(jnp.asarray(0.0), jnp.asarray(np.inf), jnp.asarray(0.05))
    found = xb.read(xb.Crossbar(xb.Ohmic(jnp.asarray(G)), readout=readout), V)
    np.testing.assert_allclose(found.output, 1e6 * (V - 0.05) @ G, rtol=1e-12)


def test_a_perturbation_is_one_class() -> None:
    vary = At(lambda crossbar: crossbar.cell.g, Worn(jnp.asarray(0.3)))
    crossbar = xb.Crossbar(xb.Ohmic(jnp.asarray(G)))
    keys = jax.random.split(jax.random.key(1), 500)
    dies = np.asarray(jax.vmap(lambda key: vary(crossbar, key).cell.g)(keys))
    assert (dies <= G).all() and (dies >= 0.7 * G).all()
    np.testing.assert_allclose(dies.mean(0), 0.85 * G, rtol=0.03)


def test_a_linear_solver_is_one_class() -> None:
    crossbar = xb.Crossbar(xb.Ohmic(jnp.asarray(G)), xb.Wires(20.0, 30.0))
    total = lambda crossbar, solver: xb.read(crossbar, V, solver=solver).i_out.sum()
    for run in (total, eqx.filter_grad(total)):
        got, want = (run(crossbar, solver) for solver in (Direct(), xb.LadderCG()))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-22)
