"""Devices with memory in time against ngspice (tests/golden/memristors), alone and among wires."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import xbarjax as xb
from golden import MEMRISTORS
from xbarjax.drive.waveform import Waveform

TOL = 1e-4
QUICK = ("yakopcic_4",)


def cell_of(x: dict[str, Any]) -> tuple[Any, float]:
    """The devices, and the largest value of their state; the smallest is 0."""
    p, share = dict(x["parameters"]), jnp.asarray(x["share"])
    if x["model"] == "vteam":
        return xb.VTEAM(share * p["w_off"], **p), p["w_off"]
    if x["model"] == "yakopcic":
        return xb.Yakopcic(share, **p), 1.0
    window = xb.windows.Joglekar(p.pop("p"))
    return xb.LinearIonDrift(share * p["length"], **p, window=window), p["length"]


def circuit(x: dict[str, Any]) -> tuple[xb.Crossbar, Waveform, float]:
    cell, high = cell_of(x)
    wires = xb.Wires(jnp.asarray(x["r_row"]), jnp.asarray(x["r_col"]))
    drive = xb.Drive(jnp.asarray(x["r_source"]))
    readout = xb.VirtualGround(jnp.asarray(x["r_in"]))
    return xb.Crossbar(cell, wires, drive, readout), Waveform(x["t"], x["v"]), high


def errors(x: dict[str, Any], want: dict[str, Any]) -> tuple[float, float]:
    """Of output currents, relative to the largest of their column, and of the states at the end."""
    crossbar, wave, high = circuit(x)
    ts = np.concatenate([[0.0], want["t"]])
    s = xb.simulate(crossbar, wave, ts, rtol=2e-6, max_steps=2048)
    off = np.abs(np.asarray(s.i_out)[1:] - want["i_out"]).max(0)
    after: Any = s.crossbar.cell
    share = np.asarray(getattr(after, after.states[0])) / high
    found = (
        float((off / np.abs(want["i_out"]).max(0)).max()),
        float(abs(share - want["share"]).max()),
    )
    print(
        x["model"], share.shape, f"currents {found[0]:.1e} states {found[1]:.1e}", int(s.accepted)
    )
    return found


slow = lambda name: pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("name", [slow(name) for name in MEMRISTORS.stored()])
def test_devices_with_memory_agree_with_ngspice(name: str) -> None:
    record = MEMRISTORS.load(name)
    assert max(errors(record["inputs"], record["outputs"])) < TOL


def test_the_comparison_can_fail() -> None:
    """By a hundredth of a rate."""
    record = MEMRISTORS.load("yakopcic_4")
    record["inputs"]["parameters"]["k_p"] *= 1.01
    assert max(errors(record["inputs"], record["outputs"])) > TOL
