"""Guards pulses for training in the array: each is that of NumPy in AIHWKit's own weights, trains
follow closed forms, noise has its moments, no device leaves its window, and every number has a
gradient."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import pulses as one_by_one
from xbarjax import presets, variability as va
from xbarjax.variability import (
    Endurance,
    ExponentialStep,
    LinearStep,
    PowerStep,
    PulseResponse,
    pulsed,
)

KEY = jax.random.key(5)
LOW, HIGH = 2e-6, 1e-4
W_LOW, W_HIGH = -0.8, 1.2
UNIT = (HIGH - LOW) / (W_HIGH - W_LOW)  # [S] of a weight of 1
COUNTS = np.array([[0, 1, -1, 40], [-40, 7, -25, 200], [-200, 3, 12, -2]])
STARTS = np.random.default_rng(0).uniform(W_LOW, W_HIGH, COUNTS.shape)
STARTS[0, 1:3] = W_HIGH, W_LOW  # at an end, pulsed towards it


def siemens(w: Any) -> Any:
    return LOW + (np.asarray(w) - W_LOW) * UNIT


# AIHWKit's models, and the same in siemens. The window of the exponential step is its whole range.
GAMMA, A, EXPONENT, TWIST = (0.3, 0.6), (-1.2, 0.02), (4.0, 3.0), (-0.5, -0.2)
PLACE = 2 * TWIST[0] * np.array([W_LOW, W_HIGH]) / (W_HIGH - W_LOW) + TWIST[1]  # z at both ends
MODELS: dict[str, tuple[one_by_one.Step, va.AbstractStep, va.AbstractStep]] = {
    "constant": (
        one_by_one.linear(0.02, (0.0, 0.0), W_LOW, W_HIGH),
        LinearStep(0.02 * UNIT),
        LinearStep(0.02 * UNIT),
    ),
    "linear": (
        one_by_one.linear(0.02, GAMMA, W_LOW, W_HIGH),
        LinearStep(
            0.02 * UNIT * (1 - GAMMA[0] * W_LOW / W_HIGH),
            1 - (1 - GAMMA[0]) / (1 - GAMMA[0] * W_LOW / W_HIGH),
        ),
        LinearStep(
            0.02 * UNIT * (1 - GAMMA[1] * W_HIGH / W_LOW),
            1 - (1 - GAMMA[1]) / (1 - GAMMA[1] * W_HIGH / W_LOW),
        ),
    ),
    "soft bounds": (
        one_by_one.linear(0.02, (1.0, 1.0), W_LOW, W_HIGH),
        LinearStep(0.02 * UNIT * (1 - W_LOW / W_HIGH), 1.0),
        LinearStep(0.02 * UNIT * (1 - W_HIGH / W_LOW), 1.0),
    ),
    "exponential": (
        one_by_one.exponential((0.01, 0.02), A, EXPONENT, *TWIST, W_LOW, W_HIGH),
        ExponentialStep(
            0.01 * UNIT, -A[0] * np.exp(EXPONENT[0] * PLACE[0]), -2 * TWIST[0] * EXPONENT[0]
        ),
        ExponentialStep(
            0.02 * UNIT, -A[1] * np.exp(-EXPONENT[1] * PLACE[1]), -2 * TWIST[0] * EXPONENT[1]
        ),
    ),
    "power": (
        one_by_one.power((0.02, 0.05), (0.5, 2.3), W_LOW, W_HIGH),
        PowerStep(0.02 * UNIT, 0.5),
        PowerStep(0.05 * UNIT, 2.3),
    ),
}


def response(name: str, **numbers: Any) -> PulseResponse:
    _, up, down = MODELS[name]
    return PulseResponse(up, down, LOW, HIGH, **numbers)


@pytest.mark.parametrize("name", MODELS)
def test_mean_pulses_are_those_of_a_loop_in_weights(name: str) -> None:
    step, up, down = MODELS[name]
    wanted = siemens(one_by_one.train(step, STARTS, COUNTS, W_LOW, W_HIGH))
    found = pulsed(response(name), siemens(STARTS), COUNTS)
    np.testing.assert_allclose(found.g, wanted, rtol=1e-9)
    np.testing.assert_array_equal(found.count, np.abs(COUNTS))
    assert found.g[0, 0] == siemens(STARTS)[0, 0]  # exactly, without pulses
    single = pulsed(response(name), siemens(STARTS).astype(np.float32), COUNTS)
    assert single.g.dtype == single.hidden.dtype == jnp.float32
    np.testing.assert_allclose(single.g, wanted, rtol=1e-4)
    at = jnp.asarray(siemens(STARTS))
    for found, d in zip(response(name).steps(at), (1, -1), strict=True):
        np.testing.assert_allclose(found, UNIT * step(STARTS, d), rtol=1e-9, atol=1e-19)


def test_soft_bounds_are_approached_exponentially() -> None:
    n, left = np.arange(0, 300, 20), 1 - 1.5e-6 / (HIGH - LOW)
    soft = PulseResponse(LinearStep(1.5e-6, 1.0), LinearStep(1.5e-6, 1.0), LOW, HIGH)
    for start, d, end in ((LOW, 1, HIGH), (HIGH, -1, LOW), (3e-5, 1, HIGH)):
        found = pulsed(soft, np.full(n.shape, start), d * n).g
        np.testing.assert_allclose(found, end + (start - end) * left**n, rtol=1e-12)
    # a soft bound is also a power of 1
    also = PulseResponse(PowerStep(1.5e-6), PowerStep(1.5e-6), LOW, HIGH)
    start = np.full(n.shape, 3e-5)
    np.testing.assert_allclose(pulsed(also, start, n).g, pulsed(soft, start, n).g, rtol=1e-12)


def test_an_exponential_curve_from_end_to_end_is_a_linear_step() -> None:
    """`g_min + b (1 - exp(-n/n_0))` that ends at `g_max` after 64 pulses."""
    n, n_0 = np.arange(65), 21.0
    b = (HIGH - LOW) / (1 - np.exp(-64 / n_0))
    up = LinearStep(b * (1 - np.exp(-1 / n_0)), 1 - np.exp(-64 / n_0))
    found = pulsed(PulseResponse(up, up, LOW, HIGH), np.full(65, LOW), n).g
    np.testing.assert_allclose(found, LOW + b * (1 - np.exp(-n / n_0)), rtol=1e-12)


@pytest.mark.parametrize(
    "name, cycle, floor", [("linear", 0.8, 0.0), ("soft bounds", 0.0, 0.03), ("power", 0.5, 0.01)]
)
def test_moments_of_noisy_pulses_are_those_of_a_loop(name: str, cycle: float, floor: float) -> None:
    start, n, devices = 0.2, 25, 2000
    wanted = one_by_one.train(
        MODELS[name][0],
        np.full(devices, start),
        np.full(devices, n),
        W_LOW,
        W_HIGH,
        cycle,
        floor,
        np.random.default_rng(1),
    )
    noisy = response(name, cycle=cycle, cycle_floor=floor * UNIT)
    found = (pulsed(noisy, np.full((10, devices), siemens(start)), n, KEY).g - LOW) / UNIT + W_LOW
    error = wanted.std() / np.sqrt(devices)
    assert abs(found.mean() - wanted.mean()) < 4 * error
    # the deviation of `devices` numbers is known to 1 part in sqrt(2 devices)
    assert abs(found.std() / wanted.std() - 1) < 4 / np.sqrt(2 * devices)


def test_no_device_leaves_its_window_and_no_read_sees_less_than_0() -> None:
    wild = response("exponential", cycle=20.0, cycle_floor=1e-5, write_noise=5e-6)
    found = pulsed(wild, siemens(STARTS), COUNTS, KEY)
    for _ in range(3):
        found = pulsed(wild, found, -COUNTS, KEY)
        assert found.hidden.min() >= LOW and found.hidden.max() <= HIGH and found.g.min() >= 0
    single = pulsed(wild, siemens(STARTS).astype(np.float32), 50, KEY)
    assert single.hidden.min() >= np.float32(LOW) and single.hidden.max() <= np.float32(HIGH)


def test_write_noise_is_seen_and_not_kept() -> None:
    mean = response("linear")
    noisy = response("linear", write_noise=2e-6)
    g = np.full((50, 80), 5e-5)
    counts = np.where(np.arange(80) % 4 == 0, 0, 3) * np.ones((50, 1), int)
    hit = counts > 0
    one = pulsed(noisy, g, counts, KEY)
    np.testing.assert_allclose(one.hidden, pulsed(mean, g, counts).hidden, rtol=1e-12)
    seen = np.asarray(one.g - one.hidden)
    assert np.all(seen[~hit] == 0) and np.all(seen[hit] != 0)
    assert abs(seen[hit].std() / 2e-6 - 1) < 4 / np.sqrt(2 * hit.sum())
    assert abs(seen[hit].mean()) < 4 * 2e-6 / np.sqrt(hit.sum())
    # devices that are not touched keep what a read sees of them
    other = pulsed(noisy, one, np.where(hit, 0, 3), jax.random.key(6))
    np.testing.assert_array_equal(other.g[hit], one.g[hit])
    assert np.all(np.asarray(other.g != one.g)[~hit])
    again = pulsed(noisy, one, counts, jax.random.key(7))
    assert np.all(np.asarray(again.g - again.hidden)[hit] != seen[hit])


def test_a_longer_train_begins_as_a_shorter_one() -> None:
    noisy = response("linear", cycle=0.5)
    g = siemens(STARTS)
    by_counts = pulsed(noisy, g, np.minimum(np.abs(COUNTS), 5), KEY).g
    for n in range(6):
        same = np.minimum(np.abs(COUNTS), 5) == n
        np.testing.assert_allclose(pulsed(noisy, g, n, KEY).g[same], by_counts[same], rtol=1e-14)
    assert not np.any(pulsed(noisy, g, 5, jax.random.key(9)).g == pulsed(noisy, g, 5, KEY).g)


def test_devices_differ_by_perturbations_of_their_response() -> None:
    shape = (40, 60)
    spread = va.Chain(
        va.At(lambda r: r.strength, va.Spread(0.1), shape=shape),
        va.At(lambda r: r.strength, va.Stuck(p_off=0.25), shape=shape),
        va.At(lambda r: r.g_max, va.Spread(absolute=1e-6), shape=shape),
        va.At(lambda r: r.up.step, va.Spread(0.05), shape=shape),
    )
    die = spread(response("soft bounds", cycle=0.4, write_noise=1e-6), KEY)
    stuck = np.asarray(die.strength) == 0
    assert abs(stuck.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / stuck.size)
    assert abs(die.strength[~stuck].std() / 0.1 - 1) < 4 / np.sqrt(2 * (~stuck).sum())
    assert abs(die.g_max.std() / 1e-6 - 1) < 4 / np.sqrt(2 * stuck.size)
    g = np.full(shape, 5e-5)
    done = pulsed(die, g, np.where(np.arange(60) % 2, 9, -9) * np.ones((40, 1), int), KEY)
    # a stuck device moves neither up nor down, and a read sees no noise of it either
    assert np.all((np.asarray(done.g) == g) == stuck)
    np.testing.assert_array_equal(np.asarray(done.hidden) == g, stuck)
    # each device has its own mean step
    one = pulsed(die, g, 1).hidden - g
    own = die.strength * die.up.step * (1 - (g - LOW) / (die.g_max - LOW))
    np.testing.assert_allclose(one, own, rtol=1e-8, atol=1e-20)
    # the same die again, and another one
    assert eqx.tree_equal(die, spread(response("soft bounds", cycle=0.4, write_noise=1e-6), KEY))
    assert not np.any(spread(response("linear"), jax.random.key(1)).g_max == die.g_max)


def test_pulses_up_and_down_cancel_at_the_symmetry_point() -> None:
    up, down = np.array([5e-6, 9e-6, 4e-6]), np.array([5e-6, 3e-6, 8e-6])
    soft = PulseResponse(LinearStep(up, 1.0), LinearStep(down, 1.0), LOW, HIGH)
    wanted = LOW + up / (up + down) * (HIGH - LOW)
    np.testing.assert_allclose(soft.symmetry_point, wanted, rtol=1e-12)
    # AIHWKit's formula in weights, from steps at weight 0
    plus, minus = up / (1 - W_LOW / W_HIGH), down / (1 - W_HIGH / W_LOW)
    weight = (plus - minus) / (plus / W_HIGH - minus / W_LOW)
    np.testing.assert_allclose(soft.symmetry_point, siemens(weight), rtol=1e-12)
    # alternating pulses end there, up to a step
    done = pulsed(soft, np.full(3, LOW), 1)
    for _ in range(60):
        done = pulsed(soft, pulsed(soft, done, -1), 1)
    assert np.all(np.abs(done.g - wanted) < np.maximum(up, down))
    # powers: (1 - x)/x = (down/up)^(1/p)
    for p in (0.5, 3.0):
        powers = PulseResponse(PowerStep(up, p), PowerStep(down, p), LOW, HIGH)
        x = 1 / (1 + (down / up) ** (1 / p))
        np.testing.assert_allclose(powers.symmetry_point, LOW + x * (HIGH - LOW), rtol=1e-10)
    step, *_ = MODELS["exponential"]
    w = (response("exponential").symmetry_point - LOW) / UNIT + W_LOW
    np.testing.assert_allclose(step(np.asarray(w), 1), step(np.asarray(w), -1), rtol=1e-10)
    for step, end in ((2e-6, HIGH), (5e-7, LOW), (1e-6, (LOW + HIGH) / 2)):
        constant = PulseResponse(LinearStep(step), LinearStep(1e-6), LOW, HIGH)
        np.testing.assert_allclose(constant.symmetry_point, end, rtol=1e-14)


def test_the_symmetry_point_has_the_gradient_of_its_closed_form() -> None:
    def point(x):
        steps = LinearStep(x[0] * 1e-6, 1.0), LinearStep(x[1] * 1e-6, 1.0)
        return PulseResponse(*steps, x[2] * 1e-6, x[3] * 1e-4).symmetry_point * 1e5

    def closed(x):
        return (x[2] * 1e-6 + x[0] / (x[0] + x[1]) * (x[3] * 1e-4 - x[2] * 1e-6)) * 1e5

    x = jnp.array([2.0, 3.0, 1.5, 0.9])
    np.testing.assert_allclose(jax.grad(point)(x), jax.grad(closed)(x), rtol=1e-9)


def test_trains_have_gradients_both_ways() -> None:
    """By every number of the response and by the conductances, against differences."""
    up, down = MODELS["exponential"][1], MODELS["linear"][2]
    noisy = PulseResponse(up, down, LOW, HIGH, cycle=0.3, cycle_floor=1e-7, write_noise=1e-6)
    leaves, tree = jax.tree.flatten(noisy)
    sizes = jnp.array([float(x) or 1e-7 for x in leaves])
    g = jnp.asarray(siemens(np.linspace(-0.6, 1.0, 8)))
    counts = np.array([3, -4, 0, 12, -9, 1, -1, 12])

    def total(x, most=None):
        response = jax.tree.unflatten(tree, list(x[: sizes.size] * sizes))
        done = pulsed(response, x[sizes.size :] * g, counts, KEY, most=most)
        return jnp.sum(done.g * jnp.arange(1.0, 9.0)) * 1e4

    x = jnp.ones(sizes.size + g.size)
    reverse = jax.grad(lambda x: total(x, most=12))(x)
    np.testing.assert_allclose(jax.jacfwd(total)(x), reverse, rtol=1e-10)
    shifts = 1e-5 * jnp.eye(x.size)
    differences = jax.vmap(lambda h: (total(x + h) - total(x - h)) / 2e-5)(shifts)
    np.testing.assert_allclose(reverse, differences, rtol=1e-6, atol=1e-7)
    assert np.all(reverse[sizes.size + np.flatnonzero(counts == 0)] != 0)


class Root(va.AbstractStep):
    """A step of one's own, without a slope at its end."""

    step: jax.Array

    def at(self, done):
        return self.step * jnp.sqrt(1 - done)


