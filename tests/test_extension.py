"""A cell, a readout, an element, a perturbation and a solver of one's own, each a class."""

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


class Gyrator(xb.elements.AbstractStaticElement, xb.elements.AbstractNoisyElement):
    """`i_a = g v_b`, `i_b = -g v_a`: a capacitor at one side is an inductor at the other."""

    a: xb.elements.Pick = eqx.field(converter=xb.elements.terminal)
    b: xb.elements.Pick = eqx.field(converter=xb.elements.terminal)
    g: Array
    unknowns: ClassVar[int] = 0
    holds: ClassVar[tuple[str, ...]] = ("a", "b")

    @property
    def terminals(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b}

    @property
    def is_linear(self) -> bool:
        return True

    def valid(self) -> Any:
        return jnp.isfinite(self.g)

    def current(self, v: Any, x: Any) -> Any:
        return (self.g * v[1], -self.g * v[0]), ()

    def through(self, v: Any, x: Any) -> Array:
        return self.g * v[1]

    def noise(self, v: Any, x: Any, temperature: Array) -> tuple[xb.elements.NoiseSource, ...]:
        one, zero = jnp.ones_like(v[0]), jnp.zeros_like(v[0])
        return (xb.elements.NoiseSource((one, zero), (), jnp.asarray(1e-24)),)


def test_an_element_of_ones_own() -> None:
    """An inductor of 1 nF / (1 mS)^2 = 1 mH in series with 1 kohm, and its pole."""
    g, c, r = jnp.asarray(1e-3), 1e-9, 1e3
    circuit = xb.Circuit(
        source=xb.elements.VoltageSource(to="in", v=0.5),
        r=xb.elements.Resistor("in", "a", r),
        gyrator=Gyrator("a", "b", g),
        c=xb.elements.Capacitor("b", "0", c),
        leak=xb.elements.Resistor("b", "0", 1e9),
    )
    found = xb.solve(circuit)
    np.testing.assert_allclose(found.i["gyrator"], [0.5 / r], rtol=1e-5)
    inductance = c / 1e-3**2
    np.testing.assert_allclose(xb.poles(circuit), [-r / inductance], rtol=1e-5)
    slope = jax.grad(lambda g: xb.solve(at(circuit, g)).v["b"][0])(g)
    np.testing.assert_allclose(slope, -0.5 / r / 1e-3**2, rtol=1e-5)
    noise = xb.noise(circuit, output="b", band=(1e3, 1e7), temperature=300.0, points=8)
    shape = 1e6 / (1 + (2 * np.pi * np.asarray(noise.f) * inductance / r) ** 2)
    thermal = 4 * 1.380649e-23 * 300 / r
    np.testing.assert_allclose(noise.density["r"][:, 0], thermal * shape, rtol=1e-5)
    np.testing.assert_allclose(noise.density["gyrator"][:, 0], 1e-24 * shape, rtol=1e-5)


def at(circuit: xb.Circuit, g: Array) -> xb.Circuit:
    """The circuit with another gyration conductance [S]."""
    return eqx.tree_at(lambda c: c.elements["gyrator"].g, circuit, g)
