"""Transients against ngspice (tests/golden/transients): lines, amplifiers, integrators, pulses."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import TRANSIENTS
from xbarjax.drive import waveform

TOL = 1e-4
QUICK = ("rc_8", "tia_16", "integrator_8")


def circuit(x: dict[str, Any]) -> tuple[xb.Crossbar, waveform.Waveform]:
    array: Any = lambda *names: {name: jnp.asarray(x[name]) for name in names}
    wires = xb.Wires(**array("r_row", "r_col", "c_row", "c_col", "c_cell"))
    g = jnp.asarray(x["g"])
    cell = xb.Sinh(g, x["b"]) if x["b"] else xb.Ohmic(g)
    if x["readout"] == "ground":
        readout: Any = xb.VirtualGround(jnp.asarray(x["r_in"]))
    elif x["readout"] == "sample":
        readout = xb.VoltageSense(**array("r_load", "c_sample", "r_switch"))
    elif x["readout"] == "tia":
        readout = xb.Tia(**array("r_f", "gain", "v_offset", "gbw", "c_f", "c_in"))
    else:
        more = array("gain", "v_offset", "gbw", "c_in")
        c, r = jnp.asarray(x["c_f"]), jnp.asarray(x["r_f"])
        readout = xb.Integrator(c, 1e-9, r, **more)
    drive = xb.Drive(jnp.asarray(x["r_source"]))
    return xb.Crossbar(cell, wires, drive, readout), waveform.Waveform(x["t"], x["v"])


slow = lambda name: pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("name", [slow(name) for name in TRANSIENTS.stored()])
def test_a_transient_agrees_with_ngspice(name: str) -> None:
    record = TRANSIENTS.load(name)
    x, want = record["inputs"], record["outputs"]
    crossbar, wave = circuit(x)
    s = xb.simulate(crossbar, wave, np.concatenate([[0.0], want["t"]]), rtol=1e-5, max_steps=2048)
    error = np.abs(np.asarray(s.output)[1:] - want["output"]).max(0)
    assert (error / np.abs(want["output"]).max(0)).max() < TOL


def test_the_comparison_can_fail() -> None:
    """By a hundredth of the capacitance of the word lines."""
    record = TRANSIENTS.load("rc_8")
    x, want = record["inputs"], record["outputs"]
    x["c_row"] = 1.01 * np.asarray(x["c_row"])
    crossbar, wave = circuit(x)
    s = xb.simulate(crossbar, wave, np.concatenate([[0.0], want["t"]]), rtol=1e-5)
    error = np.abs(np.asarray(s.output)[1:] - want["output"]).max()
    assert error > TOL * np.abs(want["output"]).max()
