"""Models of memristors in time, against SciPy's Radau method, closed forms and published facts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference import memristors as models
from reference.memory import moved
from xbarjax import elements as el, spice, waveform, windows

CORNERS = 17  # of every waveform and of the times asked for, so that little is compiled
BEGIN = np.array([0.05, 0.3, 0.6, 0.95])
TURN = np.linspace(0, 1, CORNERS)
# corners, over the period and the largest voltage
WAVES = {
    "pulse": ([0.0, 0.02, 0.5, 0.52, 1.0], [0.0, 1.0, 1.0, 0.0, 0.0]),
    "sweep": ([0.0, 0.25, 0.75, 1.0], [0.0, 1.0, -1.0, 0.0]),
    "sine": (TURN, np.sin(2 * np.pi * TURN)),
}


@dataclass
class Case:
    """A model with its equations in NumPy, and a drive that moves its states."""

    make: Callable[..., Any]
    rate: Callable[..., np.ndarray]
    p: dict[str, Any]
    low: float
    high: float
    v: float  # [V]
    period: float  # [s]
    window: Any = None

    def cell(self, share: Any) -> Any:
        state = self.low + jnp.asarray(share) * (self.high - self.low)
        own = {k: x for k, x in self.p.items() if k not in ("window", "p")}
        return self.make(state, **own, **({"window": self.window} if self.window else {}))

    def slope(self, t: np.ndarray, v: np.ndarray) -> Callable[..., np.ndarray]:
        span = self.high - self.low
        return lambda at, x: self.rate(np.interp(at, t, v), self.low + x * span, self.p) / span

    def share(self, cell: Any) -> np.ndarray:
        (state,) = (np.asarray(getattr(cell, name)) for name in cell.states)
        return (state - self.low) / (self.high - self.low)


TEAM: dict[str, Any] = {"r_on": 1e4, "r_off": 1e5, "w_on": 0.0, "w_off": 3e-9}
TEAM |= {"k_on": -2e-9, "k_off": 5e-8, "i_on": -5e-6, "i_off": 8e-6}
TEAM |= {"alpha_on": 3.0, "alpha_off": 2.0}
DRIFT: dict[str, Any] = {
    "r_on": 100.0,
    "r_off": 16e3,
    "length": 1e-8,
    "mobility": 1e-14,
}  # Strukov et al., fig. 2
YAKOPCIC: dict[str, Any] = {"a_1": 1e-4, "a_2": 1.2e-4, "b": 1.5, "k_p": 30.0, "k_n": 40.0}
YAKOPCIC |= {
    "v_p": 0.3,
    "v_n": 0.25,
    "x_p": 0.4,
    "x_n": 0.5,
    "alpha_p": 1.0,
    "alpha_n": 5.0,
    "eta": 1.0,
}
MESSARIS: dict[str, Any] = {
    "r_min": 1280.0,
    "r_max": 17e3,
    "k_p": 743.47,
    "k_n": -68012.28374,
    "t_p": 6.51,
}
MESSARIS |= {"t_n": 0.31645, "c_p": 5.11e-4, "c_n": 1.17e-3, "r_p0": 16719.0, "r_p1": 0.0}
MESSARIS |= {"r_n0": 29304.82557, "r_n1": 23692.77225}


def drift(name: str, window: Any, period: float = 0.05) -> Case:
    p = DRIFT | {"window": name, "p": 2.0}
    return Case(xb.LinearIonDrift, models.linear_ion_drift, p, 0, 1e-8, 1.0, period, window)


CASES = {
    "team": Case(xb.TEAM, models.team, TEAM, 0, 3e-9, 1.0, 0.1),
    "yakopcic": Case(xb.Yakopcic, models.yakopcic, YAKOPCIC, 0, 1, 1.0, 0.1),
    "messaris": Case(xb.Messaris, models.messaris, MESSARIS, 1280, 17e3, 1.0, 1e-2),
    "drift": drift("none", None),
    "joglekar": drift("joglekar", windows.Joglekar(2)),
    "biolek": drift("biolek", windows.Biolek(2)),
    "prodromakis": drift("prodromakis", windows.Prodromakis(2)),
}
QUICK = ("team", "messaris", "joglekar")
pick = lambda quick: [
    pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in CASES
]
run = eqx.filter_jit(xb.simulate)


def driven(case: Case, t: Any, v: Any, *, share: Any = BEGIN, rtol: float = 2e-8) -> xb.Transient:
    """Devices in one row, all of them at the voltages `v` [V] at the times `t` [s]."""
    t, v = np.asarray(t, float), np.asarray(v, float)
    after = t[-1] * (2 + np.arange(CORNERS - t.size))  # corners that are not reached
    wave = xb.Waveform(
        jnp.asarray(np.concatenate([t, after])),
        jnp.asarray(np.concatenate([v, np.zeros(after.size)]))[:, None],
    )
    crossbar = xb.Crossbar(case.cell(np.asarray(share)[None]))
    ts = jnp.asarray(TURN * t[-1])
    return run(crossbar, wave, ts, rtol=jnp.asarray(rtol), max_steps=8192)


def at_bounds(case: Case, v: np.ndarray) -> list[np.ndarray]:
    """Currents [A] of devices at both bounds, at voltages `v` [V]."""
    zero = jnp.zeros(v.shape)
    return [np.asarray(case.cell(share).current(jnp.asarray(v), zero)) for share in (0.0, 1.0)]


@pytest.mark.parametrize("name", pick(QUICK))
def test_states_are_those_of_radau_and_stay_within_their_bounds(name: str) -> None:
    case = CASES[name]
    for kind, (t, v) in WAVES.items():
        t, v = np.asarray(t) * case.period, np.asarray(v) * case.v
        found = driven(case, t, v)
        share, slope = case.share(found.crossbar.cell)[0], case.slope(t, v)
        want, _ = moved(slope, t, BEGIN, 0.0, 1.0)
        steps = models.explicit_steps(slope, t, BEGIN, want, 1e-6, 20000)
        error = np.abs(share - want).max()
        print(f"{name} {kind}: {error:.1e}, {int(found.accepted)} steps, RK45 {steps} of {want}")
        assert error < 1e-6
        assert (share >= 0).all() and (share <= 1).all()
        ends = at_bounds(case, np.asarray(found.v_in)[:, 0])
        i, slack = np.asarray(found.i_out), 1e-9 * np.abs(ends).max()
        assert (i >= np.minimum(*ends)[:, None] - slack).all()
        assert (i <= np.maximum(*ends)[:, None] + slack).all()


@pytest.mark.parametrize("name", pick(QUICK))
def test_loops_are_pinched_and_close_at_high_frequency(name: str) -> None:
    case = CASES[name]
    v, middle, areas = case.v * np.sin(2 * np.pi * TURN), CORNERS // 2, []
    for period in case.period / np.array([1024, 4096, 16384]):
        i = np.asarray(driven(case, TURN * period, v, rtol=1e-7).i_out)
        assert np.abs(i[[0, middle, -1]]).max() < 1e-12 * np.abs(i).max()  # at 0 V
        lobes = slice(0, middle + 1), slice(middle, None)
        areas.append(sum(np.abs(np.trapezoid(i[k], v[k], axis=0)) for k in lobes))
    print(name, *areas)
    assert (areas[0] > 1.5 * areas[1]).all() and (areas[1] > 1.5 * areas[2]).all()


def flux_of(t: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.diff(t) * (v[1:] + v[:-1]) / 2)])


def test_ion_drift_without_window_is_a_function_of_flux() -> None:
    """`R^2` falls linearly with the flux (Strukov et al., 2008, integrated)."""
    case, t = CASES["drift"], TURN * 0.4
    v = 0.8 * np.sin(2 * np.pi * TURN)
    found = driven(case, t, v, share=np.array([0.1, 0.2, 0.3, 0.4]))
    resistance = lambda share: DRIFT["r_on"] * share + DRIFT["r_off"] * (1 - share)
    begin = resistance(np.array([0.1, 0.2, 0.3, 0.4]))
    slope = 2 * (DRIFT["r_off"] - DRIFT["r_on"]) * DRIFT["r_on"] * 1e-14 / 1e-8**2
    want = np.sqrt(begin**2 - slope * flux_of(t, v)[:, None])
    inner = np.abs(v) > 0.1
    got = v[inner, None] / np.asarray(found.i_out)[inner]
    assert np.abs(got / want[inner] - 1).max() < 2e-6
    assert (want.min(0) < 0.95 * begin).all()


def test_the_loop_of_strukov_and_others() -> None:
    """What their figure 2b shows of `v_0 sin(w_0 t)` with `R_off / R_on = 160`: the border comes to
    neither end, charge is a function of flux, the loop is pinched and the same in both quadrants
    that it is in, and at ten times the frequency its hysteresis is gone. (Nature 453, 80, 2008; the
    caption gives ratio, thickness and mobility. Period and first width are ours.)"""
    case, loops, middle = CASES["drift"], [], CORNERS // 2
    v = np.sin(2 * np.pi * TURN)
    for period in (1.5, 0.15):
        found = driven(case, TURN * period, v, share=np.full(4, 0.1), rtol=1e-7)
        i, q = np.asarray(found.i_out)[:, 0], np.asarray(found.q_out)[:, 0]
        assert np.abs(i[[0, middle, -1]]).max() < 1e-12 * np.abs(i).max()
        # flux rises and falls again: charge comes back the way that it went, and so does the border
        np.testing.assert_allclose(q, q[::-1], atol=2e-6 * q.max())
        np.testing.assert_allclose(i, -i[::-1], atol=2e-5 * np.abs(i).max())
        assert abs(case.share(found.crossbar.cell)[0, 0] - 0.1) < 1e-5
        lobe = abs(np.trapezoid(i[: middle + 1], v[: middle + 1]))
        loops.append(lobe / np.abs(i).max())
        width = 0.1 + q.max() * DRIFT["mobility"] * DRIFT["r_on"] / 1e-8**2
        assert 0.1 < width < 0.9
    assert loops[1] < loops[0] / 5


def test_messaris_moves_with_the_logarithm_of_time() -> None:
    """At a constant voltage, by the closed form of MemTorch's `Data_Driven`."""
    case, p = CASES["messaris"], MESSARIS
    for v, period in ((0.8, 5e-3), (-1.1, 1e-3)):
        found = driven(case, [0.0, period], [v, v], rtol=1e-7)
        begin, t = 1280 + BEGIN * (17e3 - 1280), TURN[:, None] * period
        if v > 0:
            c, to = p["c_p"], p["r_p0"]
            decay = np.exp(-c * p["k_p"] * (np.exp(p["t_p"] * v) - 1) * t)
            r = to + np.log(1 + decay * (np.exp(c * (begin - to)) - 1)) / c
        else:
            c, to = p["c_n"], p["r_n0"] + p["r_n1"] * v
            decay = np.exp(c * p["k_n"] * (np.exp(-p["t_n"] * v) - 1) * t)
            r = to - np.log(1 + decay * (np.exp(c * (to - begin)) - 1)) / c
            r = np.where(begin > to, r, begin)
        want = 0.24 / r * np.sinh(3 * v)
        assert np.abs(np.asarray(found.i_out) / want - 1).max() < 1e-5
        assert np.abs(r[-1] / begin - 1).max() > 0.2