def test_ends_of_the_window_have_their_gradients() -> None:
    """Also next to a power below 1, whose step has no slope at the end that it goes to."""
    g = jnp.array([HIGH, LOW, HIGH, LOW, HIGH])
    counts = np.array([0, 0, -1, 1, 1])

    def total(g, power):
        root = PulseResponse(PowerStep(1e-6, power), PowerStep(1e-6, power), LOW, HIGH)
        return pulsed(root, g, counts, most=2).g @ jnp.array([1.0, 1.0, 1.0, 2.0, 3.0])

    slope, by_power = jax.grad(total, argnums=(0, 1))(g, 0.5)
    # one pulse away from the end: 1 - power step/width
    one = np.where([0, 0, 1, 1, 0], 1 - 0.5e-6 / (HIGH - LOW), 1)
    np.testing.assert_allclose(slope, one * [1, 1, 1, 2, 3], rtol=1e-12)
    assert by_power == 0
    # halfway, one step down and five times one step up, of `0.5^power` each
    by_power = jax.grad(total, argnums=1)(jnp.full(5, (LOW + HIGH) / 2), 0.5)
    np.testing.assert_allclose(by_power, 4e-6 * np.log(0.5) * 0.5**0.5, rtol=1e-12)
    # a step that is not taken does not reach the gradient, whatever its slope
    step = Root(jnp.asarray(1e-6))
    own = PulseResponse(step, step, LOW, HIGH)
    slope = jax.grad(lambda g: pulsed(own, g, counts[:4], most=2).g.sum())(g[:4])
    np.testing.assert_allclose(slope, one[:4], rtol=1e-12)
    soft = PulseResponse(LinearStep(1e-6, 1.0), LinearStep(1e-6, 1.0), LOW, HIGH)
    slope = jax.grad(lambda g: pulsed(soft, g, np.array([1, -1, 0, 0]), most=2).g.sum())(g[:4])
    np.testing.assert_allclose(slope[:2], 1 - 1e-6 / (HIGH - LOW), rtol=1e-12)


