"""Every cell, and one of a user: passive, monotone, with right slopes and gradients in an array."""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import flint
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

import xbarjax as xb
from xbarjax.cells.exponential import softplus, softplus_ends

ROWS, COLS = 4, 3


class Hopping(xb.AbstractRangedCell):
    """A user's cell: `I = g v / sqrt(1 + (v / v_s)^2)`, which saturates at `g v_s`."""

    g: Float[Array, "..."]
    v_s: Float[Array, "..."]
    is_linear = False
    is_reciprocal = True

    def current(self, v_row: Any, v_col: Any) -> Any:
        v = v_row - v_col
        return self.g * v / jnp.sqrt(1 + (v / self.v_s) ** 2)

    def valid(self) -> Any:
        return (self.g >= 0) & (self.v_s > 0)

    def in_range(self, v_row: Any, v_col: Any) -> Any:
        return jnp.abs(v_row - v_col) <= 10 * self.v_s


def uniform(seed: int, low: float, high: float) -> Any:
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, (ROWS, COLS)))


G = uniform(0, 1e-5, 1e-4)
GATES = jnp.linspace(1.2, 1.8, ROWS)[:, None]
EKV = xb.Mosfet(1e-3, 0.45, GATES, 1.3, 0.05, 0.0)
LEVEL1 = xb.Level1Mosfet(1e-3, 0.45, GATES, 0.05, 0.45, 0.8)
SWITCH = xb.ThresholdSwitch(jnp.asarray(np.eye(ROWS, COLS)), 1e-6, 0.05, 2.0, 0.2, 2e3)
# name: the cell, and the largest voltage of either sign that it is tried at
CELLS: dict[str, tuple[xb.AbstractCell, float]] = {
    "ohmic": (xb.Ohmic(G), 1.0),
    "scalar": (xb.Ohmic(5e-5), 1.0),
    "sinh": (xb.Sinh(G, uniform(1, 0.5, 4.0)), 1.0),
    "polynomial": (xb.Polynomial(G, 0.2 * G, 0.3 * G, 1.0), 0.6),
    "milo": (xb.presets.rram_milo(uniform(2, 62.5e-6, 225e-6)), 0.5),
    "poole_frenkel": (xb.PooleFrenkel(G, uniform(3, 0.05, 0.2)), 1.0),
    "rectifying": (xb.Rectifying(G, uniform(4, 0.5, 3.0), 1e3), 1.0),
    "schottky": (xb.Schottky(G * 1e-2, uniform(5, 0.05, 0.2), 1.5), 0.4),
    "diode": (xb.Diode(G * 1e-4, 1.5), 0.4),
    "antiparallel": (xb.AntiparallelDiodes(G * 1e-4, 1.5), 0.4),
    "back_to_back": (xb.BackToBackDiodes(G * 0.1, 1.5), 0.5),
    "vteam": (xb.VTEAM(uniform(6, 2e-10, 2.9e-9), 1e3, 1e5, 1e-10, 3e-9), 1.0),
    "team": (
        xb.TEAM(
            uniform(6, 2e-10, 2.9e-9), 1e3, 1e5, 1e-10, 3e-9, -1e-9, 1e-8, -5e-6, 8e-6, 3.0, 2.0
        ),
        1.0,
    ),
    "drift": (
        xb.LinearIonDrift(uniform(9, 1e-9, 9e-9), 1e3, 1e5, window=xb.windows.Joglekar(2)),
        1.0,
    ),
    "messaris": (xb.Messaris(uniform(9, 3e3, 16e3)), 1.0),
    "stanford": (xb.StanfordPKU(uniform(7, 0.5e-9, 1.7e-9)), 1.0),
    "yakopcic": (xb.Yakopcic(uniform(8, 0.1, 0.9), 1e-4, 1.5e-4, 2.0), 1.0),
    "mosfet": (xb.Mosfet(G, 0.45, GATES, 1.3, 0.05, 0.1), 1.0),
    "level1": (xb.Level1Mosfet(G, 0.45, GATES, 0.05, 0.45, 0.8), 1.0),
    "p-channel": (xb.PChannel(xb.Mosfet(G, 0.45, 0.0, 1.3, 0.05), GATES - 1.0, 0.8), 1.0),
    "switch": (SWITCH, 1.0),
    "in parallel": (xb.Parallel(EKV, xb.Sinh(G, 2.0)), 1.0),
    "1T1R": (xb.Series(EKV, xb.Ohmic(G)), 1.0),
    "1R1T": (xb.Series(xb.Sinh(G, 2.0), EKV), 1.0),
    "1R1T level 1": (xb.Series(xb.Ohmic(G), LEVEL1), 1.0),
    "1S1R": (xb.Series(xb.AntiparallelDiodes(1e-9, 1.5), xb.Sinh(G, 2.0)), 1.5),
    "three in series": (xb.Series(xb.Series(xb.Diode(1e-9), EKV), xb.Ohmic(G)), 1.0),
    "hopping": (Hopping(G, uniform(9, 0.5, 1.0)), 1.0),
}
# Each compiles for several seconds, and three in series for a minute.
FEW = ("sinh", "mosfet", "1T1R")
IN_ARRAYS = [
    pytest.param(name, marks=() if name in FEW else pytest.mark.slow)
    for name in CELLS
    if name not in ("three in series", "scalar")  # an array needs a shape
]
every_cell = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "three in series" else ())
        for name in CELLS
    ],
)