@pytest.mark.parametrize(
    "name, trapped",
    [
        ("joglekar", True),
        ("biolek", False),
        pytest.param("prodromakis", True, marks=pytest.mark.slow),
        pytest.param("drift", False, marks=pytest.mark.slow),
    ],
)
def test_windows_that_are_0_at_both_bounds_trap_the_state(name: str, trapped: bool) -> None:
    """The others let it go when the current turns around. Where a state is trapped, nothing
    depends on the voltage."""
    case, ends = CASES[name], np.array([0.0, 0.0, 1.0, 1.0])
    back = {}
    for v in (0.9, 1.0):
        up = driven(case, [0.0, 0.02], [v, v], share=ends, rtol=1e-6)
        down = driven(case, [0.0, 0.02], [-v, -v], share=ends, rtol=1e-6)
        left = case.share(up.crossbar.cell)[0], case.share(down.crossbar.cell)[0]
        assert (left[0][2:] == 1).all() and (left[1][:2] == 0).all()
        back[v] = np.concatenate([left[0][:2], left[1][2:]])
    if trapped:
        assert np.array_equal(back[0.9], ends) and np.array_equal(back[1.0], ends)
    else:
        assert (np.abs(back[1.0] - ends) > 1e-3).all()
        assert (np.abs(back[1.0] - back[0.9]) > 1e-5).all()
    cell = case.cell(jnp.asarray(ends[None]))
    slope = jax.jvp(lambda v: cell.rate(v, 0 * v)[0], (jnp.zeros((1, 4)),), (jnp.ones((1, 4)),))[1]
    assert bool(jnp.all(slope == 0)) == trapped


