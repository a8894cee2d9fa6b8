"""Guards published numbers: presets give what their sources state, in SI units."""

import jax.numpy as jnp
import numpy as np
import pytest

from xbarjax.presets import devices as presets
from xbarjax.variability import Programming


def test_copper_follows_its_resistivity():
    wires = presets.copper_wires(22)
    # 2.97 uohm cm over 1.9 x (40 nm)^2 is 9.77 ohm/um; 80 nm a cell; the barrier adds 19 %.
    np.testing.assert_allclose(wires.r_row, 9.77 * 0.080 * 1.19, rtol=1e-3)
    assert wires.c_row is not None
    np.testing.assert_allclose(wires.c_row, 0.016e-15, rtol=1e-3)
    cell = presets.copper_wires(22, along_row=4.0, along_col=12.0)
    np.testing.assert_allclose(
        [cell.r_row, cell.r_col], wires.r_row * np.array([2.0, 6.0]), rtol=1e-12
    )


def test_copper_gets_worse_below_100_nm():
    r = [float(presets.copper_wires(n).r_row) for n in (65, 45, 32, 22, 14, 10, 7, 5)]
    assert r == sorted(r) and 0.2 < r[0] < 0.4 and 4 < r[-1] < 6


@pytest.mark.parametrize(
    "error, g, sigma",
    [
        # Deviations [uS] at conductances [uS], as their sources give them.
        (presets.rram_programming_wan(), [10, 20, 40], [2.26, 2.02, 1.10]),
        (presets.rram_programming_milo(), [50, 225], [4.327, 2.733]),
        (presets.pcm_programming(), [0, 25], [0.26348, 1.05538]),
        (presets.pcm_programming_hermes(1), [0, 10.35], [0.15782, 1.00757]),
        (presets.pcm_programming_hermes(), [10.35, 20.7], [0.99101, 1.09278]),
        (presets.rram_programming_falcone(0.2), [10, 80], [0.0115, 0.08631]),
        (presets.rram_programming_falcone(), [10, 80], [0.12412, 0.91444]),
    ],
)
def test_programming_errors_are_those_of_their_sources(error: Programming, g, sigma):
    np.testing.assert_allclose(
        error.size(1e-6 * jnp.asarray(g, float)), 1e-6 * np.array(sigma), rtol=5e-3
    )


def test_errors_of_charge_traps_are_those_of_their_source():
    g = jnp.array([16e-6])  # 1600 nA at 0.1 V
    for days, nanoamperes in ((0, 19.884), (5, 34.564)):
        error = presets.sonos_programming(0.1, days)
        away = error.apply(g, jnp.ones(1)) - g
        np.testing.assert_allclose(away * 0.1 * 1e9, nanoamperes, rtol=1e-4)
    noise = presets.sonos_read_noise(0.1)
    np.testing.assert_allclose(noise.apply(g, jnp.ones(1)) - g, 125.729e-9, rtol=1e-4)


def test_relaxation_of_cmo_cells_goes_with_the_logarithm_of_time():
    g = jnp.array([50e-6])
    for t, shift, size in ((1.0, 0.0, 0.41183), (np.exp(10.0), -0.89002, 0.83195)):
        relaxation = presets.rram_relaxation_falcone(float(t))
        still = relaxation.apply(g, jnp.zeros(1))
        np.testing.assert_allclose(1e6 * (still - g), shift, atol=1e-5)
        np.testing.assert_allclose(
            1e6 * (relaxation.apply(g, jnp.ones(1)) - still), size, rtol=1e-4
        )


def test_a_published_oscillator_counts_to_its_bits():
    oscillator = presets.cco_hermes(1e-4)
    assert oscillator.code(jnp.asarray(0.5001e-4)) == 128
    np.testing.assert_allclose(oscillator.t_count, 256 * 300e-12)


def test_errors_grow_with_days():
    size = [presets.rram_programming_wan(days).size(jnp.array(20e-6)) for days in (0, 1, 2)]
    assert size[0] < size[1] < size[2]


def test_phase_change_cells_drift_by_a_known_exponent():
    drift, g = presets.pcm_drift(20e4), jnp.array([25e-6, 0.25e-6])
    middle = drift.apply(g, jnp.zeros(2))
    exponents = [0.049, 0.0244 + 0.0155 * np.log(100)]
    np.testing.assert_allclose(middle, g * 10 ** (-4 * np.array(exponents)), rtol=1e-9)


def test_a_bake_leaves_hfox_cells_where_they_were_but_for_some_microsiemens():
    g = jnp.array([20e-6, 50e-6, 110e-6])
    for celsius in (110, 130):
        bake = presets.hfox_bake(celsius)
        still = bake.apply(g, jnp.zeros(3)) - g
        size = bake.apply(g, jnp.ones(3)) - g - still
        assert (
            np.all(abs(still) < 3e-6)
            and size.argmax() == 1
            and 4e-6 < size.min() < size.max() < 14e-6
        )


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: presets.copper_wires(28), "node is 28"),
        (lambda: presets.rram_programming_wan(3), "days is 3"),
        (lambda: presets.pcm_drift(1.0), "t is 1.0 s"),
        (lambda: presets.hfox_bake(85), "celsius is 85"),
        (lambda: presets.pcm_programming_hermes(3), "devices is 3"),
        (lambda: presets.rram_programming_falcone(1.0), "acceptance is 1.0"),
        (lambda: presets.rram_relaxation_falcone(0.5), "t is 0.5 s"),
        (lambda: presets.sonos_programming(0.1, 6), "days is 6"),
        (lambda: presets.sonos_programming(0.0), "v_read is 0 V"),
        (lambda: presets.cco_hermes(1e-4, bits=0), "bits is 0"),
    ],
)
def test_what_was_not_measured_is_refused(call, said):
    with pytest.raises(ValueError) as error:
        call()
    assert said in str(error.value)


def test_memristors_have_the_thresholds_and_rates_of_their_source():
    """Currents and rates by hand, from the equations of the model."""
    for cell, v, current, rate in (
        (presets.yakopcic_oblea(0.11), 0.45, 0.17 * 0.11 * np.sinh(0.0225), 4000 * 0.394801),
        (presets.yakopcic_miao(0.11), -1.25, -0.11 * 0.11 * np.sinh(0.625), -2 * 1.373343),
        (presets.yakopcic_jo(0.1), 4.0, 3.7e-7 * 0.1 * np.sinh(2.8), 0.005 * 50.116461),
    ):
        zero = jnp.zeros(())
        np.testing.assert_allclose(cell.current(jnp.asarray(v), zero), current, rtol=1e-12)
        slowed = np.exp(5 * (0.11 - 0.5)) * 0.22 if v < 0 else 1.0
        np.testing.assert_allclose(cell.rate(jnp.asarray(v), zero)[0], rate * slowed, rtol=1e-6)
        assert cell.rate(jnp.asarray(0.08), zero)[0] == 0 and bool(cell.valid())
