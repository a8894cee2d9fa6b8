"""Transients of circuits against ngspice (tests/golden/circuits_in_time): inverses, amplifiers that
saturate, nonlinear arrays with capacitors, switches and picks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import LOOPS_IN_TIME
from xbarjax import elements as el

TOL = 1e-4  # of the final values


def circuit_of(x: dict[str, Any]) -> tuple[xb.Circuit, xb.Waveform]:
    """The circuit of golden inputs, and the waveform of its sources."""
    x = {k: jnp.asarray(v, float) for k, v in x.items()}
    cell = xb.Ohmic(x["g"]) if "g" in x else xb.AntiparallelDiodes(x["i_s"], x["n"])
    swing = {"v_low": x["low"], "v_high": x["high"]} if "low" in x else {}
    out = "x" if "i" in x else "o"
    amplifier = {k: x[k] for k in ("gain", "gbw", "v_offset", "r_out")}
    elements: dict[str, Any] = {
        "array": el.Array(cell, xb.Wires(x["r_row"], x["r_col"]), rows="x", cols="e"),
        "amps": el.OpAmp(minus="e", out=out, **amplifier, **swing),
    }
    end = x["i"] if "i" in x else x["v"]
    if "i" in x:
        elements["source"] = el.CurrentSource(to="e", i=0 * end)
    else:
        elements["r_f"] = el.Resistor("e", "o", x["r_f"])
        elements["c_f"] = el.Capacitor("e", "o", x["c_f"])
    if "codes" in x:
        elements["source"] = el.VoltageSource(to="levels", v=0 * end)
        levels = el.Pick("levels", x["codes"].astype(int))
        elements["select"] = el.Resistor(levels, "x", x["r_source"])
        elements["c_row"] = el.Capacitor("x", "0", x["c_row"])
    elif "v" in x:
        elements["source"] = el.VoltageSource(to="x", v=0 * end, r=x["r_source"])
    if "closed" in x:
        states = {k: x[k] for k in ("closed", "r_on", "r_off")}
        elements["hold"] = el.Switch("o", "h", **states)
        elements["c_hold"] = el.Capacitor("h", "0", x["c_hold"])
    return xb.Circuit(**elements), xb.Waveform(x["t"], jnp.stack([0 * end, end]))


def errors(
    record: dict[str, Any], dtype: Any = jnp.float64, rtol: float = 1e-6
) -> dict[str, float]:
    """Largest errors in time of the outputs "x", the summing nodes "e", the held voltages "h" and
    the currents "i" of the amplifiers, relative to the largest final value of "x" or "i"."""
    circuit, wave = jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        circuit_of(record["inputs"]),
    )
    want = record["outputs"]
    ts = jnp.asarray(np.concatenate([[0.0], want["t"]]), dtype)
    found = xb.simulate(circuit, wave, ts, rtol=rtol, max_steps=4096)
    assert found.v["e"].dtype == dtype and int(found.status) == 0
    got = {"x": found.v.get("o", found.v["x"]), "e": found.v["e"], "i": found.i["amps"]}
    got |= {"h": found.v["h"]} if "h" in found.v else {}
    final = {k: np.abs(want["i" if k == "i" else "x"][-1]).max() for k in got}
    return {k: float(np.abs(np.asarray(x)[1:] - want[k]).max() / final[k]) for k, x in got.items()}


@pytest.mark.parametrize("name", LOOPS_IN_TIME.circuits)
def test_a_transient_agrees_with_ngspice(name: str) -> None:
    record = LOOPS_IN_TIME.load(name)
    x, want = record["inputs"], record["outputs"]["x"]
    found = errors(record)
    print(name, found)
    assert max(found.values()) < TOL, found
    if "low" in x:  # some amplifiers are at an end, others are not
        used = np.where(want[-1] > 0, want[-1] / x["high"], want[-1] / x["low"])
        assert used.max() > 0.98 and used.min() < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inverse_4", "swing_4"])
def test_a_transient_in_float32_agrees_with_ngspice(name: str) -> None:
    found = errors(LOOPS_IN_TIME.load(name), jnp.float32, 1e-5)
    print(name, found)
    assert found["x"] < TOL, found


def test_the_comparison_can_fail() -> None:
    record = LOOPS_IN_TIME.load("inverse_4")
    record["inputs"]["gbw"] = 1.01 * record["inputs"]["gbw"]
    assert errors(record)["x"] > TOL
