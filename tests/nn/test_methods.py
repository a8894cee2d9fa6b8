"""Guards the methods against wires: every one is a product with the weights that it says, and does
what its name says."""

import dataclasses
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.nn import Hardware, convert, methods
from xbarjax.variability import Lognormal, Programming

LOW, HIGH = 2e-5, 1e-3
PAIR, OFFSET = xb.DifferentialPair(LOW, HIGH), xb.DigitalOffset(LOW, HIGH, 3e-4)
ALL = {
    "plain": methods.plain,
    "calibrated": methods.calibrated,
    "one factor": methods.one_factor,
    "two-ended": methods.two_ended,
    "compensated": methods.compensated,
    "descent": lambda w, h: methods.compensated(w, h, xb.Descent(max_steps=5)),
    "programming": lambda w, h: methods.compensated(
        w, h, xb.Descent(programming=Lognormal(0.02), max_steps=5)
    ),
    "truncated": lambda w, h: methods.truncated(w, h, 3, methods.calibrated),
    "sliced": lambda w, h: methods.sliced(w, h, 2, then=methods.calibrated),
    "permuted": lambda w, h: methods.permuted(w, h, methods.compensated),
}


def wired(g):
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(3.0, 5.0))


def ideal(g):
    return xb.Crossbar(xb.Ohmic(g), xb.Wires(0.0, 0.0))


def weights(shape=(11, 7)):
    return jnp.asarray(np.random.default_rng(0).normal(0, 0.3, shape))


def off(product, w):
    return float(jnp.linalg.norm(product.weights() - w) / jnp.linalg.norm(w))


@pytest.mark.few(4)
@pytest.mark.filterwarnings("ignore:.* tiles miss the tolerance of Descent")
@pytest.mark.parametrize("name", ALL)
def test_a_method_gives_a_product_with_the_weights_that_it_says(name):
    w, x = weights(), jnp.linspace(-1, 1, 11)
    product = ALL[name](w, Hardware(PAIR, wired, max_tile=(4, 7), rest={"v_read": 0.2}))
    np.testing.assert_allclose(product(x), x @ product.weights(), rtol=1e-9, atol=1e-12)
    assert off(product, w) > 1e-6 and product.weights().shape == w.shape


@pytest.mark.parametrize("mapping", [PAIR, OFFSET], ids=lambda m: type(m).__name__)
def test_tiles_are_compensated_also_where_rows_are_left_over(mapping):
    w = weights().at[3:7].set(0.0)  # the second of three tiles has nothing to compute
    hardware = Hardware(mapping, wired, max_tile=(4, 7), scale=0.3)
    assert off(methods.compensated(w, hardware), w) < 2e-4
    assert off(methods.calibrated(w, hardware), w) > 1e-3


def test_tiles_that_cannot_be_compensated_are_said():
    few = xb.FixedPoint(rtol=1e-12, max_steps=2)
    with pytest.warns(UserWarning, match="3 of 3 tiles miss .*FixedPoint, 1e-12.*max_steps"):
        methods.compensated(weights(), Hardware(PAIR, wired, max_tile=(4, 7)), few)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aware = xb.Descent(programming=Lognormal(0.02), max_steps=2, start=few)
        methods.compensated(weights(), Hardware(PAIR, wired, max_tile=(4, 7)), aware)
    with pytest.raises(ValueError, match="11 rows leave 1 of the first tile without cells"):
        methods.two_ended(weights(), Hardware(PAIR, wired, max_tile=(4, 7)), methods.compensated)
    even = methods.two_ended(weights(), Hardware(PAIR, wired, max_tile=11), methods.compensated)
    assert off(even, weights()) < 2e-4
    again = methods.two_ended(weights(), Hardware(PAIR, wired, max_tile=11))
    assert again.build == even.build and hash(again.build) == hash(even.build)  # compiled once


@pytest.mark.parametrize("mapping", [PAIR, OFFSET], ids=lambda m: type(m).__name__)
def test_methods_leave_less_error_than_none(mapping):
    w, hardware = weights(), Hardware(mapping, wired, max_tile=11)
    none = off(methods.plain(w, hardware), w)
    for method in (methods.calibrated, methods.one_factor, methods.two_ended):
        assert off(method(w, hardware), w) < none, method


