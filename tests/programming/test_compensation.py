"""Guards mapping, calibration and compensation: weights come back, bounds hold, targets are met."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.programming.missed import Tried, advice

PAIR, INTERLEAVED, OFFSET = (
    kind(g_min=1e-6, g_max=1e-4)
    for kind in (xb.DifferentialPair, xb.InterleavedPair, xb.OffsetColumn)
)
DIGITAL = xb.DigitalOffset(g_min=1e-6, g_max=1e-4, g_zero=5.05e-5)
MAPPINGS = {"pair": PAIR, "interleaved": INTERLEAVED, "digital": DIGITAL, "offset": OFFSET}


def weights(shape=(12, 9), seed=0):
    return jnp.asarray(np.clip(np.random.default_rng(seed).normal(0, 0.3, shape), -1, 1))


def build(r):
    return lambda g: xb.Crossbar(xb.Ohmic(g), xb.Wires(r, r))


def products(answer, mapping, r):
    """What the arrays compute, by reads of unit inputs with the oracle, not by transfer."""
    rows = answer.g.shape[1]
    units = jnp.eye(rows)

    def currents(g):
        read = lambda v: xb.read(build(r)(g), v, solver=xb.Dense()).i_out
        return jax.vmap(read)(units)

    combined = mapping.combine(jnp.stack([currents(g) for g in answer.g]))
    return (combined / answer.gain[None] - mapping.zero) / answer.k


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_ideal_wires_compute_with_the_weights_that_were_mapped(name, scale):
    mapping, w = MAPPINGS[name], weights()
    k = mapping.siemens_per_weight(w, scale)
    g = mapping.program(w, k)
    assert jnp.all((g >= mapping.g_min * (1 - 1e-12)) & (g <= mapping.g_max * (1 + 1e-12)))
    np.testing.assert_allclose((mapping.combine(g) - mapping.zero) / k, w, atol=1e-12)
    np.testing.assert_allclose(jnp.max(mapping.used(g)), scale, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", ["pair", "sum", "interleaved", "offset", "spanning"])
def test_programmed_cells_are_exactly_within_the_bounds(name, dtype):
    """Where the largest weight takes the whole range, a rounding may not take its cell beyond."""
    kinds = {"pair": xb.DifferentialPair, "sum": xb.ConstantSumPair}
    kinds |= {"interleaved": xb.InterleavedPair, "offset": xb.OffsetColumn}
    low, high = (jnp.asarray(g, dtype) for g in (1e-6, 1e-4))

    def made(seed):
        w = jnp.asarray(np.random.default_rng(seed).normal(size=(4, 3)), dtype)
        if name == "spanning":
            return w, *xb.DigitalOffset.spanning(w, low, high)
        mapping = kinds[name](low, high)
        return w, mapping, mapping.siemens_per_weight(w)

    for seed in range(40):
        w, mapping, k = made(seed)
        g = mapping.program(w, k)
        assert jnp.all((g >= low) & (g <= high))
        slope = jax.grad(lambda w, m=mapping, k=k: jnp.sum(m.combine(m.program(w, k))))(w)
        np.testing.assert_allclose(slope, float(k) * np.ones((4, 3)), rtol=1e-5)
    w, mapping, k = made(39)
    beyond = mapping.program(2 * w, k)  # what does not fit stays beyond, so that it is seen
    assert jnp.any((beyond < low) | (beyond > high))


def test_a_digital_offset_spans_the_range_with_the_weights_that_there_are():
    w = weights() + 0.2
    mapping, k = xb.DigitalOffset.spanning(w, 1e-6, 1e-4)
    g = mapping.program(w, k)
    np.testing.assert_allclose([g.min(), g.max()], [1e-6, 1e-4], rtol=1e-9)
    np.testing.assert_allclose((mapping.combine(g) - mapping.zero) / k, w, atol=1e-12)
    np.testing.assert_allclose(mapping.siemens_per_weight(w), k, rtol=1e-12)
    positive, _ = xb.DigitalOffset.spanning(jnp.abs(w), 1e-6, 1e-4)
    assert positive.g_zero == 1e-6
    with pytest.raises(ValueError, match="no room for one of the signs"):
        positive.siemens_per_weight(w)


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_move_changes_the_product_by_what_was_asked(name):
    mapping, w = MAPPINGS[name], weights()
    g = mapping.program(w, mapping.siemens_per_weight(w, 0.5))
    change = 1e-6 * weights(seed=1)
    slope = jnp.full(g.shape, 0.8)
    moved = mapping.move(g, change, slope)
    got = mapping.combine(slope * (moved - g))
    np.testing.assert_allclose(got, change, atol=1e-18)
    assert jnp.all(moved >= mapping.g_min * (1 - 1e-12))


@pytest.mark.few(2)
@pytest.mark.parametrize("name", MAPPINGS)
def test_compensated_arrays_compute_with_the_weights_by_the_oracle(name):
    mapping, w = MAPPINGS[name], weights()
    answer = xb.compensate(w, mapping, build(20.0), scale=0.8)
    assert answer.reached and answer.after.rms < 1e-9 < answer.before.rms
    assert jnp.all((answer.g >= mapping.g_min) & (answer.g <= mapping.g_max))
    found = products(answer, mapping, 20.0)
    assert jnp.linalg.norm(found - w) < 1e-8 * jnp.linalg.norm(w)


def test_a_target_out_of_reach_is_named_and_the_best_bounded_answer_returned():
    w = weights()
    clipped = xb.compensate(w, PAIR, build(60.0), method=xb.FixedPoint(free_gain=False))
    assert not clipped.reached
    assert "not reached" in clipped.summary()
    assert int(clipped.after.saturated.sum()) > 0
    assert clipped.after.rms < clipped.before.rms
    assert jnp.all(clipped.g <= PAIR.g_max) and jnp.all(clipped.gain == 1)
    np.testing.assert_allclose(clipped.after.rms, min(clipped.history), rtol=1e-6)
    free = xb.compensate(w, PAIR, build(60.0))
    assert free.reached and jnp.min(free.gain) < 1
    assert free.after.rms < 1e-6 * clipped.after.rms


def test_a_missed_tolerance_is_explained_by_what_happened():
    said = lambda w, r, **of: xb.compensate(w, PAIR, build(r), method=xb.FixedPoint(**of)).summary()
    w, single = weights(), weights().astype(jnp.float32)
    pair = xb.DifferentialPair(jnp.float32(1e-6), jnp.float32(1e-4))
    ohm = jnp.float32(20.0)
    rounded = xb.compensate(single, pair, build(ohm))
    assert not rounded.reached and rounded.after.rms < 3e-5
    assert "1e-09, is below what float32 can show" in rounded.summary()
    assert "ask for at least 8e-06 or use float64" in rounded.summary()
    assert xb.compensate(single, pair, build(ohm), method=xb.FixedPoint(rtol=8e-6)).reached
    assert "float64 can show" in said(w, 20.0, rtol=1e-18)
    assert "use float64" not in said(w, 20.0, rtol=1e-18)
    assert "still falling after 3 steps: allow more" in said(w, 20.0, max_steps=3)
    bound = said(w, 60.0, free_gain=False)
    assert "at their bounds: lower the scale, free the gains" in bound
    noisy = xb.Descent(programming=xb.Spread(0.05), max_steps=3, start=xb.FixedPoint(max_steps=3))
    assert (
        "contains programming errors" in xb.compensate(w, PAIR, build(20.0), method=noisy).summary()
    )
    still = Tried(1e-9, [1e-3] * 20, 20, free_gain=True, programmed=False, saturated=False)
    assert "No cell is at a bound, and more steps no longer help" in advice(still, w.dtype)


def test_compensation_beats_the_linear_calibration_that_it_is_measured_against():
    w = weights()
    k = PAIR.siemens_per_weight(w)
    plain = jnp.stack([xb.transfer(build(20.0)(g)) for g in PAIR.program(w, k)])
    real = PAIR.combine(plain) / k
    inputs = jnp.asarray(np.random.default_rng(3).uniform(0, 1, (500, 12)))
    fit = xb.calibrate(inputs @ real, inputs @ w)
    error = lambda y: jnp.linalg.norm(y - inputs @ w)
    assert error(fit(inputs @ real)) < error(inputs @ real)
    answer = xb.compensate(w, PAIR, build(20.0))
    found = products(answer, PAIR, 20.0)
    assert error(inputs @ found) < 1e-6 * error(fit(inputs @ real))


def test_calibration_is_least_squares_and_exact_where_columns_are_scaled():
    y = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)))
    fit = xb.calibrate(y, 2.5 * y - 1.0)
    np.testing.assert_allclose(fit.gain, 2.5, rtol=1e-12)
    np.testing.assert_allclose(fit.offset, -1.0, rtol=1e-12)
    wanted = y + jnp.asarray(np.random.default_rng(1).normal(size=y.shape))
    fit = xb.calibrate(y, wanted)
    for column in range(3):
        a = np.stack([y[:, column], np.ones(50)], axis=1)
        solution = np.linalg.lstsq(a, wanted[:, column], rcond=None)[0]
        np.testing.assert_allclose([fit.gain[column], fit.offset[column]], solution, rtol=1e-9)
    still = xb.calibrate(
        jnp.full((100, 3), 0.1), jnp.asarray(np.random.default_rng(2).normal(size=(100, 3)))
    )
    np.testing.assert_array_equal(still.gain, 1)  # rounding is no slope


def test_descent_lowers_a_loss_of_the_users_own_within_the_bounds():
    w = weights()
    inputs = jnp.asarray(np.random.default_rng(3).uniform(0, 1, (100, 12)))
    levels = xb.Levels(8, 1e-6, 1e-4)
    loss = lambda found: jnp.mean((inputs @ (found - w)) ** 2) / jnp.mean((inputs @ w) ** 2)
    steps = []
    answer = xb.compensate(
        w,
        PAIR,
        build(20.0),
        method=xb.Descent(loss=loss, programming=levels, fresh_draws=False, max_steps=25),
        on_step=lambda step, error: steps.append(error),
    )
    assert min(answer.history) < 0.8 * answer.history[0]
    assert tuple(steps[-len(answer.history) :]) == answer.history
    assert jnp.all((answer.g >= PAIR.g_min) & (answer.g <= PAIR.g_max))


@pytest.mark.slow
def test_descent_draws_programming_errors_that_the_seed_fixes():
    w = weights()
    method = lambda seed: xb.Descent(programming=xb.Spread(0.05), max_steps=2, seed=seed)
    one, same, other = (
        xb.compensate(w, PAIR, build(20.0), method=method(seed)).history for seed in (1, 1, 2)
    )
    assert one == same and one != other


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: xb.DifferentialPair(1e-4, 1e-6), "g_min"),
        (lambda: xb.OffsetColumn(-1e-6, 1e-4), "g_min"),
        (lambda: xb.Levels(1, 1e-6, 1e-4), "count"),
        (lambda: xb.compensate(weights(), PAIR, build(1.0), scale=1.5), "scale is 1.5"),
        (lambda: xb.compensate(weights()[0], PAIR, build(1.0)), "weights has shape"),
        (lambda: xb.compensate(weights() * jnp.nan, PAIR, build(1.0)), "weights[0, 0] is nan"),
        (lambda: xb.compensate(weights() * 0, PAIR, build(1.0)), "weights are all 0"),
        (lambda: xb.calibrate(weights(), weights()[1:]), "measured has shape"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert said in str(error.value)
