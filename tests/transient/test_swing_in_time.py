"""Amplifiers with a swing in time, at the ends of an array: where the swing is far away, where they
come to rest, against ngspice, and by differences."""

from __future__ import annotations

import re
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from reference.arrays_in_time import C_CELL, C_COL, C_ROW, PS, R_COL, R_ROW, R_SOURCE, G, N, V
from xbarjax import elements as el, spice

TIA: dict[str, Any] = {
    "r_f": jnp.asarray([1e3, 2e3, 1.5e3, 3e3]),
    "gain": jnp.asarray([50.0, 1e3, 1e4, 200.0]),
    "v_offset": jnp.asarray([1e-3, -2e-3, 0.0, 3e-3]),
    "gbw": jnp.asarray([2e10, 1e11, 5e10, 3e10]),
    "c_f": jnp.asarray([3e-15, 1e-15, 2e-15, 4e-15]),
    "c_in": jnp.asarray([2e-15, 5e-15, 1e-15, 3e-15]),
}
LOW, HIGH = -0.045, 0.02  # two of the amplifiers come to the end


def wires() -> xb.Wires:
    return xb.Wires(R_ROW, R_COL, c_row=C_ROW, c_col=C_COL, c_cell=C_CELL)


def array(**swing: Any) -> xb.Crossbar:
    tia = xb.Tia(**TIA, **swing)
    return xb.Crossbar(xb.Ohmic(jnp.asarray(G)), wires(), xb.Drive(R_SOURCE), tia)


def circuit(tia: dict[str, Any] = TIA, **swing: Any) -> xb.Circuit:
    """The same array and amplifiers, as elements."""
    of_amplifier = {k: tia[k] for k in ("gain", "v_offset", "gbw")}
    return xb.Circuit(
        source=el.VoltageSource(to="x", v=jnp.zeros(N), r=R_SOURCE),
        array=el.Array(xb.Ohmic(jnp.asarray(G)), wires(), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="o", **of_amplifier, **swing),
        feedback=el.Resistor("e", "o", tia["r_f"]),
        c_f=el.Capacitor("e", "o", tia["c_f"]),
        c_in=el.Capacitor("e", "0", tia["c_in"]),
    )


def step(v: Any = V) -> xb.Waveform:
    v = jnp.asarray(v)
    return xb.Waveform(jnp.asarray([5.0, 15.0]) * PS, jnp.stack([0 * v, v]))


@pytest.mark.slow
def test_far_from_its_end_it_is_the_linear_readout() -> None:
    ts = jnp.asarray([0.0, 10.0, 30.0, 60.0, 200.0]) * PS
    want = xb.simulate(array(), step(), ts, steps_per_interval=8)
    found = xb.simulate(circuit(v_low=-1e5, v_high=1e5), step(), ts, steps_per_interval=8)
    scale = np.abs(np.asarray(want.output)).max()
    np.testing.assert_allclose(found.v["o"], want.output, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.v["e"], want.v_sense, rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.i["source"], want.i_in, rtol=0, atol=1e-9 * scale / R_SOURCE)


def followed(wave: xb.Waveform, ts: Any) -> xb.CircuitTransient:
    """With steps of the accuracy asked for: one program for inputs of four corners."""
    return xb.simulate(circuit(v_low=LOW, v_high=HIGH), wave, ts, rtol=1e-6, max_steps=4096)


def test_it_comes_to_rest_where_a_read_says() -> None:
    v = jnp.asarray(V)
    wave = xb.Waveform(jnp.asarray([5.0, 15.0, 20.0, 30.0]) * PS, jnp.stack([0 * v, v, v, v]))
    found = followed(wave, jnp.linspace(0, 1e5, 9) * PS)
    rest = xb.read(array(v_low=LOW, v_high=HIGH), jnp.asarray(V))
    linear = xb.read(array(), jnp.asarray(V))
    np.testing.assert_allclose(found.v["o"][-1], rest.output, rtol=0, atol=1e-9 * abs(LOW))
    np.testing.assert_allclose(found.v["e"][-1], rest.v_sense, rtol=0, atol=1e-9 * abs(LOW))
    used = np.asarray(rest.output) / LOW
    assert used.max() > 0.99 and used.min() < 0.9  # some are at the end, others are not
    assert np.abs(np.asarray(linear.output) - np.asarray(rest.output)).max() > 0.1 * abs(LOW)


@pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is not installed")
def test_it_moves_as_ngspice_says() -> None:
    """Into the end of its swing and out of it again."""
    at, v = jnp.asarray([0.0, 50.0, 400.0, 500.0]) * PS, jnp.asarray(V)
    wave = xb.Waveform(at, jnp.stack([0 * v, v, v, -0.1 * v]))
    ts = jnp.linspace(0, 800, 9) * PS
    saturating = circuit(v_low=LOW, v_high=HIGH)
    found = followed(wave, ts)
    want = spice.simulate(saturating, waveforms={"source": wave}, ts=ts)
    largest = np.abs(want.v["o"]).max()
    assert largest > 0.98 * abs(LOW)
    for bus in ("o", "e"):
        error = np.abs(np.asarray(found.v[bus]) - want.v[bus]).max()
        print(bus, error / largest)
        assert error < 1e-4 * largest, bus


def test_loops_deep_in_their_swing_take_few_steps() -> None:
    """Amplifiers that are far beyond an end of their swing, in and out of it again: rounding leaves
    their inner voltages less certain than Newton's method is asked for."""
    rng = np.random.default_rng(23)
    g = rng.uniform(1e-6, 1e-5, (3, 3)) + np.eye(3) * 5e-5
    loop = lambda g: xb.Circuit(
        array=el.Array(xb.Ohmic(g), xb.Wires(5.0, 3.0), rows="x", cols="e"),
        amps=el.OpAmp(minus="e", out="x", gain=1e3, gbw=1e7, v_low=-0.05, v_high=0.08, r_out=50.0),
        source=el.CurrentSource(to="e", i=jnp.zeros(3)),
        load=el.Capacitor("x", "0", 1e-12),
    )
    i, us = jnp.asarray([4e-6, -5e-6, 2e-6]), 1e-6
    wave = xb.Waveform(jnp.asarray([0.9, 1.1, 1.5, 1.6]) * us, jnp.stack([0 * i, i, i, -i]))
    ts = jnp.linspace(1, 2, 6) * us
    nearly = jnp.asarray(g)[None] * (1 + jnp.linspace(0, 3e-12, 30)[:, None, None])
    found = jax.jit(jax.vmap(lambda g: xb.simulate(loop(g), wave, ts, rtol=1e-6)))(nearly)
    assert (found.status == 0).all() and (found.accepted < 400).all()
    assert (found.rejected < 100).all()


@pytest.mark.slow
def test_gradients_are_those_of_differences() -> None:
    """By the end of the swing, the feedback and the bandwidth, with equal steps."""
    ts = jnp.asarray([0.0, 20.0, 60.0]) * PS

    @jax.jit
    def value(p: dict[str, Any]) -> Any:
        tia = TIA | {"r_f": p["r_f"] * TIA["r_f"], "gbw": p["gbw"] * TIA["gbw"]}
        found = xb.simulate(
            circuit(tia, v_low=p["low"] * LOW, v_high=HIGH), step(), ts, steps_per_interval=4
        )
        return jnp.sum(found.v["o"] @ jnp.asarray([1.0, -2.0, 3.0, 1.0]))

    at = {name: jnp.asarray(1.0) for name in ("low", "r_f", "gbw")}
    slope = jax.jit(jax.grad(value))(at)
    for name in at:
        to = lambda h, name=name: value(at | {name: 1.0 + h})
        h = 1e-4
        want = float((8 * (to(h) - to(-h)) - (to(2 * h) - to(-2 * h))) / (12 * h))
        assert abs(float(slope[name]) - want) < 1e-8 * abs(want), name


def test_the_error_of_an_array_with_a_swing_shows_this_circuit() -> None:
    saturating = array(v_low=LOW, v_high=HIGH)
    with pytest.raises(ValueError, match="leave v_low and v_high out, or") as caught:
        xb.simulate(saturating, step(), jnp.asarray([0.0, 1.0]) * PS)
    (shown,) = re.findall(r"xb\.Circuit\(.*\)(?=, with el = xb\.elements)", str(caught.value))
    of_amplifier = {k: TIA[k] for k in ("gain", "gbw", "r_f")}
    of_array = {"cell": saturating.cell, "wires": wires(), "r_source": R_SOURCE}
    names = {"xb": xb, "el": xb.elements, "v_in": jnp.asarray(V), "v_low": LOW, "v_high": HIGH}
    found = xb.solve(eval(shown, names | of_amplifier | of_array))
    plain = xb.Tia(TIA["r_f"], TIA["gain"], v_low=LOW, v_high=HIGH)
    want = xb.read(xb.Crossbar(saturating.cell, wires(), xb.Drive(R_SOURCE), plain), jnp.asarray(V))
    np.testing.assert_allclose(found.v["o"], want.output, rtol=0, atol=1e-9 * abs(LOW))
