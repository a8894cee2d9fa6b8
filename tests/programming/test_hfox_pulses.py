"""Single write pulses of experiments/hfox_pulses against SciPy's Radau on equations in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments.hfox_pulses import data
from experiments.hfox_pulses.pulse import OneT1R, resistance, state, state_after, travelled
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import xbarjax as xb

BETA, V_T, LAM = 2e-4, 0.4, 0.3
# width [s], gate, bit line, source line [V], resistance before [ohm]
WRITES = np.array(
    [
        [20e-9, 1.0, 1.5, 0.0, 80e3],
        [1e-6, 2.0, 1.5, 0.0, 30e3],
        [2e-7, 0.8, 3.0, 0.0, 150e3],
        [2e-6, 3.0, 0.0, 2.5, 14e3],
        [1e-7, 3.4, 0.0, 1.7, 9e3],
        [1e-6, 3.0, 0.5, 0.0, 50e3],  # below the thresholds of VTEAM
    ]
)
VTEAM = dict(r_on=2e3, r_off=2e6, k_on=-0.05, k_off=2e-4, v_on=-0.7, v_off=0.9)
VTEAM |= dict(alpha_on=1.5, alpha_off=2.0)
PKU = dict(i_0=2e-3, v_0=0.6, rate_0=10.0, gamma_0=16.0, f_min=0.0, r_th=1e4, gap_max=2.2e-9)


def transistor(v_drain: float, v_source: float, v_gate: float) -> float:
    """Current [A] of level 1 from drain to source, either way round."""
    if v_drain < v_source:
        return -transistor(v_source, v_drain, v_gate)
    v, over = v_drain - v_source, max(v_gate - v_source - V_T, 0.0)
    on = min(v, over)
    return BETA * (1 + LAM * v) * on * (over - on / 2)


def vteam(w: float, v: float) -> tuple[float, float]:
    """Current [A] and rate of VTEAM, for a voltage from source line to bit line."""
    r = VTEAM["r_on"] + (VTEAM["r_off"] - VTEAM["r_on"]) * w / 3e-9
    off, on = max(v / VTEAM["v_off"] - 1, 0), max(v / VTEAM["v_on"] - 1, 0)
    moved = VTEAM["k_off"] * off ** VTEAM["alpha_off"] + VTEAM["k_on"] * on ** VTEAM["alpha_on"]
    return v / r, moved


def pku(gap: float, v: float) -> tuple[float, float]:
    """Current [A] and rate of StanfordPKU, for a voltage from bit line to source line."""
    i = PKU["i_0"] * np.exp(-gap / 2.5e-10) * np.sinh(v / PKU["v_0"])
    u = 1.380649e-23 / 1.602176634e-19 * (298 + v * i * PKU["r_th"])
    gamma = PKU["gamma_0"] - 0.8 * (gap / 1e-9) ** 3
    return i, -PKU["rate_0"] * np.exp(-0.6 / u) * np.sinh(2.5e-10 * gamma * v / 1.2e-8 / u)


def by_radau(law: Callable, sets: int, x: float, write: np.ndarray, ends: tuple) -> float:
    """The state after a pulse, with the inner node found at every step."""
    width, v_gate, v_bit, v_source, _ = write

    def rate(_, x):
        device = lambda m: law(x[0], sets * (v_bit - m))
        kirchhoff = lambda m: sets * device(m)[0] - transistor(m, v_source, v_gate)
        low, high = sorted((v_bit, v_source))
        return [device(brentq(kirchhoff, low, high, xtol=1e-15))[1]]

    end = solve_ivp(rate, (0, width), [x], method="Radau", rtol=1e-8, atol=1e-8 * (ends[1] - x))
    assert end.success
    return float(np.clip(end.y[0, -1], *ends))


def of_vteam(theta: jax.Array) -> OneT1R:
    k_on, v_t = theta
    device = xb.VTEAM(1e-9, **(VTEAM | {"k_on": -k_on}))
    return OneT1R(device, xb.Level1Mosfet(BETA, v_t, 0.0, LAM), -1)


def of_pku(theta: jax.Array) -> OneT1R:
    rate_0, v_t = theta
    device = xb.StanfordPKU(1e-9, **(PKU | {"rate_0": rate_0}))
    return OneT1R(device, xb.Level1Mosfet(BETA, v_t, 0.0, LAM), 1)


CASES: dict[str, tuple[Callable, list[float], Callable, tuple]] = {
    "VTEAM": (of_vteam, [-VTEAM["k_on"], V_T], vteam, (0.0, 3e-9)),
    "StanfordPKU": (of_pku, [PKU["rate_0"], V_T], pku, (2e-10, 2.2e-9)),
}


@pytest.mark.parametrize("name", CASES)
def test_one_pulse_leaves_the_state_of_radau(name: str) -> None:
    build, theta, law, ends = CASES[name]
    writes = jnp.asarray(WRITES)

    def after(log_theta, writes):
        cell = build(jnp.exp(log_theta))

        def one(w):
            x = state(cell, w[4])
            new = state_after(cell, x, *w[:4])
            return jnp.log(resistance(cell, new)), (x, new, resistance(cell, x))

        return jax.vmap(one)(writes)

    run = jax.jit(lambda at: (after(at, writes), jax.jacfwd(lambda at: after(at, writes)[0])(at)))
    at, step = jnp.log(jnp.array(theta)), 1e-5
    (log_r, (x, new, before)), slopes = run(at)
    np.testing.assert_allclose(before, WRITES[:, 4], rtol=1e-8)
    sets = build(jnp.array(theta)).sets
    exact = np.array([by_radau(law, sets, float(a), w, ends) for a, w in zip(x, WRITES)])
    np.testing.assert_allclose(new - ends[0], exact - ends[0], rtol=4e-3)
    moved = np.asarray(new - x)
    np.testing.assert_allclose(moved, exact - x, rtol=4e-3, atol=1e-6 * ends[1])
    assert np.all(log_r[:3] < np.log(before[:3])) and np.all(log_r[3:5] > np.log(before[3:5]))
    # gradients against differences; below the thresholds of VTEAM they are 0
    ways = step * jnp.eye(2)
    expected = [(run(at + w)[0][0] - run(at - w)[0][0]) / (2 * step) for w in ways]
    np.testing.assert_allclose(slopes.T, jnp.stack(expected), rtol=1e-3, atol=1e-5)
    assert np.all(np.abs(slopes[:3, 1]) > 0.01)  # the gate sets the resistance after a SET


def test_exponential_rates_are_followed_exactly() -> None:
    """dx/dt = t exp(-8 x) from 0, to its closed form ln(1 + 8 t) / 8, but not beyond the end."""
    grid, end = jnp.linspace(0, 1, 9), jnp.array(0.7)
    t = jnp.array([1e-3, 0.1, 20.0, 1e3])
    found = jax.vmap(lambda t: travelled(jnp.log(t) - 8 * end * grid, grid, end))(t)
    np.testing.assert_allclose(end * found, np.minimum(np.log1p(8 * t) / 8, 0.7), rtol=1e-12)


GOOD = "4\t2e-8\t0.5\t1.5\t1e5\t9e4\n"
BAD = {
    "words": ("address width\n", "is not a table of numbers"),
    "columns": ("4 2e-8 0.5\n", "has 3 columns; there must be 6"),
    "resistance": (GOOD + "6\t2e-8\t0.5\t1.5\t-5\t9e4\n", "the resistance before of cell 6 is -5"),
    "twice": (GOOD + GOOD, "has cells with several pulses"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused(name: str, tmp_path: Path) -> None:
    text, said = BAD[name]
    path = tmp_path / "set_sweep.tsv"
    path.write_text(text)
    with pytest.raises(SystemExit) as error:
        data.load(path, "set")
    assert said in str(error.value) and "\n" not in str(error.value)
    path.write_text(GOOD)
    assert data.load(path, "reset").v_reset[0] == 1.5 and data.load(path, "set").v_reset[0] == 0
    with pytest.raises(SystemExit, match="does not exist"):
        data.load(tmp_path / "none.tsv", "set")