def test_the_window_of_team_never_reaches_0() -> None:
    window, share = windows.Kvatinsky(0.1, 0.9, 0.05), jnp.asarray([0.0, 0.1, 0.5, 0.9, 1.0])
    rising, falling = window(share, jnp.asarray(True)), window(share, jnp.asarray(False))
    np.testing.assert_allclose(rising[3], np.exp(-1), rtol=1e-14)
    np.testing.assert_allclose(falling[1], np.exp(-1), rtol=1e-14)
    np.testing.assert_allclose(rising[4], np.exp(-np.exp(2)), rtol=1e-14)
    assert float(jnp.min(rising)) > 0 and float(jnp.min(falling)) > 0 and float(rising[0]) > 0.999
    cell = xb.TEAM(share * 3e-9, **TEAM, window=window)
    plain = xb.TEAM(share * 3e-9, **TEAM)
    for v in (1.0, -1.0):
        at = jnp.full(5, v), jnp.zeros(5)
        factor = rising if v > 0 else falling
        np.testing.assert_allclose(cell.rate(*at)[0], plain.rate(*at)[0] * factor, rtol=1e-12)


@pytest.mark.slow
def test_a_device_on_a_line_with_capacitance_takes_few_steps() -> None:
    """A write of 1 us behind 1 kohm and 5 fF: an explicit method has to follow 5 ps to the end."""
    r, c, period = 1e3, 5e-15, 1e-6
    p = YAKOPCIC | {"k_p": 3e6, "k_n": 4e6}
    t, v = np.asarray(WAVES["pulse"][0]) * period, np.asarray(WAVES["pulse"][1])
    wave = xb.Waveform(jnp.asarray(t), jnp.asarray(v)[:, None])
    cell, wires = xb.Yakopcic(jnp.asarray([[0.3]]), **p), xb.Wires(0.0, 0.0, c_row=c)
    crossbar = xb.Crossbar(cell, wires, xb.Drive(r))
    ts = jnp.asarray([0.0, period])
    found = run(crossbar, wave, ts, rtol=jnp.asarray(2e-8), max_steps=8192)

    def slope(at, y):
        node, x = y
        current = np.where(node >= 0, p["a_1"], p["a_2"]) * x * np.sinh(p["b"] * node)
        rise = ((np.interp(at, t, v) - node) / r - current) / c
        return np.array([rise, models.yakopcic(node, x, p)])

    want, _ = moved(slope, t, np.array([0.0, 0.3]), 0.0, 1.0)
    steps = models.explicit_steps(slope, t, np.array([0.0, 0.3]), want, 1e-6, 30000)
    after: Any = found.crossbar.cell
    error = abs(float(after.x[0, 0]) - want[1])
    print(f"{error:.1e}, {int(found.accepted)} steps, RK45 {steps}")
    assert error < 1e-6 and 0.5 < want[1] < 0.95 and int(found.accepted) < steps / 10


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_differences(name: str) -> None:
    """Of the states after a pulse, by its height and width, rates and states at first."""
    case = CASES[name]
    rates = [x for x in ("k_p", "k_n", "k_off", "k_on", "mobility") if x in case.p]
    sign = jnp.asarray([1.0, -1.0])  # one row of each sign

    def value(p: dict[str, Any]) -> Any:
        cell = case.cell(p["begin"] * jnp.asarray([[0.35], [0.65]]))
        for k in rates:
            cell = eqx.tree_at(lambda c, k=k: getattr(c, k), cell, p[k] * getattr(cell, k))
        height, width = p["v"] * case.v * sign, p["width"] * 0.2 * case.period
        wave = waveform.pulse(height, width, 0.02 * case.period)
        ts = jnp.asarray([0.0, 0.3]) * case.period
        after: Any = xb.simulate(xb.Crossbar(cell), wave, ts, steps_per_interval=8).crossbar.cell
        left = (getattr(after, after.states[0]) - case.low) / (case.high - case.low)
        return jnp.sum(jnp.sin(3 * left))

    value = jax.jit(value)
    at = {key: jnp.asarray(1.0) for key in ("v", "width", "begin", *rates)}
    slope = jax.jit(jax.grad(value))(at)
    for key in at:
        to = lambda h, key=key: float(value(at | {key: jnp.asarray(1.0 + h)}))
        h = 1e-4
        want = (8 * (to(h) - to(-h)) - (to(2 * h) - to(-2 * h))) / (12 * h)
        assert abs(float(slope[key]) - want) < 1e-5 * abs(want) and abs(want) > 1e-5, key


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_float32_ends_where_float64_does(name: str) -> None:
    case = CASES[name]
    t, v = TURN * case.period, case.v * np.sin(2 * np.pi * TURN)
    wave = xb.Waveform(jnp.asarray(t), jnp.asarray(v)[:, None])
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    crossbar, ts = xb.Crossbar(case.cell(BEGIN[None])), jnp.asarray([0.0, case.period])
    found = run(single(crossbar), single(wave), single(ts), rtol=jnp.asarray(1e-4, jnp.float32))
    want, _ = moved(case.slope(t, v), t, BEGIN, 0.0, 1.0)
    after: Any = found.crossbar.cell
    assert getattr(after, after.states[0]).dtype == jnp.float32
    np.testing.assert_allclose(case.share(after)[0], want, atol=1e-3)