@pytest.mark.parametrize("mapping", [PAIR, OFFSET], ids=lambda m: type(m).__name__)
def test_one_factor_is_the_best_one_for_its_read(mapping):
    w, x, hardware = weights(), jnp.linspace(-1, 1, 11), Hardware(mapping, wired, max_tile=(4, 7))
    found, plain = methods.one_factor(w, hardware, x), methods.plain(w, hardware)
    scaled = lambda s: dataclasses.replace(plain, gain=s * plain.gain)(x)
    best = float(jnp.ravel(found.gain / plain.gain)[0])
    miss = lambda s: float(jnp.linalg.norm(scaled(s) - x @ w))
    np.testing.assert_allclose(found(x), scaled(best), rtol=1e-9)
    assert miss(best) < min(miss(best * 1.001), miss(best * 0.999))


def test_permutation_puts_what_is_large_where_wires_are_short():
    w = weights((11, 7)) * jnp.outer(jnp.linspace(3, 1, 11), jnp.linspace(1, 4, 7))
    hardware = Hardware(PAIR, wired, max_tile=(6, 7))
    plain, sorted_ = methods.plain(w, hardware), methods.permuted(w, hardware)
    assert off(sorted_, w) < off(plain, w)
    for block in (slice(0, 5), slice(5, 11)):  # 5 and 6 rows
        heavy = jnp.sum(jnp.abs(w), axis=1)[sorted_.rows[block]]
        assert np.all(np.diff(heavy) >= 0) and set(np.asarray(sorted_.rows[block])) == set(
            range(11)[block]
        )
    assert np.all(np.diff(jnp.sum(jnp.abs(w), axis=0)[sorted_.cols]) <= 0)
    at_once = methods.permuted(w, Hardware(PAIR, ideal, max_tile=(6, 7)))
    np.testing.assert_allclose(at_once.weights(), w, rtol=1e-9, atol=1e-12)


def test_truncation_is_that_of_the_singular_values():
    w = weights()
    product = methods.truncated(w, Hardware(PAIR, ideal), 4)
    s = np.linalg.svd(w, compute_uv=False)
    np.testing.assert_allclose(off(product, w), np.sqrt((s[4:] ** 2).sum() / (s**2).sum()))
    np.testing.assert_allclose(jnp.linalg.norm(product.first.weights(), axis=0), 1, rtol=1e-9)
    with pytest.raises(ValueError, match="rank is 8"):
        methods.truncated(w, Hardware(PAIR, ideal), 8)


@pytest.mark.parametrize("sigma", [0.01, 0.04])
def test_every_slice_takes_the_error_down_by_about_the_spread(sigma):
    """With wires in the loop; the largest of 77 normal residuals is some 2.5 of their rms, and both
    sides of a pair err."""
    w, vary = weights(), Programming(jnp.asarray([sigma * (HIGH - LOW)]), HIGH)
    hardware = Hardware(PAIR, wired, max_tile=11, rest={"vary": vary})
    product = methods.sliced(w, hardware, 4, jax.random.key(3))
    sums = np.cumsum([part.weights() for part in product.parts], axis=0)
    errors = np.array([np.linalg.norm(s - w) / np.linalg.norm(w) for s in sums])
    factors = errors[1:] / errors[:-1]
    assert np.all(factors < 6 * sigma) and np.all(factors > sigma), errors
    np.testing.assert_allclose(product.weights(), sums[-1], rtol=1e-9)
    with pytest.raises(ValueError, match="count is 0"):
        methods.sliced(w, hardware, 0)


def test_a_network_takes_any_method():
    net = eqx.nn.MLP(6, 3, 5, 1, key=jax.random.key(0))
    hardware = Hardware(PAIR, wired, max_tile=4)
    on = convert(net, lambda w: methods.permuted(w, hardware, methods.compensated))
    x = jnp.linspace(-1, 1, 6)
    np.testing.assert_allclose(on(x), net(x), rtol=1e-2)
