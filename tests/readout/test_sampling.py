"""Integrators, sampled voltages, counted periods, shared charge, costs: closed forms."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import xbarjax as xb
from reference import nodal
from xbarjax.analyses.cost import adc_energy
from xbarjax.readout import reset_noise, share_charge, turns

ROWS, COLS = 8, 6
C = 1e-11  # F of the integrators


def over(readout: Any) -> xb.Crossbar:
    return xb.Crossbar(xb.Ohmic(jnp.full((2, 3), 1e-5)), readout=readout)


def array(seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    g = jnp.asarray(random.uniform(1e-6, 1e-4, (ROWS, COLS)))
    return g, jnp.asarray(random.uniform(-0.2, 0.2, ROWS))


def test_an_integrator_collects_charge_and_leaks() -> None:
    g, v = array()
    at = lambda **more: xb.read(
        xb.Crossbar(xb.Ohmic(g), readout=xb.Integrator(1e-11, 1e-7, v_ref=0.01, **more)), v
    )
    ideal = at()
    i = v @ g - 0.01 * jnp.sum(g, 0)
    np.testing.assert_allclose(ideal.output, 0.01 - i * 1e-7 / 1e-11, rtol=1e-12)
    leaky = at(r_leak=2e4, q_injected=1e-14)
    kept = np.exp(-1e-7 / (2e4 * 1e-11))
    want = 0.01 - i * 2e4 * (1 - kept) - 1e-14 / 1e-11 * kept
    np.testing.assert_allclose(leaky.output, want, rtol=1e-12)
    slope = jax.grad(lambda r: jnp.sum(at(r_leak=r).output))(jnp.inf)
    assert float(slope) == 0
    charged = lambda c: xb.Integrator(c, 1e-7).output(jnp.asarray([1e-5]), jnp.zeros(1))[0]
    np.testing.assert_allclose(jax.grad(charged)(1e-11), 1e-5 * 1e-7 / 1e-22, rtol=1e-12)
    held = lambda c: xb.SampleHold(c)(jnp.asarray(0.3), 1e-6)
    assert float(jax.grad(held)(1e-12)) == 0
    bad = jax.jit(lambda c: xb.read(xb.Crossbar(xb.Ohmic(g), readout=xb.Integrator(c, 1e-7)), v))
    assert int(bad(-1e-11).status) & xb.Status.INVALID_CELL and not int(bad(1e-11).status)


def charged(c: Any, v_in: Any, e: Any, seconds: float, r_leak: Any, q: Any, gain: Any) -> Any:
    """An integrator's outputs by time steps over the nodal solve of `nodal.py`."""
    g, r, r_source = c
    last = r.copy()
    r_row = np.concatenate([r, np.full((ROWS, 1), np.inf)], 1)
    r_row[:, 0] += r_source
    r_col = np.concatenate([np.full((1, COLS), np.inf), last])

    def slope(_, u):
        v = (u + gain * e) / (1 + gain)
        i = nodal.solve(g, r_row, r_col, v_in, v_in, v, v).i_out
        return (i - u / r_leak) / C

    options = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-13}
    u = solve_ivp(slope, (0, seconds), q / C * np.ones(COLS), **options).y[:, -1]
    return gain * (e - u) / (1 + gain)


@pytest.mark.slow
def test_integrators_of_finite_gain_move_each_other() -> None:
    g, v = array()
    r, e = np.random.default_rng(1).uniform(1, 20, (ROWS, COLS)), 0.02
    leak, gain = np.linspace(2e4, 1e5, COLS), np.geomspace(3, 300, COLS)
    make = lambda **more: xb.Crossbar(
        xb.Ohmic(g), xb.Wires(r, r), xb.Drive(200.0), xb.Integrator(C, 1e-7, v_ref=e, **more)
    )
    more = {"r_leak": leak, "q_injected": 1e-14}
    got = xb.integrate(make(gain=gain, **more), v)
    want = charged((np.asarray(g), r, 200.0), np.asarray(v), e, 1e-7, leak, 1e-14, gain)
    scale = np.abs(want - e).max()
    np.testing.assert_allclose(got, want, atol=1e-9 * scale, rtol=0)
    ideal = xb.read(make(**more), v).output
    assert np.abs(ideal - want).max() > 0.1 * scale  # gains matter here
    for without in (None, jnp.inf):
        np.testing.assert_allclose(xb.integrate(make(gain=without, **more), v), ideal, rtol=1e-11)

    short = jax.jit(
        lambda v: xb.integrate(shorted, xb.Bias(v, 2 * v, jnp.zeros(COLS), jnp.zeros(COLS)))
    )
    shorted = xb.Crossbar(
        xb.Ohmic(g), drive=xb.Drive(0.0, 0.0), readout=xb.Integrator(C, 1e-7, gain=1e3)
    )
    assert bool(jnp.all(jnp.isnan(short(v))))
    never = jax.jit(lambda gain: xb.integrate(make(gain=gain), v))
    assert bool(jnp.all(jnp.isnan(never(-50.0))))

    out = lambda gain, seconds: jnp.sum(
        xb.integrate(eqx.tree_at(lambda x: x.readout.t_int, make(gain=gain, **more), seconds), v)
        ** 2
    )
    at, h = (jnp.asarray(gain), jnp.asarray(1e-7)), 1e-4
    slopes = jax.jit(jax.grad(out, (0, 1)))(*at)
    out = jax.jit(out)
    for k in (0, 1):
        moved = lambda s, k=k: out(*(x * (1 + s * (n == k)) for n, x in enumerate(at)))
        slope = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
        np.testing.assert_allclose(jnp.sum(slopes[k] * at[k]), slope, rtol=1e-6)


