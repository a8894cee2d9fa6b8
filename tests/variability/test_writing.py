"""Guards writing by pulses: moments are those of pulses given one by one, wires weaken the far
cells by what a read of the array says, and every number of it has a gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax.analyses import schemes
from xbarjax.presets import devices as presets
from xbarjax.variability import At, OpenLoopWrite

KEY = jax.random.key(3)
LOW, HIGH = 1e-6, 1e-4
written = eqx.filter_jit(lambda pulses, g: pulses(g, KEY))


@jax.jit
@jax.value_and_grad
def total(given):
    return OpenLoopWrite(**given)(jnp.linspace(LOW, 0.8 * HIGH, 12), KEY).sum() / HIGH


def one_by_one(pulses: OpenLoopWrite, x: float, cells: int, seed: int) -> np.ndarray:
    """Pulses given one after another, each with its own noise, to many cells."""
    rng = np.random.default_rng(seed)
    step, slope = float(pulses.step), float(pulses.slope)
    count, nominal = 0, 0.0
    while nominal < x:
        nominal += step * (1 - slope * nominal)
        count += 1
    own = float(pulses.strength) * (1 + float(pulses.device) * rng.normal(size=cells))
    state = np.zeros(cells)
    for _ in range(count):
        kick = own * (1 + float(pulses.cycle) * rng.normal(size=cells))
        state += step * (1 - slope * state) * kick
    return state


@pytest.mark.parametrize(
    "slope, strength, device",
    [(0.0, 1.0, 0.05), (0.2, 0.9, 0.05), (0.2, 0.5, 0.0), (0.7, 0.1, 0.0), (0.7, 1.0, 0.0)],
)
def test_moments_are_those_of_pulses_one_by_one(slope, strength, device):
    pulses = OpenLoopWrite(1e-3, slope, LOW, HIGH, device=device, cycle=0.5, strength=strength)
    x, cells = 0.6, 20_000
    found = np.asarray(written(pulses, jnp.full(cells, LOW + x * (HIGH - LOW))))
    found = (found - LOW) / (HIGH - LOW)
    wanted = one_by_one(pulses, x, cells, seed=5)
    error = wanted.std() / np.sqrt(cells)
    assert abs(found.mean() - wanted.mean()) < 7 * error + 1.5e-3  # a step is taken as a rate
    np.testing.assert_allclose(found.std(), wanted.std(), rtol=0.04)
    still = OpenLoopWrite(1e-3, slope, LOW, HIGH, device=device, cycle=0.5, strength=0.0)
    np.testing.assert_allclose(written(still, jnp.linspace(LOW, HIGH, 9)), LOW, rtol=1e-12)


def test_cells_end_exactly_within_the_range():
    for low, high in np.random.default_rng(0).uniform([1e-7, 1e-5], [1e-6, 1e-4], (40, 2)):
        found = OpenLoopWrite(1e-3, 0.2, low, high, 0.1, 3.0)(jnp.full(500, high), KEY)
        assert found.max() == high and found.min() >= low


def test_counts_follow_the_curve_of_the_nominal_cell():
    pulses = OpenLoopWrite(1e-4, 0.5, LOW, HIGH)
    x = np.array([0.0, 0.3, 1.0])
    count = pulses.count(jnp.asarray(LOW + x * (HIGH - LOW)))
    np.testing.assert_allclose(count, -np.log(1 - 0.5 * x) / (0.5 * 1e-4), rtol=1e-12)
    linear = OpenLoopWrite(1e-4, 0.0, LOW, HIGH)
    np.testing.assert_allclose(
        linear.count(jnp.asarray(LOW + x * (HIGH - LOW))), x * 1e4, rtol=1e-12
    )
    # what is not varied is written as wanted
    g = jnp.asarray(LOW + x * (HIGH - LOW))
    np.testing.assert_allclose(pulses(g, KEY), g, rtol=1e-12)
    # from the series to the logarithm without a step
    near = jax.vmap(lambda s: OpenLoopWrite(1e-3, s, LOW, HIGH).count(g[1]))(
        jnp.array([0.999e-3, 1.001e-3]) / 0.3
    )
    assert abs(near[1] / near[0] - 1 - 1e-6) < 1e-8


@pytest.mark.parametrize("name", ["step", "slope", "device", "cycle", "strength", "g_max"])
def test_its_numbers_have_gradients(name):
    given = {"step": 2e-3, "slope": 0.3, "g_min": LOW, "g_max": HIGH}
    given |= {"device": 0.1, "cycle": 0.3, "strength": 0.9}
    x = given[name]
    ahead, back = (total(given | {name: x * (1 + s * 1e-5)})[0] for s in (1, -1))
    np.testing.assert_allclose(total(given)[1][name], (ahead - back) / (2e-5 * x), rtol=1e-6)
    still = {"step": 2e-3, "slope": 0.0, "g_min": LOW, "g_max": HIGH}
    assert np.isfinite(total(still)[1]["slope"])


def test_targets_have_gradients_from_end_to_end():
    g = jnp.array([LOW, 0.5 * HIGH, HIGH])
    total = lambda g: OpenLoopWrite(2e-3, 0.3, LOW, HIGH)(g, KEY).sum()
    np.testing.assert_allclose(jax.grad(total)(g), 1.0, rtol=1e-12)


def test_wires_weaken_the_pulses_of_far_cells():
    g, v, r = np.random.default_rng(0).uniform(LOW, HIGH, (5, 4)), 2.0, 20.0
    array = xb.Crossbar(xb.Ohmic(jnp.asarray(g)), xb.Wires(r, r))
    rate = lambda v: jnp.sinh(v / 0.25)
    strength = schemes.pulse_strength(array, v, rate)
    for i, j in ((4, 0), (0, 3)):
        rows = jnp.full(5, v / 2).at[i].set(v)
        cols = jnp.full(4, v / 2).at[j].set(0.0)
        seen = xb.read(array, xb.Bias(rows, rows, cols, cols)).v_cell[i, j]
        np.testing.assert_allclose(strength[i, j], rate(seen) / rate(v), rtol=1e-9)
    alike = xb.Crossbar(xb.Ohmic(jnp.full((5, 4), 5e-5)), xb.Wires(r, r))
    far = schemes.pulse_strength(alike, v, rate)
    assert 0 < far.min() == far[0, 3] < far[4, 0] == far.max() < 1
    # without wires a pulse is what it should be
    ideal = xb.Crossbar(xb.Ohmic(jnp.asarray(g)), xb.Wires(0.0, 0.0))
    np.testing.assert_allclose(schemes.pulse_strength(ideal, v, rate), 1.0, rtol=1e-12)

    # what the wires leave is below the threshold of the farthest cell: nothing happens there
    v_th = 0.99 * schemes.write_map(alike, v).v_selected[4, 0]
    for alpha in (1.0, 2.0, 2.5):
        vteam = lambda v, alpha=alpha: jnp.maximum(v / v_th - 1, 0) ** alpha
        late = schemes.pulse_strength(alike, v, vteam)
        assert late[0, 3] == 0 and np.all(np.isfinite(late)) and late[4, 0] > 0

    write = OpenLoopWrite(1e-3, 0.2, LOW, HIGH, strength=strength)
    made = At(lambda crossbar: crossbar.cell.g, write)(array, KEY).cell.g
    np.testing.assert_allclose(
        1 - 0.2 * (made - LOW) / (HIGH - LOW),
        (1 - 0.2 * (g - LOW) / (HIGH - LOW)) ** strength,
        rtol=1e-12,
    )

    @jax.jit
    @jax.value_and_grad
    def after(r):
        array = xb.Crossbar(xb.Ohmic(jnp.asarray(g)), xb.Wires(r, r))
        strength = schemes.pulse_strength(array, v, rate)
        return (
            OpenLoopWrite(1e-3, 0.2, LOW, HIGH, strength=strength)(jnp.asarray(g), KEY).sum() / HIGH
        )

    slope = (after(r + 1e-3)[0] - after(r - 1e-3)[0]) / 2e-3
    np.testing.assert_allclose(after(r)[1], slope, rtol=1e-6)


def test_published_steps_are_those_of_their_source():
    lithium = presets.ecram_pulses_lithium(LOW, HIGH)
    weight, count = -0.8276, 0
    while weight < 1.1724 * 0.9999 and count < 5000:
        weight += 0.002 * (1 - 0.1153 * weight / 1.1724)
        count += 1
    np.testing.assert_allclose(lithium.count(jnp.asarray(HIGH)), count, rtol=2e-3)
    oxide = presets.ecram_pulses_metal_oxide(LOW, HIGH).count(jnp.asarray(HIGH))
    np.testing.assert_allclose(oxide, 7940, rtol=1e-3)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: OpenLoopWrite(0.0, 0.1, LOW, HIGH), "step is 0"),
        (lambda: OpenLoopWrite(1e-3, 1.0, LOW, HIGH), "slope is 1.0"),
        (lambda: OpenLoopWrite(1e-3, 0.1, HIGH, LOW), "g_min is 0.0001 S"),
        (lambda: OpenLoopWrite(1e-3, 0.1, LOW, HIGH, cycle=-0.1), "cycle is -0.1"),
        (
            lambda: OpenLoopWrite(1e-3, 0.1, LOW, HIGH, strength=jnp.array([1.0, jnp.nan])),
            "strength",
        ),
    ],
)
def test_impossible_numbers_are_named(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert said in str(error.value)
