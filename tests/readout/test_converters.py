"""Converters against independent comparisons in NumPy, and their straight-through gradients."""

from __future__ import annotations

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb

BITS, LO, HI = 4, -0.5, 1.5
LAST, WIDTH = 2**BITS - 1, HI - LO
RNG = np.random.default_rng(0)
X = RNG.uniform(LO - 0.3, HI + 0.3, (50, 6))
INSIDE = (X > LO) & (X < HI)


def nearest(x: np.ndarray) -> np.ndarray:
    """The nearest of all code values, by trying every one."""
    values = LO + WIDTH * np.arange(LAST + 1) / LAST
    return np.argmin(np.abs(x[..., None] - values), axis=-1)


def test_an_ideal_converter_takes_the_nearest_code() -> None:
    adc = xb.Adc(BITS, LO, HI)
    np.testing.assert_array_equal(adc.code(jnp.asarray(X)), nearest(X))
    want = LO + WIDTH * nearest(X) / LAST
    np.testing.assert_allclose(adc(jnp.asarray(X)), want, atol=1e-15)


def test_converters_without_errors_are_ideal() -> None:
    x = jnp.asarray(X)
    for converter in (
        xb.Sar(BITS, LO, HI, jnp.zeros(BITS)),
        xb.Flash(BITS, LO, HI, jnp.zeros(LAST)),
        xb.Ramp(jnp.linspace(LO, HI, LAST + 1)),
    ):
        np.testing.assert_array_equal(converter.code(x), nearest(X))


def test_successive_approximation_with_capacitors_that_do_not_match() -> None:
    mismatch, offset = RNG.normal(0, 0.1, (6, BITS)), RNG.normal(0, 0.02, 6)
    sar = xb.Sar(BITS, LO, HI, jnp.asarray(mismatch), jnp.asarray(offset))
    got = np.asarray(sar.code(jnp.asarray(X)))
    assert np.any(got != nearest(X))
    for i, j in np.ndindex(*X.shape):
        c = [2**b * (1 + mismatch[j, b]) for b in range(BITS)]
        level = lambda bits, c=c: LO + WIDTH * sum(c[b] for b in bits) / sum(c)
        half, kept = WIDTH / LAST / 2, []
        for b in (3, 2, 1, 0):
            if level([*kept, b]) <= X[i, j] + offset[j] + half:
                kept.append(b)
        assert got[i, j] == sum(2**b for b in kept)


def test_flash_counts_the_thresholds_that_are_passed() -> None:
    offset = RNG.normal(0, 0.1, (6, LAST))  # often out of order
    flash = xb.Flash(BITS, LO, HI, jnp.asarray(offset))
    thresholds = LO + WIDTH * (np.arange(LAST) + 0.5) / LAST + offset
    want = (X[..., None] > thresholds).sum(-1)
    np.testing.assert_array_equal(flash.code(jnp.asarray(X)), want)


def test_a_ramp_takes_the_nearest_of_its_levels() -> None:
    levels = np.sort(RNG.uniform(0, 1, 8))
    offset = RNG.normal(0, 0.01, 6)
    ramp = xb.Ramp(jnp.asarray(levels), jnp.asarray(offset))
    want = np.argmin(np.abs((X + offset)[..., None] - levels), axis=-1)
    np.testing.assert_array_equal(ramp.code(jnp.asarray(X)), want)
    np.testing.assert_allclose(ramp(jnp.asarray(X)), levels[want], atol=1e-16)
    rectifier = xb.Ramp(jnp.linspace(0, 1, 8))
    assert np.all(np.asarray(rectifier(jnp.asarray(X)))[X < 0] == 0)


@pytest.mark.parametrize("kind", ["Adc", "Sar", "Flash"])
def test_gradients_go_straight_through_and_reach_the_range(kind: str) -> None:
    more = {"Adc": (), "Sar": (jnp.zeros(BITS),), "Flash": (jnp.zeros(LAST),)}[kind]
    x = jnp.asarray(X[:, 0])

    def total(x, lo, hi):
        return jnp.sum(getattr(xb, kind)(BITS, lo, hi, *more)(x))

    by_x, by_lo, by_hi = jax.grad(total, argnums=(0, 1, 2))(x, LO, HI)
    inside = INSIDE[:, 0]
    np.testing.assert_allclose(by_x, inside.astype(float), atol=1e-15)
    u = (X[:, 0] - LO) * LAST / WIDTH
    off = np.where(inside, u - nearest(X[:, 0]), 0) / LAST
    np.testing.assert_allclose(by_lo, np.sum(off + (X[:, 0] < LO)), rtol=1e-12)
    np.testing.assert_allclose(by_hi, np.sum(-off + (X[:, 0] > HI)), rtol=1e-12)


def test_the_gradients_of_an_even_ramp_are_those_of_an_ideal_converter() -> None:
    x, offset = jnp.asarray(X[:, :1]), jnp.zeros((1, 1))
    weights = jnp.asarray(RNG.normal(size=x.shape))

    def total(kind, x, offset, lo, hi):
        even = lo + (hi - lo) * jnp.linspace(0, 1, LAST + 1)
        y = xb.Adc(BITS, lo, hi)(x + offset) if kind == "Adc" else xb.Ramp(even, offset)(x)
        return jnp.sum(weights * y)

    want, got = (jax.grad(total, (1, 2, 3, 4))(k, x, offset, LO, HI) for k in ("Adc", "Ramp"))
    chex.assert_trees_all_close(got, want, rtol=1e-12, atol=1e-12)