def test_half_a_picofarad_has_its_noise() -> None:
    """64.37 uV at 1 pF and 300.15 K, as ngspice finds."""
    np.testing.assert_allclose(reset_noise(1e-12, 300.15), 64.373e-6, rtol=1e-4)
    hold = xb.SampleHold(0.5e-12)
    v = hold(jnp.zeros(20_000), key=jax.random.key(0))
    np.testing.assert_allclose(jnp.std(v), reset_noise(0.5e-12), rtol=0.03)


def test_a_held_voltage_droops_while_it_waits() -> None:
    hold = xb.SampleHold(1e-12, r_leak=1e9)
    wait = turns(COLS, 4, 1e-4)
    np.testing.assert_allclose(wait, np.array([0, 1, 2, 3, 0, 1]) * 1e-4)
    v = jnp.full(COLS, 0.3)
    np.testing.assert_allclose(hold(v, wait), 0.3 * np.exp(-wait / 1e-3), rtol=1e-12)


def test_periods_are_counted_and_what_is_left_carries_on() -> None:
    cco = xb.Cco(k=1e12, t_count=256e-9, f_max=1e9)
    i = jnp.asarray([-1e-6, 0.0, 1.9e-6, 5e-4, 2e-3])
    np.testing.assert_array_equal(cco.code(i), [0, 0, 0, 128, 256])
    # ten conversions, each with the phase that the last one left: no count is lost
    phase, counts = jnp.zeros(()), 0
    small = jnp.asarray(3.37e-5)
    for _ in range(10):
        passed = cco.periods(small, phase)
        counts, phase = counts + int(cco.code(small, phase)), passed - jnp.floor(passed)
    assert counts == int(np.floor(10 * 3.37e-5 * 1e12 * 256e-9))
    phase, total = jnp.zeros(()), 0.0
    for _ in range(10):
        passed = cco.periods(small, phase)
        total, phase = total + cco(small, phase), passed - jnp.floor(passed)
    step = 1 / (1e12 * 256e-9)
    assert abs(total - 10 * small) <= step
    assert bool(jnp.isnan(cco(jnp.asarray(jnp.nan))))
    grads = jax.vmap(jax.grad(cco))(i)
    np.testing.assert_allclose(grads, [0, 0, 1, 1, 0], rtol=1e-12)


def test_shared_charge_halves_as_it_adds() -> None:
    bits = jnp.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])  # least significant first
    np.testing.assert_allclose(share_charge(bits, 1e-12, 1e-12), [5 / 8, 6 / 8], rtol=1e-14)
    bent = share_charge(bits, 1.1e-12, 1e-12)
    assert abs(float(bent[0]) - 5 / 8) > 0.01


def test_a_product_costs_what_its_parts_do() -> None:
    g, v = array()
    x = xb.Crossbar(xb.Ohmic(g), xb.Wires(1.0, 1.0))
    phases = xb.encoding.sliced(jnp.abs(5 * v), 0.2, 4, (2, 2))
    s = jax.vmap(lambda v: xb.read(x, v))(phases.v)
    c = xb.cost(s, t_read=1e-8, adc_bits=6.0, adc_fom=1e-14, p_amplifier=1e-4, c_line=1e-13)
    np.testing.assert_allclose(c.array, 1e-8 * jnp.sum(phases.v * s.i_in), rtol=1e-12)
    np.testing.assert_allclose(c.converters, 2 * COLS * 64e-14, rtol=1e-12)
    np.testing.assert_allclose(c.amplifiers, 2 * COLS * 1e-4 * 1e-8, rtol=1e-12)
    moved = sum(
        max(0.0, now * (now - before))
        for line in np.asarray(phases.v).T
        for before, now in zip([0.0, *line], line)
    )
    np.testing.assert_allclose(c.drivers, 1e-13 * moved, rtol=1e-12)
    np.testing.assert_allclose(c.t_product, 2e-8)
    total = c.array + c.amplifiers + c.converters + c.drivers
    np.testing.assert_allclose(c.operations_per_joule, 2 * ROWS * COLS / total, rtol=1e-12)
    np.testing.assert_allclose(adc_energy(8.0, 1e-14), 2.56e-12)