def test_trains_run_compiled_and_in_batches_without_being_traced_again() -> None:
    traced = []

    class Seen(va.AbstractStep):
        step: jax.Array

        def at(self, done):
            traced.append(1)
            return self.step * (1 - done)

    g = jnp.asarray(siemens(STARTS))
    seen = PulseResponse(Seen(jnp.asarray(1e-6, float)), LinearStep(1e-6), LOW, HIGH, cycle=0.2)
    plain = pulsed(seen, g, COUNTS, KEY)
    first = len(traced)
    for n in (1, 50, -3):
        other = eqx.tree_at(
            lambda r: (r.cycle, r.up.step), seen, (jnp.asarray(abs(0.1 * n), float), g[0, 0])
        )
        pulsed(other, pulsed(seen, g, n, KEY), 2 * COUNTS, jax.random.key(n % 7))
    assert len(traced) == first
    keys = jax.random.split(KEY, 3)
    counts = jnp.stack([jnp.asarray(COUNTS), -jnp.asarray(COUNTS), 0 * jnp.asarray(COUNTS)])
    batch = jax.jit(jax.vmap(lambda n, key: pulsed(seen, g, n, key)))(counts, keys)
    for k in range(3):
        one = pulsed(seen, g, counts[k], keys[k])
        np.testing.assert_allclose(batch.g[k], one.g, rtol=1e-13)
    assert not np.allclose(plain.g, batch.g[0])
    fixed = pulsed(seen, g, COUNTS, KEY, most=200)
    np.testing.assert_allclose(fixed.g, plain.g, rtol=1e-13)


