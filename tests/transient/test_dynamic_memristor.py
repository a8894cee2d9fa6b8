"""`DynamicMemristor` against the published recurrence and a closed form of one pulse, in NumPy."""

from __future__ import annotations

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

T = 1e-3  # [s] of a pulse
EDGE = 1e-6 * T


def recurrence(x: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """State after a pulse of each voltage [V], and the current [uA] at its end."""
    u = 0.23 * np.abs(v) / (1 + 0.23 * np.abs(v))
    x = 0.99 * x + (1 - 0.99) * 0.5 + u * ((v > 0) - x)
    return x, x * (9.13 * np.maximum(v, 0) ** 3 + 0.32 * np.minimum(v, 0) ** 3)


def state(found: xb.Transient) -> jax.Array:
    (x,) = xb.cells.states_of(found.crossbar.cell)
    return x


def pulses(v: np.ndarray) -> xb.Waveform:
    """Pulses without pause, `(pulses, lines)`, each with an edge at its start."""
    begins = T * np.arange(len(v))[:, None]
    t = np.concatenate([begins, begins + EDGE], axis=1).ravel()
    v = np.repeat(np.concatenate([v[:1], v]), 2, axis=0)[1:-1]
    return xb.Waveform(jnp.asarray(t), jnp.asarray(v))


def test_a_series_of_pulses_follows_the_published_recurrence() -> None:
    rng = np.random.default_rng(0)
    v, x = rng.uniform(-2.0, 3.0, (24, 3)), rng.uniform(0, 1, 3)
    crossbar = xb.Crossbar(xb.DynamicMemristor(jnp.asarray(x)[:, None], T))
    ts = T * np.arange(25)
    found = eqx.filter_jit(xb.simulate)(
        crossbar, pulses(v), jnp.asarray(ts), rtol=1e-9, max_steps=2**14
    )
    want = []
    for now in v:
        x, i = recurrence(x, now)
        want.append(1e-6 * i)
    want = np.array(want)
    assert np.abs(found.i_in[1:] - want).max() < 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(state(found)[:, 0], x, atol=1e-5)
    np.testing.assert_allclose(found.i_out[1:, 0], want.sum(1), atol=3e-5 * np.abs(want).max())


def test_within_a_pulse_the_state_decays_exponentially() -> None:
    """`x` approaches its end with the logarithm of the recurrence's factor, at half a pulse too."""
    v, x = np.array([-1.5, 0.0, 0.4, 2.5]), np.array([0.9, 0.8, 0.2, 0.1])
    u = 0.23 * np.abs(v) / (1 + 0.23 * np.abs(v))
    end = (0.01 * 0.5 + u * (v > 0)) / (0.01 + u)
    cell = xb.DynamicMemristor(jnp.asarray(x), T)
    rate = cell.rate(jnp.asarray(v), jnp.zeros(4))[0]
    np.testing.assert_allclose(rate, np.log(0.99 - u) / T * (x - end), rtol=1e-12)
    once, _ = recurrence(x, v)
    np.testing.assert_allclose(end + (x - end) * (0.99 - u), once, rtol=1e-12)


def test_the_slope_of_a_pulse_by_a_parameter_is_that_of_the_recurrence() -> None:
    """d x / d alpha = |v| / (1 + alpha |v|)^2 (s - x) after one pulse of a constant voltage."""
    x, v = 0.3, 1.7
    wave = xb.Waveform(jnp.zeros(1), jnp.full((1, 1), v))

    def after(alpha: jax.Array) -> jax.Array:
        crossbar = xb.Crossbar(xb.DynamicMemristor(jnp.full((1, 1), x), T, alpha=alpha))
        found = xb.simulate(crossbar, wave, jnp.asarray([0.0, T]), steps_per_interval=64)
        return state(found)[0, 0]

    got, slope = jax.jit(jax.value_and_grad(after))(jnp.asarray(0.23))
    assert abs(got - recurrence(np.array(x), np.array(v))[0]) < 1e-5
    assert abs(slope - v / (1 + 0.23 * v) ** 2 * (1 - x)) < 1e-4


def test_beyond_its_range_the_rate_stays_finite_and_is_reported() -> None:
    cell = xb.DynamicMemristor(jnp.full(2, 0.5), T)
    v, zero = jnp.asarray([380.0, 400.0]), jnp.zeros(2)
    assert cell.in_range(v, zero).tolist() == [True, False]
    assert np.isfinite(np.asarray(cell.rate(1e6 * v, zero))).all()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (dict(x=0.5, t_pulse=0.0), "t_pulse is 0 s; it must be positive"),
        (dict(x=0.5, t_pulse=T, k_p=-1.0), "k_p is -1.0 A/V^3; it must be finite"),
    ],
)
def test_bad_parameters_are_said_in_a_sentence(parameters: dict, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        xb.DynamicMemristor(**parameters)


def test_states_above_1_and_a_memory_without_loss_are_not_valid() -> None:
    x, r = jnp.asarray([0.5, 1.1, 0.5]), jnp.asarray([0.9, 0.9, 1.0])
    assert xb.DynamicMemristor(x, T, r).valid().tolist() == [True, False, False]