def deck_of(cell: Any, t: np.ndarray, v: np.ndarray) -> tuple[xb.Circuit, dict[str, Any]]:
    """Devices in one row of a circuit, and what its netlist in time takes."""
    circuit = xb.Circuit(
        source=el.VoltageSource(to="x", v=jnp.zeros(1)),
        array=el.Array(cell, rows="x", cols="y"),
        hold=el.VoltageSource(to="y", v=jnp.zeros(cell.shape[1])),
    )
    wave = xb.Waveform(jnp.asarray(t), jnp.asarray(v)[:, None])
    return circuit, {"waveforms": {"source": wave}, "ts": np.linspace(0, t[-1], 5)}


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
@pytest.mark.parametrize("name", pick(("biolek",)))
def test_netlists_move_states_as_radau_does(name: str) -> None:
    """Currents at the end of a sweep, where ngspice has moved the states."""
    case = CASES[name]
    t = np.array([0.0, 0.25, 0.75, 0.85]) * case.period
    v = np.array([0.0, 1.0, -1.0, -0.6]) * case.v
    circuit, drive = deck_of(case.cell(BEGIN[None]), t, v)
    found = spice.simulate(circuit, **drive)
    share, _ = moved(case.slope(t, v), t, BEGIN, 0.0, 1.0)
    at = jnp.full((1, 4), v[-1]), jnp.zeros((1, 4))
    want = np.asarray(case.cell(share[None]).current(*at))[0]
    stayed = np.asarray(case.cell(BEGIN[None]).current(*at))[0]
    off = np.abs(-found.i["hold"][-1] / want - 1)
    print(name, off, share)
    assert off.max() < 1e-4 and np.abs(stayed / want - 1).max() > 5e-3