def test_traced_trains_beyond_their_length_are_not_cut_in_silence() -> None:
    found = jax.jit(lambda n: pulsed(response("linear"), siemens(STARTS), n, most=25))(COUNTS)
    np.testing.assert_array_equal(np.isnan(found.g), np.abs(COUNTS) > 25)


def test_published_responses_are_those_of_their_source() -> None:
    """In AIHWKit's weights, whose ends its presets name."""

    def check(found: PulseResponse, step: one_by_one.Step, low: float, high: float) -> None:
        unit = (HIGH - LOW) / (high - low)
        w = np.linspace(low, high, 9)
        for d, steps in zip((1, -1), found.steps(jnp.asarray(LOW + (w - low) * unit)), strict=True):
            np.testing.assert_allclose(steps / unit, step(w, d), rtol=1e-9, atol=1e-15)

    lithium = presets.ecram_response_lithium(LOW, HIGH)
    ends = -0.8276, 1.1724
    check(lithium, one_by_one.linear(0.002, (0.1153, 0.5085), *ends), *ends)
    # upwards as that of open-loop writes
    count = round(float(presets.ecram_pulses_lithium(LOW, HIGH).count(jnp.asarray(0.9 * HIGH))))
    np.testing.assert_allclose(pulsed(lithium, LOW, count).g, 0.9 * HIGH, rtol=2e-3)
    ends = -0.8286, 1.1714
    oxide = presets.ecram_response_metal_oxide(LOW, HIGH)
    check(oxide, one_by_one.linear(2.8214e-4, (0.4152, 0.7342), *ends), *ends)
    dw, factors = (0.00135, 0.00135 * (1 - 0.259359)), (-1.18445, -0.081404)
    gong = one_by_one.exponential(dw, factors, (5.0, 5.0), -0.5, -0.5, -1, 1)
    check(presets.rram_response_gong(LOW, HIGH), gong, -1, 1)
    for better, dw in ((True, 0.0949), (False, 0.4622)):
        array = presets.rram_response_array(LOW, HIGH, better)
        check(array, one_by_one.linear(dw, (1.0, 1.0), -1, 1), -1, 1)
    np.testing.assert_allclose(array.write_noise, 0.5841 * 0.4622 * (HIGH - LOW) / 2, rtol=1e-12)
    np.testing.assert_allclose(array.cycle_floor, 0.2174 * 0.4622 * (HIGH - LOW) / 2, rtol=1e-12)


