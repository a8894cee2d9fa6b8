"""Guards what dies differ by: moments and correlations of every perturbation are those of its
docstring, its sizes have gradients, one key is one die, and what is impossible is refused."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.perturbations import EVERY, Drift
from xbarjax import variability as va

G = 5e-5
KEY = jax.random.key(7)


compiled = eqx.filter_jit(lambda perturbation, x, key: perturbation(x, key))


def drawn(perturbation, x=G, count=400_000, key=KEY):
    return np.asarray(compiled(perturbation, jnp.full(count, x), key))


def within(sample, mean, deviation, kurtosis=3.0):
    """Mean and deviation within five of their own standard errors."""
    n = sample.size
    assert abs(sample.mean() - mean) < 5 * deviation / np.sqrt(n) + 1e-15 * abs(mean)
    error = deviation * np.sqrt((kurtosis - 1) / (4 * n))
    assert abs(sample.std() - deviation) < 5 * error


def test_normal_spread():
    within(drawn(va.Spread(0.03, 1e-6)), G, np.hypot(0.03 * G, 1e-6))


def test_lognormal_spread():
    sigma = 0.3
    sample = drawn(va.Lognormal(sigma))
    within(np.log(sample), np.log(G), sigma)
    s2 = sigma**2
    kurtosis = np.exp(4 * s2) + 2 * np.exp(3 * s2) + 3 * np.exp(2 * s2) - 3
    within(sample, G * np.exp(s2 / 2), G * np.sqrt(np.exp(s2) * np.expm1(s2)), kurtosis)


def test_programming_error_follows_its_polynomial():
    error = va.Programming([1e-6, 2e-6, -1e-6], 1e-4)
    for g in (2e-5, 8e-5):
        x = g / 1e-4
        within(drawn(error, g), g, 1e-6 + 2e-6 * x - 1e-6 * x**2)
    assert va.Programming([-1e-6], 1e-4).size(jnp.array(G)) == 0


def test_errors_of_charge_traps_saturate():
    assert np.all(drawn(va.Saturating(1e-7, 2e-6), 0.0, count=9) == 0)
    for g in (1e-6, 1e-3):
        away = 1e-7 * -np.expm1(-g / 2e-6)
        within(drawn(va.Saturating(1e-7, 2e-6), g), g, away)


def test_levels_are_the_nearest():
    levels = va.Levels(5, 0.0, 1e-4)
    g = jnp.array([-1e-6, 1.2e-5, 1.3e-5, 9.9e-5])
    np.testing.assert_allclose(levels.apply(g), [0, 0, 2.5e-5, 1e-4], atol=1e-18)
    np.testing.assert_allclose(jax.grad(lambda g: levels.apply(g).sum())(g), 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count, low, high", [(4, 1e-6, 1e-4), (7, 1e-9, 3.3e-5), (33, 0.0, 1e-4)])
def test_levels_are_exactly_the_grid_and_bounds_the_bounds(count, low, high, dtype):
    """Of any conductance, those far beyond included, compiled or not, with known bounds or traced
    ones: the numbers of NumPy's linspace and no others."""
    grid = np.linspace(low, high, count).astype(dtype)
    inside = np.random.default_rng(0).uniform(low, high, 5000)
    g = np.concatenate([inside, [-np.inf, -1e30, -1.0, 1.0, 1e30, np.inf]]).astype(dtype)
    levels = va.Levels(count, low, high)
    traced = eqx.filter_jit(va.Levels.apply)
    ways = levels.apply, jax.jit(lambda g: levels.apply(g)), lambda g: traced(levels, g)
    for found in (way(jnp.asarray(g)) for way in ways):
        assert found.dtype == dtype
        np.testing.assert_array_equal(np.unique(found), grid)
        np.testing.assert_array_equal(found[-6:], np.repeat(dtype([low, high]), 3))
        assert np.max(np.abs(np.asarray(found[:-6]) - inside)) <= (high - low) / (count - 1) * (
            0.5 + 1e-4
        )
    np.testing.assert_array_equal(jax.grad(lambda g: levels.apply(g).sum())(jnp.asarray(g)), 1)
    halfway = (grid[1:] + grid[:-1]) / 2
    np.testing.assert_array_equal(levels.apply(jnp.asarray(halfway)), grid[:-1])
    assert np.isnan(levels.apply(jnp.asarray(dtype([np.nan]))))