def test_the_gradients_of_a_ramp_are_those_of_a_mean_over_many_signals() -> None:
    """Against differences of the mean itself, which sees the codes change; to the order of a step
    squared. Were codes taken as constant, inner levels would have 0.03 and more."""
    x, levels, d = jnp.linspace(-0.1, 1.1, 100_001), jnp.linspace(0, 1, 2**BITS), 3e-3
    mean = lambda levels: jnp.mean(jnp.sin(3 * xb.Ramp(levels)(x)))
    by_level = jax.grad(mean)(levels)
    for j in range(2**BITS):
        up, down = (mean(levels.at[j].add(s * d)) for s in (1, -1))
        np.testing.assert_allclose(by_level[j], (up - down) / (2 * d), atol=3e-3)
    assert by_level[0] > 0.2 and by_level[-1] < -0.2


def test_parts_are_built_under_jit_from_arrays_that_it_closes_over() -> None:
    one, lo, hi = jnp.ones(3), jnp.zeros(3), jnp.ones(3)
    x = jnp.linspace(0, 1, 3)
    for make in (
        lambda z: xb.Tia(z, 1e3 * one).r_in,
        lambda z: xb.Tia(z, 1e3 * one, v_low=lo, v_high=hi).r_in,
        lambda z: xb.Adc(4, lo, hi)(z * x),
        lambda z: xb.Sar(4, lo, hi, jnp.zeros((3, 4)))(z * x),
        lambda z: xb.Ramp(x)(z * x),
        lambda z: z * xb.encoding.sliced(x, 0.2, 4, (2, 2)).v,
        lambda z: z * xb.feeding.levels(jnp.asarray([0, 1]), x, 1.0).v,
        lambda z: xb.integrate(
            xb.Crossbar(xb.Ohmic(jnp.ones((1, 3))), readout=xb.Integrator(z, hi[0])), jnp.ones(1)
        ),
    ):
        np.testing.assert_allclose(jax.jit(make)(0.9), make(0.9))


def test_what_is_no_number_stays_none() -> None:
    nan = jnp.asarray([jnp.nan, 0.5])
    for converter in (xb.Adc(4, 0.0, 1.0), xb.Ramp(jnp.linspace(0, 1, 8))):
        np.testing.assert_array_equal(jnp.isnan(converter(nan)), [True, False])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_of_the_range_are_exactly_the_ends(dtype: type) -> None:
    """Whatever they are, compiled or not: the first code stands for `lo`, the last for `hi`, and
    there are as many values as codes."""
    random = np.random.default_rng(1)
    for lo, hi in random.normal(0, 1, (8, 1)) + np.sort(random.uniform(0, 1, (8, 2)), axis=1):
        lo, hi = dtype(lo), dtype(hi)
        x = jnp.asarray(np.linspace(lo - 1, hi + 1, 3001), dtype)
        adc = xb.Adc(BITS, jnp.asarray(lo), jnp.asarray(hi))
        for y in (adc(x), jax.jit(lambda x, adc=adc: adc(x))(x)):
            values = np.unique(y)
            assert values.dtype == dtype and len(values) <= LAST + 1
            assert values[0] == lo and values[-1] == hi


def test_an_infinite_signal_leaves_the_gradients_of_a_ramp_finite() -> None:
    ramp, x = xb.Ramp(jnp.linspace(0, 1, 8)), jnp.asarray([-jnp.inf, 0.4, jnp.inf])
    np.testing.assert_array_equal(ramp(x), ramp(jnp.asarray([-9.0, 0.4, 9.0])))
    by_ramp, by_x = jax.grad(lambda ramp, x: jnp.sum(ramp(x)), (0, 1))(ramp, x)
    np.testing.assert_array_equal(by_x, [0, 1, 0])
    assert np.isfinite(by_ramp.levels).all()


def test_a_range_is_learned() -> None:
    """Signals that fill a tenth of the range: gradient descent on `hi` finds it."""
    x = jnp.asarray(np.abs(RNG.normal(0, 0.05, 400)))
    loss = lambda log_hi: jnp.mean((xb.Adc(4, 0.0, jnp.exp(log_hi))(x) - x) ** 2)
    log_hi, slope = jnp.zeros(()), jax.jit(jax.grad(loss))
    first = float(loss(log_hi))
    for _ in range(300):
        log_hi = log_hi - 0.02 * jnp.sign(slope(log_hi))
    assert float(loss(log_hi)) < first / 20 and 0.08 < float(jnp.exp(log_hi)) < 0.2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: xb.Adc(4, 1.0, 1.0), "lo = 1.0 to hi = 1.0 has no width"),
        (lambda: xb.Adc(0, 0.0, 1.0), "bits is 0"),
        (lambda: xb.Adc(4, 0.0, 1.0)(jnp.full(3, 7.0)), "whole signal lies beyond.*0.0 to 1.0"),
        (lambda: xb.Sar(4, 0.0, 1.0, jnp.zeros(3)), r"mismatch has shape \(3,\).*must be 4"),
        (lambda: xb.Sar(2, 0.0, 1.0, jnp.asarray([0.0, -1.5])), "mismatch has an entry of -1.5"),
        (lambda: xb.Flash(2, 0.0, 1.0, jnp.zeros(4)), r"offset has shape \(4,\).*must be 3"),
        (lambda: xb.Ramp(jnp.asarray([0.0, 1.0, 1.0])), "do not rise after the one at 1"),
        (lambda: xb.Ramp(jnp.zeros(1)), "two or more"),
    ],
)
def test_bad_input_is_named(call: Callable, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