def test_partial_sets_of_a_phase_change_cell_spread_with_its_conductance() -> None:
    """By AIHWKit's formula: the deviation is 0.6 (step + 0.042 + 0.108 w) for weights of 0 to 2."""
    response, unit = presets.pcm_response(LOW, HIGH), (HIGH - LOW) / 2
    w = np.array([0.0, 0.5, 1.2])
    g = np.broadcast_to(LOW + unit * w, (40_000, 3))
    change = np.asarray(pulsed(response, g, 1, KEY).g - g) / unit
    step = 0.01 * (1 + 27.235 * np.exp(-2.5 * w))
    up, _ = response.steps(jnp.asarray(g[0]))
    np.testing.assert_allclose(up / unit, step, rtol=1e-12)
    size = 0.6 * (step + 0.042 + 0.108 * w)
    # at 0 the window cuts what would be below; above, moments are those of the normal deviate
    np.testing.assert_allclose(change[:, 1:].mean(0), step[1:], atol=4 * size[1:].max() / 200)
    np.testing.assert_allclose(change[:, 1:].std(0), size[1:], rtol=4 / np.sqrt(80_000))
    assert (change[:, 0] >= 0).all()


# Endurance, and time after training


def test_a_window_closes_as_a_power_of_the_pulses() -> None:
    wear = Endurance(1e4, wear_min=0.5, wear_max=0.25)
    n = np.array([0, 10_000, 20_000, 10**6, 10**9])
    worn = wear(response("soft bounds"), n)
    ratio = np.maximum(n / 1e4, 1)
    np.testing.assert_allclose(worn.g_max, HIGH * ratio**-0.25, rtol=1e-12)
    still_open = LOW * ratio**0.5 < HIGH * ratio**-0.25
    np.testing.assert_array_equal(still_open, [True, True, True, True, False])
    np.testing.assert_allclose(worn.g_min[:4], (LOW * ratio**0.5)[:4], rtol=1e-12)
    # pulses reach what is left of the window; where nothing is left, nothing moves
    g = np.full(5, 3e-5)
    top, bottom = pulsed(worn, g, 5000).g, pulsed(worn, g, -5000).g
    np.testing.assert_allclose(top[:4], worn.g_max[:4], rtol=1e-9)
    np.testing.assert_allclose(bottom[:4], worn.g_min[:4], rtol=1e-9)
    assert top[4] == bottom[4] == pulsed(worn, g, 5000).hidden[4] == g[4]
    slope = jax.grad(lambda e: Endurance(1e4, 0.5, e)(response("linear"), 10**6).g_max * 1e5)(0.25)
    np.testing.assert_allclose(slope, -np.log(100) * HIGH * 100**-0.25 * 1e5, rtol=1e-12)