def voltages(v_max: float) -> Any:
    """Pairs of terminal voltages, equal ones, near ones and 0 among them: `(pairs, 1, 1)`."""
    x = np.concatenate([np.linspace(-v_max, v_max, 21), [1e-9, -1e-6, 1e-4]]) / 2
    pairs = np.stack([a.ravel() for a in np.meshgrid(x, x)])
    return jnp.asarray(pairs)[:, :, None, None]


@every_cell
def test_a_cell_is_passive_and_monotone(name: str) -> None:
    cell, v_max = CELLS[name]
    at = jax.vmap(lambda a, b: cell.linearise(jnp.full((ROWS, COLS), a), jnp.full((ROWS, COLS), b)))
    v_row, v_col = voltages(v_max)[:, :, 0, 0]
    current, g_row, g_col = at(v_row, v_col)
    v = (v_row - v_col)[:, None, None]
    assert np.all(np.asarray(current * v) >= 0)
    assert np.all(np.asarray(current)[np.asarray(v_row == v_col)] == 0)
    largest = np.abs(np.asarray(g_row)).max()
    assert np.min(g_row) >= -1e-15 * largest and np.min(g_col) >= -1e-15 * largest
    assert bool(jnp.all(cell.valid()))
    if cell.is_reciprocal:
        np.testing.assert_array_equal(g_row, g_col)


@every_cell
def test_conductances_are_the_slopes_of_the_current(name: str) -> None:
    cell, v_max = CELLS[name]
    rng = np.random.default_rng(0)
    v_row, v_col = (jnp.asarray(rng.uniform(-v_max, v_max, (ROWS, COLS)) / 2) for _ in range(2))
    _, g_row, g_col = cell.linearise(v_row, v_col)
    h = 1e-5
    for got, a, b in ((g_row, h, 0), (g_col, 0, -h)):
        ahead, back = cell.current(v_row + a, v_col + b), cell.current(v_row - a, v_col - b)
        want = np.asarray(ahead - back) / (2 * h)
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-7 * np.abs(want).max())


def crossbar(cell: Any, r: Any = 20.0) -> xb.Crossbar:
    wires = xb.Wires(jnp.full((ROWS, COLS), r), jnp.full((ROWS, COLS), 1.5 * r))
    return xb.Crossbar(cell, wires, xb.Drive(30.0), xb.VirtualGround(60.0, v_ref=0.02))


def inputs(v_max: float) -> Any:
    return jnp.asarray(np.linspace(0.9, 0.3, ROWS) * v_max * np.array([1, 1, -0.5, 1]))


