"""Devices with memory in time: a closed form, SciPy's Radau method alone and among wires, bounds,
energy, selectors and gates, circuits, gradients."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.memory import cell_voltages, moved, piecewise
from xbarjax import elements as el, waveform

R_ON, R_OFF, LENGTH = 1e3, 1e5, 3e-9
US = 1e-6


def vteam(share: Any) -> xb.VTEAM:
    """Devices that move within a microsecond at 1 V in both directions."""
    return xb.VTEAM(
        jnp.asarray(share) * LENGTH,
        R_ON,
        R_OFF,
        k_on=-3e-4,
        k_off=5e-4,
        v_on=-0.3,
        v_off=0.2,
        alpha_on=3.0,
        alpha_off=2.0,
    )


def rate(v: np.ndarray) -> np.ndarray:
    off, on = np.maximum(v / 0.2 - 1, 0), np.maximum(v / -0.3 - 1, 0)
    return 5e-4 * off**2 - 3e-4 * on**3


def share(crossbar: xb.Crossbar) -> np.ndarray:
    cell: Any = crossbar.cell
    return np.asarray(cell.w) / LENGTH


run = eqx.filter_jit(xb.simulate)


def test_a_pulse_moves_vteam_as_its_closed_form_says() -> None:
    """`k int (v / v_off - 1)^2 dt` over edges and top."""
    v, edge, top = 0.6, 0.02 * US, 0.3 * US
    wave = waveform.pulse(jnp.asarray([v]), top + edge, edge)
    found = run(xb.Crossbar(vteam([[0.2]])), wave, jnp.asarray([0.0, 1.0]) * US, rtol=1e-7)
    a = v / 0.2 - 1
    beyond = edge * (1 - 0.2 / v) / 3  # of a linear edge, the part above the threshold
    want = 0.2 + 5e-4 / LENGTH * a**2 * (top + 2 * beyond)
    assert abs(share(found.crossbar)[0, 0] - want) < 1e-6
    assert 0.3 < want < 0.9


def test_a_pulse_rises_from_its_rest_and_returns_to_it() -> None:
    v, rest = jnp.asarray([0.6, -0.2]), jnp.asarray([0.1, 0.3])
    wave = waveform.pulse(v, 0.3 * US, 0.1 * US, rest=rest)
    for t, want in ((0.0, rest), (0.05, (v + rest) / 2), (0.2, v), (0.4, rest), (1.0, rest)):
        np.testing.assert_allclose(wave(t * US), want, rtol=1e-12)


WAVES = {
    "sweep": ([0.0, 0.4, 1.2, 1.6], [0.0, 0.7, -0.8, 0.0]),
    "sine": (np.linspace(0, 2, 65), 0.75 * np.sin(np.linspace(0, 2, 65) * 2 * np.pi)),
}


@pytest.mark.parametrize("name", WAVES)
def test_sweeps_and_sines_end_where_radau_does(name: str) -> None:
    """Several devices at once, some of which come to a bound and leave it."""
    at, v = np.asarray(WAVES[name][0]) * US, np.asarray(WAVES[name][1])
    begin = np.array([0.05, 0.3, 0.6, 0.95])
    wave = xb.Waveform(jnp.asarray(at), jnp.asarray(v)[:, None])
    crossbar = xb.Crossbar(vteam(begin[None]))
    found = run(crossbar, wave, jnp.asarray([0.0, at[-1]]), rtol=5e-8, max_steps=4096)
    slope = lambda t, x: rate(np.interp(t, at, v)) / LENGTH * np.ones(4)
    want, evaluations = moved(slope, at, begin, 0.0, 1.0)
    print(name, int(found.accepted), int(found.rejected), evaluations)
    assert np.abs(share(found.crossbar)[0] - want).max() < 1e-6


def test_devices_among_wires_are_those_of_a_dense_solve() -> None:
    rng = np.random.default_rng(1)
    begin, shape = rng.uniform(0.1, 0.9, (3, 4)), (3, 4)
    top_row, top_col = np.array([0.8, -0.7, 0.3]), np.array([0.0, 0.1, -0.4, 0.3])
    at = np.array([0.05, 0.1, 0.4, 0.45]) * US
    ramps = lambda top: np.stack([0 * top, top, top, 0 * top])
    wave = xb.BiasWaveform(
        *(xb.Waveform(jnp.asarray(at), jnp.asarray(ramps(top))) for top in (top_row, top_col))
    )
    crossbar = xb.Crossbar(vteam(begin), xb.Wires(30.0, 20.0))
    found = run(crossbar, wave, jnp.asarray([0.0, 0.5]) * US, rtol=5e-8, max_steps=4096)
    rows, cols = (piecewise(at, ramps(top)) for top in (top_row, top_col))

    def slope(t, x):
        g = 1 / (R_ON + (R_OFF - R_ON) * x)
        return rate(cell_voltages(g, rows(t), cols(t), 30.0, 20.0)) / LENGTH

    want, _ = moved(slope, np.array([0, *at, 0.5 * US]), begin, 0.0, 1.0)
    assert np.abs(share(found.crossbar) - want).max() < 1e-6
    assert np.abs(want - begin).max() > 0.2 and share(found.crossbar).shape == shape


def test_a_state_stays_at_its_bound_until_it_is_driven_back() -> None:
    at = jnp.asarray([0.0, 0.1, 1.0, 1.2, 2.5, 2.6]) * US
    v = jnp.asarray([0.0, 1.0, 1.0, -0.7, -0.7, 0.0])[:, None]
    crossbar, wave = xb.Crossbar(vteam([[0.5]])), xb.Waveform(at, v)
    ends = [run(crossbar, wave, jnp.asarray([0.0, t]) * US) for t in (0.9, 1.1, 2.6)]
    assert share(ends[0].crossbar) == 1.0 and share(ends[1].crossbar) == 1.0
    assert 0.05 < share(ends[2].crossbar)[0, 0] < 0.95


def test_energy_of_sources_is_that_of_cells_and_wires() -> None:
    """Without wires, all of it is that of the cell; a linear resistor in series takes its part."""
    wave = waveform.pulse(jnp.asarray([0.8]), 0.3 * US, 0.02 * US)
    ts = jnp.linspace(0, 0.5, 2001) * US
    alone = run(xb.Crossbar(vteam([[0.3]])), wave, ts, max_steps=4096)
    v, i = np.asarray(alone.v_in)[:, 0], np.asarray(alone.i_in)[:, 0]
    given = np.trapezoid(v * i, np.asarray(ts))
    assert abs(float(alone.energy[0, 0]) - given) < 1e-5 * given
    series = run(xb.Crossbar(vteam([[0.3]]), drive=xb.Drive(500.0)), wave, ts, max_steps=4096)
    i = np.asarray(series.i_in)[:, 0]
    given, lost = (np.trapezoid(x, np.asarray(ts)) for x in (v * i, 500 * i**2))
    assert abs(float(series.energy[0, 0]) + lost - given) < 1e-5 * given


def test_a_loop_is_pinched_and_its_area_falls_with_frequency() -> None:
    areas = []
    for period in (1.0, 4.0, 16.0):  # in units of 0.1 us
        t = np.linspace(0, 1, 97)
        v = 0.7 * np.sin(2 * np.pi * t)
        at = jnp.asarray(t * 0.1 * US * period)
        wave = xb.Waveform(at, jnp.asarray(v)[:, None])
        found = run(xb.Crossbar(vteam([[0.4]])), wave, at, max_steps=4096)
        i = np.asarray(found.i_in)[:, 0]
        assert np.abs(i[[0, 48, 96]]).max() < 1e-9 * np.abs(i).max()  # at 0 V
        areas.append(abs(np.trapezoid(i[:49], v[:49])) + abs(np.trapezoid(i[48:], v[48:])))
    assert areas[0] < areas[1] < areas[2]


def test_a_transistor_in_series_limits_the_current_of_a_write() -> None:
    """Compliance by the gate: lower gates leave higher resistances. An unselected row stays."""
    devices = vteam(np.full((2, 3), 0.9))
    crossbar = xb.Crossbar(xb.Series(xb.Mosfet(1e-3, 0.4, 0.0), devices))
    rises = lambda v: xb.Waveform(
        jnp.asarray([0.0, 0.02, 3.0, 3.02]) * US,
        jnp.outer(jnp.asarray([0.0, 1.0, 1.0, 0.0]), jnp.asarray(v)),
    )
    left = {}
    for v_gate in (0.8, 1.2):
        wave = xb.BiasWaveform(rises([0.0, 0.0]), rises([1.0, 1.0, 1.0]), rises([v_gate, 0.0]))
        found = run(crossbar, wave, jnp.asarray([0.0, 3.1]) * US)
        after: Any = found.crossbar.cell
        left[v_gate] = np.asarray(after.second.w) / LENGTH
        assert np.array_equal(left[v_gate][1], np.full(3, 0.9))
    assert (left[1.2][0] < left[0.8][0]).all() and (left[0.8][0] < 0.9).all()


@pytest.mark.parametrize("c", [None, 1e-14])
def test_an_array_in_a_circuit_moves_as_one_alone(c: float | None) -> None:
    begin = np.random.default_rng(2).uniform(0.2, 0.8, (2, 3))
    wires = xb.Wires(30.0, 20.0, c_row=c, c_col=c)
    wave = waveform.pulse(jnp.asarray([0.6, -0.7]), 0.3 * US, 0.02 * US)
    ts, tight = jnp.asarray([0.0, 0.4]) * US, {"rtol": 1e-6, "max_steps": 4096}
    alone = run(xb.Crossbar(vteam(begin), wires, xb.Drive(50.0)), wave, ts, **tight)
    circuit = xb.Circuit(
        source=el.VoltageSource(to="x", v=jnp.zeros(2), r=50.0),
        array=el.Array(vteam(begin), wires, rows="x", cols="y"),
        hold=el.VoltageSource(to="y", v=jnp.zeros(3)),
    )
    found = run(circuit, {"source": wave}, ts, **tight)
    array: Any = found.circuit.elements["array"]
    np.testing.assert_allclose(array.cell.w / LENGTH, share(alone.crossbar), atol=3e-6)
    assert np.abs(share(alone.crossbar) - begin).max() > 0.1


def test_a_device_with_memory_outside_of_an_array_is_refused() -> None:
    circuit = xb.Circuit(
        source=el.VoltageSource(to="x", v=jnp.zeros(1)), device=el.Device(vteam([0.5]), "x", "0")
    )
    wave, ts = waveform.pulse(jnp.ones(1), 1e-6, 1e-7), jnp.asarray([0.0, 1e-6])
    said = "element 'device' is a Device with memory, whose states move in arrays alone: use"
    with pytest.raises(ValueError, match=said):
        xb.simulate(circuit, wave, ts)
    with pytest.raises(ValueError, match=said):
        xb.spice.netlist(circuit, waveforms=wave, ts=ts)


def test_gradients_are_those_of_differences() -> None:
    """Of the states that a pulse leaves, by its height and width, rates, initial state and wire."""
    at = {name: jnp.asarray(1.0) for name in ("v", "width", "k", "v_off", "begin", "wire", "read")}

    def value(p: dict[str, Any]) -> Any:
        cell = vteam(p["begin"] * jnp.asarray([[0.3, 0.5], [0.4, 0.6]]))
        cell = eqx.tree_at(lambda c: c.k_off, cell, p["k"] * cell.k_off)
        cell = eqx.tree_at(lambda c: c.v_off, cell, p["v_off"] * cell.v_off)
        crossbar = xb.Crossbar(cell, xb.Wires(p["wire"] * 50.0, 30.0))
        wave = waveform.pulse(p["v"] * jnp.asarray([0.6, -0.7]), p["width"] * 0.3 * US, 0.02 * US)
        after = xb.simulate(crossbar, wave, jnp.asarray([0.0, 0.5]) * US, steps_per_interval=4)
        left: Any = after.crossbar.cell
        read = xb.read(after.crossbar, p["read"] * jnp.asarray([0.1, 0.1])).i_out
        return jnp.sum(jnp.sin(left.w / LENGTH)) + jnp.sum(read) * 1e3 + jnp.sum(after.energy) * 1e9

    value = jax.jit(value)
    slope = jax.jit(jax.grad(value))(at)
    for name in at:
        to = lambda h, name=name: float(value(at | {name: jnp.asarray(1.0 + h)}))
        h = 1e-4
        want = (8 * (to(h) - to(-h)) - (to(2 * h) - to(-2 * h))) / (12 * h)
        assert abs(float(slope[name]) - want) < 1e-7 * abs(want), name


def test_float32_ends_where_float64_does() -> None:
    wave = waveform.pulse(jnp.asarray([0.6, -0.7]), 0.3 * US, 0.02 * US)
    crossbar = xb.Crossbar(vteam([[0.3, 0.5], [0.4, 0.6]]), xb.Wires(30.0, 20.0))
    ts = jnp.asarray([0.0, 0.5]) * US
    single = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    want = run(crossbar, wave, ts)
    found = run(single(crossbar), single(wave), single(ts))
    assert found.crossbar.cell.w.dtype == jnp.float32  # pyright: ignore
    np.testing.assert_allclose(share(found.crossbar), share(want.crossbar), atol=2e-4)


class Forgetting(xb.cells.AbstractMemoryCell):
    """A conductance that decays by itself, whatever the voltages."""

    g: jax.Array
    is_linear = True
    is_reciprocal = True
    states = ("g",)

    def current(self, v_row: Any, v_col: Any) -> Any:
        return self.g * (v_row - v_col)

    def rate(self, v_row: Any, v_col: Any) -> Any:
        return (-self.g / US,)

    @property
    def bounds(self) -> Any:
        return ((0.0, 1e-4),)

    def valid(self) -> Any:
        return self.g >= 0


def test_a_state_may_move_without_regard_to_voltages() -> None:
    wave = waveform.pulse(jnp.asarray([0.5]), 0.3 * US, 0.02 * US)
    crossbar = xb.Crossbar(Forgetting(jnp.asarray([[8e-5]])), drive=xb.Drive(1e3))
    left: Any = run(crossbar, wave, jnp.asarray([0.0, 1.0]) * US, rtol=1e-8).crossbar.cell
    assert abs(left.g[0, 0] / 8e-5 - np.exp(-1)) < 1e-6


class Relaxing(xb.cells.AbstractMemoryCell):
    """A conductance that heats a temperature [K] which moves it, and forgets both: two states."""

    g: jax.Array
    heat: jax.Array
    is_linear = True
    is_reciprocal = True
    states = ("g", "heat")

    def current(self, v_row: Any, v_col: Any) -> Any:
        return self.g * (v_row - v_col)

    def rate(self, v_row: Any, v_col: Any) -> Any:
        v = v_row - v_col
        warmed = 3e11 * self.g * v**2 - self.heat / (0.05 * US)
        return (4e-7 * self.heat - (self.g - 1e-5) / (2 * US), warmed)

    @property
    def bounds(self) -> Any:
        return (1e-6, 1e-4), (0.0, 0.1)

    def valid(self) -> Any:
        return self.g > 0


def test_two_states_of_ones_own_device_move_together() -> None:
    at, top = np.array([0.0, 0.05, 0.4, 0.45]) * US, 0.5
    wave = xb.Waveform(jnp.asarray(at), jnp.asarray([0.0, top, top, 0.0])[:, None])
    cell = Relaxing(jnp.asarray([[2e-5]]), jnp.asarray([[0.0]]))
    found = run(xb.Crossbar(cell), wave, jnp.asarray([0.0, 0.42]) * US, rtol=3e-8, max_steps=8192)
    scale = np.array([1e-4, 0.1])

    def slope(t, x):
        (g, heat), v = x * scale, np.interp(t, at, [0, top, top, 0])
        warmed = 3e11 * g * v**2 - heat / (0.05 * US)
        return np.array([4e-7 * heat - (g - 1e-5) / (2 * US), warmed]) / scale

    want, _ = moved(slope, np.array([*at[:3], 0.42 * US]), np.array([2e-5, 0.0]) / scale, 0.0, 1.0)
    left: Any = found.crossbar.cell
    got = np.array([left.g[0, 0], left.heat[0, 0]])
    print(got, want * scale)
    assert (np.abs(got / scale - want) < 1e-6).all() and (want > 0.1).all() and (want < 0.9).all()