def test_stuck_cells_are_as_many_as_their_probabilities():
    stuck = va.Stuck(p_on=0.02, p_off=0.05, p_open=0.01, g_on=2e-4, g_off=1e-6)
    sample = drawn(stuck)
    for value, p in ((2e-4, 0.02), (1e-6, 0.05), (0.0, 0.01), (G, 0.92)):
        part = np.isclose(sample, value, rtol=1e-12, atol=0).mean()
        assert abs(part - p) < 5 * np.sqrt(p * (1 - p) / sample.size)
    everything = drawn(va.Stuck(p_on=0.5, p_off=0.3, p_open=0.2, g_on=2e-4, g_off=1e-6))
    assert not np.isclose(everything, G).any()


def test_more_stuck_cells_are_the_same_and_some_others():
    few, more = (drawn(va.Stuck(p_off=p, g_off=1e-6)) for p in (0.02, 0.03))
    assert np.all(more[few != G] == 1e-6) and (more != few).any()


def test_broken_wires_are_open():
    broken = drawn(va.Broken(0.01), 2.0)
    p = np.isinf(broken).mean()
    assert abs(p - 0.01) < 5 * np.sqrt(0.01 / broken.size)
    assert np.all((broken == 2.0) | np.isinf(broken))


@pytest.mark.parametrize("lengths", [(3.0, 8.0), (0.0, 5.0), (np.inf, 2.0), (np.inf, np.inf)])
def test_neighbours_share_what_the_covariance_says(lengths):
    sigma, shape, dies = 0.2, (7, 5), 40_000
    field = va.Correlated(sigma, *lengths)
    draw = jax.jit(jax.vmap(lambda key: field(jnp.full(shape, G), key)))
    logs = np.log(draw(jax.random.split(KEY, dies)) / G) / sigma
    covariance = np.einsum("nij,nkl->ijkl", logs, logs) / dies
    i, j = (abs(np.subtract.outer(np.arange(n), np.arange(n))) for n in shape)

    def decay(apart, length):
        if length == 0:
            return (apart == 0).astype(float)
        return np.exp(-apart / length)

    expected = np.einsum("ik,jl->ijkl", decay(i, lengths[0]), decay(j, lengths[1]))
    # The standard error of a covariance of normal numbers is sqrt((1 + rho^2)/n).
    assert np.all(abs(covariance - expected) < 5.5 * np.sqrt((1 + expected**2) / dies) + 1e-12)


def test_correlation_has_a_gradient_up_to_its_limits():
    @jax.jit
    @jax.value_and_grad
    def spread(length):
        return va.Correlated(0.2, length, length)(jnp.full((4, 3), G), KEY).sum() / G

    for length in (2.0, 0.5):
        slope = (spread(length + 1e-5)[0] - spread(length - 1e-5)[0]) / 2e-5
        np.testing.assert_allclose(spread(length)[1], slope, rtol=1e-6)
    assert spread(0.0)[1] == 0 and spread(np.inf)[1] == 0


def test_flicker_takes_what_lies_between_two_frequencies():
    within(drawn(va.Flicker(1e-4, 1.0, 1e6)), G, G * np.sqrt(1e-4 * np.log(1e6)))
    assert np.all(drawn(va.Flicker(1e-4, 10.0, 10.0), count=5) == G)


def test_flicker_in_time_is_correlated_as_one_over_f_is():
    from scipy.special import exp1

    noise, n = va.Flicker(1e-4, 1.0, 1e4), 40_000
    ts = jnp.array([0.0, 1e-4, 1e-2, 1e-2, 0.3])
    found = np.asarray(noise.trace(jnp.full(n, G), ts, KEY)) / G - 1
    power = 1e-4 * np.log(1e4)
    assert found.shape == (5, n) and np.all(found[2] == found[3])
    for k in range(5):
        within(found[k], 0.0, np.sqrt(power))
        # the covariance of K/f between the two: the integral of exp(-rate t) over ln rate
        low, high = 2 * np.pi * float(ts[k]), 2 * np.pi * 1e4 * float(ts[k])
        expected = 1e-4 * (exp1(low) - exp1(high)) / power if k else 1.0
        np.testing.assert_allclose((found[0] * found[k]).mean() / power, expected, atol=0.025)