@pytest.mark.few(2)
@pytest.mark.parametrize("name", IN_ARRAYS)
def test_laws_hold_in_an_array_and_gradients_match_differences(name: str) -> None:
    """Kirchhoff's and Tellegen's laws; and the slope in random directions of every parameter of the
    cell, of the wires, the ends and the inputs."""
    cell, v_max = CELLS[name]
    xbar, v_in = crossbar(cell), inputs(v_max)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=COLS))
    volts = jnp.asarray(np.random.default_rng(2).normal(size=(ROWS, COLS)))

    @eqx.filter_jit
    @partial(jax.value_and_grad, has_aux=True)
    def value(circuit: Any) -> Any:
        s = xb.read(*circuit)
        return jnp.sum(weights * s.i_out) * 1e4 + jnp.sum(volts * s.v_cell), s

    (_, s), gradient = value((xbar, v_in))
    largest = float(jnp.max(jnp.abs(s.i_cell)))
    assert int(s.status) == 0 and float(s.residual) <= 1e-11 * largest
    assert float(abs(jnp.sum(s.i_in) - jnp.sum(s.i_out))) <= 1e-11 * largest
    np.testing.assert_allclose(s.i_cell, cell.current(s.v_row, s.v_col), atol=1e-11 * largest)
    assert float(s.p_dissipated) == pytest.approx(float(s.p_delivered), rel=1e-10)

    leaves, structure = jax.tree.flatten((xbar, v_in))
    skip = {id(SWITCH.on)} | {id(x) for x in leaves if np.isinf(x).any()}
    rng = np.random.default_rng(3)
    tried = 0
    for k, (x, dx) in enumerate(zip(leaves, jax.tree.leaves(gradient))):
        if id(x) in skip:
            continue
        assert np.isfinite(dx).all()
        size = np.maximum(np.abs(x), 1e-3 if np.abs(x).max() == 0 else 0)
        step = jnp.asarray(size * rng.uniform(0.5, 1, x.shape) * 1e-4)

        def at(t: float, k: int = k, x: Any = x, step: Any = step) -> float:
            moved = [*leaves[:k], x + t * step, *leaves[k + 1 :]]
            return float(value(jax.tree.unflatten(structure, moved))[0][0])

        # central differences of fourth order
        want = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / 12
        got = float(jnp.sum(dx * step))
        scale = abs(want) + 1e-8 * abs(at(0))
        assert abs(got - want) <= 1e-6 * scale + 1e-13, (k, x.shape, got, want)
        tried += 1
    assert tried >= 5


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-15), (np.float32, 5e-7)])
def test_softplus_to_the_last_digits(dtype: Any, tolerance: float) -> None:
    x = np.concatenate([np.linspace(-80, 80, 20001), [0.0]]).astype(dtype)
    exact = np.logaddexp(np.longdouble(0), x.astype(np.longdouble))
    assert np.max(np.abs(np.asarray(softplus(jnp.asarray(x))) / exact - 1)) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 4e-15), (np.float32, 5e-6)])
def test_rises_of_softplus_keep_their_digits_however_small(dtype: Any, tolerance: float) -> None:
    """From deep below threshold to far above it, against numbers of 200 bits. The rounding of
    `x + dx` is part of the error: 20 units over `1 - exp(-1/4)`, from where on ends are apart."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-25, 40, 200).astype(dtype)
    dx = (10 ** rng.uniform(-9, 1.3, 200) * rng.choice([-1, 1], 200)).astype(dtype)
    of = lambda x: (1 + x.exp()).log()
    with flint.ctx.workprec(200):
        ends = [(flint.arb(float(a)), flint.arb(float(b))) for a, b in zip(x, dx)]
        want = [float(of(a + b) - of(a)) for a, b in ends]
        sums = [float(of(a + b) + of(a)) for a, b in ends]
    both, got = softplus_ends(jnp.asarray(x), jnp.asarray(dx))
    np.testing.assert_allclose(got, want, rtol=tolerance)
    np.testing.assert_allclose(both, sums, rtol=tolerance)


def test_derivatives_of_softplus_also_at_0() -> None:
    x = np.concatenate([np.linspace(-30, 30, 201), [0.0]])
    logistic = 1 / (1 + np.exp(-x))
    slope = jax.vmap(jax.grad(softplus))(x)
    np.testing.assert_allclose(slope, logistic, rtol=1e-15)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(jax.grad(softplus)))(x), logistic / (1 + np.exp(x)), rtol=1e-14
    )


@jax.jit
def linearised(cell: Any, v: tuple, guess: Any) -> Any:
    """From nothing, and from a guess at every node inside."""
    inner = cell.inner(*v, jax.tree.map(lambda m: jnp.full_like(m, guess), cell.inner(*v)))
    return cell.linearise(*v), cell.linearise(*v, inner)


@pytest.mark.parametrize("guess", [np.nan, -9.0, 0.3, 9.0])
def test_a_guess_at_the_nodes_inside_changes_nothing(guess: float) -> None:
    cell = xb.Series(
        xb.Mosfet(1e-3, 0.45, 1.8), xb.Series(xb.AntiparallelDiodes(1e-9), xb.Ohmic(G))
    )
    v = uniform(21, -1.0, 1.0), uniform(22, -1.0, 1.0)
    for a, b in zip(*linearised(cell, v, guess), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15)


def test_a_node_beside_a_device_that_is_off_is_at_the_terminal() -> None:
    """An inverter of square-law transistors whose n-channel or p-channel one is off."""
    n, v = xb.Level1Mosfet(250e-6, 0.2, 0.0, 0.05), jnp.asarray([[0.12, 0.0, 0.45, 0.5]])
    supply = jnp.full(v.shape, 0.5)
    inverter = xb.Series(xb.PChannel(n, v, supply), n.gated(v))
    out = inverter.v_inner(supply, jnp.zeros(v.shape))
    np.testing.assert_allclose(out, [[0.5, 0.5, 0.0, 0.0]], rtol=0, atol=1e-15)
