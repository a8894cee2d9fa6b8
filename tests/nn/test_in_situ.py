"""Guards training in the array: trains of pulses have the mean of the outer product, a digital sum
loses nothing, dead devices stay, energies follow their formula, and the local gradient is the exact
one where wires are ideal, and only there."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import xbarjax as xb
from reference.networks import HIGH, LOW, ideal, weights, wired
from xbarjax import nn, variability as va
from xbarjax.nn import in_situ

KEY = jax.random.key(3)
STEP = 1e-7
ROWS, COLS = 7, 5


def response(cycle=0.0, strength: Any = 1.0):
    steps = va.LinearStep(STEP)
    return va.PulseResponse(steps, steps, LOW, HIGH, cycle=cycle, strength=strength)


def devices(shape=(ROWS, COLS)):
    g = np.random.default_rng(0).uniform(0.4 * HIGH, 0.6 * HIGH, shape)
    return va.pulsed(response(), jnp.asarray(g), 0)


def given(made):
    """Pulses up less pulses down."""
    return np.asarray(made.up - made.down, float)


def factors():
    """Factors of a change of up to 4.8 steps, of all signs and with zeros."""
    x = jnp.asarray([0.0, 1.0, -0.5, 0.2, 0.9, 0.03, -1.0]) * 1e-6
    return x, jnp.asarray([0.48, -0.3, 0.0, 0.05, -0.48])


@pytest.mark.parametrize("size", [1.0, 0.05])  # several slots, or one
def test_stochastic_trains_have_the_mean_of_the_outer_product(size):
    x, delta = factors()
    x, n = size * x, 4000

    @jax.jit
    def one(key):
        made = in_situ.parallel(response(), devices(), x, delta, STEP, key)
        return made.up - made.down, made.half, made.slots

    pulses, half, slots = jax.lax.map(one, jax.random.split(KEY, n))
    pulses, half, slots = (np.asarray(n, float) for n in (pulses, half, slots))
    wanted = np.outer(x, delta) / STEP
    assert np.all(slots == np.ceil(np.abs(wanted).max()))
    error = np.std(pulses, axis=0) / np.sqrt(n)
    assert np.all(np.abs(np.mean(pulses, axis=0) - wanted) <= 4 * error + 1e-12)
    # of `slots` independent slots, each fires on both lines with one probability
    p = np.abs(wanted) / slots[0]
    many = p * slots[0] * n > 500
    of_trains = slots[0] * p * (1 - p)
    np.testing.assert_allclose(np.var(pulses, axis=0)[many], of_trains[many], rtol=0.2)
    assert np.all(half >= 0) and np.all(np.mean(half, axis=0)[1:5, 0] > 0)


def test_deterministic_trains_are_within_one_pulse_and_scale_down_as_a_whole():
    x, delta = factors()
    trains = in_situ.Deterministic(31)
    made = in_situ.parallel(response(), devices(), x, delta, STEP, KEY, trains=trains)
    wanted = np.outer(x, delta) / STEP
    assert np.all(np.abs(given(made) - wanted) <= 1) and made.slots == 31
    moved = made.devices.hidden - devices().hidden
    np.testing.assert_allclose(moved, STEP * given(made), rtol=1e-9, atol=1e-19)
    much = in_situ.parallel(response(), devices(), 100 * x, delta, STEP, KEY, trains=trains)
    top = np.abs(wanted).max() / 31
    assert np.all(np.abs(given(much) - wanted / top) <= 1)


def test_a_digital_sum_loses_nothing():
    rng = np.random.default_rng(1)
    changes = jnp.asarray(rng.normal(0, 0.4 * STEP, (40, ROWS, COLS)))
    for threshold in (None, 2.5 * STEP):
        state, rest, total = devices(), jnp.zeros((ROWS, COLS)), 0
        for change in changes:
            made = in_situ.accumulated(
                response(), state, change, rest, STEP, KEY, threshold=threshold
            )
            state, rest, total = made.devices, made.rest, total + given(made)
            assert np.all(np.abs(rest) < (threshold or STEP))
            least = np.abs(given(made))[given(made) != 0].min(initial=9)
            assert threshold is None or least >= 2
        np.testing.assert_allclose(total * STEP + rest, changes.sum(0), rtol=0, atol=1e-18)
        np.testing.assert_allclose(state.g - devices().g, total * STEP, rtol=0, atol=1e-18)
        assert np.abs(total).max() > 2


def test_an_open_loop_gives_the_nominal_number_of_pulses():
    change = jnp.asarray(np.random.default_rng(2).normal(0, 3 * STEP, (2, ROWS, COLS)))
    many = devices((2, ROWS, COLS))
    made = in_situ.row_by_row(response(), many, change, STEP, KEY)
    counts = np.rint(change / STEP).astype(int)
    np.testing.assert_array_equal(given(made), counts)
    longest = np.maximum(counts, 0).max(2) + np.maximum(-counts, 0).max(2)
    np.testing.assert_array_equal(made.slots, longest.sum(1))
    assert not np.any(made.half)
    small = jnp.full((2, ROWS, COLS), 0.3 * STEP)
    assert not np.any(in_situ.row_by_row(response(), many, small, STEP, KEY).up)
    drawn = jax.vmap(
        lambda k: (
            in_situ.row_by_row(response(), many, -small, STEP, k, rounding=in_situ.dithered).down
        )
    )(jax.random.split(KEY, 60))
    assert abs(np.mean(drawn) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / drawn.size)


def test_dead_devices_never_move_and_are_pulsed_like_all():
    dead = np.random.default_rng(3).random((ROWS, COLS)) < 0.3
    die = response(cycle=0.3, strength=jnp.asarray(np.where(dead, 0.0, 1.0)))
    x, delta = factors()
    change = 30 * jnp.outer(x, delta) + 3 * STEP
    zero = jnp.zeros((ROWS, COLS))
    for made in (
        in_situ.parallel(die, devices(), 20 * x, delta, STEP, KEY),
        in_situ.row_by_row(die, devices(), change, STEP, KEY),
        in_situ.accumulated(die, devices(), change, zero, STEP, KEY),
    ):
        moved = np.asarray(made.devices.g != devices().g)
        assert not np.any(moved[dead])
        np.testing.assert_array_equal(moved[~dead], np.asarray(made.up + made.down > 0)[~dead])
        assert np.any(np.asarray(made.up + made.down)[dead])
        np.testing.assert_array_equal(made.devices.count, made.up + made.down)


def test_energy_follows_its_formula():
    x, delta = factors()
    through = in_situ.ThroughDevice(v=1.5, width=2e-7)
    trains = in_situ.Deterministic(15)
    made = in_situ.parallel(
        response(), devices(), x, delta, STEP, KEY, trains=trains, energy=through
    )
    # pulse by pulse, with the conductance half way through the train
    n, half = np.asarray(made.up - made.down), np.asarray(made.half, float)
    g = np.asarray(devices().hidden)
    per_pulse = [[sum(g[i, j] + np.sign(n[i, j]) * STEP * (k + 0.5) for k in range(abs(n[i, j])))
                  for j in range(COLS)] for i in range(ROWS)]  # fmt: skip
    full = 1.5**2 * 2e-7 * np.asarray(per_pulse)
    on_lines = 0.75**2 * 2e-7 * half * (g + n * STEP / 2)
    np.testing.assert_allclose(made.energy, full + on_lines, rtol=1e-9)
    each = in_situ.row_by_row(
        response(), devices(), jnp.outer(x, delta), STEP, KEY, energy=in_situ.PerPulse(1e-15)
    )
    np.testing.assert_allclose(each.energy, 1e-15 * np.asarray(each.up + each.down))


def test_the_local_gradient_is_the_exact_one_without_wires():
    arrays = nn.tile(weights((6, 5)), xb.DifferentialPair(LOW, HIGH), ideal)
    x, y = jax.random.normal(KEY, (9, 6)), jnp.arange(9) % 5

    def slope(see):
        def loss(g):
            z = jax.vmap(see(in_situ.holding(arrays, g)))(x)
            return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

        return jax.grad(loss)(arrays.conductances)

    exact, seen = slope(lambda arrays: arrays), slope(in_situ.local)
    np.testing.assert_allclose(seen, exact, rtol=1e-8, atol=1e-12 * np.abs(exact).max())
    np.testing.assert_allclose(in_situ.cosine([exact], [seen]), 1, rtol=1e-12)


def test_with_wires_outputs_and_errors_sent_backwards_stay_exact():
    net = nn.tile(weights((6, 5)), xb.DifferentialPair(LOW, HIGH), wired)
    x, delta = jax.random.normal(KEY, (6,)), jax.random.normal(jax.random.key(8), (5,))

    def all_of(see):
        product = lambda share, x: see(eqx.tree_at(lambda a: a.g_relative, net, share))(x)
        out, back = jax.vjp(product, net.g_relative, x)
        return out, *back(delta)

    (out, slope, back), (seen, local, returned) = all_of(lambda a: a), all_of(in_situ.local)
    np.testing.assert_allclose(seen, out, rtol=1e-9)
    np.testing.assert_allclose(returned, back, rtol=1e-9, atol=1e-12)
    assert 0.9 < in_situ.cosine(slope, local) < 0.999999


def test_the_local_gradient_is_input_times_error_at_the_output():
    arrays = nn.tile(weights((6, 5)), xb.DifferentialPair(LOW, HIGH), wired, v_read=0.3)
    x = jax.random.normal(KEY, (6,))
    delta = jax.random.normal(jax.random.key(8), (5,))

    def loss(share):
        here = eqx.tree_at(lambda a: a.g_relative, arrays, share)
        return in_situ.local(here)(x) @ delta

    found = jax.grad(loss)(arrays.g_relative)[0, 0]
    by_weight = np.outer(x, delta) * (HIGH - LOW) / arrays.k
    np.testing.assert_allclose(found[0], by_weight, rtol=1e-9)
    np.testing.assert_allclose(found[1], -by_weight, rtol=1e-9)


def test_arrays_hold_the_conductances_of_devices():
    arrays = nn.tile(weights((6, 5)), xb.DifferentialPair(LOW, HIGH), ideal)
    g = jnp.asarray(np.random.default_rng(4).uniform(LOW, 1.1 * HIGH, arrays.g_relative.shape))
    np.testing.assert_allclose(in_situ.holding(arrays, g).conductances, g, rtol=1e-12)
    state = va.pulsed(response(), g, 0)
    np.testing.assert_allclose(in_situ.holding(arrays, state).conductances, g, rtol=1e-12)


def test_cosine_is_that_of_the_whole():
    one, other = [jnp.asarray([3e-30]), jnp.asarray([4e-30])], [jnp.zeros(1), jnp.ones(1)]
    np.testing.assert_allclose(in_situ.cosine(one, other), 0.8, rtol=1e-12)


def test_bad_input_is_told_in_a_sentence():
    x, delta = factors()
    change = jnp.zeros((ROWS, COLS))
    call = lambda **rest: in_situ.parallel(
        **({"response": response(), "devices": devices(), "x": x, "delta": delta, "step": STEP,
            "key": KEY} | rest)
    )  # fmt: skip
    for wrong, words in (
        ({"x": x[:3]}, r"x has shape \(3,\).*\(7, 5\).*\(7,\)"),
        ({"delta": x}, r"delta has shape \(7,\).*\(5,\)"),
        ({"step": 0.0}, "step is 0 S; it must be positive"),
        ({"step": jnp.full(5, STEP)}, r"step has shape \(5,\); give one nominal step"),
        ({"devices": devices((2, ROWS, COLS))}, r"parallel updates one array.*filter_vmap"),
    ):
        with pytest.raises(ValueError, match=words):
            call(**wrong)
    with pytest.raises(ValueError, match=r"change has shape \(7, 4\); it must be.*\(7, 5\)"):
        in_situ.row_by_row(response(), devices(), change[:, 1:], STEP, KEY)
    with pytest.raises(ValueError, match="rest has shape"):
        in_situ.accumulated(response(), devices(), change, change[1:], STEP, KEY)
    with pytest.raises(ValueError, match="threshold is 5e-08 S, below the step"):
        in_situ.accumulated(response(), devices(), change, change, STEP, KEY, threshold=STEP / 2)
    with pytest.raises(ValueError, match="length is 0; a train needs"):
        in_situ.Stochastic(0)
    with pytest.raises(ValueError, match="width is 0 s"):
        in_situ.ThroughDevice(1.0, 0.0)
    sinh = lambda g: xb.Crossbar(xb.Sinh(g, 3.0), xb.Wires(1.0, 1.0))
    arrays = nn.tile(weights((6, 5)), xb.DifferentialPair(LOW, HIGH), sinh)
    with pytest.raises(ValueError, match="not linear: local gradients"):
        in_situ.local(arrays)
    with pytest.raises(ValueError, match="it must be that of arrays.g_relative"):
        in_situ.holding(arrays, change)