def test_flicker_in_time_keeps_precision_and_has_gradients():
    ts = jnp.array([0.0, 1e-3, 1e-3, 2.0])
    for dtype in (jnp.float32, jnp.float64):
        x = jnp.full((2, 3), G, dtype)
        assert va.Flicker(1e-4, 1.0, 1e4).trace(x, ts, KEY).dtype == dtype

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1, 2, 3))
    def total(k, low, high, start):
        times = ts.at[0].set(start)
        return va.Flicker(k, low, high).trace(jnp.full((2, 3), G), times, KEY).sum() / G

    at = (1e-4, 1.0, 1e4, 1e-5)
    slopes = total(*at)[1]
    for n, slope in enumerate(slopes):
        up, down = ([x * (1 + e * (k == n)) for k, x in enumerate(at)] for e in (1e-5, -1e-5))
        np.testing.assert_allclose(
            slope, (total(*up)[0] - total(*down)[0]) / (2e-5 * at[n]), rtol=2e-5, atol=1e-9
        )


def test_telegraph_noise_at_rest_and_in_time():
    noise = va.RandomTelegraphNoise(0.2, tau_capture=3e-3, tau_emission=1e-3)
    p = 0.25
    within(drawn(noise), G * (1 - 0.2 * p), 0.2 * G * np.sqrt(p * (1 - p)), kurtosis=7 / 3)
    ts = jnp.array([0.0, 1e-4, 1e-3, 1e-3, 20e-3])
    full = np.asarray(noise.trace(jnp.full(300_000, G), ts, KEY)) < 0.9 * G
    assert full.shape == (5, 300_000) and np.all(full[2] == full[3])
    tau = 1 / (1 / 3e-3 + 1 / 1e-3)
    for k in range(5):
        np.testing.assert_allclose(full[k].mean(), p, atol=5 * np.sqrt(p * (1 - p) / 3e5))
        correlation = np.mean((full[0] - p) * (full[k] - p)) / (p * (1 - p))
        np.testing.assert_allclose(correlation, np.exp(-float(ts[k]) / tau), atol=0.013)


def test_drift_is_lognormal_in_time_and_the_same_cells_later():
    early, late = (Drift(t, 20.0, mean=0.05, spread=0.01) for t in (2e3, 2e5))
    for drift, ratio in ((early, 1e2), (late, 1e4)):
        logs = np.log(drawn(drift) / G)
        within(logs, -0.05 * np.log(ratio), 0.01 * np.log(ratio))
    np.testing.assert_allclose(np.log(drawn(late) / G), 2 * np.log(drawn(early) / G), rtol=1e-9)
    assert np.all(drawn(Drift(20.0, 20.0, 0.05, 0.01), count=9) == G)


def test_the_exponent_of_drift_may_depend_on_conductance():
    nu = va.ClippedLog(slope=-0.0155, offset=0.0244, low=0.049, high=0.1, g_max=25e-6)
    g = jnp.array([25e-6, 2.5e-6, 25e-8, 0.0])
    np.testing.assert_allclose(
        nu(g), [0.049, 0.0244 + 0.0155 * np.log(10), 0.0958, 0.049], rtol=1e-3
    )
    drift = Drift(200.0, 20.0, mean=nu, spread=0.0)
    np.testing.assert_allclose(drift(g, KEY), g * 10 ** -nu(g), rtol=1e-12)
    assert np.isfinite(jax.grad(lambda g: drift(g, KEY).sum())(g)).all()


def test_relaxation_shifts_and_spreads_with_age():
    for age in (1.0, 0.5):
        relaxed = va.Relaxation([-1e-6, 1e-6], [2e-6, 1e-6], 1e-4, age)
        within(drawn(relaxed), G + age * (-1e-6 + 0.5e-6), age * 2.5e-6)
    assert va.logarithmic(86400.0, 86400.0, 1.0) == 1 and va.logarithmic(0.0, 1.0, 1.0) == 0
    # 0.1 eV between 300 and 360 K: exp(0.1 / 8.617333e-5 * (1/300 - 1/360))
    ratio = va.equivalent_time(1.0, 360.0, 300.0, 0.1)
    np.testing.assert_allclose(ratio, np.exp(0.1 / 8.617333262e-5 * (1 / 300 - 1 / 360)), rtol=1e-9)


