"""Shared lines and integrators of finite gain: their own forms against circuits of elements."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from xbarjax import elements as el, feeding

ROWS, COLS = 6, 4
RNG = np.random.default_rng(0)
G = jnp.asarray(RNG.uniform(1e-6, 1e-4, (ROWS, COLS)))
V = jnp.asarray(RNG.uniform(0.0, 0.2, ROWS))
WIRES = xb.Wires(2.0, 3.0)
CODES = jnp.asarray([0, 3, 1, 1, 2, 3])
LEVELS = jnp.linspace(0.0, 0.2, 4)


@pytest.mark.parametrize("cell", [xb.Ohmic(G), xb.Sinh(G, 8.0)], ids=["linear", "sinh"])
def test_shared_lines_are_those_of_a_circuit(cell: Any) -> None:
    x = xb.Crossbar(cell, WIRES, xb.Drive(30.0), xb.VirtualGround(40.0))
    found = feeding.read_shared(
        x,
        jnp.zeros(ROWS),
        rows=feeding.levels(CODES, LEVELS, 500.0),
        cols=feeding.ground_return(COLS, 20.0, 0.01),
    )
    circuit = xb.Circuit(
        buses={"wire": 1},
        levels=el.VoltageSource(to="level", v=LEVELS, r=500.0),
        switches=el.Resistor(el.Pick("level", CODES), "row", 30.0),
        array=el.Array(cell, WIRES, rows="row", cols="col"),
        inputs=el.Resistor("col", "wire", 40.0),
        ground=el.VoltageSource(to="wire", v=0.01, r=20.0),
    )
    want = xb.solve(circuit)
    for got, other in (
        (found.i_out, want.i["inputs"]),
        (found.i_in, want.i["switches"]),
        (found.i_cell, want.arrays["array"].i_cell),
    ):
        assert np.abs(got - other).max() < 1e-9 * np.abs(other).max()
    alone = xb.read(x, LEVELS[CODES])
    assert np.abs(alone.i_out - found.i_out).max() > 0.05 * np.abs(found.i_out).max()


@pytest.mark.slow
def test_integrators_of_finite_gain_are_those_of_a_circuit() -> None:
    """Their inputs rise in a millionth of the time, which errs by its square."""
    c, t, leak, gain = 1e-11, 1e-7, 1e5, jnp.asarray([20.0, 40.0, 100.0, 1e3])
    readout = xb.Integrator(c, t, r_leak=leak, gain=gain)
    found = xb.integrate(xb.Crossbar(xb.Ohmic(G), WIRES, xb.Drive(30.0), readout), V)
    circuit = xb.Circuit(
        source=el.VoltageSource(to="row", v=jnp.zeros(ROWS), r=30.0),
        array=el.Array(xb.Ohmic(G), WIRES, rows="row", cols="col"),
        amplifiers=el.OpAmp(minus="col", out="out", gain=gain),
        capacitors=el.Capacitor("col", "out", c),
        leaks=el.Resistor("col", "out", leak),
    )
    edge = 1e-6 * t
    wave = xb.Waveform(jnp.asarray([0.0, edge]), jnp.stack([0 * V, V]))
    ts = jnp.asarray([0.0, t + edge / 2])
    fine, coarse = (
        xb.simulate(circuit, wave, ts, steps_per_interval=steps).v["out"][-1]
        for steps in (200, 100)
    )
    want = (4 * fine - coarse) / 3
    assert np.abs(found - want).max() < 1e-9 * np.abs(want).max()
    ideal = xb.Integrator(c, t, r_leak=leak)
    ideal = xb.read(xb.Crossbar(xb.Ohmic(G), WIRES, xb.Drive(30.0), ideal), V).output
    assert np.abs(ideal - want).max() > 0.01 * np.abs(want).max()  # gains matter here