def test_the_count_of_pulses_wears_devices_during_training() -> None:
    """Devices that are pulsed more wear out first; a count beyond its integers stays at their
    end."""
    wear = Endurance(200.0, 1.0, 1.0)
    often, seldom = np.array([20, -20]), np.array([2, -2])
    done = pulsed(response("constant"), np.full((2, 2), 3e-5), np.stack([often, seldom]))
    for k in range(120):
        counts = np.stack([often, seldom]) * (-1) ** (k + 1)
        done = pulsed(wear(response("constant"), done.count), done, counts)
    np.testing.assert_array_equal(done.count, np.abs([often, seldom]) * 121)
    width = jnp.broadcast_to(wear(response("constant"), done.count).g_max, (2, 2))
    assert np.all(width[0] < 0.1 * HIGH) and np.all(width[1] > 0.8 * HIGH)
    full = eqx.tree_at(lambda d: d.count, done, jnp.full((2, 2), np.iinfo(int).max - 3))
    after = pulsed(response("constant"), full, 10)
    np.testing.assert_array_equal(after.count, np.iinfo(int).max)


def test_time_after_training_is_that_of_any_array() -> None:
    """Drift and relaxation at a temperature act on trained cells as on programmed ones."""
    trained = pulsed(response("linear", cycle=0.3), siemens(STARTS), COUNTS, KEY)
    crossbar = xb.Crossbar(xb.Ohmic(trained.g), xb.Wires(0.0, 0.0))
    cells = lambda crossbar: crossbar.cell.g
    v = jnp.array([0.1, 0.2, 0.3])
    drift: Any = va.Drift
    old = va.At(cells, drift(1e6, 20.0, 0.06, 0.0))(crossbar, KEY)
    np.testing.assert_allclose(xb.read(old, v).i_out, v @ trained.g * 5e4**-0.06, rtol=1e-9)
    # 10 years at 55 C age by 1.1 eV as a few days at 125 C, by Arrhenius
    seconds = va.equivalent_time(10 * 365.25 * 86400, 328.15, 398.15, 1.1)
    factor = np.exp(1.1 / 8.617333262e-5 * (1 / 398.15 - 1 / 328.15))
    np.testing.assert_allclose(seconds, 10 * 365.25 * 86400 * factor, rtol=1e-9)
    age = va.logarithmic(seconds, 1e4, 1.0)
    kept = va.At(cells, va.Relaxation([-1e-6], [0.0], HIGH, age))(crossbar, KEY)
    shift = -1e-6 * np.log1p(float(seconds)) / np.log1p(1e4)
    np.testing.assert_allclose(kept.cell.g, np.maximum(np.asarray(trained.g) + shift, 0), rtol=1e-9)


