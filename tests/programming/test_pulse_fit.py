"""Fits of pulse responses against what made the curves of potentiation and depression: pulses one
by one in NumPy, with noise."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import pulses as one_by_one
from xbarjax.variability import ExponentialStep, LinearStep, PowerStep, PulseResponse

LOW, HIGH = 1e-5, 1e-4
LEVELS = np.array([0] + 15 * [1] + 15 * [-1])  # 16 levels up and down
NOISE = 4e-7


def measured(step: one_by_one.Step, start: float, pulses: np.ndarray, low: float, high: float):
    """Conductances [uS] after trains, of a model in NumPy that works in uS."""
    g, found = np.array(start), []
    for count in pulses:
        g = one_by_one.train(step, g, np.array(count), low, high)
        found.append(float(g))
    return np.array(found)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return NOISE * np.random.default_rng(seed).normal(size=shape)


# In uS: power steps of 9 (1 - x)^1.4 up and 14 x^0.7 down, of which the window is known.
POWER = 1e-6 * measured(one_by_one.power((9.0, 14.0), (1.4, 0.7), 10, 100), 12.0, LEVELS, 10, 100)
POWER_START = PulseResponse(PowerStep(5e-6), PowerStep(5e-6), LOW, HIGH)
POWER_TRUE = [9e-6, 1.4, 14e-6, 0.7, 12e-6]


def of_power(fit: xb.PulseFit) -> tuple[list[Any], list[Any]]:
    pick = lambda r, start: [r.up.step, r.up.power, r.down.step, r.down.power, start]
    return pick(fit.response, fit.g_start), pick(fit.std, fit.g_start_std)


def test_a_device_of_16_levels_is_found_from_its_curve() -> None:
    found = xb.fit_pulses(POWER_START, LEVELS, POWER + noise(31))
    assert bool(found.converged)
    for value, std, want in zip(*of_power(found), POWER_TRUE, strict=True):
        assert abs(float(value - want)) < 3 * float(std), (want, value, std)
        assert 0 < float(std) < 0.15 * want
    assert float(found.std.g_min) == float(found.std.cycle) == 0
    # 16 distinct levels up and as many down, which the fit follows within the noise
    curve = found.curve(LEVELS)
    assert np.all(np.diff(curve[:16]) > 0) and np.all(np.diff(curve[15:]) < 0)
    assert np.max(np.abs(curve - POWER)) < 2 * NOISE
    assert 0.6 * NOISE < float(found.rms) < 1.3 * NOISE


def test_standard_deviations_are_the_spread_of_repetitions() -> None:
    many = jnp.asarray(POWER + noise(150, 31, seed=1))
    found = jax.jit(jax.vmap(lambda g: xb.fit_pulses(POWER_START, LEVELS, g, sigma=NOISE)))(many)
    assert bool(jnp.all(found.converged))
    for value, std, want in zip(*of_power(found), POWER_TRUE, strict=True):
        # 150 repetitions know a standard deviation to 6 %
        np.testing.assert_allclose(jnp.std(value, ddof=1), jnp.median(std), rtol=0.2)
        assert abs(float(jnp.mean(value) - want)) < 4 * float(jnp.median(std)) / np.sqrt(150)


def test_curves_without_noise_give_what_made_them() -> None:
    exact = xb.fit_pulses(POWER_START, LEVELS, POWER)
    np.testing.assert_allclose(of_power(exact)[0], POWER_TRUE, rtol=1e-6)
    # soft bounds between unknown ends, from trains of several pulses, with points that were lost
    trains = np.array([0, 2, 3, 1, 5, 8, 13, -3, -5, -1, -8, 6, 2, -20, -30])
    soft = one_by_one.linear(1.5, (1.0, 1.0), -30, 50)  # uS from the weight 0, at 60 uS
    g = 1e-6 * (measured(soft, -25.0, trains, -30, 50) + 60)
    g[[3, 9]] = np.nan
    begin = PulseResponse(LinearStep(1e-6, 1.0), LinearStep(1e-6, 1.0), 2e-5, 2e-4)
    found = xb.fit_pulses(begin, trains, g, g_start=35e-6, free=window)
    wanted = [1.5e-6 * (1 + 30 / 50), 1.5e-6 * (1 + 50 / 30), 30e-6, 110e-6]
    np.testing.assert_allclose(window(found.response), wanted, rtol=1e-5)
    assert float(found.g_start) == 35e-6 and float(found.g_start_std) == 0


def steps(r: Any) -> Any:
    return r.up.step, r.up.excess, r.down.step, r.down.excess


def window(response: Any) -> Any:
    return response.up.step, response.down.step, response.g_min, response.g_max


def test_what_the_curve_does_not_show_has_no_standard_deviation() -> None:
    """Without the ends of the window in sight, slopes and ends cannot be told apart."""
    line = one_by_one.linear(1.0, (0.5, 0.5), -40, 40)
    g = 1e-6 * (measured(line, -10.0, LEVELS, -40, 40) + 60)
    begin = PulseResponse(LinearStep(1e-6, 0.4), LinearStep(1e-6, 0.4), 1e-5, 1.2e-4)
    found = xb.fit_pulses(begin, LEVELS, g + noise(31) / 10, free=jax.tree.leaves)
    std: Any = found.std
    assert np.isinf(std.up.slope) and np.isinf(std.g_max)
    assert np.isinf(std.write_noise) and np.isfinite(found.g_start_std)
    assert float(found.rms) < NOISE / 5


def test_single_precision_stays_single() -> None:
    begin = jax.tree.map(
        lambda x: x.astype(jnp.float32),
        PulseResponse(ExponentialStep(5e-6, 1.0, 3.0), ExponentialStep(5e-6, 1.0, 3.0), LOW, HIGH),
    )
    step = one_by_one.exponential((3.0, 4.0), (-2.0, -0.02), (4.0, 5.0), -0.5, -0.5, -45, 45)
    g = 1e-6 * (measured(step, -40.0, LEVELS, -45, 45) + 55)
    known = xb.fit_pulses(
        PulseResponse(ExponentialStep(5e-6, 1.0, 4.0), ExponentialStep(5e-6, 1.0, 5.0), LOW, HIGH),
        LEVELS,
        g,
        free=steps,
    )
    np.testing.assert_allclose(steps(known.response)[:2], [3e-6, 2.0], rtol=1e-6)
    # z = -1 at the upper end, where steps down begin
    np.testing.assert_allclose(steps(known.response)[2:], [4e-6, 0.02 * np.exp(5)], rtol=1e-6)
    single = xb.fit_pulses(begin, LEVELS, g.astype(np.float32), free=steps)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(single) if x.dtype != bool)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "fractions": ({"pulses": LEVELS + 0.5}, TypeError, "pulses is an array of float64"),
    "lengths": ({"pulses": LEVELS[:-1]}, ValueError, "pulses has shape (30,) and g (31,)"),
    "too few": ({"pulses": LEVELS[:3], "g": POWER[:3]}, ValueError, "3 points for 5 parameters"),
    "sigma": ({"sigma": 0.0}, ValueError, "the smallest sigma is 0.0 S"),
    "an array of devices": (
        {"response": PulseResponse(LinearStep([1e-6, 2e-6]), LinearStep(1e-6), LOW, HIGH)},
        ValueError,
        "must be scalars",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named(name: str) -> None:
    changed, kind, said = BAD[name]
    with pytest.raises(kind) as error:
        xb.fit_pulses(**({"response": POWER_START, "pulses": LEVELS, "g": POWER} | changed))
    assert said in str(error.value)
