"""Published models of devices with memory: rates and currents of independent code, SciPy's Radau
method under a pulse, a sweep and a sine, explicit steps, hysteresis, bounds, gradients, an
oscillator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import switching
from reference.memory import moved
from xbarjax import elements as el

LN_MIN, LN_MAX = np.log(8e23), np.log(2e27)
run = eqx.filter_jit(xb.simulate)


class Kind(NamedTuple):
    """A model, the rate of the reference, bounds, two initial states, and a drive: largest and
    smallest voltage [V], duration [s]."""

    make: Callable[[Any], Any]
    rate: Callable[[Any, Any], Any]
    low: float
    high: float
    begin: tuple[float, float]
    top: float
    bottom: float
    last: float
    rtol: float
    gated: bool = False


def ecram(x: Any) -> xb.Ecram:
    return xb.Ecram(x, 1e-6, 1e-5, 1.0, 1e-6, tau=2e-3)


def jart_rate(x: np.ndarray, v: float) -> np.ndarray:
    return np.array([switching.jart_rate(each, float(v)) for each in np.ravel(x)])


def ecram_rate(x: np.ndarray, v: float) -> np.ndarray:
    return switching.ecram_rate(x, np.asarray(v), tau=2e-3)


KINDS = {
    "stanford": Kind(
        xb.StanfordPKU,
        switching.stanford_rate,
        *(2e-10, 1.7e-9, (4e-10, 1.2e-9), 1.25, -1.4, 2e-7, 1e-8),
    ),
    "jart": Kind(xb.JartVCM, jart_rate, LN_MIN, LN_MAX, (55.5, 60.0), 1.2, -0.9, 2e-6, 2e-8),
    "thermal": Kind(
        xb.ThermalSwitch,
        switching.thermal_rate,
        *(325.0, 450.0, (330.0, 345.0), 3.0, -2.5, 1e-6, 2e-8),
    ),
    "ecram": Kind(ecram, ecram_rate, -0.8276, 1.1724, (-0.3, 0.5), 1.0, -1.2, 8e-4, 5e-8, True),
    "diffusive": Kind(
        xb.Diffusive,
        switching.diffusive_rate,
        *(0.0, 2e-9, (2e-10, 3e-10), 2.2, -2.0, 4e-3, 2e-8),
    ),
}
CORNERS = 33  # of all drives, so that one program serves them


def driven(kind: Kind, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Corners [s] and voltages [V]."""
    at = np.linspace(0, 1, CORNERS)
    if name == "sine":
        size = np.where(at < 0.5, kind.top, -kind.bottom)
        return at * kind.last, size * np.sin(2 * np.pi * at)
    if name == "pulse":
        at = np.sort(np.append(at[1:-2], [0.0, 0.02, 0.8, 0.82]))[:CORNERS]
        v = np.interp(at, [0, 0.02, 0.8, 0.82, 1], [0, kind.top, kind.top, 0, 0])
        return at * kind.last, v
    return at * kind.last, np.interp(at, [0, 0.25, 0.75, 1], [0, kind.top, kind.bottom, 0])


def waveform(kind: Kind, at: Any, v: Any) -> xb.Waveform | xb.BiasWaveform:
    wave = lambda v: xb.Waveform(jnp.asarray(at), jnp.asarray(v)[:, None])
    if not kind.gated:
        return wave(v)
    still = jnp.zeros((len(at), 2), jnp.asarray(v).dtype)
    return xb.BiasWaveform(wave(0 * v), xb.Waveform(jnp.asarray(at), still), wave(v))


def states(cell: Any) -> np.ndarray:
    (name,) = cell.states
    return np.asarray(getattr(cell, name))


@pytest.mark.parametrize("name", KINDS)
def test_rates_are_those_of_independent_code(name: str) -> None:
    kind, rng = KINDS[name], np.random.default_rng(0)
    x = rng.uniform(kind.low, kind.high, 60)
    v = rng.uniform(kind.bottom, kind.top, 60)
    cell = kind.make(jnp.asarray(x))
    if kind.gated:
        cell = cell.gated(jnp.asarray(v))
    (got,) = cell.rate(jnp.asarray(v), jnp.zeros(60))
    want = np.array([np.squeeze(kind.rate(np.array([a]), b)) for a, b in zip(x, v)])
    np.testing.assert_allclose(got, want, rtol=1e-9)
    assert np.abs(want).max() * kind.last > 1e-2 * (kind.high - kind.low)


def test_currents_are_those_of_independent_code() -> None:
    rng = np.random.default_rng(1)
    v = rng.uniform(0, 1.5, 60)
    for name, of in (
        ("stanford", switching.stanford_current),
        ("thermal", switching.thermal_current),
        ("diffusive", switching.diffusive_current),
    ):
        kind = KINDS[name]
        x = rng.uniform(kind.low, kind.high, 60)
        got = kind.make(jnp.asarray(x)).current(jnp.asarray(v), jnp.zeros(60))
        np.testing.assert_allclose(got, of(x, v), rtol=1e-12)
    x, v = rng.uniform(LN_MIN, LN_MAX, 60), rng.uniform(-1.3, 1.6, 60)
    got = xb.JartVCM(jnp.asarray(x)).current(jnp.asarray(v), jnp.zeros(60))
    want = [switching.jart_current(*each) for each in zip(x, v)]
    np.testing.assert_allclose(got, want, rtol=1e-11)


@pytest.mark.parametrize("name", KINDS)
def test_currents_start_at_0_and_rise_with_the_voltage(name: str) -> None:
    kind = KINDS[name]
    v = jnp.linspace(-1.0, 1.0, 81)[:, None]
    cell = kind.make(jnp.linspace(kind.low, kind.high, 7)[None])
    i = np.asarray(jax.jit(lambda v: cell.current(v, 0 * v))(jnp.tile(v, (1, 7))))
    assert (np.diff(i, axis=0) > 0).all() and (i[40] == 0).all()
    assert np.asarray(cell.valid()).all()


def test_stanford_reads_as_published() -> None:
    """542 ohm and 218.6 kohm at 0.1 V, at the ends of the gap of MemTorch."""
    cell = xb.StanfordPKU(jnp.asarray([2e-10, 1.7e-9]))
    r = 0.1 / np.asarray(cell.current(jnp.full(2, 0.1), jnp.zeros(2)))
    np.testing.assert_allclose(r, [542, 218.6e3], rtol=1e-3)


def _ends_where_radau_does(name: str, drive: str) -> None:
    kind = KINDS[name]
    at, v = driven(kind, drive)
    begin, span = np.array(kind.begin), kind.high - kind.low
    wave, ts = waveform(kind, at, v), jnp.asarray([0.0, at[-1]])
    crossbar = xb.Crossbar(kind.make(jnp.asarray(begin)[None]))
    found = run(crossbar, wave, ts, rtol=kind.rtol, max_steps=8192)
    slope = lambda t, x: kind.rate(kind.low + span * x, np.interp(t, at, v)) / span
    want, _ = moved(slope, at, (begin - kind.low) / span, 0.0, 1.0)
    got = (states(found.crossbar.cell)[0] - kind.low) / span
    print(name, drive, want, got - want, int(found.accepted), int(found.rejected))
    assert np.abs(got - want).max() < 1e-6


@pytest.mark.parametrize("drive", ["pulse", "sweep", "sine"])
@pytest.mark.parametrize("name", KINDS)
def test_devices_end_where_radau_does(name: str, drive: str) -> None:
    """Within 1e-6 of the range of the state."""
    _ends_where_radau_does(name, drive)
