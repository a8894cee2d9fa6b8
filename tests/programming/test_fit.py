"""Fits against what made the curves: parameters, their uncertainty, and what a bad fit says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

V = np.linspace(-1, 1, 41)
FORWARD = np.linspace(0, 0.8, 41)
R = 560.0


def measured(
    cell: Any, v: np.ndarray, sigma: float, seed: int = 0, repeats: tuple[int, ...] = ()
) -> np.ndarray:
    """Currents [A] of a cell with Gaussian noise: `(*repeats, points)`."""
    exact = np.asarray(cell.current(jnp.asarray(v), jnp.zeros(v.shape)))
    return exact + sigma * np.random.default_rng(seed).normal(size=(*repeats, *v.shape))


# the true cell, where to begin, the voltages, the noise [A], and which parameters are fitted
CASES: dict[str, tuple[Any, Any, np.ndarray, float, Callable]] = {
    "sinh": (xb.Sinh(5e-5, 2.5), xb.Sinh(1e-5, 1.0), V, 3e-7, lambda c: (c.g, c.b)),
    "polynomial": (
        xb.Polynomial(5e-5, -2e-5, 3e-5),
        xb.Polynomial(1e-5, 0.0, 0.0),
        V,
        3e-7,
        lambda c: (c.g, c.g_2, c.g_3),
    ),
    "poole-frenkel": (
        xb.PooleFrenkel(2e-5, 0.3),
        xb.PooleFrenkel(1e-5, 1.0),
        V,
        3e-7,
        lambda c: (c.g, c.v_pf),
    ),
    "diode and resistor": (
        xb.Series(xb.Diode(1e-9, 1.7), xb.Ohmic(1e-3)),
        xb.Series(xb.Diode(1e-8, 1.3), xb.Ohmic(1e-2)),
        FORWARD,
        1e-7,
        lambda c: (c.first.i_s, c.first.n, c.second.g),
    ),
    "sinh and a known shunt": (
        xb.Series(xb.Sinh(1e-4, 3.0), xb.Ohmic(1 / R)),
        xb.Series(xb.Sinh(2e-5, 1.0), xb.Ohmic(1 / R)),
        V,
        3e-7,
        lambda c: (c.first.g, c.first.b),
    ),
    "mosfet": (
        xb.Mosfet(2e-4, 0.5, 1.2),
        xb.Mosfet(1e-4, 0.3, 1.2),
        FORWARD,
        1e-7,
        lambda c: (c.beta, c.v_t),
    ),
    "level 1": (
        xb.Level1Mosfet(2e-4, 0.5, 1.2, 0.2),
        xb.Level1Mosfet(1e-4, 0.3, 1.2, 0.01),
        FORWARD,
        1e-7,
        lambda c: (c.beta, c.v_t, c.lam),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fit_finds_what_made_the_curve(name: str) -> None:
    truth, begin, v, sigma, free = CASES[name]
    found = xb.fit(begin, v, measured(truth, v, sigma), free=free)
    assert bool(found.converged)
    for want, value, std in zip(free(truth), free(found.cell), free(found.std)):
        assert abs(float(value - want)) < 3 * float(std), (name, want, value, std)
        assert 0 < float(std) < 0.2 * abs(float(want)), (name, want, std)
    assert 0.7 * sigma < float(found.rms) < 1.2 * sigma
    exact = xb.fit(begin, v, measured(truth, v, 0.0), free=free)
    for want, value in zip(free(truth), free(exact.cell)):
        np.testing.assert_allclose(value, want, rtol=1e-5)


def test_a_mosfet_fits_a_level_1_transistor_in_strong_inversion() -> None:
    """Two models of one device: `beta / n` of the one is `beta` of the other up to the body."""
    v = np.linspace(0, 0.1, 11)
    i = measured(xb.Level1Mosfet(2e-4, 0.5, 2.5), v, 0.0)
    begin = xb.Mosfet(1e-4, 0.5, 2.5, n=1.0)
    found = xb.fit(begin, v, i, free=lambda c: (c.beta, c.v_t))
    assert float(found.rms) < 1e-4 * i.max()
    np.testing.assert_allclose(found.cell.beta, 2e-4, rtol=1e-3)
    np.testing.assert_allclose(found.cell.v_t, 0.5, atol=2e-3)


def test_the_offset_is_fitted_too() -> None:
    truth = xb.Sinh(5e-5, 2.5)
    i = measured(truth, V, 3e-7) + 1e-6
    found = xb.fit(xb.Sinh(1e-5, 1.0), V, i, offset=True)
    assert abs(float(found.i_offset) - 1e-6) < 3 * float(found.i_offset_std)
    assert abs(float(found.cell.b) - 2.5) < 3 * float(found.std.b)
    np.testing.assert_allclose(found.current(V), i, atol=2e-6)
    without = xb.fit(xb.Sinh(1e-5, 1.0), V, i)
    assert float(without.i_offset) == float(without.i_offset_std) == 0
    assert float(without.rms) > 2 * float(found.rms)


REPEATED = (
    ("sinh", False),
    ("polynomial", False),
    ("diode and resistor", False),
    ("mosfet", True),
)


@pytest.mark.few(2)
@pytest.mark.parametrize("name, known", REPEATED)
def test_standard_deviations_are_the_spread_of_repetitions(name: str, known: bool) -> None:
    truth, begin, v, sigma, free = CASES[name]
    currents = jnp.asarray(measured(truth, v, sigma, repeats=(200,)))
    one = lambda i: xb.fit(begin, v, i, free=free, offset=True, sigma=sigma if known else None)
    found = jax.jit(jax.vmap(one))(currents)
    assert bool(jnp.all(found.converged))
    values = [*free(found.cell), found.i_offset]
    stds = [*free(found.std), found.i_offset_std]
    for value, std in zip(values, stds):
        # 200 repetitions know a standard deviation to 5 %
        np.testing.assert_allclose(jnp.std(value, ddof=1), jnp.median(std), rtol=0.2)
    for value, std, want in zip(values, stds, [*free(truth), 0.0]):
        assert abs(float(jnp.mean(value) - want)) < 4 * float(jnp.median(std)) / np.sqrt(200)


def test_points_weigh_by_their_sigma() -> None:
    """Half of the points lie on another line and say that they are poor."""
    v = np.linspace(0.1, 1, 20)
    poor = np.arange(20) % 2 == 1
    i = np.where(poor, 3e-5, 1e-5) * v
    sigma = np.where(poor, 1e-4, 1e-8)
    weighted = xb.fit(xb.Ohmic(5e-5), v, i, sigma=sigma)
    np.testing.assert_allclose(weighted.cell.g, 1e-5, rtol=1e-6)
    equal = xb.fit(xb.Ohmic(5e-5), v, i)
    assert float(equal.cell.g) > 1.8e-5
    # the closed form of a weighted line through 0
    sigma = np.where(poor, 4e-7, 1e-7)
    found = xb.fit(xb.Ohmic(5e-5), v, i, sigma=sigma)
    weight = sigma**-2.0
    g = np.sum(weight * v * i) / np.sum(weight * v**2)
    np.testing.assert_allclose(found.cell.g, g, rtol=1e-7)
    np.testing.assert_allclose(found.std.g, np.sum(weight * v**2) ** -0.5, rtol=1e-6)
    left = np.sqrt(np.mean(((g * v - i) / sigma) ** 2))
    np.testing.assert_allclose(found.rms, left, rtol=1e-6)


def test_sigma_may_be_one_number() -> None:
    i = measured(xb.Sinh(5e-5, 2.5), V, 3e-7)
    one = xb.fit(xb.Sinh(1e-5, 1.0), V, i, sigma=3e-7)
    many = xb.fit(xb.Sinh(1e-5, 1.0), V, i, sigma=np.full(V.shape, 3e-7))
    np.testing.assert_allclose(one.std.b, many.std.b, rtol=1e-8)
    twice = xb.fit(xb.Sinh(1e-5, 1.0), V, i, sigma=6e-7)
    np.testing.assert_allclose(twice.std.b, 2 * one.std.b, rtol=1e-5)
    assert 0.7 < float(one.rms) < 1.2


def test_what_the_data_does_not_determine_has_no_standard_deviation() -> None:
    i = measured(xb.Ohmic(5e-5), V, 3e-7)
    # two resistors in series: their sum alone shows
    two = xb.Series(xb.Ohmic(1e-4), xb.Ohmic(2e-4))
    found = xb.fit(two, V, i)
    assert np.isinf(found.std.first.g) and np.isinf(found.std.second.g)
    # a parameter that the current does not depend on at all
    cubic = xb.fit(xb.Polynomial(1e-5, 0.0, 0.0, 2.0), V, i)
    assert np.isinf(cubic.std.v_max) and np.isfinite(cubic.std.g_3)
    # the others are as well known as without it
    free = lambda c: (c.g, c.g_2, c.g_3)
    alone = xb.fit(xb.Polynomial(1e-5, 0.0, 0.0, 2.0), V, i, free=free)
    np.testing.assert_allclose(cubic.cell.g, alone.cell.g, rtol=1e-6)
    np.testing.assert_allclose(cubic.std.g, alone.std.g, rtol=0.05)


def test_a_kept_parameter_stays_and_has_no_uncertainty() -> None:
    i = measured(xb.Sinh(5e-5, 2.5), V, 3e-7)
    found = xb.fit(xb.Sinh(1e-5, 2.5), V, i, free=lambda cell: cell.g)
    assert float(found.cell.b) == 2.5 and float(found.std.b) == 0
    assert abs(float(found.cell.g) - 5e-5) < 3 * float(found.std.g)


def test_parameters_that_begin_above_0_stay_there() -> None:
    """A sublinear curve wants a negative nonlinearity of a Sinh, and a falling one a negative g."""
    sublinear = 5e-5 * V - 1e-5 * V**3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the best b is at 0, endlessly far in logarithms
        found = xb.fit(xb.Sinh(1e-5, 1.0), V, sublinear)
        falling = xb.fit(xb.Ohmic(1e-5), V, -1e-5 * V)
    assert float(found.cell.b) >= 0 and abs(float(found.cell.b)) < 0.1
    assert 0 <= float(falling.cell.g) < 1e-8
    # one that begins at 0 takes either sign
    signed = xb.fit(xb.Polynomial(1e-5, 0.0, 0.0), V, sublinear, free=lambda c: (c.g, c.g_2, c.g_3))
    np.testing.assert_allclose(signed.cell.g_3, -1e-5, rtol=1e-6)


def test_points_that_are_not_finite_are_left_out() -> None:
    i = measured(xb.Sinh(5e-5, 2.5), V, 3e-7)
    lost = np.arange(V.size) % 5 == 2
    want = xb.fit(xb.Sinh(1e-5, 1.0), V[~lost], i[~lost])
    for v, y in ((V, np.where(lost, np.nan, i)), (np.where(lost, np.inf, V), i)):
        found = xb.fit(xb.Sinh(1e-5, 1.0), v, y)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want)):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-30)


def test_many_devices_go_through_vmap() -> None:
    truths = [xb.Sinh(g, b) for g, b in ((1e-5, 1.0), (5e-5, 2.5), (2e-4, 4.0))]
    currents = jnp.stack([jnp.asarray(measured(cell, V, 1e-8)) for cell in truths])
    one = lambda i: xb.fit(xb.Sinh(1e-5, 1.0), V, i)
    found = jax.jit(jax.vmap(one))(currents)
    assert found.cell.g.shape == found.std.b.shape == found.converged.shape == (3,)
    for k, cell in enumerate(truths):
        single = one(currents[k])
        np.testing.assert_allclose(found.cell.b[k], single.cell.b, rtol=1e-6)
        np.testing.assert_allclose(found.std.g[k], single.std.g, rtol=1e-5)
        np.testing.assert_allclose(found.cell.b[k], cell.b, rtol=1e-2)


def test_a_fit_has_a_gradient() -> None:
    """Of a straight line through 0, `g = sum v i / sum v^2`."""
    v = np.linspace(0.1, 1, 10)
    slope = jax.grad(lambda i: xb.fit(xb.Ohmic(5e-5), v, i).cell.g)(jnp.asarray(2e-5 * v))
    np.testing.assert_allclose(slope, v / np.sum(v**2), rtol=1e-5)


def test_single_precision_stays_single() -> None:
    i = measured(xb.Sinh(5e-5, 2.5), V, 3e-7).astype(np.float32)
    begin = jax.tree.map(lambda x: x.astype(jnp.float32), xb.Sinh(1e-5, 1.0))
    found = xb.fit(begin, V.astype(np.float32), i)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(found) if x.dtype != bool)
    assert bool(found.converged)
    double = xb.fit(xb.Sinh(1e-5, 1.0), V, i.astype(np.float64))
    np.testing.assert_allclose(found.cell.g, double.cell.g, rtol=1e-3)
    np.testing.assert_allclose(found.cell.b, double.cell.b, rtol=1e-3)
    np.testing.assert_allclose(found.std.b, double.std.b, rtol=1e-2)
    exact = xb.fit(begin, V.astype(np.float32), measured(xb.Sinh(5e-5, 2.5), V, 0.0, 1).astype("f"))
    np.testing.assert_allclose(exact.cell.b, 2.5, rtol=1e-4)


SINH = xb.Sinh(1e-5, 1.0)
BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "lengths": (SINH, {"v": V, "i": V[:-1]}, "v has shape (41,) and i (40,)"),
    "two axes": (SINH, {"v": V[None], "i": V[None]}, "go through jax.vmap"),
    "an array of devices": (
        xb.Sinh(jnp.full((2, 2), 1e-5), 1.0),
        {"v": V, "i": V},
        "must be scalars",
    ),
    "too few points": (SINH, {"v": V[:1], "i": V[:1]}, "1 points for 2 parameters"),
    "too few with the offset": (
        SINH,
        {"v": V[:2], "i": V[:2], "offset": True},
        "2 points for 3 parameters",
    ),
    "too few that are finite": (
        SINH,
        {"v": V, "i": np.where(V > 0.97, V, np.nan)},
        "1 points for 2 parameters",
    ),
    "sigma": (SINH, {"v": V, "i": V, "sigma": V[:3] ** 2 + 1}, "sigma has shape (3,)"),
    "sigma of 0": (SINH, {"v": V, "i": V, "sigma": 0.0}, "the smallest sigma is 0.0 A"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_fitted_is_said_in_one_sentence(name: str) -> None:
    cell, arguments, said = BAD[name]
    with pytest.raises(ValueError) as error:
        xb.fit(cell, **arguments)
    message = str(error.value)
    assert said in message and "\n" not in message and message.endswith("."), message


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="i is an array of int64"):
        xb.fit(SINH, V, np.arange(41))


def test_a_search_that_did_not_come_to_rest_says_so() -> None:
    i = measured(xb.Sinh(5e-5, 2.5), V, 3e-7)
    with pytest.warns(UserWarning, match="did not converge"):
        found = xb.fit(SINH, V, i, max_steps=2)
    assert not bool(found.converged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bool(xb.fit(SINH, V, i).converged)
        assert not bool(jax.jit(lambda i: xb.fit(SINH, V, i, max_steps=2))(i).converged)


def test_a_curve_of_zeros_has_a_finite_fit() -> None:
    found = xb.fit(xb.Polynomial(1e-5, 0.0, 0.0), V, 0 * V, free=lambda c: (c.g_2, c.g_3, c.g))
    assert all(np.isfinite(x) for x in (found.cell.g, found.cell.g_2, found.cell.g_3, found.rms))


def test_a_device_of_your_own_can_be_fitted() -> None:
    """A cell whose shape follows its conductance."""

    class Population(xb.AbstractCell):
        g: jax.Array
        is_linear = False
        is_reciprocal = True

        def current(self, v_row: Any, v_col: Any) -> Any:
            return xb.Sinh(self.g, -0.5 * jnp.log10(self.g)).current(v_row, v_col)

        def valid(self) -> Any:
            return self.g >= 0

    i = measured(Population(jnp.asarray(5e-5)), V, 1e-7)
    found = xb.fit(Population(jnp.asarray(1e-6)), V, i)
    assert abs(float(found.cell.g) - 5e-5) < 3 * float(found.std.g)
    assert eqx.is_array(found.std.g)