def test_netlists_of_devices_in_series_move_their_states() -> None:
    cell = xb.Series(xb.Ohmic(jnp.full((1, 2), 1e-4)), xb.VTEAM(jnp.full((1, 2), 1.5e-9)))
    circuit, drive = deck_of(cell, np.array([0.0, 1e-6]), np.array([0.0, 1.0]))
    text = spice.netlist(circuit, **drive)
    assert "\n.ic v(array__0_1b__w)=0.5\n" in text and "r_cell_array__0_1b" not in text
    assert ".ic" not in spice.netlist(circuit)


def test_a_memristor_and_a_window_that_spice_does_not_know_are_told() -> None:
    class Mine(windows.AbstractWindow):
        def __call__(self, share: Any, rising: Any) -> Any:
            return share

    cell = xb.LinearIonDrift(jnp.full((1, 1), 1e-9), 1e2, 1e4, window=Mine())
    circuit, drive = deck_of(cell, np.array([0.0, 1e-6]), np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match="does not know the window Mine"):
        spice.netlist(circuit, **drive)


def team(**other: Any) -> dict[str, Any]:
    return TEAM | other


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: xb.TEAM(1e-9, **team(r_on=-1.0)), "r_on is -1.0 ohm; it must be finite"),
        (lambda: xb.LinearIonDrift(0.0, 1e2, 1e4, 0.0), "length is 0 m; it must be positive"),
        (lambda: xb.LinearIonDrift(0.0, 1e2, 1e4, mobility=-1.0), "mobility is -1.0 m.2/.V s."),
        (lambda: xb.Yakopcic(0.5, 1e-4, 1e-4, 1.0, k_p=np.nan), "k_p is nan 1/s; it must be"),
        (lambda: xb.Yakopcic(0.5, 1e-4, 1e-4, 1.0, v_n=-0.2), "v_n is -0.2 V; it must be finite"),
        (lambda: xb.Messaris(np.inf), "r is inf ohm; it must be finite"),
        (lambda: windows.Joglekar(0.0), "p is 0 ; it must be positive|p is 0"),
        (lambda: windows.Biolek(-1.0), "p is -1.0"),
        (lambda: windows.Prodromakis(2.0, -1.0), "j is -1.0"),
        (lambda: windows.Kvatinsky(0.1, 0.9, 0.0), "width is 0"),
    ],
)
def test_parameters_that_no_device_has_are_one_sentence(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    "cell",
    [
        xb.TEAM(jnp.full((1, 1), 4e-9), **TEAM),
        xb.TEAM(jnp.full((1, 1), 1e-9), **team(i_on=1e-6)),
        xb.LinearIonDrift(jnp.full((1, 1), 2e-8), 1e2, 1e4),
        xb.Yakopcic(jnp.full((1, 1), 0.5), 1e-4, 1e-4, 1.0, x_p=1.0),
        xb.Yakopcic(jnp.full((1, 1), 0.5), 1e-4, 1e-4, 1.0, eta=0.5),
        xb.Messaris(jnp.full((1, 1), 100.0)),
        xb.Messaris(jnp.full((1, 1), 5e3), k_p=-1.0),
    ],
)
def test_states_and_signs_that_no_device_has_are_not_valid(cell: Any) -> None:
    assert not bool(jnp.any(cell.valid()))
