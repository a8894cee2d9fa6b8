"""Published models of devices with memory: rates and currents of independent code, SciPy's Radau
method under a pulse, a sweep and a sine, explicit steps, hysteresis, bounds, gradients, an
oscillator."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import xbarjax as xb
from golden import SWITCHING
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
    "ecram": Kind(ecram, ecram_rate, -0.8276, 1.1724, (-0.3, 0.5), 1.0, -1.2, 8e-4, 1e-8, True),
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
    x = rng.uniform(kind.low, kind.high, 30)
    v = rng.uniform(kind.bottom, kind.top, 30)
    cell = kind.make(jnp.asarray(x))
    if kind.gated:
        cell = cell.gated(jnp.asarray(v))
    (got,) = cell.rate(jnp.asarray(v), jnp.zeros(30))
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


LONG = ("jart", "thermal", "diffusive")
slow = lambda *at: pytest.param(*at, marks=pytest.mark.slow if at[0] in LONG else ())
each = [slow(name, drive) for name in KINDS for drive in ("pulse", "sweep", "sine")]


@pytest.mark.parametrize(("name", "drive"), each)
def test_devices_end_where_radau_does(name: str, drive: str) -> None:
    """Within 1e-6 of the range of the state."""
    _ends_where_radau_does(name, drive)


def test_the_comparison_with_radau_can_fail() -> None:
    """By a thousandth of the rate."""
    kind = KINDS["ecram"]
    at, v = driven(kind, "pulse")
    cell = kind.make(jnp.asarray(kind.begin)[None])
    cell = eqx.tree_at(lambda cell: cell.step, cell, 1.001 * cell.step)
    found = run(
        xb.Crossbar(cell),
        waveform(kind, at, v),
        jnp.asarray([0.0, at[-1]]),
        rtol=kind.rtol,
        max_steps=8192,
    )
    span = kind.high - kind.low
    slope = lambda t, x: kind.rate(kind.low + span * x, np.interp(t, at, v)) / span
    want, _ = moved(slope, at, (np.array(kind.begin) - kind.low) / span, 0.0, 1.0)
    got = (states(found.crossbar.cell)[0] - kind.low) / span
    assert np.abs(got - want).max() > 1e-4


def test_implicit_steps_are_fewer_than_explicit_ones_where_a_device_is_stiff() -> None:
    """The temperature of a device follows a sine of 1 ms within 0.2 us. An explicit method needs
    ten times the steps, at whatever accuracy: it would be unstable with longer ones."""
    kind = KINDS["thermal"]
    at = np.linspace(0, 1e-3, CORNERS)
    v, span = 3 * np.sin(2 * np.pi * at / 1e-3), kind.high - kind.low
    wave, end = waveform(kind, at, v), at[8] + 1e-5  # beyond the crest
    begin = np.array(kind.begin)
    crossbar = xb.Crossbar(kind.make(jnp.asarray(begin)[None]))
    found = run(crossbar, wave, jnp.asarray([0.0, end]), rtol=1e-5, max_steps=8192)
    slope = lambda t, x: kind.rate(kind.low + span * x, np.interp(t, at, v)) / span
    corners, first = np.append(at[at < end], end), (begin - kind.low) / span
    want, _ = moved(slope, corners, first, 0.0, 1.0)
    loose, evaluations = moved(slope, corners, first, 0.0, 1.0, 1e-3, "RK45")
    got, explicit = (states(found.crossbar.cell)[0] - kind.low) / span, evaluations / 6
    taken = int(found.accepted) + int(found.rejected)
    print(got - want, loose - want, int(found.accepted), int(found.rejected), explicit)
    assert np.abs(got - want).max() < min(1e-6, np.abs(loose - want).max())
    assert taken < explicit / 5 and int(found.accepted) < explicit / 7


@pytest.mark.parametrize("name", [slow(name) for name in KINDS])
def test_states_stay_within_their_bounds(name: str) -> None:
    """Under ten times the time of the other tests, in both directions."""
    kind = KINDS[name]
    at, v = driven(kind, "pulse")
    at = 10 * at
    cell = kind.make(jnp.asarray(kind.begin)[None])
    crossbar = xb.Crossbar(cell)
    for sign in (1, -1):
        wave = waveform(kind, at, sign * v)
        found = run(crossbar, wave, jnp.asarray([0.0, at[18]]), rtol=1e-4, max_steps=8192)
        (low, high), x = cell.bounds[0], states(found.crossbar.cell)
        assert ((x >= low) & (x <= high)).all()
        print(name, sign, (x - kind.low) / (kind.high - kind.low))
        if name in ("stanford", "ecram"):
            moves_up = sign == (1 if name == "ecram" else -1)
            assert (x == (high if moves_up else low)).all() or (name, sign) == ("stanford", -1)


@pytest.mark.slow
def test_a_loop_is_pinched_and_its_area_falls_with_frequency() -> None:
    kind, areas = KINDS["stanford"], []
    for period in (0.5, 1.0, 2.0):
        at, v = driven(kind, "sine")
        at, ts = period * at, period * np.linspace(0, at[-1], 65)
        crossbar = xb.Crossbar(kind.make(jnp.asarray([[1.2e-9]])))
        found = run(crossbar, waveform(kind, at, v), jnp.asarray(ts), rtol=1e-4)
        i, v = np.asarray(found.i_in)[:, 0], np.interp(ts, at, v)
        assert np.abs(i[[0, 32, 64]]).max() < 1e-12 * np.abs(i).max()  # at 0 V
        i, v = i[:33], v[:33]  # of the loop of positive voltages, relative to both ranges
        areas.append(abs(np.trapezoid(i, v)) / np.ptp(i) / np.ptp(v))
    print(areas)
    assert areas[0] < areas[1] < areas[2]


alone = [pytest.param("stanford_1", marks=pytest.mark.slow), "stanford_4"]


@pytest.mark.parametrize("name", alone)
def test_arrays_that_switch_agree_with_ngspice(name: str) -> None:
    record = SWITCHING.load(name)
    x, want = record["inputs"], record["outputs"]
    wires = xb.Wires(jnp.asarray(x["r_row"]), jnp.asarray(x["r_col"]))
    crossbar = xb.Crossbar(xb.StanfordPKU(jnp.asarray(x["gap"])), wires)
    at, v = np.append(0, x["t"]), np.vstack([0 * x["v"][:1], x["v"]])
    wave = xb.Waveform(jnp.asarray(at), jnp.asarray(v))
    ts = jnp.asarray(np.append(0, want["t"]))
    found = run(crossbar, wave, ts, rtol=1e-6, max_steps=4096)
    i, gap = np.asarray(found.i_out)[1:], states(found.crossbar.cell)
    error = np.abs(i - want["i_out"]).max() / np.abs(want["i_out"]).max()
    left = np.abs(gap - want["gap"]).max() / 1.5e-9
    print(name, error, left, int(found.accepted))
    assert error < 1e-4 and left < 1e-4
    assert np.abs(want["gap"] - x["gap"]).max() > 1e-12


def test_a_thermal_switch_oscillates_with_the_period_of_scipy() -> None:
    """A relaxation oscillator: 12 V behind 12 kohm, and 145 pF beside the device."""
    v_in, r, c = 12.0, 12e3, 145.34619293e-12
    circuit = xb.Circuit(
        source=el.VoltageSource(to="x", v=jnp.full(1, v_in), r=r),
        hold=el.Capacitor("x", "0", c, v_start=0.0),
        array=el.Array(xb.ThermalSwitch(jnp.asarray([[325.0]])), rows="x", cols="0"),
    )
    ts = np.linspace(0, 1.2e-5, 401)
    wave = xb.Waveform(jnp.asarray([0.0, ts[-1]]), jnp.full((2, 1), v_in))
    found = run(circuit, {"source": wave}, jnp.asarray(ts), rtol=1e-5)

    def slope(t, y):
        i = switching.thermal_current(y[1], y[0])
        return [((v_in - y[0]) / r - i) / c, switching.thermal_rate(y[1], y[0])]

    options: Any = {"method": "Radau", "rtol": 1e-9, "atol": 1e-10}
    want = solve_ivp(slope, (0, ts[-1]), [0.0, 325.0], t_eval=ts, **options).y[0]

    def period(v):
        k = np.flatnonzero((v[:-1] < 6) & (v[1:] >= 6))
        rises = ts[k] + (6 - v[k]) / (v[k + 1] - v[k]) * ts[1]
        assert len(rises) == 4
        return np.mean(np.diff(rises))

    got = np.asarray(found.v["x"])[:, 0]
    print(period(got), period(want), int(found.accepted), int(found.rejected))
    assert abs(period(got) / period(want) - 1) < 2e-4
    assert want[200:].max() > 7.5 and want[200:].min() < 2


@pytest.mark.slow
def test_the_voltage_of_a_thermal_switch_falls_as_its_current_rises() -> None:
    """A negative differential resistance, at currents from a resistor: `v = i R(T)` with
    `g_th (T - t_0) = i v`."""
    circuit = xb.Circuit(
        source=el.VoltageSource(to="x", v=jnp.zeros(1), r=1e5),
        array=el.Array(xb.ThermalSwitch(jnp.asarray([[325.0]])), rows="x", cols="0"),
    )
    ts = np.linspace(0, 2e-4, 41)
    wave = xb.Waveform(jnp.asarray([0.0, ts[-1]]), jnp.asarray([[0.0], [300.0]]))
    found = run(circuit, {"source": wave}, jnp.asarray(ts), rtol=1e-4, max_steps=4096)
    v = np.asarray(found.v["x"])[:, 0]
    i = (300 * ts / ts[-1] - v) / 1e5
    assert (np.diff(i) > 0).all() and v.max() > 6 and v[24] < 3 and v[-1] > 3.5
    t = np.linspace(325, 420, 20001)
    r = 1 / switching.thermal_current(t, np.ones(20001))
    power = 0.20558726e-3 * (t - 325)
    curve = np.interp(i, np.sqrt(power / r), np.sqrt(power * r))
    np.testing.assert_allclose(v[2:], curve[2:], rtol=1e-2)


RATES = {"stanford": "rate_0", "jart": "nu", "thermal": "c_th", "ecram": "step", "diffusive": "a"}
late = [
    pytest.param(n, marks=() if n == "ecram" else pytest.mark.slow) for n in KINDS if n != "jart"
]


@pytest.mark.parametrize("name", late)
def test_gradients_are_those_of_differences(name: str) -> None:
    """By height and width of a pulse, a rate constant, the initial state and a resistance."""
    kind = KINDS[name]
    if name == "stanford":  # its large currents would leave too little voltage, and it would stop
        kind = kind._replace(begin=(1e-9, 1.1e-9), top=1.3)
    one = {key: jnp.asarray(1.0) for key in ("v", "width", "rate", "begin", "wire")}

    def value(p: dict[str, Any]) -> Any:
        begin = jnp.asarray(kind.begin) + (p["begin"] - 1) * (kind.high - kind.low)
        cell = kind.make(begin[None])
        of = lambda cell: getattr(cell, RATES[name])
        cell = eqx.tree_at(of, cell, p["rate"] * of(cell))
        edges = jnp.asarray([0.0, 0.02, 0.4, 0.42]) * kind.last
        at = edges + jnp.asarray([0.0, 0.0, 0.4, 0.4]) * kind.last * (p["width"] - 1)
        v = p["v"] * kind.top * jnp.asarray([0.0, 1.0, 1.0, 0.0])
        wave = waveform(kind, at, v)
        ts = jnp.asarray([0.0, 0.5]) * kind.last
        crossbar = xb.Crossbar(cell, drive=xb.Drive(p["wire"] * 50.0))
        found = xb.simulate(crossbar, wave, ts, steps_per_interval=6)
        left = getattr(found.crossbar.cell, cell.states[0])
        return jnp.sum(jnp.sin((left - kind.low) / (kind.high - kind.low)))

    value = jax.jit(value)
    slope = jax.jit(jax.grad(value))(one)
    largest = max(abs(float(x)) for x in slope.values())
    for key in one:
        to = lambda h, key=key: float(value(one | {key: jnp.asarray(1.0 + h)}))
        h = 1e-4
        want = (8 * (to(h) - to(-h)) - (to(2 * h) - to(-2 * h))) / (12 * h)
        print(name, key, float(slope[key]), want)
        assert abs(float(slope[key]) - want) < 1e-5 * max(abs(want), 1e-3 * largest), key
    gate = {"wire"} if kind.gated else set()  # which takes no current
    assert all(abs(float(slope[key])) > 1e-4 for key in one.keys() - gate)


def test_derivatives_of_jart_are_those_of_differences() -> None:
    """Of the current and of the rate, by voltage, state, and parameters of the inner solve."""
    v = np.array([-1.1, -0.6, -0.1, 0.1, 0.6, 1.2])
    log_n = np.array([55.5, 58.0, 61.0, 60.0, 62.0, 62.5])

    def value(p: dict[str, Any]) -> Any:
        cell = xb.JartVCM(log_n + p["log_n"], phi=0.18 * p["phi"], r_th=1.572e7 * p["r_th"])
        at = jnp.asarray(v) + p["v"], jnp.zeros(6)
        return cell.current(*at) * 1e4, jnp.log(jnp.abs(cell.rate(*at)[0]))

    one = {key: jnp.asarray(float(key in ("phi", "r_th"))) for key in ("v", "log_n", "phi", "r_th")}
    value = jax.jit(value)
    slopes = jax.jit(jax.jacrev(value))(one)
    for key in one:
        to = lambda h, key=key: np.array(value(one | {key: one[key] + h}))
        h = 1e-4
        want = (8 * (to(h) - to(-h)) - (to(2 * h) - to(-2 * h))) / (12 * h)
        got = np.array([slopes[k][key] for k in range(2)])
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_jart_in_float32() -> None:
    v, log_n = np.linspace(-1.2, 1.5, 7), np.linspace(55.2, 62.6, 7)
    single = lambda x: jnp.asarray(x, jnp.float32)
    names = [name for name in vars(xb.JartVCM(56.0)) if name != "log_n"]
    parts = {name: single(getattr(xb.JartVCM(56.0), name)) for name in names}
    got = xb.JartVCM(single(log_n), **parts).current(single(v), single(0 * v))
    assert got.dtype == jnp.float32
    want = [switching.jart_current(*each) for each in zip(log_n, v)]
    np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize("name", late)
def test_float32_ends_where_float64_does(name: str) -> None:
    kind = KINDS[name]
    at, v = driven(kind, "pulse")
    crossbar = xb.Crossbar(kind.make(jnp.asarray(kind.begin)[None]))
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    wave, ts = waveform(kind, at, v), jnp.asarray([0.0, at[-1]])
    want = run(crossbar, wave, ts, rtol=1e-5, max_steps=8192)
    found = run(single(crossbar), single(wave), single(ts), rtol=1e-5, max_steps=8192)
    got = states(found.crossbar.cell)
    assert got.dtype == np.float32
    error = np.abs(got - states(want.crossbar.cell)) / (kind.high - kind.low)
    print(name, error)
    assert error.max() < 2e-3


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: xb.StanfordPKU(1e-9, r_th=-1.0), "r_th is -1.0 K/W; it must be finite"),
        (lambda: xb.StanfordPKU(1e-9, length=0.0), "length is 0 m; it must be positive"),
        (lambda: xb.JartVCM(np.inf), "log_n is inf ; it must be finite"),
        (lambda: xb.JartVCM(56.0, nu=-1.0), "nu is -1.0 1/s; it must be finite"),
        (lambda: xb.ThermalSwitch(-3.0), "temperature is -3.0 K; it must be finite"),
        (lambda: xb.ThermalSwitch(330.0, c_th=0.0), "c_th is 0 J/K; it must be positive"),
        (lambda: xb.Ecram(0.0, 1e-6, 1e-5, 0.0, 1e-6), "v_pulse is 0 V; it must be positive"),
        (lambda: xb.Ecram(0.0, -1e-6, 1e-5, 1.0, 1e-6), "g_min is -1e-06 S; it must be finite"),
        (lambda: xb.Diffusive(1e-9, d_max=0.0), "d_max is 0 m; it must be positive"),
        (lambda: xb.Diffusive(1e-9, alpha=np.nan), "alpha is nan ; it must be finite"),
    ],
)
def test_bad_parameters_are_said_in_a_sentence(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_states_outside_their_bounds_are_not_valid() -> None:
    for name, kind in KINDS.items():
        beyond = kind.high + 0.1 * (kind.high - kind.low)
        if name not in ("stanford", "thermal"):  # which read at any gap and temperature
            assert not bool(kind.make(jnp.asarray([[beyond]])).valid())