@pytest.mark.parametrize(
    "later",
    [
        va.Metallic(0.004, 400.0, 300.0),
        va.Spread(relative=2.0),
        va.Lognormal(0.5),
        va.Correlated(0.5, 2.0, 2.0),
    ],
)
def test_what_is_broken_stays_so_and_leaves_derivatives_finite(later):
    broken = jnp.full((6, 5), 2.0).at[2, 3].set(jnp.inf)

    def output(later):
        wires = xb.Wires(later(broken, KEY))
        return xb.read(xb.Crossbar(xb.Ohmic(jnp.full((6, 5), G)), wires), jnp.full(6, 0.2))

    assert np.isinf(later(broken, KEY)[2, 3]) and np.isinf(later(broken, KEY)).sum() == 1
    slopes = jax.grad(lambda later: output(later).i_out.sum())(later)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    "wide",
    [
        va.Spread(relative=1.0),
        va.Programming([5e-5], 1e-4),
        va.Flicker(1.0, 1.0, 1e3),
        va.Relaxation([0.0], [5e-5], 1e-4),
    ],
)
def test_conductances_stay_above_0(wide):
    sample = drawn(wide, count=10_000)
    assert sample.min() == 0 and 0.05 < (sample == 0).mean() < 0.45


def test_temperature_moves_wires_and_cells():
    np.testing.assert_allclose(va.Metallic(0.004, 400.0, 300.0).apply(jnp.array(2.0)), 2.8)
    factor = va.Activated(0.1, 360.0, 300.0).apply(jnp.array(1.0))
    np.testing.assert_allclose(
        factor, np.exp(-0.1 / 8.617333262e-5 * (1 / 360 - 1 / 300)), rtol=1e-9
    )


def crossbar(sigma=0.1, r=2.0):
    g = jnp.full((6, 5), G)
    die = va.Chain(
        va.At(cells, va.Lognormal(sigma)), va.At(word_lines, va.Spread(relative=sigma), (6, 5))
    )
    return die(xb.Crossbar(xb.Ohmic(g), xb.Wires(r, 1.0)), KEY)


cells = lambda crossbar: crossbar.cell.g
word_lines = lambda crossbar: crossbar.wires.r_row


def test_a_die_is_a_crossbar_with_its_own_cells_and_wires():
    die = crossbar()
    assert die.wires.r_row.shape == (6, 5) and np.unique(die.wires.r_row).size == 30
    assert np.unique(die.cell.g).size == 30 and die.wires.r_col == 1.0
    assert xb.read(die, jnp.full(6, 0.2)).status == xb.Status.OK


def test_what_comes_later_in_a_chain_leaves_what_comes_before_as_it_is():
    g = jnp.full((6, 5), G)
    one = va.Chain(va.Lognormal(0.1))(g, KEY)
    np.testing.assert_array_equal(va.Chain(va.Lognormal(0.1), va.Spread())(g, KEY), one)
    two = va.Chain(va.Lognormal(0.1), va.Lognormal(0.1))(g, KEY)
    assert np.all(abs(np.log(two / one) / np.log(one / g) - 1) > 1e-9)  # not the same draw twice


def test_a_leaf_that_a_stage_spreads_out_is_drawn_at_its_new_shape():
    die = va.Chain(
        va.At(word_lines, va.Spread(relative=0.1), (6, 5)), va.At(word_lines, va.Broken(0.3))
    )
    r = die(xb.Crossbar(xb.Ohmic(jnp.full((6, 5), G)), xb.Wires(2.0, 1.0)), KEY).wires.r_row
    assert 1 < np.isinf(r).sum() < 29


def test_what_is_drawn_may_be_moved():
    field, x = va.Correlated(0.1, 2.0, 3.0), jnp.full((4, 3), G)
    drawn = field.draw(x, KEY)
    np.testing.assert_array_equal(field.apply(x, drawn), field(x, KEY))
    assert np.all(field.apply(x, drawn + 1) > field(x, KEY))