def test_an_array_learns_through_its_wires_by_pulses_and_drifts_afterwards() -> None:
    """From an error of 8 % to below 2 %, with devices that are uneven, noisy and differ."""
    even = PulseResponse(LinearStep(1e-6, 0.8), LinearStep(1.5e-6, 1.0), 1e-6, HIGH, cycle=0.3)
    devices = va.At(lambda r: r.strength, va.Spread(0.2), shape=(8, 4))(even, KEY)
    rng = np.random.default_rng(0)
    v = jnp.asarray(rng.uniform(0.0, 0.2, (64, 8)))
    wanted = v @ rng.uniform(2e-5, 8e-5, (8, 4))

    def loss(g):
        array = xb.Crossbar(xb.Ohmic(g), xb.Wires(2.0, 2.0))
        i = jax.vmap(xb.read, (None, 0))(array, v).i_out
        return jnp.mean((i - wanted) ** 2) / jnp.mean(wanted**2)

    @jax.jit
    def learn(done, key):
        error, slope = jax.value_and_grad(loss)(done.g)
        counts = jnp.clip(jnp.round(-0.1 * slope), -31, 31).astype(int)
        return pulsed(devices, done, counts, key), error

    done, errors = pulsed(devices, np.full((8, 4), 5e-5), 0), []
    for key in jax.random.split(KEY, 40):
        done, error = learn(done, key)
        errors.append(float(error) ** 0.5)
    assert 0.07 < errors[0] and errors[-1] < 0.02
    assert 0 < done.count.min() < done.count.max()
    drift: Any = va.Drift
    later = [float(loss(drift(t, 20.0, 0.05, 0.0)(done.g, KEY))) ** 0.5 for t in (1e2, 1e4, 1e6)]
    assert errors[-1] < later[0] < later[1] < later[2]
    # all currents fall by one factor, up to the drops on the wires
    np.testing.assert_allclose(later, 1 - (np.array([5, 5e2, 5e4])) ** -0.05, atol=0.03)


