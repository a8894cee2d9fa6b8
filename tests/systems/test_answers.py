"""Answers of loops with wires and finite gain against scikit-learn and SciPy, on public data."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import xbarjax as xb
from xbarjax.elements import OpAmp
from xbarjax.systems import learning, loops

PAIR = xb.DifferentialPair(1e-6, 1e-4)
WIRES = xb.Wires(1.0, 1.0)
AMPLIFIER = partial(OpAmp, gain=1e5)


WINES: Any = load_wine(return_X_y=True)


def with_ones(x: np.ndarray) -> np.ndarray:
    return np.column_stack([x, np.ones(len(x))])


@pytest.mark.slow
def test_a_loop_classifies_wines_as_well_as_logistic_regression() -> None:
    """Within one point of accuracy on average over three halves of the data."""
    data, labels = WINES
    ours, digital = [], []
    for seed in range(3):
        parts = train_test_split(data, labels, test_size=0.5, random_state=seed, stratify=labels)
        scale: Any = StandardScaler().fit(parts[0])
        train, test = scale.transform(parts[0]), scale.transform(parts[1])
        weights = learning.classifier(
            jnp.asarray(with_ones(train)),
            jnp.asarray(parts[2]),
            3,
            mapping=PAIR,
            wires=WIRES,
            amplifier=partial(AMPLIFIER, gbw=1e8),
            integrator=partial(AMPLIFIER, gbw=1e5),
        )
        found = np.argmax(with_ones(test) @ np.asarray(weights), axis=1)
        ours.append(np.mean(found == parts[3]))
        digital.append(LogisticRegression(max_iter=1000).fit(train, parts[2]).score(test, parts[3]))
    assert np.mean(ours) > np.mean(digital) - 0.01 and np.mean(ours) > 0.95


def test_regression_is_the_pseudoinverse_up_to_gain() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    want = np.linalg.lstsq(x, t, rcond=None)[0]
    off = []
    for gain in (1e4, 1e5):
        amplifier = partial(OpAmp, gain=gain)
        found = learning.regression(x, t, mapping=PAIR, amplifier=amplifier)
        off.append(np.abs(np.asarray(found) - want).max() / np.abs(want).max())
    assert off[0] < 1e-2
    np.testing.assert_allclose(off[0] / off[1], 10, rtol=0.02)


@pytest.mark.slow
def test_a_loop_rests_along_the_first_principal_component() -> None:
    """Within a degree, at a loop gain of 1.005 and with wires."""
    data = StandardScaler().fit_transform(WINES[0])
    first: Any = PCA(n_components=1).fit(data)
    covariance = jnp.asarray(np.cov(data.T))
    k = PAIR.siemens_per_weight(covariance)
    amplifier = partial(AMPLIFIER, gbw=1e7, v_low=-1.0, v_high=1.0)
    g_eigenvalue = k * first.explained_variance_[0] / 1.005
    loop = loops.eigenvector(
        PAIR.program(covariance, k), g_eigenvalue, wires=xb.Wires(0.1, 0.1), amplifier=amplifier
    )
    found = loops.resting(loop, 1e-6 * jnp.arange(1.0, 14.0))
    assert found.growth is not None and float(found.growth) < 0
    x = np.asarray(found.v["x"])
    cosine = abs(x @ first.components_[0]) / np.linalg.norm(x)
    assert np.degrees(np.arccos(min(cosine, 1.0))) < 1


def dictionary() -> tuple[np.ndarray, np.ndarray]:
    """More atoms than samples, of length 1, and a signal of two of them with noise."""
    rng = np.random.default_rng(3)
    phi = rng.normal(size=(8, 12))
    phi /= np.linalg.norm(phi, axis=0)
    return phi, 0.8 * phi[:, 2] - 0.5 * phi[:, 7] + 0.01 * rng.normal(size=8)


def coded(threshold: float, r_inverter: float | None = 1e4) -> Any:
    """Coefficients of a sparse code with ideal wires, for a threshold in units of the signal."""
    phi, y = dictionary()
    k = PAIR.siemens_per_weight(jnp.asarray(phi))
    r, volts = 1e4, 0.5
    loop = lambda gain: loops.sparse_code(
        PAIR.program(jnp.asarray(phi), k),
        jnp.asarray(-k * volts * y),
        r * k**2 * volts * threshold,
        r_feedback=r,
        gain_threshold=gain,
        amplifier=partial(OpAmp, gain=1e6, gbw=1e8),
        integrator=partial(OpAmp, gain=1e6, gbw=1e3),
        r_inverter=r_inverter,
    )
    return np.asarray(xb.solve(loop(1e3), start=loop(50.0)).v["x"]) / volts


@pytest.mark.few(1)
@pytest.mark.parametrize(("threshold", "r_inverter"), [(0.1, None), (0.05, 1e4), (0.2, 1e4)])
def test_a_sparse_code_is_that_of_lasso(threshold: float, r_inverter: float | None) -> None:
    """Within what the finite gain of the signs leaves: `v_threshold / gain_threshold` and above."""
    phi, y = dictionary()
    model = Lasso(alpha=threshold / len(y), fit_intercept=False, tol=1e-12, max_iter=100000)
    want = model.fit(phi, y).coef_
    found = coded(threshold, r_inverter)
    np.testing.assert_allclose(found, want, atol=2e-3)
    assert 1 < np.sum(np.abs(want) > 1e-9) < 12
    np.testing.assert_array_equal(np.abs(found) > 5e-3, np.abs(want) > 5e-3)


@pytest.mark.slow
def test_a_sparse_code_is_where_the_competitive_algorithm_rests() -> None:
    """`du/dt = b - u - (Phi^T Phi - 1) a` with `a` the soft threshold of `u` (Rozell 2008)."""
    phi, y = dictionary()
    threshold = 0.1
    soft = lambda u: np.sign(u) * np.maximum(np.abs(u) - threshold, 0)
    slope = lambda _, u: phi.T @ y - u - (phi.T @ phi - np.eye(12)) @ soft(u)
    end = solve_ivp(slope, (0, 300), np.zeros(12), rtol=1e-9, atol=1e-11).y[:, -1]
    np.testing.assert_allclose(coded(threshold), soft(end), atol=2e-3)


def test_bad_input_gets_a_sentence() -> None:
    x, t = np.ones((4, 2)), np.ones((4, 1))
    with pytest.raises(ValueError, match="features have shape .*; they must be"):
        learning.regression(x, t[:3], mapping=PAIR)
    with pytest.raises(ValueError, match="key is None, but vary"):
        learning.regression(x, t, mapping=PAIR, vary=xb.Levels(4, 1e-6, 1e-4))
    loop = loops.eigenvector(jnp.eye(2) * 1e-5, 0.9e-5, amplifier=AMPLIFIER)
    with pytest.raises(ValueError, match="amplifier 'products' has no swing"):
        loops.resting(loop, 1e-6)


@jax.jit
def clipped(g: Any, g_eigenvalue: Any, gain: Any) -> xb.CircuitSolution:
    amplifier = partial(OpAmp, gain=gain, gbw=1e7, v_low=-1.0, v_high=1.0)
    return loops.resting(loops.eigenvector(g, g_eigenvalue, amplifier=amplifier), 1e-6)


@pytest.mark.parametrize("excess", [1.01, 1.1])
@pytest.mark.parametrize("gain", [1e4, 1e6])
def test_a_loop_rests_where_amplifiers_clip(gain: float, excess: float) -> None:
    """At `x = clip(G^T x / (g + (g + sum of G) / A))`, divided by `1 + 2 / A` by inverters."""
    rng = np.random.default_rng(0)
    for _ in range(6):
        g = np.exp(1.5 * rng.normal(size=(8, 8)))
        g *= 1e-4 / g.max()
        g_eigenvalue = np.abs(np.linalg.eigvals(g)).max() / excess
        at_inputs, want = g_eigenvalue + (g_eigenvalue + g.sum(0)) / gain, np.ones(8)
        for _ in range(20000):
            want = np.minimum(g.T @ want / at_inputs, 1) / (1 + 2 / gain)
        found = clipped(jnp.asarray(g), g_eigenvalue, gain)
        assert int(found.status) == 0 and 0 < np.sum(want > 0.999) < 8
        # amplifiers come to an end of their swing within some times one over the gain
        assert np.abs(np.abs(found.v["x"]) - want).max() < 20 / gain


def symmetric(g_over: Any, r_inverter: float | None) -> xb.Circuit:
    """An eigenvector's loop, for a feedback of a number of times the largest eigenvalue."""
    rng = np.random.default_rng(0)
    g = rng.uniform(1e-6, 1e-5, (4, 4)) + 2e-5 * np.eye(4)
    g = (g + g.T) / 2
    return loops.eigenvector(
        jnp.asarray(g),
        g_over * np.linalg.eigvalsh(g)[-1],
        amplifier=partial(AMPLIFIER, gbw=1e7, v_low=-1.0, v_high=1.0),
        r_inverter=r_inverter,
    )


@partial(jax.jit, static_argnums=1)
def resting_status(g_over: Any, r_inverter: float | None) -> Any:
    return loops.resting(symmetric(g_over, r_inverter), 1e-6).status


@pytest.mark.parametrize("r_inverter", [None, pytest.param(1e4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("over", [1.001, 1.01, 1.3])
def test_a_loop_gain_below_1_gets_a_sentence(over: float, r_inverter: float | None) -> None:
    """Without it, the answer is 0 or does not converge."""
    with pytest.raises(ValueError, match="loop gain is below 1 .*lower g_eigenvalue"):
        loops.resting(symmetric(over, r_inverter), 1e-6)
    assert int(resting_status(over, r_inverter)) & xb.Status.NOT_CONVERGED
    assert int(resting_status(0.99, r_inverter)) == 0