def test_sizes_have_the_gradient_of_this_very_die():
    def output(sigma):
        return xb.read(crossbar(sigma), jnp.full(6, 0.2)).i_out.sum() * 1e5

    slope = (output(0.1 + 1e-5) - output(0.1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(output)(0.1), slope, rtol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_every_perturbation_keeps_shape_and_precision_and_runs_compiled(name):
    perturbation = EVERY[name]
    for dtype in (jnp.float32, jnp.float64):
        x = jnp.linspace(1e-5, 1e-4, 12, dtype=dtype).reshape(4, 3)
        plain = perturbation(x, KEY)
        once = compiled(perturbation, x, KEY)
        assert plain.shape == x.shape and plain.dtype == dtype and np.all(plain >= 0)
        np.testing.assert_allclose(plain, once, rtol=1e-5 if dtype == jnp.float32 else 1e-12)
        batch = jax.jit(jax.vmap(perturbation, (None, 0)))(x, jax.random.split(KEY, 3))
        assert batch.shape == (3, 4, 3)
    total = lambda p: jnp.where(jnp.isfinite(y := p(x, KEY)), y, 0).sum()
    gradient = eqx.filter_jit(jax.grad(total))(perturbation)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: va.Spread(-0.1), "relative is -0.1"),
        (lambda: va.Lognormal(jnp.nan), "sigma is nan"),
        (lambda: va.Correlated(0.1, -1.0, 1.0), "length_row is -1.0"),
        (lambda: va.Programming(1e-6, 1e-4), "coefficients has shape ()"),
        (lambda: va.Programming([1e-6], 0.0), "g_max is 0"),
        (lambda: va.Levels(1, 1e-6, 1e-4), "count is 1"),
        (lambda: va.Levels(4, 1e-4, 1e-4), "g_min is"),
        (lambda: va.ClippedLog(0.0, 0.0, 0.1, 0.05, 1e-6), "low is 0.1"),
        (lambda: va.Correlated(0.1, 1.0, 1.0)(jnp.asarray(1.0), KEY), "x has the shape ()"),
        (lambda: va.Stuck(p_on=0.7, p_off=0.4, g_on=1e-4), "add up to more than 1"),
        (lambda: va.Stuck(p_on=1.2, g_on=1e-4), "p_on is 1.2"),
        (lambda: va.Stuck(p_on=0.1), "g_on is 0"),
        (lambda: va.Broken(-0.1), "p is -0.1"),
        (lambda: va.Flicker(1e-4, 10.0, 1.0), "f_low is 10.0"),
        (lambda: va.Flicker(1e-4, 0.0, 1.0), "f_low is 0"),
        (lambda: va.Flicker(1e-4, 1.0, 2.0).trace(jnp.ones(2), jnp.array([1.0, 0.0]), KEY), "ts"),
        (lambda: va.Flicker(1e-4, 1.0, 2.0).trace(jnp.ones(2), jnp.ones(1), KEY, 0), "modes is 0"),
        (lambda: va.Saturating(-1e-6, 1e-6), "size is -1e-06"),
        (lambda: va.Saturating(1e-6, 0.0), "g_0 is 0"),
        (lambda: va.RandomTelegraphNoise(1.5, 1.0, 1.0), "amplitude is 1.5"),
        (lambda: va.RandomTelegraphNoise(0.5, 0.0, 1.0), "tau_capture is 0"),
        (
            lambda: va.RandomTelegraphNoise(0.5, 1.0, 1.0).trace(
                jnp.ones(2), jnp.array([1.0, 0.0]), KEY
            ),
            "ts",
        ),
        (lambda: Drift(0.0, 20.0, 0.05, 0.0), "t is 0"),
        (lambda: va.Relaxation([0.0], [jnp.inf], 1e-4), "size[0] is inf"),
        (lambda: va.Metallic(0.004, -3.0), "temperature is -3.0"),
    ],
)
def test_impossible_numbers_are_named(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert said in str(error.value)


def test_a_place_that_is_no_array_is_named():
    with pytest.raises(TypeError, match="where picks a Ohmic"):
        va.At(lambda crossbar: crossbar.cell, va.Lognormal(0.1))(crossbar(), KEY)