FINE = LinearStep(1e-6)


@pytest.mark.parametrize(
    "call, kind, said",
    [
        (lambda: LinearStep(-1e-6), ValueError, "step is -1e-06 S"),
        (lambda: LinearStep(1e-6, 1.5), ValueError, "slope is 1.5; it must not exceed 1"),
        (lambda: ExponentialStep(1e-6, np.nan, 1.0), ValueError, "excess is nan"),
        (lambda: PowerStep(1e-6, -1.0), ValueError, "power is -1.0"),
        (lambda: PulseResponse(FINE, FINE, HIGH, LOW), ValueError, "g_min is 0.0001 S"),
        (lambda: PulseResponse(FINE, FINE, LOW, HIGH, cycle=-0.1), ValueError, "cycle is -0.1"),
        (
            lambda: PulseResponse(FINE, FINE, LOW, HIGH, strength=np.array([1.0, -1.0])),
            ValueError,
            "strength[1] is -1.0",
        ),
        (lambda: Endurance(0.0, 0.1, 0.1), ValueError, "onset is 0"),
        (lambda: Endurance(1e6, -0.1, 0.1), ValueError, "wear_min is -0.1"),
        (
            lambda: pulsed(PulseResponse(FINE, FINE, LOW, HIGH), np.full(3, LOW), np.ones(3)),
            TypeError,
            "pulses is an array of float64; it must hold whole numbers",
        ),
        (
            lambda: pulsed(PulseResponse(FINE, FINE, LOW, HIGH), np.full(3, LOW), [1, 2]),
            ValueError,
            "pulses has shape (2,); it must be (3,)",
        ),
        (
            lambda: pulsed(PulseResponse(FINE, FINE, LOW, HIGH), np.full(3, LOW), 9, most=5),
            ValueError,
            "a device receives 9 pulses, more than most = 5: raise most",
        ),
        (
            lambda: pulsed(PulseResponse(FINE, FINE, np.full(2, LOW), HIGH), np.full(3, LOW), 1),
            ValueError,
            "response holds an array of shape (2,), but the devices have shape (3,)",
        ),
    ],
)
def test_impossible_numbers_are_named(call: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as error:
        call()
    assert said in str(error.value)