def test_a_pair_of_constant_sum_needs_one_factor_for_all_columns() -> None:
    random = np.random.default_rng(2)
    w = jnp.asarray(random.uniform(-1, 1, (ROWS, COLS)))
    mapping = xb.ConstantSumPair(1e-6, 1e-4)
    k = mapping.siemens_per_weight(w)
    pair = mapping.program(w, k)
    np.testing.assert_allclose(pair[0] + pair[1], 1.01e-4, rtol=1e-12)
    assert float(pair.min()) >= 1e-6 * (1 - 1e-9) and float(pair.max()) <= 1e-4 * (1 + 1e-9)
    np.testing.assert_allclose(mapping.combine(pair), k * w, rtol=1e-9)
    _, v = array()
    # both sides of a row end on one pair of columns: v on plus, -v on minus
    cell, _ = xb.pairs.in_cell(xb.Ohmic(pair[0]), xb.Ohmic(pair[1]))
    s = xb.read(xb.Crossbar(cell, readout=xb.VoltageSense()), xb.pairs.opposed(v))
    np.testing.assert_allclose(s.output * ROWS * 1.01e-4, k * (v @ w), rtol=1e-10)


def test_errors_of_a_constant_sum_fall_with_the_root_of_its_rows() -> None:
    """`sigma / (sqrt(2 rows) g)` of the sum of `2 rows` devices with mean `g = G_s / 2`."""
    sigma, g_s, draws = 2e-6, 1.01e-4, 4000
    for rows in (16, 256):
        random = np.random.default_rng(rows)
        w = random.uniform(-1, 1, rows)
        pair = xb.ConstantSumPair(1e-6, 1e-4).program(jnp.asarray(w)[:, None], 9.9e-5)
        noisy = np.asarray(pair)[..., 0][None] + sigma * random.normal(size=(draws, 2, rows))
        v = random.uniform(-0.2, 0.2, rows)
        # the same error in the sum, as a part of it: what the common factor misses
        missed = noisy.sum((1, 2)) / (rows * g_s) - 1
        want = sigma * np.sqrt(2 * rows) / (rows * g_s)
        np.testing.assert_allclose(missed.std(), want, rtol=0.05)
        out = ((noisy[:, 0] - noisy[:, 1]) @ v) / noisy.sum((1, 2))
        exact = ((noisy[:, 0] - noisy[:, 1]) @ v) / (rows * g_s)
        np.testing.assert_allclose((out / exact - 1).std(), want, rtol=0.05)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: xb.Integrator(-1e-12, 1e-9), "c is -1e-12 F"),
        (lambda: xb.Integrator(0.0, 1e-9), "c is 0 F"),
        (lambda: xb.Integrator(1e-12, 1e-9, gain=0.0), "gain is 0"),
        (lambda: xb.read(over(xb.Integrator(1e-12, 1e-9, gain=1e3)), jnp.ones(2)), "use integrate"),
        (lambda: xb.transfer(over(xb.Integrator(1e-12, 1e-9, gain=1e3))), "use integrate"),
        (lambda: xb.integrate(over(xb.Tia(1e3)), jnp.ones(2)), "needs an Integrator"),
        (
            lambda: xb.integrate(over(xb.Integrator(1e-12, jnp.ones(3))), jnp.ones(2)),
            "t_int has shape .3,.; it must be a scalar",
        ),
        (lambda: xb.Integrator(1e-12, 0.0), "t_int is 0 s"),
        (lambda: xb.SampleHold(-1.0), "c is -1"),
        (lambda: xb.SampleHold(0.0), "c is 0 F"),
        (lambda: xb.Cco(0.0, 1.0), "k is 0"),
        (lambda: reset_noise(0.0), "c is 0 F"),
        (lambda: turns(4, 0, 1.0), "shared_by is 0"),
        (lambda: share_charge(jnp.ones((2, 1)), -1.0, 1.0), "c_sample is -1"),
        (lambda: xb.ConstantSumPair(1e-4, 1e-4), "g_min"),
        (
            lambda: xb.cost(
                xb.read(xb.Crossbar(xb.Ohmic(array()[0])), array()[1]),
                t_read=-1.0,
                adc_bits=8.0,
                adc_fom=1e-14,
            ),
            "t_read is -1",
        ),
    ],
)
def test_bad_periphery_is_refused_in_words(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_coefficients_of_few_bits_are_integers_in_common_steps() -> None:
    random = np.random.default_rng(4)
    exact = xb.Calibration(
        jnp.asarray(random.uniform(0.8, 1.2, COLS)), jnp.asarray(random.normal(size=COLS))
    )
    few = xb.quantised(exact, 6)
    for a, b in ((exact.gain, few.gain), (exact.offset, few.offset)):
        step = jnp.max(jnp.abs(a)) / 31
        np.testing.assert_allclose(b / step, np.round(b / step), atol=1e-9)
        assert float(jnp.max(jnp.abs(a - b))) <= float(step) / 2 * (1 + 1e-9)
    slope = jax.grad(lambda c: jnp.sum(xb.quantised(c, 6).gain ** 2))(exact)
    np.testing.assert_allclose(slope.gain, 2 * few.gain)
    with pytest.raises(ValueError, match="bits is 1; .* at least two"):
        xb.quantised(exact, 1)
